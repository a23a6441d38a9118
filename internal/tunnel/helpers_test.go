package tunnel

import (
	"crypto/ed25519"
	"crypto/rand"
	"net/netip"
	"testing"
	"time"

	"github.com/cyphonic/cyphonic/internal/identity"
	"github.com/cyphonic/cyphonic/internal/wire"
)

var (
	testNow = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	testSrc = netip.MustParseAddrPort("192.0.2.1:4000")
)

// authority is an issuer and the verifier that trusts it.
type authority struct {
	issuer   *identity.Issuer
	verifier *identity.Verifier
}

func newAuthority(t testing.TB) authority {
	t.Helper()
	root, err := identity.NewRootKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := identity.NewIssuerKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	certificate := root.IssueIssuer(key.Public().(ed25519.PublicKey), testNow.Add(-time.Hour), testNow.Add(1000*time.Hour))
	issuer, err := identity.NewIssuer(key, certificate)
	if err != nil {
		t.Fatal(err)
	}
	trust := identity.Trust{Roots: []ed25519.PublicKey{root.Public()}}
	verifier, err := identity.NewVerifier(trust, [][]byte{certificate.Raw()}, testNow)
	if err != nil {
		t.Fatal(err)
	}
	return authority{issuer, verifier}
}

func (a authority) verify(raw []byte) (*identity.Certificate, error) {
	return a.verifier.Verify(raw, testNow)
}

func (a authority) certify(t testing.TB, name string, public identity.DevicePublic) []byte {
	t.Helper()
	c, err := a.issuer.Issue(identity.Certificate{
		Public: public, FQDN: name + ".example.internal", Network: "home", Assurance: identity.AssuranceKey,
		VirtualIPv4: netip.MustParseAddr("100.80.0.1"), NotBefore: testNow.Add(-time.Minute), NotAfter: testNow.Add(time.Hour),
	})
	if err != nil {
		t.Fatal(err)
	}
	return c.Raw()
}

// node makes a device with a certificate of a.
func (a authority) node(t testing.TB, name string) Config {
	t.Helper()
	key, err := identity.NewDeviceKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return Config{Key: key, Certificate: a.certify(t, name, key.Public()), Verify: a.verify, Rand: rand.Reader}
}

const (
	initiatorIndex = 0x11111111
	responderIndex = 0x22222222
	responderTag   = 0x33333333
)

func mustInitiate(t testing.TB, from, to Config) *Initiator {
	t.Helper()
	i, err := NewInitiator(from, to.Key.Public(), responderTag, initiatorIndex)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func mustRespond(t testing.TB, to Config, init []byte) (*Responder, []byte) {
	t.Helper()
	r, response, err := NewResponder(to, responderIndex, init)
	if err != nil {
		t.Fatal(err)
	}
	return r, response
}

// mustConnect does a whole handshake and returns the initiator's and the responder's session.
func mustConnect(t testing.TB, from, to Config) (*Session, *Session) {
	t.Helper()
	i := mustInitiate(t, from, to)
	r, response := mustRespond(t, to, i.Message())
	kem, err := i.Response(response)
	if err != nil {
		t.Fatal(err)
	}
	theirs, reply, err := r.Complete(kem)
	if err != nil {
		t.Fatal(err)
	}
	ours, err := i.Complete(reply)
	if err != nil {
		t.Fatal(err)
	}
	return ours, theirs
}

// mustPass sends one plaintext from a to b.
func mustPass(t testing.TB, a, b *Session, plaintext string) {
	t.Helper()
	counter, ok := a.Reserve(1)
	if !ok {
		t.Fatal("no counter left")
	}
	datagram := a.Seal(nil, wire.FlagControl, counter, []byte(plaintext))
	got, err := b.Open(nil, datagram)
	if err != nil || string(got) != plaintext {
		t.Fatalf("got %q, %v", got, err)
	}
	if !b.Accept(counter) {
		t.Fatalf("counter %d is not accepted", counter)
	}
}

// flips calls f with each byte of b changed in one bit, b restored afterwards.
func flips(b []byte, f func(at int, b []byte)) {
	for at := range b {
		bit := byte(1) << (at % 8)
		b[at] ^= bit
		f(at, b)
		b[at] ^= bit
	}
}

func mustAddrPort(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }
