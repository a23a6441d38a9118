package netfilter

import "slices"

// assign gives each slot to a backend: as evenly as whole slots allow, and so that as few slots as possible change
// hands. before are the owners until now, empty for none; backends are in their order. The result depends on nothing
// else. Without backends it is nil.
func assign(before, backends []string) []string {
	if len(backends) == 0 {
		return nil
	}
	slots := make([]string, slotCount)
	copy(slots, before)
	have := make(map[string]int, len(backends))
	for i, owner := range slots {
		if owner != "" && !slices.Contains(backends, owner) {
			slots[i] = ""
		}
		have[slots[i]]++
	}
	want := shares(have, backends)
	for i := len(slots) - 1; i >= 0; i-- { // what somebody has too much of becomes free
		if owner := slots[i]; owner != "" && have[owner] > want[owner] {
			have[owner]--
			slots[i] = ""
		}
	}
	next := 0
	for i, owner := range slots {
		if owner != "" {
			continue
		}
		for have[backends[next]] >= want[backends[next]] { // ends: the shares sum up to all slots
			next = (next + 1) % len(backends)
		}
		slots[i] = backends[next]
		have[backends[next]]++
		next = (next + 1) % len(backends) // a slot for each in turn
	}
	return slots
}

// shares says how many slots each backend is to have: those that have most already get the odd ones.
func shares(have map[string]int, backends []string) map[string]int {
	order := slices.Clone(backends)
	slices.SortStableFunc(order, func(a, b string) int { return have[b] - have[a] })
	want := make(map[string]int, len(order))
	for i, name := range order {
		want[name] = slotCount / len(order)
		if i < slotCount%len(order) {
			want[name]++
		}
	}
	return want
}
