package cache

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/manager/store"
)

// breakable is a store that can be cut off.
type breakable struct {
	*database
	mu   sync.Mutex
	down chan struct{} // under mu: closed while the store is cut off
}

func newBreakable(d *database) *breakable { return &breakable{database: d, down: make(chan struct{})} }

func (b *breakable) cut() {
	b.mu.Lock()
	defer b.mu.Unlock()
	close(b.down)
}

func (b *breakable) mend() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.down = make(chan struct{})
}

func (b *breakable) state() (down chan struct{}, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case <-b.down:
		return b.down, store.ErrUnavailable
	default:
		return b.down, nil
	}
}

func (b *breakable) Revision(ctx context.Context) (int64, error) {
	if _, err := b.state(); err != nil {
		return 0, err
	}
	return b.database.Revision(ctx)
}

func (b *breakable) List(ctx context.Context, prefix string, o store.ListOptions) (store.Listing, error) {
	if _, err := b.state(); err != nil {
		return store.Listing{}, err
	}
	return b.database.List(ctx, prefix, o)
}

func (b *breakable) Watch(ctx context.Context, prefix string, after int64) (store.Watcher, error) {
	down, err := b.state()
	if err != nil {
		return nil, err
	}
	w, err := b.database.Watch(ctx, prefix, after)
	return &breakableWatcher{w, down}, err
}

type breakableWatcher struct {
	store.Watcher
	down chan struct{}
}

func (w *breakableWatcher) Next(ctx context.Context) (store.Batch, error) {
	waitCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		select {
		case <-w.down:
			cancel()
		case <-stop:
		}
	}()
	b, err := w.Watcher.Next(waitCtx)
	if err != nil && ctx.Err() == nil && waitCtx.Err() != nil {
		return store.Batch{}, store.ErrUnavailable
	}
	return b, err
}

func await(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if f() {
			return
		}
	}
	t.Fatalf("waited in vain for %s", what)
}

func TestAnOutageIsSurvived(t *testing.T) {
	d := openDatabase(t)
	d.put("a", "a1", nil)
	b := newBreakable(d)
	c := start(t, b)
	s := subscribe(t, c, fresh(t, c).Revision(), nil)
	b.cut()
	cutAt := time.Now()
	d.put("b", "a1", nil)
	if err := c.Fresh(t.Context()); !errors.Is(err, store.ErrUnavailable) {
		t.Fatalf("Fresh while the store is away: %v", err)
	}
	if v := c.View(keyspace.GeneralNodes); v.Len() != 1 {
		t.Errorf("%d resources are served, want the one from before", v.Len())
	}
	if at := c.CurrentAt(); at.IsZero() || at.After(cutAt) {
		t.Errorf("the cache says that it was current at %v, cut off at %v", at, cutAt)
	}
	b.mend()
	await(t, "the cache to follow again", func() bool { return c.Fresh(t.Context()) == nil })
	if !c.CurrentAt().After(cutAt) {
		t.Error("the cache does not know that it is current again")
	}
	got, _ := next(t, s)
	equal(t, "changes", got, []string{"came b"})
}

// After an outage so long that the store has forgotten what happened, the cache
// reads everything again and its subscribers learn what has changed.
func TestACompactionDuringAnOutageIsSurvived(t *testing.T) {
	d := openDatabase(t)
	for _, name := range []string{"stays", "changes", "goes", "returns"} {
		d.put(name, "a1", nil)
	}
	b := newBreakable(d)
	c := start(t, b)
	at := fresh(t, c).Revision()
	kept, _ := c.View(keyspace.GeneralNodes).Get("stays")
	s := subscribe(t, c, at, nil)
	carried, err := c.SubscribeCarriedBy(keyspace.GeneralNodes, "a2", at, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer carried.Close()
	b.cut()
	await(t, "the end of the watch", func() bool { c.mu.RLock(); defer c.mu.RUnlock(); return c.watcher == nil })
	d.put("changes", "a2", nil)
	d.remove("goes")
	d.remove("returns")
	d.put("returns", "a1", nil)
	between := d.put("comes", "a1", nil)
	d.compact(d.elsewhere())
	b.mend()
	await(t, "the cache to follow again", func() bool { return c.Fresh(t.Context()) == nil })
	got, _ := next(t, s)
	equal(t, "changes", got, []string{"changed changes", "went returns", "came returns", "came comes", "went goes"})
	got, _ = next(t, carried)
	equal(t, "changes of a2", got, []string{"came changes"})
	if same, _ := c.View(keyspace.GeneralNodes).Get("stays"); same != kept {
		t.Error("what has not changed was made anew")
	}
	if _, err := c.Subscribe(keyspace.GeneralNodes, between, nil); !errors.Is(err, store.ErrCompacted) {
		t.Errorf("a subscription from within the gap: %v", err)
	}
	v := c.View(keyspace.GeneralNodes)
	equal(t, "names", names(v.Ascend, ""), []string{"changes", "comes", "returns", "stays"})
	late := d.put("late", "a1", nil)
	fresh(t, c)
	got, revision := next(t, s)
	equal(t, "changes afterwards", got, []string{"came late"})
	equal(t, "revision", revision, late)
}

func TestARestartAfterACompactionBeginsAtTheNewest(t *testing.T) {
	d := openDatabase(t)
	first := d.put("a", "a1", nil)
	second := d.put("a", "a2", nil)
	d.compact(second)
	c := start(t, d)
	equal(t, "resources", fresh(t, c).Len(), 1)
	if _, err := c.Subscribe(keyspace.GeneralNodes, first, nil); !errors.Is(err, store.ErrCompacted) {
		t.Errorf("a subscription from before the compaction: %v", err)
	}
	s := subscribe(t, c, second, nil)
	d.remove("a")
	got, _ := next(t, s)
	equal(t, "changes", got, []string{"went a"})
}

func TestAnUndecodableResourceIsKeptAndReported(t *testing.T) {
	d := openDatabase(t)
	if _, err := d.Create(t.Context(), keyspace.Resource(keyspace.GeneralNodes, "bad"), []byte("{")); err != nil {
		t.Fatal(err)
	}
	d.put("good", "a1", nil)
	v := fresh(t, start(t, d))
	bad, ok := v.Get("bad")
	if !ok || string(bad.Value) != "{" || v.Len() != 2 {
		t.Errorf("got %+v of %d", bad, v.Len())
	}
}
