package policy

import (
	"cmp"
	"encoding/binary"
	"iter"
	"maps"
	"slices"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/internal/identity"
	"github.com/cyphonic/cyphonic/internal/wire"
)

// World is the desired state that Difference starts from.
type World struct {
	Policies []*api.AccessPolicy
	Devices  iter.Seq[Subject] // each device that may log in, once; see SubjectOf
	// Assurance is asked for devices that come with the assurance 0, and only where a policy demands more than the lowest. Nil: they have the lowest.
	Assurance func(ID) identity.Assurance
}

// Changes is what becomes of a World.
type Changes struct {
	Policies []*api.AccessPolicy // all there are afterwards, changed or not
	Devices  []Subject           // new ones, and those that are other than before
	Gone     []ID                // devices that are no longer, or may no longer log in
}

// Diff is who may open other flows than before. A pair has a direction: from opens, to is opened to. A pair that gains some flows and loses others counts in both.
type Diff struct {
	Gained, Lost           []PairChange // those of the most pairs first
	GainedPairs, LostPairs int64
	Truncated              bool // Gained and Lost do not list all sets of flows; the numbers of pairs are exact all the same
	Incomplete             bool // there were too many classes of devices to compare: there may be more than is said here
}

// PairChange is a number of pairs that gain or lose the same flows.
type PairChange struct {
	Flows   []Flow
	Pairs   int64
	Samples []Pair // up to MaxSamples
}

// Pair is one device that opens flows to another.
type Pair struct{ From, To ID }

// Difference compares the flows of all pairs of devices before and after a change without looking at each pair: only at classes of devices that policies tell
// apart, and of those only at the ones that the change has to do with.
func Difference(world World, changes Changes) Diff {
	d := difference{territories: map[string]*territory{}, gained: newTally(), lost: newTally(), budget: maxClassPairs, room: maxRoles}
	d.survey(world, changes)
	d.count(world, changes)
	for _, network := range d.networks {
		d.compare(d.territories[network])
	}
	var diff Diff
	var cutGained, cutLost bool
	diff.Gained, cutGained = d.gained.list()
	diff.Lost, cutLost = d.lost.list()
	diff.GainedPairs, diff.LostPairs = d.gained.pairs, d.lost.pairs
	diff.Truncated, diff.Incomplete = cutGained || cutLost, d.incomplete
	return diff
}

type difference struct {
	territories  map[string]*territory
	networks     []string
	gained, lost *tally
	budget       int         // what may still be compared: pairs of classes, and policies that connect them
	room         int         // roles that classes may still have
	connecting   [2][]uint32 // memory of comparePair
	incomplete   bool
}

// survey makes the territories of the networks that have policies.
func (d *difference) survey(world World, changes Changes) {
	policies := map[string]*[2][]*api.AccessPolicy{}
	for m, list := range [][]*api.AccessPolicy{world.Policies, changes.Policies} {
		for _, p := range list {
			network := p.Spec.Network
			if policies[network] == nil {
				policies[network] = &[2][]*api.AccessPolicy{}
				d.networks = append(d.networks, network)
			}
			policies[network][m] = append(policies[network][m], p)
		}
	}
	slices.Sort(d.networks)
	for _, network := range d.networks {
		d.territories[network] = newTerritory(*policies[network], world.Assurance, &d.room)
	}
}

// count puts every device into its class.
func (d *difference) count(world World, changes Changes) {
	changed := map[ID]*Subject{}
	for i := range changes.Devices {
		changed[changes.Devices[i].ID()] = &changes.Devices[i]
	}
	gone := map[ID]bool{}
	for _, id := range changes.Gone {
		gone[id] = true
	}
	seen := map[ID]bool{}
	for s := range world.Devices {
		is, isChanged := changed[s.ID()]
		switch {
		case isChanged:
			seen[s.ID()] = true
			d.countChanged(&s, is)
		case gone[s.ID()]:
			d.countChanged(&s, nil)
		default:
			if t := d.territories[s.Network]; t != nil {
				t.count(s)
			}
		}
	}
	for _, id := range sortedIDs(changed) { // so that the examples do not depend on the order of the changes
		if !seen[id] {
			d.countChanged(nil, changed[id])
		}
	}
}

func sortedIDs(devices map[ID]*Subject) []ID {
	return slices.SortedFunc(maps.Keys(devices), func(a, b ID) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name))
	})
}

// countChanged counts one device, or two if it left one network for another.
func (d *difference) countChanged(was, is *Subject) {
	if was != nil && is != nil && was.Network != is.Network {
		d.countChanged(was, nil)
		d.countChanged(nil, is)
		return
	}
	if t := d.territories[cmp.Or(was, is).Network]; t != nil {
		t.countBoth(was, is)
	}
}

// compare looks at the pairs of classes that a policy which has to do with the change connects before or after it.
func (d *difference) compare(t *territory) {
	d.incomplete = d.incomplete || t.full
	affected := t.affected()
	if len(affected) == 0 {
		return
	}
	t.coarsen(affected)
	members := t.members()
	for _, number := range affected {
		sources, destinations := members[number<<1|asSource], members[number<<1|asDestination]
		if !t.policies[number].same {
			d.compareAll(t, number, sources, destinations)
			continue
		}
		steady, moved := split(sources, number, func(c *class) *[2][]uint32 { return &c.from })
		_, arrived := split(destinations, number, func(c *class) *[2][]uint32 { return &c.to })
		d.compareAll(t, number, moved, destinations)
		d.compareAll(t, number, steady, arrived)
	}
}

// split separates the classes that have a role in the policy at both moments from those that have it at one.
func split(classes []*class, number uint32, role func(*class) *[2][]uint32) (steady, moved []*class) {
	for _, c := range classes {
		if contains(role(c)[before], number) && contains(role(c)[after], number) {
			steady = append(steady, c)
		} else {
			moved = append(moved, c)
		}
	}
	return steady, moved
}

func contains(sorted []uint32, number uint32) bool {
	_, ok := slices.BinarySearch(sorted, number)
	return ok
}

func (d *difference) compareAll(t *territory, number uint32, sources, destinations []*class) {
	for _, a := range sources {
		for _, b := range destinations {
			if d.budget <= 0 {
				d.incomplete = true
				return
			}
			d.comparePair(t, number, a, b)
		}
	}
}

// comparePair counts what a gains and loses towards b, if the policy is the first of those that change anything between the two: so each pair is counted once.
func (d *difference) comparePair(t *territory, number uint32, a, b *class) {
	pairs := a.count * b.count
	if a == b {
		pairs = a.count * (a.count - 1)
	}
	var connecting [2][]uint32
	for m := range connecting {
		connecting[m] = intersect(d.connecting[m][:0], a.from[m], b.to[m])
		d.connecting[m] = connecting[m]
		d.budget -= len(connecting[m])
	}
	d.budget--
	first, ok := t.firstChange(connecting)
	if pairs == 0 || !ok || first != number {
		return
	}
	was, is := t.rules(before, connecting[before]), t.rules(after, connecting[after])
	d.gained.add(subtract(is, was), pairs, a, b)
	d.lost.add(subtract(was, is), pairs, a, b)
}

// firstChange returns the smallest policy that connects at one moment only, or at both but differently.
func (t *territory) firstChange(connecting [2][]uint32) (uint32, bool) {
	x, y := connecting[before], connecting[after]
	for len(x) > 0 && len(y) > 0 && x[0] == y[0] {
		if !t.policies[x[0]].same {
			return x[0], true
		}
		x, y = x[1:], y[1:]
	}
	switch {
	case len(x) == 0 && len(y) == 0:
		return 0, false
	case len(y) == 0 || len(x) > 0 && x[0] < y[0]:
		return x[0], true
	}
	return y[0], true
}

// rules returns what the policies together allow, as Evaluate gives it.
func (t *territory) rules(m moment, numbers []uint32) []wire.Rule {
	var rules []wire.Rule
	for _, number := range numbers {
		for _, r := range t.policies[number].compiled[m].rules {
			rules = append(rules, wire.Rule{Protocol: r.protocol, PortLow: r.low, PortHigh: r.high})
		}
	}
	rules = normalize(rules)
	return rules[:min(len(rules), wire.MaxRules)]
}

// intersect appends what is in both of two sorted lists, in time that depends on the shorter.
func intersect(both, x, y []uint32) []uint32 {
	if len(x) > len(y) {
		x, y = y, x
	}
	for _, number := range x {
		i, ok := slices.BinarySearch(y, number)
		if ok {
			both = append(both, number)
		}
		y = y[i:]
	}
	return both
}

// tally adds up the pairs by the flows that they gain or lose.
type tally struct {
	sets  map[string]*PairChange
	pairs int64
	full  bool
}

func newTally() *tally { return &tally{sets: map[string]*PairChange{}} }

func (y *tally) add(rules []wire.Rule, pairs int64, a, b *class) {
	if len(rules) == 0 {
		return
	}
	y.pairs += pairs
	key := make([]byte, 0, 5*len(rules))
	for _, r := range rules {
		key = append(key, r.Protocol)
		key = binary.BigEndian.AppendUint16(key, r.PortLow)
		key = binary.BigEndian.AppendUint16(key, r.PortHigh)
	}
	set, ok := y.sets[string(key)]
	if !ok {
		if len(y.sets) >= maxFlowSets {
			y.full = true
			return
		}
		set = &PairChange{}
		for _, r := range rules {
			set.Flows = append(set.Flows, flowOf("", r))
		}
		y.sets[string(key)] = set
	}
	set.Pairs += pairs
	for _, from := range a.samples {
		for _, to := range b.samples {
			if from != to && len(set.Samples) < MaxSamples {
				set.Samples = append(set.Samples, Pair{from, to})
			}
		}
	}
}

// list returns the sets of the most pairs; cut tells that there are others.
func (y *tally) list() (list []PairChange, cut bool) {
	for _, key := range sortedSets(y.sets) {
		list = append(list, *y.sets[key])
	}
	slices.SortStableFunc(list, func(a, b PairChange) int { return cmp.Compare(b.Pairs, a.Pairs) })
	if len(list) > MaxChanges {
		return list[:MaxChanges], true
	}
	return list, y.full
}

func sortedSets(sets map[string]*PairChange) []string {
	keys := make([]string, 0, len(sets))
	for key := range sets {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}
