package netfilter

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// family is an nftables family with its words.
type family struct {
	name    string // of the family and of its header
	address string // type of an address
	icmp    string
	ttl     string
	source  string // whom limits are for: with IPv6 whoever has one address has at least 2^64 (RFC 6177)
	number  uint8
}

var (
	ipv4 = family{name: "ip", address: "ipv4_addr", icmp: "icmp", ttl: "ip ttl", source: "ip saddr", number: unix.AF_INET}
	ipv6 = family{name: "ip6", address: "ipv6_addr", icmp: "icmpv6", ttl: "ip6 hoplimit", source: "ip6 saddr and ffff:ffff:ffff:ffff::", number: unix.AF_INET6}
)

// ruleset is the wanted content of a table.
type ruleset struct {
	counters []string
	timeout  string
	sets     []set
	chains   []chain
}

// set is also a map: then its elements have a verdict.
type set struct {
	name, declaration string
	elements          []string
	dynamic           bool // the kernel fills it
}

// chain with a base is called by the kernel, others by rules.
type chain struct {
	name, base string
	rules      []string
}

func (c chain) text() string { return c.base + "\n" + strings.Join(c.rules, "\n") }

// content is what a table has.
type content struct {
	chains   map[string]string // texts; empty if not known
	counters map[string]bool
	sets     map[string][]string // elements; nil if not known
}

func (r ruleset) content() content {
	c := content{chains: map[string]string{}, counters: map[string]bool{}, sets: map[string][]string{}}
	for _, chain := range r.chains {
		c.chains[chain.name] = chain.text()
	}
	for _, name := range r.counters {
		c.counters[name] = true
	}
	for _, s := range r.sets {
		c.sets[s.name] = append([]string{}, s.elements...)
	}
	return c
}

// with is a content and another one over it.
func (c content) with(other content) content {
	all := ruleset{}.content()
	for _, one := range []content{c, other} {
		maps.Copy(all.chains, one.chains)
		maps.Copy(all.counters, one.counters)
		maps.Copy(all.sets, one.sets)
	}
	return all
}

// without is what is left when stale has taken away what other does not have.
func (c content) without(other content) content {
	left := c.with(content{})
	maps.DeleteFunc(left.chains, func(name, _ string) bool { _, there := other.chains[name]; return !there })
	maps.DeleteFunc(left.counters, func(name string, _ bool) bool { return !other.counters[name] })
	maps.DeleteFunc(left.sets, func(name string, _ []string) bool { _, there := other.sets[name]; return !there })
	return left
}

// change writes the commands that give a table the content of r, empty for no difference.
//
// A packet that is under way in the kernel while they take force goes on along the rules of before, but finds elements
// of sets by the content of after. So no element is ever replaced: each stays, comes or goes, and a map whose values have
// to change is another map, under another name. What no packet can meet any more is taken away later, by stale.
func (r ruleset) change(f family, table string, before content) string {
	at := f.name + " " + table
	var b strings.Builder
	for _, name := range r.counters {
		if !before.counters[name] {
			fmt.Fprintf(&b, "add counter %s %s\n", at, name)
		}
	}
	changed := slices.DeleteFunc(slices.Clone(r.chains), func(c chain) bool { return before.chains[c.name] == c.text() })
	if slices.ContainsFunc(changed, func(c chain) bool { return c.name == guardChain }) {
		fmt.Fprintf(&b, "add ct timeout %s %s %s\n", at, timeoutName, r.timeout)
	}
	for _, c := range changed {
		fmt.Fprintf(&b, "add chain %s %s %s\n", at, c.name, c.base)
	}
	for _, s := range r.sets {
		s.write(&b, at, before.sets)
	}
	for _, c := range changed {
		fmt.Fprintf(&b, "flush chain %s %s\n", at, c.name)
		for _, rule := range c.rules {
			fmt.Fprintf(&b, "add rule %s %s %s\n", at, c.name, rule)
		}
	}
	if b.Len() == 0 {
		return ""
	}
	return "add table " + at + "\n" + b.String()
}

// write brings a set from its elements of before to those of s.
func (s set) write(b *strings.Builder, at string, before map[string][]string) {
	elements, there := before[s.name]
	if s.dynamic && there {
		return
	}
	kind, _, _ := strings.Cut(s.declaration, " ")
	add, remove := without(s.elements, elements), without(elements, s.elements)
	switch {
	case !there:
		fmt.Fprintf(b, "add %s %s %s %s\n", kind, at, s.name, strings.TrimPrefix(s.declaration, kind+" "))
	case elements == nil:
		fmt.Fprintf(b, "flush %s %s %s\n", kind, at, s.name)
	case len(remove) > 0:
		keys := make([]string, len(remove))
		for i, element := range remove {
			keys[i], _, _ = strings.Cut(element, " : ")
		}
		fmt.Fprintf(b, "delete element %s %s { %s }\n", at, s.name, strings.Join(keys, ", "))
	}
	if len(add) > 0 {
		fmt.Fprintf(b, "add element %s %s { %s }\n", at, s.name, strings.Join(add, ", "))
	}
}

// without returns the elements of a that b does not have.
func without(a, b []string) []string {
	have := make(map[string]bool, len(b))
	for _, text := range b {
		have[text] = true
	}
	return slices.DeleteFunc(slices.Clone(a), func(text string) bool { return have[text] })
}

// stale writes the commands that remove the objects of before that after does not have.
func stale(at string, before, after content) string {
	var b strings.Builder
	chains := without(slices.Sorted(maps.Keys(before.chains)), slices.Collect(maps.Keys(after.chains)))
	for _, name := range chains {
		fmt.Fprintf(&b, "flush chain %s %s\n", at, name)
	}
	for _, name := range without(slices.Sorted(maps.Keys(before.sets)), slices.Collect(maps.Keys(after.sets))) {
		fmt.Fprintf(&b, "delete set %s %s\n", at, name)
	}
	for _, name := range chains {
		fmt.Fprintf(&b, "delete chain %s %s\n", at, name)
	}
	for _, name := range without(slices.Sorted(maps.Keys(before.counters)), slices.Collect(maps.Keys(after.counters))) {
		fmt.Fprintf(&b, "delete counter %s %s\n", at, name)
	}
	if slices.Contains(chains, guardChain) {
		fmt.Fprintf(&b, "delete ct timeout %s %s\n", at, timeoutName)
	}
	return b.String()
}
