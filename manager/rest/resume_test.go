package rest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/manager/store"
)

// version is the resourceVersion of an event's object.
func (e event) version() string {
	meta, _ := e.Object["metadata"].(map[string]any)
	version, _ := meta["resourceVersion"].(string)
	return version
}

func TestAWatchGoesOnAtAnotherReplicaAndAfterARestart(t *testing.T) {
	w := newWorld(t)
	w.factory()
	x := w.watch("/api/v1/generalnodes?watch=true", w.admin)
	version := x.bookmark()
	path := func(version string) string { return "/api/v1/generalnodes?watch=true&resourceVersion=" + version }

	w.put(keyspace.GeneralNodes, "g1", storedGN("g1", "a1", "", "Up"))
	x.expect("ADDED g1")
	w.serve(w.store) // another replica, which was not there yet
	y := w.watch(path(version), w.admin)
	e := y.next()
	if e.String() != "ADDED g1" {
		t.Fatal(e)
	}
	version = e.version()
	w.put(keyspace.GeneralNodes, "g2", storedGN("g2", "a1", "", "Up"))
	y.expect("ADDED g2")
	w.put(keyspace.GeneralNodes, "g1", storedGN("g1", "a1", "", "Down"))
	deleted := w.remove(keyspace.GeneralNodes, "g2")
	y.expect("MODIFIED g1", "DELETED g2")

	w.serve(w.store) // restarted: its cache is new
	z := w.watch(path(version), w.admin)
	if got := z.next(); got.String() != "MODIFIED g1" { // g2 came and went meanwhile
		t.Fatal(got)
	}
	if got, _ := strconv.ParseInt(z.bookmark(), 10, 64); got < deleted {
		t.Fatalf("the bookmark is at %d, the deletion was at %d", got, deleted)
	}
}

func (w *world) remove(plural, name string) int64 {
	w.t.Helper()
	revision, err := w.store.Commit(w.t.Context(), store.Transaction{Writes: []store.Write{store.Remove(keyspace.Resource(plural, name))}})
	if err != nil {
		w.t.Fatal(err)
	}
	return revision
}

// A client may come with a revision that this replica has not heard of yet.
func TestAWatchFromARevisionThatIsNew(t *testing.T) {
	w := newWorld(t)
	for i := range 30 {
		revision := w.put(keyspace.Nodes, fmt.Sprintf("n%d", i), nodeBody(fmt.Sprintf("n%d", i), "f"))
		x := w.watch(fmt.Sprintf("/api/v1/nodes?watch=true&resourceVersion=%d", revision), w.admin)
		if got, _ := strconv.ParseInt(x.bookmark(), 10, 64); got < revision {
			t.Fatalf("the watch begins at %d, not at %d", got, revision)
		}
	}
}

func TestAWatchWithSelectors(t *testing.T) {
	w := newWorld(t)
	w.factory()
	w.put(keyspace.GeneralNodes, "g0", storedGN("g0", "a1", `"kind":"camera"`, "Up"))
	w.put(keyspace.GeneralNodes, "p0", storedGN("p0", "a1", `"kind":"plc"`, "Up"))
	x := w.watch("/api/v1/generalnodes?watch=true&labelSelector=kind=camera&fieldSelector=status.phase=Up", w.admin)
	x.expect("ADDED g0")
	w.put(keyspace.GeneralNodes, "p1", storedGN("p1", "a1", `"kind":"plc"`, "Up"))
	w.put(keyspace.GeneralNodes, "g1", storedGN("g1", "a1", `"kind":"camera"`, "Down"))
	w.put(keyspace.GeneralNodes, "g2", storedGN("g2", "a1", `"kind":"camera"`, "Up"))
	x.expect("ADDED g2")
	w.put(keyspace.GeneralNodes, "g1", storedGN("g1", "a1", `"kind":"camera"`, "Up"))
	x.expect("ADDED g1")
	w.put(keyspace.GeneralNodes, "g1", storedGN("g1", "a1", `"kind":"camera","hall":"1"`, "Up"))
	x.expect("MODIFIED g1")
	left := w.put(keyspace.GeneralNodes, "g2", storedGN("g2", "a1", `"kind":"camera"`, "Down"))
	e := x.next()
	if e.String() != "DELETED g2" || e.version() != formatRevision(left) || !strings.Contains(fmt.Sprint(e.Object), "phase:Up") {
		t.Fatalf("leaving the selector: %v", e)
	}
	w.remove(keyspace.GeneralNodes, "p0")
	w.remove(keyspace.GeneralNodes, "g1")
	x.expect("DELETED g1")
}

func TestADrainedAdapterSeesItsGeneralNodesDisabled(t *testing.T) {
	w := newWorld(t)
	w.factory()
	for _, name := range []string{"g1", "g2"} {
		w.put(keyspace.GeneralNodes, name, storedGN(name, "a1", "", "Up"))
	}
	w.put(keyspace.GeneralNodes, "other", storedGN("other", "a2", "", "Up"))
	list := func() string {
		r := w.do("GET", "/api/v1/adapters/a1/generalnodes", w.tokenOf("a1"), "")
		disabled := ""
		for _, item := range r.at("items").([]any) {
			disabled += fmt.Sprint(item.(map[string]any)["spec"].(map[string]any)["disabled"]) + " "
		}
		return disabled
	}
	if got := list(); got != "<nil> <nil> " {
		t.Fatal(got)
	}
	x := w.watch("/api/v1/adapters/a1/generalnodes?watch=true", w.tokenOf("a1"))
	x.expect("ADDED g1", "ADDED g2")
	version := x.bookmark()

	w.must(200, "PUT", "/api/v1/adapters/a1", resource("Adapter", "a1", `{"network":"f","drained":true}`))
	x.expectDisabled(true, "MODIFIED g1", "MODIFIED g2")
	if got := list(); got != "true true " {
		t.Fatal(got)
	}
	if r := w.must(200, "GET", "/api/v1/generalnodes/g1", ""); r.at("spec.disabled") != nil {
		t.Errorf("the resource itself is said to be disabled: %s", r.raw)
	}
	w.put(keyspace.GeneralNodes, "g3", storedGN("g3", "a1", "", "Up"))
	x.expectDisabled(true, "ADDED g3")
	// Who resumes from before is told, on this and on another replica.
	resume := "/api/v1/adapters/a1/generalnodes?watch=true&resourceVersion=" + version
	w.watch(resume, w.tokenOf("a1")).expectDisabled(true, "ADDED g3", "MODIFIED g1", "MODIFIED g2", "MODIFIED g3")
	w.serve(w.store)
	w.watch(resume, w.tokenOf("a1")).expectDisabled(true, "ADDED g3", "MODIFIED g1", "MODIFIED g2", "MODIFIED g3")
	y := w.watch("/api/v1/adapters/a1/generalnodes?watch=true", w.tokenOf("a1"))
	y.expectDisabled(true, "ADDED g1", "ADDED g2", "ADDED g3")

	w.must(200, "PUT", "/api/v1/adapters/a1", resource("Adapter", "a1", `{"network":"f","drained":false}`))
	x.expectDisabled(false, "MODIFIED g1", "MODIFIED g2", "MODIFIED g3")
	y.expectDisabled(false, "MODIFIED g1", "MODIFIED g2", "MODIFIED g3")
	// A change of the adapter that does not drain it is not the list's.
	w.must(200, "PUT", "/api/v1/adapters/a1", strings.Replace(resource("Adapter", "a1", `{"network":"f"}`), `"name":"a1"`, `"name":"a1","labels":{"x":"y"}`, 1))
	w.put(keyspace.GeneralNodes, "g4", storedGN("g4", "a1", "", "Up"))
	x.expectDisabled(false, "ADDED g4")
}

func (x *watching) expectDisabled(disabled bool, want ...string) {
	x.t.Helper()
	for _, s := range want {
		e := x.next()
		spec, _ := e.Object["spec"].(map[string]any)
		if got, _ := spec["disabled"].(bool); e.String() != s || got != disabled {
			x.t.Fatalf("got %v (disabled %v), want %s (%v)", e, spec["disabled"], s, disabled)
		}
	}
}

func TestTheListOfAnAdapterInPages(t *testing.T) {
	w := newWorld(t)
	first := w.url
	w.serve(w.store)
	for i := range 20 {
		name := fmt.Sprintf("g%02d", i)
		w.put(keyspace.GeneralNodes, name, storedGN(name, fmt.Sprintf("a%d", i%2+1), "", "Up"))
	}
	names, _, replies := w.pages("/api/v1/adapters/a2/generalnodes?limit=3", first, w.url)
	if got := strings.Join(names, " "); got != "g01 g03 g05 g07 g09 g11 g13 g15 g17 g19" || len(replies) != 4 {
		t.Errorf("%d pages: %s", len(replies), got)
	}
	next := w.must(200, "GET", "/api/v1/adapters/a2/generalnodes?limit=3", "").text("metadata.continue")
	w.must(400, "GET", "/api/v1/adapters/a1/generalnodes?limit=3&continue="+next, "")
}

// A deletion and a creation that a watch gets at once are two events: it is
// another resource.
func TestAResourceThatIsCreatedAnew(t *testing.T) {
	w := newWorld(t)
	w.put(keyspace.Nodes, "n", nodeBody("n", "f"))
	version := w.must(200, "GET", "/api/v1/nodes", "").text("metadata.resourceVersion")
	w.remove(keyspace.Nodes, "n")
	w.put(keyspace.Nodes, "n", nodeBody("n", "f"))
	w.put(keyspace.Nodes, "n", nodeBody("n", "g"))
	w.watch("/api/v1/nodes?watch=true&resourceVersion="+version, w.admin).expect("DELETED n", "ADDED n")
}

func TestManyEventsAreFollowedByABookmark(t *testing.T) {
	w := newWorld(t)
	w.server.heartbeat = time.Hour
	before := w.put(keyspace.Nodes, "first", nodeBody("first", "f"))
	for i := range bookmarkEvery + 1 {
		name := fmt.Sprintf("n%04d", i)
		w.put(keyspace.Nodes, name, nodeBody(name, "f"))
	}
	x := w.watch("/api/v1/nodes?watch=true&resourceVersion="+formatRevision(before), w.admin)
	seen := 0
	for e := range x.lines {
		if e.Type == "BOOKMARK" {
			break
		}
		seen++
	}
	if seen < bookmarkEvery || seen > bookmarkEvery+watchChunk {
		t.Errorf("a bookmark after %d events", seen)
	}
}

// stubFeed is a feed that ends at once.
type stubFeed struct{ err error }

func (f stubFeed) next(context.Context, <-chan struct{}) ([]sight, int64, error) {
	return nil, 0, f.err
}
func (f stubFeed) reached() int64 { return 7 }
func (f stubFeed) close()         {}

func TestAWatchThatFellBehindIsToldToListAgain(t *testing.T) {
	w := newWorld(t)
	answer := httptest.NewRecorder()
	st := &stream{server: w.server, query: &query{kind: kindOf(keyspace.Nodes)}, feed: stubFeed{fmt.Errorf("too slow: %w", store.ErrCompacted)}, checked: time.Now()}
	if err := st.run(t.Context(), answer); err != nil {
		t.Fatal(err)
	}
	if text := answer.Body.String(); !strings.HasPrefix(text, `{"type":"ERROR","object":{`) || !strings.Contains(text, `"status":410`) || !strings.Contains(text, typeCompacted) {
		t.Errorf("%s", text)
	}
}

// stuck is an answer whose client does not read.
type stuck struct{ *httptest.ResponseRecorder }

func (stuck) Write([]byte) (int, error)        { return 0, fmt.Errorf("write: %w", os.ErrDeadlineExceeded) }
func (stuck) SetWriteDeadline(time.Time) error { return nil }

func TestAClientThatDoesNotReadIsLetGo(t *testing.T) {
	w := newWorld(t)
	st := &stream{server: w.server, query: &query{kind: kindOf(keyspace.Nodes)}, feed: stubFeed{errors.New("not reached")}, checked: time.Now()}
	st.initial = func(context.Context, string) ([]sight, string, error) {
		return []sight{{api.WatchEventTypeADDED, []byte("{}")}}, "", nil
	}
	if err := st.run(t.Context(), stuck{httptest.NewRecorder()}); err != nil {
		t.Fatal(err)
	}
	metrics := w.must(200, "GET", "/metrics", "").raw
	if !strings.Contains(metrics, `cyphonic_manager_watches_ended_total{reason="slow"} 1`) {
		t.Error("a slow client is not counted")
	}
}

func TestWatchesOfOneSubjectAreBounded(t *testing.T) {
	slots := &watchSlots{bySubject: map[string]int{}}
	var held []slot
	for range 3 {
		s, ok := slots.take("user/a", 3, false)
		if !ok {
			t.Fatal("refused too early")
		}
		held = append(held, s)
	}
	if _, ok := slots.take("user/a", 3, false); ok {
		t.Error("a fourth watch")
	}
	if _, ok := slots.take("user/b", 3, false); !ok {
		t.Error("another subject is refused")
	}
	slots.free(held[0])
	if _, ok := slots.take("user/a", 3, false); !ok {
		t.Error("a free slot is not given")
	}
	for i := range maxEventWatches {
		slots.take(fmt.Sprintf("user/c%d", i), maxWatches, true)
	}
	if _, ok := slots.take("user/d", maxWatches, true); ok {
		t.Error("watches of events are not bounded")
	}
	slots.open = maxWatches
	if _, ok := slots.take("user/d", 3, false); ok {
		t.Error("watches are not bounded")
	}
}

func TestTooManyRequestsOfOneSubject(t *testing.T) {
	w := newWorld(t)
	w.server.subjects.busy["admin"] = maxRequestsPerSubject
	r := w.do("GET", "/api/v1/nodes", w.admin, "")
	if r.code != http.StatusTooManyRequests || r.header.Get("Retry-After") == "" {
		t.Errorf("%d %v", r.code, r.header)
	}
	w.watch("/api/v1/nodes?watch=true", w.admin).bookmark()
	w.server.subjects.end("admin")
	w.must(200, "GET", "/api/v1/nodes", "")
}
