package gitsync

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cyphonic/cyphonic/api"
)

func documentNamed(t *testing.T, kind, name string) document {
	t.Helper()
	k, ok := api.KindNamed(kind)
	if !ok {
		t.Fatal(kind)
	}
	d := document{kind: k, name: name}
	d.from.Object = k.New()
	d.from.Object.Meta().Name = name
	d.from.Source.File = name + ".yaml"
	return d
}

func managed(t *testing.T, entries ...api.ManagedFields) json.RawMessage {
	t.Helper()
	raw, err := json.Marshal(map[string]any{"metadata": map[string]any{"managedFields": entries, "resourceVersion": "7"}})
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestJudge(t *testing.T) {
	const self = "gitsource/fleet"
	documents := []document{documentNamed(t, "Node", "a")}
	conflict := func(pointer, owner string) api.Problem {
		return api.Problem{Type: typeFieldConflict, Errors: []api.FieldError{{Pointer: pointer, Owner: owner, Detail: "is " + owner + "'s"}}}
	}
	applied := api.ManagedFields{Manager: "alice", Operation: api.ManagedOperationApply, Fields: []string{"/spec/disabled"}}
	edited := api.ManagedFields{Manager: "alice", Operation: api.ManagedOperationUpdate, Fields: []string{"/spec/disabled"}}
	wide := api.ManagedFields{Manager: "alice", Operation: api.ManagedOperationApply, Fields: []string{"/spec"}}
	cases := []struct {
		name                   string
		result                 api.PlanResult
		refused, forced, taken int
	}{
		{"unchanged", api.PlanResult{Verdict: api.PlanVerdictUnchanged}, 0, 0, 0},
		{"invalid", api.PlanResult{Verdict: api.PlanVerdictRefused, Problem: api.Problem{Detail: "no"}}, 1, 0, 0},
		{"two fields at fault", api.PlanResult{Verdict: api.PlanVerdictRefused, Problem: api.Problem{Errors: []api.FieldError{{Pointer: "/a"}, {Pointer: "/b"}}}}, 2, 0, 0},
		{"changed by hand", api.PlanResult{Verdict: api.PlanVerdictRefused, Problem: conflict("/spec/disabled", "alice"), Before: managed(t, edited)}, 0, 1, 0},
		{"taken by an apply", api.PlanResult{Verdict: api.PlanVerdictRefused, Problem: conflict("/spec/disabled", "alice"), Before: managed(t, edited, applied)}, 0, 0, 1},
		{"taken with what is around it", api.PlanResult{Verdict: api.PlanVerdictRefused, Problem: conflict("/spec/disabled", "alice"), Before: managed(t, wide)}, 0, 0, 1},
		{"another apply set's", api.PlanResult{Verdict: api.PlanVerdictRefused, Problem: conflict(pointerApplySet, "alice"), Before: managed(t, applied)}, 1, 0, 0},
		{"a conflict without fields", api.PlanResult{Verdict: api.PlanVerdictRefused, Problem: api.Problem{Type: typeFieldConflict}}, 1, 0, 0},
	}
	for _, k := range cases {
		j := judge(api.Plan{Results: []api.PlanResult{k.result}}, documents, "", self)
		if len(j.refused) != k.refused || len(j.forced) != k.forced || len(j.taken) != k.taken {
			t.Errorf("%s: %+v", k.name, j)
		}
	}
	j := judge(api.Plan{Results: []api.PlanResult{{Verdict: api.PlanVerdictUnchanged}, {Kind: "Network", Name: "n", Verdict: api.PlanVerdictRefused, Problem: api.Problem{Detail: "is used"}}}}, documents, "", self)
	if len(j.refused) != 1 || j.refused[0].Resource != "network/n" {
		t.Errorf("a deletion that is refused: %+v", j)
	}
}

func TestWithoutLeavesOutFields(t *testing.T) {
	body := `{"metadata":{"labels":{"a/b":"1","c":"2"}},"spec":{"x":1,"y":{"z":1}}}`
	got, err := without([]byte(body), []api.FieldError{{Pointer: "/metadata/labels/a~1b"}, {Pointer: "/spec/y/z"}, {Pointer: "/spec/none/deep"}})
	if err != nil || string(got) != `{"metadata":{"labels":{"c":"2"}},"spec":{"x":1,"y":{}}}` {
		t.Errorf("%s %v", got, err)
	}
}

func TestStepsFollowTheRanks(t *testing.T) {
	documents := []document{documentNamed(t, "Network", "n"), documentNamed(t, "Node", "a"), documentNamed(t, "Node", "b")}
	s := stepsOf(api.Plan{Results: []api.PlanResult{
		{Verdict: api.PlanVerdictConfigured},
		{Verdict: api.PlanVerdictUnchanged},
		{Verdict: api.PlanVerdictCreated},
		{Kind: "Network", Name: "old", Verdict: api.PlanVerdictPruned, Before: managed(t)},
		{Kind: "GeneralNode", Name: "cam", Verdict: api.PlanVerdictPruned, Before: managed(t)},
	}}, documents, map[int]bool{2: true})
	var got []string
	for _, c := range s.changes {
		got = append(got, c.key())
	}
	for _, m := range s.removals {
		got = append(got, m.key()+"@"+m.resourceVersion)
	}
	if diff := cmp.Diff([]string{"Network/n", "Node/b", "GeneralNode/cam@7", "Network/old@7"}, got); diff != "" {
		t.Error(diff)
	}
	if s.changes[0].force || !s.changes[1].force || s.changes[0].created || !s.changes[1].created {
		t.Errorf("%+v", s.changes)
	}
}

func TestApplySetIsALabelValue(t *testing.T) {
	long := strings.Repeat("a", api.MaxName)
	if applySetOf("fleet") != "git-fleet" || len(applySetOf(long)) > api.MaxLabelValue || applySetOf(long) == applySetOf(long[:62]+"b") {
		t.Error(applySetOf("fleet"), applySetOf(long))
	}
}

func TestRealised(t *testing.T) {
	for text, want := range map[string]bool{
		`{"metadata":{"generation":2},"status":{"observedGeneration":2,"phase":"Up"}}`:                                true,
		`{"metadata":{"generation":2},"status":{"observedGeneration":1,"phase":"Up"}}`:                                false,
		`{"metadata":{"generation":2},"status":{"observedGeneration":2,"phase":"Down"}}`:                              false,
		`{"metadata":{"generation":2},"spec":{"disabled":true},"status":{"observedGeneration":2,"phase":"Disabled"}}`: true,
		`{"metadata":{"generation":1}}`: false,
	} {
		if realised([]byte(text)) != want {
			t.Errorf("%s: want %v", text, want)
		}
	}
}
