package fields

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cyphonic/cyphonic/api"
)

func at(second int) time.Time { return time.Date(2030, 1, 1, 0, 0, second, 0, time.UTC) }

func object(t *testing.T, text string) map[string]any {
	t.Helper()
	var o map[string]any
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return o
}

func text(t *testing.T, o map[string]any) string {
	t.Helper()
	b, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// show writes an account as "git+Apply:/spec/a,/spec/b …".
func show(owned []api.ManagedFields) string {
	var out []string
	for _, e := range owned {
		out = append(out, fmt.Sprintf("%s+%s:%s", e.Manager, e.Operation, strings.Join(e.Fields, ",")))
	}
	return strings.Join(out, " ")
}

func applied(manager string, pointers ...string) api.ManagedFields {
	return api.ManagedFields{Manager: manager, Operation: api.ManagedOperationApply, Time: at(0), Fields: pointers}
}

func updated(manager string, pointers ...string) api.ManagedFields {
	return api.ManagedFields{Manager: manager, Operation: api.ManagedOperationUpdate, Time: at(0), Fields: pointers}
}

// applyCase is one apply of the manager "me".
type applyCase struct {
	name         string
	live, config string
	owned        []api.ManagedFields
	force        bool
	merged, want string
	conflicts    string
}

func TestApplyTakesGivesAndRefusesFields(t *testing.T) {
	for _, c := range []applyCase{
		{
			name: "a new resource", config: `{"metadata":{"name":"x","labels":{"a":"1"}},"spec":{"n":"f","list":[{"a":1}],"in":{"m":"x"}}}`,
			merged: `{"metadata":{"labels":{"a":"1"}},"spec":{"in":{"m":"x"},"list":[{"a":1}],"n":"f"}}`,
			want:   "me+Apply:/metadata/labels/a,/spec/in/m,/spec/list,/spec/n",
		},
		{
			name: "a field that is not listed any more goes, and the object around it", live: `{"metadata":{"labels":{"a":"1"}},"spec":{"n":"f","in":{"m":"x"}}}`,
			config: `{"spec":{"n":"f"}}`, owned: []api.ManagedFields{applied("me", "/metadata/labels/a", "/spec/in/m", "/spec/n")},
			merged: `{"spec":{"n":"f"}}`, want: "me+Apply:/spec/n",
		},
		{
			name: "a field that another owns too stays", live: `{"spec":{"n":"f","m":"x"}}`, config: `{"spec":{"n":"f"}}`,
			owned:  []api.ManagedFields{applied("me", "/spec/m", "/spec/n"), updated("you", "/spec/m")},
			merged: `{"spec":{"m":"x","n":"f"}}`, want: "me+Apply:/spec/n you+Update:/spec/m",
		},
		{
			name: "what nobody applied stays", live: `{"spec":{"n":"f","m":"x"}}`, config: `{"spec":{"n":"f"}}`,
			merged: `{"spec":{"m":"x","n":"f"}}`, want: "me+Apply:/spec/n",
		},
		{
			name: "another's field with another value is a conflict", live: `{"metadata":{"labels":{"a":"1"}},"spec":{"n":"f"}}`,
			config: `{"metadata":{"labels":{"a":"2"}},"spec":{"n":"g"}}`, owned: []api.ManagedFields{applied("git", "/spec/n"), updated("you", "/metadata/labels/a", "/spec/n")},
			merged: `{"metadata":{"labels":{"a":"1"}},"spec":{"n":"f"}}`, want: "git+Apply:/spec/n you+Update:/metadata/labels/a,/spec/n",
			conflicts: "[{/metadata/labels/a you} {/spec/n git} {/spec/n you}]",
		},
		{
			name: "force takes the fields over and leaves the rest", live: `{"metadata":{"labels":{"a":"1"}},"spec":{"n":"f"}}`, force: true,
			config: `{"metadata":{"labels":{"a":"2"}}}`, owned: []api.ManagedFields{applied("git", "/metadata/labels/a", "/spec/n")},
			merged: `{"metadata":{"labels":{"a":"2"}},"spec":{"n":"f"}}`, want: "git+Apply:/spec/n me+Apply:/metadata/labels/a",
		},
	} {
		t.Run(c.name, c.check)
	}
}

func TestApplyComparesValues(t *testing.T) {
	for _, c := range []applyCase{
		{
			name: "the same value is owned by both", live: `{"spec":{"n":"f"}}`, config: `{"spec":{"n":"f"}}`, owned: []api.ManagedFields{applied("git", "/spec/n")},
			merged: `{"spec":{"n":"f"}}`, want: "git+Apply:/spec/n me+Apply:/spec/n",
		},
		{
			name: "one's own update is no conflict and moves", live: `{"spec":{"n":"f","m":"x"}}`, config: `{"spec":{"n":"g"}}`,
			owned:  []api.ManagedFields{updated("me", "/spec/m", "/spec/n")},
			merged: `{"spec":{"m":"x","n":"g"}}`, want: "me+Apply:/spec/n me+Update:/spec/m",
		},
		{
			name: "false and absent are the same", live: `{"spec":{"n":"f"}}`, config: `{"spec":{"off":false}}`, owned: []api.ManagedFields{applied("git", "/spec/off")},
			merged: `{"spec":{"n":"f","off":false}}`, want: "git+Apply:/spec/off me+Apply:/spec/off",
		},
		{
			name: "true against a false that is left out", live: `{"spec":{"n":"f"}}`, config: `{"spec":{"off":true}}`, owned: []api.ManagedFields{applied("git", "/spec/off")},
			merged: `{"spec":{"n":"f"}}`, want: "git+Apply:/spec/off", conflicts: "[{/spec/off git}]",
		},
		{
			name: "arrays are one field", live: `{"spec":{"l":[1,2]}}`, config: `{"spec":{"l":[1]}}`, owned: []api.ManagedFields{applied("git", "/spec/l")},
			merged: `{"spec":{"l":[1,2]}}`, want: "git+Apply:/spec/l", conflicts: "[{/spec/l git}]",
		},
		{
			name: "a value where an object was", live: `{"spec":{"o":{"a":1,"b":2}}}`, config: `{"spec":{"o":3}}`, force: true, owned: []api.ManagedFields{applied("git", "/spec/o/a")},
			merged: `{"spec":{"o":3}}`, want: "me+Apply:/spec/o",
		},
		{
			name: "an object where a value was", live: `{"spec":{"o":3}}`, config: `{"spec":{"o":{"a":1}}}`, owned: []api.ManagedFields{applied("git", "/spec/o")},
			merged: `{"spec":{"o":3}}`, want: "git+Apply:/spec/o", conflicts: "[{/spec/o/a git}]",
		},
		{
			name: "status, name and type are nobody's", config: `{"apiVersion":"v","kind":"K","metadata":{"name":"x","uid":"u"},"spec":{"n":null},"status":{"phase":"Up"}}`,
			merged: `{}`, want: "",
		},
		{
			name: "names are escaped", config: `{"metadata":{"labels":{"a/b~c":"1"}}}`, merged: `{"metadata":{"labels":{"a/b~c":"1"}}}`, want: "me+Apply:/metadata/labels/a~1b~0c",
		},
	} {
		t.Run(c.name, c.check)
	}
}

func (c applyCase) check(t *testing.T) {
	live := map[string]any(nil)
	if c.live != "" {
		live = object(t, c.live)
	}
	merged, owned, conflicts := Apply(live, object(t, c.config), c.owned, "me", c.force, at(1))
	if got := text(t, merged); got != c.merged {
		t.Errorf("merged %s, want %s", got, c.merged)
	}
	if got := show(owned); got != c.want {
		t.Errorf("owned %s, want %s", got, c.want)
	}
	if got := fmt.Sprint(conflicts); got != c.conflicts && (len(conflicts) > 0 || c.conflicts != "") {
		t.Errorf("conflicts %s, want %s", got, c.conflicts)
	}
	if c.live != "" && text(t, live) != text(t, object(t, c.live)) {
		t.Error("the live resource was modified")
	}
}

func TestUpdate(t *testing.T) {
	cases := []struct {
		name, before, after string
		owned               []api.ManagedFields
		want                string
	}{
		{"creation", `{}`, `{"metadata":{"labels":{"a":""}},"spec":{"n":"f","o":{"m":1}}}`, nil, "me+Update:/metadata/labels/a,/spec/n,/spec/o/m"},
		{"a changed field changes its owner", `{"spec":{"n":"f","m":1}}`, `{"spec":{"n":"g","m":1}}`, []api.ManagedFields{applied("git", "/spec/m", "/spec/n")}, "git+Apply:/spec/m me+Update:/spec/n"},
		{"a removed field is nobody's", `{"spec":{"n":"f","m":1}}`, `{"spec":{"m":1}}`, []api.ManagedFields{applied("git", "/spec/m", "/spec/n")}, "git+Apply:/spec/m"},
		{"nothing changed", `{"spec":{"n":"f"}}`, `{"spec":{"n":"f"},"status":{"x":1}}`, []api.ManagedFields{applied("git", "/spec/n")}, "git+Apply:/spec/n"},
		{"one's earlier updates are kept", `{"spec":{"n":"f","m":1}}`, `{"spec":{"n":"g","m":1}}`, []api.ManagedFields{updated("me", "/spec/m")}, "me+Update:/spec/m,/spec/n"},
		{"a field that was set to false by its owner stays his", `{"spec":{"n":"f"}}`, `{"spec":{"n":"g"}}`, []api.ManagedFields{applied("git", "/spec/n", "/spec/off")}, "git+Apply:/spec/off me+Update:/spec/n"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got := Update(object(t, c.before), object(t, c.after), c.owned, "me", at(1))
			if show(got) != c.want {
				t.Errorf("got %s, want %s", show(got), c.want)
			}
		})
	}
}

func TestTheTimeChangesOnlyWithTheFields(t *testing.T) {
	config := object(t, `{"spec":{"n":"f"}}`)
	live, owned, _ := Apply(nil, config, nil, "me", false, at(1))
	_, again, _ := Apply(live, config, owned, "me", false, at(2))
	if !again[0].Time.Equal(at(1)) {
		t.Errorf("time is %v though nothing changed", again[0].Time)
	}
	_, third, _ := Apply(live, object(t, `{"spec":{"n":"g"}}`), owned, "me", false, at(3))
	if !third[0].Time.Equal(at(3)) {
		t.Errorf("time is %v though the value changed", third[0].Time)
	}
}

func TestManagersAreBounded(t *testing.T) {
	var owned []api.ManagedFields
	live := map[string]any{}
	for i := range 2 * MaxManagers {
		next := deepCopy(live)
		set(next, fmt.Sprintf("/spec/f%02d", i), i)
		owned = Update(live, next, owned, fmt.Sprintf("m%02d", i), at(i))
		live = next
	}
	if len(owned) != MaxManagers {
		t.Fatalf("%d managers", len(owned))
	}
	fields := 0
	for _, e := range owned {
		fields += len(e.Fields)
		if e.Manager == "m00" {
			t.Error("the oldest is still there by itself")
		}
	}
	if fields != 2*MaxManagers {
		t.Errorf("%d fields are owned, want %d", fields, 2*MaxManagers)
	}
	live, owned, _ = Apply(live, object(t, `{"spec":{"x":1}}`), owned, "git", false, at(100))
	for i := range MaxManagers {
		live, owned, _ = Apply(live, object(t, fmt.Sprintf(`{"spec":{"y%d":1}}`, i)), owned, fmt.Sprintf("a%02d", i), false, at(101+i))
	}
	if len(owned) != MaxManagers {
		t.Errorf("%d managers", len(owned))
	}
	if _, _, conflicts := Apply(live, object(t, `{"spec":{"x":2}}`), owned, "late", false, at(200)); fmt.Sprint(conflicts) != "[{/spec/x "+MergedManager+"}]" {
		t.Errorf("a merged manager lost its field: %v", conflicts)
	}
}

func TestCanonicalTakesTheFieldsOfOneAndTheValuesOfTheOther(t *testing.T) {
	raw := object(t, `{"metadata":{"name":"x","labels":{"a":"1"}},"spec":{"mac":"AA","off":false,"list":[]}}`)
	decoded := object(t, `{"metadata":{"name":"x","labels":{"a":"1"}},"spec":{"mac":"aa","mode":"ipv4"}}`)
	want := object(t, `{"metadata":{"labels":{"a":"1"}},"spec":{"mac":"aa","off":false,"list":[]}}`)
	if diff := cmp.Diff(want, Canonical(raw, decoded)); diff != "" {
		t.Error(diff)
	}
}

func TestPointersRoundTrip(t *testing.T) {
	for _, name := range []string{"", "a", "~", "/", "~1", "a/b~c", "~01"} {
		o := map[string]any{}
		pointer := "/spec/" + escape(name)
		set(o, pointer, 1)
		if got := leavesOf(o); !reflect.DeepEqual(got, map[string]any{pointer: 1}) {
			t.Errorf("%q: %v", name, got)
		}
		if remove(o, pointer); len(o) != 0 {
			t.Errorf("%q: %v is left", name, o)
		}
	}
}
