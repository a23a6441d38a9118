package netconf

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Configure brings an existing interface into the wanted state and up.
func Configure(want Interface) error {
	link, err := netlink.LinkByName(want.Name)
	if err != nil {
		return fmt.Errorf("netconf: interface %s: %w", want.Name, err)
	}
	if want.MTU != 0 && link.Attrs().MTU != want.MTU {
		if err := netlink.LinkSetMTU(link, want.MTU); err != nil {
			return fmt.Errorf("netconf: set the MTU of %s to %d: %w", want.Name, want.MTU, err)
		}
	}
	if hasIPv6(want.Addresses) {
		// Hosts that switch IPv6 off by default still get it inside the overlay.
		_ = SetSysctl("0", "net", "ipv6", "conf", want.Name, "disable_ipv6")
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("netconf: bring %s up: %w", want.Name, err)
	}
	if err := setAddresses(link, want.Addresses); err != nil {
		return err
	}
	for _, r := range want.Routes {
		route := Route{Interface: want.Name, Destination: r, Source: sourceFor(r, want.Addresses)}
		if err := SetRoute(route); err != nil {
			return err
		}
	}
	return nil
}

// setAddresses removes addresses that are not wanted (link-local ones stay) and adds the missing.
func setAddresses(link netlink.Link, want []netip.Prefix) error {
	have, err := netlink.AddrList(link, netlink.FAMILY_ALL)
	if err != nil {
		return fmt.Errorf("netconf: addresses of %s: %w", link.Attrs().Name, err)
	}
	missing := make(map[netip.Prefix]bool, len(want))
	for _, p := range want {
		missing[p] = true
	}
	for _, a := range have {
		p, ok := prefixOf(a.IPNet)
		if !ok || p.Addr().IsLinkLocalUnicast() {
			continue
		}
		if missing[p] {
			delete(missing, p)
			continue
		}
		if err := netlink.AddrDel(link, &a); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
			return fmt.Errorf("netconf: remove %s from %s: %w", p, link.Attrs().Name, err)
		}
	}
	for p := range missing {
		if err := addAddress(link, p); err != nil {
			return err
		}
	}
	return nil
}

// addAddress adds one address without a route of its own and, for IPv6, without duplicate address
// detection: nobody else is on the link of a virtual interface.
func addAddress(link netlink.Link, p netip.Prefix) error {
	addr := &netlink.Addr{IPNet: ipNet(p), Flags: unix.IFA_F_NOPREFIXROUTE}
	if p.Addr().Is6() {
		addr.Flags |= unix.IFA_F_NODAD
	}
	if err := netlink.AddrReplace(link, addr); err != nil {
		return fmt.Errorf("netconf: add %s to %s: %w", p, link.Attrs().Name, err)
	}
	return nil
}

// SetRoute adds or replaces a route.
func SetRoute(r Route) error {
	route, err := kernelRoute(r)
	if err != nil {
		return err
	}
	if err := netlink.RouteReplace(route); err != nil {
		return fmt.Errorf("netconf: route %s into %s: %w", r.Destination, r.Interface, err)
	}
	return nil
}

// DeleteRoute removes a route; a missing route or interface is no error.
func DeleteRoute(r Route) error {
	route, err := kernelRoute(r)
	if err != nil {
		return ignoreMissing(err)
	}
	if err := ignoreMissing(netlink.RouteDel(route)); err != nil {
		return fmt.Errorf("netconf: remove route %s: %w", r.Destination, err)
	}
	return nil
}

func kernelRoute(r Route) (*netlink.Route, error) {
	route := &netlink.Route{Dst: ipNet(r.Destination.Masked()), Table: r.Table, Protocol: unix.RTPROT_STATIC}
	if r.Prohibit {
		route.Type = unix.RTN_PROHIBIT
		return route, nil
	}
	link, err := netlink.LinkByName(r.Interface)
	if err != nil {
		return nil, fmt.Errorf("netconf: interface %s: %w", r.Interface, err)
	}
	route.LinkIndex = link.Attrs().Index
	if r.Destination.Addr().Is4() {
		route.Scope = netlink.SCOPE_LINK
	}
	if r.Source.IsValid() {
		route.Src = net.IP(r.Source.AsSlice())
	}
	return route, nil
}

// SetRule adds a routing rule for IPv4 and IPv6 unless it is there.
func SetRule(r Rule) error {
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		err := netlink.RuleAdd(kernelRule(r, family))
		if errors.Is(err, unix.EEXIST) || (family == netlink.FAMILY_V6 && errors.Is(err, unix.EAFNOSUPPORT)) {
			continue
		}
		if err != nil {
			return fmt.Errorf("netconf: rule for packets from %s: %w", r.Interface, err)
		}
	}
	return nil
}

// DeleteRule removes a routing rule; a missing rule is no error.
func DeleteRule(r Rule) error {
	var errs []error
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		err := ignoreMissing(netlink.RuleDel(kernelRule(r, family)))
		if err != nil && !errors.Is(err, unix.EAFNOSUPPORT) {
			errs = append(errs, fmt.Errorf("netconf: remove rule for packets from %s: %w", r.Interface, err))
		}
	}
	return errors.Join(errs...)
}

func kernelRule(r Rule, family int) *netlink.Rule {
	rule := netlink.NewRule()
	rule.Family = family
	rule.IifName = r.Interface
	rule.Table = r.Table
	rule.Priority = r.Priority
	return rule
}

// SetNeighbour adds or replaces a permanent neighbour entry.
func SetNeighbour(n Neighbour) error {
	entry, err := kernelNeighbour(n)
	if err != nil {
		return err
	}
	if err := netlink.NeighSet(entry); err != nil {
		return fmt.Errorf("netconf: neighbour %s on %s: %w", n.Address, n.Interface, err)
	}
	return nil
}

// DeleteNeighbour removes a neighbour entry; a missing one is no error.
func DeleteNeighbour(n Neighbour) error {
	entry, err := kernelNeighbour(n)
	if err != nil {
		return ignoreMissing(err)
	}
	if err := ignoreMissing(netlink.NeighDel(entry)); err != nil {
		return fmt.Errorf("netconf: remove neighbour %s: %w", n.Address, err)
	}
	return nil
}

func kernelNeighbour(n Neighbour) (*netlink.Neigh, error) {
	link, err := netlink.LinkByName(n.Interface)
	if err != nil {
		return nil, fmt.Errorf("netconf: interface %s: %w", n.Interface, err)
	}
	return &netlink.Neigh{
		LinkIndex:    link.Attrs().Index,
		State:        netlink.NUD_PERMANENT,
		IP:           net.IP(n.Address.AsSlice()),
		HardwareAddr: n.MAC,
	}, nil
}

// SetSysctl writes one kernel setting; the path is given element by element because interface names
// may contain dots.
func SetSysctl(value string, path ...string) error {
	file := filepath.Join(append([]string{"/proc/sys"}, path...)...)
	if err := os.WriteFile(file, []byte(value), 0o644); err != nil {
		return fmt.Errorf("netconf: set %s to %s: %w", filepath.Join(path...), value, err)
	}
	return nil
}

// ignoreMissing turns the ways in which the kernel says "not there" into success.
func ignoreMissing(err error) error {
	var notFound netlink.LinkNotFoundError
	if errors.As(err, &notFound) || errors.Is(err, unix.ESRCH) || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV) {
		return nil
	}
	return err
}

func hasIPv6(prefixes []netip.Prefix) bool {
	for _, p := range prefixes {
		if p.Addr().Is6() {
			return true
		}
	}
	return false
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: net.IP(p.Addr().AsSlice()), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

func prefixOf(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false
	}
	a, ok := netip.AddrFromSlice(n.IP)
	if !ok {
		return netip.Prefix{}, false
	}
	ones, _ := n.Mask.Size()
	return netip.PrefixFrom(a.Unmap(), ones), true
}
