package rest

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/cyphonic/cyphonic/internal/policy"
)

// planOf asks for a plan of items; more are further members of the request.
func (w *world) planOf(code int, items []string, more string) reply {
	w.t.Helper()
	return w.must(code, "POST", "/api/v1/plans", `{"items":[`+strings.Join(items, ",")+`]`+more+`}`)
}

// verdicts writes the results as "Kind/name verdict problem-type pointer".
func (r reply) verdicts() []string {
	var out []string
	list, _ := r.at("results").([]any)
	for _, e := range list {
		one := reply{body: e.(map[string]any)}
		line := fmt.Sprintf("%s/%s %s", one.text("kind"), one.text("name"), one.text("verdict"))
		if p, ok := one.at("problem").(map[string]any); ok {
			line += " " + strings.TrimPrefix(p["type"].(string), "urn:cyphonic:problem:") + " " + reply{body: p}.pointers()
		}
		out = append(out, strings.TrimSpace(line))
	}
	return out
}

func expectLines(t *testing.T, got []string, want ...string) {
	t.Helper()
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Fatalf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func labelled(body, labels string) string {
	return strings.Replace(body, `"metadata":{`, `"metadata":{"labels":`+labels+`,`, 1)
}

func TestAPlanKnowsItsOwnItems(t *testing.T) {
	w := newWorld(t)
	before := w.dump("/cyphonic/")
	r := w.planOf(200, []string{
		gnBody("g", "f", "a", "02:00:00:00:00:01"),
		resource("AccessPolicy", "p", `{"network":"f","from":[{"kinds":["Node"]}],"to":[{"kinds":["GeneralNode"]}],"rules":[{"protocol":"tcp","ports":["80"]}]}`),
		nodeBody("n", "f"),
		resource("Adapter", "a", `{"network":"f"}`),
		networkBody("f", "10.1.0.0/24"),
		gnBody("h", "f", "a", "02:00:00:00:00:01"),
		gnBody("i", "f", "b", "02:00:00:00:00:02"),
		`{"kind":"Camera","metadata":{"name":"x"}}`,
		nodeBody("n", "f"),
		`{"apiVersion":"cyphonic/v1","kind":"Node","metadata":{"name":"bad"},"spec":{"network":"f","colour":"red"}}`,
	}, "")
	expectLines(
		t, r.verdicts(), "GeneralNode/g created", "AccessPolicy/p created", "Node/n created", "Adapter/a created", "Network/f created",
		"GeneralNode/h refused taken /spec/mac", "GeneralNode/i refused invalid /spec/adapter", "Camera/x refused invalid /kind",
		"Node/n refused invalid /metadata/name", "Node/bad refused invalid /spec/colour",
	)
	first := reply{body: r.at("results").([]any)[0].(map[string]any)}
	if first.text("after.status.virtualIPv4") != "10.1.0.2" || first.at("before") != nil {
		t.Errorf("%v", first.body)
	}
	if r.at("reachability.gainedPairs") != 1.0 || r.at("reachability.lostPairs") != 0.0 || !strings.Contains(r.raw, `"from":"node/n","pairs":1,"to":"generalnode/g"`) {
		t.Errorf("reachability: %v", r.at("reachability"))
	}
	if after := w.dump("/cyphonic/"); after != before {
		t.Fatalf("the plan wrote:\n%s", after)
	}
}

func TestAPlanComparesWithWhatIs(t *testing.T) {
	w := newWorld(t)
	w.factory()
	apply := func(body string) {
		w.t.Helper()
		var head struct{ Metadata struct{ Name string } }
		if err := json.Unmarshal([]byte(body), &head); err != nil {
			t.Fatal(err)
		}
		w.applies(201, "git", "/api/v1/generalnodes/"+head.Metadata.Name, body)
	}
	set := `{"cyphonic/applyset":"fleet","role":"camera"}`
	same := labelled(gnBody("same", "f", "a1", "02:00:00:00:00:01"), set)
	apply(same)
	apply(labelled(gnBody("moved", "f", "a1", "02:00:00:00:00:02"), set))
	apply(labelled(gnBody("gone", "f", "a1", "02:00:00:00:00:03"), set))
	apply(strings.Replace(labelled(gnBody("kept", "f", "a1", "02:00:00:00:00:04"), set), `"metadata":{`, `"metadata":{"annotations":{"cyphonic/prune":"disabled"},`, 1))
	w.must(201, "POST", "/api/v1/nodes", nodeBody("viewer", "f"))
	w.must(201, "POST", "/api/v1/accesspolicies", resource("AccessPolicy", "p",
		`{"network":"f","from":[{"kinds":["Node"]}],"to":[{"matchLabels":{"role":"camera"}}],"rules":[{"protocol":"any"}]}`))
	items := []string{same, labelled(gnBody("moved", "f", "a2", "02:00:00:00:00:02"), set), labelled(gnBody("new", "f", "a1", "02:00:00:00:00:05"), set)}
	r := w.planOf(200, items, `,"fieldManager":"git","applySet":"fleet","prune":true,"deletions":[{"kind":"Node","name":"none"},{"kind":"Adapter","name":"a1"}]`)
	expectLines(
		t, r.verdicts(), "GeneralNode/same unchanged", "GeneralNode/moved configured", "GeneralNode/new created",
		"Node/none refused about:blank", "Adapter/a1 refused referenced", "GeneralNode/gone pruned",
	)
	moved := reply{body: r.at("results").([]any)[1].(map[string]any)}
	if moved.text("before.spec.adapter") != "a1" || moved.text("after.spec.adapter") != "a2" {
		t.Error(moved.body)
	}
	if r.at("reachability.gainedPairs") != 1.0 || r.at("reachability.lostPairs") != 1.0 {
		t.Errorf("reachability: %v", r.at("reachability"))
	}
	clash := w.planOf(200, []string{labelled(gnBody("same", "f", "a2", "02:00:00:00:00:01"), set)}, `,"fieldManager":"person"`)
	expectLines(t, clash.verdicts(), "GeneralNode/same refused field-conflict /spec/adapter")
	forced := w.planOf(200, []string{labelled(gnBody("same", "f", "a2", "02:00:00:00:00:01"), set)}, `,"fieldManager":"person","force":true`)
	expectLines(t, forced.verdicts(), "GeneralNode/same configured")
	gone := w.planOf(200, nil, `,"deletions":[{"kind":"Network","name":"f"},{"kind":"AccessPolicy","name":"p"},{"kind":"Adapter","name":"a2"}]`)
	expectLines(t, gone.verdicts(), "Network/f refused referenced", "AccessPolicy/p deleted", "Adapter/a2 deleted")
	if gone.at("reachability.lostPairs") != 4.0 {
		t.Errorf("reachability: %v", gone.at("reachability"))
	}
}

func TestPlansAreChecked(t *testing.T) {
	w := newWorld(t)
	if r := w.planOf(400, nil, `,"prune":true`); r.pointers() != "/applySet" {
		t.Error(r.raw)
	}
	many := make([]string, maxPlanItems+1)
	for i := range many {
		many[i] = `{}`
	}
	w.planOf(400, many, "")
	for range maxPlans {
		w.server.planning <- struct{}{}
	}
	if r := w.planOf(429, nil, ""); r.header.Get("Retry-After") == "" {
		t.Error(r.raw)
	}
}

// TestSubjectsOfTheCacheAreThoseOfThePolicies compares the two ways to see a
// device.
func TestSubjectsOfTheCacheAreThoseOfThePolicies(t *testing.T) {
	w := newWorld(t)
	w.factory()
	bodies := map[string]string{
		"mac": `{"network":"f","adapter":"a1","mac":"02:00:00:00:00:01"}`, "disabled": `{"network":"f","adapter":"a1","mac":"02:00:00:00:00:02","disabled":true}`,
		"dot1x": `{"network":"f","adapter":"a1","mac":"02:00:00:00:00:03","authentication":{"method":"dot1x"}}`,
	}
	for name, spec := range bodies {
		w.must(201, "POST", "/api/v1/generalnodes", labelled(resource("GeneralNode", name, spec), `{"a":"b"}`))
	}
	w.must(201, "POST", "/api/v1/nodes", nodeBody("n", "f"))
	w.must(201, "POST", "/api/v1/nodes", strings.Replace(nodeBody("gone", "f"), `"name"`, `"finalizers":["example.org/wait"],"name"`, 1))
	w.must(200, "DELETE", "/api/v1/nodes/gone", "")
	w.fresh()
	p := &planner{views: w.server.views()}
	var got []string
	for s := range p.devices() {
		got = append(got, fmt.Sprint(s))
	}
	var want []string
	for _, id := range []struct{ kind, name string }{{"Node", "n"}, {"GeneralNode", "dot1x"}, {"GeneralNode", "mac"}} {
		o, ok := w.server.cached(id.kind, id.name)
		subject, enabled := policy.SubjectOf(o)
		if !ok || !enabled {
			t.Fatalf("%v is no subject", id)
		}
		want = append(want, fmt.Sprint(subject))
	}
	expectLines(t, got, want...)
}
