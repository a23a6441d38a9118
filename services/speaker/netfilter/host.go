package netfilter

import (
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// host is what the balancer asks and changes of the network namespace besides rules.
type host struct{ handle *netlink.Handle }

func openHost() (host, error) {
	handle, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return host{}, fmt.Errorf("open a netlink socket: %w", err)
	}
	return host{handle}, nil
}

// addresses of all interfaces.
func (h host) addresses() (map[netip.Addr]bool, error) {
	list, err := h.handle.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return nil, fmt.Errorf("list the addresses of the host: %w", err)
	}
	all := make(map[netip.Addr]bool, len(list))
	for _, address := range list {
		if a, ok := netip.AddrFromSlice(address.IP); ok {
			all[a.Unmap()] = true
		}
	}
	return all, nil
}

// onLink keeps the hosts that a packet reaches without a router; the others could not be shown one that is addressed
// to a VIP.
func (h host) onLink(hosts []netip.Addr) (near, far []netip.Addr) {
	for _, other := range hosts {
		routes, err := h.handle.RouteGet(other.AsSlice())
		if err == nil && len(routes) > 0 && !slices.ContainsFunc(routes, func(r netlink.Route) bool { return !direct(r) }) {
			near = append(near, other)
		} else {
			far = append(far, other)
		}
	}
	return near, far
}

// direct tells whether a route leads to a neighbour, without a gateway and not back to the host itself.
func direct(r netlink.Route) bool {
	return len(r.Gw) == 0 && r.Via == nil && len(r.MultiPath) == 0 && r.Type == unix.RTN_UNICAST
}

// setVIPs gives the loopback interface the wanted VIPs and takes away the others of old.
func (h host) setVIPs(old, wanted []netip.Addr) error {
	loopback, err := h.handle.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find the loopback interface: %w", err)
	}
	var errs []error
	for _, vip := range old {
		if slices.Contains(wanted, vip) {
			continue
		}
		if err := h.handle.AddrDel(loopback, loopbackAddress(vip)); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
			errs = append(errs, fmt.Errorf("take VIP %s from lo: %w", vip, err))
		}
	}
	for _, vip := range wanted {
		if err := h.handle.AddrAdd(loopback, loopbackAddress(vip)); err != nil && !errors.Is(err, unix.EEXIST) {
			errs = append(errs, fmt.Errorf("give lo the VIP %s: %w", vip, err))
		}
	}
	return errors.Join(errs...)
}

// loopbackAddress is a VIP that the host answers for and never chooses as the source of its own connections: IPv4 has a
// scope for that, in IPv6 it is a deprecated address (RFC 6724, rule 3).
func loopbackAddress(vip netip.Addr) *netlink.Addr {
	bits := vip.BitLen()
	address := &netlink.Addr{IPNet: &net.IPNet{IP: vip.AsSlice(), Mask: net.CIDRMask(bits, bits)}}
	if vip.Is4() {
		address.Scope = unix.RT_SCOPE_HOST
	} else {
		address.Flags = unix.IFA_F_NODAD
		address.ValidLft, address.PreferedLft = math.MaxUint32, 0
	}
	return address
}

// forwards tells whether the host forwards packets of a family, which backends in other namespaces need.
func forwards(f family) bool {
	name := "/proc/sys/net/ipv4/ip_forward"
	if f.name == ipv6.name {
		name = "/proc/sys/net/ipv6/conf/all/forwarding"
	}
	value, err := os.ReadFile(name)
	return err == nil && strings.TrimSpace(string(value)) != "0"
}
