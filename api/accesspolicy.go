package api

import (
	"slices"
	"strconv"
	"strings"
)

// Bounds of an access policy.
const (
	MaxSelectors     = 64
	MaxSelectorNames = 256
	MaxMatchLabels   = 16
	MaxPolicyRules   = 32 // counting every port or range of ports as one rule, as in the messages to the devices
)

func (*AccessPolicy) KindName() string     { return "AccessPolicy" }
func (p *AccessPolicy) Meta() *ObjectMeta  { return &p.Metadata }
func (p *AccessPolicy) SetType()           { p.ApiVersion, p.Kind = Version, p.KindName() }
func (p *AccessPolicy) SpecPart() any      { return &p.Spec }
func (p *AccessPolicy) StatusPart() any    { return &p.Status }
func (p *AccessPolicy) SetStatus(o Object) { p.Status = o.(*AccessPolicy).Status }

// References returns the network. The names in selectors are no references: a policy may speak of devices that are yet to come.
func (p *AccessPolicy) References() []Reference {
	return []Reference{{"Network", p.Spec.Network, "/spec/network"}}
}

// Default asks for the lowest assurance where none is named.
func (p *AccessPolicy) Default() {
	if p.Spec.MinimumAssurance == "" {
		p.Spec.MinimumAssurance = "mac"
	}
}

// Validate checks selectors and rules.
func (p *AccessPolicy) Validate() FieldErrors {
	var found faults
	validateEnvelope(p, p.ApiVersion, p.Kind, &found)
	requireName(p.Spec.Network, "/spec/network", &found)
	validateSelectors(p.Spec.From, "/spec/from", &found)
	validateSelectors(p.Spec.To, "/spec/to", &found)
	validateRules(p.Spec.Rules, &found)
	if !slices.Contains([]string{"mac", "basic", "dot1x", "key"}, p.Spec.MinimumAssurance) {
		found.add("/spec/minimumAssurance", "is %s, must be one of mac, basic, dot1x, key", show(p.Spec.MinimumAssurance))
	}
	validateConditions(p.Status.Conditions, &found)
	return found.list
}

// PortRange reads "80" or "8000-8100"; ok is false if the text is neither, or is out of 1 … 65535.
func PortRange(text string) (low, high uint16, ok bool) {
	first, last, isRange := strings.Cut(text, "-")
	if !isRange {
		last = first
	}
	from, err1 := strconv.ParseUint(first, 10, 16)
	to, err2 := strconv.ParseUint(last, 10, 16)
	if err1 != nil || err2 != nil || from == 0 || from > to {
		return 0, 0, false
	}
	return uint16(from), uint16(to), true
}

func validateSelectors(selectors []Selector, at pointer, found *faults) {
	if len(selectors) == 0 {
		found.add(at, "is missing: give one selector at least, {} for every device of the network")
	}
	if len(selectors) > MaxSelectors {
		found.add(at, "has %d selectors, at most %d are possible", len(selectors), MaxSelectors)
	}
	for i, selector := range selectors {
		at := at.index(i)
		for j, kind := range selector.Kinds {
			if slices.Contains(selector.Kinds[:j], kind) {
				found.add(at.key("kinds").index(j), "repeats %s", show(kind))
			}
			if kind != "Node" && kind != "GeneralNode" {
				found.add(at.key("kinds").index(j), "is %s, must be Node or GeneralNode", show(kind))
			}
		}
		if len(selector.Names) > MaxSelectorNames {
			found.add(at.key("names"), "has %d names, at most %d are possible", len(selector.Names), MaxSelectorNames)
		}
		for j, name := range selector.Names {
			requireName(name, at.key("names").index(j), found)
		}
		validateMap(selector.MatchLabels, MaxMatchLabels, MaxLabelValue, at.key("matchLabels"), found)
	}
}

func validateRules(rules []PolicyRule, found *faults) {
	const at = pointer("/spec/rules")
	if len(rules) == 0 {
		found.add(at, "is missing: give one rule at least, {protocol: any} for every flow")
	}
	count := 0
	for i, rule := range rules {
		count += max(1, len(rule.Ports))
		if !rule.Protocol.Valid() {
			found.add(at.index(i).key("protocol"), "is %s, must be one of any, tcp, udp, icmp", show(rule.Protocol))
		}
		if len(rule.Ports) > 0 && (rule.Protocol == ProtocolAny || rule.Protocol == ProtocolIcmp) {
			found.add(at.index(i).key("ports"), "makes no sense for protocol %s: leave it out, or choose tcp or udp", rule.Protocol)
		}
		for j, text := range rule.Ports {
			if _, _, ok := PortRange(text); !ok {
				found.add(at.index(i).key("ports").index(j), "is %s, must be a port (\"80\") or a range (\"8000-8100\") within 1 … 65535", show(text))
			}
		}
	}
	if count > MaxPolicyRules {
		found.add(at, "makes %d rules, counting every port, at most %d are possible: use ranges or several policies", count, MaxPolicyRules)
	}
}
