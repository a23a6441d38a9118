package lan

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// table is the name of the guard's nftables tables, one in the bridge and one in the inet family.
const table = "cyphonic_adapter"

// guardMark is the packet mark of what passed the guard ("cy" and a version). The IP side asks for it: a port that
// was plugged into the bridge a moment ago and a bridge table that somebody flushed both fail closed.
const guardMark = 0x63790001

// dropReasons are the guard's counters in the bridge family, in the order of their tests.
var dropReasons = []string{
	"rogue_dhcp", "rogue_ra", "unlisted_mac", "wrong_port", "arp_probe", "not_admitted",
	"arp_spoof", "foreign_ip", "ipv6", "other_protocol", "arp_announcement", "port_to_port",
}

// routeReasons are the guard's counters in the inet family.
var routeReasons = []string{"adapter_service", "tunnel_to_adapter", "not_routed"}

// GuardState is all that the guard's rules depend on.
type GuardState struct {
	Bridge   string
	Tun      string
	Gateway  netip.Addr      // zero until the network is known: nobody reaches the adapter itself
	Ports    map[string]bool // every port of the bridge
	Listed   map[MAC]bool    // every enabled general node of the list
	Admitted map[MAC]Binding // those that may send
}

// clone returns a copy that shares nothing.
func (s GuardState) clone() GuardState {
	s.Ports = maps.Clone(s.Ports)
	s.Listed = maps.Clone(s.Listed)
	s.Admitted = maps.Clone(s.Admitted)
	return s
}

// Rules returns the whole rule set as one nft transaction that replaces what was there.
//
// The order of the tests in chain "lan" is the order of trust: an admitted device's frame is recognised by
// port, MAC and virtual IP together in a single set lookup; everything after that only finds out why a
// frame is dropped, with one exception, a listed device's DHCP question.
func Rules(s GuardState) string {
	var b strings.Builder
	for _, family := range []string{"bridge", "inet"} {
		fmt.Fprintf(&b, "add table %s %s\ndelete table %s %s\n", family, table, family, table)
	}
	bridgeRules(&b, s)
	inetRules(&b, s)
	return b.String()
}

func bridgeRules(b *strings.Builder, s GuardState) {
	fmt.Fprintf(b, "table bridge %s {\n", table)
	writeSet(b, "ports", "ifname", portNames(s))
	writeSet(b, "listed", "ether_addr", listedElements(s))
	writeSet(b, "bound", "ether_addr", boundElements(s))
	writeSet(b, "port", "ifname . ether_addr", portElements(s))
	writeSet(b, "admitted", "ifname . ether_addr . ipv4_addr", admittedElements(s))
	writeSet(b, "self", "ipv4_addr . ipv4_addr", selfElements(s))
	fmt.Fprintf(b, "\tset unlisted {\n\t\ttype ifname . ether_addr\n\t\tsize %d\n\t\tflags dynamic,timeout\n\t\ttimeout %ds\n\t}\n",
		maxUnlisted, int(unlistedTimeout.Seconds()))
	writeCounters(b, dropReasons)
	fmt.Fprintf(b, `	chain prerouting {
		type filter hook prerouting priority -300; policy accept;
		iifname @ports jump lan
	}
	chain between_ports {
		type filter hook forward priority -300; policy accept;
		iifname @ports counter name port_to_port drop
		oifname @ports counter name port_to_port drop
	}
	chain lan {
		iifname . ether saddr . ip saddr @admitted goto admitted_ip
		iifname . ether saddr . arp saddr ip @admitted iifname . arp saddr ether . arp saddr ip @admitted goto admitted_arp
		udp sport { 67, 547 } counter name rogue_dhcp drop
		icmpv6 type nd-router-advert counter name rogue_ra drop
		ether saddr != @listed update @unlisted { iifname . ether saddr } counter name unlisted_mac drop
		ether saddr != @listed counter name unlisted_mac drop
		ether saddr @bound iifname . ether saddr != @port counter name wrong_port drop
		ip saddr 0.0.0.0 ip daddr 255.255.255.255 udp sport 68 udp dport 67 meta mark set 0x%[1]x accept
		arp saddr ip 0.0.0.0 counter name arp_probe drop
		ether saddr != @bound counter name not_admitted drop
		ether type arp counter name arp_spoof drop
		ether type ip counter name foreign_ip drop
		ether type ip6 counter name ipv6 drop
		counter name other_protocol drop
	}
	chain admitted_ip {
		udp sport 67 counter name rogue_dhcp drop
		meta mark set 0x%[1]x
	}
	chain admitted_arp {
		arp saddr ip . arp daddr ip @self counter name arp_announcement drop
	}
}
`, guardMark)
}

func inetRules(b *strings.Builder, s GuardState) {
	fmt.Fprintf(b, "table inet %s {\n", table)
	writeSet(b, "virtual", "ipv4_addr", virtualElements(s))
	writeCounters(b, routeReasons)
	fmt.Fprintf(b, `	chain input {
		type filter hook input priority 0; policy accept;
		iifname "%[1]s" meta mark 0x%[4]x jump from_lan
		iifname "%[1]s" counter name adapter_service drop
		iifname "%[2]s" counter name tunnel_to_adapter drop
	}
	chain from_lan {
		ip daddr { %[3]s, 255.255.255.255 } udp dport 67 accept
		ip daddr %[3]s meta l4proto { tcp, udp } th dport 53 accept
		ip daddr %[3]s icmp type echo-request accept
		counter name adapter_service drop
	}
	chain forward {
		type filter hook forward priority 0; policy accept;
		iifname "%[1]s" oifname "%[2]s" meta mark 0x%[4]x ip saddr @virtual jump to_tunnel
		iifname "%[2]s" oifname "%[1]s" ip daddr @virtual accept
		iifname { "%[1]s", "%[2]s" } counter name not_routed drop
		oifname { "%[1]s", "%[2]s" } counter name not_routed drop
	}
	chain to_tunnel {
		tcp flags & (syn | rst) == syn tcp option maxseg size set rt mtu
		accept
	}
}
`, s.Bridge, s.Tun, gatewayText(s.Gateway), guardMark)
}

// gatewayText stands for "nothing" while the network is unknown: 255.255.255.255 is never a TCP or echo
// destination that the kernel would answer.
func gatewayText(a netip.Addr) string {
	if !a.IsValid() {
		return "255.255.255.255"
	}
	return a.String()
}

// Changes returns the transaction that leads from one state to the other, empty for no difference, or the
// whole rule set where more than elements differ.
func Changes(from, to GuardState) string {
	if from.Bridge != to.Bridge || from.Tun != to.Tun || from.Gateway != to.Gateway {
		return Rules(to)
	}
	var b strings.Builder
	difference(&b, "bridge", "ports", portNames(from), portNames(to))
	difference(&b, "bridge", "admitted", admittedElements(from), admittedElements(to))
	difference(&b, "bridge", "self", selfElements(from), selfElements(to))
	difference(&b, "bridge", "port", portElements(from), portElements(to))
	difference(&b, "bridge", "bound", boundElements(from), boundElements(to))
	difference(&b, "bridge", "listed", listedElements(from), listedElements(to))
	difference(&b, "inet", "virtual", virtualElements(from), virtualElements(to))
	return b.String()
}

func difference(b *strings.Builder, family, set string, from, to []string) {
	write := func(verb string, elements []string) {
		if len(elements) > 0 {
			fmt.Fprintf(b, "%s element %s %s %s { %s }\n", verb, family, table, set, strings.Join(elements, ", "))
		}
	}
	write("delete", without(from, to))
	write("add", without(to, from))
}

// without returns the elements of a that b does not have.
func without(a, b []string) []string {
	have := make(map[string]bool, len(b))
	for _, s := range b {
		have[s] = true
	}
	return slices.DeleteFunc(slices.Clone(a), func(s string) bool { return have[s] })
}

func writeSet(b *strings.Builder, name, kind string, elements []string) {
	fmt.Fprintf(b, "\tset %s {\n\t\ttype %s\n", name, kind)
	if len(elements) > 0 {
		fmt.Fprintf(b, "\t\telements = { %s }\n", strings.Join(elements, ", "))
	}
	b.WriteString("\t}\n")
}

func writeCounters(b *strings.Builder, names []string) {
	for _, n := range names {
		fmt.Fprintf(b, "\tcounter %s {\n\t}\n", n)
	}
}

func portNames(s GuardState) []string {
	var out []string
	for name, attached := range s.Ports {
		if attached {
			out = append(out, strconv.Quote(name))
		}
	}
	slices.Sort(out)
	return out
}

func listedElements(s GuardState) []string {
	var out []string
	for mac, listed := range s.Listed {
		if listed {
			out = append(out, mac.String())
		}
	}
	slices.Sort(out)
	return out
}

// bindings returns the admissions in the order of their MACs.
func bindings(s GuardState) []Binding {
	return slices.SortedFunc(maps.Values(s.Admitted), func(a, b Binding) int {
		return cmp.Compare(a.MAC.String(), b.MAC.String())
	})
}

func elements(s GuardState, text func(Binding) string) []string {
	var out []string
	for _, b := range bindings(s) {
		out = append(out, text(b))
	}
	return out
}

func boundElements(s GuardState) []string {
	return elements(s, func(b Binding) string { return b.MAC.String() })
}

func portElements(s GuardState) []string {
	return elements(s, func(b Binding) string { return fmt.Sprintf("%q . %s", b.Port, b.MAC) })
}

func admittedElements(s GuardState) []string {
	return elements(s, func(b Binding) string { return fmt.Sprintf("%q . %s . %s", b.Port, b.MAC, b.IPv4) })
}

func selfElements(s GuardState) []string {
	return elements(s, func(b Binding) string { return fmt.Sprintf("%s . %s", b.IPv4, b.IPv4) })
}

func virtualElements(s GuardState) []string {
	return elements(s, func(b Binding) string { return b.IPv4.String() })
}
