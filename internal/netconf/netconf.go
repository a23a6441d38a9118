// Package netconf configures the host's network for an agent: addresses, routes, routing rules and
// neighbour entries of the interfaces that belong to the overlay, and it watches the real addresses of
// the host. It must not know tunnels, peers or the resolver, and it never touches an interface that
// the caller did not name.
//
// Every operation that sets something is idempotent: a second call with the same values changes
// nothing, so that an agent that was killed can start again over its own remains.
package netconf

import (
	"errors"
	"net"
	"net/netip"
)

// ErrUnsupported is returned by operations that this operating system does not offer.
var ErrUnsupported = errors.New("netconf: not supported on this operating system")

// Interface is the wanted state of one virtual interface.
type Interface struct {
	Name      string
	MTU       int            // bytes; zero leaves it
	Addresses []netip.Prefix // exactly these and the link-local ones
	Routes    []netip.Prefix // routed into the interface in the main table
}

// Route is one route into an interface.
type Route struct {
	Interface   string // ignored where Prohibit is set
	Destination netip.Prefix
	Source      netip.Addr // preferred source address; zero: the kernel chooses
	Table       int        // zero: main
	Prohibit    bool       // refuse packets instead of forwarding them
}

// Rule sends packets that came in over Interface to a routing table of their own.
type Rule struct {
	Interface string
	Table     int
	Priority  int
}

// Neighbour binds a virtual IP to a hardware address for good: the kernel neither asks nor learns.
type Neighbour struct {
	Interface string
	Address   netip.Addr
	MAC       net.HardwareAddr
}

// sourceFor returns the address of a prefix's family out of addresses, zero if there is none.
func sourceFor(p netip.Prefix, addresses []netip.Prefix) netip.Addr {
	for _, a := range addresses {
		if a.Addr().Is4() == p.Addr().Is4() {
			return a.Addr()
		}
	}
	return netip.Addr{}
}
