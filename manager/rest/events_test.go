package rest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/manager/store"
)

// note writes an event as package events does.
func (w *world) note(kind, plural, name, id, reason string, count int) {
	w.t.Helper()
	body := fmt.Sprintf(`{"apiVersion":"cyphonic/v1","kind":"Event","metadata":{"name":"%s.%s.%s"},"regarding":{"kind":%q,"name":%q},"network":"f",`+
		`"type":"Normal","reason":%q,"message":"m","count":%d}`, strings.ToLower(kind), name, id, kind, name, reason, count)
	_, err := w.store.Commit(w.t.Context(), store.Transaction{Writes: []store.Write{
		store.PutFor(keyspace.Event(plural, name, id), []byte(body), time.Hour),
	}})
	if err != nil {
		w.t.Fatal(err)
	}
}

func TestEventsAreListedAndSelected(t *testing.T) {
	w := newWorld(t)
	first := w.url
	w.serve(w.store)
	for i := range 5 {
		w.note("Node", "nodes", "viewer", fmt.Sprintf("0%d", i), "Up", 1)
		w.note("GeneralNode", "generalnodes", "cam", fmt.Sprintf("0%d", i), "Allocated", 1)
	}
	for query, want := range map[string]string{
		"": "generalnode.cam.00 generalnode.cam.01 generalnode.cam.02 generalnode.cam.03 generalnode.cam.04 " +
			"node.viewer.00 node.viewer.01 node.viewer.02 node.viewer.03 node.viewer.04",
		"fieldSelector=regarding.kind=Node,regarding.name=viewer": "node.viewer.00 node.viewer.01 node.viewer.02 node.viewer.03 node.viewer.04",
		"fieldSelector=reason=Allocated,metadata.name!=x":         "generalnode.cam.00 generalnode.cam.01 generalnode.cam.02 generalnode.cam.03 generalnode.cam.04",
		"fieldSelector=regarding.kind=Node,regarding.name=other":  "",
		"fieldSelector=regarding.kind=Nothing,regarding.name=x":   "",
		"fieldSelector=metadata.name=node.viewer.03":              "node.viewer.03",
		"labelSelector=x": "",
	} {
		names, _, replies := w.pages("/api/v1/events?limit=3&"+query, first, w.url)
		if got := strings.Join(names, " "); got != want {
			t.Errorf("%q: %s, want %s", query, got, want)
		}
		for i, r := range replies[:len(replies)-1] {
			if n := len(r.names()); n > 3 {
				t.Errorf("%q: page %d has %d events", query, i, n)
			}
		}
	}
	e := w.must(200, "GET", "/api/v1/events/node.viewer.02", "")
	if e.text("reason") != "Up" || e.header.Get("ETag") != `"`+e.text("metadata.resourceVersion")+`"` {
		t.Errorf("%v %s", e.header, e.raw)
	}
	for _, name := range []string{"node.viewer.99", "nothing", "a.b.c.d", "node.viewer.%2e%2e"} {
		w.must(404, "GET", "/api/v1/events/"+name, "")
	}
	w.must(405, "POST", "/api/v1/events", "{}")
	if r := w.must(200, "GET", "/api/v1/events?limit=1000", ""); r.text("kind") != "EventList" || r.text("metadata.continue") != "" {
		t.Error(r.raw)
	}
	if r := w.must(200, "GET", "/api/v1/events?limit=1&labelSelector=nothing", ""); !strings.Contains(r.raw, `"items":[]`) {
		t.Error(r.raw)
	}
}

func TestEventsAreWatched(t *testing.T) {
	w := newWorld(t)
	w.note("Node", "nodes", "viewer", "00", "Up", 1)
	x := w.watch("/api/v1/events?watch=true&fieldSelector=regarding.kind=Node", w.admin)
	x.expect("ADDED node.viewer.00")
	version := x.bookmark()
	w.note("GeneralNode", "generalnodes", "cam", "00", "Up", 1)
	w.note("Node", "nodes", "viewer", "01", "Down", 1)
	w.note("Node", "nodes", "viewer", "01", "Down", 2)
	x.expect("ADDED node.viewer.01", "MODIFIED node.viewer.01")
	if _, err := w.store.Commit(t.Context(), store.Transaction{Writes: []store.Write{store.Remove(keyspace.Event("nodes", "viewer", "00"))}}); err != nil {
		t.Fatal(err)
	}
	x.expect("DELETED node.viewer.00")
	y := w.watch("/api/v1/events?watch=true&resourceVersion="+version, w.admin)
	y.expect("ADDED generalnode.cam.00", "ADDED node.viewer.01", "MODIFIED node.viewer.01", "DELETED node.viewer.00")
	w.must(410, "GET", "/api/v1/events?watch=true&resourceVersion=99999999", "")
}

func TestTokensAreSelectedByThePhaseTheyAreInNow(t *testing.T) {
	w := newWorld(t)
	w.factory()
	w.must(201, "POST", "/api/v1/enrollmenttokens", resource("EnrollmentToken", "short", `{"subjectKind":"Adapter","subjectName":"a1","ttlSeconds":600}`))
	w.must(201, "POST", "/api/v1/enrollmenttokens", resource("EnrollmentToken", "long", `{"subjectKind":"Adapter","subjectName":"a1","ttlSeconds":86400}`))
	w.clock.advance(time.Hour)
	for phase, want := range map[string]string{"Pending": "long", "Expired": "short"} {
		r := w.must(200, "GET", "/api/v1/enrollmenttokens?fieldSelector=status.phase="+phase, "")
		if got := strings.Join(r.names(), " "); got != want {
			t.Errorf("%s: %s", phase, got)
		}
	}
}
