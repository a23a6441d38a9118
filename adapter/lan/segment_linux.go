package lan

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/cyphonic/cyphonic/internal/netconf"
)

// routingTable and rulePriority are where the routes for packets from the bridge live, apart from the
// host's own tables.
const (
	routingTable = 7440
	rulePriority = 7440
)

// Options name the interfaces of a segment.
type Options struct {
	Bridge string   // created if it does not exist
	Ports  []string // put into the bridge; more may be in it already
	Tun    string   // the virtual interface, which exists
	// PortChanged is called from Run when a port's carrier comes or goes, or the port itself.
	PortChanged func(port string, up bool)
	Log         *slog.Logger
}

// Segment is the link layer towards the general nodes of one adapter.
type Segment struct {
	options Options
	guard   *Guard
	created bool // the bridge is ours and goes with us

	mu      sync.Mutex
	network Network         // zero until SetNetwork
	ports   map[string]bool // carrier by port
}

// Open takes the bridge over: first the guard that lets nothing through, then the ports.
func Open(ctx context.Context, o Options) (*Segment, error) {
	for _, name := range append([]string{o.Bridge, o.Tun}, o.Ports...) {
		if err := CheckInterfaceName(name); err != nil {
			return nil, err
		}
	}
	s := &Segment{options: o, ports: make(map[string]bool)}
	attached, err := s.attached()
	if err != nil {
		return nil, err
	}
	state := GuardState{Bridge: o.Bridge, Tun: o.Tun, Ports: make(map[string]bool), Listed: make(map[MAC]bool), Admitted: make(map[MAC]Binding)}
	for _, name := range o.Ports {
		state.Ports[name] = true
	}
	for name := range attached {
		state.Ports[name] = true
	}
	s.guard, err = NewGuard(ctx, state)
	if err != nil {
		return nil, err
	}
	if err := s.openBridge(); err != nil {
		s.Close(context.WithoutCancel(ctx))
		return nil, err
	}
	if err := s.scanPorts(ctx); err != nil {
		s.Close(context.WithoutCancel(ctx))
		return nil, err
	}
	return s, nil
}

// openBridge creates the bridge where it is missing, sets what the kernel must do on it, and puts the
// ports in.
func (s *Segment) openBridge() error {
	link, err := netlink.LinkByName(s.options.Bridge)
	var notFound netlink.LinkNotFoundError
	if errors.As(err, &notFound) {
		attributes := netlink.NewLinkAttrs()
		attributes.Name = s.options.Bridge
		if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attributes}); err != nil {
			return fmt.Errorf("lan: create the bridge %s: %w", s.options.Bridge, err)
		}
		s.created = true
		link, err = netlink.LinkByName(s.options.Bridge)
	}
	if err != nil {
		return fmt.Errorf("lan: bridge %s: %w", s.options.Bridge, err)
	}
	if link.Type() != "bridge" {
		return fmt.Errorf("lan: %s is a %s, not a bridge: set lan.interface to a new name (for example cyphonic-lan) and lan.ports to [%s]",
			s.options.Bridge, link.Type(), s.options.Bridge)
	}
	if err := s.settings(); err != nil {
		return err
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("lan: bring %s up: %w", s.options.Bridge, err)
	}
	for _, name := range s.options.Ports {
		if err := attach(link, name); err != nil {
			return err
		}
	}
	return nil
}

// settings of the kernel for the two interfaces; forwarding is switched on for these two only.
func (s *Segment) settings() error {
	bridge := func(key string) []string { return []string{"net", "ipv4", "conf", s.options.Bridge, key} }
	tun := func(key string) []string { return []string{"net", "ipv4", "conf", s.options.Tun, key} }
	for _, setting := range []struct {
		value string
		path  []string
	}{
		{"1", bridge("proxy_arp")},
		{"1", bridge("arp_ignore")}, // the adapter's other addresses are no business of the LAN
		{"1", bridge("rp_filter")},
		{"1", bridge("forwarding")},
		{"0", bridge("send_redirects")},
		{"0", bridge("accept_redirects")},
		{"1", tun("forwarding")},
		{"2", tun("rp_filter")}, // a peer may be another general node of this adapter: its route leads to the bridge
		{"0", []string{"net", "ipv4", "neigh", s.options.Bridge, "proxy_delay"}},
	} {
		if err := netconf.SetSysctl(setting.value, setting.path...); err != nil {
			return err
		}
	}
	// No IPv6 on the bridge: the guard drops it anyway. Kernels without IPv6 have no such setting.
	_ = netconf.SetSysctl("1", "net", "ipv6", "conf", s.options.Bridge, "disable_ipv6")
	return nil
}

func attach(bridge netlink.Link, name string) error {
	port, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("lan: port %s: %w", name, err)
	}
	master := port.Attrs().MasterIndex
	if master != 0 && master != bridge.Attrs().Index {
		return fmt.Errorf("lan: port %s already belongs to another bridge; take it out first (ip link set %s nomaster)", name, name)
	}
	if master == 0 {
		if err := netlink.LinkSetMaster(port, bridge); err != nil {
			return fmt.Errorf("lan: put %s into %s: %w", name, bridge.Attrs().Name, err)
		}
	}
	if err := netlink.LinkSetUp(port); err != nil {
		return fmt.Errorf("lan: bring %s up: %w", name, err)
	}
	return nil
}

// SetNetwork gives the bridge the gateway address and the routes; it is called when the first general
// node's grant tells the network, and does nothing if the network is the same.
func (s *Segment) SetNetwork(ctx context.Context, n Network) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.network == n {
		return nil
	}
	if s.network.Prefix.IsValid() && s.network.Prefix != n.Prefix {
		return fmt.Errorf("lan: the network's prefix is %s, this adapter carries %s: all general nodes of an adapter are in one network; restart the adapter if the prefix was changed",
			n.Prefix, s.network.Prefix)
	}
	everything := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	err := errors.Join(
		netconf.Configure(netconf.Interface{Name: s.options.Bridge, Addresses: []netip.Prefix{netip.PrefixFrom(n.Gateway, 32)}}),
		netconf.SetRoute(netconf.Route{Interface: s.options.Tun, Destination: n.Prefix}),
		netconf.SetRoute(netconf.Route{Interface: s.options.Tun, Destination: n.Prefix, Table: routingTable}),
		netconf.SetRoute(netconf.Route{Destination: everything, Table: routingTable, Prohibit: true}),
		netconf.SetRule(netconf.Rule{Interface: s.options.Bridge, Table: routingTable, Priority: rulePriority}),
		s.guard.Update(ctx, func(g *GuardState) { g.Gateway = n.Gateway }),
	)
	if err != nil {
		return err
	}
	s.network = n
	return nil
}

// SetListed says which devices may ask for an address; the others' frames are dropped and counted.
func (s *Segment) SetListed(ctx context.Context, macs []MAC) error {
	return s.guard.Update(ctx, func(g *GuardState) {
		g.Listed = make(map[MAC]bool, len(macs))
		for _, m := range macs {
			g.Listed[m] = true
		}
	})
}

// Admit opens the way for one general node: route, neighbour entry and forwarding entry first, the guard last.
func (s *Segment) Admit(ctx context.Context, b Binding) error {
	if err := CheckInterfaceName(b.Port); err != nil {
		return err
	}
	if err := s.setForwarding(b, true); err != nil {
		return err
	}
	err := errors.Join(
		netconf.SetNeighbour(netconf.Neighbour{Interface: s.options.Bridge, Address: b.IPv4, MAC: b.MAC[:]}),
		netconf.SetRoute(netconf.Route{Interface: s.options.Bridge, Destination: netip.PrefixFrom(b.IPv4, 32)}),
	)
	if err != nil {
		return err
	}
	return s.guard.Update(ctx, func(g *GuardState) { g.Admitted[b.MAC] = b })
}

// Withdraw closes it again, the guard first.
func (s *Segment) Withdraw(ctx context.Context, b Binding) error {
	return errors.Join(
		s.guard.Update(ctx, func(g *GuardState) { delete(g.Admitted, b.MAC) }),
		netconf.DeleteRoute(netconf.Route{Interface: s.options.Bridge, Destination: netip.PrefixFrom(b.IPv4, 32)}),
		netconf.DeleteNeighbour(netconf.Neighbour{Interface: s.options.Bridge, Address: b.IPv4}),
		s.setForwarding(b, false),
	)
}

// setForwarding pins a MAC to its port, so that its frames are neither flooded to other ports nor drawn
// to one of them; a port that has gone is no error when the entry is removed.
func (s *Segment) setForwarding(b Binding, present bool) error {
	link, err := netlink.LinkByName(b.Port)
	if err != nil {
		if !present {
			return nil
		}
		return fmt.Errorf("lan: port %s: %w", b.Port, err)
	}
	entry := &netlink.Neigh{
		LinkIndex: link.Attrs().Index, Family: unix.AF_BRIDGE, HardwareAddr: b.MAC[:],
		State: netlink.NUD_NOARP, Flags: netlink.NTF_MASTER | netlink.NTF_STICKY,
	}
	if present {
		err = netlink.NeighSet(entry)
	} else if err = netlink.NeighDel(entry); errors.Is(err, unix.ENOENT) {
		err = nil
	}
	if err != nil {
		return fmt.Errorf("lan: forwarding entry of %s on %s: %w", b.MAC, b.Port, err)
	}
	return nil
}

// Port returns the port on which the bridge last saw a MAC. Only frames that passed the guard count.
func (s *Segment) Port(mac MAC) (string, error) {
	attached, err := s.attached()
	if err != nil {
		return "", err
	}
	for name, link := range attached {
		entries, err := netlink.NeighList(link.Attrs().Index, unix.AF_BRIDGE)
		if err != nil {
			return "", fmt.Errorf("lan: forwarding table of %s: %w", name, err)
		}
		for _, e := range entries {
			if slices.Equal(e.HardwareAddr, net.HardwareAddr(mac[:])) {
				return name, nil
			}
		}
	}
	return "", fmt.Errorf("lan: %s was not seen on any port", mac)
}

// PortUp says whether a port is in the bridge and has a carrier.
func (s *Segment) PortUp(port string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ports[port]
}

// Counters and Unlisted are the guard's.
func (s *Segment) Counters(ctx context.Context) (map[string]uint64, error) {
	return s.guard.Counters(ctx)
}

// Unlisted returns the devices that sent something lately without being in the list.
func (s *Segment) Unlisted(ctx context.Context) ([]Sighting, error) { return s.guard.Unlisted(ctx) }

// Run watches the bridge's ports and the guard until ctx ends.
func (s *Segment) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wake := make(chan struct{}, 1)
	wg.Go(func() { s.subscribe(ctx, wake) })
	ticker := time.NewTicker(portScan)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-wake:
		case <-ticker.C:
			if err := s.guard.Check(ctx); err != nil && ctx.Err() == nil {
				s.options.Log.Error("the source guard is not in place", "error", err)
			}
		}
		if err := s.scanPorts(ctx); err != nil && ctx.Err() == nil {
			s.options.Log.Error("cannot guard the ports", "error", err)
		}
	}
}

// subscribe wakes the watch for every message of the kernel about links.
func (s *Segment) subscribe(ctx context.Context, wake chan<- struct{}) {
	for ctx.Err() == nil {
		socket, err := nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_LINK)
		if err == nil {
			stop := context.AfterFunc(ctx, socket.Close)
			for err == nil {
				select {
				case wake <- struct{}{}:
				default:
				}
				_, _, err = socket.Receive()
			}
			if stop() {
				socket.Close()
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

// scanPorts guards ports that are new in the bridge, keeps ports from each other, and reports carriers
// that came or went.
func (s *Segment) scanPorts(ctx context.Context) error {
	attached, err := s.attached()
	if err != nil {
		return err
	}
	err = s.guard.Update(ctx, func(g *GuardState) {
		g.Ports = make(map[string]bool, len(attached))
		for name := range attached {
			g.Ports[name] = true
		}
	})
	if err != nil {
		return err
	}
	now := make(map[string]bool, len(attached))
	for name, link := range attached {
		now[name] = link.Attrs().RawFlags&unix.IFF_LOWER_UP != 0
		s.mu.Lock()
		_, known := s.ports[name]
		s.mu.Unlock()
		if !known {
			if err := errors.Join(netlink.LinkSetIsolated(link, true), netlink.LinkSetFlood(link, false)); err != nil {
				return fmt.Errorf("lan: keep port %s from the others: %w", name, err)
			}
		}
	}
	s.mu.Lock()
	before := s.ports
	s.ports = now
	s.mu.Unlock()
	for name := range now {
		if now[name] != before[name] {
			s.changed(name, now[name])
		}
	}
	for name := range before {
		if _, there := now[name]; !there && before[name] {
			s.changed(name, false)
		}
	}
	return nil
}

func (s *Segment) changed(port string, up bool) {
	s.options.Log.Info("port changed", "port", port, "up", up)
	if s.options.PortChanged != nil {
		s.options.PortChanged(port, up)
	}
}

// attached returns the links in the bridge by name; none while there is no bridge. Names that the guard's
// language could misread are left out: they stay without any admission.
func (s *Segment) attached() (map[string]netlink.Link, error) {
	bridge, err := netlink.LinkByName(s.options.Bridge)
	var notFound netlink.LinkNotFoundError
	if errors.As(err, &notFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("lan: bridge %s: %w", s.options.Bridge, err)
	}
	links, err := netlink.LinkList()
	if err != nil {
		return nil, fmt.Errorf("lan: list interfaces: %w", err)
	}
	out := make(map[string]netlink.Link)
	for _, l := range links {
		if l.Attrs().MasterIndex == bridge.Attrs().Index && CheckInterfaceName(l.Attrs().Name) == nil {
			out[l.Attrs().Name] = l
		}
	}
	return out, nil
}

// Close takes routes and addresses away. The guard goes only together with a bridge that was created here;
// on a bridge of the operator it stays closed, because without it the ports would be an open switch.
func (s *Segment) Close(ctx context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	errs := []error{netconf.DeleteRule(netconf.Rule{Interface: s.options.Bridge, Table: routingTable, Priority: rulePriority})}
	if s.network.Prefix.IsValid() {
		everything := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
		errs = append(errs,
			netconf.DeleteRoute(netconf.Route{Interface: s.options.Tun, Destination: s.network.Prefix}),
			netconf.DeleteRoute(netconf.Route{Interface: s.options.Tun, Destination: s.network.Prefix, Table: routingTable}),
			netconf.DeleteRoute(netconf.Route{Destination: everything, Table: routingTable, Prohibit: true}))
	}
	if s.created {
		if link, err := netlink.LinkByName(s.options.Bridge); err == nil {
			errs = append(errs, netlink.LinkDel(link))
		}
		errs = append(errs, s.guard.Close(ctx))
	} else {
		errs = append(errs, s.guard.Update(ctx, func(g *GuardState) { clear(g.Listed); clear(g.Admitted) }), s.resetBridge())
		if s.network.Gateway.IsValid() {
			errs = append(errs, netconf.Configure(netconf.Interface{Name: s.options.Bridge}))
		}
	}
	if err := errors.Join(errs...); err != nil {
		s.options.Log.Warn("the LAN side was not fully cleaned up", "error", err)
	}
}

// resetBridge ends forwarding and proxy ARP on a bridge of the operator: they get the host's default, since the values
// that Open found may be those of a killed predecessor.
func (s *Segment) resetBridge() error {
	var errs []error
	for _, key := range []string{"forwarding", "proxy_arp"} {
		value, err := os.ReadFile("/proc/sys/net/ipv4/conf/default/" + key)
		if err == nil {
			err = netconf.SetSysctl(strings.TrimSpace(string(value)), "net", "ipv4", "conf", s.options.Bridge, key)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
