package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/cyphonic/cyphonic/internal/wire"
)

// Reachability says whether one device may open a flow to another, and why.
type Reachability struct {
	Allowed  bool
	From, To ID
	Flows    []Flow   // what the policies allow between the two, whatever was asked for
	Reasons  []Reason // of each policy that has to do with at least one of the two; what decided comes first
}

// Reason is what one policy has to say about the question. Policy is empty where it is about the devices.
type Reason struct{ Policy, Reason string }

// Query is the flow that is asked for.
type Query struct {
	Protocol string // tcp, udp or icmp; empty or any: any flow at all
	Port     uint16 // with tcp or udp; 0: any port
}

// ParseQuery checks protocol and port.
func ParseQuery(protocol string, port int) (Query, error) {
	q := Query{Protocol: strings.ToLower(protocol)}
	switch {
	case !slices.Contains([]string{"", "any", "tcp", "udp", "icmp"}, q.Protocol):
		return Query{}, fmt.Errorf("protocol %q is not any, tcp, udp or icmp", protocol)
	case port < 0 || port > 65535:
		return Query{}, fmt.Errorf("port %d is not within 1 … 65535", port)
	case port > 0 && q.Protocol != "tcp" && q.Protocol != "udp":
		return Query{}, fmt.Errorf("port %d needs protocol tcp or udp", port)
	}
	q.Port = uint16(port)
	return q, nil
}

func (q Query) String() string {
	if q.Protocol == "" || q.Protocol == "any" {
		return "any flow"
	}
	return flowOf("", wire.Rule{Protocol: q.number(), PortLow: q.Port, PortHigh: q.high()}).String()
}

func (q Query) number() uint8 {
	switch q.Protocol {
	case "icmp":
		return protocolICMP
	case "tcp":
		return protocolTCP
	case "udp":
		return protocolUDP
	}
	return protocolAny
}

func (q Query) high() uint16 {
	if q.Port == 0 {
		return 65535
	}
	return q.Port
}

// asks tells whether a flow of this protocol and these ports answers the question. Without a port one port is enough.
func (q Query) asks(protocol uint8, low, high uint16) bool {
	if q.number() == protocolAny || protocol == protocolAny {
		return true
	}
	return protocol == q.number() && (q.Port == 0 || low <= q.Port && q.Port <= high)
}

// nearness orders reasons: what decided, then the nearest misses.
type nearness int

const (
	decided       nearness = iota
	wrongFlow              // both ends are selected, the flow is another
	weak                   // both ends are selected, the opening one is authenticated too weakly
	otherWay               // it allows the other direction
	oneEndMissing          // one of the ends is not selected
	unrelated              // neither end is selected
)

type verdict struct {
	Reason
	near nearness
}

// Explain tells whether from may open the flow asked for to to, which policies allow it, and for each policy that comes near why it does not.
func Explain(set *Set, from, to Subject, q Query) Reachability {
	r := Reachability{From: from.ID(), To: to.ID()}
	switch {
	case from.ID() == to.ID():
		r.Reasons = []Reason{{"", "a device needs no policy to reach itself, and none applies"}}
		return r
	case from.Network != to.Network:
		r.Reasons = []Reason{{"", fmt.Sprintf("%s is in network %s, %s in network %s: devices of different networks never reach each other", from.ID(), from.Network, to.ID(), to.Network)}}
		return r
	}
	var policies []compiled
	if set != nil {
		policies = set.byNetwork[from.Network]
	}
	var verdicts []verdict
	for i := range policies {
		verdicts = append(verdicts, policies[i].judge(from, to, q))
		r.Flows = append(r.Flows, policies[i].flows(from, to)...)
	}
	rules, truncated := set.Evaluate(from, to)
	r.Allowed = slices.ContainsFunc(rules, func(w wire.Rule) bool { return !w.Inbound && q.asks(w.Protocol, w.PortLow, w.PortHigh) })
	r.Reasons = reasons(verdicts, from.Network)
	if truncated {
		r.Reasons = slices.Insert(r.Reasons, 0, Reason{"", fmt.Sprintf("the policies give the two more than %d rules: what is beyond, in the order of protocols and ports, is denied", wire.MaxRules)})
	}
	return r
}

// flows returns what the policy allows between the two in both directions.
func (p *compiled) flows(from, to Subject) []Flow {
	rules := p.appendRules(nil, from, to, false)
	rules = p.appendRules(rules, to, from, true)
	flows := make([]Flow, 0, len(rules))
	for _, r := range normalize(rules) {
		flows = append(flows, flowOf(p.name, r))
	}
	return flows
}

func (p *compiled) judge(from, to Subject, q Query) verdict {
	selectsFrom, selectsTo := matches(p.from, from), matches(p.to, to)
	say := func(near nearness, format string, args ...any) verdict {
		return verdict{Reason{p.name, fmt.Sprintf(format, args...)}, near}
	}
	switch {
	case selectsFrom && selectsTo && from.Assurance < p.assurance:
		return say(weak, "needs %s to be authenticated by %s at least; it is by %s", from.ID(), p.assurance, from.Assurance)
	case selectsFrom && selectsTo:
		if len(p.rules) > 0 && q.number() == protocolAny {
			return say(decided, "allows %s", p.rulesText())
		}
		if i := slices.IndexFunc(p.rules, func(r portRule) bool { return q.asks(r.protocol, r.low, r.high) }); i >= 0 {
			r := p.rules[i]
			return say(decided, "allows %s", flowOf("", wire.Rule{Protocol: r.protocol, PortLow: r.low, PortHigh: r.high}))
		}
		return say(wrongFlow, "allows %s only, not %s", p.rulesText(), q)
	case len(p.appendRules(nil, to, from, true)) > 0:
		return say(otherWay, "allows %s from %s to %s, which is the other direction", p.rulesText(), to.ID(), from.ID())
	case selectsFrom:
		return say(oneEndMissing, "does not select %s as a destination: %s", to.ID(), mismatch(p.to, to))
	case selectsTo:
		return say(oneEndMissing, "does not select %s as a source: %s", from.ID(), mismatch(p.from, from))
	}
	return verdict{near: unrelated}
}

func (p *compiled) rulesText() string {
	if len(p.rules) == 0 {
		return "nothing"
	}
	texts := make([]string, len(p.rules))
	for i, r := range p.rules {
		texts[i] = flowOf("", wire.Rule{Protocol: r.protocol, PortLow: r.low, PortHigh: r.high}).String()
	}
	return strings.Join(texts, ", ")
}

// mismatch says for the selector that comes nearest which part of it does not hold.
func mismatch(selectors []selector, s Subject) string {
	if len(selectors) == 0 {
		return "it selects nothing"
	}
	best, bestFaults := -1, []string(nil)
	for i := range selectors {
		if faults := selectors[i].faults(s); best < 0 || len(faults) < len(bestFaults) {
			best, bestFaults = i, faults
		}
	}
	text := strings.Join(bestFaults, ", ")
	if len(selectors) > 1 {
		text += fmt.Sprintf(" (the nearest of its %d selectors)", len(selectors))
	}
	return text
}

func (l *selector) faults(s Subject) (faults []string) {
	if len(l.kinds) > 0 && !slices.Contains(l.kinds, s.Kind) {
		faults = append(faults, fmt.Sprintf("kind is %s, must be %s", s.Kind, strings.Join(l.kinds, " or ")))
	}
	if len(l.names) > 0 && !slices.Contains(l.names, s.Name) {
		names := strings.Join(l.names[:min(len(l.names), 3)], ", ")
		if len(l.names) > 3 {
			names += fmt.Sprintf(" and %d more", len(l.names)-3)
		}
		faults = append(faults, fmt.Sprintf("name is %s, must be one of %s", s.Name, names))
	}
	for _, key := range sortedKeys(l.labels) {
		switch have, ok := s.Labels[key]; {
		case !ok:
			faults = append(faults, fmt.Sprintf("label %s is missing, must be %s", key, l.labels[key]))
		case have != l.labels[key]:
			faults = append(faults, fmt.Sprintf("label %s is %s, must be %s", key, have, l.labels[key]))
		}
	}
	return faults
}

// reasons puts what decided first and then the nearest misses, up to the bound.
func reasons(verdicts []verdict, network string) []Reason {
	if len(verdicts) == 0 {
		return []Reason{{"", fmt.Sprintf("network %s has no access policy, and what no policy allows is denied", network)}}
	}
	slices.SortStableFunc(verdicts, func(a, b verdict) int {
		return cmp.Or(cmp.Compare(a.near, b.near), cmp.Compare(a.Policy, b.Policy))
	})
	var out []Reason
	if verdicts[0].near != decided {
		out = append(out, Reason{"", fmt.Sprintf("none of the %d access policies of network %s allows it", len(verdicts), network)})
	}
	for i, v := range verdicts {
		if v.near == unrelated {
			break
		}
		if len(out) == MaxReasons {
			return append(out, Reason{"", fmt.Sprintf("%d more policies are left out here", len(verdicts)-i)})
		}
		out = append(out, v.Reason)
	}
	return out
}

func sortedKeys(labels map[string]string) []string {
	keys := make([]string, 0, len(labels))
	for key := range labels {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}
