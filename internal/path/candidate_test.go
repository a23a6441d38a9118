package path

import (
	"net/netip"
	"slices"
	"testing"
)

func addrs(list ...string) (out []netip.AddrPort) {
	for _, s := range list {
		out = append(out, netip.MustParseAddrPort(s))
	}
	return out
}

func TestUsable(t *testing.T) {
	overlay := []netip.Prefix{netip.MustParsePrefix("10.77.0.0/16"), netip.MustParsePrefix("fd77::/64")}
	both := Families{IPv4: true, IPv6: true}
	for _, tt := range []struct {
		name     string
		in       []netip.AddrPort
		families Families
		want     []netip.AddrPort
	}{
		{
			"keeps order and private addresses", addrs("203.0.113.2:1", "192.168.1.2:1", "[2001:db8::1]:1"), both,
			addrs("203.0.113.2:1", "192.168.1.2:1", "[2001:db8::1]:1"),
		},
		{"once each", addrs("203.0.113.2:1", "203.0.113.2:1", "203.0.113.2:2"), both, addrs("203.0.113.2:1", "203.0.113.2:2")},
		{"no loopback, link-local, multicast, unspecified, broadcast", addrs("127.0.0.1:1", "169.254.1.1:1", "224.0.0.1:1",
			"0.0.0.0:1", "0.1.2.3:1", "240.0.0.1:1", "255.255.255.255:1", "[::1]:1", "[fe80::1]:1", "[ff02::1]:1", "[::]:1"), both, nil},
		{"no mapped address", addrs("[::ffff:203.0.113.2]:1"), both, nil},
		{"no port", addrs("203.0.113.2:0"), both, nil},
		{"not inside the overlay", addrs("10.77.3.4:1", "[fd77::5]:1"), both, nil},
		{"only the host's families", addrs("203.0.113.2:1", "[2001:db8::1]:1"), Families{IPv6: true}, addrs("[2001:db8::1]:1")},
		{
			"bounded", addrs("1.0.0.1:1", "1.0.0.2:1", "1.0.0.3:1", "1.0.0.4:1", "1.0.0.5:1", "1.0.0.6:1", "1.0.0.7:1", "1.0.0.8:1", "1.0.0.9:1"), both,
			addrs("1.0.0.1:1", "1.0.0.2:1", "1.0.0.3:1", "1.0.0.4:1", "1.0.0.5:1", "1.0.0.6:1", "1.0.0.7:1", "1.0.0.8:1"),
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := Usable(tt.in, tt.families, overlay); !slices.Equal(got, tt.want) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

func TestOwnPutsTheObservedAddressFirst(t *testing.T) {
	got := Own(netip.MustParseAddrPort("203.0.113.2:9"), addrs("192.168.1.2:1", "203.0.113.2:9"), nil)
	if want := addrs("203.0.113.2:9", "192.168.1.2:1"); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestFamiliesChoose(t *testing.T) {
	v4, v6 := netip.MustParseAddrPort("203.0.113.2:1"), netip.MustParseAddrPort("[2001:db8::1]:1")
	for _, tt := range []struct {
		name string
		own  []netip.AddrPort
		a, b netip.AddrPort
		want netip.AddrPort
	}{
		{"IPv4 first", []netip.AddrPort{v4, v6}, v4, v6, v4},
		{"IPv6 host", []netip.AddrPort{v6}, v4, v6, v6},
		{"unknown host has both", nil, v4, v6, v4},
		{"service without the family", []netip.AddrPort{v4}, netip.AddrPort{}, v6, netip.AddrPort{}},
		{"the other family", []netip.AddrPort{v4, v6}, netip.AddrPort{}, v6, v6},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, ok := FamiliesOf(tt.own).Choose(tt.a, tt.b)
			if got != tt.want || ok != tt.want.IsValid() {
				t.Errorf("got %v %v, want %v", got, ok, tt.want)
			}
		})
	}
}
