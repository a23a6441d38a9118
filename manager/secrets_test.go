package manager

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/cyphonic/cyphonic/internal/identity"
	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/manager/access"
	"github.com/cyphonic/cyphonic/manager/access/accesstest"
	"github.com/cyphonic/cyphonic/manager/store"
	"github.com/cyphonic/cyphonic/manager/store/etcd"
)

// sheets collects what leaves the manager: every answer with its header, and
// every line of the log.
type sheets struct {
	mu    sync.Mutex
	texts map[string]string // under mu: by where it was found
}

func (s *sheets) add(where, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.texts[where] += text
}

// Write takes a line of the log.
func (s *sheets) Write(p []byte) (int, error) {
	s.add("log", string(p))
	return len(p), nil
}

// scan is a manager with all sorts of secrets that is watched for them.
type scan struct {
	t       *testing.T
	sheets  *sheets
	base    string
	client  *http.Client
	cred    credentials
	secrets map[string]string // by what they are
	shown   map[string]string // where a secret may be shown, by what it is
	calls   int
	git     *httptest.Server
	gitSeen chan string
}

// ask does a request and keeps the answer.
func (s *scan) ask(method, path, token, body string, headers ...string) (int, map[string]any, string) {
	s.t.Helper()
	r, err := http.NewRequest(method, s.base+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	a, err := s.client.Do(r.WithContext(ctx))
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = a.Body.Close() }()
	var raw []byte
	if strings.Contains(path, "watch=true") {
		for b := make([]byte, 64<<10); !bytes.Contains(raw, []byte("BOOKMARK")) && err == nil; {
			var n int
			n, err = a.Body.Read(b)
			raw = append(raw, b[:n]...)
		}
	} else if raw, err = io.ReadAll(a.Body); err != nil {
		s.t.Fatal(err)
	}
	s.calls++
	where := fmt.Sprintf("answer %d to %s %s", s.calls, method, r.URL.Path)
	s.sheets.add(where, fmt.Sprint(a.Header)+string(raw))
	var out map[string]any
	_ = json.Unmarshal(raw, &out) // some answers are no JSON
	return a.StatusCode, out, where
}

// must is ask as the administrator with a certain status.
func (s *scan) must(want int, method, path, body string, headers ...string) (map[string]any, string) {
	s.t.Helper()
	code, out, where := s.ask(method, path, s.cred.token, body, headers...)
	if code != want {
		s.t.Fatalf("%s %s: %d, want %d: %v", method, path, code, want, out)
	}
	return out, where
}

// newScan starts a manager with OIDC, secrets of git sources and a log of
// everything.
func newScan(t *testing.T) (*scan, store.Store, *accesstest.Provider) {
	t.Helper()
	s := &scan{t: t, sheets: &sheets{texts: map[string]string{}}, secrets: map[string]string{}, shown: map[string]string{}, gitSeen: make(chan string, 100)}
	e := openStore(t, t.TempDir())
	t.Cleanup(e.Close)
	provider := accesstest.New(t, accesstest.User{Name: "alice", Password: "pw of alice", Groups: []string{"staff"}})
	s.cred = newCredentials(t)
	s.secrets["administrator's token"] = s.cred.token
	s.secrets["git password"] = "git-" + random(t)
	s.secrets["git credentials"] = base64.StdEncoding.EncodeToString([]byte(gitUser + ":" + s.secrets["git password"]))
	key, err := os.ReadFile(s.cred.key)
	if err != nil {
		t.Fatal(err)
	}
	s.secrets["TLS key"] = strings.Split(string(key), "\n")[1]
	s.startGit()
	o := s.cred.options(etcd.NewStore(e.Client()))
	o.OIDC = &access.OIDC{Issuer: provider.Issuer, ClientID: provider.ClientID, UsernameClaim: "sub", GroupsClaim: "groups", Roots: provider.Roots}
	o.SecretsDirectory = s.secretsDirectory()
	o.Log = slog.New(slog.NewJSONHandler(s.sheets, &slog.HandlerOptions{Level: slog.LevelDebug, AddSource: true}))
	m, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	run(t, m)
	s.client, s.base = s.cred.client(), "https://"+m.Addr().String()
	t.Cleanup(s.client.CloseIdleConnections)
	waitReady(t, s.client, s.base)
	return s, o.Store, provider
}

func random(t *testing.T) string {
	t.Helper()
	var b [12]byte
	if _, err := rand.Read(b[:]); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(b[:])
}

// startGit starts a git server that refuses everybody and says with which
// credentials it was asked.
func (s *scan) startGit() {
	s.git = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, ok := r.BasicAuth()
		if !ok {
			w.Header().Set("WWW-Authenticate", `Basic realm="git"`)
		}
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = fmt.Fprintf(w, "user %s with password %s (%s) may not read", user, password, r.Header.Get("Authorization"))
		select {
		case s.gitSeen <- password:
		default:
		}
	}))
	s.t.Cleanup(s.git.Close)
}

// gitUser is an account, which is no secret.
const gitUser = "fleet-reader"

func (s *scan) secretsDirectory() string {
	s.t.Helper()
	directory := s.t.TempDir()
	folder := filepath.Join(directory, "fleet")
	if err := os.Mkdir(folder, 0o700); err != nil {
		s.t.Fatal(err)
	}
	for name, text := range map[string]string{"username": gitUser, "password": s.secrets["git password"], "hosts": "127.0.0.1"} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text+"\n"), 0o600); err != nil {
			s.t.Fatal(err)
		}
	}
	return directory
}

// made notes a secret that was made by a request: its answer may show it, once.
func (s *scan) made(what string, out map[string]any, where string) string {
	s.t.Helper()
	status, _ := out["status"].(map[string]any)
	token, _ := status["token"].(string)
	if token == "" {
		s.t.Fatalf("%s: the answer has no token: %v", what, out)
	}
	s.secrets[what], s.shown[what] = token, where
	return token
}

func manifest(kind, name, spec string) string {
	return fmt.Sprintf(`{"apiVersion":"cyphonic/v1","kind":%q,"metadata":{"name":%q},"spec":%s}`, kind, name, spec)
}

// TestNoSecretLeavesTheManager uses every sort of credential, in its place and
// in wrong ones, and then looks for all of them in everything that came out.
func TestNoSecretLeavesTheManager(t *testing.T) {
	s, db, provider := newScan(t)
	s.useTokens()
	s.usePasswords()
	s.useAdapter(db)
	s.useTelemetry()
	s.useProvider(provider)
	s.useGit()
	s.mistakes()
	s.backUp()
	s.readEverything()
	s.collectKeys(db)
	s.search(db)
}

func (s *scan) useTokens() {
	s.must(201, "POST", "/api/v1/networks", manifest("Network", "hall", `{"ipv4Prefix":"10.1.0.0/24","ipv6Prefix":"fd00:1::/64","domain":"hall.example.internal"}`))
	s.must(201, "POST", "/api/v1/adapters", manifest("Adapter", "hall-1", `{"network":"hall"}`))
	s.must(201, "POST", "/api/v1/nodes", manifest("Node", "viewer", `{"network":"hall"}`))
	out, where := s.must(201, "POST", "/api/v1/enrollmenttokens", manifest("EnrollmentToken", "enrol", `{"subjectKind":"Node","subjectName":"viewer"}`))
	s.made("enrolment token", out, where)
	rules := `{"rules":[{"verbs":["*"],"kinds":["*"]}],"ttlSeconds":3600}`
	out, where = s.must(201, "POST", "/api/v1/apitokens", manifest("APIToken", "ci", rules), "Idempotency-Key", "the-same-key-twice")
	token := s.made("API token", out, where)
	s.must(201, "POST", "/api/v1/apitokens", manifest("APIToken", "ci", rules), "Idempotency-Key", "the-same-key-twice")
	out, where = s.must(201, "PUT", "/api/v1/apitokens/put", manifest("APIToken", "put", rules))
	s.made("API token made by PUT", out, where)
	s.must(201, "POST", "/api/v1/apitokens?dryRun=All", manifest("APIToken", "dry", rules))
	s.ask("PATCH", "/api/v1/apitokens/ci", token, `{"metadata":{"labels":{"a":"b"}}}`, "Content-Type", "application/merge-patch+json")
	s.ask("GET", "/api/v1/whoami", token, "")
	s.ask("PUT", "/api/v1/apitokens/put/status", token, manifest("APIToken", "put", rules))
	s.must(200, "DELETE", "/api/v1/apitokens/put", "")
	s.ask("GET", "/api/v1/nodes", s.secrets["API token made by PUT"], "") // is no more
	s.ask("POST", "/api/v1/plans", token, `{"items":[`+manifest("APIToken", "planned", rules)+`]}`)
}

func (s *scan) usePasswords() {
	password := "pass-" + random(s.t)
	hash, err := identity.HashPassword(rand.Reader, password)
	if err != nil {
		s.t.Fatal(err)
	}
	s.secrets["password"] = password
	s.secrets["password hash"], s.shown["password hash"] = hash, "answer" // who may read the node reads what is to be its hash
	body := func(v string) string {
		return manifest("Node", "camera", fmt.Sprintf(`{"network":"hall","authentication":{"passwordHash":%q}}`, v))
	}
	s.must(201, "PUT", "/api/v1/nodes/camera", body(hash))
	s.must(400, "PUT", "/api/v1/nodes/camera", body(password)) // in clear: refused
	s.must(400, "PUT", "/api/v1/nodes/camera", strings.Replace(body(password), "passwordHash", "password", 1))
	other, err := identity.HashPassword(rand.Reader, "another")
	if err != nil {
		s.t.Fatal(err)
	}
	s.must(200, "PUT", "/api/v1/nodes/camera", body(other))
}

// useAdapter is an adapter with an access token as the AS makes them.
func (s *scan) useAdapter(db store.Store) {
	out, _ := s.must(200, "GET", "/api/v1/adapters/hall-1", "")
	uid, _ := out["metadata"].(map[string]any)["uid"].(string)
	l, err := db.List(context.Background(), keyspace.KeyPrefix(keyspace.PurposeAccess), store.ListOptions{})
	if err != nil || len(l.Entries) != 1 {
		s.t.Fatal(err, l)
	}
	record, err := keyspace.Decode[keyspace.KeyRecord](l.Entries[0].Value)
	if err != nil {
		s.t.Fatal(err)
	}
	for what, notAfter := range map[string]time.Time{"access token": time.Now().Add(time.Hour), "expired access token": time.Now().Add(-time.Hour)} {
		token, err := identity.SealAccessToken(rand.Reader, identity.Keyring{Current: identity.SealingKey{ID: record.ID, Key: record.Secret}},
			identity.AccessClaims{Kind: "Adapter", Name: "hall-1", UID: uid, NotAfter: notAfter})
		if err != nil {
			s.t.Fatal(err)
		}
		s.secrets[what] = token
		for _, path := range []string{"/api/v1/adapters/hall-1/generalnodes", "/api/v1/adapters/hall-2/generalnodes", "/api/v1/nodes"} {
			s.ask("GET", path, token, "")
		}
	}
}

func (s *scan) useProvider(p *accesstest.Provider) {
	token, err := p.Login("alice", "pw of alice")
	if err != nil {
		s.t.Fatal(err)
	}
	s.secrets["ID token"], s.secrets["password at the provider"] = token, "pw of alice"
	s.ask("GET", "/api/v1/whoami", token, "")
	s.ask("GET", "/api/v1/nodes", token, "") // has no rights
	s.ask("GET", "/api/v1/nodes", token[:len(token)-6]+"AAAAAA", "")
	s.secrets["signature of the ID token"] = token[strings.LastIndex(token, ".")+1:]
}

func (s *scan) useGit() {
	s.must(201, "POST", "/api/v1/roles", manifest("Role", "fleet", `{"rules":[{"verbs":["*"],"kinds":["Node"]}]}`))
	s.must(201, "POST", "/api/v1/gitsources", manifest("GitSource", "fleet", fmt.Sprintf(`{"url":"%s/fleet.git","role":"fleet","secretName":"fleet"}`, s.git.URL)))
	secret := "url-" + random(s.t)
	s.secrets["password in a URL"] = secret
	s.ask("POST", "/api/v1/gitsources", s.cred.token, manifest("GitSource", "bad", fmt.Sprintf(`{"url":"https://me:%s@git.example.org/x.git","role":"fleet"}`, secret)))
	// An annotation is free text: whoever may read the resource reads it. It must not travel further.
	s.shown["password in a URL"] = "answer"
	s.must(201, "POST", "/api/v1/nodes", fmt.Sprintf(`{"apiVersion":"cyphonic/v1","kind":"Node","metadata":{"name":"noted","annotations":{"from":"https://me:%s@git.example.org/x"}},"spec":{"network":"hall"}}`, secret))
	limit := time.After(30 * time.Second)
	for {
		select {
		case password := <-s.gitSeen:
			if password == s.secrets["git password"] {
				s.must(200, "GET", "/api/v1/gitsources/fleet", "")
				return
			}
		case <-limit:
			s.t.Fatal("the git source was not asked for with its password: the scan would show nothing about it")
		}
	}
}

// mistakes are credentials in places where they do not belong.
func (s *scan) mistakes() {
	for _, secret := range s.secrets {
		s.ask("GET", "/api/v1/nodes?access_token="+url.QueryEscape(secret), "", "")
		s.ask("GET", "/api/v1/nodes", "", "", "Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte("x:"+secret)))
		s.ask("GET", "/api/v1/nodes", "", "", "Authorization", secret)
		s.ask("GET", "/api/v1/nodes", "", "", "Cookie", "token="+secret)
		s.ask("GET", "/api/v1/nodes", secret+"x", "")
		s.ask("GET", "/api/v1/nodes", secret+", Bearer "+s.cred.token, "")
	}
}

func (s *scan) backUp() {
	recipient, err := age.GenerateX25519Identity()
	if err != nil {
		s.t.Fatal(err)
	}
	if code, _, _ := s.ask("GET", "/api/v1/backup?recipient="+recipient.Recipient().String(), s.cred.token, ""); code != 200 {
		s.t.Errorf("backup: %d", code)
	}
	s.secrets["who can decrypt the backup"] = recipient.String()
	s.restore(recipient)
}

// readEverything reads all that there is to read, also by watching.
func (s *scan) readEverything() {
	for _, plural := range append(keyspace.Plurals(), "events") {
		s.must(200, "GET", "/api/v1/"+plural, "")
		s.must(200, "GET", "/api/v1/"+plural+"?watch=true", "")
	}
	for _, path := range []string{"/metrics", "/readyz", "/livez", "/openapi.json", "/reference", "/api/v1/telemetry/metrics", "/api/v1/telemetry/targets"} {
		s.ask("GET", path, s.cred.token, "")
	}
	for end := time.Now().Add(10 * time.Second); ; {
		out, _ := s.must(200, "GET", "/api/v1/audit?limit=1000", "")
		text, _ := json.Marshal(out)
		if strings.Contains(string(text), `"name":"noted"`) && strings.Contains(string(text), `"verb":"login"`) {
			return
		}
		if time.Now().After(end) {
			s.t.Fatalf("the audit log does not tell of what happened: %s", text)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// collectKeys adds the keys that the managers and services share.
func (s *scan) collectKeys(db store.Store) {
	l, err := db.List(context.Background(), keyspace.KeysPrefix, store.ListOptions{})
	if err != nil || len(l.Entries) < 3 {
		s.t.Fatal(err, len(l.Entries))
	}
	for _, e := range l.Entries {
		record, err := keyspace.Decode[keyspace.KeyRecord](e.Value)
		if err != nil {
			s.t.Fatal(err)
		}
		s.secrets[e.Key] = base64.StdEncoding.EncodeToString(record.Secret[:])
		s.secrets[e.Key+" in hex"] = hex.EncodeToString(record.Secret[:])
	}
}

// search looks for every secret in everything.
func (s *scan) search(db store.Store) {
	l, err := db.List(context.Background(), "/cyphonic/", store.ListOptions{})
	if err != nil {
		s.t.Fatal(err)
	}
	for _, e := range l.Entries {
		switch {
		case strings.HasPrefix(e.Key, keyspace.KeysPrefix): // is where they are
		case strings.HasPrefix(e.Key, keyspace.ResourcesPrefix) || strings.HasPrefix(e.Key, keyspace.IdempotencyPrefix):
			s.sheets.add("answer out of the store: "+e.Key, string(e.Value))
		default:
			s.sheets.add("store: "+e.Key, string(e.Value))
		}
	}
	s.sheets.mu.Lock()
	defer s.sheets.mu.Unlock()
	log := s.sheets.texts["log"]
	if strings.Count(log, `"msg":"request"`) < 100 || !strings.Contains(log, `"level":"DEBUG"`) || len(s.secrets) < 18 {
		s.t.Errorf("%d bytes of log and %d secrets: the scan shows nothing", len(log), len(s.secrets))
	}
	for what, secret := range s.secrets {
		for _, fault := range s.sheets.find(secret, s.shown[what]) {
			s.t.Errorf("the %s is in %s", what, fault)
		}
		if s.shown[what] != "" && !s.sheets.has(secret) {
			s.t.Errorf("the %s is not even where it is shown: the scan does not find what it looks for", what)
		}
	}
}

// secretForms are the texts in which a secret may appear.
func secretForms(secret string) []string {
	return []string{secret, url.QueryEscape(secret), base64.StdEncoding.EncodeToString([]byte(secret)), strings.ReplaceAll(secret, "/", `\/`)}
}

// find returns the places in which a secret is, but for those that begin with
// allowed, with what stands around it. It is called under mu.
func (s *sheets) find(secret, allowed string) (found []string) {
	for where, text := range s.texts {
		if allowed != "" && strings.HasPrefix(where, allowed) {
			continue
		}
		for _, form := range secretForms(secret) {
			if at := strings.Index(text, form); at >= 0 {
				found = append(found, fmt.Sprintf("%s: …%s…", where, text[max(0, at-120):min(len(text), at+len(form)+20)]))
				break
			}
		}
	}
	return found
}

func (s *sheets) has(secret string) bool {
	for _, text := range s.texts {
		if slices.ContainsFunc(secretForms(secret), func(form string) bool { return strings.Contains(text, form) }) {
			return true
		}
	}
	return false
}
