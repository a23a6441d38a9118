package reconcile

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/cyphonic/cyphonic/api"
)

// conditionMatched says whether a policy speaks of any device.
const conditionMatched = "Matched"

// seenDevice is what selectors see of a device.
type seenDevice struct {
	kind, name string
	labels     map[string]string // devices with equal labels may share it
}

// pair is a label with its value.
type pair struct{ key, value string }

// sights counts the devices of one network by what its policies tell apart, so
// that a million devices are looked at once, and not once per policy.
type sights struct {
	relevant map[pair]bool
	named    map[string][]seenDevice // devices that selectors name
	wanted   map[string]bool         // names in selectors
	groups   map[string]*sight       // by kind and relevant labels
	learnt   map[learntKey]*sight
}

// learntKey is a kind and a map of labels, by identity.
type learntKey struct {
	kind   string
	labels uintptr
}

// sight is devices that no selector without names tells apart.
type sight struct {
	kind   string
	labels map[string]string // the relevant ones
	count  int64
}

// newSights prepares for the policies of one network.
func newSights(policies []*api.AccessPolicy) *sights {
	s := &sights{relevant: map[pair]bool{}, named: map[string][]seenDevice{}, wanted: map[string]bool{}, groups: map[string]*sight{}, learnt: map[learntKey]*sight{}}
	for _, p := range policies {
		for _, selector := range slices.Concat(p.Spec.From, p.Spec.To) {
			for _, name := range selector.Names {
				s.wanted[name] = true
			}
			for k, v := range selector.MatchLabels {
				s.relevant[pair{k, v}] = true
			}
		}
	}
	return s
}

// add counts one device.
func (s *sights) add(d seenDevice) {
	if s.wanted[d.name] {
		s.named[d.name] = append(s.named[d.name], d)
	}
	key := learntKey{d.kind, reflect.ValueOf(d.labels).Pointer()}
	group := s.learnt[key]
	if group == nil {
		group = s.group(d)
		s.learnt[key] = group
	}
	group.count++
}

func (s *sights) group(d seenDevice) *sight {
	labels := map[string]string{}
	var keys []string
	for k, v := range d.labels {
		if s.relevant[pair{k, v}] {
			labels[k] = v
			keys = append(keys, k+"\x00"+v)
		}
	}
	slices.Sort(keys)
	id := d.kind + "\x00" + strings.Join(keys, "\x00")
	if s.groups[id] == nil {
		s.groups[id] = &sight{kind: d.kind, labels: labels}
	}
	return s.groups[id]
}

// side counts the devices that one side of a policy selects, and finds the
// selectors that select none.
func (s *sights) side(selectors []api.Selector) (count int64, idle []int) {
	hit := make([]bool, len(selectors))
	for _, g := range s.groups {
		covered := false
		for i, selector := range selectors {
			if len(selector.Names) == 0 && selects(selector, g.kind, g.labels) {
				covered, hit[i] = true, true
			}
		}
		if covered {
			count += g.count
		}
	}
	counted := map[seenID]bool{}
	for i, selector := range selectors {
		for _, name := range selector.Names {
			for _, d := range s.named[name] {
				if !selects(selector, d.kind, d.labels) {
					continue
				}
				hit[i] = true
				others := func(o api.Selector) bool { return len(o.Names) == 0 && selects(o, d.kind, d.labels) }
				if id := (seenID{d.kind, d.name}); !counted[id] && !slices.ContainsFunc(selectors, others) {
					counted[id] = true
					count++
				}
			}
		}
	}
	for i := range hit {
		if !hit[i] {
			idle = append(idle, i)
		}
	}
	return count, idle
}

type seenID struct{ kind, name string }

// selects is the rule of package policy, but for names.
func selects(s api.Selector, kind string, labels map[string]string) bool {
	if len(s.Kinds) > 0 && !slices.Contains(s.Kinds, kind) {
		return false
	}
	for k, v := range s.MatchLabels {
		if have, ok := labels[k]; !ok || have != v {
			return false
		}
	}
	return true
}

// matched is the condition of one policy.
func (s *sights) matched(p *api.AccessPolicy) api.Condition {
	from, idleFrom := s.side(p.Spec.From)
	to, idleTo := s.side(p.Spec.To)
	c := api.Condition{
		Type: conditionMatched, Status: api.ConditionStatusTrue, Reason: "Matched", ObservedGeneration: p.Metadata.Generation,
		Message: fmt.Sprintf("from %s to %s devices", about(from), about(to)),
	}
	var idle []string
	for _, i := range idleFrom {
		idle = append(idle, fmt.Sprintf("/spec/from/%d", i))
	}
	for _, i := range idleTo {
		idle = append(idle, fmt.Sprintf("/spec/to/%d", i))
	}
	switch {
	case from == 0 || to == 0:
		c.Status, c.Reason = api.ConditionStatusFalse, "NothingMatches"
	case len(idle) > 0:
		c.Reason = "PartlyMatched"
	}
	if more := len(idle) - maxUnmatched; more > 0 {
		idle = append(idle[:maxUnmatched], fmt.Sprintf("and %d more", more))
	}
	if len(idle) > 0 {
		c.Message += "; no device matches " + strings.Join(idle, ", ")
	}
	return c
}

// about writes large numbers with two digits, so that a condition does not
// change with every device.
func about(n int64) string {
	if n < 100 {
		return strconv.FormatInt(n, 10)
	}
	unit := int64(1)
	for n/unit >= 100 {
		unit *= 10
	}
	return "about " + strconv.FormatInt(n/unit*unit, 10)
}
