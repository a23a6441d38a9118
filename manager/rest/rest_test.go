package rest

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cyphonic/cyphonic/internal/identity"
	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/manager/cache"
	"github.com/cyphonic/cyphonic/manager/store"
	"github.com/cyphonic/cyphonic/manager/store/etcd"
)

// world is a server on an embedded etcd.
type world struct {
	t      testing.TB
	url    string
	admin  string
	hash   string // of admin
	store  store.Store
	etcd   *etcd.Embedded
	server *Server
	cache  *cache.Cache
	key    keyspace.KeyRecord
	log    *lockedBuffer
	clock  *clock
	client *http.Client // nil: the default one
}

// send does a request.
func (w *world) send(r *http.Request) (*http.Response, error) {
	if w.client != nil {
		return w.client.Do(r)
	}
	return http.DefaultClient.Do(r)
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// clock is the time that the server sees: real time plus what tests add.
type clock struct {
	mu    sync.Mutex
	ahead time.Duration
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.ahead)
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ahead += d
}

func newWorld(t testing.TB) *world {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	e, err := etcd.StartEmbedded(ctx, t.TempDir(), slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	w := &world{t: t, etcd: e, store: etcd.NewStore(e.Client()), log: &lockedBuffer{}, clock: &clock{}}
	w.key, err = keyspace.NewKeyRecord(rand.Reader, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.store.Create(ctx, keyspace.Key(keyspace.PurposeAccess, w.key.ID), keyspace.Encode(w.key)); err != nil {
		t.Fatal(err)
	}
	w.serve(w.store)
	return w
}

// serve starts an HTTP server with a cache of its own on a store; it is the one
// that the world talks to from now on.
func (w *world) serve(s store.Store) {
	w.t.Helper()
	if w.admin == "" {
		secret, hash, err := identity.NewOpaqueToken(rand.Reader, identity.AdminTokenPrefix)
		if err != nil {
			w.t.Fatal(err)
		}
		w.admin, w.hash = secret, hash
	}
	w.cache = w.runCache(s)
	registry := prometheus.NewRegistry()
	server, err := New(Options{
		Store: s, Cache: w.cache, AdminTokenHash: w.hash, Registerer: registry, Gatherer: registry,
		Log:  slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Rand: rand.Reader, Now: w.clock.now,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	server.heartbeat = 50 * time.Millisecond
	w.server = server
	base, cancel := context.WithCancel(context.Background())
	h := httptest.NewUnstartedServer(server.Handler())
	h.Config.BaseContext = func(net.Listener) context.Context { return base }
	h.Start()
	w.t.Cleanup(func() {
		cancel()
		h.Close()
	})
	w.url = h.URL
}

// runCache runs a cache on a store until the test ends, and waits until it is
// filled.
func (w *world) runCache(s store.Store) *cache.Cache {
	w.t.Helper()
	c, err := cache.New(cache.Options{Store: s, Log: slog.New(slog.NewTextHandler(w.log, nil)), Registerer: prometheus.NewRegistry(), Now: w.clock.now})
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := c.Run(ctx); err != nil {
			w.t.Errorf("the cache ended: %v", err)
		}
	}()
	w.t.Cleanup(func() {
		cancel()
		<-done
	})
	if _, never := s.(downStore); never {
		return c
	}
	select {
	case <-c.Ready():
	case <-time.After(10 * time.Second):
		w.t.Fatal("the cache is not filled")
	}
	return c
}

// reply is an answer with its body decoded.
type reply struct {
	code   int
	header http.Header
	raw    string
	body   map[string]any
}

// at returns the value at a path like "metadata.name", or nil.
func (r reply) at(path string) any {
	var v any = r.body
	for _, part := range strings.Split(path, ".") {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[part]
	}
	return v
}

func (r reply) text(path string) string {
	s, _ := r.at(path).(string)
	return s
}

// pointers lists the fields at fault.
func (r reply) pointers() string {
	var out []string
	list, _ := r.at("errors").([]any)
	for _, e := range list {
		out = append(out, e.(map[string]any)["pointer"].(string))
	}
	return strings.Join(out, " ")
}

// with sets a request header: "If-Match", "…".
type with struct{ name, value string }

func (w *world) do(method, path, token, body string, headers ...with) reply {
	w.t.Helper()
	var reader io.Reader
	if body != "" {
		reader = strings.NewReader(body)
	}
	r, err := http.NewRequest(method, w.url+path, reader)
	if err != nil {
		w.t.Fatal(err)
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for _, h := range headers {
		r.Header.Set(h.name, h.value)
	}
	a, err := w.send(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = a.Body.Close() }()
	raw, err := io.ReadAll(a.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	out := reply{code: a.StatusCode, header: a.Header, raw: string(raw)}
	if strings.Contains(a.Header.Get("Content-Type"), "json") {
		if err := json.Unmarshal(raw, &out.body); err != nil {
			w.t.Fatalf("%s %s: %v in %s", method, path, err, raw)
		}
	}
	if a.StatusCode >= 400 && (a.Header.Get("Content-Type") != "application/problem+json" || out.text("requestId") == "" || out.text("detail") == "") {
		w.t.Errorf("%s %s: %d is not a complete problem: %s", method, path, a.StatusCode, raw)
	}
	return out
}

// must does an administrator's request that has to give a status.
func (w *world) must(code int, method, path, body string, headers ...with) reply {
	w.t.Helper()
	r := w.do(method, path, w.admin, body, headers...)
	if r.code != code {
		w.t.Fatalf("%s %s: got %d, want %d: %s", method, path, r.code, code, r.raw)
	}
	return r
}

func resource(kind, name, spec string) string {
	return fmt.Sprintf(`{"apiVersion":"cyphonic/v1","kind":%q,"metadata":{"name":%q},"spec":%s}`, kind, name, spec)
}

func networkBody(name, ipv4 string) string {
	return resource("Network", name, fmt.Sprintf(`{"ipv4Prefix":%q,"ipv6Prefix":"fd00:1::/64","domain":"%s.example.internal"}`, ipv4, name))
}

func nodeBody(name, network string) string {
	return resource("Node", name, fmt.Sprintf(`{"network":%q}`, network))
}

func gnBody(name, network, adapter, mac string) string {
	return resource("GeneralNode", name, fmt.Sprintf(`{"network":%q,"adapter":%q,"mac":%q}`, network, adapter, mac))
}

// factory creates a network "f" with two adapters.
func (w *world) factory() {
	w.t.Helper()
	w.must(201, "POST", "/api/v1/networks", networkBody("f", "10.1.0.0/24"))
	w.must(201, "POST", "/api/v1/adapters", resource("Adapter", "a1", `{"network":"f"}`))
	w.must(201, "POST", "/api/v1/adapters", resource("Adapter", "a2", `{"network":"f"}`))
}

// adapterToken is an access token as the AS makes them.
func (w *world) adapterToken(kind, name string, key [32]byte, notAfter time.Time) string {
	w.t.Helper()
	ring := identity.Keyring{Current: identity.SealingKey{ID: w.key.ID, Key: key}}
	token, err := identity.SealAccessToken(rand.Reader, ring, identity.AccessClaims{
		Kind: kind, Name: name, UID: w.do("GET", "/api/v1/adapters/"+name, w.admin, "").text("metadata.uid"), NotAfter: notAfter,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return token
}

func (w *world) tokenOf(adapter string) string {
	return w.adapterToken("Adapter", adapter, w.key.Secret, time.Now().Add(time.Hour))
}

// event is a line of a watch.
type event struct {
	Type   string         `json:"type"`
	Object map[string]any `json:"object"`
}

func (e event) String() string {
	meta, _ := e.Object["metadata"].(map[string]any)
	return fmt.Sprintf("%s %v", e.Type, meta["name"])
}

// patience is how long tests wait for what comes at once on a machine that has
// nothing else to do.
const patience = 5 * time.Second

// watching is an open watch.
type watching struct {
	t     testing.TB
	lines chan event
}

// watch opens a watch and fails if the answer is not 200.
func (w *world) watch(path, token string) *watching {
	w.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r, err := http.NewRequestWithContext(ctx, "GET", w.url+path, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	a, err := w.send(r)
	if err != nil {
		w.t.Fatal(err)
	}
	if a.StatusCode != 200 || a.Header.Get("Content-Type") != "application/x-ndjson" {
		b, _ := io.ReadAll(a.Body)
		w.t.Fatalf("watch %s: %d %s", path, a.StatusCode, b)
	}
	out := &watching{t: w.t, lines: make(chan event, 1000)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer close(out.lines)
		scanner := bufio.NewScanner(a.Body)
		scanner.Buffer(nil, 1<<20)
		for scanner.Scan() {
			var e event
			if err := json.Unmarshal(scanner.Bytes(), &e); err != nil {
				w.t.Errorf("watch: %v in %s", err, scanner.Bytes())
				return
			}
			out.lines <- e
		}
	}()
	w.t.Cleanup(func() {
		cancel()
		_ = a.Body.Close()
		<-done
	})
	return out
}

// next returns the next event that is not a BOOKMARK, which must come within
// patience.
func (x *watching) next() event {
	x.t.Helper()
	limit := time.After(patience)
	for {
		select {
		case e, ok := <-x.lines:
			if !ok {
				x.t.Fatal("the watch ended")
			}
			if e.Type != "BOOKMARK" {
				return e
			}
		case <-limit:
			x.t.Fatal("no event comes")
		}
	}
}

// bookmark returns the resourceVersion of the next BOOKMARK; anything else is
// a failure.
func (x *watching) bookmark() string {
	x.t.Helper()
	select {
	case e, ok := <-x.lines:
		if !ok || e.Type != "BOOKMARK" {
			x.t.Fatalf("got %v, want a BOOKMARK", e)
		}
		return e.Object["metadata"].(map[string]any)["resourceVersion"].(string)
	case <-time.After(patience):
		x.t.Fatal("no heartbeat comes")
	}
	return ""
}

// expect wants the next events to be these.
func (x *watching) expect(want ...string) {
	x.t.Helper()
	for _, s := range want {
		if e := x.next(); e.String() != s {
			x.t.Fatalf("got %v, want %s", e, s)
		}
	}
}
