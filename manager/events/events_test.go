package events

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/manager/store"
	"github.com/cyphonic/cyphonic/manager/store/etcd"
)

func open(t *testing.T) store.Store {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	e, err := etcd.StartEmbedded(ctx, t.TempDir(), slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return etcd.NewStore(e.Client())
}

// clock is a time that tests set.
type clock struct{ t time.Time }

func (c *clock) now() time.Time { return c.t }

func newRecorder(t *testing.T, s store.Store, c *clock) *Recorder {
	t.Helper()
	r, err := NewRecorder(Options{
		Store: s, Source: "test", Registerer: prometheus.NewRegistry(),
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Now: c.now,
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func camera(uid string) api.ObjectReference {
	return api.ObjectReference{Kind: "GeneralNode", Name: "cam1", Uid: uid}
}

func list(t *testing.T, s store.Store) []string {
	t.Helper()
	page, err := List(t.Context(), s, api.ObjectReference{}, store.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range page.Events {
		out = append(out, fmt.Sprintf("%s %s %s %dx %d-%d", e.Regarding.Name, e.Reason, e.Message, e.Count, e.FirstTimestamp.Unix(), e.LastTimestamp.Unix()))
	}
	return out
}

func TestEventsAreCountedAndKeepTheirFirstTime(t *testing.T) {
	s, c := open(t), &clock{time.Unix(100, 0)}
	r := newRecorder(t, s, c)
	r.Event(camera("u"), "f", api.EventTypeWarning, "PhaseChanged", "down")
	c.t = time.Unix(110, 0)
	r.Event(camera("u"), "f", api.EventTypeWarning, "PhaseChanged", "down")
	r.flush(t.Context())
	if got := list(t, s); fmt.Sprint(got) != "[cam1 PhaseChanged down 2x 100-110]" {
		t.Fatal(got)
	}
	c.t = time.Unix(120, 0)
	r.Event(camera("u"), "f", api.EventTypeWarning, "PhaseChanged", "down")
	r.flush(t.Context())
	another := newRecorder(t, s, c) // another manager, which knows nothing of it
	c.t = time.Unix(130, 0)
	another.Event(camera("u"), "f", api.EventTypeWarning, "PhaseChanged", "down")
	another.flush(t.Context())
	c.t = time.Unix(140, 0)
	r.Event(camera("u"), "f", api.EventTypeWarning, "PhaseChanged", "down")
	r.flush(t.Context())
	if got := list(t, s); fmt.Sprint(got) != "[cam1 PhaseChanged down 5x 100-140]" {
		t.Fatal(got)
	}
	r.Event(camera("v"), "f", api.EventTypeWarning, "PhaseChanged", "down") // created again: another device
	r.flush(t.Context())
	if got := list(t, s); len(got) != 2 {
		t.Fatal(got)
	}
}

func TestEventsAreFoundByNameAndGoByThemselves(t *testing.T) {
	s, c := open(t), &clock{time.Unix(100, 0)}
	r := newRecorder(t, s, c)
	w, err := Watch(t.Context(), s, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	r.Event(camera("u"), "f", api.EventTypeNormal, "AddressAllocated", "10.1.0.2")
	r.Event(api.ObjectReference{Kind: "Network", Name: "f", Uid: "n"}, "f", api.EventTypeWarning, "PrefixFull", "full")
	r.flush(t.Context())
	page, err := List(t.Context(), s, camera("u"), store.ListOptions{})
	if err != nil || len(page.Events) != 1 {
		t.Fatalf("%v, %v", page, err)
	}
	e := page.Events[0]
	if e.Network != "f" || e.Type != api.EventTypeNormal || e.Source != "test" || e.ApiVersion != api.Version || e.Kind != Kind || !strings.HasPrefix(e.Metadata.Name, "generalnode.cam1.") {
		t.Fatalf("%+v", e)
	}
	got, err := Get(t.Context(), s, e.Metadata.Name)
	if err != nil || got.Metadata.ResourceVersion == "" || got.Message != e.Message {
		t.Fatalf("%+v, %v", got, err)
	}
	for _, name := range []string{"", "generalnode.cam1", "generalnode.cam1.0", "camera.cam1.00", "generalnode.cam1/x.00"} {
		if _, err := Get(t.Context(), s, name); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%q: %v", name, err)
		}
	}
	changes, revision, err := w.Next(t.Context())
	if err != nil || len(changes) != 2 || changes[0].Name != e.Metadata.Name || changes[0].Event.Message != e.Message || revision == 0 {
		t.Fatalf("%v at %d, %v", changes, revision, err)
	}
	key, _ := KeyOf(e.Metadata.Name)
	entry, err := s.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Delete(t.Context(), key, entry.Revision); err != nil {
		t.Fatal(err)
	}
	changes, _, err = w.Next(t.Context())
	if err != nil || len(changes) != 1 || changes[0].Type != store.EventDelete || changes[0].Event == nil || changes[0].Name != e.Metadata.Name {
		t.Fatalf("%v, %v", changes, err)
	}
}

// ttlStore notes the times to live of writes.
type ttlStore struct {
	store.Store
	ttls map[time.Duration]int
	fail error
}

func (s *ttlStore) Commit(ctx context.Context, tx store.Transaction) (int64, error) {
	for _, w := range tx.Writes {
		s.ttls[w.TTL]++
	}
	if s.fail != nil {
		return 0, s.fail
	}
	return s.Store.Commit(ctx, tx)
}

func TestEventsHaveATimeToLive(t *testing.T) {
	s := &ttlStore{Store: open(t), ttls: map[time.Duration]int{}}
	r := newRecorder(t, s, &clock{time.Unix(100, 0)})
	r.Event(camera("u"), "f", api.EventTypeNormal, "A", "b")
	r.flush(t.Context())
	if s.ttls[TimeToLive] != 1 || len(s.ttls) != 1 {
		t.Fatal(s.ttls)
	}
}

func TestTheRecorderIsBounded(t *testing.T) {
	c := &clock{time.Unix(100, 0)}
	s := &ttlStore{ttls: map[time.Duration]int{}, fail: store.ErrUnavailable}
	r := newRecorder(t, s, c)
	for i := range 2 * objectBurst {
		r.Event(camera("u"), "f", api.EventTypeNormal, "Reason", fmt.Sprint(i))
	}
	if len(r.pending) != objectBurst || testutil.ToFloat64(r.dropped.WithLabelValues("rate")) != objectBurst {
		t.Fatalf("%d are pending", len(r.pending))
	}
	c.t = c.t.Add(objectInterval)
	for i := range 2 {
		r.Event(camera("u"), "f", api.EventTypeNormal, "Later", fmt.Sprint(i))
	}
	if len(r.pending) != objectBurst+1 {
		t.Fatalf("%d are pending after the interval", len(r.pending))
	}
	for i := range 3 * maxObjects {
		r.Event(api.ObjectReference{Kind: "Node", Name: fmt.Sprint("n", i)}, "f", api.EventTypeNormal, "Reason", "x")
	}
	if len(r.pending) != maxPending || len(r.objects) > maxObjects {
		t.Fatalf("%d are pending, %d resources are remembered", len(r.pending), len(r.objects))
	}
	r.flush(t.Context())
	if n := len(r.pending); n != maxPending-maxPerFlush || len(r.order) != n {
		t.Fatalf("%d are pending after a flush", n)
	}
	if testutil.ToFloat64(r.dropped.WithLabelValues("unavailable")) != maxPerFlush {
		t.Error("events that could not be written are not counted")
	}
	r.Event(api.ObjectReference{Kind: "Camera", Name: "x"}, "", api.EventTypeNormal, "Reason", "x")
	if testutil.ToFloat64(r.dropped.WithLabelValues("invalid")) != 1 {
		t.Error("an event about no resource is not counted")
	}
	(*Recorder)(nil).Event(camera("u"), "f", api.EventTypeNormal, "Reason", "nobody listens")
}

func TestLongMessagesStayText(t *testing.T) {
	r := newRecorder(t, &ttlStore{ttls: map[time.Duration]int{}}, &clock{time.Unix(100, 0)})
	r.Event(camera("u"), "f", api.EventTypeNormal, "Reason", strings.Repeat("ü", maxMessageBytes))
	for _, p := range r.pending {
		if len(p.message) > maxMessageBytes || strings.ToValidUTF8(p.message, "?") != p.message {
			t.Errorf("%d bytes", len(p.message))
		}
	}
}

func TestRunWritesWhatIsLeftAtItsEnd(t *testing.T) {
	s := open(t)
	r := newRecorder(t, s, &clock{time.Unix(100, 0)})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r.Event(camera("u"), "f", api.EventTypeNormal, "Reason", "last words")
	if err := r.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if got := list(t, s); len(got) != 1 {
		t.Fatal(got)
	}
	if n, err := s.Count(t.Context(), keyspace.EventsAbout(keyspace.GeneralNodes, "cam1")); n != 1 || err != nil {
		t.Fatal(n, err)
	}
}
