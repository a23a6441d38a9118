package cloud

import (
	"fmt"
	"strings"
)

// frr are the configurations of the daemons.
func (c bgpRouter) frr() map[string]string {
	zebra := "frr defaults datacenter\n"
	bfdd := zebra
	if c.BFD {
		bfdd += "bfd\n profile hosts\n  receive-interval 300\n  transmit-interval 300\n  detect-multiplier 3\n"
	}
	return map[string]string{"zebra": zebra, "bfdd": bfdd, "bgpd": c.bgpd()}
}

func (c bgpRouter) bgpd() string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("frr defaults datacenter")
	line("router bgp %d", c.ASN)
	line(" bgp router-id %s", c.ID)
	line(" no bgp default ipv4-unicast")
	line(" no bgp ebgp-requires-policy")
	line(" bgp bestpath as-path multipath-relax")
	for _, n := range c.Hosts {
		line(" neighbor %s remote-as %d", n.Address, n.ASN)
		line(" neighbor %s timers %d %d", n.Address, max(1, c.HoldTime/3), c.HoldTime)
		line(" neighbor %s timers connect 1", n.Address)
		if c.BFD {
			line(" neighbor %s bfd profile hosts", n.Address)
		}
	}
	for _, n := range c.Outside {
		line(" neighbor %s remote-as %d", n.Address, n.ASN)
		line(" neighbor %s timers connect 1", n.Address)
	}
	c.frrFamily(line, "ipv4", false, c.Announce4)
	c.frrFamily(line, "ipv6", true, c.Announce6)
	return b.String()
}

func (c bgpRouter) frrFamily(line func(string, ...any), name string, ipv6 bool, announce []string) {
	line(" address-family %s unicast", name)
	for _, prefix := range announce {
		line("  network %s", prefix)
	}
	for _, n := range append(append([]bgpNeighbor(nil), c.Hosts...), c.Outside...) {
		if n.IPv6 == ipv6 {
			line("  neighbor %s activate", n.Address)
		}
	}
	line("  maximum-paths 16\n  maximum-paths ibgp 16\n exit-address-family")
}
