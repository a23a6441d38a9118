package access

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/internal/identity"
	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/manager/cache"
	"github.com/cyphonic/cyphonic/manager/store"
	"github.com/cyphonic/cyphonic/manager/store/etcd"
)

// world is an Access on a running cache over an embedded etcd.
type world struct {
	*Access
	t      testing.TB
	store  store.Store
	cache  *cache.Cache
	admin  string // the administrator's token
	access keyspace.KeyRecord
	ahead  time.Duration
}

func newWorld(t testing.TB, oidc *OIDC) *world {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	e, err := etcd.StartEmbedded(ctx, t.TempDir(), quiet)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, store: etcd.NewStore(e.Client())}
	w.cache, err = cache.New(cache.Options{Store: w.store, Log: quiet, Registerer: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- w.cache.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		e.Close()
	})
	w.access, err = keyspace.NewKeyRecord(rand.Reader, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.store.Create(ctx, keyspace.Key(keyspace.PurposeAccess, w.access.ID), keyspace.Encode(w.access)); err != nil {
		t.Fatal(err)
	}
	var hash string
	w.admin, hash, err = identity.NewOpaqueToken(rand.Reader, identity.AdminTokenPrefix)
	if err != nil {
		t.Fatal(err)
	}
	w.Access, err = New(Options{
		Cache: w.cache, Store: w.store, AdminTokenHash: hash, OIDC: oidc, Log: quiet, Registerer: prometheus.NewRegistry(),
		Now: func() time.Time { return time.Now().Add(w.ahead) },
	})
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-w.cache.Ready():
	case <-time.After(10 * time.Second):
		t.Fatal("the cache is not ready")
	}
	return w
}

// put writes a resource as the manager stores it.
func (w *world) put(o api.Object) {
	w.t.Helper()
	kind, ok := api.KindNamed(o.KindName())
	if !ok {
		w.t.Fatalf("no kind %s", o.KindName())
	}
	o.SetType()
	value, err := json.Marshal(o)
	if err != nil {
		w.t.Fatal(err)
	}
	_, err = w.store.Commit(context.Background(), store.Transaction{Writes: []store.Write{store.Put(keyspace.Resource(kind.Plural, o.Meta().Name), value)}})
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) remove(plural, name string) {
	w.t.Helper()
	_, err := w.store.Commit(context.Background(), store.Transaction{Writes: []store.Write{store.Remove(keyspace.Resource(plural, name))}})
	if err != nil {
		w.t.Fatal(err)
	}
}

// fresh waits until the cache has everything.
func (w *world) fresh() {
	w.t.Helper()
	if err := w.Fresh(context.Background()); err != nil {
		w.t.Fatal(err)
	}
}

func role(name string, rules ...api.RoleRule) *api.Role {
	r := &api.Role{}
	r.Metadata.Name, r.Spec.Rules = name, rules
	return r
}

func rule(verbs, kinds []string, networks ...string) api.RoleRule {
	return api.RoleRule{Verbs: verbs, Kinds: kinds, Networks: networks}
}

func words(w ...string) []string { return w }

func binding(name, role string, networks []string, subjects ...api.Subject) *api.RoleBinding {
	b := &api.RoleBinding{}
	b.Metadata.Name, b.Spec = name, api.RoleBindingSpec{Role: role, Networks: networks, Subjects: subjects}
	return b
}

// token writes an APIToken and returns its secret.
func (w *world) token(name string, notAfter time.Time, rules ...api.RoleRule) string {
	w.t.Helper()
	secret, hash, err := identity.NewOpaqueToken(rand.Reader, identity.APITokenPrefix)
	if err != nil {
		w.t.Fatal(err)
	}
	o := &api.APIToken{}
	o.Metadata.Name, o.Metadata.Uid = name, name+"-"+hash[:8]
	o.Spec.Rules = rules
	o.Status.TokenHash, o.Status.ExpirationTimestamp = hash, notAfter
	w.put(o)
	return secret
}

// adapter writes an Adapter and returns an access token as the AS makes them.
func (w *world) adapter(name, uid string, disabled bool) string {
	w.t.Helper()
	o := &api.Adapter{}
	o.Metadata.Name, o.Metadata.Uid, o.Spec.Network, o.Spec.Disabled = name, uid, "hall", disabled
	w.put(o)
	return w.accessToken("Adapter", name, uid, w.access.Secret, time.Now().Add(time.Hour))
}

func (w *world) accessToken(kind, name, uid string, key [32]byte, notAfter time.Time) string {
	w.t.Helper()
	token, err := identity.SealAccessToken(rand.Reader, identity.Keyring{Current: identity.SealingKey{ID: w.access.ID, Key: key}},
		identity.AccessClaims{Kind: kind, Name: name, UID: uid, NotAfter: notAfter})
	if err != nil {
		w.t.Fatal(err)
	}
	return token
}

// login authenticates a request with these Authorization headers from an address.
func (w *world) login(from string, tokens ...string) (Principal, error) {
	r := &http.Request{Header: http.Header{}, RemoteAddr: from}
	for _, token := range tokens {
		r.Header.Add("Authorization", "Bearer "+token)
	}
	return w.Authenticate(context.Background(), r)
}

// newWorldWithoutStore is an Access of which only the OpenID part is used.
func newWorldWithoutStore(t testing.TB, oidc *OIDC) *world {
	t.Helper()
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	return &world{t: t, Access: &Access{users: &idTokens{config: *oidc, provider: newProvider(*oidc, quiet, time.Now), now: time.Now}}}
}
