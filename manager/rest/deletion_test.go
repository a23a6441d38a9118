package rest

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/manager/access"
	"github.com/cyphonic/cyphonic/manager/events"
	"github.com/cyphonic/cyphonic/manager/store"
)

// dump is everything below a prefix of the store.
func (w *world) dump(prefix string) string {
	w.t.Helper()
	l, err := w.store.List(w.t.Context(), prefix, store.ListOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	var b strings.Builder
	for _, e := range l.Entries {
		fmt.Fprintf(&b, "%s@%d=%s\n", e.Key, e.Revision, e.Value)
	}
	return b.String()
}

func TestFinalizersHoldADeletionUp(t *testing.T) {
	w := newWorld(t)
	w.factory()
	body := strings.Replace(gnBody("g", "f", "a1", "02:00:00:00:00:01"), `"name"`, `"finalizers":["example.org/wait","example.org/more"],"name"`, 1)
	w.must(201, "POST", "/api/v1/generalnodes", body)
	path := "/api/v1/generalnodes/g"
	waits := w.must(200, "DELETE", path, "")
	if waits.text("metadata.deletionTimestamp") == "" || waits.text("status.virtualIPv4") != "10.1.0.2" {
		t.Fatal(waits.raw)
	}
	version := waits.text("metadata.resourceVersion")
	if again := w.must(200, "DELETE", path, ""); again.text("metadata.resourceVersion") != version {
		t.Fatalf("deleting again wrote: %s", again.raw)
	}
	for name, change := range map[string]string{
		"specification":       `{"spec":{"disabled":true}}`,
		"label":               `{"metadata":{"labels":{"a":"b"}}}`,
		"another finalizer":   `{"metadata":{"finalizers":["example.org/wait","example.org/more","example.org/x"]}}`,
		"finalizer and label": `{"metadata":{"finalizers":["example.org/wait"],"labels":{"a":"b"}}}`,
	} {
		if r := w.merges(409, path, change); r.text("type") != typeDeleting || !strings.Contains(r.text("detail"), "example.org/wait") {
			t.Errorf("%s: %s", name, r.raw)
		}
	}
	w.must(409, "PUT", path, gnBody("g", "f", "a2", "02:00:00:00:00:01"))
	w.must(200, "PUT", path+"/status", strings.Replace(body, `"spec"`, `"status":{"phase":"Down"},"spec"`, 1))
	fewer := w.merges(200, path, `{"metadata":{"finalizers":["example.org/more"]}}`)
	if fewer.text("metadata.deletionTimestamp") == "" {
		t.Fatal(fewer.raw)
	}
	w.merges(200, path, `{"metadata":{"finalizers":null}}`)
	w.must(404, "GET", path, "")
	for _, prefix := range []string{keyspace.DeletingPrefix, keyspace.Root + "ipam/", keyspace.Root + "unique/"} {
		if d := w.dump(prefix); d != "" {
			t.Errorf("something is left: %s", d)
		}
	}
	again := w.must(201, "POST", "/api/v1/generalnodes", gnBody("g", "f", "a1", "02:00:00:00:00:01"))
	if again.text("status.virtualIPv4") != "10.1.0.2" || again.text("metadata.deletionTimestamp") != "" {
		t.Fatal(again.raw)
	}
}

func TestNothingNewRefersToWhatIsBeingDeleted(t *testing.T) {
	w := newWorld(t)
	w.factory()
	w.must(201, "POST", "/api/v1/generalnodes", gnBody("g", "f", "a1", "02:00:00:00:00:01"))
	w.merges(200, "/api/v1/adapters/a1", `{"metadata":{"finalizers":["example.org/wait"]}}`)
	if r := w.must(409, "DELETE", "/api/v1/adapters/a1", ""); r.text("type") != typeReferenced {
		t.Fatal(r.raw)
	}
	w.must(200, "DELETE", "/api/v1/adapters/a1?cascade=true", "")
	if r := w.must(409, "POST", "/api/v1/generalnodes", gnBody("h", "f", "a1", "02:00:00:00:00:02")); r.text("type") != typeDeleting || r.pointers() != "/spec/adapter" {
		t.Fatal(r.raw)
	}
	w.merges(200, "/api/v1/generalnodes/g", `{"metadata":{"labels":{"a":"b"}}}`)
	w.merges(200, "/api/v1/generalnodes/g", `{"spec":{"adapter":"a2"}}`)
	if r := w.merges(409, "/api/v1/generalnodes/g", `{"spec":{"adapter":"a1"}}`); r.text("type") != typeDeleting {
		t.Fatal(r.raw)
	}
}

// cascade does passes until nothing is left to do, and returns their number.
func (w *world) cascade(limit int) (passes int) {
	w.t.Helper()
	ctx := WithPrincipal(w.t.Context(), access.ForSystem("deletion"))
	for range 100 {
		refs, err := w.server.Waiting(ctx, 10)
		if err != nil {
			w.t.Fatal(err)
		}
		if len(refs) == 0 {
			return passes
		}
		for _, ref := range refs {
			passes++
			if _, err := w.server.Cascade(ctx, ref, limit); err != nil {
				w.t.Fatal(err)
			}
		}
	}
	w.t.Fatal("the cascade does not come to an end")
	return 0
}

func TestACascadeDeletesWhatRefers(t *testing.T) {
	w := newWorld(t)
	w.factory()
	for i := range 7 {
		w.must(201, "POST", "/api/v1/generalnodes", gnBody(fmt.Sprint("g", i), "f", "a1", fmt.Sprintf("02:00:00:00:00:%02x", i)))
	}
	w.must(201, "POST", "/api/v1/nodes", nodeBody("n", "f"))
	w.must(201, "POST", "/api/v1/enrollmenttokens", resource("EnrollmentToken", "t", `{"subjectKind":"Adapter","subjectName":"a1"}`))
	w.must(201, "POST", "/api/v1/accesspolicies", resource("AccessPolicy", "p", `{"network":"f","from":[{}],"to":[{}],"rules":[{"protocol":"any"}]}`))
	w.must(201, "POST", "/api/v1/networks", networkBody("other", "10.2.0.0/24"))
	if r := w.must(409, "DELETE", "/api/v1/networks/f", ""); r.text("type") != typeReferenced || !strings.Contains(r.text("detail"), "cascade=true") || !strings.Contains(r.text("detail"), "and more") {
		t.Fatal(r.raw)
	}
	marked := w.must(200, "DELETE", "/api/v1/networks/f?cascade=true", "")
	if marked.text("metadata.deletionTimestamp") == "" || fmt.Sprint(marked.at("metadata.finalizers")) != "[cyphonic/dependents]" {
		t.Fatal(marked.raw)
	}
	if !strings.Contains(w.dump(keyspace.DeletingPrefix), "networks/f@") {
		t.Fatal("there is no mark of the deletion")
	}
	if r := w.merges(409, "/api/v1/networks/f", `{"metadata":{"finalizers":null}}`); r.text("type") != typeReferenced {
		t.Fatalf("the finalizer was taken off while others refer: %s", r.raw)
	}
	w.must(200, "PUT", "/api/v1/networks/f", networkBody("f", "10.1.0.0/24")) // keeps the finalizer of the manager
	ctx := WithPrincipal(t.Context(), access.ForSystem("deletion"))
	p, err := w.server.Cascade(ctx, api.ObjectReference{Kind: "Network", Name: "f"}, 3)
	if err != nil || p.Deleted != 3 || p.Done || p.Left != 8 {
		t.Fatalf("%+v, %v", p, err)
	}
	if r := w.must(200, "GET", "/api/v1/networks/f", ""); !strings.Contains(r.raw, `"type":"DependentsGone"`) || !strings.Contains(r.raw, "8 resources that refer to it are left") {
		t.Fatal(r.raw)
	}
	if passes := w.cascade(3); passes < 3 {
		t.Errorf("%d passes were enough for the 8 that were left, with 3 at a time", passes)
	}
	for _, path := range []string{"networks/f", "adapters/a1", "adapters/a2", "generalnodes/g0", "generalnodes/g6", "nodes/n", "accesspolicies/p", "enrollmenttokens/t"} {
		if r := w.do("GET", "/api/v1/"+path, w.admin, ""); r.code != 404 {
			t.Errorf("%s is left: %d %s", path, r.code, r.raw)
		}
	}
	w.must(200, "GET", "/api/v1/networks/other", "")
	for _, prefix := range []string{"deleting/", "ipam/", "unique/", "references/", "tokens/", "enrolled/"} {
		if d := w.dump(keyspace.Root + prefix); d != "" {
			t.Errorf("something is left: %s", d)
		}
	}
}

func TestACascadeWaitsForTheFinalizersOfDependents(t *testing.T) {
	w := newWorld(t)
	w.factory()
	w.must(201, "POST", "/api/v1/nodes", strings.Replace(nodeBody("n", "f"), `"name"`, `"finalizers":["example.org/wait"],"name"`, 1))
	w.must(200, "DELETE", "/api/v1/networks/f?cascade=true", "")
	ctx := WithPrincipal(t.Context(), access.ForSystem("deletion"))
	for i, want := range []int{3, 0, 0} { // two adapters and the node, which then waits
		p, err := w.server.Cascade(ctx, api.ObjectReference{Kind: "Network", Name: "f"}, 10)
		if err != nil || p.Done || p.Deleted != want {
			t.Fatalf("pass %d: %+v, %v", i, p, err)
		}
		w.fresh()
	}
	if r := w.must(200, "GET", "/api/v1/nodes/n", ""); r.text("metadata.deletionTimestamp") == "" {
		t.Fatal(r.raw)
	}
	w.merges(200, "/api/v1/nodes/n", `{"metadata":{"finalizers":[]}}`)
	w.cascade(10)
	w.must(404, "GET", "/api/v1/networks/f", "")
}

func TestWaitingDeletionsTakeTurns(t *testing.T) {
	w := newWorld(t)
	for i := range 5 {
		name := fmt.Sprint("n", i)
		w.must(201, "POST", "/api/v1/networks", networkBody(name, "10.1.0.0/24"))
		w.must(201, "POST", "/api/v1/nodes", nodeBody("d-"+name, name))
		w.must(200, "DELETE", "/api/v1/networks/"+name+"?cascade=true", "")
	}
	seen := map[string]int{}
	for range 6 {
		refs, err := w.server.Waiting(t.Context(), 2)
		if err != nil {
			t.Fatal(err)
		}
		for _, ref := range refs {
			seen[ref.Kind+" "+ref.Name]++
		}
	}
	for i := range 5 {
		if seen[fmt.Sprint("Network n", i)] != 2 {
			t.Fatal(seen)
		}
	}
}

func TestWritesCauseEvents(t *testing.T) {
	w := newWorld(t)
	recorder, err := events.NewRecorder(events.Options{Store: w.store, Source: "manager", Registerer: prometheus.NewRegistry(), Log: w.server.log, Now: w.clock.now})
	if err != nil {
		t.Fatal(err)
	}
	w.server.events = recorder
	w.must(201, "POST", "/api/v1/networks", networkBody("s", "10.1.0.0/28"))
	w.must(201, "POST", "/api/v1/adapters", resource("Adapter", "a", `{"network":"s"}`))
	for i := range 13 { // all that a /28 has
		w.must(201, "POST", "/api/v1/generalnodes", gnBody(fmt.Sprint("g", i), "s", "a", fmt.Sprintf("02:00:00:00:00:%02x", i)))
		w.fresh()
	}
	w.must(409, "POST", "/api/v1/generalnodes", gnBody("late", "s", "a", "02:00:00:00:00:99"))
	w.must(409, "POST", "/api/v1/generalnodes?dryRun=All", gnBody("trial", "s", "a", "02:00:00:00:00:88"))
	w.must(409, "PUT", "/api/v1/generalnodes/g1", gnBody("g1", "s", "a", "02:00:00:00:00:00"))
	status := strings.Replace(gnBody("g1", "s", "a", "02:00:00:00:00:01"), `"spec"`, `"status":{"phase":"Failed","reason":"wrong password"},"spec"`, 1)
	w.must(200, "PUT", "/api/v1/generalnodes/g1/status", status)
	w.must(200, "DELETE", "/api/v1/adapters/a?cascade=true", "")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := recorder.Run(ctx); err != nil {
		t.Fatal(err)
	}
	page, err := events.List(t.Context(), w.store, api.ObjectReference{}, store.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]int{}
	for _, e := range page.Events {
		got[fmt.Sprintf("%s %s %s %s", e.Type, e.Regarding.Kind, e.Regarding.Name, e.Reason)]++
		if strings.Contains(e.Message, "trial") || e.Network != "s" {
			t.Errorf("%+v", e)
		}
	}
	for _, want := range []string{
		"Normal GeneralNode g0 AddressAllocated", "Warning Network s PrefixFull", "Warning GeneralNode g0 ConflictRefused", "Warning GeneralNode g1 ConflictRefused",
		"Warning GeneralNode g1 PhaseChanged", "Normal Adapter a DeletionWaits", "Warning Network s PrefixNearlyFull",
	} {
		if got[want] != 1 {
			t.Errorf("%s: %d events; there are %v", want, got[want], got)
		}
	}
}

// fresh waits until the cache shows everything.
func (w *world) fresh() {
	w.t.Helper()
	for deadline := time.Now().Add(5 * time.Minute); ; { // after a million writes it may need a while
		err := w.cache.Fresh(w.t.Context())
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			w.t.Fatal(err)
		}
	}
}
