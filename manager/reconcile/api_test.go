package reconcile

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/api/client"
	"github.com/cyphonic/cyphonic/internal/identity"
	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/manager/access"
	"github.com/cyphonic/cyphonic/manager/cache"
	"github.com/cyphonic/cyphonic/manager/fence"
	"github.com/cyphonic/cyphonic/manager/inprocess"
	"github.com/cyphonic/cyphonic/manager/rest"
	"github.com/cyphonic/cyphonic/manager/store"
)

// world is the REST API on a store, with a network and a viewer.
type world struct {
	t     *testing.T
	store store.Store
	cache *cache.Cache
	rest  *rest.Server
	api   inprocess.API
	admin *client.Client
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, store: openStore(t)}
	registry := prometheus.NewRegistry()
	var err error
	if w.cache, err = cache.New(cache.Options{Store: w.store, Log: quiet(), Registerer: registry}); err != nil {
		t.Fatal(err)
	}
	w.rest, err = rest.New(rest.Options{
		Store: w.store, Cache: w.cache, AdminTokenHash: identity.HashOpaqueToken("cym1.only-for-this-test"),
		Registerer: registry, Gatherer: registry, Log: quiet(), Now: time.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = w.cache.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	<-w.cache.Ready()
	w.api = inprocess.API{Handler: w.rest.Handler(), As: rest.WithPrincipal}
	w.admin = w.api.Client(access.Principal{Kind: access.Admin})
	n := &api.Network{}
	n.Metadata.Name = "n"
	n.Spec.Ipv4Prefix, n.Spec.Ipv6Prefix, n.Spec.Domain = "10.1.0.0/28", "fd00:1::/64", "n.example.internal"
	w.create(n)
	w.node("viewer", "viewer")
	return w
}

func (w *world) create(o api.Object) {
	w.t.Helper()
	o.SetType()
	if _, err := w.admin.Create(w.t.Context(), o, client.WriteOptions{}); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) node(name, role string) {
	w.t.Helper()
	n := &api.Node{}
	n.Metadata.Name, n.Metadata.Labels, n.Spec.Network = name, map[string]string{"role": role}, "n"
	w.create(n)
}

func (w *world) get(kind, name string) (api.Object, error) {
	k, _ := api.KindNamed(kind)
	return w.admin.Get(w.t.Context(), k, name)
}

// condition reads one condition of a policy or network.
func (w *world) condition(kind, name, condition string) api.Condition {
	w.t.Helper()
	o, err := w.get(kind, name)
	if err != nil {
		w.t.Fatal(err)
	}
	var all []api.Condition
	switch o := o.(type) {
	case *api.AccessPolicy:
		all = o.Status.Conditions
	case *api.Network:
		all = o.Status.Conditions
	}
	for _, c := range all {
		if c.Type == condition {
			return c
		}
	}
	return api.Condition{}
}

func TestConditionsAreWrittenAndOnlyWhenTheySaySomethingNew(t *testing.T) {
	w := newWorld(t)
	p := &api.AccessPolicy{}
	p.Metadata.Name = "p"
	p.Spec = api.AccessPolicySpec{
		Network: "n", From: []api.Selector{{MatchLabels: map[string]string{"role": "viewer"}}},
		To: []api.Selector{{MatchLabels: map[string]string{"role": "camera"}}}, Rules: []api.PolicyRule{{Protocol: api.ProtocolTcp}},
	}
	w.create(p)
	c := &conditions{view: w.cache, writer: w.api.Client(access.ForSystem("conditions")), log: quiet(), now: time.Now}
	pass := func() int64 {
		t.Helper()
		if err := w.cache.Fresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := c.pass(t.Context()); err != nil {
			t.Fatal(err)
		}
		revision, err := w.store.Revision(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return revision
	}
	pass()
	if got := w.condition("AccessPolicy", "p", conditionMatched); got.Status != api.ConditionStatusFalse || got.Reason != "NothingMatches" {
		t.Errorf("%+v", got)
	}
	if got := w.condition("Network", "n", conditionAddresses); got.Status != api.ConditionStatusTrue {
		t.Errorf("%+v", got)
	}
	first := pass()
	if second := pass(); second != first {
		t.Errorf("a pass without news wrote: revision %d, then %d", first, second)
	}
	for i := range 12 {
		w.node(fmt.Sprintf("cam-%d", i), "camera")
	}
	pass()
	if got := w.condition("AccessPolicy", "p", conditionMatched); got.Status != api.ConditionStatusTrue || got.Message != "from 1 to 12 devices" {
		t.Errorf("%+v", got)
	}
	if got := w.condition("Network", "n", conditionAddresses); got.Status != api.ConditionStatusFalse || got.Reason != "PrefixFull" {
		t.Errorf("%+v", got)
	}
}

func TestACascadeIsCarriedOn(t *testing.T) {
	w := newWorld(t)
	for i := range 10 {
		w.node(fmt.Sprintf("node-%d", i), "any")
	}
	campaign(t, w.store, "a", nil, Deletions(w.rest, quiet()))
	kind, _ := api.KindNamed("Network")
	if _, err := w.admin.Delete(t.Context(), kind, "n", client.DeleteOptions{Cascade: true}); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if _, err := w.get("Network", "n"); client.IsNotFound(err) {
			if n, err := w.store.Count(t.Context(), keyspace.ResourcePrefix(keyspace.Nodes)); err != nil || n != 0 {
				t.Errorf("%d nodes are left: %v", n, err)
			}
			return
		}
	}
	t.Fatal("the network is not deleted")
}

func TestAFormerLeaderWritesNothingThroughTheAPI(t *testing.T) {
	w := newWorld(t)
	office, err := w.store.Lead(t.Context(), "test", "one", 2*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	leading := fence.With(t.Context(), office.Condition())
	system := w.api.Client(access.ForSystem("test"))
	write := func() error {
		n := &api.Node{}
		n.SetType()
		n.Metadata.Name, n.Spec.Network = "written", "n"
		n.Metadata.Annotations = map[string]string{"at": time.Now().Format(time.RFC3339Nano)}
		ctx, cancel := context.WithTimeout(leading, 2*time.Second) // the client tries again for longer
		defer cancel()
		_, _, err := system.Replace(ctx, n, client.WriteOptions{})
		return err
	}
	if err := write(); err != nil {
		t.Fatal(err)
	}
	before, err := w.get("Node", "written")
	if err != nil {
		t.Fatal(err)
	}
	if err := office.Resign(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := w.store.Lead(t.Context(), "test", "two", 2*time.Second); err != nil {
		t.Fatal(err)
	}
	if err := write(); err == nil {
		t.Error("a former leader wrote")
	}
	if after, err := w.get("Node", "written"); err != nil || after.Meta().ResourceVersion != before.Meta().ResourceVersion {
		t.Errorf("the resource has changed: %v", err)
	}
}
