package replicas

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/manager/store"
	"github.com/cyphonic/cyphonic/manager/store/etcd"
)

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

func openStore(t *testing.T) store.Store {
	t.Helper()
	e, err := etcd.StartEmbedded(t.Context(), t.TempDir(), quiet())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return etcd.NewStore(e.Client())
}

// live runs the record of a manager until stop is called.
func live(t *testing.T, s store.Store, onState func(keyspace.ReplicaState)) (o *Own, stop func()) {
	t.Helper()
	o, err := NewOwn(OwnOptions{
		Store: s, Name: "manager-a", Host: "host-a", Version: "1.2.3", Load: func() keyspace.Load { return keyspace.Load{Sessions: 7} },
		OnState: onState, Log: quiet(), Now: time.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- o.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return o, stop
}

// await waits until the replica is, or with an empty state is not, there.
func await(t *testing.T, s store.Store, state keyspace.ReplicaState) Replica {
	t.Helper()
	for end := time.Now().Add(15 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		r, err := Get(t.Context(), s, "manager-a")
		if (err == nil && r.Record.State == state) || (errors.Is(err, store.ErrNotFound) && state == "") {
			return r
		}
	}
	t.Fatalf("the replica is not %q", state)
	return Replica{}
}

func TestAManagerSaysHowItIs(t *testing.T) {
	s := openStore(t)
	var told []keyspace.ReplicaState
	o, stop := live(t, s, func(state keyspace.ReplicaState) { told = append(told, state) })
	r := await(t, s, keyspace.ReplicaStarting)
	if r.Record.Host != "host-a" || r.Record.Version != "1.2.3" || r.Record.Load.Sessions != 7 || r.Record.Started.IsZero() {
		t.Errorf("%+v", r.Record)
	}
	o.SetState(keyspace.ReplicaReady)
	await(t, s, keyspace.ReplicaReady)
	o.SetState(keyspace.ReplicaFinishing)
	o.SetState(keyspace.ReplicaReady) // nothing leads back
	await(t, s, keyspace.ReplicaFinishing)
	if want := []keyspace.ReplicaState{keyspace.ReplicaReady, keyspace.ReplicaFinishing}; !slices.Equal(told, want) {
		t.Errorf("told %v, want %v", told, want)
	}
	stop()
	await(t, s, "")
}

// A killed manager is gone when its last word is too old; a live one is still there then.
func TestAManagerIsThereAsLongAsItReports(t *testing.T) {
	s := openStore(t)
	_, stop := live(t, s, nil)
	await(t, s, keyspace.ReplicaStarting)
	time.Sleep(ownLife + 3*time.Second) // longer than a report is believed
	await(t, s, keyspace.ReplicaStarting)
	stop()
	transaction := store.Transaction{Writes: []store.Write{store.PutFor(keyspace.Live(Service, "manager-a"), []byte(`{"name":"manager-a","service":"manager","state":"Ready"}`), time.Second)}}
	if _, err := s.Commit(t.Context(), transaction); err != nil {
		t.Fatal(err)
	}
	await(t, s, keyspace.ReplicaReady)
	await(t, s, "")
}

func TestAManagerNoticesThatItShallDrain(t *testing.T) {
	s := openStore(t)
	// Asked of an earlier one of its name.
	before := Replica{Record: keyspace.ReplicaRecord{Service: Service, Name: "manager-a", Started: time.Now().Add(-time.Hour)}}
	old, err := AskToDrain(before, "somebody", time.Now().Add(-time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Commit(t.Context(), old); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("one that is not there was asked: %v", err)
	}
	old.Conditions = nil
	if _, err := s.Commit(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	o, stop := live(t, s, nil)
	r := await(t, s, keyspace.ReplicaStarting)
	if r.Draining() {
		t.Error("it is said to drain because an earlier one of its name shall")
	}
	select {
	case <-o.DrainRequested():
		t.Fatal("it drains because an earlier one of its name shall")
	case <-time.After(3 * ownInterval):
	}
	asked, err := AskToDrain(r, "somebody", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Commit(t.Context(), asked); err != nil {
		t.Fatal(err)
	}
	select {
	case <-o.DrainRequested():
	case <-time.After(10 * time.Second):
		t.Fatal("it does not notice")
	}
	if r, err := Get(t.Context(), s, "manager-a"); err != nil || !r.Draining() || r.Drain.By != "somebody" {
		t.Errorf("%+v %v", r, err)
	}
	stop()
	if _, err := s.Get(t.Context(), keyspace.Drain(Service, "manager-a")); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the wish outlives it: %v", err)
	}
}

func TestOptionsOfARecord(t *testing.T) {
	for _, name := range []string{"", "a/b"} {
		if _, err := NewOwn(OwnOptions{Store: nilStore{}, Name: name, Log: quiet(), Now: time.Now}); err == nil {
			t.Errorf("%q is a name", name)
		}
	}
}

type nilStore struct{ store.Store }
