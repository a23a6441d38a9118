package overlay

import (
	"fmt"
	"net/netip"

	"github.com/cyphonic/cyphonic/internal/lab"
)

// Addresses of the cloud host. All real addresses are documentation or private ones (RFC 5737, RFC 3849, RFC 1918) and
// collide with no virtual prefix.
const (
	CloudIPv4 = "203.0.113.10"
	CloudIPv6 = "2001:db8:113::10"
	// Internet is the name of the router in the middle of every topology.
	Internet = "inet"
	// Cloud is the host that runs cyphonicd.
	Cloud = "cloud"
)

// InternetTopology is the router in the middle and the cloud host on it.
func InternetTopology() *lab.Topology {
	return &lab.Topology{
		Hosts: []lab.HostSpec{
			{Name: Internet, Router: true},
			{
				Name: Cloud, Routes: lab.DefaultRoutes("203.0.113.1", "2001:db8:113::1"),
				Nameservers: []netip.Addr{netip.MustParseAddr(CloudIPv4)},
			},
		},
		Links: []lab.LinkSpec{{
			A:   lab.End{Host: Internet, Interface: Cloud, Addresses: lab.Prefixes("203.0.113.1/24", "2001:db8:113::1/64")},
			B:   lab.End{Host: Cloud, Interface: "eth0", Addresses: lab.Prefixes(CloudIPv4+"/24", CloudIPv6+"/64")},
			WAN: true,
		}},
	}
}

// AddPublicHost puts a host with public addresses on the internet router; each outside is an address with its prefix
// length, and the router takes the first host address of the prefix.
func AddPublicHost(t *lab.Topology, name string, outside ...string) {
	host := lab.HostSpec{Name: name}
	link := lab.LinkSpec{
		A:   lab.End{Host: Internet, Interface: name},
		B:   lab.End{Host: name, Interface: "eth0", Addresses: lab.Prefixes(outside...)},
		WAN: true,
	}
	for _, prefix := range link.B.Addresses {
		gateway := prefix.Masked().Addr().Next()
		link.A.Addresses = append(link.A.Addresses, netip.PrefixFrom(gateway, prefix.Bits()))
		host.Routes = append(host.Routes, lab.DefaultRoutes(gateway.String())...)
		host.Nameservers = append(host.Nameservers, cloudAddress(prefix.Addr()))
	}
	t.Hosts = append(t.Hosts, host)
	t.Links = append(t.Links, link)
}

// cloudAddress is the cloud's address in the family of a host's own address; a DNS server for the rest of the world
// listens there.
func cloudAddress(own netip.Addr) netip.Addr {
	if own.Is4() {
		return netip.MustParseAddr(CloudIPv4)
	}
	return netip.MustParseAddr(CloudIPv6)
}

// AddSite puts a translator on the internet router and hosts behind it, at the second and following addresses of the
// inside prefix; the translator is at the first.
func AddSite(t *lab.Topology, translator string, behaviour lab.NATBehaviour, outside, inside string, hosts ...string) {
	outer, inner := netip.MustParsePrefix(outside), netip.MustParsePrefix(inside).Masked()
	routerOuter, gateway := outer.Masked().Addr().Next(), inner.Addr().Next()
	t.Hosts = append(t.Hosts, lab.HostSpec{
		Name: translator, Router: true, Routes: lab.DefaultRoutes(routerOuter.String()),
		Bridges: []lab.BridgeSpec{{Name: "lan", Addresses: []netip.Prefix{netip.PrefixFrom(gateway, inner.Bits())}}},
		NAT:     lab.NAT{Behaviour: behaviour, Outside: "wan", Inside: gateway.Next()},
	})
	t.Links = append(t.Links, lab.LinkSpec{
		A: lab.End{
			Host: Internet, Interface: translator, Addresses: []netip.Prefix{netip.PrefixFrom(routerOuter, outer.Bits())},
		},
		B:   lab.End{Host: translator, Interface: "wan", Addresses: []netip.Prefix{outer}},
		WAN: true,
	})
	address := gateway
	for i, name := range hosts {
		address = address.Next()
		t.Hosts = append(t.Hosts, lab.HostSpec{
			Name: name, Routes: lab.DefaultRoutes(gateway.String()), Nameservers: []netip.Addr{cloudAddress(address)},
		})
		t.Links = append(t.Links, lab.LinkSpec{
			A: lab.End{Host: translator, Interface: fmt.Sprintf("port%d", i+1), Bridge: "lan"},
			B: lab.End{Host: name, Interface: "eth0", Addresses: []netip.Prefix{netip.PrefixFrom(address, inner.Bits())}},
		})
	}
}

// AddLAN gives a host the bridge br-lan with one port per general node, which is a host that has nothing but an
// interface with the given hardware address.
func AddLAN(t *lab.Topology, adapter string, macs map[string]string, names ...string) {
	for i := range t.Hosts {
		if t.Hosts[i].Name == adapter {
			t.Hosts[i].Bridges = append(t.Hosts[i].Bridges, lab.BridgeSpec{Name: LANBridge})
		}
	}
	for i, name := range names {
		t.Hosts = append(t.Hosts, lab.HostSpec{Name: name})
		t.Links = append(t.Links, lab.LinkSpec{
			A: lab.End{Host: adapter, Interface: fmt.Sprintf("lan%d", i+1), Bridge: LANBridge},
			B: lab.End{Host: name, Interface: "eth0", MAC: macs[name]},
		})
	}
}

// LANBridge is the adapter's bridge towards general nodes.
const LANBridge = "br-lan"

// DemoTopology is the network of the demo:
//
//	cam1, cam2 ── br-lan ── adapter ── NAPT A ── internet ── NAPT B ── viewer
//	                                                └── cloud
func DemoTopology() lab.Topology {
	t := InternetTopology()
	AddSite(t, "nata", lab.NATPortPreserving, "198.51.100.2/25", "192.168.10.0/24", "adapter")
	AddSite(t, "natb", lab.NATPortPreserving, "198.51.100.130/25", "192.168.20.0/24", "viewer")
	AddLAN(t, "adapter", map[string]string{"cam1": "02:00:00:00:01:01", "cam2": "02:00:00:00:01:02"}, "cam1", "cam2")
	return *t
}

// BetweenSites matches UDP between the two translators of the demo, in both directions: the direct path, and nothing else.
func BetweenSites() lab.BlockRule {
	return lab.BlockRule{
		Protocol: "udp", BothWays: true,
		From: netip.MustParsePrefix("198.51.100.2/32"), To: netip.MustParsePrefix("198.51.100.130/32"),
	}
}
