package manager

import (
	"context"
	"encoding/pem"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/api/client"
	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/manager/gitsync/gittest"
	"github.com/cyphonic/cyphonic/manager/store"
	"github.com/cyphonic/cyphonic/manager/store/etcd"
)

// replica is one of several managers on one store.
type replica struct {
	t        *testing.T
	c        credentials
	store    store.Store
	secrets  string
	listen   string
	registry *prometheus.Registry
	stop     func()
}

func (r *replica) start() {
	r.t.Helper()
	r.registry = prometheus.NewRegistry()
	o := r.c.options(r.store)
	o.Listen, o.Registerer, o.SecretsDirectory, o.ShutdownDelay = r.listen, r.registry, r.secrets, 300*time.Millisecond
	m, err := New(o)
	if err != nil {
		r.t.Fatal(err)
	}
	r.listen = m.Addr().String()
	r.stop = run(r.t, m)
	waitReady(r.t, r.c.client(), "https://"+r.listen)
}

// value adds up a metric over its labels.
func (r *replica) value(name string) (sum float64) {
	r.t.Helper()
	families, err := r.registry.Gather()
	if err != nil {
		r.t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return sum
}

func newReplicas(t *testing.T, n int, secrets string) []*replica {
	t.Helper()
	c := newCredentials(t)
	e := openStore(t, t.TempDir())
	t.Cleanup(e.Close)
	var out []*replica
	for range n {
		r := &replica{t: t, c: c, store: etcd.NewStore(e.Client()), secrets: secrets, listen: "127.0.0.1:0"}
		r.start()
		out = append(out, r)
	}
	return out
}

func clientOf(t *testing.T, replicas ...*replica) *client.Client {
	t.Helper()
	c := replicas[0].c
	ca, err := os.ReadFile(c.cert)
	if err != nil {
		t.Fatal(err)
	}
	if block, _ := pem.Decode(ca); block == nil {
		t.Fatal("no certificate")
	}
	o := client.Options{CA: ca, Token: client.StaticToken(c.token)}
	for _, r := range replicas {
		o.Servers = append(o.Servers, "https://"+r.listen)
	}
	o.Server, o.Servers = o.Servers[0], o.Servers[1:]
	out, err := client.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(out.Close)
	return out
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if holds() {
			return
		}
	}
	t.Fatal(what)
}

func TestARollingRestartFailsNoRequest(t *testing.T) {
	replicas := newReplicas(t, 2, "")
	network := &api.Network{}
	network.SetType()
	network.Metadata.Name = "n"
	network.Spec.Ipv4Prefix, network.Spec.Ipv6Prefix, network.Spec.Domain = "10.1.0.0/16", "fd00:1::/64", "n.example.internal"
	if _, err := clientOf(t, replicas...).Create(t.Context(), network, client.WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var wg sync.WaitGroup
	var requests, failures atomic.Int64
	for i := range 6 {
		order := []*replica{replicas[i%2], replicas[1-i%2]}
		c := clientOf(t, order...)
		wg.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				if err := once(ctx, c, fmt.Sprintf("w%d-%d", i, n%5)); err != nil && ctx.Err() == nil {
					failures.Add(1)
					t.Errorf("a request failed: %v", err)
				}
				requests.Add(1)
			}
		})
	}
	for range 2 {
		for _, r := range replicas {
			before := requests.Load()
			eventually(t, "no requests are made", func() bool { return requests.Load() > before+50 })
			r.stop()
			during := requests.Load()
			eventually(t, "no requests are made while a manager is away", func() bool { return requests.Load() > during+50 })
			r.start()
		}
	}
	cancel()
	wg.Wait()
	t.Logf("%d requests, %d failures over 4 restarts", requests.Load(), failures.Load())
}

// once writes a node and reads it.
func once(ctx context.Context, c *client.Client, name string) error {
	n := &api.Node{}
	n.SetType()
	n.Metadata.Name, n.Spec.Network = name, "n"
	n.Metadata.Annotations = map[string]string{"at": time.Now().Format(time.RFC3339Nano)}
	if _, _, err := c.Replace(ctx, n, client.WriteOptions{}); err != nil {
		return err
	}
	kind, _ := api.KindNamed("Node")
	o, err := c.Get(ctx, kind, name)
	if err == nil && o.Meta().Annotations["at"] != n.Metadata.Annotations["at"] {
		return fmt.Errorf("%s was read as it was before the write", name)
	}
	return err
}

func TestReadinessEndsBeforeService(t *testing.T) {
	r := newReplicas(t, 1, "")[0]
	web := r.c.client()
	done := make(chan struct{})
	go func() { defer close(done); r.stop() }()
	refused := false
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end) && !refused; {
		a, err := web.Get("https://" + r.listen + "/readyz")
		if err != nil {
			break
		}
		refused = a.StatusCode == http.StatusServiceUnavailable
		_ = a.Body.Close()
	}
	if !refused {
		t.Fatal("/readyz never fails")
	}
	if code, _, err := do(web, "GET", "https://"+r.listen+"/api/v1/nodes", r.c.token, nil); err != nil || code != 200 {
		t.Errorf("a request after readiness has ended: %d %v", code, err)
	}
	<-done
}

func TestOnlyTheLeaderSyncsAndAnotherTakesOver(t *testing.T) {
	git := gittest.Start(t)
	git.Write("network.yaml", "{apiVersion: cyphonic/v1, kind: Network, metadata: {name: factory}, spec: {ipv4Prefix: 10.9.0.0/16, ipv6Prefix: \"fd00:9::/64\", domain: factory.example.internal}}\n")
	first := git.Commit()
	replicas := newReplicas(t, 2, gittest.Secret(t, "fleet", map[string]string{"ca.crt": string(git.CA())}))
	c := clientOf(t, replicas...)
	role := &api.Role{}
	role.SetType()
	role.Metadata.Name = "fleet"
	role.Spec.Rules = []api.RoleRule{{Verbs: []string{"*"}, Kinds: []string{"*"}}}
	source := &api.GitSource{}
	source.SetType()
	source.Metadata.Name = "fleet"
	source.Spec = api.GitSourceSpec{Url: git.URL(), SecretName: "fleet", Role: "fleet", IntervalSeconds: 10}
	for _, o := range []api.Object{role, source} {
		if _, err := c.Create(t.Context(), o, client.WriteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	kind, _ := api.KindNamed("GitSource")
	applied := func() string {
		o, err := c.Get(t.Context(), kind, "fleet")
		if err != nil {
			t.Fatal(err)
		}
		return o.(*api.GitSource).Status.AppliedCommit
	}
	eventually(t, "the first commit is not applied", func() bool { return applied() == first })
	leader, other := replicas[0], replicas[1]
	if other.value("cyphonic_manager_leading") == 1 {
		leader, other = other, leader
	}
	if leader.value("cyphonic_manager_leading") != 1 || other.value("cyphonic_manager_leading") != 0 {
		t.Fatal("there is not exactly one leader")
	}
	if n := other.value("cyphonic_manager_git_rounds_total"); n != 0 || leader.value("cyphonic_manager_git_rounds_total") == 0 {
		t.Errorf("the other manager did %v rounds", n)
	}
	git.Write("more.yaml", "{apiVersion: cyphonic/v1, kind: Node, metadata: {name: viewer}, spec: {network: factory}}\n")
	second := git.Commit()
	leader.stop()
	c = clientOf(t, other)
	eventually(t, "the next leader does not go on", func() bool { return applied() == second })
	if other.value("cyphonic_manager_leading") != 1 {
		t.Error("nobody leads")
	}
}

func TestManagersKnowOfOneAnother(t *testing.T) {
	replicas := newReplicas(t, 2, "")
	eventually(t, "a manager is not registered", func() bool {
		l, err := replicas[0].store.List(t.Context(), keyspace.ManagersPrefix, store.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		text := ""
		for _, e := range l.Entries {
			text += string(e.Value)
		}
		return len(l.Entries) == 2 && strings.Contains(text, replicas[0].listen) && strings.Contains(text, replicas[1].listen)
	})
	replicas[1].stop()
	eventually(t, "a manager that has stopped is still registered", func() bool {
		n, err := replicas[0].store.Count(t.Context(), keyspace.ManagersPrefix)
		return err == nil && n == 1
	})
}
