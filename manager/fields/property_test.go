package fields

import (
	"fmt"
	"reflect"
	"testing"

	"pgregory.net/rapid"

	"github.com/cyphonic/cyphonic/api"
)

// drawConfig draws a resource with up to six fields of few names and values,
// so that managers meet.
func drawConfig(t *rapid.T, label string) map[string]any {
	o := map[string]any{}
	for range rapid.IntRange(0, 6).Draw(t, label+" fields") {
		pointer := rapid.SampledFrom([]string{
			"/metadata/labels/a", "/metadata/labels/b", "/metadata/annotations/a~1b", "/spec/n", "/spec/o/m", "/spec/o/n", "/spec/o", "/spec/list", "/spec/off",
		}).Draw(t, label+" pointer")
		value := rapid.SampledFrom([]any{"x", "y", "", false, true, []any{"x"}, []any{}}).Draw(t, label+" value")
		set(o, pointer, value)
	}
	return o
}

type world struct {
	live  map[string]any
	owned []api.ManagedFields
}

// drawWorld lets a few managers apply and update.
func drawWorld(t *rapid.T) world {
	w := world{live: map[string]any{}}
	for i := range rapid.IntRange(0, 6).Draw(t, "steps") {
		manager := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "manager")
		config := drawConfig(t, fmt.Sprint("step ", i))
		if rapid.Bool().Draw(t, "update") {
			w.owned = Update(w.live, config, w.owned, manager, at(i))
			w.live = config
			continue
		}
		w.live, w.owned, _ = Apply(w.live, config, w.owned, manager, rapid.Bool().Draw(t, "force"), at(i))
	}
	return w
}

func TestApplyingTwiceChangesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t)
		config := drawConfig(t, "config")
		live, owned, conflicts := Apply(w.live, config, w.owned, "a", true, at(10))
		if len(conflicts) > 0 {
			t.Fatalf("conflicts in spite of force: %v", conflicts)
		}
		again, ownedAgain, conflicts := Apply(live, config, owned, "a", false, at(20))
		if len(conflicts) > 0 {
			t.Fatalf("the second time conflicts: %v", conflicts)
		}
		if !reflect.DeepEqual(live, again) || !reflect.DeepEqual(owned, ownedAgain) {
			t.Fatalf("%v %v became %v %v", live, owned, again, ownedAgain)
		}
	})
}

func TestWhatIsAppliedIsThere(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t)
		config := drawConfig(t, "config")
		live, _, _ := Apply(w.live, config, w.owned, "a", true, at(10))
		have := leavesOf(live)
		for pointer, value := range leavesOf(config) {
			if !same(have[pointer], value) {
				t.Fatalf("%s is %v, want %v", pointer, have[pointer], value)
			}
		}
	})
}

// Nothing that somebody owned, and that is still there, is nobody's after a
// take-over; and nobody owns a field with another value than it has.
func TestNothingIsOwnedByNobodyAfterForce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t)
		before := decode(w.owned)
		config := drawConfig(t, "config")
		live, owned, _ := Apply(w.live, config, w.owned, "a", true, at(10))
		after := decode(owned)
		for pointer := range leavesOf(live) {
			if before.owns(pointer) && !after.owns(pointer) {
				t.Fatalf("%s was owned and is nobody's: %v", pointer, owned)
			}
		}
		for pointer, value := range leavesOf(config) {
			for k, e := range after {
				if e.fields[pointer] && !same(leavesOf(live)[pointer], value) {
					t.Fatalf("%s owns %s with another value", k.manager, pointer)
				}
			}
		}
	})
}

func TestWithoutForceOthersKeepTheirFields(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t)
		live, owned, _ := Apply(w.live, drawConfig(t, "config"), w.owned, "a", false, at(10))
		before, after := leavesOf(w.live), leavesOf(live)
		for k, e := range decode(w.owned) {
			if k.manager == "a" {
				continue
			}
			for pointer := range e.fields {
				if !same(before[pointer], after[pointer]) {
					t.Fatalf("%s of %s changed from %v to %v", pointer, k.manager, before[pointer], after[pointer])
				}
				if !decode(owned)[k].fields[pointer] {
					t.Fatalf("%s lost %s", k.manager, pointer)
				}
			}
		}
	})
}

func TestManagersOfDisjointFieldsCommute(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		first, second := map[string]any{}, map[string]any{}
		for i, pointer := range []string{"/metadata/labels/a", "/metadata/labels/b", "/spec/n", "/spec/o/m", "/spec/o/n", "/spec/list"} {
			value := rapid.SampledFrom([]any{"x", false, []any{"y"}}).Draw(t, fmt.Sprint("value ", i))
			switch rapid.IntRange(0, 2).Draw(t, "whose") {
			case 0:
				set(first, pointer, value)
			case 1:
				set(second, pointer, value)
			}
		}
		apply := func(order ...string) world {
			w := world{live: map[string]any{}}
			for _, manager := range order {
				config := first
				if manager == "b" {
					config = second
				}
				var conflicts []Conflict
				if w.live, w.owned, conflicts = Apply(w.live, config, w.owned, manager, false, at(0)); len(conflicts) > 0 {
					t.Fatalf("conflicts: %v", conflicts)
				}
			}
			return w
		}
		if ab, ba := apply("a", "b"), apply("b", "a"); !reflect.DeepEqual(ab, ba) {
			t.Fatalf("%v\n%v", ab, ba)
		}
	})
}

func TestUpdateOwnsWhatItChanged(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t)
		after := drawConfig(t, "after")
		owned := decode(Update(w.live, after, w.owned, "z", at(10)))
		was, is := leavesOf(w.live), leavesOf(after)
		for pointer, value := range is {
			if old, there := was[pointer]; there && reflect.DeepEqual(old, value) {
				continue
			}
			for k, e := range owned {
				if e.fields[pointer] != (k.manager == "z") {
					t.Fatalf("%s, which z changed, and %s: %v", pointer, k.manager, owned)
				}
			}
			if !owned.owns(pointer) {
				t.Fatalf("%s is nobody's", pointer)
			}
		}
		for pointer := range was {
			if _, there := is[pointer]; !there && owned.owns(pointer) && !coveredBy(is, pointer) {
				t.Fatalf("%s is gone and still owned", pointer)
			}
		}
	})
}

// coveredBy says whether a leaf that is there overlaps the pointer.
func coveredBy(leaves map[string]any, pointer string) bool {
	for other := range leaves {
		if overlap(other, pointer) {
			return true
		}
	}
	return false
}
