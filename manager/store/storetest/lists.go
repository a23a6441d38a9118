package storetest

import (
	"context"
	"fmt"
	"testing"

	"github.com/cyphonic/cyphonic/manager/store"
)

func testListPages(t *testing.T, h Harness, p string) {
	ctx := deadline(t)
	fill(t, h, p)
	l, err := h.Store.List(ctx, p, store.ListOptions{})
	must(t, err)
	count, err := h.Store.Count(ctx, p)
	must(t, err)
	if len(l.Entries) != n || count != n {
		t.Fatalf("list: %d, count: %d, want %d", len(l.Entries), count, n)
	}
	for i, e := range l.Entries {
		if e.Key != fmt.Sprintf("%s%05d", p, i) {
			t.Fatalf("entry %d is %s", i, e.Key)
		}
	}
}

// n is how many keys fill writes: more than one page.
const n = 2500

func fill(t *testing.T, h Harness, p string) {
	t.Helper()
	for i := 0; i < n; i += store.MaxWrites {
		var tx store.Transaction
		for j := i; j < min(i+store.MaxWrites, n); j++ {
			tx.Writes = append(tx.Writes, store.Put(fmt.Sprintf("%s%05d", p, j), []byte{1}))
		}
		_, err := h.Store.Commit(deadline(t), tx)
		must(t, err)
	}
}

// testListWhileWriting lists while the first and the last key, pages apart,
// always change together: every list must show them with the same value.
func testListWhileWriting(t *testing.T, h Harness, p string) {
	fill(t, h, p)
	first, last := fmt.Sprintf("%s%05d", p, 0), fmt.Sprintf("%s%05d", p, n-1)
	ctx, stop := context.WithCancel(deadline(t))
	_, err := h.Store.Commit(ctx, store.Transaction{Writes: []store.Write{store.Put(first, nil), store.Put(last, nil)}})
	must(t, err)
	done := make(chan error, 1)
	go func() {
		for i := 0; ctx.Err() == nil; i++ {
			value := []byte(fmt.Sprint(i))
			_, err := h.Store.Commit(ctx, store.Transaction{Writes: []store.Write{store.Put(first, value), store.Put(last, value)}})
			if err != nil && ctx.Err() == nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	for range 30 {
		l, err := h.Store.List(deadline(t), p, store.ListOptions{})
		must(t, err)
		if a, b := l.Entries[0], l.Entries[len(l.Entries)-1]; a.Revision != b.Revision || string(a.Value) != string(b.Value) {
			t.Errorf("one list shows the states at %d and at %d", a.Revision, b.Revision)
			break
		}
	}
	stop()
	must(t, <-done)
}

func testListLimit(t *testing.T, h Harness, p string) {
	ctx := deadline(t)
	for _, k := range []string{"a", "b", "b/c", "b0", "c", "d"} {
		create(t, h, p+k, k)
	}
	all, err := h.Store.List(ctx, p, store.ListOptions{})
	must(t, err)
	for limit := 1; limit <= len(all.Entries)+1; limit++ {
		var got []store.Entry
		for page, after := (store.Listing{More: true}), ""; page.More; {
			page, err = h.Store.List(ctx, p, store.ListOptions{Limit: limit, After: after, KeysOnly: limit%2 == 0})
			must(t, err)
			if len(page.Entries) > limit || (page.More && len(page.Entries) != limit) || page.Revision == 0 {
				t.Fatalf("page of %d: %d entries at %d, more: %v", limit, len(page.Entries), page.Revision, page.More)
			}
			got = append(got, page.Entries...)
			if len(got) > 0 {
				after = got[len(got)-1].Key
			}
		}
		if len(got) != len(all.Entries) {
			t.Fatalf("pages of %d: %d entries, want %d", limit, len(got), len(all.Entries))
		}
		for i := range got {
			if got[i].Key != all.Entries[i].Key || got[i].Revision != all.Entries[i].Revision {
				t.Fatalf("pages of %d: entry %d is %s", limit, i, got[i].Key)
			}
		}
	}
	for after, want := range map[string]int{p: 6, p + "b": 4, p + "bb": 2, p + "d": 0, p + "e": 0, "/": 6, "0": 0, "~": 0} {
		l, err := h.Store.List(ctx, p, store.ListOptions{After: after, Limit: 10})
		must(t, err)
		if len(l.Entries) != want || l.More || l.Revision == 0 {
			t.Errorf("after %q: %d entries at %d, want %d", after, len(l.Entries), l.Revision, want)
		}
	}
}
