package rest

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cyphonic/cyphonic/api"
)

func TestAnAdapterSeesItsGeneralNodesAndNoOthers(t *testing.T) {
	w := newWorld(t)
	w.factory()
	w.must(201, "POST", "/api/v1/generalnodes", gnBody("mine", "f", "a1", "02:00:00:00:00:01"))
	w.must(201, "POST", "/api/v1/generalnodes", gnBody("theirs", "f", "a2", "02:00:00:00:00:02"))
	list := w.do("GET", "/api/v1/adapters/a1/generalnodes", w.tokenOf("a1"), "")
	if items := list.at("items").([]any); len(items) != 1 || !strings.Contains(list.raw, `"mine"`) || strings.Contains(list.raw, "theirs") {
		t.Fatal(list.raw)
	}
	from := list.text("metadata.resourceVersion")
	x := w.watch("/api/v1/adapters/a1/generalnodes?watch=true&resourceVersion="+from, w.tokenOf("a1"))
	y := w.watch("/api/v1/adapters/a1/generalnodes?watch=true", w.tokenOf("a1"))
	y.expect("ADDED mine")

	start := time.Now()
	w.must(201, "POST", "/api/v1/generalnodes", gnBody("new", "f", "a1", "02:00:00:00:00:03"))
	x.expect("ADDED new")
	if d := time.Since(start); d > time.Second {
		t.Fatalf("the change was seen after %s", d)
	}
	w.must(201, "POST", "/api/v1/generalnodes", gnBody("hidden", "f", "a2", "02:00:00:00:00:04"))
	w.must(200, "PUT", "/api/v1/generalnodes/hidden", gnBody("hidden", "f", "a2", "02:00:00:00:00:05"))
	w.must(200, "PUT", "/api/v1/generalnodes/new", gnBody("new", "f", "a1", "02:00:00:00:00:06"))
	w.must(200, "PUT", "/api/v1/generalnodes/new", gnBody("new", "f", "a2", "02:00:00:00:00:06"))
	w.must(200, "PUT", "/api/v1/generalnodes/hidden", gnBody("hidden", "f", "a1", "02:00:00:00:00:05"))
	w.must(200, "DELETE", "/api/v1/generalnodes/new", "")
	w.must(200, "DELETE", "/api/v1/generalnodes/mine", "")
	x.expect("MODIFIED new", "DELETED new", "ADDED hidden", "DELETED mine")
	y.expect("ADDED new", "MODIFIED new", "DELETED new", "ADDED hidden", "DELETED mine")
}

func TestWatchResumesWhereItEnded(t *testing.T) {
	w := newWorld(t)
	w.factory()
	x := w.watch("/api/v1/adapters?watch=true", w.admin)
	x.expect("ADDED a1", "ADDED a2")
	version := x.bookmark()
	w.must(201, "POST", "/api/v1/adapters", resource("Adapter", "a3", `{"network":"f"}`))
	w.must(200, "DELETE", "/api/v1/adapters/a2", "")
	y := w.watch("/api/v1/adapters?watch=true&resourceVersion="+version, w.admin)
	added := y.next()
	deleted := y.next()
	if added.String() != "ADDED a3" || deleted.String() != "DELETED a2" {
		t.Fatal(added, deleted)
	}
	last := deleted.Object["metadata"].(map[string]any)["resourceVersion"].(string)
	if got := y.bookmark(); got != last {
		t.Fatalf("the bookmark is %s, the last event was %s", got, last)
	}
	z := w.watch("/api/v1/adapters?watch=true&resourceVersion="+last, w.admin)
	z.bookmark()
	z.bookmark() // nothing but heartbeats
}

func TestWatchFromARevisionThatIsGone(t *testing.T) {
	w := newWorld(t)
	w.factory()
	version := w.must(200, "GET", "/api/v1/networks", "").text("metadata.resourceVersion")
	revision, err := strconv.ParseInt(version, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.etcd.Client().Compact(t.Context(), revision); err != nil {
		t.Fatal(err)
	}
	// This manager has seen what is compacted now, another one has not.
	w.must(410, "GET", "/api/v1/networks?watch=true&resourceVersion=999999", "")
	w.serve(w.store)
	r := w.must(410, "GET", "/api/v1/networks?watch=true&resourceVersion=2", "")
	if r.text("type") != typeCompacted || !strings.Contains(r.text("detail"), "list again") {
		t.Fatal(r.raw)
	}
	w.watch("/api/v1/networks?watch=true&resourceVersion="+version, w.admin).bookmark()
}

func TestWatchEndsWithTheRightToWatch(t *testing.T) {
	cases := map[string]func(w *world){
		"adapter disabled": func(w *world) {
			w.must(200, "PUT", "/api/v1/adapters/a1", resource("Adapter", "a1", `{"network":"f","disabled":true}`))
		},
		"adapter deleted": func(w *world) { w.must(200, "DELETE", "/api/v1/adapters/a1", "") },
		"token expired":   func(w *world) { w.clock.advance(2 * time.Hour) },
	}
	for name, end := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.factory()
			x := w.watch("/api/v1/adapters/a1/generalnodes?watch=true", w.tokenOf("a1"))
			x.bookmark()
			end(w)
			e := x.next()
			status, _ := e.Object["status"].(float64)
			if e.Type != "ERROR" || (status != 401 && status != 403) {
				t.Fatalf("got %+v", e)
			}
			if _, ok := <-x.lines; ok {
				t.Fatal("the watch goes on after its ERROR")
			}
		})
	}
}

func TestWatchesAreBounded(t *testing.T) {
	w := newWorld(t)
	w.factory()
	path := "/api/v1/adapters/a1/generalnodes?watch=true"
	for range maxWatchesPerAdapter {
		w.watch(path, w.tokenOf("a1"))
	}
	if r := w.do("GET", path, w.tokenOf("a1"), ""); r.code != 503 {
		t.Fatalf("got %d", r.code)
	}
	w.watch("/api/v1/adapters/a2/generalnodes?watch=true", w.tokenOf("a2"))
}

func TestABusyWatchIsCheckedToo(t *testing.T) {
	w := newWorld(t)
	w.factory()
	x := w.watch("/api/v1/adapters/a1/generalnodes?watch=true", w.tokenOf("a1"))
	x.bookmark()
	stop, done := make(chan struct{}), make(chan struct{})
	go func() { // a change every few milliseconds, more often than the heartbeat
		defer close(done)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				status := strings.Replace(gnBody("g", "f", "a1", "02:00:00:00:00:01"), `"name":"g"`, fmt.Sprintf(`"name":"g","labels":{"i":"%d"}`, i), 1)
				w.do("PUT", "/api/v1/generalnodes/g", w.admin, status)
			}
		}
	}()
	defer func() { close(stop); <-done }()
	x.next()
	w.clock.advance(2 * time.Hour)
	limit := time.After(5 * time.Second)
	for {
		select {
		case e := <-x.lines:
			if e.Type == "ERROR" {
				return
			}
		case <-limit:
			t.Fatal("the watch outlives its token while it is busy")
		}
	}
}

// deadlines is an answer that notes the deadlines of its writes.
type deadlines struct {
	*httptest.ResponseRecorder
	set []time.Time
}

func (d *deadlines) SetWriteDeadline(end time.Time) error {
	d.set = append(d.set, end)
	return nil
}

func TestASilentWatchHasNoDeadline(t *testing.T) {
	w := newWorld(t)
	answer := &deadlines{ResponseRecorder: httptest.NewRecorder()}
	st := &stream{server: w.server, w: answer, control: http.NewResponseController(answer)}
	if err := st.send([]sight{{api.WatchEventTypeADDED, []byte("{}")}}); err != nil {
		t.Fatal(err)
	}
	if n := len(answer.set); n != 2 || answer.set[0].IsZero() || !answer.set[1].IsZero() {
		t.Fatalf("deadlines %v, want one for the write and none afterwards", answer.set)
	}
}
