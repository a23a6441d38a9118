package etcd

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/manager/cache"
	"github.com/cyphonic/cyphonic/manager/store"
	"github.com/cyphonic/cyphonic/manager/store/storetest"
)

// A cluster as in production: three members of Debian's etcd, certificates on
// all sides, and a user who may use our keys only.
func TestAProtectedClusterConforms(t *testing.T) {
	t.Parallel()
	c := startCluster(t)
	c.protect("/cyphonic/", "/storetest/")
	client := c.connect(c.endpoints("cyphonic", "our password"))
	root := c.connect(c.endpoints("root", "root's password"))
	storetest.Run(t, func(*testing.T) storetest.Harness {
		return storetest.Harness{Store: NewStore(client), Compact: func(ctx context.Context, revision int64) error {
			_, err := root.Compact(ctx, revision)
			return err
		}}
	})
	s := NewStore(client)
	if s.progress.ask(t.Context(), client) {
		t.Log("this release of etcd tells progress in order; the other way is not tested")
	}
	t.Run("keys of others", func(t *testing.T) {
		if _, err := s.Create(t.Context(), "/other", nil); !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), "permission denied") {
			t.Errorf("write: %v", err)
		}
		if _, err := s.List(t.Context(), "/", store.ListOptions{}); !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("list: %v", err)
		}
	})
	t.Run("wrong password", func(t *testing.T) {
		_, err := Connect(t.Context(), c.endpoints("cyphonic", "root's password"))
		if err == nil || !strings.Contains(err.Error(), "invalid user ID or password") || strings.Contains(err.Error(), "root's password") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("no user", func(t *testing.T) {
		if _, err := Connect(t.Context(), c.endpoints("", "")); err == nil {
			t.Error("accepted")
		}
	})
	t.Run("cache", func(t *testing.T) { cacheIsFresh(t, s, NewStore(c.connect(c.endpoints("cyphonic", "our password")))) })
}

// cacheIsFresh writes through one client and reads through a cache that
// watches through another one: no acknowledged write may be missing, whatever
// the release of etcd says about progress.
func cacheIsFresh(t *testing.T, writer, reader store.Store) {
	ca, err := cache.New(cache.Options{Store: reader, Log: quiet(), Registerer: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- ca.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	errs := make(chan error, 6)
	var took [6]time.Duration
	for w := range cap(errs) {
		go func() {
			errs <- func() error {
				for i := range 80 {
					name := fmt.Sprintf("w%d", w)
					key := keyspace.Resource(keyspace.Nodes, name)
					if i%2 == 1 { // of no concern to the watch
						key = keyspace.Idempotency(name)
					}
					revision, err := writer.Commit(ctx, store.Transaction{Writes: []store.Write{store.Put(key, []byte(`{}`))}})
					if err != nil {
						return err
					}
					start := time.Now()
					if err := ca.Fresh(ctx); err != nil {
						return err
					}
					took[w] += time.Since(start)
					v := ca.View(keyspace.Nodes)
					if item, ok := v.Get(name); v.Revision() < revision || !ok || (i%2 == 0 && item.Revision < revision) {
						return fmt.Errorf("written at %d, the cache is at %d and shows %+v", revision, v.Revision(), item)
					}
				}
				return nil
			}()
		}()
	}
	for range cap(errs) {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	t.Logf("Fresh under load took %v on average", took[0]/80)
}

// The member that leads is killed again and again while clients write: every
// acknowledged write is there in the end, and writing goes on. A write that was
// under way at a leader that dies takes as long as the time limit.
func TestNoAcknowledgedWriteIsLostWhenMembersDie(t *testing.T) {
	t.Parallel()
	c := startCluster(t)
	client := c.connect(c.endpoints("", ""))
	s := NewStore(client)
	stopped := make(chan struct{})
	type result struct {
		acknowledged []string
		longest      time.Duration
	}
	results := make(chan result, 3)
	for w := range cap(results) {
		go func() {
			var r result
			last := time.Now()
			for i := 0; ; i++ {
				select {
				case <-stopped:
					r.longest = max(r.longest, time.Since(last))
					results <- r
					return
				default:
				}
				key := fmt.Sprintf("/storetest/%d/%d", w, i)
				if _, err := s.Create(context.Background(), key, nil); err == nil {
					r.acknowledged = append(r.acknowledged, key)
					r.longest = max(r.longest, time.Since(last))
					last = time.Now()
				}
			}
		}()
	}
	for range 2 {
		time.Sleep(time.Second) // a time of normal work between the faults
		m := c.leader(client)
		c.kill(m)
		time.Sleep(3 * time.Second)
		c.start(m)
		waitForPort(t, m.url, m.log)
	}
	time.Sleep(time.Second)
	close(stopped)
	var all []result
	for range cap(results) {
		all = append(all, <-results)
	}
	l, err := s.List(t.Context(), "/storetest/", store.ListOptions{KeysOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	there := map[string]bool{}
	for _, e := range l.Entries {
		there[e.Key] = true
	}
	for _, r := range all {
		for _, key := range r.acknowledged {
			if !there[key] {
				t.Errorf("%s was acknowledged and is not there", key)
			}
		}
		if r.longest > 3*operationTimeout || len(r.acknowledged) == 0 {
			t.Errorf("%d writes, the longest pause was %v", len(r.acknowledged), r.longest)
		}
		t.Logf("%d acknowledged writes, the longest pause was %v", len(r.acknowledged), r.longest.Round(time.Millisecond))
	}
}

// A leader whose process stands still loses the office. When it goes on it
// does not know yet, and tries to write.
func TestALeaderThatStoodStillWritesNothing(t *testing.T) {
	t.Parallel()
	c := startCluster(t)
	path, url := freezable(t, c.members[0].url)
	e := c.endpoints("", "")
	e.URLs = []string{url}
	suspended, other := NewStore(c.connect(e)), NewStore(c.connect(c.endpoints("", "")))
	first, err := suspended.Lead(t.Context(), "x", "first", 2*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	write := func(s *Store, l store.Leadership, key string) error {
		_, err := s.Commit(t.Context(), store.Transaction{Conditions: []store.Condition{l.Condition()}, Writes: []store.Write{store.Put("/storetest/"+key, nil)}})
		return err
	}
	if err := write(suspended, first, "a"); err != nil {
		t.Fatal(err)
	}
	path.freeze()
	late := make(chan error, 1)
	go func() { late <- write(suspended, first, "late") }() // what it was about to do when it was stopped
	start := time.Now()
	second, err := other.Lead(t.Context(), "x", "second", 2*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("the next leader followed after %v", time.Since(start).Round(time.Millisecond))
	if err := write(other, second, "b"); err != nil {
		t.Fatal(err)
	}
	select {
	case <-first.Lost():
	case <-time.After(20 * time.Second):
		t.Error("the former leader does not notice")
	}
	path.thaw()
	if err := <-late; err == nil {
		t.Error("the write of the former leader was done")
	}
	for range 5 { // until its connection works again
		if err = write(suspended, first, "late"); !errors.Is(err, store.ErrUnavailable) {
			break
		}
	}
	if !errors.Is(err, store.ErrNotFound) && !errors.Is(err, store.ErrConflict) {
		t.Errorf("the former leader's next write: %v", err)
	}
	if n, err := other.Count(t.Context(), "/storetest/late"); n != 0 || err != nil {
		t.Errorf("%d late writes, %v", n, err)
	}
	if err := write(other, second, "c"); err != nil {
		t.Errorf("the leader: %v", err)
	}
	if err := first.Resign(t.Context()); err != nil {
		t.Errorf("resigning late: %v", err)
	}
	if err := write(other, second, "d"); err != nil {
		t.Errorf("the leader after the former one resigned: %v", err)
	}
}

// Without a majority nothing is written or read from the database; with it
// everything goes on by itself.
func TestALostMajorityComesBack(t *testing.T) {
	t.Parallel()
	c := startCluster(t)
	s := NewStore(c.connect(c.endpoints("", "")))
	if _, err := s.Create(t.Context(), "/storetest/a", nil); err != nil {
		t.Fatal(err)
	}
	w, err := s.Watch(t.Context(), "/storetest/", 1)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	c.kill(c.members[0])
	c.kill(c.members[1])
	short := NewStore(s.client)
	short.timeout = time.Second
	if _, err := short.Create(t.Context(), "/storetest/b", nil); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("write: %v", err)
	}
	if _, err := short.Revision(t.Context()); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("read: %v", err)
	}
	c.start(c.members[0])
	start := time.Now()
	for {
		if _, err := s.Commit(t.Context(), store.Transaction{Writes: []store.Write{store.Put("/storetest/c", nil)}}); err == nil {
			break
		}
		if time.Since(start) > 30*time.Second {
			t.Fatal("writing does not go on")
		}
	}
	t.Logf("writing went on after %v", time.Since(start).Round(time.Millisecond))
	for seen := false; !seen; {
		b, err := w.Next(t.Context())
		if errors.Is(err, store.ErrUnavailable) { // the watch was told that there was no leader; a new one goes on
			w.Close()
			if w, err = s.Watch(t.Context(), "/storetest/", 1); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range b.Events {
			seen = seen || e.Entry.Key == "/storetest/c"
		}
	}
}

func TestProgressIsTrustedWhereItIsTrue(t *testing.T) {
	if keyspace.ResourcesMark != keyspace.ResourcesPrefix+progressMark {
		t.Error("the replicas of the services do not know the mark")
	}
	for version, want := range map[string]bool{
		"3.4.23": false, "3.4.30": false, "3.4.31": true, "3.5.12": false, "3.5.13": true, "3.6.0": true, "3.7.3": true, "4.0.0": true,
		"3.3.99": false, "2.3.0": false, "3.6.0-rc.1": true, "": false, "3.4": false, "x.y.z": false,
	} {
		if got := progressIsTrue(version); got != want {
			t.Errorf("%q: %v", version, got)
		}
	}
}
