package ctl_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cyphonic/cyphonic/internal/ctl"
	"github.com/cyphonic/cyphonic/manager"
	"github.com/cyphonic/cyphonic/manager/store/etcd"
)

// replicas are managers on one store.
type replicas struct {
	t         testing.TB
	store     *etcd.Store
	stopStore func() // the database goes away for good
	directory string
	hash      string
}

func newReplicas(t testing.TB) *replicas {
	t.Helper()
	r := &replicas{t: t, directory: t.TempDir()}
	if code := ctl.Run(t.Context(), []string{"init", "--directory", r.directory, "--address", "127.0.0.1"}, environment(io.Discard)); code != 0 {
		t.Fatal("init failed")
	}
	server, err := etcd.StartEmbedded(t.Context(), filepath.Join(r.directory, "data"), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	r.stopStore = sync.OnceFunc(server.Close)
	t.Cleanup(r.stopStore)
	r.store = etcd.NewStore(server.Client())
	hash, err := os.ReadFile(filepath.Join(r.directory, "cloud", "admin-token.sha256"))
	if err != nil {
		t.Fatal(err)
	}
	r.hash = strings.TrimSpace(string(hash))
	return r
}

// start starts a manager and returns where it listens and what stops it.
func (r *replicas) start(listen string) (address string, stop func()) {
	r.t.Helper()
	m, err := manager.New(manager.Options{
		Store: r.store, Listen: listen, AdminTokenHash: r.hash, Registerer: prometheus.NewRegistry(), Log: slog.New(slog.DiscardHandler),
		TLSCert: filepath.Join(r.directory, "cloud", "tls.crt"), TLSKey: filepath.Join(r.directory, "cloud", "tls.key"),
	})
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.t.Context()))
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			r.t.Error(err)
		}
	}
	r.t.Cleanup(stop)
	return m.Addr().String(), stop
}

func (r *replicas) configure(args ...string) string {
	r.t.Helper()
	config := filepath.Join(r.directory, "config.yaml")
	run(r.t.(*testing.T), config, "", append([]string{"config", "set-context", "default"}, args...)...)
	return config
}

func TestWatchesAndRequestsGoOnAtAnotherManager(t *testing.T) {
	r := newReplicas(t)
	first, stopFirst := r.start("127.0.0.1:0")
	second, stopSecond := r.start("127.0.0.1:0")
	config := r.configure("--server", "https://"+first, "--server", "https://"+second)
	apply(t, config, `{apiVersion: cyphonic/v1, kind: Network, metadata: {name: a}, spec: {ipv4Prefix: 10.0.0.0/24, ipv6Prefix: "fd00::/64", domain: a.b}}`)
	lines, stop := start(t, config, "watch", "networks")
	expect(t, lines, `^ADDED    network/a$`)

	stopFirst() // the first that is asked
	apply(t, config, `{apiVersion: cyphonic/v1, kind: Network, metadata: {name: b}, spec: {ipv4Prefix: 10.1.0.0/24, ipv6Prefix: "fd01::/64", domain: b.b}}`)
	expectAfterStatus(t, lines, `^ADDED    network/b$`)

	stopSecond() // nobody is left until it is back
	_, stopThird := r.start(second)
	run(t, config, "", "delete", "network", "b")
	expectAfterStatus(t, lines, `^DELETED  network/b$`)
	if code := stop(); code != 0 {
		t.Errorf("exit code %d after the interruption, want 0", code)
	}
	stopThird()
}

func TestStaleAnswersAreSaid(t *testing.T) {
	r := newReplicas(t)
	address, _ := r.start("127.0.0.1:0")
	config := r.configure("--server", "https://"+address)
	apply(t, config, `{apiVersion: cyphonic/v1, kind: Network, metadata: {name: a}, spec: {ipv4Prefix: 10.0.0.0/24, ipv6Prefix: "fd00::/64", domain: a.b}}`)
	r.stopStore()
	var out, said strings.Builder
	env := environment(&out)
	env.Stderr = &said
	code := ctl.Run(t.Context(), []string{"--config", config, "get", "networks", "-o", "name"}, env)
	if code != 0 || out.String() != "network/a\n" || !regexp.MustCompile(`(?m)^warning: .* this is the state of 20`).MatchString(said.String()) {
		t.Errorf("exit code %d, %q, %q", code, out.String(), said.String())
	}
	code = ctl.Run(t.Context(), []string{"--config", config, "label", "network", "a", "b=c"}, env)
	if code != 7 {
		t.Errorf("exit code %d of a change, want 7: %s", code, said.String())
	}
}

// expectAfterStatus is expect, but passes over what managers write into statuses meanwhile.
func expectAfterStatus(t *testing.T, lines *bufio.Scanner, pattern string) {
	t.Helper()
	for lines.Scan() {
		if regexp.MustCompile(pattern).MatchString(lines.Text()) {
			return
		}
		if !strings.HasPrefix(lines.Text(), "MODIFIED ") {
			t.Fatalf("got line %q, want %s", lines.Text(), pattern)
		}
	}
	t.Fatalf("the output ended before a line like %s", pattern)
}

func TestAMachineIsKnownByItsCertificate(t *testing.T) {
	directory := t.TempDir()
	machine := newMachine(t, directory)
	config, err := startManagerWith(t, filepath.Join(directory, "site"), func(o *manager.Options) { o.ClientCA = machine })
	if err != nil {
		t.Fatal(err)
	}
	run(t, config, "", "config", "set-context", "machine", "--current", "--server", serverOf(t, config), "--trust", filepath.Join(directory, "site", "trust.json"),
		"--certificate-file", filepath.Join(directory, "machine.crt"), "--key-file", filepath.Join(directory, "machine.key"))
	var out strings.Builder
	if code := ctl.Run(t.Context(), []string{"--config", config, "whoami", "-o", "name"}, environment(&out)); code != 0 || out.String() != "certificate/backup.example.org\n" {
		t.Errorf("exit code %d, %q", code, out.String())
	}
}

// serverOf is where the manager of the first context listens.
func serverOf(t *testing.T, config string) string {
	t.Helper()
	var out strings.Builder
	if code := ctl.Run(t.Context(), []string{"--config", config, "config", "get-contexts"}, environment(&out)); code != 0 {
		t.Fatal(out.String())
	}
	return "https://" + strings.Fields(strings.SplitN(out.String(), "https://", 2)[1])[0]
}

// newMachine writes the certificate and key of a machine, and returns the file with the certificate of the authority that signed it.
func newMachine(t *testing.T, directory string) string {
	t.Helper()
	authority, machine := newKey(t), newKey(t)
	parent := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "machines"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), DNSNames: []string{"backup.example.org"}, Subject: pkix.Name{CommonName: "backup.example.org"},
		NotBefore: parent.NotBefore, NotAfter: parent.NotAfter, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, KeyUsage: x509.KeyUsageDigitalSignature,
	}
	write := func(name, kind string, content []byte) string {
		path := filepath.Join(directory, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: content}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	signed := func(template *x509.Certificate, key *ecdsa.PrivateKey) []byte {
		raw, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, authority)
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	private, err := x509.MarshalPKCS8PrivateKey(machine)
	if err != nil {
		t.Fatal(err)
	}
	write("machine.key", "PRIVATE KEY", private)
	write("machine.crt", "CERTIFICATE", signed(leaf, machine))
	return write("authority.crt", "CERTIFICATE", signed(parent, authority))
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}
