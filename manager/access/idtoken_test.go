package access

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/cyphonic/cyphonic/manager/access/accesstest"
)

func alice() accesstest.User {
	return accesstest.User{Name: "alice", Password: "correct horse", Email: "alice@example.org", Groups: []string{"staff", "hall"}}
}

// oidcWorld is a world whose users log in at a provider by e-mail address.
func oidcWorld(t *testing.T, p *accesstest.Provider, change func(*OIDC)) *world {
	t.Helper()
	o := &OIDC{Issuer: p.Issuer, ClientID: p.ClientID, UsernameClaim: "email", GroupsClaim: "groups", Roots: p.Roots}
	if change != nil {
		change(o)
	}
	return newWorld(t, o)
}

func TestAUserOfARealProviderLogsIn(t *testing.T) {
	p := accesstest.New(t, alice(), accesstest.User{Name: "mallory", Password: "x", Email: "alice@example.org", Unverified: true})
	w := oidcWorld(t, p, nil)
	token, err := p.Login("alice", "correct horse")
	if err != nil {
		t.Fatal(err)
	}
	who, err := w.login("192.0.2.1:1", token)
	if err != nil {
		t.Fatal(err)
	}
	if who.String() != "user/alice@example.org" || fmt.Sprint(who.Groups) != "[staff hall]" || time.Until(who.NotAfter) < 30*time.Minute {
		t.Errorf("%+v", who)
	}
	w.ahead = 2 * time.Hour
	if got := outcome(w.login("192.0.2.1:1", token)); got != ReasonWrong {
		t.Errorf("expired: %s", got)
	}
	if got := outcome(who, w.Valid(who)); got != ReasonWrong {
		t.Errorf("expired while a watch lasts: %s", got)
	}
	w.ahead = 0
	if _, err := p.Login("alice", "wrong"); err == nil {
		t.Error("the provider lets anybody in: the test shows nothing")
	}
	token, err = p.Login("mallory", "x")
	if err != nil {
		t.Fatal(err)
	}
	if got := outcome(w.login("192.0.2.1:1", token)); got != ReasonWrong {
		t.Errorf("an address that was not verified: %s", got)
	}
}

func TestNamesOfUsersAsConfigured(t *testing.T) {
	p := accesstest.New(t, alice())
	token, err := p.Login("alice", "correct horse")
	if err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*OIDC){
		"user/alice":                  func(o *OIDC) { o.UsernameClaim = "" },
		"user/corp:alice":             func(o *OIDC) { o.UsernameClaim, o.UsernamePrefix = "preferred_username", "corp:" },
		ReasonWrong:                   func(o *OIDC) { o.UsernameClaim = "no_such_claim" },
		ReasonWrong + " ":             func(o *OIDC) { o.UsernameClaim = "groups" },
		ReasonWrong + " audience":     func(o *OIDC) { o.ClientID = "somebody-else" },
		ReasonUnavailable + " issuer": func(o *OIDC) { o.Issuer += "/other" },
		ReasonUnavailable + " roots":  func(o *OIDC) { o.Roots = x509.NewCertPool() },
	} {
		w := oidcWorld(t, p, change)
		who, err := w.login("192.0.2.1:1", token)
		if got := outcome(who, err); got != strings.Fields(want)[0] {
			t.Errorf("%s, want %s: %v", got, want, errors.Unwrap(err))
		}
		if w.users.config.GroupsClaim == "groups" && err == nil && len(who.Groups) != 2 {
			t.Errorf("%s: groups %v", want, who.Groups)
		}
	}
}

// claimsFor returns claims as the provider makes them, with changes; nil leaves one out.
func claimsFor(t *testing.T, p *accesstest.Provider, change map[string]any) string {
	t.Helper()
	now := time.Now()
	claims := map[string]any{
		"iss": p.Issuer, "aud": p.ClientID, "sub": "alice", "email": "alice@example.org", "email_verified": true,
		"iat": now.Unix(), "exp": now.Add(time.Hour).Unix(),
	}
	maps.Copy(claims, change)
	maps.DeleteFunc(claims, func(_ string, v any) bool { return v == nil })
	b, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestTokensThatTheProviderDidNotMeanForUs(t *testing.T) {
	p := accesstest.New(t, alice())
	w := oidcWorld(t, p, nil)
	now := time.Now()
	manyGroups := make([]string, maxGroups+1)
	for i := range manyGroups {
		manyGroups[i] = fmt.Sprint("g", i)
	}
	for i, c := range []struct {
		name   string
		change map[string]any
		header map[jose.HeaderKey]any
		good   bool
	}{
		{"as it should be", nil, nil, true},
		{"one group as text", map[string]any{"groups": "staff"}, nil, true},
		{"several audiences, issued to us", map[string]any{"aud": []string{"x", p.ClientID}, "azp": p.ClientID}, nil, true},
		{"expired", map[string]any{"exp": now.Add(-time.Second).Unix()}, nil, false},
		{"without an end", map[string]any{"exp": nil}, nil, false},
		{"issued in the future", map[string]any{"iat": now.Add(time.Hour).Unix()}, nil, false},
		{"not yet", map[string]any{"nbf": now.Add(time.Hour).Unix()}, nil, false},
		{"another issuer", map[string]any{"iss": p.Issuer + "/"}, nil, false},
		{"no issuer", map[string]any{"iss": nil}, nil, false},
		{"another audience", map[string]any{"aud": "other"}, nil, false},
		{"no audience", map[string]any{"aud": nil}, nil, false},
		{"several audiences, issued to nobody", map[string]any{"aud": []string{"x", p.ClientID}}, nil, false},
		{"issued to another client", map[string]any{"azp": "other"}, nil, false},
		{"access token", nil, map[jose.HeaderKey]any{"typ": "at+jwt"}, false},
		{"access token, long type", nil, map[jose.HeaderKey]any{"typ": "application/AT+JWT"}, false},
		{"no name", map[string]any{"email": nil}, nil, false},
		{"empty name", map[string]any{"email": ""}, nil, false},
		{"name is no text", map[string]any{"email": 7}, nil, false},
		{"line break in the name", map[string]any{"email": "a\nb"}, nil, false},
		{"very long name", map[string]any{"email": strings.Repeat("x", maxName+1)}, nil, false},
		{"groups are no texts", map[string]any{"groups": []any{1}}, nil, false},
		{"groups are an object", map[string]any{"groups": map[string]any{"a": 1}}, nil, false},
		{"too many groups", map[string]any{"groups": manyGroups}, nil, false},
		{"key of another name", nil, map[jose.HeaderKey]any{"kid": "nobody"}, false},
	} {
		want := ReasonWrong
		if c.good {
			want = "user/alice@example.org"
		}
		if got := outcome(w.login(fmt.Sprintf("192.0.2.%d:1", i), p.Sign(claimsFor(t, p, c.change), c.header))); got != want {
			t.Errorf("%s: %s, want %s", c.name, got, want)
		}
	}
}

func TestTokensThatTheProviderDidNotSign(t *testing.T) {
	p := accesstest.New(t, alice())
	w := oidcWorld(t, p, nil)
	good := claimsFor(t, p, nil)
	raw := func(header, claims string, mac func(string) []byte) string {
		e := base64.RawURLEncoding.EncodeToString
		signed := e([]byte(header)) + "." + e([]byte(claims))
		return signed + "." + e(mac(signed))
	}
	public, err := x509.MarshalPKIXPublicKey(p.PublicKey())
	if err != nil {
		t.Fatal(err)
	}
	secret := func(key []byte) func(string) []byte {
		return func(s string) []byte { h := hmac.New(sha256.New, key); h.Write([]byte(s)); return h.Sum(nil) }
	}
	whole := p.Sign(good, nil)
	for name, token := range map[string]string{
		"alg none":                raw(`{"alg":"none"}`, good, func(string) []byte { return nil }),
		"alg None":                raw(`{"alg":"None","typ":"JWT"}`, good, func(string) []byte { return []byte("x") }),
		"HS256 with the key":      raw(`{"alg":"HS256"}`, good, secret(public)),
		"HS256 with the client":   raw(`{"alg":"HS256"}`, good, secret([]byte(p.ClientID))),
		"RS256 without the key":   raw(`{"alg":"RS256"}`, good, secret(public)),
		"signature cut":           whole[:len(whole)-4],
		"claims of another":       strings.Join([]string{strings.Split(whole, ".")[0], base64.RawURLEncoding.EncodeToString([]byte(claimsFor(t, p, map[string]any{"email": "eve@example.org"}))), strings.Split(whole, ".")[2]}, "."),
		"key in the header":       raw(`{"alg":"RS256","jwk":{"kty":"oct","k":"AAAA"}}`, good, secret(public)),
		"no JSON":                 "ey.ey.ey",
		"critical header unknown": raw(`{"alg":"RS256","crit":["x"],"x":1}`, good, secret(public)),
	} {
		if got := outcome(w.login("198.51.100.1:1", token)); got != ReasonWrong {
			t.Errorf("%s: %s", name, got)
		}
	}
}

func TestTheProviderMayBeAwayAndMayChangeItsKeys(t *testing.T) {
	p := accesstest.New(t, alice())
	token, err := p.Login("alice", "correct horse")
	if err != nil {
		t.Fatal(err)
	}
	p.SetAway(true)
	w := oidcWorld(t, p, nil) // starts nevertheless
	_, err = w.login("192.0.2.1:1", token)
	var refusal *Refusal
	if !errors.As(err, &refusal) || refusal.Reason != ReasonUnavailable || refusal.RetryAfter <= 0 {
		t.Fatalf("provider down at the start: %v", err)
	}
	before := p.Requests()
	for range 20 {
		_, _ = w.login("192.0.2.1:1", token)
	}
	if asked := p.Requests() - before; asked != 0 {
		t.Errorf("the provider was asked %d times while it is known to be away", asked)
	}
	p.SetAway(false)
	w.ahead += providerRetry
	if got := outcome(w.login("192.0.2.1:1", token)); got != "user/alice@example.org" {
		t.Fatalf("the provider is back: %s", got)
	}
	p.SetAway(true)
	w.ahead += providerAge + time.Minute
	if got := outcome(w.login("192.0.2.1:1", token)); got != "user/alice@example.org" {
		t.Errorf("the provider went away after its keys were read: %s", got)
	}
	p.SetAway(false)
	p.Rotate()
	fresh, err := p.Login("alice", "correct horse")
	if err != nil {
		t.Fatal(err)
	}
	w.ahead += providerRetry
	if got := outcome(w.login("192.0.2.1:1", fresh)); got != "user/alice@example.org" {
		t.Errorf("signed with a new key: %s", got)
	}
	if got := outcome(w.login("192.0.2.1:1", token)); got != ReasonWrong {
		t.Errorf("signed with a key that was withdrawn: %s", got)
	}
	before = p.Requests()
	for range 10 {
		if got := outcome(w.login("192.0.2.2:1", p.Sign("{}", map[jose.HeaderKey]any{"kid": "made-up"}))); got != ReasonWrong {
			t.Fatalf("made-up key: %s", got)
		}
	}
	if asked := p.Requests() - before; asked > 2 {
		t.Errorf("ten tokens with made-up keys made %d requests to the provider", asked)
	}
}

func TestASourceThatFailsTooOftenCausesNoQuestionsToTheProvider(t *testing.T) {
	p := accesstest.New(t, alice())
	w := oidcWorld(t, p, nil)
	for range failureBurst {
		_, _ = w.login("192.0.2.1:1", "cym1.wrong")
	}
	if got := outcome(w.login("192.0.2.1:1", p.Sign("{}", nil))); got != ReasonUnavailable && got != ReasonLimited {
		t.Errorf("%s", got)
	}
	if p.Requests() != 0 {
		t.Errorf("%d requests to the provider", p.Requests())
	}
}

// A provider that answers nonsense must not be taken for one that answers.
func TestProvidersThatAnswerNonsense(t *testing.T) {
	for name, answer := range map[string]func(issuer, path string) (int, string){
		"nothing":      func(string, string) (int, string) { return 200, "" },
		"other issuer": func(string, string) (int, string) { return 200, `{"issuer":"https://elsewhere.example"}` },
		"keys in clear": func(issuer, _ string) (int, string) {
			return 200, fmt.Sprintf(`{"issuer":%q,"jwks_uri":"http://127.0.0.1/keys"}`, issuer)
		},
		"only HS256": func(issuer, _ string) (int, string) {
			return 200, fmt.Sprintf(`{"issuer":%q,"jwks_uri":%q,"id_token_signing_alg_values_supported":["HS256","none"]}`, issuer, issuer+"/keys")
		},
		"only shared keys": func(issuer, path string) (int, string) {
			if path == "/keys" {
				return 200, `{"keys":[{"kty":"oct","k":"AAAA","kid":"a"}]}`
			}
			return 200, fmt.Sprintf(`{"issuer":%q,"jwks_uri":%q}`, issuer, issuer+"/keys")
		},
		"endless":          func(string, string) (int, string) { return 200, strings.Repeat(" ", maxProviderBytes+1) + "{}" },
		"redirect to http": func(string, string) (int, string) { return 302, "http://127.0.0.1/" },
	} {
		var server *httptest.Server
		server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			code, body := answer(server.URL, r.URL.Path)
			if code == 302 {
				http.Redirect(w, r, body, code)
				return
			}
			w.Header().Set("Content-Type", "application/json")
			_, _ = fmt.Fprint(w, body)
		}))
		roots := x509.NewCertPool()
		roots.AddCert(server.Certificate())
		w := newWorldWithoutStore(t, &OIDC{Issuer: server.URL, ClientID: "c", Roots: roots})
		_, err := w.users.principal(context.Background(), "eyJhbGciOiJSUzI1NiJ9.e30.AAAA", true)
		if !errors.Is(err, errProvider) {
			t.Errorf("%s: %v", name, err)
		}
		server.Close()
	}
}
