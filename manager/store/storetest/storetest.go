// Package storetest is the conformance suite of the manager's store. Every
// implementation runs it; what the manager relies on is stated here and
// nowhere else. It must not know any implementation.
package storetest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/cyphonic/cyphonic/manager/store"
)

// Harness gives the suite one running store.
type Harness struct {
	Store store.Store
	// Compact forgets the revisions before one. It is nil for a store without
	// history: one that has no watches, leaders, times to live or old revisions.
	Compact func(ctx context.Context, revision int64) error
}

// Run runs the suite. open is called once; the tests use keys of their own.
// Those that wait for a time to live to end do so after the others, together.
func Run(t *testing.T, open func(t *testing.T) Harness) {
	h := open(t)
	cases := presentCases()
	if h.Compact != nil {
		cases = append(cases, historyCases()...)
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			c.f(t, h, fmt.Sprintf("/storetest/%d/%s/", time.Now().UnixNano(), t.Name()))
		})
	}
}

type testCase struct {
	name string
	f    func(t *testing.T, h Harness, prefix string)
}

// presentCases concern the state as it is now.
func presentCases() []testCase {
	return []testCase{
		{"get returns what was written", testGet},
		{"create refuses an existing key", testCreate},
		{"update demands the expected revision", testUpdate},
		{"delete demands the expected revision", testDelete},
		{"list is ordered and covers only its prefix", testList},
		{"list and count go beyond one page", testListPages},
		{"transaction does all or nothing", testTransaction},
		{"transaction names the condition that failed", testConditions},
		{"malformed transactions are refused", testMalformed},
		{"concurrent creators: exactly one wins", testConcurrentCreate},
		{"concurrent updaters lose no update", testConcurrentUpdate},
		{"concurrent transactions keep an invariant", testConcurrentTransactions},
		{"deletion below an empty prefix races safely", testPrefixRace},
		{"list gives pages of any size", testListLimit},
		{"the revision is never behind a write", testRevision},
		{"a cancelled context is reported as such", testCancelled},
		{"ping", func(t *testing.T, h Harness, _ string) { must(t, h.Store.Ping(deadline(t))) }},
	}
}

// historyCases concern changes over time.
func historyCases() []testCase {
	return []testCase{
		{"list at an old revision shows the old state", testListAtRevision},
		{"lists see one revision while writes go on", testListWhileWriting},
		{"watch delivers every change in order", testWatch},
		{"watch resumes after a revision without loss or repetition", testWatchResume},
		{"watch keeps a transaction together", testWatchTransaction},
		{"watch sees only its prefix", testWatchPrefix},
		{"watch tells on request how far it is", testProgress},
		{"watch ends with its context and with Close", testWatchEnd},
		{"compacted revisions are reported", testCompaction},
		{"there is one leader, and a former one writes nothing", testLead},
		{"a leader that vanishes is followed by another", testLeaderGone},
		{"candidates follow one another", testLeaderCandidates},
		{"keys with a time to live go by themselves", testTTL},
	}
}

// RunUnavailable checks a store whose database is gone: every method reports
// ErrUnavailable within its own time limit.
func RunUnavailable(t *testing.T, s store.Store) {
	ctx := deadline(t)
	_, getErr := s.Get(ctx, "/x")
	_, listErr := s.List(ctx, "/x/", store.ListOptions{})
	_, createErr := s.Create(ctx, "/x", nil)
	_, revisionErr := s.Revision(ctx)
	_, ttlErr := s.Commit(ctx, store.Transaction{Writes: []store.Write{store.PutFor("/x", nil, time.Minute)}})
	_, leadErr := s.Lead(ctx, "x", "y", time.Minute)
	for what, err := range map[string]error{
		"ping": s.Ping(ctx), "get": getErr, "list": listErr, "create": createErr,
		"revision": revisionErr, "write with a time to live": ttlErr, "lead": leadErr,
	} {
		if !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("%s: got %v, want ErrUnavailable", what, err)
		}
	}
}

func deadline(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func want(t *testing.T, what string, err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Fatalf("%s: got %v, want %v", what, err, target)
	}
}

func create(t *testing.T, h Harness, key, value string) int64 {
	t.Helper()
	rev, err := h.Store.Create(deadline(t), key, []byte(value))
	must(t, err)
	return rev
}

func testGet(t *testing.T, h Harness, p string) {
	ctx := deadline(t)
	_, err := h.Store.Get(ctx, p+"a")
	want(t, "absent key", err, store.ErrNotFound)
	first := create(t, h, p+"a", "one")
	second, err := h.Store.Update(ctx, p+"a", []byte("two"), first)
	must(t, err)
	e, err := h.Store.Get(ctx, p+"a")
	must(t, err)
	if e.Key != p+"a" || string(e.Value) != "two" || e.CreateRevision != first || e.Revision != second || second <= first {
		t.Fatalf("got %+v after writes at %d and %d", e, first, second)
	}
}

func testCreate(t *testing.T, h Harness, p string) {
	create(t, h, p+"a", "one")
	_, err := h.Store.Create(deadline(t), p+"a", []byte("two"))
	want(t, "second create", err, store.ErrExists)
	e, err := h.Store.Get(deadline(t), p+"a")
	must(t, err)
	if string(e.Value) != "one" {
		t.Fatalf("the refused create changed the value to %q", e.Value)
	}
}

func testUpdate(t *testing.T, h Harness, p string) {
	ctx := deadline(t)
	_, err := h.Store.Update(ctx, p+"a", []byte("x"), 1)
	want(t, "update of an absent key", err, store.ErrNotFound)
	first := create(t, h, p+"a", "one")
	_, err = h.Store.Update(ctx, p+"a", []byte("x"), first-1)
	want(t, "update at an old revision", err, store.ErrConflict)
	_, err = h.Store.Update(ctx, p+"a", []byte("x"), first+1)
	want(t, "update at a future revision", err, store.ErrConflict)
	_, err = h.Store.Update(ctx, p+"a", []byte("x"), 0)
	if err == nil {
		t.Fatal("update without a revision was accepted")
	}
	_, err = h.Store.Update(ctx, p+"a", []byte("two"), first)
	must(t, err)
	_, err = h.Store.Update(ctx, p+"a", []byte("three"), first)
	want(t, "repeated update", err, store.ErrConflict)
}

func testDelete(t *testing.T, h Harness, p string) {
	ctx := deadline(t)
	_, err := h.Store.Delete(ctx, p+"a", 1)
	want(t, "deletion of an absent key", err, store.ErrNotFound)
	first := create(t, h, p+"a", "one")
	_, err = h.Store.Delete(ctx, p+"a", first-1)
	want(t, "deletion at an old revision", err, store.ErrConflict)
	_, err = h.Store.Delete(ctx, p+"a", first)
	must(t, err)
	_, err = h.Store.Get(ctx, p+"a")
	want(t, "get after deletion", err, store.ErrNotFound)
	again := create(t, h, p+"a", "two")
	_, err = h.Store.Delete(ctx, p+"a", first)
	want(t, "deletion at the revision of an earlier life", err, store.ErrConflict)
	if again <= first {
		t.Fatalf("revision went from %d to %d", first, again)
	}
}

func testList(t *testing.T, h Harness, p string) {
	ctx := deadline(t)
	for _, k := range []string{"x/b", "x/a", "x/c", "x", "xa", "y/a"} {
		create(t, h, p+k, k)
	}
	l, err := h.Store.List(ctx, p+"x/", store.ListOptions{})
	must(t, err)
	var got []string
	for _, e := range l.Entries {
		got = append(got, e.Key[len(p):]+"="+string(e.Value))
		if e.Revision > l.Revision {
			t.Errorf("entry at %d in a list at %d", e.Revision, l.Revision)
		}
	}
	if fmt.Sprint(got) != "[x/a=x/a x/b=x/b x/c=x/c]" {
		t.Fatalf("got %v", got)
	}
	l, err = h.Store.List(ctx, p+"x/", store.ListOptions{KeysOnly: true})
	must(t, err)
	if len(l.Entries) != 3 || len(l.Entries[0].Value) != 0 || l.Entries[0].Revision == 0 {
		t.Fatalf("keys only: %+v", l.Entries)
	}
	n, err := h.Store.Count(ctx, p+"x/")
	if err != nil || n != 3 {
		t.Fatalf("count: %d, %v", n, err)
	}
	empty, err := h.Store.List(ctx, p+"nothing/", store.ListOptions{})
	if err != nil || len(empty.Entries) != 0 || empty.Revision == 0 {
		t.Fatalf("empty list: %+v, %v", empty, err)
	}
}

func testListAtRevision(t *testing.T, h Harness, p string) {
	ctx := deadline(t)
	first := create(t, h, p+"a", "one")
	create(t, h, p+"b", "two")
	_, err := h.Store.Update(ctx, p+"a", []byte("changed"), first)
	must(t, err)
	l, err := h.Store.List(ctx, p, store.ListOptions{Revision: first})
	must(t, err)
	if len(l.Entries) != 1 || string(l.Entries[0].Value) != "one" || l.Revision != first {
		t.Fatalf("got %+v at %d", l, first)
	}
	_, err = h.Store.List(ctx, p, store.ListOptions{Revision: 1 << 60})
	want(t, "list at a revision that has not happened", err, store.ErrCompacted)
}

func testCancelled(t *testing.T, h Harness, p string) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := h.Store.Revision(ctx)
	want(t, "revision", err, context.Canceled)
	_, err = h.Store.Get(ctx, p+"a")
	want(t, "get", err, context.Canceled)
	_, err = h.Store.Create(ctx, p+"a", nil)
	want(t, "create", err, context.Canceled)
}
