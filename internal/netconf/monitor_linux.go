package netconf

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// scan reads addresses and default routes from the kernel.
func (m *Monitor) scan() (state, error) {
	links, err := netlink.LinkList()
	if err != nil {
		return state{}, fmt.Errorf("netconf: list interfaces: %w", err)
	}
	names := make(map[int]string, len(links))
	for _, l := range links {
		if l.Attrs().Flags&unix.IFF_UP != 0 && !m.excluded(l.Attrs().Name) {
			names[l.Attrs().Index] = l.Attrs().Name
		}
	}
	var s state
	preferred := make(map[int]bool)
	routes, err := netlink.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_TABLE)
	if err != nil {
		return state{}, fmt.Errorf("netconf: list routes: %w", err)
	}
	for _, r := range routes {
		if p, ok := prefixOf(r.Dst); r.Dst != nil && (!ok || p.Bits() != 0) {
			continue
		}
		if name, ok := names[r.LinkIndex]; ok {
			preferred[r.LinkIndex] = true
			s.defaults = append(s.defaults, fmt.Sprintf("%s via %s", name, r.Gw))
		}
	}
	slices.Sort(s.defaults)
	s.addresses, err = m.addresses(names, preferred)
	return s, err
}

// addresses lists the usable addresses of the named interfaces, preferred interfaces first and then in
// the order of the addresses themselves, so that the same set always reads the same.
func (m *Monitor) addresses(names map[int]string, preferred map[int]bool) ([]netip.Addr, error) {
	list, err := netlink.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return nil, fmt.Errorf("netconf: list addresses: %w", err)
	}
	var first, rest []netip.Addr
	for _, a := range list {
		p, ok := prefixOf(a.IPNet)
		if _, known := names[a.LinkIndex]; !ok || !known || !m.real(p.Addr()) {
			continue
		}
		if a.Flags&(unix.IFA_F_TENTATIVE|unix.IFA_F_DADFAILED|unix.IFA_F_DEPRECATED) != 0 {
			continue
		}
		if preferred[a.LinkIndex] {
			first = append(first, p.Addr())
		} else {
			rest = append(rest, p.Addr())
		}
	}
	slices.SortFunc(first, netip.Addr.Compare)
	slices.SortFunc(rest, netip.Addr.Compare)
	return slices.Compact(append(first, rest...)), nil
}

// subscribe wakes the monitor for every message of the kernel about addresses, routes or links, and
// subscribes anew when the kernel drops the subscription (overflow of its socket).
func (m *Monitor) subscribe(ctx context.Context, wake chan<- struct{}) {
	for ctx.Err() == nil {
		if err := m.listen(ctx, wake); err != nil && ctx.Err() == nil {
			m.options.Log.Warn("lost the kernel's address messages, subscribing again", "error", err)
		}
		notify(wake)
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

// listen holds one subscription until it fails or ctx ends.
func (m *Monitor) listen(ctx context.Context, wake chan<- struct{}) error {
	socket, err := nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_LINK,
		unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR, unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE)
	if err != nil {
		return fmt.Errorf("netconf: subscribe to address changes: %w", err)
	}
	stop := context.AfterFunc(ctx, socket.Close)
	defer func() {
		if stop() {
			socket.Close()
		}
	}()
	notify(wake)
	for {
		if _, _, err := socket.Receive(); err != nil {
			return fmt.Errorf("netconf: receive address changes: %w", err)
		}
		notify(wake)
	}
}

func notify(wake chan<- struct{}) {
	select {
	case wake <- struct{}{}:
	default:
	}
}
