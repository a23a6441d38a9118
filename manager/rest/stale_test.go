package rest

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/manager/store"
)

// awayStore is a store that answers nothing while it is away, as etcd without a
// quorum: calls hang until their context ends. Its watches stay silent.
type awayStore struct {
	store.Store
	away atomic.Bool
}

func (s *awayStore) gone(ctx context.Context) error {
	if !s.away.Load() {
		return nil
	}
	<-ctx.Done()
	return ctx.Err()
}

func (s *awayStore) Get(ctx context.Context, key string) (store.Entry, error) {
	if err := s.gone(ctx); err != nil {
		return store.Entry{}, err
	}
	return s.Store.Get(ctx, key)
}

func (s *awayStore) List(ctx context.Context, prefix string, o store.ListOptions) (store.Listing, error) {
	if err := s.gone(ctx); err != nil {
		return store.Listing{}, err
	}
	return s.Store.List(ctx, prefix, o)
}

func (s *awayStore) Revision(ctx context.Context) (int64, error) {
	if err := s.gone(ctx); err != nil {
		return 0, err
	}
	return s.Store.Revision(ctx)
}

func (s *awayStore) Commit(ctx context.Context, tx store.Transaction) (int64, error) {
	if s.away.Load() { // the etcd store gives up by itself
		return 0, down("commit")
	}
	return s.Store.Commit(ctx, tx)
}

func TestReadsWhileTheStoreIsAway(t *testing.T) {
	w := newWorld(t)
	s := &awayStore{Store: w.store}
	w.serve(s)
	w.factory()
	fresh := w.must(200, "GET", "/api/v1/adapters", "")
	if fresh.header.Get("Warning") != "" || fresh.header.Get("Cyphonic-Stale-Since") != "" {
		t.Fatalf("a fresh answer says that it is stale: %v", fresh.header)
	}
	x := w.watch("/api/v1/adapters?watch=true&resourceVersion="+fresh.text("metadata.resourceVersion"), w.admin)
	before := time.Now()
	s.away.Store(true)

	var wait sync.WaitGroup
	for range 20 { // whoever finds out waits, nobody for long
		wait.Go(func() {
			start := time.Now()
			w.stale(w.do("GET", "/api/v1/adapters", w.admin, ""), before)
			if waited := time.Since(start); waited > readPatience+time.Second {
				t.Errorf("a reader waited %v", waited)
			}
		})
	}
	wait.Wait()
	start := time.Now()
	for _, path := range []string{"/api/v1/adapters", "/api/v1/adapters/a1", "/api/v1/adapters/a1/status", "/api/v1/adapters/a1/generalnodes"} {
		w.stale(w.do("GET", path, w.admin, ""), before)
	}
	// That something is not there is known of the past only, too.
	if gone := w.do("GET", "/api/v1/adapters/nobody", w.admin, ""); gone.code != 404 || gone.header.Get("Cyphonic-Stale-Since") == "" || gone.header.Get("Warning") == "" {
		t.Errorf("an absent resource: %d %v", gone.code, gone.header)
	}
	if waited := time.Since(start); waited > 2*readPatience {
		t.Errorf("four reads of a known outage took %v", waited)
	}
	if r := w.do("GET", "/api/v1/adapters/none", w.admin, ""); r.code != 404 {
		t.Errorf("absent: %d %s", r.code, r.raw)
	}
	if r := w.do("PUT", "/api/v1/adapters/a9", w.admin, resource("Adapter", "a9", `{"network":"f"}`)); r.code != 503 || r.header.Get("Retry-After") == "" {
		t.Errorf("a write: %d %v %s", r.code, r.header, r.raw)
	}
	x.bookmark() // watches go on
	w.watch("/api/v1/adapters?watch=true", w.admin).expect("ADDED a1", "ADDED a2")

	s.away.Store(false)
	w.put(keyspace.Adapters, "a3", resource("Adapter", "a3", `{"network":"f"}`))
	x.expect("ADDED a3")
	w.clock.advance(outageMemory)
	if r := w.must(200, "GET", "/api/v1/adapters", ""); r.header.Get("Warning") != "" || len(r.names()) != 3 {
		t.Errorf("the store is back: %v %s", r.header, r.raw)
	}
}

// stale checks that an answer is complete and says how old it is.
func (w *world) stale(r reply, before time.Time) {
	w.t.Helper()
	since, err := time.Parse(time.RFC3339, r.header.Get("Cyphonic-Stale-Since"))
	if r.code != 200 || err != nil {
		w.t.Errorf("%d %v: %s", r.code, r.header, r.raw)
		return
	}
	if since.After(time.Now()) || before.Sub(since) > 5*time.Second {
		w.t.Errorf("it is said to be of %v, now is %v", since, time.Now())
	}
	want := `110 - "the database is not reachable; this is the state of ` + r.header.Get("Cyphonic-Stale-Since") + `"`
	if got := r.header.Get("Warning"); got != want {
		w.t.Errorf("Warning: %s", got)
	}
	if strings.Contains(r.raw, `"items":[]`) && !strings.Contains(r.raw, "GeneralNodeList") {
		w.t.Errorf("the answer is empty: %s", r.raw)
	}
}

func TestWithoutACacheAndWithoutAStoreThereIsNoAnswer(t *testing.T) {
	w := newWorld(t)
	w.serve(downStore{w.store})
	for _, path := range []string{"/api/v1/nodes", "/api/v1/nodes/x", "/api/v1/nodes?watch=true", "/readyz"} {
		r := w.do("GET", path, w.admin, "")
		if r.code != 503 || r.header.Get("Retry-After") == "" || r.text("type") != typeUnavailable {
			t.Errorf("%s: %d %v %s", path, r.code, r.header, r.raw)
		}
	}
}
