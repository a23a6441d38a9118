package rest

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cyphonic/cyphonic/internal/auditchain"
	"github.com/cyphonic/cyphonic/manager/access"
	"github.com/cyphonic/cyphonic/manager/audit"
)

func (m *matrixWorld) column(name string) column {
	m.t.Helper()
	for _, c := range m.columns {
		if c.name == name {
			return c
		}
	}
	m.t.Fatalf("no column %s", name)
	return column{}
}

func TestTwoCredentialsAreNone(t *testing.T) {
	m := newMatrixWorld(t)
	r, err := http.NewRequest("GET", m.url+"/api/v1/whoami", nil)
	if err != nil {
		t.Fatal(err)
	}
	both := m.column("hall-viewer-cert")
	both.token = m.admin
	if a := m.ask(both, r); a.code != 401 {
		t.Errorf("token and certificate: %d %s", a.code, a.raw)
	}
	foreign := newMatrixAuthority(t)
	certificate := foreign.clientCertificate("backup.example.org")
	_, err = m.clientWith(certificate).Get(m.url + "/api/v1/whoami")
	if err == nil {
		t.Error("a certificate of another authority was accepted")
	}
	client := m.clientWith(nil)
	client.Transport.(*http.Transport).TLSClientConfig.MaxVersion = tls.VersionTLS12
	if _, err := client.Get(m.url + "/livez"); err == nil {
		t.Error("the test's server accepts TLS 1.2")
	}
}

// newMatrixAuthority is a world that only makes certificates.
func newMatrixAuthority(t *testing.T) *matrixWorld {
	m := &matrixWorld{world: &world{t: t}}
	m.makeAuthority()
	return m
}

func TestWhoamiNamesSubjectAndRoles(t *testing.T) {
	m := newMatrixWorld(t)
	for name, want := range map[string]string{
		"administrator": `"kind":"Admin","name":"admin"`, "hall-editor": `"roles":["editor"]`, "viewer-oidc": `"groups":["watchers"]`,
		"hall-viewer-cert": `"kind":"Certificate","name":"backup.example.org"`, "adapter": `"kind":"Adapter","name":"hall-1"`,
	} {
		r, err := http.NewRequest("GET", m.url+"/api/v1/whoami", nil)
		if err != nil {
			t.Fatal(err)
		}
		if a := m.ask(m.column(name), r); !strings.Contains(a.raw, want) {
			t.Errorf("%s: %s", name, a.raw)
		}
	}
}

func TestAccessReviewsSayWhatWouldBeDecided(t *testing.T) {
	m := newMatrixWorld(t)
	ask := func(c, body string) reply {
		return m.do("POST", "/api/v1/accessreviews", m.column(c).token, body)
	}
	if a := ask("hall-editor", `{"verb":"delete","kind":"Node","network":"hall"}`); a.at("allowed") != true || !strings.Contains(a.text("reason"), "editor") {
		t.Errorf("hall: %s", a.raw)
	}
	if a := ask("hall-editor", `{"verb":"delete","kind":"Node","network":"yard"}`); a.at("allowed") != false || a.text("reason") == "" {
		t.Errorf("yard: %s", a.raw)
	}
	if a := ask("hall-editor", `{"verb":"delete","kind":"Nodes"}`); a.code != 400 {
		t.Errorf("no kind: %s", a.raw)
	}
	if a := ask("hall-editor", `{"verb":"fly","kind":"Node"}`); a.code != 400 {
		t.Errorf("no verb: %s", a.raw)
	}
}

// A right that another manager gave a moment ago, or that was taken away, is
// decided about with what the store has.
func TestRightsHoldAtOnce(t *testing.T) {
	m := newMatrixWorld(t)
	nobody := m.column("no-rights").token
	for i := range 20 {
		if a := m.do("GET", "/api/v1/nodes/hall-holder", nobody, ""); a.code != 403 {
			t.Fatalf("round %d: %d before", i, a.code)
		}
		m.must(201, "POST", "/api/v1/rolebindings", resource("RoleBinding", "late", `{"role":"viewer","subjects":[{"kind":"Token","name":"nobody"}]}`))
		if a := m.do("GET", "/api/v1/nodes/hall-holder", nobody, ""); a.code != 200 {
			t.Fatalf("round %d: %d with the binding: %s", i, a.code, a.raw)
		}
		m.must(200, "DELETE", "/api/v1/rolebindings/late", "")
		if err := m.cache.Fresh(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestADeletedTokenIsNoMoreWithinASecond(t *testing.T) {
	m := newMatrixWorld(t)
	token := m.apiToken("short", `{"rules":[{"verbs":["get"],"kinds":["Node"]}]}`)
	if a := m.do("GET", "/api/v1/nodes/hall-holder", token, ""); a.code != 200 {
		t.Fatal(a.raw)
	}
	m.must(200, "DELETE", "/api/v1/apitokens/short", "")
	for deleted := time.Now(); m.do("GET", "/api/v1/nodes/hall-holder", token, "").code != 401; {
		if time.Since(deleted) > time.Second {
			t.Fatal("it is good for more than a second")
		}
	}
}

// lines opens a watch and delivers its lines.
func (m *matrixWorld) lines(path, token string) <-chan string {
	m.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r, err := http.NewRequestWithContext(ctx, "GET", m.url+path, nil)
	if err != nil {
		m.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	a, err := m.client.Do(r)
	if err != nil || a.StatusCode != 200 {
		m.t.Fatalf("watch %s: %v %v", path, a, err)
	}
	out, done := make(chan string, 100), make(chan struct{})
	go func() {
		defer close(done)
		defer close(out)
		for scanner := bufio.NewScanner(a.Body); scanner.Scan(); {
			out <- scanner.Text()
		}
	}()
	m.t.Cleanup(func() {
		cancel()
		_ = a.Body.Close()
		<-done
	})
	return out
}

// until reads lines up to one that contains a text, and returns all of them.
func (m *matrixWorld) until(lines <-chan string, text string) (seen []string) {
	m.t.Helper()
	limit := time.After(5 * time.Second)
	for {
		select {
		case line, ok := <-lines:
			if seen = append(seen, line); strings.Contains(line, text) {
				return seen
			}
			if !ok {
				m.t.Fatalf("the watch ended before %q: %v", text, seen)
			}
		case <-limit:
			m.t.Fatalf("no %q within five seconds: %v", text, seen)
		}
	}
}

func TestAWatchShowsOnlyWhatItsSubjectMaySee(t *testing.T) {
	m := newMatrixWorld(t)
	m.server.heartbeat = 50 * time.Millisecond
	lines := m.lines("/api/v1/nodes?watch=true", m.column("hall-editor").token)
	for _, line := range m.until(lines, "BOOKMARK") {
		if strings.Contains(line, "yard") {
			t.Errorf("%s", line)
		}
	}
	m.must(201, "POST", "/api/v1/nodes", nodeBody("yard-new", "yard"))
	m.must(201, "POST", "/api/v1/nodes", nodeBody("hall-new", "hall"))
	for _, line := range m.until(lines, "hall-new") {
		if strings.Contains(line, "yard") {
			t.Errorf("%s", line)
		}
	}
	// The right goes: nothing more is shown, and the watch ends with the next heartbeat.
	m.must(200, "DELETE", "/api/v1/rolebindings/hall", "")
	if err := m.cache.Fresh(context.Background()); err != nil {
		t.Fatal(err)
	}
	m.must(201, "POST", "/api/v1/nodes", nodeBody("hall-after", "hall"))
	for _, line := range m.until(lines, `"ERROR"`) {
		if strings.Contains(line, "hall-after") {
			t.Errorf("shown without a right: %s", line)
		}
		if strings.Contains(line, `"ERROR"`) && !strings.Contains(line, `"status":403`) {
			t.Errorf("%s", line)
		}
	}
}

func TestAWatchEndsWithItsToken(t *testing.T) {
	m := newMatrixWorld(t)
	m.server.heartbeat = 50 * time.Millisecond
	deleted := m.lines("/api/v1/nodes?watch=true", m.column("editor").token)
	ends := m.lines("/api/v1/nodes?watch=true", m.apiToken("brief", `{"ttlSeconds":60,"rules":[{"verbs":["watch"],"kinds":["Node"]}]}`))
	m.until(deleted, "BOOKMARK")
	m.until(ends, "BOOKMARK")
	m.must(200, "DELETE", "/api/v1/apitokens/eddy", "")
	m.until(deleted, `"ERROR"`)
	m.clock.advance(61 * time.Second)
	m.until(ends, `"ERROR"`)
}

// What belongs to a network because of something else in the same plan must
// not be refused because that is not there yet.
func TestAPlanDecidesAboutWhatItMakes(t *testing.T) {
	m := newMatrixWorld(t)
	plan := func(network string) string {
		items := nodeBody("planned", network) + "," + resource("EnrollmentToken", "planned", `{"subjectKind":"Node","subjectName":"planned"}`)
		return m.do("POST", "/api/v1/plans", m.column("hall-editor").token, `{"items":[`+items+`]}`).raw
	}
	if got := plan("hall"); strings.Count(got, `"verdict":"created"`) != 2 {
		t.Errorf("hall: %s", got)
	}
	if got := plan("yard"); strings.Count(got, `"verdict":"refused"`) != 2 {
		t.Errorf("yard: %s", got)
	}
}

func TestPartsOfTheManagerNeedNoCredential(t *testing.T) {
	m := newMatrixWorld(t)
	ask := func(who access.Principal) int {
		r, err := http.NewRequestWithContext(WithPrincipal(context.Background(), who), "GET", "/api/v1/nodes/hall-holder", nil)
		if err != nil {
			t.Fatal(err)
		}
		var out recorder
		m.server.Handler().ServeHTTP(&out, r)
		return out.code
	}
	for who, want := range map[string]int{"viewer": 200, "deleter": 403, "gone": 403} {
		if got := ask(access.ForGitSource("fleet", who)); got != want {
			t.Errorf("git source with role %s: %d", who, got)
		}
	}
	if got := ask(access.ForSystem("deletion")); got != 200 {
		t.Errorf("system: %d", got)
	}
	if got := ask(access.Principal{}); got != 401 {
		t.Errorf("nobody: %d", got)
	}
}

// recorder is a ResponseWriter that only knows the status.
type recorder struct {
	code   int
	header http.Header
}

func (r *recorder) Header() http.Header {
	if r.header == nil {
		r.header = http.Header{}
	}
	return r.header
}
func (r *recorder) WriteHeader(code int)        { r.code = code }
func (r *recorder) Write(b []byte) (int, error) { return len(b), nil }

// recorded waits for the records of a query.
func (m *matrixWorld) recorded(want int, query string) (records []map[string]any) {
	m.t.Helper()
	m.lead(func() bool {
		records = nil
		items, _ := m.do("GET", "/api/v1/audit?"+query, m.admin, "").at("items").([]any)
		for _, item := range items {
			records = append(records, item.(map[string]any))
		}
		return len(records) >= want
	})
	if len(records) != want {
		m.t.Errorf("%s: %d records, want %d: %v", query, len(records), want, records)
	}
	return records
}

func TestTheAuditLogTellsWhoDidWhat(t *testing.T) {
	m := newMatrixWorld(t)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- m.chain.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	editor, hannah := m.column("editor").token, m.column("hall-editor").token
	created := m.do("POST", "/api/v1/nodes", editor, nodeBody("audited", "hall"))
	m.do("PUT", "/api/v1/nodes/audited", editor, resource("Node", "audited", `{"network":"hall","disabled":true}`))
	m.do("PUT", "/api/v1/nodes/audited", editor, resource("Node", "audited", `{"network":"hall","disabled":true}`)) // changes nothing
	m.do("PATCH", "/api/v1/nodes/audited", editor, `{"spec":{"disabled":false}}`, with{"Content-Type", "application/merge-patch+json"})
	m.do("PUT", "/api/v1/nodes/audited", editor, resource("Node", "audited", `{"network":"yard"}`)) // 400
	m.do("DELETE", "/api/v1/nodes/audited?dryRun=All", editor, "")
	m.do("DELETE", "/api/v1/nodes/audited", editor, "")
	m.do("DELETE", "/api/v1/nodes/yard-holder", hannah, "") // 404, because it may not be seen
	m.do("GET", "/api/v1/nodes/yard-holder", hannah, "")
	m.do("GET", "/api/v1/nodes", m.column("no-rights").token, "")
	m.do("GET", "/api/v1/nodes", "cym1.wrong", "")
	m.do("GET", "/api/v1/nodes", "", "") // nobody tried to be anybody
	want := []struct{ verb, outcome, status, before, after string }{
		{"create", "allowed", "201", "", "hall"},
		{"update", "allowed", "200", "", "true"},
		{"patch", "allowed", "200", "true", ""},
		{"update", "failed", "400", "", ""},
		{"delete", "allowed", "200", "", ""},
		{"delete", "allowed", "200", "hall", ""},
	}
	got := m.recorded(len(want), "kind=Node&name=audited")
	var orders []string
	for _, r := range got { // refusals and rehearsals are written when there is time: their order differs
		orders = append(orders, fmt.Sprintf("%v %v %v", r["verb"], r["outcome"], r["status"]))
		if r["subject"] != "token/eddy" || r["remoteAddress"] != "127.0.0.1" || r["requestId"] == "" || r["hash"] == "" || r["revision"] == nil {
			t.Errorf("%v", r)
		}
	}
	for _, c := range want {
		if text := c.verb + " " + c.outcome + " " + c.status; !strings.Contains(strings.Join(orders, "\n"), text) {
			t.Errorf("no record %s in %v", text, orders)
		}
	}
	if len(got) > 0 && got[0]["requestId"] != created.header.Get("X-Request-Id") {
		t.Errorf("the request of the creation was %s: %v", created.header.Get("X-Request-Id"), got[0])
	}
	m.recorded(2, "subject=token/hannah&outcome=denied&network=yard")
	m.recorded(1, "subject=token/nobody&outcome=denied&kind=Node")
	m.recorded(1, "verb=login&outcome=denied")
	if records := m.recorded(1, "kind=EnrollmentToken&name=hall-target"); len(records) == 1 && records[0]["network"] != "hall" {
		t.Errorf("an enrolment token belongs to the network of its device: %v", records[0])
	}
	page, err := m.chain.Query(context.Background(), audit.Query{Limit: 10_000})
	if err != nil || auditchain.Verify(page.Items, page.Base) != nil {
		t.Errorf("%v %v", err, auditchain.Verify(page.Items, page.Base))
	}
	reads := 0
	for _, r := range page.Items {
		if r.Kind == "Audit" && r.Verb == "list" {
			reads++
		}
	}
	if reads < 4 {
		t.Errorf("%d reads of the audit log are recorded", reads)
	}
}

func TestPagesOfTheAuditLog(t *testing.T) {
	m := newMatrixWorld(t)
	m.runChain()
	var names []string
	for path := "/api/v1/audit?limit=5&kind=Role"; ; {
		a := m.must(200, "GET", path, "")
		items := a.at("items").([]any)
		if len(items) > 5 {
			t.Fatalf("%d items", len(items))
		}
		for _, item := range items {
			names = append(names, fmt.Sprint(item.(map[string]any)["name"]))
		}
		next := a.text("metadata.continue")
		if next == "" {
			break
		}
		path = "/api/v1/audit?limit=5&kind=Role&continue=" + next
	}
	if len(names) != 6 { // base, target and those of plantRights
		t.Errorf("%v", names)
	}
	m.must(400, "GET", "/api/v1/audit?continue=nonsense", "")
	m.must(400, "GET", "/api/v1/audit?continue=YXVkaXQ6LTE", "")
	m.must(400, "GET", "/api/v1/audit?outcome=maybe", "")
}

// Nothing may be read or done that the log cannot tell of.
func TestWithoutTheAuditLogNothingIsRead(t *testing.T) {
	m := newMatrixWorld(t)
	chain := m.server.audit
	other, err := audit.New(audit.Options{Store: downStore{}, Log: m.server.log, Registerer: prometheus.NewRegistry(), Now: m.clock.now})
	if err != nil {
		t.Fatal(err)
	}
	m.server.audit = other
	if a := m.do("GET", "/api/v1/audit", m.admin, ""); a.code != 503 {
		t.Errorf("%d %s", a.code, a.raw)
	}
	m.server.audit = chain
}
