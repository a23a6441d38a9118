package storetest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/cyphonic/cyphonic/manager/store"
)

// leaderTTL is the time to live of the leaders of the suite.
const leaderTTL = 2 * time.Second

func lead(t *testing.T, h Harness, name, holder string) store.Leadership {
	t.Helper()
	l, err := h.Store.Lead(t.Context(), name, holder, leaderTTL)
	must(t, err)
	t.Cleanup(func() { _ = l.Resign(context.Background()) }) // most have resigned or lost the office
	return l
}

// write writes one key as a leader.
func write(t *testing.T, h Harness, l store.Leadership, key string) error {
	t.Helper()
	_, err := h.Store.Commit(deadline(t), store.Transaction{
		Conditions: []store.Condition{l.Condition()},
		Writes:     []store.Write{store.Put(key, nil)},
	})
	return err
}

func testLead(t *testing.T, h Harness, p string) {
	first := lead(t, h, p+"x", "first")
	other := lead(t, h, p+"xy", "other") // another name, though it begins the same
	must(t, write(t, h, first, p+"a"))
	must(t, write(t, h, other, p+"b"))
	waitCtx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err := h.Store.Lead(waitCtx, p+"x", "second", leaderTTL)
	want(t, "second leader", err, context.DeadlineExceeded)

	won := make(chan error, 1)
	var second store.Leadership
	go func() {
		var err error
		second, err = h.Store.Lead(t.Context(), p+"x", "second", leaderTTL)
		won <- err
	}()
	must(t, other.Resign(deadline(t))) // of no concern to x
	select {
	case err := <-won:
		t.Fatalf("two leaders: %v", err)
	case <-time.After(100 * time.Millisecond): // it must keep waiting, which only time shows
	}
	must(t, first.Resign(deadline(t)))
	must(t, <-won)
	select {
	case <-first.Lost():
	case <-deadline(t).Done():
		t.Fatal("who resigned is not told that the office has ended")
	}
	if err := write(t, h, first, p+"c"); !errors.Is(err, store.ErrConflict) && !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("a former leader's write: %v", err)
	}
	must(t, write(t, h, second, p+"c"))
	must(t, first.Resign(deadline(t))) // again, and late: it does not touch the successor
	must(t, write(t, h, second, p+"d"))
}

// testLeaderGone lets a leader disappear without a word: the end of its
// context stops what keeps it in office.
func testLeaderGone(t *testing.T, h Harness, p string) {
	t.Parallel()
	ctx, vanish := context.WithCancel(t.Context())
	first, err := h.Store.Lead(ctx, p+"x", "first", leaderTTL)
	must(t, err)
	must(t, write(t, h, first, p+"a"))
	vanish()
	start := time.Now()
	second, err := h.Store.Lead(deadline(t), p+"x", "second", leaderTTL)
	must(t, err)
	t.Logf("the next leader followed after %v", time.Since(start).Round(time.Millisecond))
	select {
	case <-first.Lost():
	case <-deadline(t).Done():
		t.Fatal("who was lost is not told")
	}
	if err := write(t, h, first, p+"b"); err == nil {
		t.Fatal("a former leader wrote")
	}
	must(t, write(t, h, second, p+"b"))
}

// testLeaderCandidates lets many candidates follow one another: never are
// there two at once. Nobody's lease ends meanwhile, even on a machine that stands
// still for seconds, and each resigns, so that none waits for one who has failed.
func testLeaderCandidates(t *testing.T, h Harness, p string) {
	ctx := deadline(t)
	var inOffice int // guarded by the office itself; the race detector checks it too
	for _, err := range together(6, func(i int) (err error) {
		l, err := h.Store.Lead(ctx, p+"x", fmt.Sprint(i), time.Minute)
		if err != nil {
			return err
		}
		inOffice++
		if inOffice != 1 {
			err = fmt.Errorf("%d leaders", inOffice)
		}
		err = errors.Join(err, write(t, h, l, p+"a"))
		inOffice--
		return errors.Join(err, l.Resign(ctx))
	}) {
		must(t, err)
	}
}

func testTTL(t *testing.T, h Harness, p string) {
	t.Parallel()
	ctx := deadline(t)
	start := time.Now()
	rev, err := h.Store.Commit(ctx, store.Transaction{Writes: []store.Write{
		store.PutFor(p+"short", []byte("x"), 2*time.Second), store.PutFor(p+"kept", nil, 2*time.Second),
		store.PutFor(p+"long", nil, time.Hour), store.Put(p+"plain", nil),
	}})
	must(t, err)
	e, err := h.Store.Get(ctx, p+"short")
	must(t, err)
	if string(e.Value) != "x" || e.Revision != rev {
		t.Fatalf("got %+v", e)
	}
	_, err = h.Store.Update(ctx, p+"kept", nil, rev)
	must(t, err)
	w := watch(t, h, p+"short", rev)
	if gone := next(t, w, 1)[0]; gone.Type != store.EventDelete || gone.Entry.Key != p+"short" {
		t.Fatalf("got %+v", gone)
	}
	if lived := time.Since(start); lived < 2*time.Second || lived > 20*time.Second {
		t.Fatalf("a key for 2 s lived for %v", lived)
	}
	l, err := h.Store.List(ctx, p, store.ListOptions{KeysOnly: true})
	must(t, err)
	if len(l.Entries) != 3 {
		t.Fatalf("left are %v", l.Entries)
	}
	for _, wrong := range []store.Write{store.PutFor(p+"a", nil, -1), {Key: p + "a", Delete: true, TTL: time.Second}} {
		_, err = h.Store.Commit(ctx, store.Transaction{Writes: []store.Write{wrong}})
		want(t, "malformed TTL", err, store.ErrTransaction)
	}
}

func testRevision(t *testing.T, h Harness, p string) {
	before, err := h.Store.Revision(deadline(t))
	must(t, err)
	for i := range 20 {
		written := create(t, h, fmt.Sprintf("%s%d", p, i), "")
		got, err := h.Store.Revision(deadline(t))
		must(t, err)
		if got < written || written <= before {
			t.Fatalf("revision %d after a write at %d after %d", got, written, before)
		}
		before = got
	}
}

// testProgress asks a watch how far it is while only keys elsewhere change.
func testProgress(t *testing.T, h Harness, p string) {
	ctx := deadline(t)
	w := watch(t, h, p+"x/", create(t, h, p+"start", ""))
	create(t, h, p+"x/a", "")
	elsewhere := create(t, h, p+"y", "")
	asked := make(chan error, 1)
	askCtx, stop := context.WithCancel(ctx)
	go func() {
		for {
			if err := w.Progress(askCtx); err != nil {
				asked <- err
				return
			}
			select {
			case <-askCtx.Done():
				asked <- nil
				return
			case <-time.After(20 * time.Millisecond): // a request may get lost
			}
		}
	}()
	seen := 0
	for reached := int64(0); reached < elsewhere; {
		b, err := w.Next(ctx)
		must(t, err)
		seen += len(b.Events)
		if reached = b.Revision; reached >= elsewhere && seen != 1 {
			t.Fatalf("the watch is at %d and has delivered %d of 1 change", reached, seen)
		}
	}
	stop()
	if err := <-asked; err != nil && !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
}
