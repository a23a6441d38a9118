package cache

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/manager/store"
	"github.com/cyphonic/cyphonic/manager/store/etcd"
)

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// database is a real store, and what compacts it.
type database struct {
	store.Store
	t       *testing.T
	compact func(revision int64)
}

func openDatabase(t *testing.T) *database {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	e, err := etcd.StartEmbedded(ctx, t.TempDir(), quiet())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return &database{Store: etcd.NewStore(e.Client()), t: t, compact: func(revision int64) {
		if _, err := e.Client().Compact(context.Background(), revision); err != nil {
			t.Error(err)
		}
	}}
}

// put writes a general node.
func (d *database) put(name, adapter string, labels map[string]string) int64 {
	d.t.Helper()
	revision, err := d.Commit(d.t.Context(), store.Transaction{Writes: []store.Write{store.Put(keyspace.Resource(keyspace.GeneralNodes, name), generalNode(name, adapter, labels))}})
	if err != nil {
		d.t.Fatal(err)
	}
	return revision
}

func (d *database) remove(name string) int64 {
	d.t.Helper()
	revision, err := d.Commit(d.t.Context(), store.Transaction{Writes: []store.Write{store.Remove(keyspace.Resource(keyspace.GeneralNodes, name))}})
	if err != nil {
		d.t.Fatal(err)
	}
	return revision
}

// elsewhere writes something that is no resource.
func (d *database) elsewhere() int64 {
	d.t.Helper()
	revision, err := d.Commit(d.t.Context(), store.Transaction{Writes: []store.Write{store.Put(keyspace.LogRoot+"audit/x", nil)}})
	if err != nil {
		d.t.Fatal(err)
	}
	return revision
}

func generalNode(name, adapter string, labels map[string]string) []byte {
	b, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"name": name, "labels": labels},
		"spec":     map[string]any{"network": "home", "adapter": adapter},
		"status":   map[string]any{"phase": "Ready", "virtualIPv4": "10.0.0.2"},
	})
	if err != nil {
		panic(err)
	}
	return b
}

// start runs a cache until the test ends.
func start(t *testing.T, s store.Store) *Cache {
	t.Helper()
	c, err := New(Options{Store: s, Log: quiet(), Registerer: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	select {
	case <-c.Ready():
	case <-time.After(time.Minute):
		t.Fatal("the cache does not get ready")
	}
	return c
}

func fresh(t *testing.T, c *Cache) View {
	t.Helper()
	if err := c.Fresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	return c.View(keyspace.GeneralNodes)
}

func names(ascend func(after string, f func(*Item) bool), after string) []string {
	var all []string
	ascend(after, func(i *Item) bool {
		all = append(all, i.Name)
		return true
	})
	return all
}

func equal[T any](t *testing.T, what string, got, want T) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

func TestViewsShowTheStoreAndNeverChange(t *testing.T) {
	d := openDatabase(t)
	first := d.put("b", "a1", map[string]string{"role": "camera"})
	d.put("a", "a2", nil)
	c := start(t, d)
	before := fresh(t, c)
	equal(t, "names", names(before.Ascend, ""), []string{"a", "b"})
	b, ok := before.Get("b")
	if !ok || b.Revision != first || b.CreateRevision != first || b.Adapter != "a1" || b.Network != "home" || b.Phase != "Ready" || b.Labels["role"] != "camera" {
		t.Fatalf("got %+v", b)
	}
	if string(b.Value) != string(generalNode("b", "a1", map[string]string{"role": "camera"})) {
		t.Errorf("value: %s", b.Value)
	}
	second := d.put("b", "a2", nil)
	d.put("c", "a2", nil)
	removed := d.remove("a")
	after := fresh(t, c)
	equal(t, "names", names(after.Ascend, ""), []string{"b", "c"})
	equal(t, "names after b", names(after.Ascend, "b"), []string{"c"})
	equal(t, "names after bb", names(after.Ascend, "bb"), []string{"c"})
	moved, _ := after.Get("b")
	if moved.Revision != second || moved.CreateRevision != first || after.Revision() < removed || after.Len() != 2 {
		t.Errorf("got %+v at %d", moved, after.Revision())
	}
	equal(t, "carried by a2", names(func(a string, f func(*Item) bool) { after.CarriedBy("a2", a, f) }, ""), []string{"b", "c"})
	equal(t, "carried by a2 after b", names(func(a string, f func(*Item) bool) { after.CarriedBy("a2", a, f) }, "b"), []string{"c"})
	equal(t, "carried by a1", names(func(a string, f func(*Item) bool) { after.CarriedBy("a1", a, f) }, ""), []string(nil))
	equal(t, "old names", names(before.Ascend, ""), []string{"a", "b"})
	equal(t, "old carried", names(func(a string, f func(*Item) bool) { before.CarriedBy("a1", a, f) }, ""), []string{"b"})
	v4, v6 := c.AllocatedAddresses("home")
	equal(t, "addresses", []int64{v4, v6}, []int64{2, 0})
	equal(t, "another kind", c.View(keyspace.Nodes).Len(), 0)
}

func TestPinnedViewsAreFoundForAWhile(t *testing.T) {
	d := openDatabase(t)
	d.put("a", "a1", nil)
	c := start(t, d)
	v := fresh(t, c)
	c.Pin(v)
	d.put("b", "a1", nil)
	fresh(t, c)
	if got, ok := c.Pinned(keyspace.GeneralNodes, v.Revision()); !ok || got.Len() != 1 {
		t.Fatalf("pinned: %v", ok)
	}
	if _, ok := c.Pinned(keyspace.Nodes, v.Revision()); ok {
		t.Error("a view of another kind is found")
	}
	for i := range maxPins + 10 {
		c.pins.put(pinKey{"x", int64(i)}, v, time.Now().Add(time.Second))
	}
	if _, ok := c.Pinned(keyspace.GeneralNodes, v.Revision()); ok || len(c.pins.held) > maxPins {
		t.Errorf("%d pins are held", len(c.pins.held))
	}
	c.pins.put(pinKey{"x", 0}, v, time.Now().Add(-2*pinTime))
	if _, ok := c.Pinned("x", 0); ok {
		t.Error("an old pin is found")
	}
}

// After Fresh the cache shows every write that was acknowledged before,
// whatever else is being written.
func TestFreshSeesEveryAcknowledgedWrite(t *testing.T) {
	d := openDatabase(t)
	c := start(t, d)
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range 60 {
				name := fmt.Sprintf("w%d", w)
				revision := d.put(name, "a", map[string]string{"i": fmt.Sprint(i)})
				if i%3 == 0 {
					d.elsewhere()
				}
				if err := c.Fresh(t.Context()); err != nil {
					t.Error(err)
					return
				}
				item, ok := c.View(keyspace.GeneralNodes).Get(name)
				if !ok || item.Revision < revision || item.Labels["i"] != fmt.Sprint(i) {
					t.Errorf("%s: written at %d, the cache shows %+v", name, revision, item)
					return
				}
			}
		})
	}
	wg.Wait()
}

// Changes elsewhere do not reach the watch: without asking for progress Fresh
// would wait for minutes.
func TestFreshDoesNotWaitForAHeartbeat(t *testing.T) {
	d := openDatabase(t)
	c := start(t, d)
	var worst, sum time.Duration
	const rounds = 50
	for range rounds {
		d.elsewhere()
		begin := time.Now()
		fresh(t, c)
		took := time.Since(begin)
		worst, sum = max(worst, took), sum+took
	}
	t.Logf("Fresh after a change elsewhere: mean %v, worst %v", sum/rounds, worst)
	if sum/rounds > 200*time.Millisecond {
		t.Errorf("Fresh takes %v", sum/rounds)
	}
}

// TestRandomHistoriesEndAlike changes resources at random and compares what a
// view, and a client that only took over changes, show in the end.
func TestRandomHistoriesEndAlike(t *testing.T) {
	d := openDatabase(t)
	c := start(t, d)
	random := rand.New(rand.NewPCG(1, 2))
	all, err := c.Subscribe(keyspace.GeneralNodes, c.known(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer all.Close()
	ours, err := c.SubscribeCarriedBy(keyspace.GeneralNodes, "a1", c.known(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer ours.Close()
	seen, seenOurs := map[string]int64{}, map[string]int64{}
	for range 40 {
		var last int64
		for range random.IntN(30) + 1 {
			name := fmt.Sprintf("n%d", random.IntN(12))
			if random.IntN(3) == 0 {
				last = d.remove(name)
			} else {
				last = d.put(name, fmt.Sprintf("a%d", random.IntN(3)), nil)
			}
		}
		v := fresh(t, c)
		want, wantOurs := map[string]int64{}, map[string]int64{}
		v.Ascend("", func(i *Item) bool { want[i.Name] = i.Revision; return true })
		v.CarriedBy("a1", "", func(i *Item) bool { wantOurs[i.Name] = i.Revision; return true })
		drain(t, all, seen, last)
		drain(t, ours, seenOurs, last)
		if !maps.Equal(seen, want) || !maps.Equal(seenOurs, wantOurs) {
			t.Fatalf("the client has %v and %v, the store %v and %v", seen, seenOurs, want, wantOurs)
		}
	}
	listing, err := d.List(t.Context(), keyspace.ResourcesPrefix, store.ListOptions{KeysOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	if len(listing.Entries) != len(seen) {
		t.Errorf("%d resources in the store, %d at the client", len(listing.Entries), len(seen))
	}
}

// drain takes over changes until nothing more waits up to a revision.
func drain(t *testing.T, s *Subscription, state map[string]int64, until int64) {
	t.Helper()
	for s.Revision() < until {
		changes, revision, err := s.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if !slices.IsSortedFunc(changes, func(a, b Change) int { return int(a.Revision - b.Revision) }) {
			t.Fatalf("not in the order of revisions: %v", changes)
		}
		for _, ch := range changes {
			if _, known := state[ch.name()]; known != (ch.Before != nil) {
				t.Fatalf("%s: before is %v, the client knows it: %v", ch.name(), ch.Before, known)
			}
			if delete(state, ch.name()); ch.After != nil {
				state[ch.name()] = ch.After.Revision
			}
			if ch.Revision > revision {
				t.Fatalf("a change at %d in an answer up to %d", ch.Revision, revision)
			}
		}
	}
}

func TestNewDemandsItsOptions(t *testing.T) {
	if _, err := New(Options{}); err == nil {
		t.Fatal("accepted")
	}
}

func TestFreshEndsWithItsContextAndWithTheCache(t *testing.T) {
	d := openDatabase(t)
	c, err := New(Options{Store: d, Log: quiet(), Registerer: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Fresh(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if err := c.Run(ctx); err != nil {
		t.Error(err)
	}
	if err := c.Fresh(t.Context()); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("after the end: %v", err)
	}
	if _, err := c.Subscribe(keyspace.Nodes, 0, nil); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("subscription before anything was read: %v", err)
	}
}
