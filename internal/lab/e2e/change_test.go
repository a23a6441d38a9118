package e2e

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/cyphonic/cyphonic/internal/lab"
	"github.com/cyphonic/cyphonic/internal/lab/overlay"
)

// gapBound is how long an open connection may pause when its path dies: detection within 2 s, the change itself, and
// the wait of TCP's own retransmission, which doubles meanwhile.
const gapBound = 8 * time.Second

func TestAnOpenConnectionSurvivesTheLossAndReturnOfTheDirectPath(t *testing.T) {
	for _, to := range []string{"desk", "cam1"} {
		t.Run("viewer to "+to, func(t *testing.T) {
			s, ctx := use(t, 90*time.Second)
			s.echo(t, to, 9001)
			target := netip.AddrPortFrom(s.local(t, ctx, to).VirtualIPv4, 9001)
			st := s.openStream(t, ctx, "viewer", target)
			if err := s.awaitPath(ctx, "viewer", to, "punched"); err != nil {
				t.Fatal(err)
			}
			undo := s.block(t, ctx, overlay.BetweenSites())
			lost := time.Now()
			if err := errors.Join(s.awaitPath(ctx, "viewer", to, "relayed"), st.progress(ctx, 200)); err != nil {
				t.Fatal(err)
			}
			t.Logf("relayed and moving %v after the loss", time.Since(lost).Round(time.Millisecond))
			undo()
			back := time.Now()
			if err := errors.Join(s.awaitPath(ctx, "viewer", to, "punched"), st.progress(ctx, 200)); err != nil {
				t.Fatal(err)
			}
			t.Logf("punched again %v after the return", time.Since(back).Round(time.Millisecond))
			if err := st.finish(gapBound); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestAnOpenConnectionSurvivesAChangeOfTheRealAddress(t *testing.T) {
	s, ctx := use(t, time.Minute)
	s.echo(t, "beta", 9002)
	alpha := s.lab.Host("alpha")
	old, changed := lab.Prefixes("192.0.2.2/28")[0], lab.Prefixes("192.0.2.3/28")[0]
	// Only IPv4 stays usable between the two, so that the path has to change with the address.
	s.block(t, ctx, lab.BlockRule{
		Protocol: "udp", BothWays: true,
		From: netip.MustParsePrefix("2001:db8:a::/64"), To: netip.MustParsePrefix("2001:db8:b::/64"),
	})
	st := s.openStream(t, ctx, "alpha", netip.AddrPortFrom(s.local(t, ctx, "beta").VirtualIPv4, 9002))
	if err := errors.Join(alpha.AddAddress("eth0", changed), alpha.RemoveAddress("eth0", old)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(alpha.AddAddress("eth0", old), alpha.RemoveAddress("eth0", changed)); err != nil {
			t.Error(err)
		}
	})
	if err := st.progress(ctx, 200); err != nil {
		t.Fatal(err)
	}
	moved := func(status overlay.Status) error {
		peer, err := status.Peer(fqdn("beta"), fqdn("alpha"))
		if err == nil && peer.Address.Addr() != changed.Addr() {
			err = errors.New("beta still sends to " + peer.Address.String())
		}
		return err
	}
	if err := s.agents["beta"].Await(ctx, moved); err != nil {
		t.Error(err)
	}
	if err := errors.Join(st.progress(ctx, 200), st.finish(gapBound)); err != nil {
		t.Error(err)
	}
}

func TestAnOpenConnectionSurvivesANewOutsideAddressOfItsTranslator(t *testing.T) {
	s, ctx := use(t, time.Minute)
	s.echo(t, "desk", 9003)
	st := s.openStream(t, ctx, "viewer", netip.AddrPortFrom(s.local(t, ctx, "desk").VirtualIPv4, 9003))
	natb := s.lab.Host("natb")
	old, changed := lab.Prefixes("198.51.100.130/25")[0], lab.Prefixes("198.51.100.131/25")[0]
	move := func(from, to netip.Prefix) error {
		return errors.Join(natb.AddAddress("wan", to), natb.RemoveAddress("wan", from))
	}
	if err := move(old, changed); err != nil {
		t.Fatal(err)
	}
	back := sync.OnceValue(func() error { return move(changed, old) })
	t.Cleanup(func() {
		if err := back(); err != nil {
			t.Error(err)
		}
	})
	punched := func(outside netip.Addr) func(overlay.Status) error {
		return func(status overlay.Status) error {
			peer, err := status.Peer(fqdn("desk"), fqdn("viewer"))
			if err == nil && (peer.Path != "punched" || peer.Address.Addr() != outside) {
				err = fmt.Errorf("desk sends to %v (%s)", peer.Address, peer.Path)
			}
			return err
		}
	}
	for _, step := range []struct {
		move    func() error
		outside netip.Addr
	}{{func() error { return nil }, changed.Addr()}, {back, old.Addr()}} {
		if err := step.move(); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		if err := errors.Join(st.progress(ctx, 300), s.agents["desk"].Await(ctx, punched(step.outside))); err != nil {
			t.Fatal(err)
		}
		t.Logf("punched through %v after %v", step.outside, time.Since(begin).Round(time.Millisecond))
	}
	if err := st.finish(gapBound); err != nil {
		t.Error(err)
	}
}
