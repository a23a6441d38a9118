package applyset

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/cyphonic/cyphonic/api"
)

func node(name, set string) *api.Node {
	n := &api.Node{Metadata: api.ObjectMeta{Name: name}, Spec: api.NodeSpec{Network: "factory"}}
	n.SetType()
	if set != "" {
		n.Metadata.Labels = map[string]string{Label: set}
	}
	return n
}

func items(names ...string) (items []Item) {
	for _, name := range names {
		items = append(items, Item{node(name, ""), name + ".yaml:1"})
	}
	return items
}

func live(names ...string) (objects []api.Object) {
	for _, name := range names {
		set := "fleet"
		if before, after, ok := strings.Cut(name, "@"); ok {
			name, set = before, after
		}
		objects = append(objects, node(name, set))
	}
	return objects
}

func shown(items []Item) (names []string) {
	for _, item := range items {
		names = append(names, item.Object.Meta().Name)
	}
	return names
}

func shownObjects(objects []api.Object) (names []string) {
	for _, o := range objects {
		names = append(names, o.Meta().Name)
	}
	return names
}

func fleet() Set { return Set{"fleet", []string{"Node", "Network"}} }

func TestPlan(t *testing.T) {
	disabled := node("changed", "fleet")
	disabled.Spec.Disabled = true
	protected := node("kept", "fleet")
	protected.Metadata.Annotations = map[string]string{PruneKey: PruneDisabled}
	adapter := &api.Adapter{Metadata: api.ObjectMeta{Name: "unlisted", Labels: map[string]string{Label: "fleet"}}}
	network := &api.Network{Metadata: api.ObjectMeta{Name: "first"}}
	network.SetType()
	oldNetwork := &api.Network{Metadata: api.ObjectMeta{Name: "old", Labels: map[string]string{Label: "fleet"}}}
	wanted := append(items("new", "changed", "same", "unlabelled"), Item{network, "n"})
	got, err := Plan(wanted, append(live("gone", "same", "others@other", "bare@", "unlabelled@"), oldNetwork, disabled, protected, adapter), fleet(), DefaultGuard())
	if err != nil {
		t.Fatal(err)
	}
	type plan struct{ Create, Update, Unchanged, Prune, Protected []string }
	want := plan{[]string{"first", "new"}, []string{"changed", "unlabelled"}, []string{"same"}, []string{"gone", "old"}, []string{"kept"}}
	if diff := cmp.Diff(want, plan{shown(got.Create), shown(got.Update), shown(got.Unchanged), shownObjects(got.Prune), shownObjects(got.Protected)}); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestLabelsOfOthersAreNoChange(t *testing.T) {
	there := node("a", "fleet")
	there.Metadata.Labels["by-hand"] = "1"
	got, err := Plan(items("a"), []api.Object{there}, fleet(), DefaultGuard())
	if err != nil || len(got.Unchanged) != 1 {
		t.Errorf("%+v %v", got, err)
	}
	wanted := node("a", "")
	wanted.Metadata.Annotations = map[string]string{"note": "x"}
	if got, _ := Plan([]Item{{wanted, ""}}, []api.Object{there}, fleet(), DefaultGuard()); len(got.Update) != 1 {
		t.Errorf("a new annotation is no update: %+v", got)
	}
}

func TestPlanRefuses(t *testing.T) {
	var twenty []string
	for i := range 20 {
		twenty = append(twenty, fmt.Sprint("n", i))
	}
	for _, row := range []struct {
		name    string
		desired []Item
		live    []api.Object
		set     Set
		guard   Guard
		want    string
	}{
		{"a resource twice", append(items("a"), Item{node("a", ""), "b.yaml:7"}), nil, fleet(), DefaultGuard(), "b.yaml:7: node/a is already described in a.yaml:1"},
		{"nothing wanted", nil, live("a"), fleet(), DefaultGuard(), `nothing is described, which would delete all 1 resources of the apply set "fleet"`},
		{"nothing wanted, agreed", nil, live("a"), fleet(), Guard{MaxDeletions: 10, MaxShare: 1, AllowEmpty: true}, ""},
		{"nothing wanted, nothing there", nil, nil, fleet(), DefaultGuard(), ""},
		{"too many", items("a"), live(twenty[:11]...), fleet(), Guard{MaxDeletions: 10, MaxShare: 1}, `11 of the 11 resources of the apply set "fleet" would be deleted (node/n0, node/n1, node/n2, …), at most 10 are allowed at once`},
		{"as many as agreed", items("a"), live(twenty[:11]...), fleet(), Guard{MaxDeletions: 11, MaxShare: 1}, ""},
		{"too large a share", items(twenty[6:11]...), live(twenty[:11]...), fleet(), DefaultGuard(), "at most 50 % of the set"},
		{"few, whatever the share", items("a"), live(twenty[:5]...), fleet(), DefaultGuard(), ""},
		{"of another set", items("a"), live("a@other"), fleet(), DefaultGuard(), `a.yaml:1: node/a belongs to the apply set "other"`},
		{"of another set, taken over", items("a"), live("a@other"), fleet(), Guard{TakeOver: true}, ""},
		{"kinds that were not listed", items("a"), live(twenty...), Set{"fleet", []string{"Adapter"}}, Guard{}, ""},
		{"no set", items("a"), live(twenty...), Set{Kinds: []string{"Node"}}, Guard{TakeOver: true}, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, err := Plan(row.desired, row.live, row.set, row.guard)
			if (err == nil) != (row.want == "") || err != nil && !strings.Contains(err.Error(), row.want) {
				t.Errorf("got %v, want %q", err, row.want)
			}
		})
	}
	_, err := Plan(nil, live("a"), fleet(), DefaultGuard())
	var empty *EmptyError
	if !errors.As(err, &empty) || empty.Live != 1 {
		t.Errorf("%v cannot be told apart", err)
	}
}

// Whatever is wanted and there: what is deleted carries the label, is of a listed kind, is not wanted, is not protected, and is within the guard; doing the plan
// leaves nothing to do.
func TestPlanDeletesOnlyWhatItMay(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.SampledFrom([]string{"a", "b", "c", "d", "e", "f", "g", "h"})
		desired := items(rapid.SliceOfNDistinct(name, 0, 8, rapid.ID[string]).Draw(t, "desired")...)
		var there []api.Object
		for _, name := range rapid.SliceOfNDistinct(name, 0, 8, rapid.ID[string]).Draw(t, "live") {
			n := node(name, rapid.SampledFrom([]string{"", "fleet", "other"}).Draw(t, "set"))
			n.Spec.Disabled = rapid.Bool().Draw(t, "disabled")
			if rapid.Bool().Draw(t, "protected") {
				n.Metadata.Annotations = map[string]string{PruneKey: PruneDisabled}
			}
			there = append(there, n)
		}
		guard := Guard{rapid.IntRange(0, 8).Draw(t, "deletions"), rapid.Float64Range(0, 1).Draw(t, "share"), rapid.Bool().Draw(t, "empty"), true}
		got, err := Plan(desired, there, fleet(), guard)
		if err != nil {
			return
		}
		if n := len(got.Prune); n > guard.MaxDeletions || n > 0 && len(desired) == 0 && !guard.AllowEmpty {
			t.Fatalf("%d deletions with %+v", n, guard)
		}
		for _, o := range got.Prune {
			meta := o.Meta()
			if meta.Labels[Label] != "fleet" || meta.Annotations[PruneKey] == PruneDisabled || slices.Contains(shown(desired), meta.Name) {
				t.Fatalf("%+v is deleted", meta)
			}
		}
		if len(got.Create)+len(got.Update)+len(got.Unchanged) != len(desired) {
			t.Fatalf("%+v has not all that is wanted", got)
		}
		var after []api.Object
		for _, item := range desired {
			after = append(after, node(item.Object.Meta().Name, "fleet"))
		}
		again, err := Plan(desired, append(after, got.Protected...), fleet(), Guard{})
		if err != nil || len(again.Unchanged) != len(desired) || len(again.Prune) != 0 {
			t.Fatalf("after it: %+v %v", again, err)
		}
	})
}

func TestWithLabel(t *testing.T) {
	got, err := WithLabel([]byte(`{"kind":"Node","metadata":{"labels":{"a":"b"},"name":"n"}}`), "fleet")
	if want := `{"kind":"Node","metadata":{"labels":{"a":"b","cyphonic/applyset":"fleet"},"name":"n"}}`; err != nil || string(got) != want {
		t.Errorf("%s %v", got, err)
	}
	if _, err := WithLabel([]byte(`{"metadata":{"labels":{"cyphonic/applyset":"other"}}}`), "fleet"); err == nil {
		t.Error("the label of another set is overwritten")
	}
}

func TestTokensAndEventsAreNotDescribed(t *testing.T) {
	for _, kind := range Kinds() {
		if slices.Contains([]string{"Event", "APIToken", "EnrollmentToken"}, kind.Name) {
			t.Errorf("%s can be described", kind.Name)
		}
	}
	if len(Kinds()) < 5 {
		t.Errorf("only %d kinds", len(Kinds()))
	}
}
