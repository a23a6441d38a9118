package access

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/cyphonic/cyphonic/internal/identity"
	"github.com/cyphonic/cyphonic/manager/store"
)

// outcome is "kind/name" or the reason of the refusal.
func outcome(p Principal, err error) string {
	var refusal *Refusal
	switch {
	case errors.As(err, &refusal):
		return refusal.Reason
	case err != nil:
		return err.Error()
	}
	return p.String()
}

func TestTokensSayWhoItIs(t *testing.T) {
	w := newWorld(t, nil)
	hour := time.Now().Add(time.Hour)
	good, ended := w.token("ci", hour), w.token("old", time.Now().Add(-time.Second))
	adapter := w.adapter("hall-1", "u1", false)
	for i, c := range []struct {
		name  string
		token []string
		want  string
	}{
		{"administrator", []string{w.admin}, "admin"},
		{"API token", []string{good}, "token/ci"},
		{"adapter", []string{adapter}, "adapter/hall-1"},
		{"none", nil, ReasonMissing},
		{"two", []string{w.admin, good}, ReasonSeveral},
		{"the same twice", []string{w.admin, w.admin}, ReasonSeveral},
		{"two in one header", []string{w.admin + ", Bearer " + good}, ReasonSeveral},
		{"administrator with a letter more", []string{w.admin + "x"}, ReasonWrong},
		{"hash of the administrator's token", []string{string(w.Access.admin)}, ReasonWrong},
		{"unknown API token", []string{identity.APITokenPrefix + strings.Repeat("A", 43)}, ReasonWrong},
		{"hash of an API token", []string{identity.APITokenPrefix + identity.HashOpaqueToken(good)}, ReasonWrong},
		{"expired API token", []string{ended}, ReasonWrong},
		{"expired access token", []string{w.accessToken("Adapter", "hall-1", "u1", w.access.Secret, time.Now().Add(-time.Second))}, ReasonWrong},
		{"access token sealed with another key", []string{w.accessToken("Adapter", "hall-1", "u1", [32]byte{1}, hour)}, ReasonWrong},
		{"access token of a node", []string{w.accessToken("Node", "hall-1", "u1", w.access.Secret, hour)}, ReasonWrong},
		{"adapter that was created again", []string{w.accessToken("Adapter", "hall-1", "u0", w.access.Secret, hour)}, ReasonGone},
		{"adapter that does not exist", []string{w.accessToken("Adapter", "hall-9", "u1", w.access.Secret, hour)}, ReasonGone},
		{"disabled adapter", []string{w.adapter("hall-2", "u2", true)}, ReasonDisabled},
		{"JSON web token without a provider", []string{"eyJhbGciOiJub25lIn0.e30."}, ReasonWrong},
		{"too long", []string{identity.APITokenPrefix + strings.Repeat("A", maxCredential)}, ReasonWrong},
	} {
		p, err := w.login(fmt.Sprintf("192.0.2.%d:1", i), c.token...)
		if got := outcome(p, err); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
		if err != nil && p.Kind != "" && p.Kind != Adapter {
			t.Errorf("%s: refused, but %v was returned", c.name, p)
		}
		for _, token := range c.token {
			if err != nil && strings.Contains(fmt.Sprintf("%v %+v", err, errors.Unwrap(err)), token) {
				t.Errorf("%s: the error shows the token", c.name)
			}
		}
	}
	for _, header := range []string{"Basic " + w.admin, "Bearer", "Bearer ", w.admin, "bearer  " + w.admin} {
		r := &http.Request{Header: http.Header{"Authorization": {header}}, RemoteAddr: "192.0.2.1:1"}
		if p, err := w.Authenticate(context.Background(), r); err == nil {
			t.Errorf("%.12q is %v", header, p)
		}
	}
}

func TestATokenEndsWhenItIsDeleted(t *testing.T) {
	w := newWorld(t, nil)
	secret := w.token("ci", time.Now().Add(time.Hour))
	adapter := w.adapter("hall-1", "u1", false)
	p, err := w.login("192.0.2.1:1", secret)
	if err != nil || w.Valid(p) != nil {
		t.Fatal(err)
	}
	a, err := w.login("192.0.2.1:1", adapter)
	if err != nil || w.Valid(a) != nil {
		t.Fatal(err)
	}
	other := w.token("ci", time.Now().Add(time.Hour)) // created again
	w.adapter("hall-1", "u1", true)
	w.fresh()
	if got := outcome(p, w.Valid(p)); got != ReasonWrong {
		t.Errorf("the token of before: %s", got)
	}
	if got := outcome(w.login("192.0.2.1:1", secret)); got != ReasonWrong {
		t.Errorf("the token of before logs in: %s", got)
	}
	if got := outcome(a, w.Valid(a)); got != ReasonDisabled {
		t.Errorf("disabled adapter: %s", got)
	}
	p, err = w.login("192.0.2.1:1", other)
	if err != nil {
		t.Fatal(err)
	}
	w.remove("apitokens", "ci")
	deleted := time.Now()
	for w.Valid(p) == nil {
		if time.Since(deleted) > time.Second {
			t.Fatal("a deleted token is good for more than a second")
		}
		time.Sleep(time.Millisecond)
	}
	w.ahead = 2 * time.Hour
	if got := outcome(a, w.Valid(a)); got != ReasonWrong {
		t.Errorf("access token after its end: %s", got)
	}
}

func TestGuessingIsSlowedDownPerSource(t *testing.T) {
	w := newWorld(t, nil)
	good := w.token("ci", time.Now().Add(time.Hour))
	w.fresh()
	wrong := func(from string) string { return outcome(w.login(from, "cym1.wrong")) }
	for i := range failureBurst {
		if got := wrong(fmt.Sprintf("192.0.2.1:%d", 1000+i)); got != ReasonWrong {
			t.Fatalf("failure %d: %s", i, got)
		}
	}
	_, err := w.login("192.0.2.1:9", identity.APITokenPrefix+"wrong")
	var refusal *Refusal
	if !errors.As(err, &refusal) || refusal.Reason != ReasonLimited || refusal.RetryAfter <= 0 || refusal.RetryAfter > failureInterval {
		t.Fatalf("%#v", err)
	}
	if got := outcome(w.login("192.0.2.1:9", good)); got != "token/ci" {
		t.Errorf("a good token of the same address: %s", got)
	}
	if got := wrong("192.0.2.2:1"); got != ReasonWrong {
		t.Errorf("another address: %s", got)
	}
	w.ahead = failureInterval + time.Millisecond
	if got := wrong("192.0.2.1:1"); got != ReasonWrong {
		t.Errorf("after a while: %s", got)
	}
	if got := wrong("192.0.2.1:1"); got != ReasonLimited {
		t.Errorf("and once more: %s", got)
	}
}

func TestFailuresAreRememberedInBoundedSpace(t *testing.T) {
	f := &failures{sources: map[netip.Prefix]failing{}}
	now := time.Unix(1000, 0)
	busy := sourceOf("[2001:db8:1::1]:1")
	for range failureBurst {
		f.add(busy, now)
	}
	for i := range 2 * maxSources {
		f.add(netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 32), now)
	}
	if len(f.sources) > maxSources {
		t.Errorf("%d sources are remembered", len(f.sources))
	}
	if f.wait(busy, now) == 0 {
		t.Error("the one that fails most was forgotten")
	}
	if sourceOf("[2001:db8:1::2]:7") != busy || sourceOf("[2001:db8:1:1::2]:7") == busy {
		t.Error("IPv6 sources are not counted by /64")
	}
	if sourceOf("[::ffff:192.0.2.1]:1") != sourceOf("192.0.2.1:2") || sourceOf("nonsense").IsValid() {
		t.Error("sources are told apart wrongly")
	}
}

func TestWithoutAStoreWhatIsKnownGoesOn(t *testing.T) {
	w := newWorld(t, nil)
	adapter, good := w.adapter("hall-1", "u1", false), w.token("ci", time.Now().Add(time.Hour))
	if _, err := w.login("192.0.2.1:1", adapter); err != nil {
		t.Fatal(err)
	}
	if _, err := w.login("192.0.2.1:1", good); err != nil {
		t.Fatal(err)
	}
	w.adapters.store = away{w.store}
	w.Access.cache = stale{w.cache}
	w.ahead = 2 * keyringAge
	for _, token := range []string{adapter, good, w.admin} {
		if p, err := w.login("192.0.2.1:1", token); err != nil {
			t.Errorf("%v: %v", p, err)
		}
	}
	w.adapters.dueAt = time.Time{} // never read
	if _, err := w.login("192.0.2.1:1", adapter); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("without the keys: %v", err)
	}
	w.Access.cache = empty{w.cache}
	if _, err := w.login("192.0.2.1:1", good); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("before the cache is filled: %v", err)
	}
	if got := outcome(w.login("192.0.2.1:1", w.admin)); got != "admin" {
		t.Errorf("administrator before the cache is filled: %s", got)
	}
}

type away struct{ store.Store }

func (away) List(context.Context, string, store.ListOptions) (store.Listing, error) {
	return store.Listing{}, store.ErrUnavailable
}

type stale struct{ Resources }

func (stale) Fresh(context.Context) error { return store.ErrUnavailable }

type empty struct{ Resources }

func (empty) Ready() <-chan struct{} { return make(chan struct{}) }

// certificate makes a client certificate, signed by itself: that it is verified is the TLS server's work.
func certificate(t *testing.T, change func(*x509.Certificate)) *x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "machine"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	change(c)
	raw, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(raw)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

func TestCertificatesSayWhoItIs(t *testing.T) {
	w := newWorld(t, nil)
	spiffe := &url.URL{Scheme: "spiffe", Host: "example.org", Path: "/backup"}
	for name, c := range map[string]struct {
		change     func(*x509.Certificate)
		unverified bool
		token      bool
		want       string
	}{
		"common name": {func(*x509.Certificate) {}, false, false, "certificate/machine"},
		"DNS name": {func(c *x509.Certificate) {
			c.DNSNames = words("a.example.org", "b.example.org")
			c.URIs = []*url.URL{spiffe}
		}, false, false, "certificate/a.example.org"},
		"URI":                       {func(c *x509.Certificate) { c.URIs = []*url.URL{spiffe} }, false, false, "certificate/spiffe://example.org/backup"},
		"no name":                   {func(c *x509.Certificate) { c.Subject.CommonName = "" }, false, false, ReasonWrong},
		"line break in the name":    {func(c *x509.Certificate) { c.Subject.CommonName = "a\nb" }, false, false, ReasonWrong},
		"common name beside others": {func(c *x509.Certificate) { c.EmailAddresses = words("a@example.org") }, false, false, ReasonWrong},
		"ended":                     {func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Second) }, false, false, ReasonWrong},
		"not yet":                   {func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) }, false, false, ReasonWrong},
		"not verified":              {func(*x509.Certificate) {}, true, false, ReasonWrong},
		"with a token":              {func(*x509.Certificate) {}, false, true, ReasonSeveral},
	} {
		leaf := certificate(t, c.change)
		r := &http.Request{Header: http.Header{}, RemoteAddr: "192.0.2.1:1", TLS: &tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaf}}}
		if !c.unverified {
			r.TLS.VerifiedChains = [][]*x509.Certificate{{leaf}}
		}
		if c.token {
			r.Header.Set("Authorization", "Bearer "+w.admin)
		}
		p, err := w.Authenticate(context.Background(), r)
		if got := outcome(p, err); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
		if err == nil && !p.NotAfter.Equal(leaf.NotAfter) {
			t.Errorf("%s: the principal ends at %v", name, p.NotAfter)
		}
	}
}

func TestAdminTokenHash(t *testing.T) {
	for name, hash := range map[string]string{
		"empty": "", "short": "abcd", "no hex": strings.Repeat("g", 64), "upper case": strings.ToUpper(identity.HashOpaqueToken("x")),
		"zeros": strings.Repeat("0", 64), "of nothing": identity.HashOpaqueToken(""), "of a sample": identity.HashOpaqueToken("changeme"),
		"of a sample line": identity.HashOpaqueToken("admin\n"),
	} {
		if err := CheckAdminTokenHash(hash); !errors.Is(err, ErrAdminTokenHash) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := CheckAdminTokenHash(identity.HashOpaqueToken("cym1.something random")); err != nil {
		t.Error(err)
	}
}
