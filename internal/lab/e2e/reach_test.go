package e2e

import (
	"net/netip"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// pairs has one row per kind of path; both directions of each are tested.
func pairs() []struct{ a, b, path string } {
	return []struct{ a, b, path string }{
		{"alpha", "beta", "direct"},
		{"viewer", "desk", "punched"},
		{"viewer", "cam1", "punched"},
		{"viewer", "cam2", "punched"},
		{"gamma", "delta", "relayed"},
		{"four", "six", "relayed"},
		{"desk", "cam1", "direct"}, // same site
		{"alpha", "cam1", "punched"},
		{"six", "cam2", "relayed"},
	}
}

func TestVirtualAddressesWorkWithoutAnyName(t *testing.T) {
	s, ctx := use(t, time.Minute)
	// A pair that nothing else uses: the first packet sets the tunnel up.
	beta := s.local(t, ctx, "beta")
	for _, addr := range []netip.Addr{beta.VirtualIPv4, beta.VirtualIPv6} {
		if err := s.ping(ctx, "four", addr.String()); err != nil {
			t.Error(err)
		}
	}
	if err := s.ping(ctx, "cam2", s.local(t, ctx, "four").VirtualIPv4.String()); err != nil {
		t.Errorf("from a general node: %v", err)
	}
}

func TestDevicesReachOneAnotherByNameAndAddressInBothDirections(t *testing.T) {
	s, ctx := use(t, 2*time.Minute)
	for _, pair := range pairs() {
		for _, direction := range [][2]string{{pair.a, pair.b}, {pair.b, pair.a}} {
			from, to := direction[0], direction[1]
			t.Run(from+" to "+to, func(t *testing.T) {
				want := s.local(t, ctx, to)
				got, err := s.lookup(ctx, from, to, dns.TypeA)
				if err != nil || got != want.VirtualIPv4 {
					t.Fatalf("lookup: %v, %v; want %v", got, err, want.VirtualIPv4)
				}
				if !s.v4Only(to) && !s.v4Only(from) {
					if got, err = s.lookup(ctx, from, to, dns.TypeAAAA); err != nil || got != want.VirtualIPv6 {
						t.Fatalf("lookup of AAAA: %v, %v; want %v", got, err, want.VirtualIPv6)
					}
					if err := s.ping(ctx, from, want.VirtualIPv6.String()); err != nil {
						t.Errorf("by virtual IPv6: %v", err)
					}
				}
				if err := s.ping(ctx, from, want.VirtualIPv4.String()); err != nil {
					t.Errorf("by virtual IPv4: %v", err)
				}
				if err := s.ping(ctx, from, fqdn(to)); err != nil {
					t.Errorf("by name: %v", err)
				}
			})
		}
	}
}

func TestThePathIsWhatTheNetworkAllows(t *testing.T) {
	s, ctx := use(t, time.Minute)
	for _, pair := range pairs() {
		t.Run(pair.a+" to "+pair.b, func(t *testing.T) {
			if err := s.ping(ctx, pair.a, s.local(t, ctx, pair.b).VirtualIPv4.String()); err != nil {
				t.Fatal(err)
			}
			if err := s.awaitPath(ctx, pair.a, pair.b, pair.path); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestTCPAndUDPCrossEveryKindOfPath(t *testing.T) {
	s, ctx := use(t, 2*time.Minute)
	for _, row := range []struct {
		from, to string
		size     int64
	}{
		{"alpha", "beta", 20 << 20},
		{"viewer", "desk", 20 << 20},
		{"gamma", "delta", 5 << 20},
		{"six", "four", 5 << 20},
		{"viewer", "cam1", 20 << 20},
		{"cam2", "viewer", 20 << 20},
	} {
		t.Run(row.from+" to "+row.to, func(t *testing.T) {
			s.echo(t, row.to, 9000)
			to := s.local(t, ctx, row.to)
			addrs := []netip.Addr{to.VirtualIPv4}
			if !s.v4Only(row.from) && !s.v4Only(row.to) {
				addrs = append(addrs, to.VirtualIPv6)
			}
			for _, addr := range addrs {
				target := netip.AddrPortFrom(addr, 9000)
				if err := s.exchangeTCP(ctx, row.from, target, row.size); err != nil {
					t.Errorf("TCP to %s: %v", target, err)
				}
				if err := s.exchangeUDP(ctx, row.from, target); err != nil {
					t.Errorf("UDP to %s: %v", target, err)
				}
			}
		})
	}
}

func TestWhatNoPolicyAllowsIsDenied(t *testing.T) {
	s, ctx := use(t, time.Minute)
	if addr, err := s.lookup(ctx, "alpha", "mallory", dns.TypeA); err == nil {
		t.Errorf("the name of a device that no policy allows resolved to %v", addr)
	}
	mallory := s.local(t, ctx, "mallory").VirtualIPv4
	if err := s.ping(ctx, "alpha", mallory.String()); err == nil {
		t.Error("ping reached a device that no policy allows")
	}
	if err := s.ping(ctx, "mallory", s.local(t, ctx, "alpha").VirtualIPv4.String()); err == nil {
		t.Error("a device without a policy reached alpha")
	}
	if err := s.ping(ctx, "alpha", s.local(t, ctx, "beta").VirtualIPv4.String()); err != nil {
		t.Errorf("an allowed pair, for comparison: %v", err)
	}
}
