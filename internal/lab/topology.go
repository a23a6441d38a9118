package lab

import (
	"fmt"
	"net"
	"net/netip"
)

// Topology is a network as a value.
type Topology struct {
	Hosts []HostSpec
	Links []LinkSpec
}

// HostSpec is one namespace.
type HostSpec struct {
	// Name is unique in the topology; the namespace is called <run>-<name>.
	Name string
	// Router lets the host forward between its interfaces.
	Router bool
	// NAT translates what leaves a router through NAT.Outside; the zero value translates nothing.
	NAT NAT
	// Bridges are created without ports; links join them through End.Bridge.
	Bridges []BridgeSpec
	// Routes are added after all links are up.
	Routes []Route
	// Nameservers go into the host's own /etc/resolv.conf; none leaves that file empty, never the machine's.
	Nameservers []netip.Addr
}

// BridgeSpec is a bridge of a host, with the host's own addresses on it.
type BridgeSpec struct {
	Name      string
	Addresses []netip.Prefix
}

// Route sends To (0.0.0.0/0 and ::/0 for a default route) to the neighbour Via.
type Route struct {
	To  netip.Prefix
	Via netip.Addr
}

// LinkSpec is a virtual Ethernet cable between two hosts.
type LinkSpec struct {
	A, B End
	// WAN marks a link of the "internet": its packets are kept as evidence (at end A) and, with Options.RealWire,
	// it carries no packet larger than its MTU.
	WAN bool
	// MTU in bytes; zero is 1500.
	MTU int
}

// End is one interface of a link.
type End struct {
	Host      string
	Interface string
	// Bridge, if set, is the bridge of the host that the interface joins as a port.
	Bridge string
	// MAC, if set, is the hardware address; else the kernel chooses one.
	MAC       string
	Addresses []netip.Prefix
	// Down leaves the interface down; a test brings it up later.
	Down bool
}

// DefaultRoutes gives one default route per neighbour, in the neighbour's address family.
func DefaultRoutes(via ...string) []Route {
	routes := make([]Route, 0, len(via))
	for _, text := range via {
		addr := netip.MustParseAddr(text)
		to := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
		if addr.Is6() {
			to = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
		}
		routes = append(routes, Route{To: to, Via: addr})
	}
	return routes
}

// Prefixes parses addresses with their prefix lengths, as written in topologies.
func Prefixes(texts ...string) []netip.Prefix {
	prefixes := make([]netip.Prefix, 0, len(texts))
	for _, text := range texts {
		prefixes = append(prefixes, netip.MustParsePrefix(text))
	}
	return prefixes
}

// Validate reports the first mistake in the topology that would otherwise surface as an obscure kernel error.
func (t Topology) Validate() error {
	if len(t.Hosts) == 0 || len(t.Hosts) > maxHosts {
		return fmt.Errorf("topology has %d hosts, want 1 to %d", len(t.Hosts), maxHosts)
	}
	bridges := make(map[string]map[string]bool, len(t.Hosts))
	interfaces := make(map[string]bool)
	for _, host := range t.Hosts {
		if host.Name == "" || bridges[host.Name] != nil {
			return fmt.Errorf("host name %q is empty or used twice", host.Name)
		}
		bridges[host.Name] = make(map[string]bool)
		for _, bridge := range host.Bridges {
			bridges[host.Name][bridge.Name] = true
			interfaces[host.Name+"/"+bridge.Name] = true
		}
	}
	for _, link := range t.Links {
		for _, end := range []End{link.A, link.B} {
			if err := end.validate(bridges, interfaces); err != nil {
				return err
			}
		}
	}
	for _, host := range t.Hosts {
		if host.NAT.Behaviour != NATNone && !interfaces[host.Name+"/"+host.NAT.Outside] {
			return fmt.Errorf("host %s translates on %q, which is no interface of it", host.Name, host.NAT.Outside)
		}
	}
	return nil
}

func (e End) validate(bridges map[string]map[string]bool, interfaces map[string]bool) error {
	name := e.Host + "/" + e.Interface
	switch {
	case bridges[e.Host] == nil:
		return fmt.Errorf("link end %s: no such host", name)
	case e.Interface == "" || len(e.Interface) > 15:
		return fmt.Errorf("link end %s: interface names have 1 to 15 bytes", name)
	case interfaces[name]:
		return fmt.Errorf("link end %s: interface used twice", name)
	case e.Bridge != "" && !bridges[e.Host][e.Bridge]:
		return fmt.Errorf("link end %s: host has no bridge %q", name, e.Bridge)
	}
	if e.MAC != "" {
		if _, err := net.ParseMAC(e.MAC); err != nil {
			return fmt.Errorf("link end %s: %w", name, err)
		}
	}
	interfaces[name] = true
	return nil
}
