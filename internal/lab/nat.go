package lab

import (
	"fmt"
	"net/netip"
	"strings"
)

// NATBehaviour is how a router maps inside addresses to its outside address (RFC 4787 section 4).
type NATBehaviour uint8

const (
	// NATNone translates nothing.
	NATNone NATBehaviour = iota
	// NATPortPreserving keeps the source port where it is free: one mapping for all destinations, inbound only from
	// addresses that were sent to (address and port dependent filtering). Two such routers can be punched.
	NATPortPreserving
	// NATSymmetric takes a new random port for each destination. Two such routers cannot be punched.
	NATSymmetric
	// NATStatic maps the outside address to one inside address, one to one, inbound included.
	NATStatic
)

// String names the behaviour for people.
func (b NATBehaviour) String() string {
	switch b {
	case NATNone:
		return "none"
	case NATPortPreserving:
		return "port preserving"
	case NATSymmetric:
		return "symmetric"
	case NATStatic:
		return "static"
	default:
		return fmt.Sprintf("NATBehaviour(%d)", uint8(b))
	}
}

// NAT describes a router's translation of IPv4. IPv6 is never translated.
type NAT struct {
	Behaviour NATBehaviour
	// Outside is the interface towards the internet.
	Outside string
	// Inside is the inside address of NATStatic.
	Inside netip.Addr
}

// ruleset renders the translation for nft -f. New flows from outside are dropped in silence before they are
// confirmed, as home routers do: an answer (or a conntrack entry on the router itself) would spoil hole punching.
func (n NAT) ruleset() string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("table ip lab_nat {")
	if n.Behaviour == NATStatic {
		line("  chain prerouting { type nat hook prerouting priority dstnat; policy accept;")
		line("    iifname %q dnat to %s", n.Outside, n.Inside)
		line("  }")
	}
	translation := "masquerade"
	if n.Behaviour == NATSymmetric {
		translation = "masquerade random,fully-random"
	}
	line("  chain postrouting { type nat hook postrouting priority srcnat; policy accept;")
	line("    oifname %q %s", n.Outside, translation)
	line("  }")
	line("}")
	line("table inet lab_firewall {")
	line("  chain input { type filter hook input priority filter; policy accept;")
	line("    iifname %q ct state { new, invalid } drop", n.Outside)
	line("  }")
	line("  chain forward { type filter hook forward priority filter; policy accept;")
	line("    iifname %q ct status dnat accept", n.Outside)
	line("    iifname %q ct state { new, invalid } drop", n.Outside)
	line("    oifname %q ct state invalid drop", n.Outside)
	line("  }")
	line("}")
	return b.String()
}
