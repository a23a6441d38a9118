// Package lan is the adapter's side towards the general nodes: the bridge and its ports, the source guard,
// DHCPv4, ARP, and the routes between bridge and virtual interface. It decides nothing about who is
// admitted: the life cycle in package adapter does, and lan carries it out. It never forwards a frame
// from one port to another, and it fails closed: without an admission a device reaches nothing.
//
// How an unchanged device gets by with nothing but DHCP:
//
//   - The bridge owns the network's gateway address as a /32, so no connected route competes with the
//     virtual interface. The kernel answers ARP for every other virtual IP (proxy_arp), because packets that
//     come in over the bridge are looked up in a table of their own in which the whole virtual prefix
//     leads into the virtual interface and everything else is prohibited.
//   - An admitted device has a permanent neighbour entry, a /32 route and a fixed place in the bridge's
//     forwarding table: nothing about it is learnt from the wire.
//   - Before any of this, the guard checks every frame by port, MAC and virtual IP (guard.go).
package lan

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"regexp"
)

// MAC is a hardware address that can be compared and used as a map key.
type MAC [6]byte

// ParseMAC reads the usual notations of a 48-bit address. Group addresses identify nobody and are refused.
func ParseMAC(s string) (MAC, error) {
	hw, err := net.ParseMAC(s)
	if err != nil || len(hw) != len(MAC{}) {
		return MAC{}, fmt.Errorf("lan: %q is no 48-bit MAC address", s)
	}
	m := MAC(hw)
	if m[0]&1 != 0 || m == (MAC{}) {
		return MAC{}, fmt.Errorf("lan: %s is no address of a single device", m)
	}
	return m, nil
}

// String returns the lower-case notation with colons.
func (m MAC) String() string { return net.HardwareAddr(m[:]).String() }

// MarshalText writes the notation of String.
func (m MAC) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText reads what ParseMAC reads.
func (m *MAC) UnmarshalText(b []byte) error {
	parsed, err := ParseMAC(string(b))
	*m = parsed
	return err
}

// Network is the virtual network of the general nodes.
type Network struct {
	Prefix  netip.Prefix // virtual IPv4 prefix
	Gateway netip.Addr   // its first host address, owned by the bridge
	Domain  string       // DNS domain
}

// NewNetwork derives the gateway from the prefix.
func NewNetwork(prefix netip.Prefix, domain string) (Network, error) {
	if !prefix.IsValid() || !prefix.Addr().Is4() || prefix.Bits() > 30 {
		return Network{}, fmt.Errorf("lan: %s is no IPv4 prefix with room for a gateway", prefix)
	}
	prefix = prefix.Masked()
	return Network{Prefix: prefix, Gateway: prefix.Addr().Next(), Domain: domain}, nil
}

// Binding is the admission of a general node: what its frames must look like.
type Binding struct {
	Port string
	MAC  MAC
	IPv4 netip.Addr
}

// ErrName means that an interface name contains what the guard's language could misread.
var ErrName = errors.New("lan: interface names may have letters, digits, dot, dash and underscore, at most 15")

var interfaceName = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,15}$`)

// CheckInterfaceName returns ErrName for a name that cannot be used.
func CheckInterfaceName(name string) error {
	if !interfaceName.MatchString(name) {
		return fmt.Errorf("%w: %q", ErrName, name)
	}
	return nil
}
