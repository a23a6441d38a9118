package storetest

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"

	"github.com/cyphonic/cyphonic/manager/store"
)

func testTransaction(t *testing.T, h Harness, p string) {
	ctx := deadline(t)
	old := create(t, h, p+"old", "x")
	rev, err := h.Store.Commit(ctx, store.Transaction{
		Conditions: []store.Condition{store.Absent(p + "a"), store.AtRevision(p+"old", old), store.Present(p + "old"), store.AbsentBelow(p + "b/")},
		Writes:     []store.Write{store.Put(p+"a", []byte("1")), store.Put(p+"b/1", []byte("2")), store.Remove(p + "old"), store.Remove(p + "never")},
	})
	must(t, err)
	for _, k := range []string{"a", "b/1"} {
		e, err := h.Store.Get(ctx, p+k)
		must(t, err)
		if e.Revision != rev {
			t.Errorf("%s is at %d, the transaction at %d", k, e.Revision, rev)
		}
	}
	_, err = h.Store.Get(ctx, p+"old")
	want(t, "removed key", err, store.ErrNotFound)

	_, err = h.Store.Commit(ctx, store.Transaction{
		Conditions: []store.Condition{store.Absent(p + "c"), store.Absent(p + "a")},
		Writes:     []store.Write{store.Put(p+"c", nil), store.Put(p+"d", nil), store.Remove(p + "a")},
	})
	want(t, "one condition of two fails", err, store.ErrExists)
	l, err := h.Store.List(ctx, p, store.ListOptions{})
	must(t, err)
	if len(l.Entries) != 2 {
		t.Fatalf("the refused transaction left %d keys", len(l.Entries))
	}
}

func testConditions(t *testing.T, h Harness, p string) {
	rev := create(t, h, p+"a", "held by x")
	create(t, h, p+"below/1", "y")
	cases := []struct {
		name    string
		c       store.Condition
		err     error
		current string
	}{
		{"absent", store.Absent(p + "a"), store.ErrExists, "held by x"},
		{"revision of an absent key", store.AtRevision(p+"no", rev), store.ErrNotFound, ""},
		{"other revision", store.AtRevision(p+"a", rev-1), store.ErrConflict, "held by x"},
		{"present", store.Present(p + "no"), store.ErrNotFound, ""},
		{"absent below", store.AbsentBelow(p + "below/"), store.ErrExists, "y"},
	}
	for _, c := range cases {
		_, err := h.Store.Commit(deadline(t), store.Transaction{
			Conditions: []store.Condition{store.Present(p + "a"), c.c, store.AtRevision(p+"a", rev)},
			Writes:     []store.Write{store.Put(p+"never", nil)},
		})
		var failed *store.ConditionError
		if !errors.As(err, &failed) || !errors.Is(err, c.err) {
			t.Errorf("%s: got %v, want %v", c.name, err, c.err)
			continue
		}
		if failed.Condition != c.c || string(failed.Current.Value) != c.current {
			t.Errorf("%s: blamed %+v with %q", c.name, failed.Condition, failed.Current.Value)
		}
	}
	_, err := h.Store.Get(deadline(t), p+"never")
	want(t, "nothing was written", err, store.ErrNotFound)
}

func testMalformed(t *testing.T, h Harness, p string) {
	many := make([]store.Write, store.MaxWrites+1)
	for i := range many {
		many[i] = store.Put(p+strconv.Itoa(i), nil)
	}
	for name, tx := range map[string]store.Transaction{
		"no write":          {Conditions: []store.Condition{store.Absent(p)}},
		"same key twice":    {Writes: []store.Write{store.Put(p, nil), store.Remove(p)}},
		"empty key":         {Writes: []store.Write{store.Put("", nil)}},
		"empty condition":   {Conditions: []store.Condition{{}}, Writes: []store.Write{store.Put(p, nil)}},
		"too many writes":   {Writes: many},
		"negative revision": {Conditions: []store.Condition{store.AtRevision(p, -1)}, Writes: []store.Write{store.Put(p, nil)}},
	} {
		if _, err := h.Store.Commit(deadline(t), tx); !errors.Is(err, store.ErrTransaction) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// together runs f n times at once and returns the errors.
func together(n int, f func(i int) error) []error {
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { errs[i] = f(i) })
	}
	wg.Wait()
	return errs
}

func testConcurrentCreate(t *testing.T, h Harness, p string) {
	ctx := deadline(t)
	won := 0
	for _, err := range together(16, func(i int) error {
		_, err := h.Store.Create(ctx, p+"a", []byte{byte(i)})
		return err
	}) {
		if err == nil {
			won++
		} else {
			want(t, "loser", err, store.ErrExists)
		}
	}
	if won != 1 {
		t.Fatalf("%d creators won", won)
	}
}

func testConcurrentUpdate(t *testing.T, h Harness, p string) {
	ctx := deadline(t)
	create(t, h, p+"n", "0")
	const writers, each = 8, 10
	for _, err := range together(writers, func(int) error {
		for done := 0; done < each; {
			err := increment(ctx, h.Store, p+"n", 1)
			if err == nil {
				done++
			} else if !errors.Is(err, store.ErrConflict) {
				return err
			}
		}
		return nil
	}) {
		must(t, err)
	}
	e, err := h.Store.Get(ctx, p+"n")
	must(t, err)
	if string(e.Value) != strconv.Itoa(writers*each) {
		t.Fatalf("counted %s, want %d", e.Value, writers*each)
	}
}

func increment(ctx context.Context, s store.Store, key string, by int) error {
	e, err := s.Get(ctx, key)
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(string(e.Value))
	if err != nil {
		return err
	}
	_, err = s.Update(ctx, key, []byte(strconv.Itoa(n+by)), e.Revision)
	return err
}

// testConcurrentTransactions moves units between two accounts: their sum must
// be the same at every revision that a list can see.
func testConcurrentTransactions(t *testing.T, h Harness, p string) {
	ctx := deadline(t)
	create(t, h, p+"a", "100")
	create(t, h, p+"b", "100")
	move := func() error {
		l, err := h.Store.List(ctx, p, store.ListOptions{})
		if err != nil {
			return err
		}
		a, b := l.Entries[0], l.Entries[1]
		na, errA := strconv.Atoi(string(a.Value))
		nb, errB := strconv.Atoi(string(b.Value))
		if na+nb != 200 || errA != nil || errB != nil {
			return fmt.Errorf("saw %s + %s at %d", a.Value, b.Value, l.Revision)
		}
		_, err = h.Store.Commit(ctx, store.Transaction{
			Conditions: []store.Condition{store.AtRevision(a.Key, a.Revision), store.AtRevision(b.Key, b.Revision)},
			Writes:     []store.Write{store.Put(a.Key, []byte(strconv.Itoa(na-1))), store.Put(b.Key, []byte(strconv.Itoa(nb+1)))},
		})
		return err
	}
	for _, err := range together(8, func(int) error {
		for range 20 {
			if err := move(); err != nil && !errors.Is(err, store.ErrConflict) {
				return err
			}
		}
		return nil
	}) {
		must(t, err)
	}
}

// testPrefixRace adds a reference to a thing while the thing is deleted on
// condition that it has none: never does a reference outlive the thing.
func testPrefixRace(t *testing.T, h Harness, p string) {
	ctx := deadline(t)
	for round := range 20 {
		thing := fmt.Sprintf("%sthing%d", p, round)
		refs := fmt.Sprintf("%srefs%d/", p, round)
		rev := create(t, h, thing, "")
		errs := together(2, func(i int) error {
			if i == 0 {
				_, err := h.Store.Commit(ctx, store.Transaction{
					Conditions: []store.Condition{store.AtRevision(thing, rev), store.AbsentBelow(refs)},
					Writes:     []store.Write{store.Remove(thing)},
				})
				return err
			}
			_, err := h.Store.Commit(ctx, store.Transaction{
				Conditions: []store.Condition{store.Present(thing)},
				Writes:     []store.Write{store.Put(refs+"r", nil)},
			})
			return err
		})
		if (errs[0] == nil) == (errs[1] == nil) {
			t.Fatalf("round %d: deletion: %v, reference: %v", round, errs[0], errs[1])
		}
	}
}
