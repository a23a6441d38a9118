package e2e

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/cyphonic/cyphonic/internal/lab/overlay"
)

func TestAChangeOfTheListTakesEffectWithinASecond(t *testing.T) {
	s, ctx := use(t, time.Minute)
	host := s.lab.Host("intruder")
	device, err := s.StartGeneralNode(host)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		device.DHCP.Kill()
		_, err := s.Ctl(context.Background(), "delete", "generalnode", "newcomer", "--ignore-not-found")
		if err != nil {
			t.Error(err)
		}
	})
	if err := s.Apply(ctx, newcomer); err != nil {
		t.Fatal(err)
	}
	applied := time.Now()
	known := func(status overlay.Status) error { return status.Listed("newcomer") }
	if err := s.agents["adapter"].Await(ctx, known); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(applied); took > time.Second {
		t.Errorf("the adapter took the new general node %v after apply had returned", took)
	}
	if _, err := device.WaitLease(ctx); err != nil {
		t.Fatal(err)
	}
	address := s.local(t, ctx, "newcomer").VirtualIPv4.String()
	if err := s.ping(ctx, "viewer", address); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Ctl(ctx, "delete", "generalnode", "newcomer"); err != nil {
		t.Fatal(err)
	}
	deleted := time.Now()
	gone := func(status overlay.Status) error {
		if _, err := status.Local(fqdn("newcomer")); err == nil || known(status) == nil {
			return errors.New("the adapter still carries the deleted general node")
		}
		return nil
	}
	if err := s.agents["adapter"].Await(ctx, gone); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(deleted); took > time.Second {
		t.Errorf("the adapter dropped the general node %v after delete had returned", took)
	}
	if _, err := s.lab.Host("viewer").Run(ctx, "ping", "-n", "-c", "2", "-W", "1", address); err == nil {
		t.Error("the deleted general node still answers")
	}
}

// TestTunnelsOutliveTheCloud is the last test of this file on purpose: it restarts the cloud.
func TestTunnelsOutliveTheCloud(t *testing.T) {
	s, ctx := use(t, 2*time.Minute)
	s.echo(t, "cam1", 9030)
	s.echo(t, "beta", 9030)
	before := s.local(t, ctx, "cam1")
	punched := s.openStream(t, ctx, "viewer", netip.AddrPortFrom(before.VirtualIPv4, 9030))
	direct := s.openStream(t, ctx, "alpha", netip.AddrPortFrom(s.local(t, ctx, "beta").VirtualIPv4, 9030))
	agents := make(map[string]int)
	for name, agent := range s.agents {
		agents[name] = agent.Process.PID
	}
	resources, err := s.Ctl(ctx, "get", "generalnodes,nodes,adapters,networks,accesspolicies", "-o", "name")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Apply(ctx, newcomer); err != nil { // acknowledged a moment before the crash
		t.Fatal(err)
	}
	counted := s.ownCounters(t, ctx)
	s.Cloud().Kill()
	// Long enough for every keep-alive of the signalling to be missed.
	down := time.Now()
	for time.Since(down) < 10*time.Second {
		if err := errors.Join(punched.progress(ctx, 50), direct.progress(ctx, 50)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.StartCloud(ctx); err != nil {
		t.Fatal(err)
	}
	after, err := s.Ctl(ctx, "get", "generalnodes,nodes,adapters,networks,accesspolicies", "-o", "name")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range append(lines(resources), "generalnode/newcomer") {
		if !slices.Contains(lines(after), name) {
			t.Errorf("%s was acknowledged and is lost", name)
		}
	}
	if _, err := s.Ctl(ctx, "delete", "generalnode", "newcomer"); err != nil {
		t.Error(err)
	}
	for _, name := range nodes() {
		if err := s.agents[name].WaitRegistered(ctx); err != nil {
			t.Error(err)
		}
		if s.agents[name].Process.PID != agents[name] || !s.agents[name].Process.Running() {
			t.Errorf("%s did not go on running", name)
		}
	}
	if got := s.local(t, ctx, "cam1"); got.VirtualIPv4 != before.VirtualIPv4 || got.NodeID != before.NodeID {
		t.Errorf("cam1 is %+v now, was %+v", got, before)
	}
	s.noCounterLost(t, ctx, counted)
	// A pair that has never talked, and one that needs the relay: signalling and TRS work again.
	s.reachable(t, ctx, "delta", "desk")
	s.reachable(t, ctx, "gamma", "delta")
	for _, st := range []*stream{punched, direct} {
		if err := st.finish(gapBound); err != nil {
			t.Error(err)
		}
	}
}

// reachable waits until a device can be looked up and pinged.
func (s *system) reachable(t *testing.T, ctx context.Context, from, to string) {
	t.Helper()
	var err error
	for range 90 { // the NMS knows a device again after the device's next keep-alive, every 25 s
		var addr netip.Addr
		if addr, err = s.lookup(ctx, from, to, dns.TypeA); err == nil {
			if err = s.ping(ctx, from, addr.String()); err == nil {
				return
			}
		}
		select {
		case <-ctx.Done():
			t.Fatal(err)
		case <-time.After(500 * time.Millisecond):
		}
	}
	t.Errorf("%s does not reach %s: %v", from, to, err)
}
