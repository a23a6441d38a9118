package rest

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cyphonic/cyphonic/manager/store"
)

// frozenStore has watches that never deliver anything, so that a cache on it
// stays as it was.
type frozenStore struct{ store.Store }

type frozenWatcher struct{}

func (frozenStore) Watch(context.Context, string, int64) (store.Watcher, error) {
	return frozenWatcher{}, nil
}

func (frozenWatcher) Next(ctx context.Context) (store.Batch, error) {
	<-ctx.Done()
	return store.Batch{}, ctx.Err()
}
func (frozenWatcher) Progress(context.Context) error { return nil }
func (frozenWatcher) Close()                         {}

// TestACacheThatLagsBehindChangesNoAnswer writes through a server whose cache
// is of the past.
func TestACacheThatLagsBehindChangesNoAnswer(t *testing.T) {
	w := newWorld(t)
	w.factory()
	w.must(201, "POST", "/api/v1/generalnodes", gnBody("g", "f", "a1", "02:00:00:00:00:01"))
	behind := *w
	behind.serve(frozenStore{w.store})
	adapter := func(name string, disabled bool) string {
		return resource("Adapter", name, fmt.Sprintf(`{"network":"f","disabled":%t}`, disabled))
	}
	// What the cache shows is what the client wants, but it is not so any more.
	w.must(200, "PUT", "/api/v1/adapters/a1", adapter("a1", true))
	behind.must(200, "PUT", "/api/v1/adapters/a1", adapter("a1", false))
	got := w.must(200, "GET", "/api/v1/adapters/a1", "")
	if got.at("spec.disabled") == true {
		t.Fatal("a write was acknowledged and is not there")
	}
	behind.must(200, "PUT", "/api/v1/adapters/a1", adapter("a1", true), with{"If-Match", got.header.Get("ETag")})
	behind.merges(200, "/api/v1/adapters/a1", `{"metadata":{"labels":{"x":"y"}}}`)
	if r := w.must(200, "GET", "/api/v1/adapters/a1", ""); r.at("spec.disabled") != true || r.text("metadata.labels.x") != "y" {
		t.Fatalf("a patch undid another's write: %s", r.raw)
	}
	// What the cache does not show is there, and the other way round.
	w.must(201, "POST", "/api/v1/adapters", adapter("a3", false))
	w.must(200, "DELETE", "/api/v1/adapters/a2", "")
	behind.must(201, "POST", "/api/v1/generalnodes", gnBody("h", "f", "a3", "02:00:00:00:00:02"))
	if r := behind.must(400, "POST", "/api/v1/generalnodes", gnBody("i", "f", "a2", "02:00:00:00:00:03")); r.pointers() != "/spec/adapter" {
		t.Fatal(r.raw)
	}
	behind.must(409, "POST", "/api/v1/adapters", adapter("a3", false))
	behind.must(404, "DELETE", "/api/v1/adapters/a2", "")
	behind.must(201, "PUT", "/api/v1/adapters/a2", adapter("a2", false))
	status := strings.Replace(gnBody("h", "f", "a3", "02:00:00:00:00:02"), `"spec"`, `"status":{"phase":"Up"},"spec"`, 1)
	behind.must(200, "PUT", "/api/v1/generalnodes/h/status", status)
	behind.must(200, "DELETE", "/api/v1/generalnodes/h", "")
	w.must(404, "GET", "/api/v1/generalnodes/h", "")
}

// countingStore counts the requests to the store.
type countingStore struct {
	store.Store
	reads, commits *atomic.Int64
}

func (c countingStore) Get(ctx context.Context, key string) (store.Entry, error) {
	c.reads.Add(1)
	return c.Store.Get(ctx, key)
}

func (c countingStore) List(ctx context.Context, prefix string, o store.ListOptions) (store.Listing, error) {
	c.reads.Add(1)
	return c.Store.List(ctx, prefix, o)
}

func (c countingStore) Count(ctx context.Context, prefix string) (int64, error) {
	c.reads.Add(1)
	return c.Store.Count(ctx, prefix)
}

func (c countingStore) Commit(ctx context.Context, tx store.Transaction) (int64, error) {
	c.commits.Add(1)
	return c.Store.Commit(ctx, tx)
}

func TestWritesNeedFewRequestsToTheStore(t *testing.T) {
	w := newWorld(t)
	w.factory()
	w.must(201, "POST", "/api/v1/generalnodes", gnBody("first", "f", "a1", "02:00:00:00:00:00"))
	counted := countingStore{w.store, new(atomic.Int64), new(atomic.Int64)}
	w.serve(counted)
	w.must(201, "POST", "/api/v1/generalnodes", gnBody("second", "f", "a1", "02:00:00:00:00:09")) // reads which addresses are free
	cases := []struct {
		name           string
		request        func()
		reads, commits int64
	}{
		{"create", func() { w.must(201, "POST", "/api/v1/generalnodes", gnBody("g", "f", "a1", "02:00:00:00:00:01")) }, 0, 1},
		{"create by PUT", func() { w.must(201, "PUT", "/api/v1/generalnodes/h", gnBody("h", "f", "a1", "02:00:00:00:00:02")) }, 0, 1},
		{"create by apply", func() { w.applies(201, "m", "/api/v1/generalnodes/i", gnBody("i", "f", "a1", "02:00:00:00:00:03")) }, 0, 1},
		{"update", func() { w.must(200, "PUT", "/api/v1/generalnodes/g", gnBody("g", "f", "a2", "02:00:00:00:00:01")) }, 0, 1},
		{"apply", func() { w.applies(200, "m", "/api/v1/generalnodes/i", gnBody("i", "f", "a2", "02:00:00:00:00:03")) }, 0, 1},
		{"apply what is so", func() { w.applies(200, "m", "/api/v1/generalnodes/i", gnBody("i", "f", "a2", "02:00:00:00:00:03")) }, 1, 0},
		{"delete", func() { w.must(200, "DELETE", "/api/v1/generalnodes/g", "") }, 1, 1},
	}
	for _, c := range cases {
		w.fresh()
		counted.reads.Store(0)
		counted.commits.Store(0)
		c.request()
		if reads, commits := counted.reads.Load(), counted.commits.Load(); reads > c.reads || commits != c.commits {
			t.Errorf("%s: %d reads and %d transactions, want %d and %d", c.name, reads, commits, c.reads, c.commits)
		}
	}
}
