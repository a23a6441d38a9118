package rest

import (
	"fmt"
	"net/netip"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/manager/ipam"
)

// planNetwork writes the gateways, which follow from the prefixes.
func planNetwork(n *api.Network) error {
	pools, err := poolsOf(n)
	if err != nil {
		return err
	}
	n.Status.Ipv4Gateway = api.Gateway(pools.IPv4).String()
	n.Status.Ipv6Gateway = api.Gateway(pools.IPv6).String()
	n.Status.Ipv4Allocated, n.Status.Ipv6Allocated = 0, 0
	return nil
}

// poolsOf returns where the addresses of a network come from.
func poolsOf(n *api.Network) (ipam.Network, error) {
	ipv4, err4 := netip.ParsePrefix(n.Spec.Ipv4Prefix)
	ipv6, err6 := netip.ParsePrefix(n.Spec.Ipv6Prefix)
	if err4 != nil || err6 != nil { // was validated before it was stored
		return ipam.Network{}, fmt.Errorf("network %s has the prefixes %q and %q", n.Metadata.Name, n.Spec.Ipv4Prefix, n.Spec.Ipv6Prefix)
	}
	return ipam.Network{Name: n.Metadata.Name, IPv4: ipv4, IPv6: ipv6}, nil
}
