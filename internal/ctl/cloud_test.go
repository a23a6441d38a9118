package ctl_test

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/manager/store"
)

type storeKey struct{}

func put(ctx context.Context, s store.Store, r keyspace.ReplicaRecord) error {
	value, err := json.Marshal(r)
	if err != nil {
		return err
	}
	_, err = s.Commit(ctx, store.Transaction{Writes: []store.Write{store.Put(keyspace.Live(r.Service, r.Name), value)}})
	return err
}

// replica SERVICE NAME HOST STATE SESSIONS makes a live replica. When it is asked to drain it is Leaving, Finishing and gone, half a second later each.
func replica(ts *testscript.TestScript, _ bool, args []string) {
	t, s := ts.Value(contextKey{}).(testing.TB), ts.Value(storeKey{}).(store.Store)
	sessions, err := strconv.Atoi(args[4])
	ts.Check(err)
	began := time.Now().UTC().Add(-90 * time.Second)
	r := keyspace.ReplicaRecord{
		Service: args[0], Name: args[1], Host: args[2], State: keyspace.ReplicaState(args[3]), Started: began, Since: began, Version: "1.2.3",
		Load: keyspace.Load{CPU: 0.254, Memory: 32 << 20, Requests: 12.34, Sessions: sessions},
	}
	ts.Check(put(t.Context(), s, r))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		obey(ctx, t, s, r)
	}()
	t.Cleanup(func() { cancel(); <-done })
}

func obey(ctx context.Context, t testing.TB, s store.Store, r keyspace.ReplicaRecord) {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	pause := func(d time.Duration) bool {
		select {
		case <-ctx.Done():
			return false
		case <-time.After(d):
			return true
		}
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		_, err := s.Get(ctx, keyspace.Drain(r.Service, r.Name))
		if errors.Is(err, store.ErrNotFound) || ctx.Err() != nil {
			continue
		}
		for _, state := range []keyspace.ReplicaState{keyspace.ReplicaLeaving, keyspace.ReplicaFinishing} {
			r.State, r.Since = state, time.Now().UTC()
			if err := put(ctx, s, r); err != nil && ctx.Err() == nil {
				t.Errorf("replica %s: %v", r.Name, err)
			}
			if !pause(1200 * time.Millisecond) { // longer than cyphonicctl takes between two looks
				return
			}
		}
		if _, err := s.Commit(ctx, store.Transaction{Writes: []store.Write{store.Remove(keyspace.Live(r.Service, r.Name))}}); err != nil && ctx.Err() == nil {
			t.Errorf("replica %s: %v", r.Name, err)
		}
		return
	}
}

// speaker HOST JSON makes the speaker of a host report.
func speaker(ts *testscript.TestScript, _ bool, args []string) {
	t, s := ts.Value(contextKey{}).(testing.TB), ts.Value(storeKey{}).(store.Store)
	record := keyspace.SpeakerRecord{}
	ts.Check(json.Unmarshal([]byte(args[1]), &record))
	record.Host = args[0]
	value, err := json.Marshal(record)
	ts.Check(err)
	_, err = s.Commit(t.Context(), store.Transaction{Writes: []store.Write{store.Put(keyspace.Speaker(record.Host), value)}})
	ts.Check(err)
}
