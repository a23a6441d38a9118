package fields

import (
	"cmp"
	"slices"
	"time"

	"github.com/cyphonic/cyphonic/api"
)

// key is one writer in one role: what it applies and what it updates are two
// accounts.
type key struct {
	manager   string
	operation api.ManagedOperation
}

type entry struct {
	fields map[string]bool
	time   time.Time
}

// account is managedFields taken apart.
type account map[key]entry

func decode(owned []api.ManagedFields) account {
	a := account{}
	for _, e := range owned {
		k := key{e.Manager, e.Operation}
		got := a[k]
		if got.fields == nil {
			got.fields = make(map[string]bool, len(e.Fields))
		}
		for _, pointer := range e.Fields {
			got.fields[pointer] = true
		}
		if e.Time.After(got.time) {
			got.time = e.Time
		}
		a[k] = got
	}
	return a
}

func (a account) encode() []api.ManagedFields {
	var out []api.ManagedFields
	for k, e := range a {
		if len(e.fields) > 0 {
			out = append(out, api.ManagedFields{Manager: k.manager, Operation: k.operation, Time: e.time, Fields: sortedKeys(e.fields)})
		}
	}
	slices.SortFunc(out, func(x, y api.ManagedFields) int {
		return cmp.Or(cmp.Compare(x.Manager, y.Manager), cmp.Compare(x.Operation, y.Operation))
	})
	return out
}

// conflicts lists the fields of want that others own with a different value.
func (a account) conflicts(manager string, want, have map[string]any) []Conflict {
	found := map[Conflict]bool{}
	for k, e := range a {
		if k.manager == manager {
			continue
		}
		for owned := range e.fields {
			for pointer, value := range want {
				if overlap(owned, pointer) && (owned != pointer || !same(have[pointer], value)) {
					found[Conflict{Pointer: pointer, Owner: k.manager}] = true
				}
			}
		}
	}
	out := make([]Conflict, 0, len(found))
	for c := range found {
		out = append(out, c)
	}
	slices.SortFunc(out, func(x, y Conflict) int {
		return cmp.Or(cmp.Compare(x.Pointer, y.Pointer), cmp.Compare(x.Owner, y.Owner))
	})
	return out
}

// takeFrom takes a field, and what is part of it, away from a manager.
func (a account) takeFrom(manager, pointer string) {
	for k := range a {
		if k.manager == manager {
			a.drop(k, map[string]any{pointer: nil})
		}
	}
}

// drop takes fields, and what is part of them, out of one account.
func (a account) drop(k key, pointers map[string]any) {
	for owned := range a[k].fields {
		for pointer := range pointers {
			if overlap(owned, pointer) {
				delete(a[k].fields, owned)
			}
		}
	}
	if len(a[k].fields) == 0 {
		delete(a, k)
	}
}

func (a account) owns(pointer string) bool {
	for _, e := range a {
		for owned := range e.fields {
			if overlap(owned, pointer) {
				return true
			}
		}
	}
	return false
}

// bound merges accounts until there are at most MaxManagers: those of updates
// first, the oldest first. An account that is merged still owns its fields, but
// nobody can give them up by applying without them.
func (a account) bound() {
	merged := key{MergedManager, api.ManagedOperationUpdate}
	for len(a) > MaxManagers {
		oldest := a.oldest(merged)
		into := a[merged]
		if into.fields == nil {
			into.fields = map[string]bool{}
		}
		for pointer := range a[oldest].fields {
			into.fields[pointer] = true
		}
		if a[oldest].time.After(into.time) {
			into.time = a[oldest].time
		}
		delete(a, oldest)
		a[merged] = into
	}
}

func (a account) oldest(except key) key {
	keys := make([]key, 0, len(a))
	for k := range a {
		if k != except {
			keys = append(keys, k)
		}
	}
	return slices.MinFunc(keys, func(x, y key) int {
		return cmp.Or(
			-cmp.Compare(x.operation, y.operation), // Update before Apply
			a[x].time.Compare(a[y].time), cmp.Compare(x.manager, y.manager))
	})
}

func sameSet(a, b map[string]bool) bool {
	if len(a) != len(b) {
		return false
	}
	for pointer := range a {
		if !b[pointer] {
			return false
		}
	}
	return true
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
