package rest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/manager/access"
	"github.com/cyphonic/cyphonic/manager/access/accesstest"
	"github.com/cyphonic/cyphonic/manager/audit"
	"github.com/cyphonic/cyphonic/manager/store"
	"github.com/cyphonic/cyphonic/manager/telemetry"
)

// column is one subject of the matrix.
type column struct {
	name  string
	token string
	// certificate is sent instead of a token.
	certificate *tls.Certificate
	// fails says that the credential is refused, for which the clock has to go
	// on, so that the source is not slowed down.
	fails bool
}

// matrixWorld is a server on TLS with networks hall and yard, with something of
// every kind in both, and with a subject of every sort.
type matrixWorld struct {
	*world
	columns []column
	ca      *x509.Certificate
	caKey   *ecdsa.PrivateKey
	roots   *x509.CertPool
	chain   *audit.Log
	serial  int64
}

func newMatrixWorld(t *testing.T) *matrixWorld {
	t.Helper()
	m := &matrixWorld{world: newWorld(t), roots: x509.NewCertPool()}
	m.makeAuthority()
	provider := accesstest.New(t, accesstest.User{Name: "vera", Password: "pw", Groups: []string{"watchers"}})
	m.serveTLS(&access.OIDC{Issuer: provider.Issuer, ClientID: provider.ClientID, UsernameClaim: "sub", GroupsClaim: "groups", Roots: provider.Roots})
	m.plantResources()
	m.plantRights()
	idToken, err := provider.Login("vera", "pw")
	if err != nil {
		t.Fatal(err)
	}
	expired := m.apiToken("expired", `{"rules":[{"verbs":["*"],"kinds":["*"]}],"ttlSeconds":60}`)
	m.columns = []column{
		{name: "administrator", token: m.admin},
		{name: "admin", token: m.apiToken("boss", `{}`)},
		{name: "editor", token: m.apiToken("eddy", `{}`)},
		{name: "viewer-oidc", token: idToken},
		{name: "hall-editor", token: m.apiToken("hannah", `{}`)},
		{name: "hall-viewer-cert", certificate: m.clientCertificate("backup.example.org")},
		{name: "node-deleter", token: m.apiToken("dora", `{}`)},
		{name: "own-rules", token: m.apiToken("otto", `{"rules":[{"verbs":["get"],"kinds":["Node"],"networks":["hall"]}]}`)},
		{name: "adapter", token: m.tokenOf("hall-1")},
		{name: "adapter-yard", token: m.tokenOf("yard-1")},
		{name: "no-rights", token: m.apiToken("nobody", `{}`)},
		{name: "anonymous"},
		{name: "expired", token: expired, fails: true},
	}
	m.clock.advance(61 * time.Second)
	return m
}

// serveTLS replaces the server of the world.
func (m *matrixWorld) serveTLS(oidc *access.OIDC) {
	m.t.Helper()
	registry := prometheus.NewRegistry()
	log := slog.New(slog.NewTextHandler(m.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	rights, err := access.New(access.Options{Cache: m.cache, Store: m.store, AdminTokenHash: m.hash, OIDC: oidc, Log: log, Registerer: registry, Now: m.clock.now})
	if err != nil {
		m.t.Fatal(err)
	}
	if m.chain, err = audit.New(audit.Options{Store: m.store, Log: log, Registerer: registry, Now: m.clock.now}); err != nil {
		m.t.Fatal(err)
	}
	metrics, err := telemetry.New(telemetry.Options{
		Incarnation: func(string) (int64, bool) { return 1, true }, Replicas: func() []string { return nil }, Adapters: func() int { return 2 },
		Log: log, Registerer: registry, Now: m.clock.now,
	})
	if err != nil {
		m.t.Fatal(err)
	}
	m.server, err = New(Options{
		Store: m.store, Cache: m.cache, Access: rights, Audit: m.chain, Telemetry: metrics, Registerer: registry, Gatherer: registry, Log: log, Rand: rand.Reader, Now: m.clock.now,
	})
	if err != nil {
		m.t.Fatal(err)
	}
	base, cancel := context.WithCancel(context.Background())
	h := httptest.NewUnstartedServer(m.server.Handler())
	h.Config.BaseContext = func(net.Listener) context.Context { return base }
	h.Config.ErrorLog = slog.NewLogLogger(log.Handler(), slog.LevelDebug)
	machines := x509.NewCertPool()
	machines.AddCert(m.ca)
	h.TLS = &tls.Config{MinVersion: tls.VersionTLS13, ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: machines}
	h.StartTLS()
	m.t.Cleanup(func() {
		cancel()
		h.Close()
	})
	m.roots.AddCert(h.Certificate())
	m.url = h.URL
	m.client = m.clientWith(nil)
}

func (m *matrixWorld) makeAuthority() {
	m.t.Helper()
	var err error
	if m.caKey, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		m.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "machines"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, m.caKey.Public(), m.caKey)
	if err != nil {
		m.t.Fatal(err)
	}
	if m.ca, err = x509.ParseCertificate(raw); err != nil {
		m.t.Fatal(err)
	}
}

func (m *matrixWorld) clientCertificate(name string) *tls.Certificate {
	m.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		m.t.Fatal(err)
	}
	raw, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(2), DNSNames: []string{name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, m.ca, key.Public(), m.caKey)
	if err != nil {
		m.t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{raw}, PrivateKey: key}
}

// clientWith is an HTTP client that trusts the server and may have a certificate.
func (m *matrixWorld) clientWith(certificate *tls.Certificate) *http.Client {
	config := &tls.Config{RootCAs: m.roots, MinVersion: tls.VersionTLS13}
	if certificate != nil {
		config.Certificates = []tls.Certificate{*certificate}
	}
	transport := &http.Transport{TLSClientConfig: config, MaxIdleConnsPerHost: 4}
	m.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// apiToken creates an APIToken and returns its secret.
func (m *matrixWorld) apiToken(name, spec string) string {
	m.t.Helper()
	secret := m.must(201, "POST", "/api/v1/apitokens", resource("APIToken", name, spec)).text("status.token")
	if secret == "" {
		m.t.Fatalf("APIToken %s has no secret", name)
	}
	return secret
}

// plantResources makes the networks hall and yard with something of every kind,
// and what belongs to no network.
func (m *matrixWorld) plantResources() {
	for i, network := range []string{"hall", "yard"} {
		m.must(201, "POST", "/api/v1/networks", networkBody(network, fmt.Sprintf("10.%d.0.0/16", i+1)))
		m.must(201, "POST", "/api/v1/adapters", resource("Adapter", network+"-1", fmt.Sprintf(`{"network":%q}`, network)))
		m.must(201, "POST", "/api/v1/nodes", nodeBody(network+"-holder", network))
		for _, kind := range []string{"Adapter", "Node", "GeneralNode", "AccessPolicy", "EnrollmentToken"} {
			m.plant(kind, network)
		}
		m.plantEvent(network)
	}
	m.must(201, "POST", "/api/v1/roles", resource("Role", "base", `{"rules":[{"verbs":["get"],"kinds":["Node"]}]}`))
	for _, kind := range systemKinds() {
		m.plantAgain(kind, "")
	}
}

// systemKinds are the kinds that belong to no network.
func systemKinds() []string {
	return []string{"CloudService", "BGPPeer", "BGPAdvertisement", "Replica", "Role", "RoleBinding", "APIToken", "GitSource"}
}

// plantReplica makes a live replica that nobody has asked to drain.
func (m *matrixWorld) plantReplica() {
	m.t.Helper()
	m.live(keyspace.ReplicaRecord{Name: "target", Service: "nms", Host: "host-a", State: keyspace.ReplicaReady})
}

// plant makes the object that a row is about, unless it is there.
func (m *matrixWorld) plant(kind, network string) {
	m.t.Helper()
	k, _ := api.KindNamed(kind)
	name := targetName(kind, network)
	if m.do("GET", "/api/v1/"+k.Plural+"/"+name, m.admin, "").code == 404 {
		m.must(201, "POST", "/api/v1/"+k.Plural, m.body(kind, name, network, "planted"))
	}
}

func (m *matrixWorld) plantEvent(network string) {
	m.t.Helper()
	e := &api.Event{Network: network, Type: api.EventTypeNormal, Reason: "Planted", Message: "planted", Regarding: api.ObjectReference{Kind: "Node", Name: network + "-holder"}}
	e.SetType()
	e.Metadata.Name = targetName("Event", network)
	value, err := json.Marshal(e)
	if err != nil {
		m.t.Fatal(err)
	}
	key := keyspace.Event("nodes", network+"-holder", "0123456789abcdef")
	if _, err := m.store.Commit(context.Background(), store.Transaction{Writes: []store.Write{store.Put(key, value)}}); err != nil {
		m.t.Fatal(err)
	}
}

// targetName names the object that the rows of a kind are about.
func targetName(kind, network string) string {
	switch {
	case kind == "Network":
		return network
	case kind == "Event":
		return "node." + network + "-holder.0123456789abcdef"
	case network == "":
		return "target"
	case kind == "GeneralNode":
		return network + "-camera" // names of devices are unique in their network
	}
	return network + "-target"
}

// body is a complete resource of a kind in a network; mark makes it another.
func (m *matrixWorld) body(kind, name, network, mark string) string {
	m.serial++
	mac := fmt.Sprintf("02:00:00:00:%02x:%02x", m.serial>>8&0xff, m.serial&0xff)
	if strings.HasSuffix(name, "-camera") {
		mac = "02:00:00:01:00:01" // of the target, which is replaced by itself
	}
	prefix, ok := map[string]int64{"hall": 1, "yard": 2}[name]
	if !ok {
		prefix = 3 + m.serial%250
	}
	spec := map[string]string{
		"Network":          fmt.Sprintf(`{"ipv4Prefix":"10.%d.0.0/16","ipv6Prefix":"fd00:1::/64","domain":"%s.example.internal"}`, prefix, name),
		"Adapter":          fmt.Sprintf(`{"network":%q}`, network),
		"Node":             fmt.Sprintf(`{"network":%q}`, network),
		"GeneralNode":      fmt.Sprintf(`{"network":%q,"adapter":"%s-1","mac":%q}`, network, network, mac),
		"AccessPolicy":     fmt.Sprintf(`{"network":%q,"from":[{}],"to":[{}],"rules":[{"protocol":"any"}]}`, network),
		"EnrollmentToken":  fmt.Sprintf(`{"subjectKind":"Node","subjectName":"%s-holder"}`, network),
		"CloudService":     `{"service":"trs","ipv4":"192.0.2.1"}`,
		"Role":             `{"rules":[{"verbs":["get"],"kinds":["Node"]}]}`,
		"RoleBinding":      `{"role":"base","subjects":[{"kind":"User","name":"x"}]}`,
		"APIToken":         `{"rules":[{"verbs":["get"],"kinds":["Node"]}]}`,
		"BGPPeer":          `{"peerAddress":"192.0.2.1","peerASN":64512,"localASN":64513}`,
		"BGPAdvertisement": `{}`,
		"GitSource":        `{"url":"https://git.example.org/x.git","role":"base","suspend":true}`,
	}[kind]
	return fmt.Sprintf(`{"apiVersion":"cyphonic/v1","kind":%q,"metadata":{"name":%q,"labels":{"mark":%q}},"spec":%s}`, kind, name, mark, spec)
}

// plantRights makes the roles of the columns and binds them.
func (m *matrixWorld) plantRights() {
	resources := `"Network","Node","Adapter","GeneralNode","AccessPolicy","CloudService","BGPPeer","BGPAdvertisement","Replica","EnrollmentToken","Event"`
	for name, rules := range map[string]string{
		"admin":   `[{"verbs":["*"],"kinds":["*"]}]`,
		"editor":  `[{"verbs":["*"],"kinds":[` + resources + `,"Plan","Reachability"]}]`,
		"viewer":  `[{"verbs":["get","list","watch"],"kinds":[` + resources + `,"Role","RoleBinding","Audit","Metrics","Reachability"]}]`,
		"deleter": `[{"verbs":["delete"],"kinds":["Node"]}]`,
	} {
		m.must(201, "POST", "/api/v1/roles", resource("Role", name, `{"rules":`+rules+`}`))
	}
	for name, spec := range map[string]string{
		"admins":      `{"role":"admin","subjects":[{"kind":"Token","name":"boss"}]}`,
		"editors":     `{"role":"editor","subjects":[{"kind":"Token","name":"eddy"}]}`,
		"viewers":     `{"role":"viewer","subjects":[{"kind":"Group","name":"watchers"}]}`,
		"hall":        `{"role":"editor","networks":["hall"],"subjects":[{"kind":"Token","name":"hannah"}]}`,
		"hall-backup": `{"role":"viewer","networks":["hall"],"subjects":[{"kind":"Certificate","name":"backup.example.org"}]}`,
		"deleters":    `{"role":"deleter","subjects":[{"kind":"Token","name":"dora"}]}`,
		"adapters":    `{"role":"admin","subjects":[{"kind":"User","name":"hall-1"}]}`,
	} {
		m.must(201, "POST", "/api/v1/rolebindings", resource("RoleBinding", name, spec))
	}
}

// ask does one request as a column. A watch is read up to its first BOOKMARK.
func (m *matrixWorld) ask(c column, r *http.Request) reply {
	m.t.Helper()
	client := m.client
	if c.certificate != nil {
		client = m.clientWith(c.certificate)
	}
	if c.token != "" {
		r.Header.Set("Authorization", "Bearer "+c.token)
	}
	if c.fails {
		m.clock.advance(4 * time.Second)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	a, err := client.Do(r.WithContext(ctx))
	if err != nil {
		m.t.Fatalf("%s %s as %s: %v", r.Method, r.URL.Path, c.name, err)
	}
	defer func() { _ = a.Body.Close() }()
	out := reply{code: a.StatusCode, header: a.Header}
	if a.Header.Get("Content-Type") != "application/x-ndjson" {
		raw, err := io.ReadAll(a.Body)
		if err != nil {
			m.t.Fatalf("%s %s as %s: %v", r.Method, r.URL.Path, c.name, err)
		}
		out.raw = string(raw)
		return out
	}
	for b := make([]byte, 4096); !strings.Contains(out.raw, `"BOOKMARK"`); {
		n, err := a.Body.Read(b)
		out.raw += string(b[:n])
		if err != nil {
			m.t.Fatalf("watch %s as %s: %v after %s", r.URL.Path, c.name, err, out.raw)
		}
	}
	return out
}

// lead runs the chain of the audit log until done.
func (m *matrixWorld) lead(done func() bool) {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	office, err := m.store.Lead(ctx, "audit", "test", 10*time.Second)
	if err != nil {
		m.t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- m.chain.RunChain(ctx, office) }()
	for !done() {
		if ctx.Err() != nil {
			m.t.Fatal("the audit log does not get anywhere")
		}
		time.Sleep(10 * time.Millisecond)
	}
	cancel()
	if err := errors.Join(<-ended, office.Resign(context.Background())); err != nil {
		m.t.Error(err)
	}
}
