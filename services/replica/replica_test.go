package replica

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/internal/identity"
	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/manager/store/etcd"
)

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// startEtcd runs an embedded etcd on dir.
func startEtcd(t *testing.T, dir string) *etcd.Embedded {
	t.Helper()
	server, err := etcd.StartEmbedded(t.Context(), dir, quiet())
	if err != nil {
		t.Fatal(err)
	}
	return server
}

// startReplica runs a replica until the test ends and waits for its first snapshot.
func startReplica(t *testing.T, client *clientv3.Client) *Replica {
	t.Helper()
	r, err := New(Options{Client: client, Log: quiet(), Registerer: prometheus.NewRegistry(), Rand: rand.Reader, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	select {
	case <-r.Ready():
	case <-time.After(10 * time.Second):
		t.Fatal("no snapshot after 10 s")
	}
	return r
}

func put(t *testing.T, client *clientv3.Client, key string, value any) {
	t.Helper()
	raw, ok := value.([]byte)
	if !ok {
		var err error
		if raw, err = json.Marshal(value); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := client.Put(t.Context(), key, string(raw)); err != nil {
		t.Fatal(err)
	}
}

func testNode(name, uid, ipv4 string) api.Node {
	return api.Node{
		ApiVersion: "cyphonic/v1", Kind: "Node",
		Metadata: api.ObjectMeta{Name: name, Uid: uid, Labels: map[string]string{"role": "viewer"}},
		Spec:     api.NodeSpec{Network: "home"},
		Status:   api.NodeStatus{Fqdn: name + ".home.example", VirtualIPv4: ipv4, VirtualIPv6: "fd00::" + uid},
	}
}

func putToken(t *testing.T, client *clientv3.Client, name, subject string, expires time.Time) (secret, hash string) {
	t.Helper()
	secret, hash, err := identity.NewOpaqueToken(rand.Reader, identity.EnrollmentTokenPrefix)
	if err != nil {
		t.Fatal(err)
	}
	put(t, client, keyspace.Token(hash), keyspace.Encode(keyspace.TokenRecord{Name: name, UID: "uid-" + name}))
	put(t, client, keyspace.Resource(keyspace.EnrollmentTokens, name), api.EnrollmentToken{
		ApiVersion: "cyphonic/v1", Kind: "EnrollmentToken", Metadata: api.ObjectMeta{Name: name, Uid: "uid-" + name},
		Spec:   api.EnrollmentTokenSpec{SubjectKind: api.SubjectKindNode, SubjectName: subject},
		Status: api.EnrollmentTokenStatus{Phase: api.TokenPhasePending, TokenHash: hash, ExpirationTimestamp: expires},
	})
	return secret, hash
}

func newKey(t *testing.T) identity.DevicePublic {
	t.Helper()
	key, err := identity.NewDeviceKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key.Public()
}

func TestSnapshotFollowsEtcd(t *testing.T) {
	server := startEtcd(t, t.TempDir())
	defer server.Close()
	client := server.Client()
	put(t, client, keyspace.Resource(keyspace.Nodes, "a"), testNode("a", "1", "10.0.0.2"))
	put(t, client, keyspace.Resource(keyspace.Networks, "home"), api.Network{
		Metadata: api.ObjectMeta{Name: "home"}, Spec: api.NetworkSpec{Domain: "Home.Example", Ipv4Prefix: "10.0.0.0/24", Ipv6Prefix: "fd00::/64"},
	})
	r := startReplica(t, client)

	s := r.Snapshot()
	a := s.Subject(Ref{keyspace.Nodes, "a"})
	if a == nil || a.UID != "1" || s.SubjectByUID("1") != a || s.SubjectByFQDN("home", "A.home.example.") != a ||
		s.SubjectByAddr("home", netip.MustParseAddr("10.0.0.2")) != a || s.SubjectByAddr("home", netip.MustParseAddr("fd00::1")) != a {
		t.Fatalf("node is not indexed: %+v", a)
	}
	if s.SubjectByAddr("other", netip.MustParseAddr("10.0.0.2")) != nil {
		t.Error("an address is found in another network")
	}
	if n := s.Network("home"); n == nil || n.Domain != "home.example" {
		t.Errorf("network: %+v", n)
	}

	put(t, client, keyspace.Resource(keyspace.Nodes, "b"), testNode("b", "2", "10.0.0.3"))
	if err := r.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r.Snapshot().SubjectByUID("2") == nil {
		t.Error("a node created before Sync is not in the snapshot after it")
	}
	if s.SubjectByUID("2") != nil {
		t.Error("an old snapshot changed")
	}
	if _, err := client.Delete(t.Context(), keyspace.Resource(keyspace.Nodes, "b")); err != nil {
		t.Fatal(err)
	}
	// A revision outside the watched prefix must not make Sync hang.
	put(t, client, "/elsewhere", []byte("x"))
	if err := r.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r.Snapshot().SubjectByUID("2") != nil {
		t.Error("a deleted node is still in the snapshot")
	}
	// An undecodable resource takes away what was there, and only that.
	put(t, client, keyspace.Resource(keyspace.Nodes, "a"), []byte("{"))
	if err := r.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s := r.Snapshot(); s.SubjectByUID("1") != nil || s.Network("home") == nil {
		t.Error("an undecodable record is not left out alone")
	}
}

func TestSnapshotStaysWhenEtcdIsGone(t *testing.T) {
	server := startEtcd(t, t.TempDir())
	put(t, server.Client(), keyspace.Resource(keyspace.Nodes, "a"), testNode("a", "1", "10.0.0.2"))
	r := startReplica(t, server.Client())
	server.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := r.Sync(ctx); err == nil {
		t.Error("Sync succeeds without etcd")
	}
	if r.Snapshot().SubjectByUID("1") == nil {
		t.Error("the snapshot is lost with etcd")
	}
}

func TestKeysAreCreatedOnceByManyReplicas(t *testing.T) {
	server := startEtcd(t, t.TempDir())
	defer server.Close()
	var group sync.WaitGroup
	for range 6 {
		r, err := New(Options{Client: server.Client(), Log: quiet(), Registerer: prometheus.NewRegistry(), Rand: rand.Reader, Now: time.Now})
		if err != nil {
			t.Fatal(err)
		}
		group.Go(func() {
			if err := r.EnsureKeys(context.Background()); err != nil {
				t.Errorf("EnsureKeys: %v", err)
			}
		})
	}
	group.Wait()
	for _, p := range keyspace.Purposes() {
		got, err := server.Client().Get(t.Context(), keyspace.KeyPrefix(p), clientv3.WithPrefix())
		if err != nil || len(got.Kvs) != 1 {
			t.Errorf("%s: %d keys, %v", p, len(got.Kvs), err)
		}
	}
	r := startReplica(t, server.Client())
	rings := []identity.Keyring{r.Snapshot().TicketKeys(), r.Snapshot().RelayKeys(), r.Snapshot().AccessKeys()}
	for i, ring := range rings {
		if ring.Current.Key == ([32]byte{}) || ring.Current.Key == rings[(i+1)%3].Current.Key {
			t.Errorf("ring %d has no key of its own", i)
		}
	}
}

func TestPlanKeys(t *testing.T) {
	now := time.Unix(1_000_000_000, 0)
	key := func(id uint32, age time.Duration) keyspace.KeyRecord {
		return keyspace.KeyRecord{ID: id, Secret: keyspace.Secret{1}, Created: now.Add(-age), ActiveFrom: now.Add(-age)}
	}
	cases := []struct {
		name    string
		in      []keyspace.KeyRecord
		create  bool
		active  time.Time
		removed []uint32
	}{
		{"none", nil, true, now, nil},
		{"young", []keyspace.KeyRecord{key(1, time.Hour)}, false, time.Time{}, nil},
		{"due", []keyspace.KeyRecord{key(1, 25*time.Hour)}, true, now.Add(keyActivationDelay), nil},
		{"old ones go", []keyspace.KeyRecord{key(1, 25*time.Hour), key(2, 73*time.Hour)}, true, now.Add(keyActivationDelay), []uint32{2}},
		{"the sealing one stays", []keyspace.KeyRecord{key(1, 100*time.Hour)}, true, now.Add(keyActivationDelay), nil},
	}
	for _, c := range cases {
		create, removed, err := planKeys(rand.Reader, c.in, now)
		if err != nil || (create != nil) != c.create || fmt.Sprint(removed) != fmt.Sprint(c.removed) {
			t.Errorf("%s: create %v, remove %v, %v", c.name, create, removed, err)
			continue
		}
		if create != nil && !create.ActiveFrom.Equal(c.active) {
			t.Errorf("%s: active from %v", c.name, create.ActiveFrom)
		}
	}
}

func TestEnrolmentTokenIsUsedOnce(t *testing.T) {
	server := startEtcd(t, t.TempDir())
	defer server.Close()
	client := server.Client()
	put(t, client, keyspace.Resource(keyspace.Nodes, "a"), testNode("a", "1", "10.0.0.2"))
	put(t, client, keyspace.Resource(keyspace.Nodes, "b"), testNode("b", "2", "10.0.0.3"))
	r := startReplica(t, client)
	a, b := r.Snapshot().SubjectByUID("1"), r.Snapshot().SubjectByUID("2")
	_, hash := putToken(t, client, "t1", "a", time.Now().Add(time.Hour))
	_, old := putToken(t, client, "t2", "a", time.Now().Add(-time.Second))

	key, other := newKey(t), newKey(t)
	steps := []struct {
		name string
		e    Enrolment
		want error
	}{
		{"unknown token", Enrolment{a, key, identity.HashOpaqueToken("cye1.x")}, ErrTokenUnknown},
		{"expired token", Enrolment{a, key, old}, ErrTokenExpired},
		{"another device's token", Enrolment{b, key, hash}, ErrTokenSubject},
		{"a deleted device", Enrolment{&Subject{Ref: a.Ref, UID: "gone"}, key, hash}, ErrSubject},
		{"first use", Enrolment{a, key, hash}, nil},
		{"the same key again", Enrolment{a, key, hash}, nil},
		{"another key", Enrolment{a, other, hash}, ErrTokenUsed},
		{"another device with the same key", Enrolment{b, key, hash}, ErrTokenUsed},
	}
	for _, s := range steps {
		if err := r.Enrol(t.Context(), s.e); !errors.Is(err, s.want) {
			t.Fatalf("%s: %v, want %v", s.name, err, s.want)
		}
	}
	if got, ok := r.Snapshot().Enrolled(a); !ok || got != key {
		t.Fatal("the snapshot does not show the key after Enrol returned")
	}
	var token api.EnrollmentToken
	get(t, client, keyspace.Resource(keyspace.EnrollmentTokens, "t1"), &token)
	if token.Status.Phase != api.TokenPhaseUsed || token.Status.UsedTimestamp.IsZero() || token.Status.TokenHash != hash {
		t.Errorf("token status: %+v", token.Status)
	}
	var node api.Node
	get(t, client, keyspace.Resource(keyspace.Nodes, "a"), &node)
	if node.Status.NodeID != key.NodeID().String() || node.Status.VirtualIPv4 != "10.0.0.2" {
		t.Errorf("node status: %+v", node.Status)
	}
	// A later enrolment replaces the key, and the old token does not bring it back.
	if err := r.Enrol(t.Context(), Enrolment{Subject: a, Public: other}); err != nil {
		t.Fatal(err)
	}
	if err := r.Enrol(t.Context(), Enrolment{a, key, hash}); !errors.Is(err, ErrTokenUsed) {
		t.Errorf("an old token after a later enrolment: %v", err)
	}
	// Re-creating the device voids the key.
	put(t, client, keyspace.Resource(keyspace.Nodes, "a"), testNode("a", "3", "10.0.0.2"))
	if err := r.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, ok := r.Snapshot().Enrolled(r.Snapshot().SubjectByUID("3")); ok {
		t.Error("a re-created device inherits a key")
	}
}

func get(t *testing.T, client *clientv3.Client, key string, into any) {
	t.Helper()
	got, err := client.Get(t.Context(), key)
	if err != nil || len(got.Kvs) != 1 {
		t.Fatalf("get %s: %v", key, err)
	}
	if err := json.Unmarshal(got.Kvs[0].Value, into); err != nil {
		t.Fatal(err)
	}
}

func TestOfManyConsumersOfATokenOneWins(t *testing.T) {
	server := startEtcd(t, t.TempDir())
	defer server.Close()
	client := server.Client()
	put(t, client, keyspace.Resource(keyspace.Nodes, "a"), testNode("a", "1", "10.0.0.2"))
	replicas := []*Replica{startReplica(t, client), startReplica(t, client)}
	for round := range 5 {
		_, hash := putToken(t, client, fmt.Sprintf("t%d", round), "a", time.Now().Add(time.Hour))
		var group sync.WaitGroup
		outcomes := make([]error, 8)
		keys := make([]identity.DevicePublic, len(outcomes))
		for i := range outcomes {
			keys[i] = newKey(t)
			r := replicas[i%2]
			subject := r.Snapshot().SubjectByUID("1")
			group.Go(func() { outcomes[i] = r.Enrol(context.Background(), Enrolment{subject, keys[i], hash}) })
		}
		group.Wait()
		winner := -1
		for i, err := range outcomes {
			switch {
			case err == nil && winner >= 0:
				t.Fatalf("round %d: two winners", round)
			case err == nil:
				winner = i
			case !errors.Is(err, ErrTokenUsed):
				t.Fatalf("round %d: %v", round, err)
			}
		}
		if winner < 0 {
			t.Fatalf("round %d: nobody won", round)
		}
		record := getEnrolled(t, client)
		if record.NodeID != keys[winner].NodeID().String() {
			t.Fatalf("round %d: the enrolled key is not the winner's", round)
		}
	}
}

func getEnrolled(t *testing.T, client *clientv3.Client) keyspace.EnrolledRecord {
	t.Helper()
	got, err := client.Get(t.Context(), keyspace.Enrolled(keyspace.Nodes, "a"))
	if err != nil || len(got.Kvs) != 1 {
		t.Fatal("no enrolled record", err)
	}
	r, err := keyspace.Decode[keyspace.EnrolledRecord](got.Kvs[0].Value)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestPatchStatusKeepsWhatItDoesNotKnow(t *testing.T) {
	out, err := patchStatus([]byte(`{"spec":{"new":1},"status":{"future":[1],"nodeID":"x"}}`), map[string]any{"nodeID": "y"})
	if err != nil || !bytes.Equal(out, []byte(`{"spec":{"new":1},"status":{"future":[1],"nodeID":"y"}}`)) {
		t.Fatalf("%s %v", out, err)
	}
	for _, bad := range []string{``, `[]`, `{"status":3}`} {
		if _, err := patchStatus([]byte(bad), nil); err == nil {
			t.Errorf("%q is patched", bad)
		}
	}
}

func FuzzStatePut(f *testing.F) {
	raw, _ := json.Marshal(testNode("a", "1", "10.0.0.2"))
	f.Add(keyspace.Resource(keyspace.Nodes, "a"), raw)
	f.Add(keyspace.Resource(keyspace.GeneralNodes, "a"), []byte(`{"metadata":{"uid":"1"},"spec":{"authentication":{"method":"mac"}}}`))
	f.Add(keyspace.Resource(keyspace.CloudServices, "a"), []byte(`{"spec":{"service":"nms","ipv4":"::ffff:1.2.3.4"}}`))
	f.Add(keyspace.Resource(keyspace.AccessPolicies, "a"), []byte(`{"spec":{"rules":[{"protocol":"tcp","ports":["1-2"]}]}}`))
	f.Add(keyspace.Key(keyspace.PurposeRelay, 1), keyspace.Encode(keyspace.KeyRecord{ID: 1, Secret: keyspace.Secret{1}}))
	f.Fuzz(func(_ *testing.T, key string, value []byte) {
		s := newState()
		_ = s.put(key, value)
		_, _ = s.snapshot(time.Unix(0, 0))
		s.remove(key)
	})
}
