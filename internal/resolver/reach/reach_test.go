package reach

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"testing"

	"github.com/cyphonic/cyphonic/internal/endpoint"
	"github.com/cyphonic/cyphonic/internal/resolver"
	"github.com/cyphonic/cyphonic/internal/wire"
)

type fake struct {
	peer endpoint.Peer
	err  error
	got  wire.Target
}

func (f *fake) Connect(_ context.Context, t wire.Target) (endpoint.Peer, error) {
	f.got = t
	return f.peer, f.err
}

func TestPeer(t *testing.T) {
	f := &fake{peer: endpoint.Peer{FQDN: "cam1.lab.example", VirtualIPv4: netip.MustParseAddr("10.77.0.11")}}
	got, err := Peer(context.Background(), f, resolver.Target{Name: "cam1.lab.example"})
	if err != nil || got.Name != "cam1.lab.example" || got.IPv4 != f.peer.VirtualIPv4 || f.got.FQDN != "cam1.lab.example" {
		t.Errorf("got %v, %v, asked %v", got, err, f.got)
	}
}

func TestErrorsKeepTheirMeaning(t *testing.T) {
	other := errors.New("other")
	for from, to := range map[error]error{
		endpoint.ErrUnknown: resolver.ErrUnknown, endpoint.ErrDenied: resolver.ErrDenied,
		endpoint.ErrOffline: resolver.ErrOffline, endpoint.ErrTimeout: resolver.ErrTimeout,
		context.DeadlineExceeded: resolver.ErrTimeout, other: other,
	} {
		_, err := Peer(context.Background(), &fake{err: fmt.Errorf("connect: %w", from)}, resolver.Target{})
		if !errors.Is(err, to) {
			t.Errorf("%v became %v, want %v", from, err, to)
		}
	}
}
