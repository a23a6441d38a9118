package identity

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/cyphonic/cyphonic/internal/wire"
)

func TestIssuedCertificateVerifies(t *testing.T) {
	a, key := newAuthority(t), mustKey(t)
	want := template(key.Public())
	issued := must(a.issuer.Issue(want))(t)
	got := must(a.verifier(t).Verify(issued.Raw(), testNow))(t)
	want.Issuer, want.Signature = a.issuer.Certificate().ID(), got.Signature
	if diff := cmp.Diff(&want, got, equal); diff != "" {
		t.Error(diff)
	}
	if got.NodeID() != key.NodeID() || !bytes.Equal(got.Raw(), issued.Raw()) {
		t.Error("NodeID or encoded form differs")
	}
}

func TestCertificateRoundTrip(t *testing.T) {
	a, key := newAuthority(t), mustKey(t)
	word := func(limit int) *rapid.Generator[string] {
		return rapid.StringOfN(rapid.RuneFrom([]rune("abcz019-_.")), 1, limit, -1)
	}
	rapid.Check(t, func(r *rapid.T) {
		want := Certificate{
			Public: key.Public(), FQDN: word(120).Draw(r, "FQDN"), Network: word(20).Draw(r, "network"),
			Groups:    rapid.SliceOfN(word(15), 0, MaxGroups).Draw(r, "groups"),
			Assurance: Assurance(rapid.Uint8Range(1, 4).Draw(r, "assurance")),
			NotBefore: testNow, NotAfter: testNow.Add(time.Duration(rapid.IntRange(1, 3600).Draw(r, "life")) * time.Second),
		}
		if rapid.Bool().Draw(r, "IPv4") {
			want.VirtualIPv4 = netip.AddrFrom4([4]byte{100, 80, rapid.Byte().Draw(r, "a"), 1})
		}
		issued, err := a.issuer.Issue(want)
		if err != nil {
			r.Fatal(err)
		}
		want.Issuer, want.Signature = issued.Issuer, issued.Signature
		if diff := cmp.Diff(&want, issued, equal); diff != "" {
			r.Fatal(diff)
		}
	})
}

func TestNoChangedCertificateVerifies(t *testing.T) {
	a := newAuthority(t)
	raw := must(a.issuer.Issue(template(mustKey(t).Public())))(t).Raw()
	v := a.verifier(t)
	flips(raw, func(name string, at int, b []byte) {
		if c, err := v.Verify(b, testNow); err == nil || c != nil {
			t.Errorf("%s at byte %d: verifies", name, at)
		}
	})
	if _, err := v.Verify(raw, testNow); err != nil {
		t.Error(err)
	}
}

// TestSignatureIsNotMalleable adds the group order to the signature's S, which makes another encoding of the
// same signature in implementations that do not check it.
func TestSignatureIsNotMalleable(t *testing.T) {
	a := newAuthority(t)
	raw := bytes.Clone(must(a.issuer.Issue(template(mustKey(t).Public())))(t).Raw())
	order := []byte{
		0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
		0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
	}
	s, carry := raw[len(raw)-32:], 0
	for i := range order {
		carry += int(s[i]) + int(order[i])
		s[i] = byte(carry)
		carry >>= 8
	}
	if _, err := a.verifier(t).Verify(raw, testNow); !errors.Is(err, ErrSignature) {
		t.Errorf("got %v", err)
	}
}

func TestVerifyNamesTheReason(t *testing.T) {
	a, foreign := newAuthority(t), newAuthority(t)
	good := must(a.issuer.Issue(template(mustKey(t).Public())))(t)
	other := must(foreign.issuer.Issue(template(mustKey(t).Public())))(t)
	posing := bytes.Clone(other.Raw())
	copy(posing[2:10], good.Raw()[2:10]) // names the trusted issuer
	long := template(mustKey(t).Public())
	long.NotBefore, long.NotAfter = testNow.Add(22*time.Hour), testNow.Add(24*time.Hour)
	last := must(a.issuer.Issue(long))(t)
	for _, row := range []struct {
		name string
		raw  []byte
		at   time.Time
		want error
	}{
		{"good", good.Raw(), testNow, nil},
		{"in its first second", good.Raw(), good.NotBefore, nil},
		{"a second too early", good.Raw(), good.NotBefore.Add(-time.Second), ErrNotYetValid},
		{"in its last second", good.Raw(), good.NotAfter, nil},
		{"a second too late", good.Raw(), good.NotAfter.Add(time.Second), ErrExpired},
		{"after the issuer's end", last.Raw(), testNow.Add(25 * time.Hour), ErrExpired},
		{"foreign issuer", other.Raw(), testNow, ErrIssuer},
		{"foreign issuer under a trusted name", posing, testNow, ErrSignature},
		{"issuer certificate in its place", a.issuer.Certificate().Raw(), testNow, ErrMalformed},
		{"empty", nil, testNow, ErrMalformed},
	} {
		t.Run(row.name, func(t *testing.T) {
			if _, err := a.verifier(t).Verify(row.raw, row.at); !errors.Is(err, row.want) {
				t.Errorf("got %v, want %v", err, row.want)
			}
		})
	}
}

// TestCertificateOutsideItsIssuersTimesIsRefused signs what Issue would not.
func TestCertificateOutsideItsIssuersTimesIsRefused(t *testing.T) {
	a := newAuthority(t)
	c := template(mustKey(t).Public())
	c.Issuer = a.issuer.id
	for _, row := range []struct {
		name      string
		notBefore time.Duration
		life      time.Duration
		after     time.Duration
		want      error
	}{
		{"within", -2 * time.Hour, MaxCertificateLife, 0, nil},
		{"before the issuer", -4 * time.Hour, MaxCertificateLife, -2 * time.Hour, ErrNotYetValid},
		{"after the issuer", 2 * time.Hour, MaxCertificateLife, 25 * time.Hour, ErrExpired},
		{"for longer than any certificate may live", -2 * time.Hour, MaxCertificateLife + time.Second, 0, ErrMalformed},
	} {
		c.NotBefore = testNow.Add(row.notBefore)
		c.NotAfter = c.NotBefore.Add(row.life)
		body := must(c.encode())(t)
		raw := append(body, ed25519.Sign(a.issuer.key, append([]byte(certificateLabel), body...))...)
		if _, err := a.verifier(t).Verify(raw, testNow.Add(row.after)); !errors.Is(err, row.want) {
			t.Errorf("%s: got %v, want %v", row.name, err, row.want)
		}
	}
}

func TestIssueRefusesWhatNobodyWouldAccept(t *testing.T) {
	a := newAuthority(t)
	for _, row := range []struct {
		name   string
		change func(*Certificate)
		want   error
	}{
		{"life too long", func(c *Certificate) { c.NotAfter = c.NotBefore.Add(MaxCertificateLife + time.Second) }, ErrMalformed},
		{"ends before it begins", func(c *Certificate) { c.NotAfter = c.NotBefore }, ErrMalformed},
		{"outlives the issuer", func(c *Certificate) {
			c.NotBefore, c.NotAfter = testNow.Add(20*time.Hour), testNow.Add(25*time.Hour)
		}, ErrExpired},
		{"precedes the issuer", func(c *Certificate) { c.NotBefore = testNow.Add(-2 * time.Hour) }, ErrExpired},
		{"no FQDN", func(c *Certificate) { c.FQDN = "" }, ErrMalformed},
		{"no network", func(c *Certificate) { c.Network = "" }, ErrMalformed},
		{"no assurance", func(c *Certificate) { c.Assurance = 0 }, ErrMalformed},
		{"FQDN with a space", func(c *Certificate) { c.FQDN = "a b" }, ErrMalformed},
		{"nine groups", func(c *Certificate) { c.Groups = strings.Split("a b c d e f g h i", " ") }, ErrTooLong},
		{"long group", func(c *Certificate) { c.Groups = []string{strings.Repeat("g", 33)} }, ErrTooLong},
		{"empty group", func(c *Certificate) { c.Groups = []string{""} }, ErrMalformed},
		{"too long in all", func(c *Certificate) { c.FQDN, c.Network = strings.Repeat("f", 253), strings.Repeat("n", 200) }, ErrTooLong},
		{"IPv6 as virtual IPv4", func(c *Certificate) { c.VirtualIPv4 = c.VirtualIPv6 }, ErrMalformed},
		{"IPv4-mapped as virtual IPv6", func(c *Certificate) { c.VirtualIPv6 = netip.MustParseAddr("::ffff:1.2.3.4") }, ErrMalformed},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := template(mustKey(t).Public())
			row.change(&c)
			if _, err := a.issuer.Issue(c); !errors.Is(err, row.want) {
				t.Errorf("got %v, want %v", err, row.want)
			}
		})
	}
}

func TestLargestUsualCertificateFits(t *testing.T) {
	a := newAuthority(t)
	c := template(mustKey(t).Public())
	c.FQDN, c.Network = strings.Repeat("f", 100), strings.Repeat("n", 63)
	c.Groups = []string{strings.Repeat("g", 32), strings.Repeat("h", 32)}
	if got := must(a.issuer.Issue(c))(t); len(got.Raw()) > wire.MaxCertificate {
		t.Errorf("%d bytes", len(got.Raw()))
	}
}

func TestVerifierTakesOnlyWhatARootHasSigned(t *testing.T) {
	a, foreign := newAuthority(t), newAuthority(t)
	good := a.issuer.Certificate().Raw()
	old := must(NewIssuerKey(rand.Reader))(t)
	expired := a.root.IssueIssuer(old.Public().(ed25519.PublicKey), testNow.Add(-time.Hour), testNow.Add(-time.Minute)).Raw()
	for _, row := range []struct {
		name    string
		issuers [][]byte
		want    error
	}{
		{"good", [][]byte{good}, nil},
		{"good among others", [][]byte{foreign.issuer.Certificate().Raw(), expired, good, nil}, nil},
		{"foreign", [][]byte{foreign.issuer.Certificate().Raw()}, ErrSignature},
		{"expired", [][]byte{expired}, ErrExpired},
		{"none", nil, ErrIssuer},
		{"malformed", [][]byte{{1}}, ErrMalformed},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, err := NewVerifier(a.trust(), row.issuers, testNow)
			if !errors.Is(err, row.want) || err != nil && !errors.Is(err, ErrIssuer) {
				t.Errorf("got %v, want %v", err, row.want)
			}
		})
	}
	flips(good, func(name string, at int, b []byte) {
		if _, err := NewVerifier(a.trust(), [][]byte{b}, testNow); err == nil {
			t.Errorf("issuer certificate %s at byte %d: taken", name, at)
		}
	})
}

func TestIssuerKeyMustFitItsCertificate(t *testing.T) {
	a := newAuthority(t)
	other := must(NewIssuerKey(rand.Reader))(t)
	if _, err := NewIssuer(other, a.issuer.Certificate()); !errors.Is(err, ErrIssuer) {
		t.Errorf("got %v", err)
	}
	if _, err := NewIssuer(nil, a.issuer.Certificate()); !errors.Is(err, ErrMalformed) {
		t.Errorf("got %v", err)
	}
}
