// Package accesstest runs a real OpenID provider on loopback for tests: the certified implementation of zitadel/oidc behind TLS, with
// users and groups of the test's choice. It can go away, come back, and change its keys.
//
// The package is for tests only; no program may import it.
package accesstest

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
	"github.com/google/uuid"
	"github.com/zitadel/oidc/v3/example/server/storage"
	zitadel "github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
	"golang.org/x/oauth2"
)

// User is somebody who can log in at the provider.
type User struct {
	Name, Password, Email string
	Unverified            bool // the e-mail address
	Groups                []string
}

// Provider is a running OpenID provider.
type Provider struct {
	Issuer   string
	ClientID string
	Roots    *x509.CertPool // that certify the provider

	t        testing.TB
	server   *httptest.Server
	storage  *providerStorage
	away     atomic.Bool
	requests atomic.Int64
}

// New starts a provider with one public client and some users. It ends with the test.
func New(t testing.TB, users ...User) *Provider {
	t.Helper()
	p := &Provider{t: t, ClientID: "cyphonic", Roots: x509.NewCertPool()}
	var handler http.Handler
	p.server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.requests.Add(1)
		if p.away.Load() {
			http.Error(w, "closed for today", http.StatusBadGateway)
			return
		}
		handler.ServeHTTP(w, r)
	}))
	t.Cleanup(p.server.Close)
	p.Issuer = p.server.URL
	p.Roots.AddCert(p.server.Certificate())
	p.storage = newStorage(t, p.ClientID, users)
	key := sha256.Sum256([]byte(t.Name()))
	provider, err := op.NewProvider(&op.Config{
		CryptoKey: key, CodeMethodS256: true, GrantTypeRefreshToken: true,
		DeviceAuthorization: op.DeviceAuthorizationConfig{Lifetime: time.Minute, PollInterval: time.Second, UserFormPath: "/device", UserCode: op.UserCodeBase20},
	}, p.storage, op.StaticIssuer(p.Issuer), op.WithLogger(slog.New(slog.NewTextHandler(io.Discard, nil))))
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/", provider)
	// The page on which people log in is not part of the provider: this one takes name and password from a form.
	callback := op.AuthCallbackURL(provider)
	mux.Handle("/login/", op.NewIssuerInterceptor(provider.IssuerFromRequest).HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := r.FormValue("authRequestID")
		if r.Method == http.MethodGet {
			_, _ = fmt.Fprint(w, "log in, please")
			return
		}
		if err := p.storage.CheckUsernamePassword(r.FormValue("username"), r.FormValue("password"), id); err != nil {
			http.Error(w, err.Error(), http.StatusForbidden)
			return
		}
		http.Redirect(w, r, callback(r.Context(), id), http.StatusFound)
	}))
	mux.HandleFunc("POST /device", func(w http.ResponseWriter, r *http.Request) {
		user := p.storage.users[r.FormValue("username")]
		if user.Name == "" || user.Password != r.FormValue("password") {
			http.Error(w, "wrong name or password", http.StatusForbidden)
			return
		}
		if err := p.storage.CompleteDeviceAuthorization(r.Context(), r.FormValue("user_code"), user.Name); err != nil {
			http.Error(w, err.Error(), http.StatusForbidden)
		}
	})
	handler = mux
	return p
}

// Client is an HTTP client that trusts the provider.
func (p *Provider) Client() *http.Client { return p.server.Client() }

// SetAway lets the provider answer every request with an error, or work again.
func (p *Provider) SetAway(away bool) { p.away.Store(away) }

// Requests is how often the provider was asked something.
func (p *Provider) Requests() int64 { return p.requests.Load() }

// Rotate lets the provider sign with a new key. The old one is withdrawn.
func (p *Provider) Rotate() { p.storage.rotate(p.t) }

// Login logs a user in with authorization code and PKCE (RFC 7636), as a browser and a command line do, and returns the ID token.
func (p *Provider) Login(name, password string) (string, error) {
	ctx := oidc.ClientContext(context.Background(), p.Client())
	found, err := oidc.NewProvider(ctx, p.Issuer)
	if err != nil {
		return "", err
	}
	config := oauth2.Config{ClientID: p.ClientID, Endpoint: found.Endpoint(), RedirectURL: redirect, Scopes: []string{"openid", "profile", "email"}}
	verifier, state := oauth2.GenerateVerifier(), uuid.NewString()
	code, err := p.browse(config.AuthCodeURL(state, oauth2.S256ChallengeOption(verifier)), state, name, password)
	if err != nil {
		return "", err
	}
	token, err := config.Exchange(ctx, code, oauth2.VerifierOption(verifier))
	if err != nil {
		return "", err
	}
	id, _ := token.Extra("id_token").(string)
	return id, nil
}

// browse does what a person with a browser does, and returns the code that the browser is sent back with.
func (p *Provider) browse(address, state, name, password string) (string, error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return "", err
	}
	browser := *p.Client()
	browser.Jar = jar
	browser.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	var form url.Values // sent when there is one
	for range 8 {
		var a *http.Response
		if form == nil {
			a, err = browser.Get(address)
		} else {
			a, err = browser.PostForm(address, form)
		}
		if err != nil {
			return "", err
		}
		body, _ := io.ReadAll(a.Body)
		_ = a.Body.Close()
		switch {
		case a.StatusCode == http.StatusOK && form == nil:
			form = url.Values{"username": {name}, "password": {password}}
			continue
		case a.StatusCode != http.StatusFound && a.StatusCode != http.StatusSeeOther:
			return "", fmt.Errorf("the provider answers %s: %s", a.Status, body)
		}
		next, err := a.Location()
		if err != nil {
			return "", err
		}
		if next.Scheme == "http" {
			if q := next.Query(); q.Get("code") != "" && q.Get("state") == state {
				return q.Get("code"), nil
			}
			return "", fmt.Errorf("the provider sends the browser to %s", next)
		}
		address, form = next.String(), nil
	}
	return "", fmt.Errorf("the provider redirects for ever")
}

// redirect is where a command line would listen.
const redirect = "http://localhost/auth/callback"

// Sign returns a token with these claims, signed by the provider's current key as it signs ID tokens. It stands for a provider that
// signs what it should not.
func (p *Provider) Sign(claims string, header map[jose.HeaderKey]any) string {
	p.t.Helper()
	key := p.storage.current()
	options := &jose.SignerOptions{ExtraHeaders: map[jose.HeaderKey]any{"kid": key.id}}
	for name, value := range header {
		options.ExtraHeaders[name] = value
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: key.private}, options)
	if err != nil {
		p.t.Fatal(err)
	}
	signed, err := signer.Sign([]byte(claims))
	if err != nil {
		p.t.Fatal(err)
	}
	text, err := signed.CompactSerialize()
	if err != nil {
		p.t.Fatal(err)
	}
	return text
}

// PublicKey is the current key in the form in which the provider shows it to everybody.
func (p *Provider) PublicKey() *rsa.PublicKey { return &p.storage.current().private.PublicKey }

// providerStorage adds groups and keys that change to the storage of the module's example.
type providerStorage struct {
	*storage.Storage
	users map[string]User

	mu  sync.Mutex
	key *signingKey // under mu
}

type signingKey struct {
	id      string
	private *rsa.PrivateKey
}

// ID, SignatureAlgorithm and Key implement op.SigningKey.
func (k *signingKey) ID() string                                  { return k.id }
func (k *signingKey) SignatureAlgorithm() jose.SignatureAlgorithm { return jose.RS256 }
func (k *signingKey) Key() any                                    { return k.private }

type publicKey struct{ *signingKey }

// Algorithm, Use and Key implement op.Key.
func (k publicKey) Algorithm() jose.SignatureAlgorithm { return jose.RS256 }
func (k publicKey) Use() string                        { return "sig" }
func (k publicKey) Key() any                           { return &k.private.PublicKey }

// people implements storage.UserStore.
type people map[string]User

func (p people) ExampleClientID() string { return "service" }

func (p people) GetUserByID(id string) *storage.User { return p.GetUserByUsername(id) }

func (p people) GetUserByUsername(name string) *storage.User {
	u, ok := p[name]
	if !ok {
		return nil
	}
	return &storage.User{ID: u.Name, Username: u.Name, Password: u.Password, Email: u.Email, EmailVerified: !u.Unverified}
}

func newStorage(t testing.TB, clientID string, users []User) *providerStorage {
	s := &providerStorage{users: map[string]User{}}
	for _, u := range users {
		s.users[u.Name] = u
	}
	s.Storage = storage.NewStorageWithClients(people(s.users), map[string]*storage.Client{
		clientID: storage.NativeClient(clientID, redirect),
		"other":  storage.NativeClient("other", redirect),
	})
	s.rotate(t)
	return s
}

func (s *providerStorage) rotate(t testing.TB) {
	t.Helper()
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.key = &signingKey{id: uuid.NewString(), private: private}
}

func (s *providerStorage) current() *signingKey {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.key
}

// SigningKey, SignatureAlgorithms and KeySet implement op.Storage.
func (s *providerStorage) SigningKey(context.Context) (op.SigningKey, error) { return s.current(), nil }

func (s *providerStorage) SignatureAlgorithms(context.Context) ([]jose.SignatureAlgorithm, error) {
	return []jose.SignatureAlgorithm{jose.RS256}, nil
}

func (s *providerStorage) KeySet(context.Context) ([]op.Key, error) {
	return []op.Key{publicKey{s.current()}}, nil
}

// SetUserinfoFromRequest implements op.CanSetUserinfoFromRequest.
func (s *providerStorage) SetUserinfoFromRequest(ctx context.Context, info *zitadel.UserInfo, r op.IDTokenRequest, scopes []string) error {
	if err := s.Storage.SetUserinfoFromRequest(ctx, info, r, scopes); err != nil {
		return err
	}
	if groups := s.users[r.GetSubject()].Groups; len(groups) > 0 {
		info.AppendClaims("groups", groups)
	}
	return nil
}

// GetClientByClientID lets the claims of the user stand in the ID token, as providers of companies are configured, and people log in
// on the page of this package.
func (s *providerStorage) GetClientByClientID(ctx context.Context, id string) (op.Client, error) {
	client, err := s.Storage.GetClientByClientID(ctx, id)
	if err != nil {
		return nil, err
	}
	return publicClient{client}, nil
}

type publicClient struct{ op.Client }

func (publicClient) IDTokenUserinfoClaimsAssertion() bool { return true }
func (publicClient) LoginURL(id string) string            { return "/login/?authRequestID=" + url.QueryEscape(id) }

func (publicClient) GrantTypes() []zitadel.GrantType {
	return []zitadel.GrantType{zitadel.GrantTypeCode, zitadel.GrantTypeRefreshToken, zitadel.GrantTypeDeviceCode}
}
