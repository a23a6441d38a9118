package access

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
)

// provider knows the keys of the OpenID provider. It asks the provider when it has to and never more often than every providerRetry,
// so that made-up tokens cause no requests; it keeps on using the keys it has while the provider does not answer. Keys that the
// provider withdraws are used for providerAge at most, unless the provider is away.
type provider struct {
	issuer string
	client *http.Client
	log    *slog.Logger
	now    func() time.Time

	asking sync.Mutex // held while the provider is asked

	mu      sync.Mutex
	known   verification // under mu
	readAt  time.Time    // under mu: when known was read
	askedAt time.Time    // under mu: when the provider was last asked
	err     error        // under mu: what the provider answered then
}

// verification is what signatures are verified with.
type verification struct {
	keys       []jose.JSONWebKey
	algorithms []jose.SignatureAlgorithm
}

// algorithms are the signatures that are accepted, where the provider uses them: none without a key, none with a shared one.
func algorithms() []jose.SignatureAlgorithm {
	return []jose.SignatureAlgorithm{
		jose.ES256, jose.ES384, jose.ES512, jose.EdDSA, jose.PS256, jose.PS384, jose.PS512, jose.RS256, jose.RS384, jose.RS512,
	}
}

// errProvider says that the provider has to be asked and does not answer.
var errProvider = errors.New("the OpenID provider does not answer")

func newProvider(o OIDC, log *slog.Logger, now func() time.Time) *provider {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: o.Roots}
	transport.MaxResponseHeaderBytes = maxProviderBytes
	client := &http.Client{
		Timeout: providerTimeout, Transport: bounded{transport},
		CheckRedirect: func(r *http.Request, via []*http.Request) error {
			if len(via) >= maxRedirects || r.URL.Scheme != "https" {
				return errors.New("the OpenID provider redirects too often, or away from https")
			}
			return nil
		},
	}
	return &provider{issuer: o.Issuer, client: client, log: log, now: now}
}

// bounded cuts answers that are too large.
type bounded struct{ next http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	a, err := b.next.RoundTrip(r)
	if err == nil {
		a.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(a.Body, maxProviderBytes), a.Body}
	}
	return a, err
}

// current returns what to verify with. need says whether what is known does not do: then the provider is asked, if mayAsk and if it
// was not asked a moment ago.
func (p *provider) current(ctx context.Context, mayAsk bool, need func(verification) bool) (verification, error) {
	v, age, due := p.state()
	old := age > providerAge || need(v)
	if !old || !due || !mayAsk {
		return p.judge()
	}
	if len(v.keys) > 0 && !need(v) { // only old: somebody asks, the others go on
		if !p.asking.TryLock() {
			return v, nil
		}
	} else {
		p.asking.Lock()
	}
	defer p.asking.Unlock()
	if _, _, due := p.state(); due {
		p.ask(ctx)
	}
	return p.judge()
}

func (p *provider) state() (v verification, age time.Duration, due bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	since := now.Sub(p.askedAt)
	return p.known, now.Sub(p.readAt), p.askedAt.IsZero() || since < 0 || since >= providerRetry
}

// judge returns what is known, or an error if that is nothing or was read too long ago.
func (p *provider) judge() (verification, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.known.keys) == 0 || p.now().Sub(p.readAt) > providerGrace {
		if p.err == nil { // it was never asked
			return verification{}, errProvider
		}
		return verification{}, fmt.Errorf("%w: %w", errProvider, p.err)
	}
	return p.known, nil
}

// ask reads the configuration and the keys of the provider. The request that made it necessary may end; the answer is for all.
func (p *provider) ask(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), providerTimeout)
	defer cancel()
	v, err := p.discover(ctx)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.askedAt, p.err = p.now(), err
	if err != nil {
		p.log.Warn("the OpenID provider does not answer as it should; users who log in with it may be refused", "issuer", p.issuer, "err", err)
		return
	}
	p.known, p.readAt = v, p.askedAt
}

func (p *provider) discover(ctx context.Context) (verification, error) {
	found, err := oidc.NewProvider(oidc.ClientContext(ctx, p.client), p.issuer)
	if err != nil {
		return verification{}, err
	}
	var document struct {
		JWKS       string   `json:"jwks_uri"`
		Algorithms []string `json:"id_token_signing_alg_values_supported"`
	}
	if err := found.Claims(&document); err != nil {
		return verification{}, err
	}
	if !strings.HasPrefix(document.JWKS, "https://") {
		return verification{}, fmt.Errorf("the keys of the provider are at %q, which is not https", document.JWKS)
	}
	v := verification{algorithms: algorithms()}
	if len(document.Algorithms) > 0 {
		v.algorithms = slices.DeleteFunc(v.algorithms, func(a jose.SignatureAlgorithm) bool { return !slices.Contains(document.Algorithms, string(a)) })
	}
	if len(v.algorithms) == 0 {
		return verification{}, fmt.Errorf("the provider signs with %v only, and the manager accepts %v", document.Algorithms, algorithms())
	}
	v.keys, err = p.fetchKeys(ctx, document.JWKS)
	return v, err
}

func (p *provider) fetchKeys(ctx context.Context, address string) ([]jose.JSONWebKey, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	a, err := p.client.Do(r)
	if err != nil {
		return nil, err
	}
	defer func() { _ = a.Body.Close() }()
	if a.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the provider answers %s for its keys", a.Status)
	}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.NewDecoder(a.Body).Decode(&set); err != nil {
		return nil, fmt.Errorf("read the keys of the provider: %w", err)
	}
	if len(set.Keys) > maxProviderKeys {
		return nil, fmt.Errorf("the provider has %d keys, at most %d are possible", len(set.Keys), maxProviderKeys)
	}
	var keys []jose.JSONWebKey
	for _, raw := range set.Keys {
		var key jose.JSONWebKey
		// A key of a sort that nobody here knows must not hide the others (RFC 7517 section 5).
		if err := key.UnmarshalJSON(raw); err == nil && key.Valid() && key.IsPublic() && (key.Use == "" || key.Use == "sig") {
			keys = append(keys, key)
		}
	}
	if len(keys) == 0 {
		return nil, errors.New("the provider has no public key for signatures")
	}
	return keys, nil
}

// signatures verifies the signature of one token for go-oidc with what the provider says.
type signatures struct {
	*provider
	mayAsk bool
	away   error // set if the provider has to be asked and cannot be: go-oidc does not wrap errors
}

// VerifySignature implements oidc.KeySet.
func (s *signatures) VerifySignature(ctx context.Context, jwt string) ([]byte, error) {
	jws, err := jose.ParseSignedCompact(jwt, algorithms())
	if err != nil {
		return nil, err
	}
	header := jws.Signatures[0].Protected
	if sort, _ := header.ExtraHeaders[jose.HeaderType].(string); strings.EqualFold(strings.TrimPrefix(sort, "application/"), "at+jwt") {
		return nil, errors.New("it is an access token (RFC 9068), not an ID token")
	}
	matching := func(v verification) []jose.JSONWebKey {
		return slices.DeleteFunc(slices.Clone(v.keys), func(k jose.JSONWebKey) bool {
			return (header.KeyID != "" && k.KeyID != header.KeyID) || (k.Algorithm != "" && k.Algorithm != header.Algorithm)
		})
	}
	v, err := s.current(ctx, s.mayAsk, func(v verification) bool { return len(matching(v)) == 0 })
	if err != nil {
		s.away = err
		return nil, err
	}
	if !slices.Contains(v.algorithms, jose.SignatureAlgorithm(header.Algorithm)) {
		return nil, fmt.Errorf("the provider does not sign with %s", header.Algorithm)
	}
	for _, key := range matching(v) {
		if payload, err := jws.Verify(key); err == nil {
			return payload, nil
		}
	}
	return nil, errors.New("no key of the provider made the signature")
}

// OIDC says which OpenID provider vouches for users, and how its ID tokens are read.
type OIDC struct {
	Issuer, ClientID string
	UsernameClaim    string // default: sub
	GroupsClaim      string // empty: users have no groups
	UsernamePrefix   string
	Roots            *x509.CertPool // that certify the provider; nil: those of the system
}
