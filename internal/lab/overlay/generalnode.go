package overlay

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/cyphonic/cyphonic/internal/lab"
)

// dhcpScript is what a DHCP client of any device does with a lease: address, routes, name servers. It touches nothing
// outside its host, whatever scripts the machine has installed.
const dhcpScript = `#!/bin/sh
case $1 in
deconfig)
	ip link set "$interface" up
	ip -4 addr flush dev "$interface"
	;;
bound|renew)
	ip -4 addr replace "$ip/$mask" dev "$interface"
	for gateway in $router; do
		ip -4 route replace default via "$gateway" dev "$interface" onlink
	done
	[ -n "$mtu" ] && ip link set "$interface" mtu "$mtu"
	{
		[ -n "$domain" ] && echo "search $domain"
		for server in $dns; do echo "nameserver $server"; done
	} >/etc/resolv.conf
	echo "lease $1: $ip/$mask router $router dns $dns domain $domain server $serverid"
	;;
esac
`

// GeneralNode is a device that runs nothing but a DHCP client.
type GeneralNode struct {
	Name string
	Host *lab.Host
	DHCP *lab.Process

	network *Network
}

// StartGeneralNode starts the DHCP client of a device on its only interface.
func (n *Network) StartGeneralNode(host *lab.Host) (*GeneralNode, error) {
	script := filepath.Join(n.directory, "config", "udhcpc.script")
	if err := os.WriteFile(script, []byte(dhcpScript), 0o700); err != nil {
		return nil, err
	}
	g := &GeneralNode{Name: host.Name, Host: host, network: n}
	var err error
	g.DHCP, err = host.Start(lab.Command{
		Name:        "udhcpc",
		Args:        []string{"udhcpc", "-f", "-i", "eth0", "-s", script, "-t", "1", "-T", "1", "-A", "1", "-x", "hostname:" + host.Name},
		KeepRunning: n.persist,
	})
	return g, err
}

// Address is the IPv4 address that the device has now.
func (g *GeneralNode) Address(ctx context.Context) (netip.Addr, error) {
	out, err := g.Host.Run(ctx, "ip", "-4", "-brief", "addr", "show", "dev", "eth0")
	if err != nil {
		return netip.Addr{}, err
	}
	fields := strings.Fields(out)
	if len(fields) < 3 {
		return netip.Addr{}, errors.New("the device has no address yet")
	}
	prefix, err := netip.ParsePrefix(fields[2])
	return prefix.Addr(), err
}

// WaitLease waits until the device has an address from DHCP.
func (g *GeneralNode) WaitLease(ctx context.Context) (addr netip.Addr, err error) {
	err = g.network.wait(ctx, g.DHCP, func() error {
		addr, err = g.Address(ctx)
		return err
	})
	if err != nil {
		return addr, fmt.Errorf("general node %s: %w", g.Name, err)
	}
	return addr, nil
}
