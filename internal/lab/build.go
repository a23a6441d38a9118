package lab

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// build creates hosts, then links, then routes and translations; each step needs the one before.
func (l *Lab) build(ctx context.Context) error {
	for _, spec := range l.topology.Hosts {
		if err := l.addHost(ctx, spec); err != nil {
			return fmt.Errorf("host %s: %w", spec.Name, err)
		}
	}
	for _, spec := range l.topology.Links {
		if err := l.addLink(ctx, spec); err != nil {
			return fmt.Errorf("link %s/%s to %s/%s: %w", spec.A.Host, spec.A.Interface, spec.B.Host, spec.B.Interface, err)
		}
	}
	for _, spec := range l.topology.Hosts {
		host := l.hosts[spec.Name]
		for _, route := range spec.Routes {
			if err := host.ReplaceRoute(route); err != nil {
				return err
			}
		}
		if spec.NAT.Behaviour != NATNone {
			if _, err := host.RunInput(ctx, strings.NewReader(spec.NAT.ruleset()), "nft", "-f", "-"); err != nil {
				return fmt.Errorf("install the translation: %w", err)
			}
		}
	}
	if l.options.NoEvidence {
		return nil
	}
	return l.startRings(ctx)
}

func (l *Lab) addHost(ctx context.Context, spec HostSpec) error {
	h := &Host{Name: spec.Name, spec: spec, lab: l, namespace: l.run.Namespace(spec.Name), ns: netns.None()}
	if err := h.writeResolver(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	if out, err := exec.CommandContext(ctx, "ip", "netns", "add", h.namespace).CombinedOutput(); err != nil {
		return fmt.Errorf("ip netns add: %w: %s", err, bytes.TrimSpace(out))
	}
	var err error
	if h.ns, err = netns.GetFromName(h.namespace); err != nil {
		return fmt.Errorf("open the namespace: %w", err)
	}
	l.hosts[spec.Name] = h
	if h.links, err = netlink.NewHandleAt(h.ns); err != nil {
		return fmt.Errorf("open netlink: %w", err)
	}
	if err := h.setSysctls(); err != nil {
		return err
	}
	if err := h.SetLink("lo", true); err != nil {
		return err
	}
	for _, bridge := range spec.Bridges {
		if err := h.addBridge(bridge); err != nil {
			return fmt.Errorf("bridge %s: %w", bridge.Name, err)
		}
	}
	return nil
}

func (h *Host) addBridge(spec BridgeSpec) error {
	bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: spec.Name}}
	if err := h.links.LinkAdd(bridge); err != nil {
		return err
	}
	for _, prefix := range spec.Addresses {
		if err := h.AddAddress(spec.Name, prefix); err != nil {
			return err
		}
	}
	return h.links.LinkSetUp(bridge)
}

// setSysctls runs before the host has interfaces, so that new ones take the defaults.
func (h *Host) setSysctls() error {
	settings := map[string]string{
		"ipv6/conf/all/accept_dad":     "0", // addresses are usable at once
		"ipv6/conf/default/accept_dad": "0",
		"ipv6/conf/default/accept_ra":  "0",
		"ipv4/conf/all/rp_filter":      "0", // several interfaces may lead to one neighbour
		"ipv4/conf/default/rp_filter":  "0",
		"ipv4/ping_group_range":        "0 2147483647",
		// the other addresses of a subnet stay when its first one goes
		"ipv4/conf/all/promote_secondaries":     "1",
		"ipv4/conf/default/promote_secondaries": "1",
	}
	if h.spec.Router {
		settings["ipv4/ip_forward"] = "1"
		settings["ipv6/conf/all/forwarding"] = "1"
		settings["ipv6/conf/default/forwarding"] = "1"
	}
	return h.Do(func() error {
		for name, value := range settings {
			if err := os.WriteFile(filepath.Join("/proc/sys/net", name), []byte(value), 0o644); err != nil {
				return fmt.Errorf("sysctl: %w", err)
			}
		}
		return nil
	})
}

func (l *Lab) addLink(ctx context.Context, spec LinkSpec) error {
	a, b := l.hosts[spec.A.Host], l.hosts[spec.B.Host]
	mtu := spec.MTU
	if mtu == 0 {
		mtu = 1500
	}
	veth := &netlink.Veth{
		LinkAttrs:     netlink.LinkAttrs{Name: spec.A.Interface, MTU: mtu, TxQLen: -1},
		PeerName:      spec.B.Interface,
		PeerMTU:       uint32(mtu),
		PeerNamespace: netlink.NsFd(int(b.ns)),
		PeerTxQLen:    -1,
	}
	if spec.A.MAC != "" {
		veth.HardwareAddr, _ = net.ParseMAC(spec.A.MAC) // checked by Validate
	}
	if spec.B.MAC != "" {
		veth.PeerHardwareAddr, _ = net.ParseMAC(spec.B.MAC)
	}
	if err := a.links.LinkAdd(veth); err != nil {
		return fmt.Errorf("add the veth pair: %w", err)
	}
	for host, end := range map[*Host]End{a: spec.A, b: spec.B} {
		if err := host.configure(ctx, end, spec.WAN && l.options.RealWire); err != nil {
			return err
		}
	}
	return nil
}

// configure brings one end of a link to its described state.
func (h *Host) configure(ctx context.Context, end End, realWire bool) error {
	link, err := h.links.LinkByName(end.Interface)
	if err != nil {
		return err
	}
	if end.Bridge != "" {
		bridge, err := h.links.LinkByName(end.Bridge)
		if err != nil {
			return err
		}
		if err := h.links.LinkSetMaster(link, bridge); err != nil {
			return fmt.Errorf("join bridge %s: %w", end.Bridge, err)
		}
	}
	for _, prefix := range end.Addresses {
		if err := h.AddAddress(end.Interface, prefix); err != nil {
			return err
		}
	}
	if realWire {
		_, err := h.Run(ctx, "ethtool", "-K", end.Interface, "tso", "off", "gso", "off", "tx-udp-segmentation", "off")
		if err != nil {
			return fmt.Errorf("switch offloads off: %w", err)
		}
	}
	if end.Down {
		return nil
	}
	return h.links.LinkSetUp(link)
}
