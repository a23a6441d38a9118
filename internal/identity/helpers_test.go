package identity

import (
	"crypto/ed25519"
	"crypto/rand"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var (
	testNow = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	equal   = cmp.Options{cmpopts.EquateComparable(netip.Addr{}), cmpopts.EquateEmpty(), cmpopts.IgnoreUnexported(Certificate{})}
)

// mustKey makes a device key; must stops the test at the first error of a constructor.
func mustKey(t testing.TB) *DeviceKey { return must(NewDeviceKey(rand.Reader))(t) }

func must[V any](v V, err error) func(testing.TB) V {
	return func(t testing.TB) V {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// authority is a root with one issuer.
type authority struct {
	root   *RootKey
	issuer *Issuer
}

func newAuthority(t testing.TB) authority {
	t.Helper()
	root := must(NewRootKey(rand.Reader))(t)
	key := must(NewIssuerKey(rand.Reader))(t)
	c := root.IssueIssuer(key.Public().(ed25519.PublicKey), testNow.Add(-time.Hour), testNow.Add(24*time.Hour))
	return authority{root, must(NewIssuer(key, c))(t)}
}

func (a authority) trust() Trust { return Trust{Roots: []ed25519.PublicKey{a.root.Public()}} }

func (a authority) verifier(t testing.TB) *Verifier {
	t.Helper()
	return must(NewVerifier(a.trust(), [][]byte{a.issuer.Certificate().Raw()}, testNow))(t)
}

func template(public DevicePublic) Certificate {
	return Certificate{
		Public: public, FQDN: "cam1.example.internal", Network: "home", Groups: []string{"cameras", "floor-2"},
		VirtualIPv4: netip.MustParseAddr("100.80.0.5"), VirtualIPv6: netip.MustParseAddr("fd00:80::5"),
		Assurance: AssuranceMAC, NotBefore: testNow.Add(-time.Minute), NotAfter: testNow.Add(20 * time.Hour),
	}
}

func testRing(id uint32) Keyring {
	var k SealingKey
	k.ID = id
	_, _ = rand.Read(k.Key[:])
	return Keyring{Current: k}
}

// flips calls f with each byte of b changed in one bit, and with each truncation.
func flips(b []byte, f func(name string, at int, b []byte)) {
	for at := range b {
		c := append([]byte(nil), b...)
		c[at] ^= 1 << (at % 8)
		f("changed", at, c)
		f("cut", at, b[:at])
	}
	f("extended", len(b), append(append([]byte(nil), b...), 0))
}
