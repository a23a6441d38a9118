package replica

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/cyphonic/cyphonic/internal/identity"
	"github.com/cyphonic/cyphonic/internal/keyspace"
)

// keyHistory is what etcd had when, of the keys of one purpose.
type keyHistory []struct {
	at      time.Time
	records []keyspace.KeyRecord
}

// at is what a replica knows that hears of changes by that time.
func (h keyHistory) at(t time.Time) []keyspace.KeyRecord {
	for i := len(h) - 1; i >= 0; i-- {
		if !h[i].at.After(t) {
			return h[i].records
		}
	}
	return nil
}

// look lets a replica whose clock shows local look after the keys.
func (h *keyHistory) look(t *testing.T, now, local time.Time) {
	t.Helper()
	records := h.at(now)
	create, remove, err := planKeys(rand.Reader, records, local)
	if err != nil {
		t.Fatal(err)
	}
	if create == nil {
		return
	}
	next := []keyspace.KeyRecord{*create}
	for _, old := range records {
		if !slices.Contains(remove, old.ID) {
			next = append(next, old)
		}
	}
	*h = append(*h, struct {
		at      time.Time
		records []keyspace.KeyRecord
	}{now, next})
}

func hasKey(records []keyspace.KeyRecord, id uint32) bool {
	return slices.ContainsFunc(records, func(r keyspace.KeyRecord) bool { return r.ID == id })
}

// TestWhatAReplicaSealsEveryReplicaOpens runs replicas whose clocks differ by a minute, and one of which hears of
// changes only minutes later, through ten days of rotation.
func TestWhatAReplicaSealsEveryReplicaOpens(t *testing.T) {
	const (
		skew = time.Minute
		late = keyActivationDelay - 2*skew
		life = 24 * time.Hour // the longest of anything sealed
	)
	var etcd keyHistory
	start, sealed := time.Unix(1_700_000_000, 0), make(map[uint32]time.Time) // when a key sealed last
	replicas := []struct{ clock, lag time.Duration }{{-skew, 0}, {0, late}, {skew, time.Second}}
	for now := start; now.Before(start.Add(10 * 24 * time.Hour)); now = now.Add(20 * time.Second) {
		for i, r := range replicas {
			if now.Sub(start)%keyCheckInterval == time.Duration(i)*20*time.Second { // each in turn
				etcd.look(t, now, now.Add(r.clock))
			}
		}
		if len(etcd.at(now.Add(-late))) == 0 {
			continue // the first key of all is being made
		}
		for _, r := range replicas {
			current := keyspace.Order(etcd.at(now.Add(-r.lag)), now.Add(r.clock))[0].ID
			sealed[current] = now
			for i, other := range replicas {
				if !hasKey(etcd.at(now.Add(-other.lag)), current) {
					t.Fatalf("%v: replica %d does not know the key %x that another seals with", now.Sub(start), i, current)
				}
			}
		}
		for id, at := range sealed {
			if now.Sub(at) <= life && !hasKey(etcd.at(now), id) {
				t.Fatalf("%v: the key %x is gone, %v after it sealed something", now.Sub(start), id, now.Sub(at))
			}
		}
		if n := len(etcd.at(now)); n > 5 {
			t.Fatalf("%v: %d keys", now.Sub(start), n)
		}
	}
	if len(sealed) < 9 {
		t.Errorf("%d keys in ten days", len(sealed))
	}
}

func TestReplicasRotateTogether(t *testing.T) {
	server := startEtcd(t, t.TempDir())
	defer server.Close()
	var clock atomic.Int64
	clock.Store(1_700_000_000)
	now := func() time.Time { return time.Unix(clock.Load(), 0) }
	var replicas []*Replica
	for range 4 {
		r, err := New(Options{Client: server.Client(), Log: quiet(), Registerer: prometheus.NewRegistry(), Rand: rand.Reader, Now: now})
		if err != nil {
			t.Fatal(err)
		}
		replicas = append(replicas, r)
	}
	ring := func() (keyring identity.Keyring) {
		s := newState()
		got, err := server.Client().Get(t.Context(), keyspace.KeysPrefix, clientv3.WithPrefix())
		if err != nil {
			t.Fatal(err)
		}
		for _, kv := range got.Kvs {
			if err := s.put(string(kv.Key), kv.Value); err != nil {
				t.Fatal(err)
			}
		}
		snapshot, _ := s.snapshot(now())
		return snapshot.TicketKeys()
	}
	current := uint32(0)
	for day := range 6 {
		var group sync.WaitGroup
		for _, r := range replicas {
			group.Go(func() {
				if err := r.EnsureKeys(context.Background()); err != nil {
					t.Errorf("EnsureKeys: %v", err)
				}
			})
		}
		group.Wait()
		keys := ring()
		if n := 1 + len(keys.Previous); n != min(day+1, 3) {
			t.Errorf("day %d: %d keys", day, n)
		}
		if day > 0 && keys.Current.ID != current {
			t.Errorf("day %d: the new key seals before everybody can know it", day)
		}
		clock.Add(int64(keyActivationDelay / time.Second))
		if keys = ring(); keys.Current.ID == current {
			t.Errorf("day %d: the new key does not seal", day)
		}
		current = keys.Current.ID
		clock.Add(int64(keyRotationInterval / time.Second))
	}
}

func TestOfAThousandDevicesWithOneTokenOneEnrols(t *testing.T) {
	const contenders = 1000
	server := startEtcd(t, t.TempDir())
	defer server.Close()
	client := server.Client()
	put(t, client, keyspace.Resource(keyspace.Nodes, "a"), testNode("a", "1", "10.0.0.2"))
	var replicas []*Replica
	for range 4 {
		replicas = append(replicas, startReplica(t, client))
	}
	_, hash := putToken(t, client, "t", "a", time.Now().Add(time.Hour))
	keys, outcomes := make([]identity.DevicePublic, contenders), make([]error, contenders)
	begin := make(chan struct{})
	var group sync.WaitGroup
	for i := range contenders {
		keys[i] = newKey(t)
		r := replicas[i%len(replicas)]
		subject := r.Snapshot().SubjectByUID("1")
		group.Go(func() {
			<-begin
			for limit := time.Now().Add(time.Minute); time.Now().Before(limit); { // who hears nothing asks again
				outcomes[i] = r.Enrol(context.Background(), Enrolment{subject, keys[i], hash})
				if outcomes[i] == nil || errors.Is(outcomes[i], ErrTokenUsed) {
					return
				}
			}
		})
	}
	close(begin)
	group.Wait()
	var winners []int
	for i, err := range outcomes {
		switch {
		case err == nil:
			winners = append(winners, i)
		case !errors.Is(err, ErrTokenUsed):
			t.Errorf("contender %d: %v", i, err)
		}
	}
	if len(winners) != 1 {
		t.Fatalf("%d winners", len(winners))
	}
	winner := keys[winners[0]]
	if record := getEnrolled(t, client); record.NodeID != winner.NodeID().String() {
		t.Error("the enrolled key is not the winner's")
	}
	// The winner, whose answer may have been lost, gets it again at every replica, and nobody else does.
	for i, r := range replicas {
		subject := r.Snapshot().SubjectByUID("1")
		if err := r.Enrol(t.Context(), Enrolment{subject, winner, hash}); err != nil {
			t.Errorf("replica %d: the winner again: %v", i, err)
		}
		if err := r.Enrol(t.Context(), Enrolment{subject, newKey(t), hash}); !errors.Is(err, ErrTokenUsed) {
			t.Errorf("replica %d: another one: %v", i, err)
		}
		if err := r.Sync(t.Context()); err != nil {
			t.Error(err)
		}
		if got, ok := r.Snapshot().Enrolled(r.Snapshot().SubjectByUID("1")); !ok || got != winner {
			t.Errorf("replica %d does not show the winner's key", i)
		}
	}
	got, err := client.Get(t.Context(), keyspace.ConsumedPrefix, clientv3.WithPrefix())
	if err != nil || len(got.Kvs) != 1 {
		t.Errorf("the token was consumed %s times: %v", fmt.Sprint(len(got.Kvs)), err)
	}
}
