package path

import (
	"net/netip"
	"slices"
)

// Families says which address families a host can send with.
type Families struct{ IPv4, IPv6 bool }

// FamiliesOf gives the families of a host's own addresses. A host that names
// none is taken to have both: trying costs a datagram, not trying the tunnel.
func FamiliesOf(own []netip.AddrPort) Families {
	var f Families
	for _, a := range own {
		if a.Addr().Is4() {
			f.IPv4 = true
		} else if a.Addr().Is6() {
			f.IPv6 = true
		}
	}
	if !f.IPv4 && !f.IPv6 {
		return Families{IPv4: true, IPv6: true}
	}
	return f
}

// Has says whether the host can send to a.
func (f Families) Has(a netip.Addr) bool {
	return a.Is4() && f.IPv4 || a.Is6() && f.IPv6
}

// Choose gives the address of a service that the host can reach: IPv4 first,
// because only there the NMS can tell what a NAT makes of it. The second result
// is false when there is none.
func (f Families) Choose(ipv4, ipv6 netip.AddrPort) (netip.AddrPort, bool) {
	if f.IPv4 && ipv4.IsValid() {
		return ipv4, true
	}
	if f.IPv6 && ipv6.IsValid() {
		return ipv6, true
	}
	return netip.AddrPort{}, false
}

// Usable keeps, in their order and once each, the candidates worth a datagram:
// of a family the host has, unicast, not loopback or link-local, with a port,
// and not inside the overlay (a tunnel inside a tunnel). At most MaxCandidates
// are kept.
func Usable(candidates []netip.AddrPort, f Families, overlay []netip.Prefix) []netip.AddrPort {
	var kept []netip.AddrPort
	for _, c := range candidates {
		if len(kept) == MaxCandidates {
			break
		}
		if usable(c, f, overlay) && !slices.Contains(kept, c) {
			kept = append(kept, c)
		}
	}
	return kept
}

func usable(c netip.AddrPort, f Families, overlay []netip.Prefix) bool {
	a := c.Addr()
	switch {
	case !c.IsValid() || c.Port() == 0 || a.Is4In6() || a.Zone() != "":
		return false
	case a.IsUnspecified() || a.IsLoopback() || a.IsMulticast() || a.IsLinkLocalUnicast():
		return false
	case a.Is4() && (a.As4()[0] == 0 || a.As4()[0] >= 240): // "this network", reserved, broadcast
		return false
	case !f.Has(a):
		return false
	}
	return !slices.ContainsFunc(overlay, func(p netip.Prefix) bool { return p.Contains(a) })
}

// Own gives the candidates to announce: the address that the NMS observed
// first, because it is the one a stranger can reach, then the host's own.
func Own(observed netip.AddrPort, own []netip.AddrPort, overlay []netip.Prefix) []netip.AddrPort {
	all := make([]netip.AddrPort, 0, len(own)+1)
	if observed.IsValid() {
		all = append(all, observed)
	}
	all = append(all, own...)
	return Usable(all, Families{IPv4: true, IPv6: true}, overlay)
}
