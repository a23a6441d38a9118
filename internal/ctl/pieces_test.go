package ctl

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/api/client"
)

func TestMergePatchIsWhatChanged(t *testing.T) {
	rows := map[string]struct{ before, after, want string }{
		"nothing":            {`{"a":1,"b":{"c":[1]}}`, `{"a":1,"b":{"c":[1]}}`, `{}`},
		"a value":            {`{"a":1,"b":2}`, `{"a":1,"b":3}`, `{"b":3}`},
		"added, removed":     {`{"a":1}`, `{"b":1}`, `{"a":null,"b":1}`},
		"deep":               {`{"a":{"b":{"c":1,"d":2}}}`, `{"a":{"b":{"c":1,"d":3}}}`, `{"a":{"b":{"d":3}}}`},
		"a list":             {`{"a":[1,2]}`, `{"a":[2]}`, `{"a":[2]}`},
		"an object comes":    {`{"a":1}`, `{"a":{"b":1}}`, `{"a":{"b":1}}`},
		"an object goes":     {`{"a":{"b":1}}`, `{"a":1}`, `{"a":1}`},
		"the last of object": {`{"a":{"b":1}}`, `{"a":{}}`, `{"a":{"b":null}}`},
	}
	for name, row := range rows {
		got := mergePatch(object(t, row.before), object(t, row.after))
		if difference := cmp.Diff(object(t, row.want), got); difference != "" {
			t.Errorf("%s: %s", name, difference)
		}
	}
}

func object(t *testing.T, text string) (fields map[string]any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &fields); err != nil {
		t.Fatal(err)
	}
	return fields
}

func TestOverlapNamesWhatBothChangedDifferently(t *testing.T) {
	rows := map[string]struct{ theirs, mine, want string }{
		"different fields": {`{"a":1}`, `{"b":1}`, ""},
		"the same change":  {`{"a":1}`, `{"a":1}`, ""},
		"another change":   {`{"a":{"b":1,"c":1}}`, `{"a":{"b":2}}`, "/a/b"},
		"one removed it":   {`{"a":null}`, `{"a":2}`, "/a"},
		"one removed all":  {`{"a":null}`, `{"a":{"b":1}}`, "/a"},
	}
	for name, row := range rows {
		if got := strings.Join(overlap(object(t, row.theirs), []byte(row.mine)), " "); got != row.want {
			t.Errorf("%s: got %q, want %q", name, got, row.want)
		}
	}
}

func TestGoalsOfWaitAreCutBehindThePath(t *testing.T) {
	rows := []struct {
		text, path, value string
		exact             bool
	}{
		{"{.status.phase}=Up", "{.status.phase}", "Up", true},
		{".status.phase=Up", ".status.phase", "Up", true},
		{".status.phase", ".status.phase", "", false},
		{`{.a[?(@.b=="c")]}=d=e`, `{.a[?(@.b=="c")]}`, "d=e", true},
		{`.a[?(@.b=="c")].d=e`, `.a[?(@.b=="c")].d`, "e", true},
		{".a=", ".a", "", true},
	}
	for _, row := range rows {
		path, value, exact := cutPath(row.text)
		if path != row.path || value != row.value || exact != row.exact {
			t.Errorf("%s: got %q, %q, %t", row.text, path, value, exact)
		}
	}
}

func TestAConditionOfAnOlderGenerationDoesNotCount(t *testing.T) {
	o := &api.Node{Metadata: api.ObjectMeta{Generation: 2}}
	for generation, want := range map[int64]bool{0: true, 1: false, 2: true} {
		o.Status.Conditions = []api.Condition{{Type: "Ready", Status: "True", ObservedGeneration: generation}}
		if got, err := hasCondition("ready", "true")(o); got != want || err != nil {
			t.Errorf("generation %d: got %t, %v", generation, got, err)
		}
	}
}

func TestColumnsAreSplitOutsideOfBrackets(t *testing.T) {
	got := splitOutside(`A:.a['x','y'],B:.b[?(@.c==",")],C:.c`)
	if want := []string{`A:.a['x','y']`, `B:.b[?(@.c==",")]`, `C:.c`}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestValuesAreOrderedByTheirTypes(t *testing.T) {
	ordered := []any{nil, json.Number("-1"), json.Number("9"), json.Number("10"), json.Number("1e2"), "10", "9", "a"}
	shuffled := slices.Clone(ordered)
	slices.Reverse(shuffled)
	slices.SortStableFunc(shuffled, compareValues)
	if difference := cmp.Diff(ordered, shuffled); difference != "" {
		t.Error(difference)
	}
}

func TestTextOfOthersCannotActOnTheTerminal(t *testing.T) {
	var out strings.Builder
	c := terminal(&out, nil)
	table := c.newTable("NAME", "PHASE")
	table.add("a\x1b[2Jb\nc\u009b1m", "Up")
	if err := table.flush(); err != nil {
		t.Fatal(err)
	}
	want := "\x1b[1mNAME\x1b[0m          \x1b[1mPHASE\x1b[0m\na [2Jb c 1m   \x1b[32mUp\x1b[0m\n"
	if out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}

// terminal is a command whose streams are one terminal.
func terminal(out *strings.Builder, variables map[string]string) *command {
	return &command{Environment: Environment{
		Stdout: out, Stderr: out, Now: time.Now,
		Terminal: func(any) bool { return true }, Getenv: func(name string) string { return variables[name] },
	}}
}

func TestColoursAreForTerminalsThatWantThem(t *testing.T) {
	rows := map[string]struct {
		variables map[string]string
		color     string
		want      bool
	}{
		"a terminal":           {nil, "auto", true},
		"NO_COLOR":             {map[string]string{"NO_COLOR": "1"}, "auto", false},
		"a dumb terminal":      {map[string]string{"TERM": "dumb"}, "auto", false},
		"never":                {nil, "never", false},
		"always, all the same": {map[string]string{"NO_COLOR": "1"}, "always", true},
	}
	for name, row := range rows {
		var out strings.Builder
		c := terminal(&out, row.variables)
		c.color = row.color
		if got := c.paint(&out, styleBad, "x") != "x"; got != row.want {
			t.Errorf("%s: coloured %t, want %t", name, got, row.want)
		}
		c.Terminal = func(any) bool { return false }
		if got := c.paint(&out, styleBad, "x") != "x"; got != (row.color == "always") {
			t.Errorf("%s, no terminal: coloured %t", name, got)
		}
	}
}

func TestProgressIsOneLineForWorkThatTakesAWhile(t *testing.T) {
	var out strings.Builder
	c := terminal(&out, nil)
	now := time.Unix(0, 0)
	c.Now = func() time.Time { return now }
	bar := c.newProgress("Reading nodes")
	for i := range 100 {
		bar.at(i*10, 1000)
		now = now.Add(20 * time.Millisecond)
	}
	bar.at(9, 0)
	bar.done()
	shown := strings.Split(out.String(), "\r")
	if len(shown) < 10 || len(shown) > 22 || shown[1] != "Reading nodes 250/1000 (25 %)" || strings.TrimSpace(shown[len(shown)-2]) != "" {
		t.Errorf("got %d: %q", len(shown), shown)
	}
	out.Reset()
	c.Terminal = func(any) bool { return false }
	bar = c.newProgress("Reading nodes")
	now = now.Add(time.Hour)
	bar.at(1, 2)
	bar.now("x")
	bar.done()
	if out.Len() > 0 {
		t.Errorf("without a terminal: %q", out.String())
	}
}

func TestWarningsOfManagersAreSaidOnce(t *testing.T) {
	var out strings.Builder
	c := terminal(&out, nil)
	c.color = "never"
	warn := c.onWarning()
	for i := range 40 {
		since := time.Date(2026, 1, 1, 0, 0, i, 0, time.UTC)
		warn(client.Warning{Code: "110", Text: fmt.Sprintf("this is the state of %s", timeText(since)), StaleSince: since})
		warn(client.Warning{Code: "299", Text: "old field"})
	}
	if want := "warning: this is the state of 2026-01-01T00:00:00Z\nwarning: old field\n"; out.String() != want {
		t.Errorf("got %q", out.String())
	}
}

func TestOnlyTheStylesOfTheProgramPassTheScreen(t *testing.T) {
	for text, want := range map[string]string{
		"\x1b[31mred\x1b[0m\tand\n":   "\x1b[31mred\x1b[0m\tand\n",
		"\x1b[8mhidden\x1b[0m":        " [8mhidden\x1b[0m",
		"\x1b[31;8mhidden":            " [31;8mhidden",
		"\x1b[2Ja\rb\x08c\x7f\u009bd": " [2Ja b c  d",
		"\x1b":                        " ",
		"\x1b[":                       " [",
		"gr\u00fc\u00dfe \xff":        "gr\u00fc\u00dfe \ufffd",
	} {
		var out strings.Builder
		if n, err := (&screen{&out}).Write([]byte(text)); err != nil || n != len(text) || out.String() != want {
			t.Errorf("%q: %q, want %q (%d, %v)", text, out.String(), want, n, err)
		}
	}
}
