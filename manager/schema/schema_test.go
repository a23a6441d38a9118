package schema

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/manager/store"
	"github.com/cyphonic/cyphonic/manager/store/etcd"
)

func open(t *testing.T) store.Store {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	e, err := etcd.StartEmbedded(ctx, t.TempDir(), quiet())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return etcd.NewStore(e.Client())
}

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

func options(s store.Store) Options {
	return Options{Store: s, Holder: "test", Rand: rand.Reader, Now: time.Now, Log: quiet()}
}

// fixture writes what the first release wrote, and returns it.
func fixture(t *testing.T, s store.Store) map[string]json.RawMessage {
	t.Helper()
	b, err := os.ReadFile("testdata/version1.json")
	if err != nil {
		t.Fatal(err)
	}
	var keys map[string]json.RawMessage
	if err := json.Unmarshal(b, &keys); err != nil || len(keys) < 20 {
		t.Fatalf("%d keys, %v", len(keys), err)
	}
	var tx store.Transaction
	for key, value := range keys {
		tx.Writes = append(tx.Writes, store.Put(key, value))
	}
	if _, err := s.Commit(t.Context(), tx); err != nil {
		t.Fatal(err)
	}
	return keys
}

func ensured(t *testing.T, s store.Store) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := Ensure(ctx, options(s)); err != nil {
		t.Fatal(err)
	}
}

func role1(t *testing.T, s store.Store, name string) *api.Role {
	t.Helper()
	e, err := s.Get(t.Context(), keyspace.Resource(keyspace.Roles, name))
	if err != nil {
		t.Fatal(err)
	}
	r := new(api.Role)
	if err := json.Unmarshal(e.Value, r); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestAnOldDatabaseIsMigrated(t *testing.T) {
	s := open(t)
	before := fixture(t, s)
	if version, err := Read(t.Context(), s); version != 1 || err != nil {
		t.Fatalf("before: version %d, %v", version, err)
	}
	ensured(t, s)
	if version, err := Read(t.Context(), s); version != Version || err != nil {
		t.Fatalf("after: version %d, %v", version, err)
	}
	for key, value := range before {
		e, err := s.Get(t.Context(), key)
		if err != nil || string(e.Value) != string(value) {
			t.Errorf("%s: %v, or it was changed", key, err)
		}
	}
	for _, name := range []string{"admin", "editor", "viewer"} {
		r := role1(t, s, name)
		r.Default()
		if faults := r.Validate(); len(faults) > 0 || r.Metadata.Name != name || r.Metadata.Uid == "" || r.Metadata.Generation != 1 || r.Metadata.CreationTimestamp.IsZero() {
			t.Errorf("role %s: %v, %+v", name, faults, r.Metadata)
		}
	}
	if n, err := s.Count(t.Context(), keyspace.ResourcePrefix(keyspace.Roles)); n != 3 || err != nil {
		t.Errorf("%d roles, %v", n, err)
	}
}

func TestANewDatabaseGetsTheSame(t *testing.T) {
	s := open(t)
	ensured(t, s)
	if r := role1(t, s, "admin"); len(r.Spec.Rules) != 1 || r.Spec.Rules[0].Verbs[0] != api.Any {
		t.Errorf("admin: %+v", r.Spec)
	}
}

func TestAMigrationIsDoneOnceAndKeepsWhatIsThere(t *testing.T) {
	s := open(t)
	fixture(t, s)
	own := []byte(`{"own":true}`)
	if _, err := s.Create(t.Context(), keyspace.Resource(keyspace.Roles, "viewer"), own); err != nil {
		t.Fatal(err)
	}
	ensured(t, s)
	e, err := s.Get(t.Context(), keyspace.Resource(keyspace.Roles, "viewer"))
	if err != nil || string(e.Value) != string(own) {
		t.Errorf("the role that was there became %s, %v", e.Value, err)
	}
	e, err = s.Get(t.Context(), keyspace.Resource(keyspace.Roles, "editor"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Delete(t.Context(), e.Key, e.Revision); err != nil {
		t.Fatal(err)
	}
	ensured(t, s)
	if _, err := s.Get(t.Context(), e.Key); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a role that was deleted later came back: %v", err)
	}
}

func TestManagersThatStartAtOnceMigrateOnce(t *testing.T) {
	s := open(t)
	fixture(t, s)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() { ensured(t, s) })
	}
	wg.Wait()
	e, err := s.Get(t.Context(), keyspace.Schema)
	if err != nil || e.CreateRevision != e.Revision {
		t.Errorf("the version was written more than once: %+v, %v", e, err)
	}
	if n, err := s.Count(t.Context(), keyspace.LeadersPrefix); n != 0 || err != nil {
		t.Errorf("%d leaders are left, %v", n, err)
	}
}

func TestANewerDatabaseIsRefused(t *testing.T) {
	s := open(t)
	if _, err := s.Create(t.Context(), keyspace.Schema, keyspace.Encode(keyspace.SchemaRecord{Version: Version + 1})); err != nil {
		t.Fatal(err)
	}
	if err := Ensure(t.Context(), options(s)); !errors.Is(err, ErrNewer) {
		t.Errorf("got %v", err)
	}
	if n, err := s.Count(t.Context(), "/"); n != 1 || err != nil {
		t.Errorf("%d keys, %v", n, err)
	}
}

func TestAMalformedVersionIsRefused(t *testing.T) {
	for _, text := range []string{"", "2", `{}`, `{"version":0}`, `{"version":-1}`} {
		s := open(t)
		if _, err := s.Create(t.Context(), keyspace.Schema, []byte(text)); err != nil {
			t.Fatal(err)
		}
		if err := Ensure(t.Context(), options(s)); !errors.Is(err, keyspace.ErrRecord) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// A manager that lost the office in the middle of a migration writes nothing
// more.
func TestAFormerLeaderMigratesNothing(t *testing.T) {
	s := open(t)
	fixture(t, s)
	term, err := s.Lead(t.Context(), office, "slow", 2*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if err := term.Resign(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := migrate(t.Context(), options(s), term.Condition()); !errors.Is(err, errFenced) {
		t.Errorf("got %v", err)
	}
	if n, err := s.Count(t.Context(), keyspace.ResourcePrefix(keyspace.Roles)); n != 0 || err != nil {
		t.Errorf("%d roles, %v", n, err)
	}
	ensured(t, s)
}

func TestEnsureEndsWithItsContext(t *testing.T) {
	s := open(t)
	if _, err := s.Lead(t.Context(), office, "another", time.Minute); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := Ensure(ctx, options(s)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

// Manifests may refer to the roles that are there from the beginning; package api says which.
func TestTheRolesAreThoseThatTheAPINames(t *testing.T) {
	var names []string
	for _, b := range builtIns() {
		names = append(names, b.name)
	}
	if !slices.Equal(names, api.BuiltInRoles()) {
		t.Errorf("the migration makes %v, the API names %v", names, api.BuiltInRoles())
	}
}
