package manager

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/cyphonic/cyphonic/internal/identity"
	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/manager/access"
	"github.com/cyphonic/cyphonic/manager/schema"
	"github.com/cyphonic/cyphonic/manager/store"
	"github.com/cyphonic/cyphonic/manager/store/etcd"
)

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

func openStore(t *testing.T, dir string) *etcd.Embedded {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	e, err := etcd.StartEmbedded(ctx, dir, quiet())
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// credentials are the files and secrets of a manager in a test.
type credentials struct {
	cert, key   string // files
	pool        *x509.CertPool
	token, hash string
}

func newCredentials(t *testing.T) credentials {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	c := credentials{cert: filepath.Join(t.TempDir(), "tls.crt"), key: filepath.Join(t.TempDir(), "tls.key"), pool: x509.NewCertPool()}
	write := func(path, kind string, b []byte) {
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(c.cert, "CERTIFICATE", der)
	write(c.key, "PRIVATE KEY", keyDER)
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	c.pool.AddCert(parsed)
	c.token, c.hash, err = identity.NewOpaqueToken(rand.Reader, identity.AdminTokenPrefix)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (c credentials) options(s store.Store) Options {
	return Options{
		Store: s, Listen: "127.0.0.1:0", TLSCert: c.cert, TLSKey: c.key, AdminTokenHash: c.hash,
		Registerer: prometheus.NewRegistry(), Log: quiet(),
	}
}

func (c credentials) client() *http.Client {
	return &http.Client{
		Timeout:   30 * time.Second,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: c.pool}, ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 16},
	}
}

// run runs a manager until the test ends or stop is called.
func run(t *testing.T, m *Manager) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				t.Errorf("Run: %v", err)
			}
		})
	}
	t.Cleanup(stop)
	return stop
}

// waitReady waits until /readyz says so.
func waitReady(t *testing.T, client *http.Client, base string) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); {
		r, err := client.Get(base + "/readyz")
		if err == nil {
			_ = r.Body.Close()
			if r.StatusCode == 200 {
				return
			}
		}
		time.Sleep(10 * time.Millisecond) // another process's start has no event to wait for
	}
	t.Fatal("the manager does not become ready")
}

func do(client *http.Client, method, url, token string, body any) (int, map[string]any, error) {
	var b []byte
	if body != nil {
		b, _ = json.Marshal(body)
	}
	r, err := http.NewRequest(method, url, bytes.NewReader(b))
	if err != nil {
		return 0, nil, err
	}
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("Content-Type", "application/json")
	a, err := client.Do(r)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = a.Body.Close() }()
	raw, err := io.ReadAll(a.Body)
	if err != nil {
		return 0, nil, err
	}
	var out map[string]any
	if err := json.Unmarshal(raw, &out); err != nil {
		return 0, nil, err
	}
	return a.StatusCode, out, nil
}

func TestRefusesToStart(t *testing.T) {
	c := newCredentials(t)
	sample := identity.HashOpaqueToken("changeme")
	cases := []struct {
		name   string
		change func(o *Options)
		want   error
	}{
		{"without a token hash", func(o *Options) { o.AdminTokenHash = "" }, access.ErrAdminTokenHash},
		{"with the hash of a sample token", func(o *Options) { o.AdminTokenHash = sample }, access.ErrAdminTokenHash},
		{"with a token instead of its hash", func(o *Options) { o.AdminTokenHash = c.token }, access.ErrAdminTokenHash},
		{"without a certificate", func(o *Options) { o.TLSCert = "/nonexistent" }, os.ErrNotExist},
	}
	for _, k := range cases {
		o := c.options(downStore{})
		k.change(&o)
		if m, err := New(o); !errors.Is(err, k.want) {
			if m != nil {
				_ = m.Close()
			}
			t.Errorf("%s: %v", k.name, err)
		}
	}
}

// downStore is a store that does not answer.
type downStore struct{}

func (downStore) Get(context.Context, string) (store.Entry, error) {
	return store.Entry{}, store.ErrUnavailable
}

func (downStore) List(context.Context, string, store.ListOptions) (store.Listing, error) {
	return store.Listing{}, store.ErrUnavailable
}
func (downStore) Count(context.Context, string) (int64, error) { return 0, store.ErrUnavailable }
func (downStore) Create(context.Context, string, []byte) (int64, error) {
	return 0, store.ErrUnavailable
}

func (downStore) Update(context.Context, string, []byte, int64) (int64, error) {
	return 0, store.ErrUnavailable
}

func (downStore) Delete(context.Context, string, int64) (int64, error) {
	return 0, store.ErrUnavailable
}

func (downStore) Commit(context.Context, store.Transaction) (int64, error) {
	return 0, store.ErrUnavailable
}

func (downStore) Watch(context.Context, string, int64) (store.Watcher, error) {
	return nil, store.ErrUnavailable
}
func (downStore) Revision(context.Context) (int64, error) { return 0, store.ErrUnavailable }
func (downStore) Lead(context.Context, string, string, time.Duration) (store.Leadership, error) {
	return nil, store.ErrUnavailable
}
func (downStore) Ping(context.Context) error { return store.ErrUnavailable }

func TestStartsWhileTheStoreIsDown(t *testing.T) {
	c := newCredentials(t)
	m, err := New(c.options(downStore{}))
	if err != nil {
		t.Fatal(err)
	}
	run(t, m)
	base := "https://" + m.Addr().String()
	code, body, err := do(c.client(), "GET", base+"/readyz", "", nil)
	if err != nil || code != 503 {
		t.Fatalf("%d %v %v", code, body, err)
	}
}

func TestANewerDatabaseIsNotTouched(t *testing.T) {
	c := newCredentials(t)
	e := openStore(t, t.TempDir())
	defer e.Close()
	s := etcd.NewStore(e.Client())
	record := keyspace.Encode(keyspace.SchemaRecord{Version: schema.Version + 1})
	if _, err := s.Create(t.Context(), keyspace.Schema, record); err != nil {
		t.Fatal(err)
	}
	m, err := New(c.options(s))
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Run(t.Context()); !errors.Is(err, schema.ErrNewer) {
		t.Errorf("Run: %v", err)
	}
	if n, err := s.Count(t.Context(), keyspace.Root); err != nil || n != 0 {
		t.Errorf("%d keys were written: %v", n, err)
	}
}

func TestServesOnlyTLS13AndStopsCleanly(t *testing.T) {
	c := newCredentials(t)
	ignore := goleak.IgnoreCurrent()
	e := openStore(t, t.TempDir())
	m, err := New(c.options(etcd.NewStore(e.Client())))
	if err != nil {
		t.Fatal(err)
	}
	stop := run(t, m)
	client := c.client()
	base := "https://" + m.Addr().String()
	waitReady(t, client, base)
	old := &tls.Config{RootCAs: c.pool, MaxVersion: tls.VersionTLS12}
	if conn, err := tls.Dial("tcp", m.Addr().String(), old); err == nil {
		_ = conn.Close()
		t.Error("TLS 1.2 was accepted")
	}
	r, err := http.NewRequest("GET", base+"/api/v1/nodes?watch=true", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+c.token)
	a, err := client.Do(r)
	if err != nil || a.StatusCode != 200 {
		t.Fatal(a, err)
	}
	if a.ProtoMajor != 2 {
		t.Errorf("the watch runs over %s", a.Proto)
	}
	start := time.Now()
	stop()
	if d := time.Since(start); d > shutdownTimeout/2 {
		t.Errorf("an open watch held up the shutdown for %s", d)
	}
	_, _ = io.ReadAll(a.Body)
	_ = a.Body.Close()
	client.CloseIdleConnections()
	e.Close()
	goleak.VerifyNone(t, ignore)
}

func TestKeysAreCreatedOnce(t *testing.T) {
	e := openStore(t, t.TempDir())
	defer e.Close()
	s := etcd.NewStore(e.Client())
	errs := make([]error, 8)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() { errs[i] = ensureKeys(t.Context(), s, rand.Reader, time.Now) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	if err := ensureKeys(t.Context(), s, rand.Reader, time.Now); err != nil {
		t.Fatal(err)
	}
	l, err := s.List(t.Context(), keyspace.KeysPrefix, store.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	secrets := map[keyspace.Secret]bool{}
	for _, entry := range l.Entries {
		r, err := keyspace.Decode[keyspace.KeyRecord](entry.Value)
		if err != nil {
			t.Fatal(err)
		}
		secrets[r.Secret] = true
	}
	if len(l.Entries) != len(keyspace.Purposes()) || len(secrets) != len(keyspace.Purposes()) {
		t.Fatalf("%d keys with %d secrets for %d purposes", len(l.Entries), len(secrets), len(keyspace.Purposes()))
	}
}

func TestBootstrapFailsWithoutRandomness(t *testing.T) {
	e := openStore(t, t.TempDir())
	defer e.Close()
	err := ensureKeys(t.Context(), etcd.NewStore(e.Client()), strings.NewReader("too short"), time.Now)
	if err == nil {
		t.Fatal("keys were made out of nothing")
	}
}
