package policy

import (
	"slices"

	"github.com/cyphonic/cyphonic/internal/wire"
)

// affected returns the policies, by number, that are other than before or have members that are.
func (t *territory) affected() []uint32 {
	marks := make([]bool, len(t.policies))
	for i, p := range t.policies {
		marks[i] = !p.same
	}
	for _, c := range t.order {
		for _, role := range []*[2][]uint32{&c.from, &c.to} {
			for _, number := range onlyOne(role[before], role[after]) {
				marks[number] = true
			}
		}
	}
	var numbers []uint32
	for i, marked := range marks {
		if marked {
			numbers = append(numbers, uint32(i))
		}
	}
	return numbers
}

// onlyOne returns what is in one of two sorted lists only.
func onlyOne(x, y []uint32) []uint32 {
	if slices.Equal(x, y) {
		return nil
	}
	var one []uint32
	for len(x) > 0 || len(y) > 0 {
		switch {
		case len(y) == 0 || len(x) > 0 && x[0] < y[0]:
			one, x = append(one, x[0]), x[1:]
		case len(x) == 0 || y[0] < x[0]:
			one, y = append(one, y[0]), y[1:]
		default:
			x, y = x[1:], y[1:]
		}
	}
	return one
}

// coarsen merges the classes that only such policies tell apart as have nothing to do with the change: they neither are affected nor allow a flow that an affected
// one allows. Classes that may meet the limit of rules of a pair are left alone, because then every policy counts.
func (t *territory) coarsen(affected []uint32) {
	keep := t.relevant(affected)
	classes := t.order
	for _, c := range classes {
		*t.room += len(c.from[before]) + len(c.to[before]) + len(c.from[after]) + len(c.to[after])
	}
	t.order, t.classes = nil, map[string]*class{}
	for _, c := range classes {
		heavy := t.heavy(c)
		memberships := c.memberships(func(number uint32) bool { return heavy || keep[number] })
		merged := t.classOf(memberships)
		if merged == nil {
			continue
		}
		merged.count += c.count
		merged.samples = append(merged.samples, c.samples[:min(len(c.samples), MaxSamples-len(merged.samples))]...)
	}
	t.learnt = nil
}

func (t *territory) relevant(affected []uint32) []bool {
	var flows []portRule
	for _, number := range affected {
		for _, p := range t.policies[number].compiled {
			if p != nil {
				flows = append(flows, p.rules...)
			}
		}
	}
	flows = joined(flows)
	keep := make([]bool, len(t.policies))
	for i, p := range t.policies {
		for _, c := range p.compiled {
			keep[i] = keep[i] || c != nil && overlap(c.rules, flows)
		}
	}
	for _, number := range affected {
		keep[number] = true
	}
	return keep
}

// joined makes few rules out of many that cover the same flows.
func joined(rules []portRule) []portRule {
	var long []wire.Rule
	for _, r := range rules {
		long = append(long, wire.Rule{Protocol: r.protocol, PortLow: r.low, PortHigh: r.high})
	}
	var short []portRule
	for _, r := range normalize(long) {
		short = append(short, portRule{r.Protocol, r.PortLow, r.PortHigh})
	}
	return short
}

// heavy tells whether pairs of the class may have more rules than a pair can have.
func (t *territory) heavy(c *class) bool {
	for m := range c.from {
		for _, role := range [][]uint32{c.from[m], c.to[m]} {
			rules := 0
			for _, number := range role {
				rules += len(t.policies[number].compiled[m].rules)
			}
			if rules > wire.MaxRules {
				return true
			}
		}
	}
	return false
}

func (c *class) memberships(keep func(uint32) bool) (memberships [2][]uint32) {
	for m := range memberships {
		for role, numbers := range [][]uint32{asSource: c.from[m], asDestination: c.to[m]} {
			for _, number := range numbers {
				if keep(number) {
					memberships[m] = append(memberships[m], number<<1|uint32(role))
				}
			}
		}
		slices.Sort(memberships[m])
	}
	return memberships
}

// members returns the classes that have a role in a policy at either moment, by membership.
func (t *territory) members() map[uint32][]*class {
	members := map[uint32][]*class{}
	for _, c := range t.order {
		both := c.memberships(func(uint32) bool { return true })
		all := slices.Concat(both[before], both[after])
		slices.Sort(all)
		for _, membership := range slices.Compact(all) {
			members[membership] = append(members[membership], c)
		}
	}
	return members
}
