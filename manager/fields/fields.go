// Package fields keeps account of which manager has an opinion about which
// field of a resource, so that several of them (a person, a git repository, a
// program) can apply their parts of one resource without undoing each other's.
//
// A field is named by its JSON pointer (RFC 6901). Objects and maps are taken
// apart key by key, arrays are one field. Only what the writers of a resource
// decide is kept account of: labels, annotations, finalizers and the
// specification; not the name, the type and the status.
//
// The package is pure. It must not know kinds, HTTP or the store: callers hand
// it resources as decoded JSON, in the canonical form in which they are stored.
package fields

import (
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/cyphonic/cyphonic/api"
)

// Conflict is a field that one manager wants to change and another owns.
type Conflict struct {
	Pointer string
	Owner   string // the other manager
}

// Apply brings a resource to what a manager wants: the fields of config take
// its values, fields that the manager applied before and that config no longer
// has are removed unless somebody else owns them, all others stay.
//
// Fields that another manager owns with a different value are conflicts; then
// nothing changes, unless force takes the fields away from their owners. Fields
// on whose value both agree belong to both. live is nil for a new resource and
// is not modified; owned comes back sorted.
func Apply(live, config map[string]any, owned []api.ManagedFields, manager string, force bool, now time.Time) (map[string]any, []api.ManagedFields, []Conflict) {
	want, have := leavesOf(config), leavesOf(live)
	state := decode(owned)
	conflicts := state.conflicts(manager, want, have)
	if len(conflicts) > 0 && !force {
		return live, owned, conflicts
	}
	for _, c := range conflicts {
		state.takeFrom(c.Owner, c.Pointer)
	}
	mine := key{manager, api.ManagedOperationApply}
	before := state[mine]
	next := entry{fields: map[string]bool{}, time: now}
	for pointer := range want {
		next.fields[pointer] = true
	}
	delete(state, mine)
	state.drop(key{manager, api.ManagedOperationUpdate}, want)
	merged := deepCopy(live)
	for _, pointer := range sortedKeys(before.fields) {
		if !next.fields[pointer] && !state.owns(pointer) {
			remove(merged, pointer)
		}
	}
	changed := !sameSet(before.fields, next.fields)
	for _, pointer := range sortedKeys(want) {
		changed = changed || !same(have[pointer], want[pointer])
		set(merged, pointer, want[pointer])
	}
	if !changed {
		next.time = before.time
	}
	if len(next.fields) > 0 {
		state[mine] = next
	}
	state.bound()
	return merged, state.encode(), nil
}

// Update says who owns what after a manager has replaced a resource: what it
// changed or added is its own, what it removed is nobody's, the rest stays.
func Update(before, after map[string]any, owned []api.ManagedFields, manager string, now time.Time) []api.ManagedFields {
	was, is := leavesOf(before), leavesOf(after)
	state := decode(owned)
	changed := map[string]any{}
	for pointer, value := range is {
		old, there := was[pointer]
		if !there || !reflect.DeepEqual(old, value) {
			changed[pointer] = value
		}
	}
	gone := map[string]any{}
	for pointer := range was {
		if _, there := is[pointer]; !there {
			gone[pointer] = nil
		}
	}
	if len(changed) == 0 && len(gone) == 0 {
		return owned
	}
	for k := range state {
		state.drop(k, changed)
		state.drop(k, gone)
	}
	if len(changed) > 0 {
		mine := key{manager, api.ManagedOperationUpdate}
		next := entry{fields: map[string]bool{}, time: now}
		for pointer := range state[mine].fields {
			next.fields[pointer] = true
		}
		for pointer := range changed {
			next.fields[pointer] = true
		}
		state[mine] = next
	}
	state.bound()
	return state.encode()
}

// Canonical returns what a manager wants with the values as they are stored:
// raw is the document that it sent, whose fields are its opinion, and decoded
// the same document after decoding and defaulting, which may have added fields
// and changed the spelling of values.
func Canonical(raw, decoded map[string]any) map[string]any {
	values := leavesOf(decoded)
	out := map[string]any{}
	for pointer, value := range leavesOf(raw) {
		if canonical, ok := values[pointer]; ok {
			value = canonical
		}
		set(out, pointer, value)
	}
	return out
}

// Same says whether two resources agree in all fields that are kept account of.
func Same(a, b map[string]any) bool { return reflect.DeepEqual(leavesOf(a), leavesOf(b)) }

// SameOwners says whether two accounts are equal; times do not count.
func SameOwners(a, b []api.ManagedFields) bool {
	return slices.EqualFunc(a, b, func(x, y api.ManagedFields) bool {
		return x.Manager == y.Manager && x.Operation == y.Operation && slices.Equal(x.Fields, y.Fields)
	})
}

// same compares values of a field. A field that is absent and one that has the
// zero value are the same: the stored form leaves zero values out.
func same(a, b any) bool { return zero(a) && zero(b) || reflect.DeepEqual(a, b) }

func zero(v any) bool {
	if v == nil {
		return true
	}
	r := reflect.ValueOf(v)
	if r.Kind() == reflect.Slice || r.Kind() == reflect.Map {
		return r.Len() == 0
	}
	return r.IsZero() || r.Kind() == reflect.String && r.String() == "0" && r.Type().Name() == "Number"
}

// overlap says whether one field is the other or a part of it.
func overlap(a, b string) bool {
	return a == b || strings.HasPrefix(a, b+"/") || strings.HasPrefix(b, a+"/")
}
