package scale

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/cyphonic/cyphonic/api"
)

// writeFolder writes a manifest for each of the new general nodes.
func (w *world) writeFolder(name string, disabled bool) string {
	w.t.Helper()
	directory := filepath.Join(w.plane.Directory(), name)
	if err := os.MkdirAll(directory, 0o755); err != nil {
		w.t.Fatal(err)
	}
	for i := range folder {
		name := fmt.Sprintf("new-%04d", i)
		document := w.fleet.document(name, fmt.Sprintf("06:00:00:00:%02x:%02x", i>>8, i&255), i*perAdapter, disabled)
		if err := os.WriteFile(filepath.Join(directory, name+".json"), document, 0o644); err != nil {
			w.t.Fatal(err)
		}
	}
	return directory
}

// ctl runs cyphonicctl apply and returns how long it took. Every line of what it
// prints must end with the verdict.
func (w *world) ctl(verdict, directory string, more ...string) time.Duration {
	w.t.Helper()
	args := append([]string{w.plane.Program("cyphonicctl"), "--config", w.plane.ConfigPath(), "apply", "-y", "-f", directory}, more...)
	begin := time.Now()
	out, err := w.plane.Run(w.t.Context(), args...)
	took := time.Since(begin)
	if err != nil {
		w.t.Fatal(err)
	}
	if n := strings.Count(out, " "+verdict+"\n"); n != folder {
		w.t.Errorf("%d resources are %s, not %d: %s", n, verdict, folder, out[:min(len(out), 500)])
	}
	return took
}

// applies measures folders and plans.
func (w *world) applies() {
	w.t.Helper()
	first, second := w.writeFolder("first", false), w.writeFolder("second", true)
	begin := time.Now()
	w.do(http.StatusCreated, http.MethodPost, "/api/v1/generalnodes", "application/json", w.fleet.document("first", "06:00:00:01:00:00", 0, false))
	w.table.add("the first general node created since the start, which reads the addresses in use", show(time.Since(begin)))
	w.do(http.StatusOK, http.MethodDelete, "/api/v1/generalnodes/first", "", nil)
	w.table.add("cyphonicctl apply --dry-run=server, 1,000 new", show(w.ctl("created (dry run)", first, "--dry-run=server")))
	apply := func(what, verdict, directory string) {
		var took time.Duration
		w.profiled("apply-"+verdict+"-"+filepath.Base(directory), func() { took = w.ctl(verdict, directory) })
		w.table.hold(w.t, "cyphonicctl apply, 1,000 "+what, took, applyBound, "")
	}
	apply("new", "created", first)
	apply("unchanged", "unchanged", first)
	apply("changed", "configured", second)
	w.table.add("cyphonicctl apply --dry-run=server, 1,000 changed", show(w.ctl("configured (dry run)", first, "--dry-run=server")))
	w.policyPlan()
	w.sameAsTheManager()
}

// policyPlan measures what the change of one policy would mean.
func (w *world) policyPlan() {
	w.t.Helper()
	site := w.fleet.adapters / 2 % sites
	policy := w.fleet.policy(site, "8554")
	request := api.PlanRequest{FieldManager: "scale", Force: true, Items: []json.RawMessage{encode(map[string]any{
		"apiVersion": api.Version, "kind": "AccessPolicy", "metadata": map[string]any{"name": policy.Metadata.Name}, "spec": policy.Spec,
	})}}
	var took []time.Duration
	for range w.samples.plans {
		begin := time.Now()
		plan, err := w.admin.Plan(w.t.Context(), request)
		took = append(took, time.Since(begin))
		if err != nil {
			w.t.Fatal(err)
		}
		if plan.Results[0].Verdict != api.PlanVerdictConfigured || plan.Reachability.GainedPairs == 0 || plan.Reachability.GainedPairs != plan.Reachability.LostPairs {
			w.t.Fatalf("the plan says %s, gained %d, lost %d", plan.Results[0].Verdict, plan.Reachability.GainedPairs, plan.Reachability.LostPairs)
		}
	}
	w.table.add("plan of one policy, with the pairs that gain and lose", spread(took))
}

// sameAsTheManager checks that the fleet is as if the manager had written it:
// applying what it was made of changes nothing, and what a general node held is
// free when it is gone.
func (w *world) sameAsTheManager() {
	w.t.Helper()
	const some = 17
	path := "/api/v1/generalnodes/" + generalNodeName(some)
	before, _ := w.do(http.StatusOK, http.MethodGet, path, "", nil)
	after, _ := w.do(http.StatusOK, http.MethodPatch, path+"?fieldManager="+fieldManager, "application/apply-patch+json", w.fleet.manifest(some, false))
	if a, b := before.Header.Get("ETag"), after.Header.Get("ETag"); a == "" || a != b {
		w.t.Errorf("applying what the fleet was made of changed a general node: %s, then %s", a, b)
	}
	w.do(http.StatusOK, http.MethodDelete, path, "", nil)
	_, content := w.do(http.StatusCreated, http.MethodPatch, path+"?fieldManager="+fieldManager, "application/apply-patch+json", w.fleet.manifest(some, false))
	for _, want := range []string{w.fleet.v4(operators + some).String(), w.fleet.v6(operators + some).String()} {
		if !strings.Contains(string(content), `"`+want+`"`) {
			w.t.Errorf("a general node that was deleted and created again did not get %s, the lowest free address, but: %s", want, content)
		}
	}
}
