package gitsync

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/yaml"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/api/client"
	"github.com/cyphonic/cyphonic/internal/identity"
	"github.com/cyphonic/cyphonic/manager/access"
	"github.com/cyphonic/cyphonic/manager/audit"
	"github.com/cyphonic/cyphonic/manager/cache"
	"github.com/cyphonic/cyphonic/manager/events"
	"github.com/cyphonic/cyphonic/manager/gitsync/gittest"
	"github.com/cyphonic/cyphonic/manager/inprocess"
	"github.com/cyphonic/cyphonic/manager/rest"
	"github.com/cyphonic/cyphonic/manager/store/etcd"
)

// world is a manager with a git server.
type world struct {
	t       *testing.T
	git     *gittest.Server
	secrets string
	cache   *cache.Cache
	admin   *client.Client
	syncer  *Syncer
	plans   atomic.Int64 // that were asked for
	// refuse, if set, answers requests before the API does.
	refuse atomic.Pointer[func(w http.ResponseWriter, r *http.Request) bool]
}

func newWorld(t *testing.T) *world {
	t.Helper()
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	e, err := etcd.StartEmbedded(t.Context(), t.TempDir(), log)
	if err != nil {
		t.Fatal(err)
	}
	s := etcd.NewStore(e.Client())
	registry := prometheus.NewRegistry()
	w := &world{t: t, git: gittest.Start(t)}
	w.secrets = gittest.Secret(t, "fleet", map[string]string{"ca.crt": string(w.git.CA()), "hosts": "127.0.0.1\n"})
	w.cache = must(cache.New(cache.Options{Store: s, Log: log, Registerer: registry}))(t)
	recorder := must(events.NewRecorder(events.Options{Store: s, Source: "manager", Registerer: registry, Log: log, Now: time.Now}))(t)
	journal := must(audit.New(audit.Options{Store: s, Log: log, Registerer: registry, Now: time.Now}))(t)
	hash := identity.HashOpaqueToken("cym1.only-for-this-test")
	rights := must(access.New(access.Options{Cache: w.cache, Store: s, AdminTokenHash: hash, Log: log, Registerer: registry, Now: time.Now}))(t)
	server := must(rest.New(rest.Options{
		Store: s, Cache: w.cache, Access: rights, Audit: journal, Events: recorder, Registerer: registry, Gatherer: registry, Log: log, Now: time.Now,
	}))(t)
	inner := server.Handler()
	front := inprocess.API{As: rest.WithPrincipal, Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/plans") {
			w.plans.Add(1)
		}
		if f := w.refuse.Load(); f != nil && (*f)(rw, r) {
			return
		}
		inner.ServeHTTP(rw, r)
	})}
	w.admin = inprocess.API{As: rest.WithPrincipal, Handler: inner}.Client(access.Principal{Kind: access.Admin})
	w.syncer = must(New(Options{Cache: w.cache, API: front, SecretsDirectory: w.secrets, Events: recorder, Registerer: registry, Log: log, Now: time.Now}))(t)
	w.syncer.interval = func(*api.GitSource) time.Duration { return 100 * time.Millisecond }
	w.syncer.retry = 50 * time.Millisecond
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = w.cache.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done; e.Close() })
	<-w.cache.Ready()
	w.create(`{kind: Role, metadata: {name: fleet}, spec: {rules: [{verbs: ["*"], kinds: ["*"]}]}}`)
	return w
}

func must[T any](value T, err error) func(t *testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

// run follows the sources until the test ends or the function is called.
func (w *world) run() (stop func()) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.syncer.Run(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			w.t.Errorf("Run: %v", err)
		}
	}
	w.t.Cleanup(stop)
	return stop
}

// create applies a resource as the administrator; apiVersion is added.
func (w *world) create(text string) {
	w.t.Helper()
	o := decodeText(w.t, text)
	if _, _, err := w.admin.Replace(w.t.Context(), o, client.WriteOptions{}); err != nil {
		w.t.Fatal(err)
	}
}

// source makes a git source of the server; more are further fields.
func (w *world) source(more string) {
	w.t.Helper()
	w.create(fmt.Sprintf("{kind: GitSource, metadata: {name: fleet}, spec: {url: %q, secretName: fleet, role: fleet%s}}", w.git.URL(), more))
}

func (w *world) status() api.GitSourceStatus {
	w.t.Helper()
	return w.get("GitSource", "fleet").(*api.GitSource).Status
}

func (w *world) get(kind, name string) api.Object {
	w.t.Helper()
	o, err := w.find(kind, name)
	if err != nil {
		w.t.Fatal(err)
	}
	return o
}

func (w *world) find(kind, name string) (api.Object, error) {
	k, _ := api.KindNamed(kind)
	return w.admin.Get(w.t.Context(), k, name)
}

func (w *world) absent(kind, name string) bool {
	_, err := w.find(kind, name)
	return client.IsNotFound(err)
}

// wait waits until the status of the source is as wanted.
func (w *world) wait(what string, is func(api.GitSourceStatus) bool) api.GitSourceStatus {
	w.t.Helper()
	var last api.GitSourceStatus
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); {
		if last = w.status(); is(last) {
			return last
		}
		time.Sleep(20 * time.Millisecond) // the syncer is driven by real time and a real server
	}
	w.t.Fatalf("%s: the status stays %s", what, show(last))
	return last
}

// synced waits until a commit is applied and in sync.
func (w *world) synced(commit string) api.GitSourceStatus {
	w.t.Helper()
	return w.wait("commit "+short(commit)+" in sync", func(s api.GitSourceStatus) bool {
		return s.AppliedCommit == commit && is(s, "InSync", api.ConditionStatusTrue)
	})
}

// refused waits until a commit is observed and refused for a reason.
func (w *world) refused(commit, condition, reason string) api.GitSourceStatus {
	w.t.Helper()
	return w.wait("commit "+short(commit)+" refused", func(s api.GitSourceStatus) bool {
		c := conditionOf(s, condition)
		return s.ObservedCommit == commit && c.Status == api.ConditionStatusFalse && c.Reason == reason
	})
}

// rounds waits until the syncer has begun and ended so many more rounds.
func (w *world) rounds(n int64) {
	w.t.Helper()
	start := w.git.Requests()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if w.git.Requests() >= start+n+1 {
			return
		}
	}
	w.t.Fatal("the syncer does no rounds")
}

func conditionOf(s api.GitSourceStatus, kind string) api.Condition {
	for _, c := range s.Conditions {
		if c.Type == kind {
			return c
		}
	}
	return api.Condition{}
}

func is(s api.GitSourceStatus, kind string, status api.ConditionStatus) bool {
	return conditionOf(s, kind).Status == status
}

func show(s api.GitSourceStatus) string {
	var b strings.Builder
	fmt.Fprintf(&b, "observed %s applied %s resources %d drifted %d\n", short(s.ObservedCommit), short(s.AppliedCommit), s.Resources, s.Drifted)
	for _, c := range s.Conditions {
		fmt.Fprintf(&b, "  %s=%s %s: %s\n", c.Type, c.Status, c.Reason, c.Message)
	}
	for _, f := range s.Failures {
		fmt.Fprintf(&b, "  - %s\n", describe(f))
	}
	return b.String()
}

func decodeText(t *testing.T, text string) api.Object {
	t.Helper()
	raw, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	fields, err := decodeFields(raw)
	if err != nil {
		t.Fatal(err)
	}
	fields["apiVersion"] = api.Version
	if raw, err = json.Marshal(fields); err != nil {
		t.Fatal(err)
	}
	o, err := api.DecodeObject(raw)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// eventually waits until something holds.
func (w *world) eventually(what string, holds func() bool) {
	w.t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if holds() {
			return
		}
	}
	w.t.Fatalf("%s: does not happen; the status is %s", what, show(w.status()))
}
