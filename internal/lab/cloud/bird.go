package cloud

import (
	"fmt"
	"strings"
)

// bird is the configuration for BIRD 2.
func (c bgpRouter) bird() string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("log stderr { warning, error, fatal };\nrouter id %s;", c.ID)
	line("protocol device {}\nprotocol direct { ipv4; ipv6; }")
	for _, family := range []string{"ipv4", "ipv6"} {
		line("protocol kernel { %s { export where source = RTS_BGP; import none; }; merge paths yes limit 16; }", family)
	}
	if c.BFD {
		line("protocol bfd { interface \"hosts\" { min rx interval 300 ms; min tx interval 300 ms; multiplier 3; }; }")
	}
	for _, family := range []struct {
		name, prefix string
		announce     []string
	}{{"ipv4", "own4", c.Announce4}, {"ipv6", "own6", c.Announce6}} {
		line("protocol static %s { %s;", family.prefix, family.name)
		for _, prefix := range family.announce {
			line("  route %s unreachable;", prefix)
		}
		line("}")
	}
	for i, n := range append(append([]bgpNeighbor(nil), c.Hosts...), c.Outside...) {
		c.birdNeighbor(line, i, n)
	}
	return b.String()
}

func (c bgpRouter) birdNeighbor(line func(string, ...any), i int, n bgpNeighbor) {
	family := "ipv4"
	if n.IPv6 {
		family = "ipv6"
	}
	line("protocol bgp n%d {\n  local as %d; neighbor %s as %d;\n  hold time %d; connect retry time 1; connect delay time 1; error wait time 1, 4;", i, c.ASN, n.Address, n.ASN, max(3, c.HoldTime))
	if n.ASN == c.ASN {
		line("  direct;")
		if c.BFD {
			line("  bfd yes;")
		}
		line("  %s { import all; export none; };\n}", family)
		return
	}
	line("  %s { import all; export where source = RTS_BGP || source = RTS_STATIC || source = RTS_DEVICE; next hop self; };\n}", family)
}
