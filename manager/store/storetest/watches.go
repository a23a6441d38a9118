package storetest

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/cyphonic/cyphonic/manager/store"
)

func watch(t *testing.T, h Harness, prefix string, after int64) store.Watcher {
	t.Helper()
	w, err := h.Store.Watch(deadline(t), prefix, after)
	must(t, err)
	t.Cleanup(w.Close)
	return w
}

// next returns the next n events.
func next(t *testing.T, w store.Watcher, n int) []store.Event {
	t.Helper()
	var out []store.Event
	for len(out) < n {
		b, err := w.Next(deadline(t))
		must(t, err)
		for _, e := range b.Events {
			if e.Entry.Revision > b.Revision {
				t.Fatalf("event at %d in a batch up to %d", e.Entry.Revision, b.Revision)
			}
		}
		out = append(out, b.Events...)
	}
	if len(out) != n {
		t.Fatalf("got %d events, want %d: %+v", len(out), n, out)
	}
	return out
}

func testWatch(t *testing.T, h Harness, p string) {
	ctx := deadline(t)
	before := create(t, h, p+"before", "")
	w := watch(t, h, p, before)
	first := create(t, h, p+"a", "one")
	second, err := h.Store.Update(ctx, p+"a", []byte("two"), first)
	must(t, err)
	third, err := h.Store.Delete(ctx, p+"a", second)
	must(t, err)
	got := next(t, w, 3)
	if e := got[0]; !e.Created() || string(e.Entry.Value) != "one" || e.Entry.Revision != first || e.Previous.Key != "" {
		t.Errorf("create: %+v", e)
	}
	if e := got[1]; e.Created() || e.Type != store.EventPut || string(e.Entry.Value) != "two" || string(e.Previous.Value) != "one" || e.Entry.Revision != second {
		t.Errorf("update: %+v", e)
	}
	if e := got[2]; e.Type != store.EventDelete || e.Entry.Key != p+"a" || string(e.Previous.Value) != "two" || e.Entry.Revision != third {
		t.Errorf("delete: %+v", e)
	}
}

func testWatchResume(t *testing.T, h Harness, p string) {
	ctx := deadline(t)
	l, err := h.Store.List(ctx, p, store.ListOptions{})
	must(t, err)
	const n = 60
	done := make(chan error, 1)
	go func() {
		for i := range n {
			if _, err := h.Store.Create(ctx, fmt.Sprintf("%s%03d", p, i), nil); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	after, seen := l.Revision, 0
	for seen < n { // a new watch after every batch
		w, err := h.Store.Watch(ctx, p, after)
		must(t, err)
		b, err := w.Next(ctx)
		must(t, err)
		w.Close()
		for _, e := range b.Events {
			if e.Entry.Key != fmt.Sprintf("%s%03d", p, seen) {
				t.Fatalf("event %d is %s", seen, e.Entry.Key)
			}
			seen++
		}
		after = b.Revision
	}
	must(t, <-done)
}

func testWatchTransaction(t *testing.T, h Harness, p string) {
	start := create(t, h, p+"start", "")
	var tx store.Transaction
	for i := range 100 {
		tx.Writes = append(tx.Writes, store.Put(fmt.Sprintf("%s%03d", p, i), make([]byte, 4096)))
	}
	rev, err := h.Store.Commit(deadline(t), tx)
	must(t, err)
	w := watch(t, h, p, start)
	b, err := w.Next(deadline(t))
	must(t, err)
	if len(b.Events) != 100 || b.Revision != rev {
		t.Fatalf("got %d of 100 events up to %d, want %d", len(b.Events), b.Revision, rev)
	}
}

func testWatchPrefix(t *testing.T, h Harness, p string) {
	start := create(t, h, p+"start", "")
	w := watch(t, h, p+"x/", start)
	for _, k := range []string{"x", "xa", "y/a", "x/a"} {
		create(t, h, p+k, "")
	}
	if e := next(t, w, 1)[0]; e.Entry.Key != p+"x/a" {
		t.Fatalf("got %s", e.Entry.Key)
	}
}

func testWatchEnd(t *testing.T, h Harness, p string) {
	w := watch(t, h, p, create(t, h, p+"a", ""))
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := w.Next(ctx)
	want(t, "next with a cancelled context", err, context.Canceled)
	w.Close()
	w.Close()
	for { // progress that was already on its way may come first
		if _, err = w.Next(deadline(t)); err != nil {
			break
		}
	}
	if errors.Is(err, store.ErrCompacted) {
		t.Fatalf("after Close: %v", err)
	}
	_, err = h.Store.Watch(deadline(t), p, -1)
	if err == nil {
		t.Fatal("a negative revision was accepted")
	}
}

func testCompaction(t *testing.T, h Harness, p string) {
	ctx := deadline(t)
	first := create(t, h, p+"a", "one")
	second, err := h.Store.Update(ctx, p+"a", []byte("two"), first)
	must(t, err)
	third, err := h.Store.Update(ctx, p+"a", []byte("three"), second)
	must(t, err)
	must(t, h.Compact(ctx, third))
	_, err = h.Store.List(ctx, p, store.ListOptions{Revision: first})
	want(t, "list at a compacted revision", err, store.ErrCompacted)
	w := watch(t, h, p, first-1)
	_, err = w.Next(ctx)
	want(t, "watch from a compacted revision", err, store.ErrCompacted)
	l, err := h.Store.List(ctx, p, store.ListOptions{})
	must(t, err)
	if len(l.Entries) != 1 || string(l.Entries[0].Value) != "three" {
		t.Fatalf("after compaction: %+v", l.Entries)
	}
	again := watch(t, h, p, l.Revision)
	create(t, h, p+"b", "")
	next(t, again, 1)
}
