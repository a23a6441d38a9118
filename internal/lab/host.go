package lab

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// Host is one namespace of a running lab.
type Host struct {
	// constant
	Name      string
	spec      HostSpec
	lab       *Lab
	namespace string
	ns        netns.NsHandle
	links     *netlink.Handle
}

// Namespace is the name that `ip netns exec` takes.
func (h *Host) Namespace() string { return h.namespace }

func (h *Host) closeHandles() {
	if h.links != nil {
		h.links.Close()
	}
	_ = h.ns.Close()
}

// Do runs f on a thread inside the host's network namespace: sockets that f opens stay in the host. f must not start
// goroutines that open sockets and must not call testing.T.Fatal.
func (h *Host) Do(f func() error) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		original, err := netns.Get()
		if err != nil {
			runtime.UnlockOSThread()
			result <- fmt.Errorf("find the current namespace: %w", err)
			return
		}
		defer original.Close()
		if err := netns.Set(h.ns); err != nil {
			runtime.UnlockOSThread()
			result <- fmt.Errorf("enter namespace %s: %w", h.namespace, err)
			return
		}
		err = f()
		if netns.Set(original) == nil {
			runtime.UnlockOSThread() // else the thread ends with this goroutine, it must not be used again
		}
		result <- err
	}()
	return <-result
}

// ListenTCP listens in the host on a literal address and port.
func (h *Host) ListenTCP(address string) (net.Listener, error) {
	var listener net.Listener
	err := h.Do(func() (err error) {
		listener, err = net.Listen("tcp", address)
		return err
	})
	return listener, err
}

// ListenUDP opens a UDP socket in the host on a literal address and port.
func (h *Host) ListenUDP(address string) (*net.UDPConn, error) {
	local, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, err
	}
	var conn *net.UDPConn
	err = h.Do(func() (err error) {
		conn, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(local))
		return err
	})
	return conn, err
}

// Dial connects from the host to a literal address and port; network is tcp or udp, with 4 or 6 if wanted.
func (h *Host) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	if _, err := netip.ParseAddrPort(address); err != nil {
		return nil, fmt.Errorf("dial in a host wants a literal address: %w", err)
	}
	var conn net.Conn
	err := h.Do(func() (err error) {
		var dialer net.Dialer
		conn, err = dialer.DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

// ResolverFile is the path, seen from outside, of the host's /etc/resolv.conf.
func (h *Host) ResolverFile() string {
	return filepath.Join(resolverDirectory, h.namespace, "resolv.conf")
}

// writeResolver gives the host its own files for finding names: `ip netns exec` mounts them over those of /etc. Without
// an own nsswitch.conf a name would go to the resolver daemon of the machine, past the host's resolv.conf.
func (h *Host) writeResolver() error {
	servers := ""
	for _, server := range h.spec.Nameservers {
		servers += "nameserver " + server.String() + "\n"
	}
	directory := filepath.Dir(h.ResolverFile())
	if err := os.MkdirAll(directory, 0o755); err != nil {
		return err
	}
	files := map[string]string{
		"resolv.conf":   servers,
		"nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
		"hosts":         "127.0.0.1 localhost\n::1 localhost\n127.0.1.1 " + h.Name + "\n",
	}
	for name, text := range files {
		if _, err := os.Stat(filepath.Join("/etc", name)); err != nil {
			continue // nothing to mount over
		}
		if err := os.WriteFile(filepath.Join(directory, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// SetLink brings an interface up or down.
func (h *Host) SetLink(name string, up bool) error {
	link, err := h.links.LinkByName(name)
	if err != nil {
		return fmt.Errorf("%s: interface %s: %w", h.Name, name, err)
	}
	if up {
		return h.links.LinkSetUp(link)
	}
	return h.links.LinkSetDown(link)
}

// AddAddress gives an interface one more address.
func (h *Host) AddAddress(name string, prefix netip.Prefix) error {
	return h.changeAddress(name, prefix, h.links.AddrAdd)
}

// RemoveAddress takes an address from an interface.
func (h *Host) RemoveAddress(name string, prefix netip.Prefix) error {
	return h.changeAddress(name, prefix, h.links.AddrDel)
}

func (h *Host) changeAddress(name string, prefix netip.Prefix, change func(netlink.Link, *netlink.Addr) error) error {
	link, err := h.links.LinkByName(name)
	if err != nil {
		return fmt.Errorf("%s: interface %s: %w", h.Name, name, err)
	}
	if err := change(link, &netlink.Addr{IPNet: ipNet(prefix)}); err != nil {
		return fmt.Errorf("%s: address %s on %s: %w", h.Name, prefix, name, err)
	}
	return nil
}

// ReplaceRoute adds a route or changes the one with the same destination.
func (h *Host) ReplaceRoute(route Route) error {
	err := h.links.RouteReplace(&netlink.Route{Dst: ipNet(route.To), Gw: route.Via.AsSlice()})
	if err != nil {
		return fmt.Errorf("%s: route to %s via %s: %w", h.Name, route.To, route.Via, err)
	}
	return nil
}

// MAC is the hardware address of an interface.
func (h *Host) MAC(name string) (net.HardwareAddr, error) {
	link, err := h.links.LinkByName(name)
	if err != nil {
		return nil, fmt.Errorf("%s: interface %s: %w", h.Name, name, err)
	}
	return link.Attrs().HardwareAddr, nil
}

func ipNet(prefix netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: prefix.Addr().AsSlice(), Mask: net.CIDRMask(prefix.Bits(), prefix.Addr().BitLen())}
}

// Gateways are the neighbours to which the kernel sends what is for exactly that prefix, from its main table; several
// if it spreads.
func (h *Host) Gateways(to netip.Prefix) ([]netip.Addr, error) {
	family := netlink.FAMILY_V4
	if to.Addr().Is6() {
		family = netlink.FAMILY_V6
	}
	routes, err := h.links.RouteListFiltered(family, &netlink.Route{Dst: ipNet(to)}, netlink.RT_FILTER_DST)
	if err != nil {
		return nil, fmt.Errorf("%s: routes to %s: %w", h.Name, to, err)
	}
	var all []netip.Addr
	add := func(ip net.IP) {
		if addr, ok := netip.AddrFromSlice(ip); ok {
			all = append(all, addr.Unmap())
		}
	}
	for _, route := range routes {
		add(route.Gw)
		for _, hop := range route.MultiPath {
			add(hop.Gw)
		}
	}
	return all, nil
}
