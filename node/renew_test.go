package node

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/cyphonic/cyphonic/internal/enrolment/astest"
	"github.com/cyphonic/cyphonic/internal/identity"
	"github.com/cyphonic/cyphonic/internal/wire"
)

func TestARenewedGrantWithOtherAddressesStartsOver(t *testing.T) {
	dir := t.TempDir()
	device := astest.Device{FQDN: "viewer.lab.example", IPv4: netip.MustParseAddr("10.77.0.5")}
	var as *astest.Server
	as = astest.Start(t, func(r wire.LoginRequest) wire.LoginResponse { return as.Grant(r, device) })
	trust, err := identity.EncodeTrust(as.Trust)
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{
		"trust.json": trust, "password": []byte("secret"),
		"node.yaml": []byte("name: viewer\nauthenticationService: " + as.Address + "\nstateDirectory: state\npasswordFile: password\n"),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	config, err := LoadConfig(filepath.Join(dir, "node.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	n, err := New(config, "test", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if n.grant, err = n.device.Login(context.Background()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	if _, err := n.renew(ctx, cancel); err != nil || ctx.Err() != nil {
		t.Fatalf("the same addresses: %v, %v", err, ctx.Err())
	}
	device.IPv4 = netip.MustParseAddr("10.77.0.6")
	if _, err := n.renew(ctx, cancel); !errors.Is(err, errNewAddresses) || !errors.Is(context.Cause(ctx), errNewAddresses) {
		t.Errorf("other addresses: %v, %v", err, context.Cause(ctx))
	}
	if n.grant.VirtualIPv4 != device.IPv4 {
		t.Error("the new grant is not kept for the new start")
	}
}
