// Package applyset decides what has to be created, updated and deleted so that a named set of resources is what somebody wants it to be, and refuses to delete more
// than was agreed. A resource belongs to a set by its label; what is in no set, or in another one, is never deleted.
//
// The package is pure: it must not read manifests, speak to a manager or know who applies the set.
package applyset

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cyphonic/cyphonic/api"
)

// What a resource says about its set.
const (
	Label         = "cyphonic/applyset" // label: name of the set that the resource belongs to
	PruneKey      = "cyphonic/prune"    // annotation: PruneDisabled keeps the resource from being deleted because it left the set
	PruneDisabled = "disabled"
)

// Default bounds of a Guard.
const (
	DefaultMaxDeletions = 10
	DefaultMaxShare     = 0.5
	shareFrom           = 5 // deletions up to which the share does not matter: half of a set of two is one resource
)

// Item is a resource that is wanted.
type Item struct {
	Object api.Object
	Place  string // where it is described, for faults
}

// Set says which resources may be deleted.
type Set struct {
	Name  string
	Kinds []string // kinds whose live resources were listed; others are never deleted
}

// Guard is what was agreed about deletions.
type Guard struct {
	MaxDeletions int     // at most so many
	MaxShare     float64 // at most this part of the live resources of the set, 0 … 1
	AllowEmpty   bool    // nothing wanted means that the whole set shall go
	TakeOver     bool    // wanted resources that belong to another set change to this one
}

// DefaultGuard lets ten resources go, or half of the set if that is less, and never all of it because nothing is wanted.
func DefaultGuard() Guard {
	return Guard{MaxDeletions: DefaultMaxDeletions, MaxShare: DefaultMaxShare}
}

// Allows tells whether so many of the live resources of a set may be deleted.
func (g Guard) Allows(deletions, live int) bool {
	const rounding = 1e-9 // of shares that are no sums of powers of two
	return deletions <= g.MaxDeletions && (deletions <= shareFrom || float64(deletions) <= (g.MaxShare+rounding)*float64(live))
}

// Actions is what has to be done.
type Actions struct {
	Create, Update, Unchanged []Item       // in an order in which what others refer to comes first
	Prune                     []api.Object // as they are, in an order in which what refers to others goes first
	Protected                 []api.Object // not deleted because of their annotation
}

// DuplicateError is a resource that is wanted twice.
type DuplicateError struct{ Resource, First, Second string }

func (e *DuplicateError) Error() string {
	return fmt.Sprintf("%s: %s is already described in %s", e.Second, e.Resource, e.First)
}

// ForeignError is a wanted resource that belongs to another set.
type ForeignError struct{ Resource, Place, Set string }

func (e *ForeignError) Error() string {
	return fmt.Sprintf("%s: %s belongs to the apply set %q: remove it there first, or take it over with force (--force-conflicts)", e.Place, e.Resource, e.Set)
}

// EmptyError refuses to delete a whole set because nothing is wanted.
type EmptyError struct {
	Set  string
	Live int
}

func (e *EmptyError) Error() string {
	return fmt.Sprintf("nothing is described, which would delete all %d resources of the apply set %q", e.Live, e.Set)
}

// GuardError refuses more deletions than were agreed.
type GuardError struct {
	Set             string
	Deletions, Live int
	Guard           Guard
	Examples        []string
}

func (e *GuardError) Error() string {
	bound := fmt.Sprintf("at most %d are allowed at once", e.Guard.MaxDeletions)
	if e.Deletions <= e.Guard.MaxDeletions {
		bound = fmt.Sprintf("at most %.0f %% of the set are allowed at once", 100*e.Guard.MaxShare)
	}
	return fmt.Sprintf("%d of the %d resources of the apply set %q would be deleted (%s), %s", e.Deletions, e.Live, e.Set, strings.Join(e.Examples, ", "), bound)
}

// Plan compares what is wanted with what there is. Wanted resources are defaulted and valid; live ones are all of the set's kinds that carry its label, and may be
// more. The error has every fault, joined; if there is one nothing must be done.
func Plan(desired []Item, live []api.Object, set Set, guard Guard) (Actions, error) {
	var (
		actions Actions
		faults  []error
	)
	current := make(map[string]api.Object, len(live))
	for _, o := range live {
		current[nameOf(o)] = o
	}
	wanted := make(map[string]Item, len(desired))
	for _, item := range desired {
		name := nameOf(item.Object)
		if first, ok := wanted[name]; ok {
			faults = append(faults, &DuplicateError{name, first.Place, item.Place})
			continue
		}
		wanted[name] = item
		old := current[name]
		if old != nil && !guard.TakeOver {
			if other := old.Meta().Labels[Label]; other != "" && other != set.Name {
				faults = append(faults, &ForeignError{name, item.Place, other})
				continue
			}
		}
		actions.add(item, old, set.Name)
	}
	if err := actions.prune(wanted, live, set, guard); err != nil {
		faults = append(faults, err)
	}
	actions.sort()
	return actions, errors.Join(faults...)
}

func (a *Actions) add(item Item, old api.Object, set string) {
	switch {
	case old == nil:
		a.Create = append(a.Create, item)
	case holds(item.Object, old, set):
		a.Unchanged = append(a.Unchanged, item)
	default:
		a.Update = append(a.Update, item)
	}
}

// holds tells whether the live resource is as it is wanted. Labels and annotations that others have added do not matter.
func holds(wanted, live api.Object, set string) bool {
	if set != "" && live.Meta().Labels[Label] != set {
		return false
	}
	return sameJSON(wanted.SpecPart(), live.SpecPart()) &&
		covers(live.Meta().Labels, wanted.Meta().Labels) && covers(live.Meta().Annotations, wanted.Meta().Annotations)
}

func covers(have, want map[string]string) bool {
	for key, value := range want {
		if has, ok := have[key]; !ok || has != value {
			return false
		}
	}
	return true
}

func sameJSON(a, b any) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}

// prune finds what left the set.
func (a *Actions) prune(wanted map[string]Item, live []api.Object, set Set, guard Guard) error {
	if set.Name == "" {
		return nil
	}
	members := 0
	for _, o := range live {
		if o.Meta().Labels[Label] != set.Name || !slices.Contains(set.Kinds, o.KindName()) {
			continue
		}
		members++
		if _, ok := wanted[nameOf(o)]; ok {
			continue
		}
		if o.Meta().Annotations[PruneKey] == PruneDisabled {
			a.Protected = append(a.Protected, o)
			continue
		}
		a.Prune = append(a.Prune, o)
	}
	deletions := len(a.Prune)
	switch {
	case deletions > 0 && len(wanted) == 0 && !guard.AllowEmpty:
		return &EmptyError{set.Name, members}
	case !guard.Allows(deletions, members):
		return &GuardError{set.Name, deletions, members, guard, examples(a.Prune)}
	}
	return nil
}

func examples(objects []api.Object) []string {
	const shown = 3
	var names []string
	for _, o := range objects[:min(len(objects), shown)] {
		names = append(names, nameOf(o))
	}
	if len(objects) > shown {
		names = append(names, "…")
	}
	return names
}

func (a *Actions) sort() {
	for _, items := range [][]Item{a.Create, a.Update, a.Unchanged} {
		slices.SortStableFunc(items, func(x, y Item) int { return api.CompareRank(x.Object, y.Object) })
	}
	for _, objects := range [][]api.Object{a.Prune, a.Protected} {
		slices.SortStableFunc(objects, func(x, y api.Object) int { return api.CompareRank(y, x) })
	}
}

// Kinds are those that manifests may describe and a set may therefore have. Events are written by the manager, and tokens have secrets that only their creation shows.
func Kinds() (kinds []api.Kind) {
	for _, kind := range api.Kinds() {
		if Describable(kind) == nil {
			kinds = append(kinds, kind)
		}
	}
	return kinds
}

// Describable returns why resources of the kind cannot be applied from manifests, nil if they can.
func Describable(kind api.Kind) error {
	switch {
	case kind.ReadOnly:
		return fmt.Errorf("is %s, which the manager alone writes", kind.Name)
	case kind.Name == "EnrollmentToken" || kind.Name == "APIToken":
		return fmt.Errorf("is %s, which is made with `cyphonicctl token create`, because its secret is shown only then", kind.Name)
	}
	return nil
}

// WithLabel adds the label of the set to a resource as JSON. One that carries the label of another set is an error.
func WithLabel(document []byte, set string) ([]byte, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(document, &fields); err != nil {
		return nil, err
	}
	var meta map[string]json.RawMessage
	if err := json.Unmarshal(fields["metadata"], &meta); err != nil {
		return nil, err
	}
	labels := map[string]string{}
	if text, ok := meta["labels"]; ok {
		if err := json.Unmarshal(text, &labels); err != nil {
			return nil, err
		}
	}
	if other, ok := labels[Label]; ok && other != set {
		return nil, fmt.Errorf("the label %s is %q, but the apply set is %q: leave the label out", Label, other, set)
	}
	labels = maps.Clone(labels)
	labels[Label] = set
	var err error
	if meta["labels"], err = json.Marshal(labels); err != nil {
		return nil, err
	}
	if fields["metadata"], err = json.Marshal(meta); err != nil {
		return nil, err
	}
	return json.Marshal(fields)
}

func nameOf(o api.Object) string { return strings.ToLower(o.KindName()) + "/" + o.Meta().Name }
