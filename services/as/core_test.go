package as

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cyphonic/cyphonic/internal/identity"
	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/internal/login"
	"github.com/cyphonic/cyphonic/internal/wire"
	"github.com/cyphonic/cyphonic/services/replica"
)

// directory is a desired state in memory.
type directory struct {
	mu       sync.Mutex
	contents replica.Contents
	late     *replica.Contents // becomes the contents at the next Sync
	syncErr  error
	enrolErr error
	enrolled []replica.Enrolment
	syncs    int
}

func (d *directory) Snapshot() *replica.Snapshot {
	d.mu.Lock()
	defer d.mu.Unlock()
	s, _ := replica.NewSnapshot(d.contents)
	return s
}

func (d *directory) Sync(context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.syncs++
	if d.syncErr == nil && d.late != nil {
		d.contents, d.late = *d.late, nil
	}
	return d.syncErr
}

func (d *directory) Enrol(_ context.Context, e replica.Enrolment) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.enrolErr != nil {
		return d.enrolErr
	}
	d.enrolled = append(d.enrolled, e)
	d.contents.Enrolled[e.Subject.Ref] = replica.Enrolled{UID: e.Subject.UID, Public: e.Public}
	return nil
}

// world is an AS core with a desired state: node viewer, adapters gate and
// other, general nodes cam1 (MAC, on gate) and cam2 (802.1X, on gate).
type world struct {
	t         *testing.T
	directory *directory
	core      *Core
	issuer    *identity.Issuer
	verifier  *identity.Verifier
	trust     identity.Trust
	now       time.Time
	exporter  []byte
}

// passwordHash is of "correct".
func passwordHash(t *testing.T) string {
	t.Helper()
	phc, err := identity.HashPassword(rand.Reader, "correct")
	if err != nil {
		t.Fatal(err)
	}
	return phc
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, now: time.Now().Truncate(time.Second), exporter: make([]byte, login.ExporterSize)}
	root, err := identity.NewRootKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := identity.NewIssuerKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	certificate := root.IssueIssuer(key.Public().(ed25519.PublicKey), w.now.Add(-time.Hour), w.now.Add(1000*time.Hour))
	if w.issuer, err = identity.NewIssuer(key, certificate); err != nil {
		t.Fatal(err)
	}
	w.trust = identity.Trust{Roots: []ed25519.PublicKey{root.Public()}}
	if w.verifier, err = identity.NewVerifier(w.trust, [][]byte{certificate.Raw()}, w.now); err != nil {
		t.Fatal(err)
	}
	device := func(plural, name, ipv4, ipv6 string) *replica.Subject {
		s := &replica.Subject{Ref: replica.Ref{Plural: plural, Name: name}, UID: "uid-" + name, Network: "home"}
		if ipv4 != "" {
			s.FQDN, s.IPv4, s.IPv6 = name+".home.example", netip.MustParseAddr(ipv4), netip.MustParseAddr(ipv6)
		}
		return s
	}
	viewer := device(keyspace.Nodes, "viewer", "10.64.0.2", "fd00:64::2")
	viewer.PasswordHash = passwordHash(t)
	cam1 := device(keyspace.GeneralNodes, "cam1", "10.64.0.3", "fd00:64::3")
	cam1.Adapter, cam1.Assurance = "gate", identity.AssuranceMAC
	cam2 := device(keyspace.GeneralNodes, "cam2", "10.64.0.4", "fd00:64::4")
	cam2.Adapter, cam2.Assurance = "gate", identity.AssuranceDot1X
	w.directory = &directory{contents: replica.Contents{
		Subjects: []*replica.Subject{viewer, device(keyspace.Adapters, "gate", "", ""), device(keyspace.Adapters, "other", "", ""), cam1, cam2},
		Networks: []*replica.Network{{
			Name: "home", Domain: "home.example",
			IPv4Prefix: netip.MustParsePrefix("10.64.0.0/24"), IPv6Prefix: netip.MustParsePrefix("fd00:64::/64"),
		}},
		Services: map[string][]replica.Service{
			"nms":     {{Name: "nms", IPv4: netip.MustParseAddrPort("203.0.113.1:7442"), IPv6: netip.MustParseAddrPort("[2001:db8::1]:7442")}},
			"manager": {{Name: "manager", IPv4: netip.MustParseAddrPort("203.0.113.1:7440")}},
		},
		Enrolled: map[replica.Ref]replica.Enrolled{},
		Ticket:   identity.Keyring{Current: identity.SealingKey{ID: 1, Key: [32]byte{1}}},
		Access:   identity.Keyring{Current: identity.SealingKey{ID: 3, Key: [32]byte{3}}},
	}}
	w.core, err = NewCore(CoreOptions{
		Directory: w.directory, Issuer: w.issuer, Rand: rand.Reader,
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Registerer: prometheus.NewRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) subject(name string) *replica.Subject {
	for _, s := range w.directory.contents.Subjects {
		if s.Name == name {
			return s
		}
	}
	w.t.Fatalf("no subject %s", name)
	return nil
}

func (w *world) newKey() *identity.DeviceKey {
	w.t.Helper()
	key, err := identity.NewDeviceKey(rand.Reader)
	if err != nil {
		w.t.Fatal(err)
	}
	return key
}

func (w *world) enrol(name string, key *identity.DeviceKey) {
	s := w.subject(name)
	w.directory.contents.Enrolled[s.Ref] = replica.Enrolled{UID: s.UID, Public: key.Public()}
}

func (w *world) request(kind wire.SubjectKind, name string, key *identity.DeviceKey, credential wire.Credential) wire.LoginRequest {
	r := wire.LoginRequest{
		Subject: wire.Subject{Kind: kind, Name: name}, Static: key.Public().Static, Signing: key.Public().Signing, Credential: credential,
	}
	copy(r.Proof[:], key.Sign(login.Context(w.exporter, r.Subject, key.Public())))
	return r
}

func (w *world) login(r wire.LoginRequest) wire.LoginResponse {
	w.t.Helper()
	response := w.core.Login(w.t.Context(), w.now, r, w.exporter)
	if response.Code != wire.LoginOK {
		if response.Message == "" || response.Certificate != nil || response.Ticket != nil || response.ManagerToken != "" || response.SessionKey != [32]byte{} {
			w.t.Errorf("a refusal carries %+v or no message", response.Code)
		}
	}
	return response
}

func (w *world) generalNode(name string, key *identity.DeviceKey, adapter string, adapterKey *identity.DeviceKey, a identity.Assurance) wire.LoginRequest {
	subject := wire.Subject{Kind: wire.SubjectGeneralNode, Name: name}
	c := wire.CredentialAdapter{Adapter: adapter, Signing: adapterKey.Public().Signing, Assurance: uint8(a)}
	copy(c.Proof[:], adapterKey.Sign(login.Context(w.exporter, subject, key.Public())))
	return w.request(wire.SubjectGeneralNode, name, key, c)
}

func TestAGrantFitsTheDesiredState(t *testing.T) {
	w := newWorld(t)
	key := w.newKey()
	r := w.login(w.request(wire.SubjectNode, "viewer", key, wire.CredentialToken{Token: "cye1.something"}))
	if r.Code != wire.LoginOK {
		t.Fatalf("%v: %s", r.Code, r.Message)
	}
	if got := w.directory.enrolled; len(got) != 1 || got[0].TokenHash != identity.HashOpaqueToken("cye1.something") || got[0].Public != key.Public() {
		t.Errorf("enrolments %+v", got)
	}
	c, err := w.verifier.Verify(r.Certificate, w.now)
	if err != nil {
		t.Fatal(err)
	}
	s := w.subject("viewer")
	if c.Public != key.Public() || c.FQDN != s.FQDN || c.VirtualIPv4 != s.IPv4 || c.VirtualIPv6 != s.IPv6 || c.Network != "home" || c.Assurance != identity.AssuranceKey {
		t.Errorf("certificate %+v", c)
	}
	if life := c.NotAfter.Sub(w.now); life > 24*time.Hour || life < 23*time.Hour {
		t.Errorf("the certificate ends in %v", life)
	}
	ticket, err := identity.OpenTicket(w.directory.contents.Ticket, r.Ticket, w.now)
	if err != nil {
		t.Fatal(err)
	}
	if ticket.NodeID != key.NodeID() || ticket.UID != s.UID || ticket.SessionKey != r.SessionKey || ticket.SessionKey == ([32]byte{}) ||
		ticket.FQDN != s.FQDN || !ticket.NotAfter.Equal(c.NotAfter) || ticket.Kind != wire.SubjectNode {
		t.Error("the ticket does not fit the certificate")
	}
	if r.NMSIPv4 != netip.MustParseAddrPort("203.0.113.1:7442") || r.NMSIPv6 != netip.MustParseAddrPort("[2001:db8::1]:7442") ||
		r.Domain != "home.example" || r.IPv4Prefix != netip.MustParsePrefix("10.64.0.0/24") || r.ServerTime != w.now.Unix() || r.ManagerToken != "" {
		t.Errorf("response: NMS %v %v domain %q", r.NMSIPv4, r.NMSIPv6, r.Domain)
	}
	again := w.login(w.request(wire.SubjectNode, "viewer", key, wire.CredentialDeviceKey{}))
	if again.Code != wire.LoginOK || again.SessionKey == r.SessionKey {
		t.Errorf("second login %v: %s", again.Code, again.Message)
	}
}

func TestAnAdapterGetsAManagerTokenOnly(t *testing.T) {
	w := newWorld(t)
	key := w.newKey()
	w.enrol("gate", key)
	r := w.login(w.request(wire.SubjectAdapter, "gate", key, wire.CredentialDeviceKey{}))
	if r.Code != wire.LoginOK || r.Certificate != nil || r.Ticket != nil || r.ManagerURL != "https://203.0.113.1:7440" {
		t.Fatalf("%v %s: URL %q", r.Code, r.Message, r.ManagerURL)
	}
	claims, err := identity.OpenAccessToken(w.directory.contents.Access, r.ManagerToken, w.now)
	if err != nil || claims.Kind != "Adapter" || claims.Name != "gate" || claims.NotAfter.After(w.now.Add(24*time.Hour)) {
		t.Errorf("claims %+v %v", claims, err)
	}
}

func TestGeneralNodesLogInThroughTheirAdapterOnly(t *testing.T) {
	cases := []struct {
		name     string
		node     string
		adapter  string
		stranger bool // the adapter signs with a key that is not enrolled
		claim    identity.Assurance
		change   func(w *world)
		want     wire.LoginCode
		message  string
	}{
		{"its adapter", "cam1", "gate", false, identity.AssuranceMAC, nil, wire.LoginOK, ""},
		{"by the demanded method", "cam2", "gate", false, identity.AssuranceDot1X, nil, wire.LoginOK, ""},
		{"another adapter", "cam1", "other", false, identity.AssuranceMAC, nil, wire.LoginDenied, "not assigned"},
		{"an unknown adapter", "cam1", "nobody", false, identity.AssuranceMAC, nil, wire.LoginDenied, "no Adapter"},
		{"a stranger in the adapter's name", "cam1", "gate", true, identity.AssuranceMAC, nil, wire.LoginDenied, "enrolled key"},
		{"a weaker method", "cam2", "gate", false, identity.AssuranceMAC, nil, wire.LoginDenied, "method dot1x"},
		{"a claim beyond the method", "cam1", "gate", false, identity.AssuranceKey, nil, wire.LoginDenied, "method mac"},
		{"disabled general node", "cam1", "gate", false, identity.AssuranceMAC, func(w *world) { w.subject("cam1").Disabled = true }, wire.LoginUnknown, "disabled"},
		{"disabled adapter", "cam1", "gate", false, identity.AssuranceMAC, func(w *world) { w.subject("gate").Disabled = true }, wire.LoginUnknown, "adapter is disabled"},
		{"moved to another adapter", "cam1", "gate", false, identity.AssuranceMAC, func(w *world) { w.subject("cam1").Adapter = "other" }, wire.LoginDenied, "not assigned"},
		{"re-created adapter", "cam1", "gate", false, identity.AssuranceMAC, func(w *world) { w.subject("gate").UID = "new" }, wire.LoginDenied, "enrolled key"},
		{"adapter of another network", "cam1", "gate", false, identity.AssuranceMAC, func(w *world) { w.subject("gate").Network = "work" }, wire.LoginDenied, "not assigned"},
		{"unknown general node", "cam9", "gate", false, identity.AssuranceMAC, nil, wire.LoginUnknown, "no GeneralNode"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			gate, other := w.newKey(), w.newKey()
			w.enrol("gate", gate)
			w.enrol("other", other)
			if c.change != nil {
				c.change(w)
			}
			adapterKey := gate
			if c.adapter == "other" {
				adapterKey = other
			}
			if c.stranger {
				adapterKey = w.newKey()
			}
			key := w.newKey()
			r := w.login(w.generalNode(c.node, key, c.adapter, adapterKey, c.claim))
			if r.Code != c.want || !strings.Contains(r.Message, c.message) {
				t.Fatalf("%v: %s", r.Code, r.Message)
			}
			if r.Code != wire.LoginOK {
				return
			}
			certificate, err := w.verifier.Verify(r.Certificate, w.now)
			if err != nil || certificate.Public != key.Public() || certificate.Assurance != c.claim {
				t.Errorf("certificate %+v %v", certificate, err)
			}
			ticket, err := identity.OpenTicket(w.directory.contents.Ticket, r.Ticket, w.now)
			if err != nil || ticket.Adapter != c.adapter || ticket.Kind != wire.SubjectGeneralNode || ticket.Assurance != c.claim {
				t.Errorf("the ticket does not name the adapter: %v", err)
			}
		})
	}
}

func TestRefusedCredentials(t *testing.T) {
	cases := []struct {
		name    string
		kind    wire.SubjectKind
		subject string
		c       wire.Credential
		change  func(w *world)
		want    wire.LoginCode
		message string
	}{
		{"unknown node", wire.SubjectNode, "nobody", wire.CredentialDeviceKey{}, nil, wire.LoginUnknown, "cyphonicctl"},
		{"an adapter's name as node", wire.SubjectNode, "gate", wire.CredentialDeviceKey{}, nil, wire.LoginUnknown, "no Node"},
		{"disabled", wire.SubjectNode, "viewer", wire.CredentialDeviceKey{}, func(w *world) { w.subject("viewer").Disabled = true }, wire.LoginUnknown, "spec.disabled"},
		{"unenrolled key", wire.SubjectNode, "viewer", wire.CredentialDeviceKey{}, nil, wire.LoginDenied, "token create"},
		{"a general node by itself", wire.SubjectGeneralNode, "cam1", wire.CredentialDeviceKey{}, nil, wire.LoginDenied, "through its adapter"},
		{"wrong password", wire.SubjectNode, "viewer", wire.CredentialPassword{Password: "wrong"}, nil, wire.LoginDenied, "password"},
		{"no password set", wire.SubjectAdapter, "gate", wire.CredentialPassword{Password: "x"}, nil, wire.LoginDenied, "has no password"},
		{"broken password hash", wire.SubjectNode, "viewer", wire.CredentialPassword{Password: "x"}, func(w *world) { w.subject("viewer").PasswordHash = "$argon2id$x" }, wire.LoginDenied, "passwordHash"},
		{"not a token", wire.SubjectNode, "viewer", wire.CredentialToken{Token: "hello"}, nil, wire.LoginDenied, "cye1."},
		{"unknown token", wire.SubjectNode, "viewer", wire.CredentialToken{Token: "cye1.x"}, func(w *world) { w.directory.enrolErr = replica.ErrTokenUnknown }, wire.LoginDenied, "not known"},
		{"used token", wire.SubjectNode, "viewer", wire.CredentialToken{Token: "cye1.x"}, func(w *world) { w.directory.enrolErr = replica.ErrTokenUsed }, wire.LoginDenied, "used by another"},
		{"expired token", wire.SubjectNode, "viewer", wire.CredentialToken{Token: "cye1.x"}, func(w *world) { w.directory.enrolErr = replica.ErrTokenExpired }, wire.LoginDenied, "expired"},
		{"another's token", wire.SubjectNode, "viewer", wire.CredentialToken{Token: "cye1.x"}, func(w *world) { w.directory.enrolErr = replica.ErrTokenSubject }, wire.LoginDenied, "not for Node"},
		{"etcd away", wire.SubjectNode, "viewer", wire.CredentialToken{Token: "cye1.x"}, func(w *world) { w.directory.enrolErr = errors.New("secret detail") }, wire.LoginRetry, "try again later"},
		{"no NMS", wire.SubjectNode, "viewer", wire.CredentialPassword{Password: "correct"}, func(w *world) { w.directory.contents.Services = nil }, wire.LoginRetry, "CloudService"},
		{"no manager", wire.SubjectAdapter, "gate", wire.CredentialToken{Token: "cye1.x"}, func(w *world) { w.directory.contents.Services = nil }, wire.LoginRetry, "CloudService"},
		{"no address yet", wire.SubjectNode, "viewer", wire.CredentialToken{Token: "cye1.x"}, func(w *world) { w.subject("viewer").FQDN = "" }, wire.LoginRetry, "no virtual address"},
		{"no ticket key", wire.SubjectNode, "viewer", wire.CredentialToken{Token: "cye1.x"}, func(w *world) { w.directory.contents.Ticket = identity.Keyring{} }, wire.LoginRetry, "ticket key"},
		{"stale and etcd away", wire.SubjectNode, "nobody", wire.CredentialDeviceKey{}, func(w *world) { w.directory.syncErr = errors.New("away") }, wire.LoginRetry, "try again later"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			if c.change != nil {
				c.change(w)
			}
			r := w.login(w.request(c.kind, c.subject, w.newKey(), c.c))
			if r.Code != c.want || !strings.Contains(r.Message, c.message) {
				t.Errorf("%v: %s", r.Code, r.Message)
			}
			if strings.Contains(r.Message, "secret detail") {
				t.Error("the message shows an inner error")
			}
		})
	}
}

func TestAnAdapterCannotSpeakForANode(t *testing.T) {
	w := newWorld(t)
	gate, key := w.newKey(), w.newKey()
	w.enrol("gate", gate)
	subject := wire.Subject{Kind: wire.SubjectNode, Name: "viewer"}
	c := wire.CredentialAdapter{Adapter: "gate", Signing: gate.Public().Signing, Assurance: uint8(identity.AssuranceMAC)}
	copy(c.Proof[:], gate.Sign(login.Context(w.exporter, subject, key.Public())))
	if r := w.login(w.request(wire.SubjectNode, "viewer", key, c)); r.Code != wire.LoginDenied {
		t.Errorf("%v: %s", r.Code, r.Message)
	}
	c.Proof[0] ^= 1
	if r := w.login(w.request(wire.SubjectNode, "viewer", key, c)); r.Code != wire.LoginInvalid {
		t.Errorf("with a forged proof: %v: %s", r.Code, r.Message)
	}
}

func TestProofsAreBoundToTheConnection(t *testing.T) {
	w := newWorld(t)
	key := w.newKey()
	w.enrol("viewer", key)
	good := w.request(wire.SubjectNode, "viewer", key, wire.CredentialDeviceKey{})
	for name, spoil := range map[string]func(r *wire.LoginRequest){
		"proof":       func(r *wire.LoginRequest) { r.Proof[3] ^= 1 },
		"static key":  func(r *wire.LoginRequest) { r.Static[3] ^= 1 },
		"signing key": func(r *wire.LoginRequest) { r.Signing = w.newKey().Public().Signing },
		"name":        func(r *wire.LoginRequest) { r.Subject.Name = "other" },
	} {
		r := good
		spoil(&r)
		if got := w.login(r); got.Code != wire.LoginInvalid {
			t.Errorf("%s: %v", name, got.Code)
		}
	}
	w.exporter = append([]byte{1}, w.exporter[1:]...) // replayed over another connection
	if got := w.login(good); got.Code != wire.LoginInvalid {
		t.Errorf("another connection: %v", got.Code)
	}
}

func TestARepeatedTokenOfAnEnrolledKeyIsNoObstacle(t *testing.T) {
	w := newWorld(t)
	key := w.newKey()
	w.enrol("viewer", key)
	for _, err := range []error{replica.ErrTokenUsed, replica.ErrTokenExpired, replica.ErrTokenUnknown, errors.New("etcd is away")} {
		w.directory.enrolErr = err
		if r := w.login(w.request(wire.SubjectNode, "viewer", key, wire.CredentialToken{Token: "cye1.x"})); r.Code != wire.LoginOK {
			t.Errorf("%v: %v %s", err, r.Code, r.Message)
		}
	}
}

func TestALateReplicaCatchesUpBeforeItRefuses(t *testing.T) {
	w := newWorld(t)
	key := w.newKey()
	late := w.directory.contents
	late.Enrolled = map[replica.Ref]replica.Enrolled{w.subject("viewer").Ref: {UID: "uid-viewer", Public: key.Public()}}
	w.directory.late = &late
	if r := w.login(w.request(wire.SubjectNode, "viewer", key, wire.CredentialDeviceKey{})); r.Code != wire.LoginOK || w.directory.syncs != 1 {
		t.Errorf("%v after %d syncs: %s", r.Code, w.directory.syncs, r.Message)
	}
}

func TestAPasswordEnrolsTheKey(t *testing.T) {
	w := newWorld(t)
	key := w.newKey()
	if r := w.login(w.request(wire.SubjectNode, "viewer", key, wire.CredentialPassword{Password: "correct"})); r.Code != wire.LoginOK {
		t.Fatalf("%v: %s", r.Code, r.Message)
	}
	if got := w.directory.enrolled; len(got) != 1 || got[0].TokenHash != "" || got[0].Public != key.Public() {
		t.Errorf("enrolments %+v", got)
	}
	if r := w.login(w.request(wire.SubjectNode, "viewer", key, wire.CredentialDeviceKey{})); r.Code != wire.LoginOK {
		t.Errorf("device key after the password: %v %s", r.Code, r.Message)
	}
}

func TestWrongPasswordsBackOff(t *testing.T) {
	w := newWorld(t)
	try := func(password string) wire.LoginResponse {
		return w.login(w.request(wire.SubjectNode, "viewer", w.newKey(), wire.CredentialPassword{Password: password}))
	}
	for i := range freeFailures + 1 {
		if r := try("wrong"); r.Code != wire.LoginDenied {
			t.Fatalf("failure %d: %v %s", i, r.Code, r.Message)
		}
	}
	if r := try("correct"); r.Code != wire.LoginRetry || !strings.Contains(r.Message, "1s") {
		t.Fatalf("no pause after %d failures: %v %s", freeFailures+1, r.Code, r.Message)
	}
	w.now = w.now.Add(time.Second)
	try("wrong")
	w.now = w.now.Add(time.Second)
	if r := try("correct"); r.Code != wire.LoginRetry {
		t.Fatal("the pause does not grow")
	}
	w.now = w.now.Add(time.Second)
	if r := try("correct"); r.Code != wire.LoginOK {
		t.Fatalf("after the pause: %v %s", r.Code, r.Message)
	}
	if len(w.core.passwords.failures) != 0 {
		t.Error("failures stay after a success")
	}
}

func TestOnePasswordOfASubjectIsCheckedAtATime(t *testing.T) {
	w := newWorld(t)
	s := w.subject("viewer")
	if err := w.core.passwords.begin(w.now, s); err != nil {
		t.Fatal(err)
	}
	r := w.login(w.request(wire.SubjectNode, "viewer", w.newKey(), wire.CredentialPassword{Password: "correct"}))
	if r.Code != wire.LoginRetry {
		t.Errorf("a second check at the same time: %v %s", r.Code, r.Message)
	}
	w.core.passwords.end(w.now, s, false, errors.New("not made"))
	for range maxPasswordChecks {
		w.core.passwords.slots <- struct{}{}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	got := w.core.Login(ctx, w.now, w.request(wire.SubjectNode, "viewer", w.newKey(), wire.CredentialPassword{Password: "correct"}), w.exporter)
	if got.Code != wire.LoginRetry {
		t.Errorf("beyond the concurrent checks: %v %s", got.Code, got.Message)
	}
}

func TestTheIssuersEndBoundsGrants(t *testing.T) {
	w := newWorld(t)
	key := w.newKey()
	w.enrol("viewer", key)
	end := w.issuer.Certificate().NotAfter
	w.now = end.Add(-time.Hour)
	r := w.login(w.request(wire.SubjectNode, "viewer", key, wire.CredentialDeviceKey{}))
	if r.Code != wire.LoginOK || r.NotAfter != end.Unix() {
		t.Errorf("%v, ends %v, issuer %v", r.Code, time.Unix(r.NotAfter, 0), end)
	}
	w.now = end
	if r := w.login(w.request(wire.SubjectNode, "viewer", key, wire.CredentialDeviceKey{})); r.Code != wire.LoginRetry {
		t.Errorf("an ended issuer grants: %v", r.Code)
	}
}
