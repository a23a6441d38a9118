package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/cyphonic/cyphonic/internal/enrolment/astest"
	"github.com/cyphonic/cyphonic/internal/identity"
	"github.com/cyphonic/cyphonic/internal/netconf/nstest"
	"github.com/cyphonic/cyphonic/internal/statusapi"
	"github.com/cyphonic/cyphonic/internal/wire"
)

var viewer = astest.Device{FQDN: "viewer.lab.example", IPv4: netip.MustParseAddr("10.77.0.5"), IPv6: netip.MustParseAddr("fd77::5")}

// bench is a node with an AS; there is no NMS, so it stays at the registration.
type bench struct {
	as     *astest.Server
	config string
	socket string
	resolv string
}

const original = "search corp.example\nnameserver 127.0.0.77\n"

func newBench(t *testing.T, extra string) *bench {
	t.Helper()
	nstest.Run(t, "ip", "link", "set", "lo", "up")
	dir := t.TempDir()
	x := &bench{config: filepath.Join(dir, "node.yaml"), socket: filepath.Join(dir, "node.sock"), resolv: filepath.Join(dir, "resolv.conf")}
	x.as = astest.Start(t, func(r wire.LoginRequest) wire.LoginResponse { return x.as.Grant(r, viewer) })
	trust, err := identity.EncodeTrust(x.as.Trust)
	if err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("name: viewer\nauthenticationService: %s\nstateDirectory: state\nstatusSocket: node.sock\ninterface: cyt0\n"+
		"passwordFile: password\nresolver: {integration: resolvconf, resolvConf: resolv.conf}\n%s", x.as.Address, extra)
	for name, content := range map[string]string{"node.yaml": text, "trust.json": string(trust), "password": "secret", "resolv.conf": original} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return x
}

func (x *bench) run(t *testing.T) (stop func()) {
	t.Helper()
	config, err := LoadConfig(x.config)
	if err != nil {
		t.Fatal(err)
	}
	n, err := New(config, "test", slog.New(slog.NewTextHandler(os.Stderr, nil)))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(15 * time.Second):
			t.Error("the node does not end")
		}
	}
	t.Cleanup(stop)
	return stop
}

func (x *bench) await(t *testing.T, what string, ok func(Status) bool) Status {
	t.Helper()
	deadline := time.Now().Add(15 * time.Second)
	for {
		var s Status
		err := statusapi.NewClient(x.socket).Status(context.Background(), &s)
		if err == nil && ok(s) {
			return s
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s did not happen: %+v, %v", what, s, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (x *bench) resolvConf(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(x.resolv)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func (x *bench) refusesItself(t *testing.T) {
	for _, name := range []string{"viewer", viewer.FQDN + ".", viewer.IPv4.String()} {
		var c Connected
		if err := statusapi.NewClient(x.socket).Connect(context.Background(), name, &c); err == nil || !strings.Contains(err.Error(), "this node itself") {
			t.Errorf("connect %s = %v", name, err)
		}
	}
}

func TestLifeOfANode(t *testing.T) {
	if !nstest.Enter(t) {
		return
	}
	x := newBench(t, "")
	stop := x.run(t)
	s := x.await(t, "login", func(s Status) bool { return s.ResolverIntegration != "" })
	if s.FQDN != viewer.FQDN || s.VirtualIPv4 != viewer.IPv4 || s.Phase != PhaseRegistering || len(s.Locals) != 1 {
		t.Errorf("status = %+v", s)
	}
	addresses := nstest.Run(t, "ip", "-o", "addr", "show", "dev", "cyt0")
	routes := nstest.Run(t, "ip", "route", "show", "dev", "cyt0") + nstest.Run(t, "ip", "-6", "route", "show", "dev", "cyt0")
	for _, want := range []string{"10.77.0.5/32", "fd77::5/128"} {
		if !strings.Contains(addresses, want) {
			t.Errorf("%s is missing in %s", want, addresses)
		}
	}
	for _, want := range []string{"10.77.0.0/16", "fd77::/64"} {
		if !strings.Contains(routes, want) {
			t.Errorf("%s is missing in %s", want, routes)
		}
	}
	x.await(t, "resolv.conf", func(Status) bool {
		return strings.Contains(x.resolvConf(t), "\nnameserver 127.74.40.1\nsearch corp.example\n")
	})
	t.Run("its own name", func(t *testing.T) {
		m, _, err := new(dns.Client).Exchange(new(dns.Msg).SetQuestion("viewer.lab.example.", dns.TypeAAAA), defaultResolver)
		if err != nil || len(m.Answer) != 1 {
			t.Errorf("got %v, %v", m, err)
		}
	})
	t.Run("other names go to the host's name server", func(t *testing.T) {
		server := &dns.Server{Addr: "127.0.0.77:53", Net: "udp", Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
			_ = w.WriteMsg(new(dns.Msg).SetRcode(q, dns.RcodeNotZone))
		})}
		started := make(chan struct{})
		server.NotifyStartedFunc = func() { close(started) }
		go func() { _ = server.ListenAndServe() }()
		<-started
		defer server.Shutdown()
		m, _, err := new(dns.Client).Exchange(new(dns.Msg).SetQuestion("www.example.org.", dns.TypeA), defaultResolver)
		if err != nil || m.Rcode != dns.RcodeNotZone {
			t.Errorf("got %v, %v", m, err)
		}
	})
	t.Run("connecting to itself is explained", x.refusesItself)
	t.Run("a second instance is refused", func(t *testing.T) {
		config, _ := LoadConfig(x.config)
		n, err := New(config, "test", slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		if err := n.Run(context.Background()); !errors.Is(err, statusapi.ErrRunning) {
			t.Errorf("error = %v", err)
		}
	})
	stop()
	if got := x.resolvConf(t); got != original {
		t.Errorf("resolv.conf was not restored: %q", got)
	}
	if out := nstest.Run(t, "ip", "link"); strings.Contains(out, "cyt0") {
		t.Errorf("the virtual interface stayed: %s", out)
	}
}

func TestARefusedLoginIsExplainedInTheStatusAndGoesOn(t *testing.T) {
	if !nstest.Enter(t) {
		return
	}
	x := newBench(t, "")
	x.as.Decide(func(wire.LoginRequest) wire.LoginResponse {
		return astest.Refuse(wire.LoginDenied, "the password is wrong: ask the operator")
	})
	x.run(t)
	s := x.await(t, "refusal", func(s Status) bool { return s.Reason != "" })
	if s.Phase != PhaseLoggingIn || !strings.Contains(s.Reason, "ask the operator") {
		t.Errorf("status = %+v", s)
	}
	var c Connected
	if err := statusapi.NewClient(x.socket).Connect(context.Background(), "cam1", &c); err == nil || !strings.Contains(err.Error(), "not logged in") {
		t.Errorf("connect = %v", err)
	}
	if strings.Contains(x.resolvConf(t), "127.74.40.1") {
		t.Error("the host was told about a resolver that does not answer")
	}
}
