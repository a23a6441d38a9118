package e2e

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/cyphonic/cyphonic/internal/lab/overlay"
)

// restartBound is how long a connection may pause when a program is killed and started again at once; it holds a
// retransmission of TCP that fell into the time without program.
const restartBound = 5 * time.Second

func TestAKilledProgramComesBackUnderAnOpenConnection(t *testing.T) {
	s, ctx := use(t, time.Minute)
	s.echo(t, "cam1", 9040)
	cam1 := s.local(t, ctx, "cam1").VirtualIPv4
	st := s.openStream(t, ctx, "viewer", netip.AddrPortFrom(cam1, 9040))
	leases := strings.Count(s.cameras["cam1"].DHCP.Log(), "lease bound")
	for _, name := range []string{"adapter", "viewer"} {
		agent := s.agents[name]
		agent.Process.Kill()
		if err := agent.Start(); err != nil {
			t.Fatal(err)
		}
		if err := st.progress(ctx, 100); err != nil {
			t.Fatalf("after %s was killed: %v", name, err)
		}
	}
	if got := s.local(t, ctx, "cam1").VirtualIPv4; got != cam1 {
		t.Errorf("cam1 has the address %v now, it had %v", got, cam1)
	}
	if got := strings.Count(s.cameras["cam1"].DHCP.Log(), "lease bound"); got != leases {
		t.Errorf("cam1 asked for a new lease")
	}
	if _, err := s.lookup(ctx, "viewer", "cam2", dns.TypeA); err != nil {
		t.Errorf("the resolver of the restarted node: %v", err)
	}
	if err := st.finish(restartBound); err != nil {
		t.Error(err)
	}
}

func TestTwoGeneralNodesOfOneAdapterMeetWhereAPolicyAllowsIt(t *testing.T) {
	s, ctx := use(t, time.Minute)
	s.echo(t, "cam2", 9041)
	cam2, err := s.lookup(ctx, "cam1", "cam2", dns.TypeA)
	if err != nil {
		t.Fatal(err)
	}
	if own := s.local(t, ctx, "cam2").VirtualIPv4; cam2 != own {
		t.Errorf("cam2's name is %v, its address %v", cam2, own)
	}
	if err := s.ping(ctx, "cam1", cam2.String()); err != nil {
		t.Errorf("by address: %v", err)
	}
	if err := s.exchangeTCP(ctx, "cam1", netip.AddrPortFrom(cam2, 9041), 64<<10); err != nil {
		t.Error(err)
	}
	if addr, err := s.lookup(ctx, "cam1", "mallory", dns.TypeA); err == nil {
		t.Errorf("cam1 found mallory at %v without a policy", addr)
	}
	for from, to := range map[string]string{"cam1": "mallory", "mallory": "cam2"} {
		address := s.local(t, ctx, to).VirtualIPv4.String()
		if _, err := s.lab.Host(from).Run(ctx, "ping", "-n", "-c", "2", "-W", "1", address); err == nil {
			t.Errorf("%s reached %s without a policy", from, to)
		}
	}
}

// TestADeviceInThePlaceOfAnotherIsReached deletes a general node and makes it again: it has a new key and, as the first
// free one, the old virtual IP. Who talked to the old one talks to the new one.
func TestADeviceInThePlaceOfAnotherIsReached(t *testing.T) {
	s, ctx := use(t, time.Minute)
	device, err := s.StartGeneralNode(s.lab.Host("intruder"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		device.DHCP.Kill()
		if _, err := s.Ctl(context.Background(), "delete", "generalnode", "newcomer", "--ignore-not-found"); err != nil {
			t.Error(err)
		}
		if _, err := device.Host.Run(context.Background(), "ip", "addr", "flush", "dev", "eth0"); err != nil {
			t.Error(err)
		}
	})
	before := s.admitNewcomer(t, ctx)
	if err := s.ping(ctx, "viewer", before.VirtualIPv4.String()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Ctl(ctx, "delete", "generalnode", "newcomer"); err != nil {
		t.Fatal(err)
	}
	if err := s.agents["adapter"].Await(ctx, func(status overlay.Status) error {
		if status.Listed("newcomer") == nil {
			return errors.New("the adapter still carries the deleted general node")
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	device.DHCP.Kill() // as a device that is switched off and on
	if device, err = s.StartGeneralNode(device.Host); err != nil {
		t.Fatal(err)
	}
	after := s.admitNewcomer(t, ctx)
	if after.NodeID == before.NodeID || after.VirtualIPv4 != before.VirtualIPv4 {
		t.Fatalf("the new device is %s at %v, want another key than %s at %v", after.NodeID, after.VirtualIPv4, before.NodeID, before.VirtualIPv4)
	}
	s.reachable(t, ctx, "viewer", "newcomer")
}

// admitNewcomer puts the newcomer into the list and waits until it is registered.
func (s *system) admitNewcomer(t *testing.T, ctx context.Context) overlay.Local {
	t.Helper()
	if err := s.Apply(ctx, newcomer); err != nil {
		t.Fatal(err)
	}
	if err := s.agents["adapter"].Await(ctx, func(status overlay.Status) error {
		local, err := status.Local(fqdn("newcomer"))
		if err == nil && !local.Registered {
			err = errors.New("not registered yet")
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return s.local(t, ctx, "newcomer")
}
