// Package policy answers one question: which flows may two devices open to
// each other? It compiles the AccessPolicy resources of the desired state and
// evaluates them for a pair. Default deny: what no policy allows is denied.
// Explain says why for one pair; Difference says which pairs a change of the
// desired state gives flows to and takes them from.
//
// The package is pure. It must not keep state about devices, look anything up
// or know how its answer is enforced.
package policy

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/internal/identity"
	"github.com/cyphonic/cyphonic/internal/wire"
)

// Subject is one end of a pair as policies select it.
type Subject struct {
	Kind      string // "Node" or "GeneralNode", as in the resource
	Name      string
	Network   string
	Labels    map[string]string
	Assurance identity.Assurance // how the device was authenticated, from its certificate
}

// Set is the compiled access policies. It is immutable and safe for
// concurrent use. The zero value denies everything.
type Set struct {
	byNetwork map[string][]compiled
}

// compiled is one access policy in the form that evaluation needs.
type compiled struct {
	name      string
	from, to  []selector
	rules     []portRule
	assurance identity.Assurance // smallest that the opening side needs; 0 = any
}

type selector struct {
	kinds, names []string
	labels       map[string]string
}

// portRule is one protocol and one range of destination ports, both inclusive.
type portRule struct {
	protocol  uint8 // IP protocol number, 0 = any
	low, high uint16
}

// IP protocol numbers (IANA) of the names that a policy may use. A rule for
// ICMP also covers ICMPv6; wire.Rule says so.
const (
	protocolAny  = 0
	protocolICMP = 1
	protocolTCP  = 6
	protocolUDP  = 17
)

// Compile prepares policies for evaluation. A policy that cannot be compiled
// is left out, so that it allows nothing, and named in an error.
func Compile(policies []*api.AccessPolicy) (*Set, []error) {
	set := &Set{byNetwork: make(map[string][]compiled)}
	var errs []error
	for _, p := range policies {
		c, err := compile(p)
		if err != nil {
			errs = append(errs, fmt.Errorf("access policy %q: %w", p.Metadata.Name, err))
			continue
		}
		set.byNetwork[p.Spec.Network] = append(set.byNetwork[p.Spec.Network], c)
	}
	return set, errs
}

// Replace returns the set with the policies of one network, all of which must be in that network, in place of those
// that it has for it. s stays as it is. The errors are those of Compile.
func (s *Set) Replace(network string, policies []*api.AccessPolicy) (*Set, []error) {
	part, errs := Compile(policies)
	set := &Set{byNetwork: make(map[string][]compiled, len(s.byNetwork)+1)}
	maps.Copy(set.byNetwork, s.byNetwork)
	delete(set.byNetwork, network)
	if list := part.byNetwork[network]; len(list) > 0 {
		set.byNetwork[network] = list
	}
	return set, errs
}

func compile(p *api.AccessPolicy) (compiled, error) {
	c := compiled{name: p.Metadata.Name, from: selectors(p.Spec.From), to: selectors(p.Spec.To)}
	if text := string(p.Spec.MinimumAssurance); text != "" {
		a, err := identity.ParseAssurance(text)
		if err != nil {
			return compiled{}, fmt.Errorf("minimumAssurance: %w", err)
		}
		c.assurance = a
	}
	for i, r := range p.Spec.Rules {
		rules, err := compileRule(r)
		if err != nil {
			return compiled{}, fmt.Errorf("rules[%d]: %w", i, err)
		}
		c.rules = append(c.rules, rules...)
	}
	return c, nil
}

func selectors(in []api.Selector) []selector {
	out := make([]selector, 0, len(in))
	for _, s := range in {
		c := selector{names: s.Names, labels: s.MatchLabels}
		for _, k := range s.Kinds {
			c.kinds = append(c.kinds, string(k))
		}
		out = append(out, c)
	}
	return out
}

func compileRule(r api.PolicyRule) ([]portRule, error) {
	var protocol uint8
	switch strings.ToLower(string(r.Protocol)) {
	case "", "any":
		protocol = protocolAny
	case "icmp":
		protocol = protocolICMP
	case "tcp":
		protocol = protocolTCP
	case "udp":
		protocol = protocolUDP
	default:
		return nil, fmt.Errorf("protocol %q is not any, tcp, udp or icmp", r.Protocol)
	}
	if len(r.Ports) == 0 {
		return []portRule{{protocol, 0, 65535}}, nil
	}
	if protocol != protocolTCP && protocol != protocolUDP {
		return nil, fmt.Errorf("ports need protocol tcp or udp")
	}
	out := make([]portRule, 0, len(r.Ports))
	for _, text := range r.Ports {
		low, high, err := parsePorts(text)
		if err != nil {
			return nil, err
		}
		out = append(out, portRule{protocol, low, high})
	}
	return out, nil
}

// parsePorts reads "80" or "8000-8100".
func parsePorts(text string) (low, high uint16, err error) {
	first, last, isRange := strings.Cut(text, "-")
	if !isRange {
		last = first
	}
	l, err1 := strconv.ParseUint(first, 10, 16)
	h, err2 := strconv.ParseUint(last, 10, 16)
	if err1 != nil || err2 != nil || l == 0 || h < l {
		return 0, 0, fmt.Errorf("ports %q is not a port or a range like 8000-8100", text)
	}
	return uint16(l), uint16(h), nil
}

// Evaluate returns the flows that a and b may open to each other, as a sees
// them: an inbound rule is about flows that b opens. No rules means that the
// two must not meet. The answer is sorted, free of duplicates and at most
// wire.MaxRules long; truncated says that rules had to be left out, which
// denies what they would have allowed.
func (s *Set) Evaluate(a, b Subject) (rules []wire.Rule, truncated bool) {
	if s == nil || a.Network != b.Network {
		return nil, false
	}
	for _, p := range s.byNetwork[a.Network] {
		rules = p.appendRules(rules, a, b, false)
		rules = p.appendRules(rules, b, a, true)
	}
	rules = normalize(rules)
	if len(rules) > wire.MaxRules {
		return rules[:wire.MaxRules:wire.MaxRules], true
	}
	return rules, false
}

// Mirror returns the rules as the other side sees them.
func Mirror(rules []wire.Rule) []wire.Rule {
	out := slices.Clone(rules)
	for i := range out {
		out[i].Inbound = !out[i].Inbound
	}
	return out
}

func (p *compiled) appendRules(rules []wire.Rule, from, to Subject, inbound bool) []wire.Rule {
	if from.Assurance < p.assurance || !matches(p.from, from) || !matches(p.to, to) {
		return rules
	}
	for _, r := range p.rules {
		rules = append(rules, wire.Rule{Inbound: inbound, Protocol: r.protocol, PortLow: r.low, PortHigh: r.high})
	}
	return rules
}

// matches reports whether any selector covers the subject. An empty list
// covers nothing; a selector without fields covers every device of the network.
func matches(selectors []selector, s Subject) bool {
	for i := range selectors {
		if selectors[i].covers(s) {
			return true
		}
	}
	return false
}

func (l *selector) covers(s Subject) bool {
	if len(l.kinds) > 0 && !slices.Contains(l.kinds, s.Kind) {
		return false
	}
	if len(l.names) > 0 && !slices.Contains(l.names, s.Name) {
		return false
	}
	for k, v := range l.labels {
		if have, ok := s.Labels[k]; !ok || have != v {
			return false
		}
	}
	return true
}

// normalize sorts rules and joins those that overlap or touch, per direction
// and protocol. A rule for any protocol swallows the others of its direction.
func normalize(rules []wire.Rule) []wire.Rule {
	if len(rules) < 2 {
		return rules
	}
	slices.SortFunc(rules, compareRules)
	out := rules[:1]
	for _, r := range rules[1:] {
		last := &out[len(out)-1]
		if last.Inbound == r.Inbound && last.Protocol == protocolAny {
			continue
		}
		if last.Inbound == r.Inbound && last.Protocol == r.Protocol && int(r.PortLow) <= int(last.PortHigh)+1 {
			last.PortHigh = max(last.PortHigh, r.PortHigh)
			continue
		}
		out = append(out, r)
	}
	return out
}

func compareRules(x, y wire.Rule) int {
	if x.Inbound != y.Inbound {
		if y.Inbound {
			return -1
		}
		return 1
	}
	if x.Protocol != y.Protocol {
		return int(x.Protocol) - int(y.Protocol)
	}
	if x.PortLow != y.PortLow {
		return int(x.PortLow) - int(y.PortLow)
	}
	return int(x.PortHigh) - int(y.PortHigh)
}
