package cache

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/manager/store"
)

func subscribe(t *testing.T, c *Cache, after int64, match func(*Item) bool) *Subscription {
	t.Helper()
	s, err := c.Subscribe(keyspace.GeneralNodes, after, match)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// next returns what the next changes are, as text.
func next(t *testing.T, s *Subscription) (text []string, revision int64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	changes, revision, err := s.Next(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range changes {
		kind := "changed"
		if c.Before == nil {
			kind = "came"
		} else if c.After == nil {
			kind = "went"
		}
		text = append(text, kind+" "+c.name())
	}
	return text, revision
}

func TestSubscriptionsMergeWhatWaits(t *testing.T) {
	d := openDatabase(t)
	d.put("old", "a1", nil)
	d.put("gone", "a1", nil)
	c := start(t, d)
	s := subscribe(t, c, fresh(t, c).Revision(), nil)
	d.put("a", "a1", nil)
	d.put("old", "a1", map[string]string{"x": "1"})
	d.put("brief", "a1", nil)
	d.put("a", "a1", map[string]string{"x": "2"})
	d.remove("brief")
	d.remove("gone")
	last := d.put("gone", "a1", nil)
	fresh(t, c)
	got, revision := next(t, s)
	equal(t, "changes", got, []string{"changed old", "came a", "went gone", "came gone"})
	equal(t, "revision", revision, last)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, _, err := s.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("nothing more: %v", err)
	}
	elsewhere := d.elsewhere()
	fresh(t, c)
	if s.Revision() < elsewhere {
		t.Errorf("the bookmark is %d, the cache at %d", s.Revision(), elsewhere)
	}
}

func TestSubscriptionsShowWhatMatches(t *testing.T) {
	d := openDatabase(t)
	c := start(t, d)
	cameras := func(i *Item) bool { return i.Labels["role"] == "camera" }
	at := fresh(t, c).Revision()
	s := subscribe(t, c, at, cameras)
	carried, err := c.SubscribeCarriedBy(keyspace.GeneralNodes, "a1", at, cameras)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(carried.Close)
	named, err := c.SubscribeName(keyspace.GeneralNodes, "n", at, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(named.Close)
	camera := map[string]string{"role": "camera"}
	for _, step := range []struct {
		adapter              string
		labels               map[string]string
		all, carried, byName string
	}{
		{"a1", nil, "", "", "came n"},
		{"a1", camera, "came n", "came n", "changed n"},
		{"a2", camera, "changed n", "went n", "changed n"},
		{"a1", camera, "changed n", "came n", "changed n"},
		{"a1", nil, "went n", "went n", "changed n"},
	} {
		d.put("n", step.adapter, step.labels)
		d.put("other", "a3", nil)
		fresh(t, c)
		for what, want := range map[*Subscription]string{s: step.all, carried: step.carried, named: step.byName} {
			if want == "" {
				continue
			}
			if got, _ := next(t, what); fmt.Sprint(got) != "["+want+"]" {
				t.Errorf("%+v: got %v, want %s", step, got, want)
			}
		}
	}
}

func TestSubscriptionsResume(t *testing.T) {
	d := openDatabase(t)
	first := d.put("a", "a1", nil)
	second := d.put("b", "a1", nil)
	third := d.put("c", "a2", nil)
	c := start(t, d) // which begins before the first write
	fresh(t, c)
	got, _ := next(t, subscribe(t, c, first, nil))
	equal(t, "after the first", got, []string{"came b", "came c"})
	got, _ = next(t, subscribe(t, c, second, nil))
	equal(t, "after the second", got, []string{"came c"})
	carried, err := c.SubscribeCarriedBy(keyspace.GeneralNodes, "a1", first, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer carried.Close()
	d.put("d", "a1", nil)
	fresh(t, c)
	got, _ = next(t, carried)
	equal(t, "carried after the first", got, []string{"came b", "came d"})
	ahead := subscribe(t, c, d.elsewhere()+1, nil) // a revision that another replica knows already
	d.put("e", "a1", nil)
	d.put("f", "a1", nil)
	fresh(t, c)
	got, _ = next(t, ahead)
	equal(t, "after a future revision", got, []string{"came f"})
	if third <= second {
		t.Fatal("revisions do not grow")
	}
}

func TestAForgottenHistoryIsReported(t *testing.T) {
	d := openDatabase(t)
	c := start(t, d)
	at := d.put("a", "a1", nil)
	fresh(t, c)
	slow := subscribe(t, c, at, nil)
	idle, err := c.Subscribe(keyspace.Nodes, at, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer idle.Close()
	narrow, err := c.SubscribeCarriedBy(keyspace.GeneralNodes, "a1", at, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer narrow.Close()
	flood(c, historyChanges+1)
	for what, s := range map[string]*Subscription{"by kind": slow, "by adapter": narrow} {
		if _, _, err := s.Next(t.Context()); !errors.Is(err, store.ErrCompacted) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := c.Subscribe(keyspace.GeneralNodes, at, nil); !errors.Is(err, store.ErrCompacted) {
		t.Errorf("a late subscription: %v", err)
	}
	if idle.Revision() != c.known() {
		t.Errorf("a subscription that nothing concerns is at %d of %d", idle.Revision(), c.known())
	}
}

// flood lets the cache take over changes of different resources as from a watch.
func flood(c *Cache, n int) {
	batch := store.Batch{Revision: c.known()}
	for i := range n {
		batch.Revision++
		name := fmt.Sprintf("flood%d", i)
		batch.Events = append(batch.Events, store.Event{Type: store.EventPut, Entry: store.Entry{
			Key: keyspace.Resource(keyspace.GeneralNodes, name), Value: generalNode(name, "a1", nil),
			Revision: batch.Revision, CreateRevision: batch.Revision,
		}})
	}
	c.apply(batch)
}

func TestHistoryIsBoundedInBytes(t *testing.T) {
	h := history{ring: make([]record, 16)}
	big := &Item{Value: make([]byte, historyBytes/4)}
	for i := range 6 {
		h.add(record{Change: Change{After: big, Revision: int64(i + 1)}})
	}
	if h.bytes > historyBytes || h.next-h.first != 3 || h.floor != 3 || h.after(3) != h.first || h.after(5) != h.next-1 {
		t.Errorf("%d bytes, %d changes, floor %d", h.bytes, h.next-h.first, h.floor)
	}
}

func TestAClosedSubscriptionIsOver(t *testing.T) {
	d := openDatabase(t)
	c := start(t, d)
	s := subscribe(t, c, c.known(), nil)
	s.Close()
	s.Close()
	if _, _, err := s.Next(t.Context()); err == nil {
		t.Error("it goes on")
	}
	if c.subscribed != 0 || len(c.topics) != 0 {
		t.Errorf("%d subscriptions, %d topics are left", c.subscribed, len(c.topics))
	}
}

// Whoever takes over merged changes has what whoever takes over every single
// one has, at every revision on the way.
func TestMergedChangesEndAlike(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		live, full := map[string]*Item{}, map[string]*Item{}
		for _, n := range []string{"a", "b"} {
			live[n] = &Item{Name: n}
			full[n] = live[n]
		}
		var changes []Change
		for revision := range int64(rapid.IntRange(0, 40).Draw(rt, "steps")) {
			name := rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(rt, "name")
			before := full[name]
			if before != nil && rapid.Bool().Draw(rt, "delete") {
				delete(full, name)
				changes = append(changes, Change{Before: before, Revision: revision + 1})
				continue
			}
			full[name] = &Item{Name: name, Revision: revision + 1}
			changes = append(changes, Change{Before: before, After: full[name], Revision: revision + 1})
		}
		last := int64(0)
		for _, ch := range merged(changes) {
			if ch.Revision < last || ch.Before != live[ch.name()] {
				rt.Fatalf("%s at %d after %d: before is %v, the client has %v", ch.name(), ch.Revision, last, ch.Before, live[ch.name()])
			}
			last = ch.Revision
			if delete(live, ch.name()); ch.After != nil {
				live[ch.name()] = ch.After
			}
		}
		if fmt.Sprint(live) != fmt.Sprint(full) {
			rt.Fatalf("got %v, want %v", live, full)
		}
	})
}
