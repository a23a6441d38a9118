package policy

import (
	"encoding/binary"
	"reflect"
	"slices"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/internal/identity"
)

// Devices that the same policies select in the same roles, before and after, are one class: any two of one class reach the same devices of every other class.
// A world of a million devices has as many classes as its policies tell apart, which are few.

// moment indexes what there is twice: before and after a change.
type moment int

const (
	before moment = 0
	after  moment = 1
)

// role of a device in a policy: membership is the number of the policy in its network, doubled, plus the side.
const (
	asSource      = 0
	asDestination = 1
)

// territory is one network at both moments.
type territory struct {
	policies []policyPair
	indexes  [2]index
	names    map[string]bool   // that some selector asks for
	labels   map[label]uint32  // that some selector asks for, numbered
	classes  map[string]*class // by signature
	learnt   map[string]lesson // by kind and labels that matter
	order    []*class          // in the order of their appearance, so that the result does not depend on the order of maps
	scratch  [2][]uint32       // memberships of the device at hand
	key      []byte            // of the device at hand
	room     *int              // roles that classes of all networks may still have
	full     bool              // no other class can be told apart
	assure   func(ID) identity.Assurance
}

// policyPair is a policy before and after.
type policyPair struct {
	name     string
	compiled [2]*compiled
	same     bool
}

type label struct{ key, value string }

// lesson is what is known about devices of certain labels.
type lesson struct {
	class *class // nil: no policy selects them
	needs bool   // the class depends on the assurance too
}

// class has the policies that select its devices as sources and as destinations, by number, at both moments.
type class struct {
	from, to [2][]uint32
	count    int64
	samples  []ID
}

// index finds the selectors that may cover a device without trying them all.
type index struct {
	byName  map[string][]reference
	byLabel map[label][]reference
	others  []reference
}

type reference struct {
	membership uint32
	selector   *selector
	assurance  identity.Assurance // that the policy demands of a source
}

// newTerritory pairs the policies of one network by their names; those that cannot be compiled allow nothing.
func newTerritory(policies [2][]*api.AccessPolicy, assure func(ID) identity.Assurance, room *int) *territory {
	t := &territory{room: room, names: map[string]bool{}, labels: map[label]uint32{}, classes: map[string]*class{}, learnt: map[string]lesson{}, assure: assure}
	type specs [2]*api.AccessPolicy
	byName := map[string]*specs{}
	var names []string
	for m, list := range policies {
		for _, p := range list {
			pair, ok := byName[p.Metadata.Name]
			if !ok {
				pair = &specs{}
				byName[p.Metadata.Name] = pair
				names = append(names, p.Metadata.Name)
			}
			pair[m] = p
		}
	}
	slices.Sort(names)
	for i, name := range names {
		specs := byName[name]
		pair := policyPair{name: name, same: specs[before] != nil && specs[after] != nil && reflect.DeepEqual(specs[before].Spec, specs[after].Spec)}
		for m, p := range specs {
			if p == nil {
				continue
			}
			if c, err := compile(p); err == nil {
				pair.compiled[m] = &c
				t.index(moment(m), uint32(i), &c)
			}
		}
		t.policies = append(t.policies, pair)
	}
	return t
}

func (t *territory) index(m moment, number uint32, p *compiled) {
	x := &t.indexes[m]
	if x.byName == nil {
		x.byName, x.byLabel = map[string][]reference{}, map[label][]reference{}
	}
	for i := range p.from {
		t.indexSelector(x, reference{number<<1 | asSource, &p.from[i], p.assurance})
	}
	for i := range p.to {
		t.indexSelector(x, reference{number<<1 | asDestination, &p.to[i], 0})
	}
}

func (t *territory) indexSelector(x *index, r reference) {
	keys := sortedKeys(r.selector.labels)
	for _, key := range keys {
		l := label{key, r.selector.labels[key]}
		if _, ok := t.labels[l]; !ok {
			t.labels[l] = uint32(len(t.labels))
		}
	}
	for _, name := range r.selector.names {
		t.names[name] = true
		x.byName[name] = append(x.byName[name], r)
	}
	switch {
	case len(r.selector.names) > 0:
	case len(keys) > 0:
		l := label{keys[0], r.selector.labels[keys[0]]}
		x.byLabel[l] = append(x.byLabel[l], r)
	default:
		x.others = append(x.others, r)
	}
}

// count puts a device that is the same at both moments into its class.
func (t *territory) count(s Subject) {
	if t.full {
		return // what is said will not be complete: do not spend time on it
	}
	if t.names[s.Name] {
		t.countBoth(&s, &s)
		return
	}
	t.key = t.appendLabels(append(t.key[:0], s.Kind...), s.Labels)
	lesson, ok := t.learnt[string(t.key)]
	if ok && lesson.needs {
		if s.Assurance == 0 {
			s.Assurance = t.assurance(s.ID())
		}
		t.key = append(t.key, byte(s.Assurance))
		lesson, ok = t.learnt[string(t.key)]
	}
	if ok {
		lesson.class.add(s.ID())
		return
	}
	t.learn(s)
}

// learn remembers the class of a device for those with the same labels.
func (t *territory) learn(s Subject) {
	key := t.appendLabels([]byte(s.Kind), s.Labels)
	c, needs := t.countBoth(&s, &s)
	if len(t.learnt) >= maxRemembered {
		clear(t.learnt)
	}
	if needs {
		t.learnt[string(key)] = lesson{needs: true}
		key = append(key, byte(t.assuranceOf(s)))
	}
	t.learnt[string(key)] = lesson{class: c}
}

// appendLabels appends the numbers of the labels that matter, in their order.
func (t *territory) appendLabels(dst []byte, labels map[string]string) []byte {
	numbers := t.scratch[0][:0]
	for key, value := range labels {
		if number, ok := t.labels[label{key, value}]; ok {
			numbers = append(numbers, number)
		}
	}
	slices.Sort(numbers)
	t.scratch[0] = numbers
	for _, number := range numbers {
		dst = binary.BigEndian.AppendUint32(dst, number)
	}
	return dst
}

// countBoth puts a device into its class by what it is before and after; nil: it is not. needs tells that its assurance decided.
func (t *territory) countBoth(was, is *Subject) (c *class, needs bool) {
	var id ID
	for m, s := range []*Subject{was, is} {
		t.scratch[m] = t.scratch[m][:0]
		if s != nil {
			id = s.ID()
			needs = t.memberships(moment(m), s) || needs
		}
	}
	c = t.classOf(t.scratch)
	c.add(id)
	return c, needs
}

// memberships writes the roles that a device has in the policies of one moment to scratch.
func (t *territory) memberships(m moment, s *Subject) (needs bool) {
	x, found := &t.indexes[m], t.scratch[m]
	try := func(references []reference) {
		for _, r := range references {
			if !r.selector.covers(*s) {
				continue
			}
			if r.assurance > identity.AssuranceMAC {
				needs = true
				if t.assuranceOf(*s) < r.assurance {
					continue
				}
			}
			found = append(found, r.membership)
		}
	}
	try(x.others)
	try(x.byName[s.Name])
	for key, value := range s.Labels {
		try(x.byLabel[label{key, value}])
	}
	slices.Sort(found)
	t.scratch[m] = slices.Compact(found)
	return needs
}

func (t *territory) assuranceOf(s Subject) identity.Assurance {
	if s.Assurance != 0 {
		return s.Assurance
	}
	return t.assurance(s.ID())
}

func (t *territory) assurance(id ID) identity.Assurance {
	if t.assure == nil {
		return identity.AssuranceMAC
	}
	return t.assure(id)
}

// classOf finds or makes the class of the memberships; nil if there are none or no more classes can be told apart.
func (t *territory) classOf(memberships [2][]uint32) *class {
	if len(memberships[before])+len(memberships[after]) == 0 {
		return nil
	}
	key := signature(nil, memberships[before])
	key = signature(key, memberships[after])
	if c, ok := t.classes[string(key)]; ok {
		return c
	}
	roles := len(memberships[before]) + len(memberships[after])
	if len(t.classes) >= maxClasses || roles > *t.room {
		t.full = true
		return nil
	}
	*t.room -= roles
	c := &class{}
	for m, list := range memberships {
		for _, membership := range list {
			if membership&1 == asSource {
				c.from[m] = append(c.from[m], membership>>1)
			} else {
				c.to[m] = append(c.to[m], membership>>1)
			}
		}
	}
	t.classes[string(key)] = c
	t.order = append(t.order, c)
	return c
}

func signature(dst []byte, memberships []uint32) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(memberships)))
	for _, membership := range memberships {
		dst = binary.BigEndian.AppendUint32(dst, membership)
	}
	return dst
}

func (c *class) add(id ID) {
	if c == nil {
		return
	}
	c.count++
	if len(c.samples) < MaxSamples {
		c.samples = append(c.samples, id)
	}
}
