package rest

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/manager/store"
)

func TestLifeOfAResource(t *testing.T) {
	w := newWorld(t)
	created := w.must(201, "POST", "/api/v1/networks", networkBody("n", "10.1.0.0/24"))
	if created.text("status.ipv4Gateway") != "10.1.0.1" || created.text("status.ipv6Gateway") != "fd00:1::1" || created.text("metadata.uid") == "" ||
		created.at("metadata.generation") != 1.0 || created.text("metadata.creationTimestamp") == "" {
		t.Fatalf("created: %s", created.raw)
	}
	version := created.text("metadata.resourceVersion")
	if created.header.Get("ETag") != `"`+version+`"` || version == "" {
		t.Fatalf("ETag %q, resourceVersion %q", created.header.Get("ETag"), version)
	}
	if r := w.must(409, "POST", "/api/v1/networks", networkBody("n", "10.1.0.0/24")); r.text("type") != typeExists {
		t.Fatal(r.raw)
	}
	if same := w.must(200, "PUT", "/api/v1/networks/n", networkBody("n", "10.1.0.0/24")); same.text("metadata.resourceVersion") != version {
		t.Fatalf("a repeated apply wrote: %s", same.raw)
	}
	labelled := strings.Replace(networkBody("n", "10.1.0.0/24"), `"name":"n"`, `"name":"n","labels":{"a":"b"}`, 1)
	changed := w.must(200, "PUT", "/api/v1/networks/n", labelled)
	if changed.at("metadata.generation") != 1.0 || changed.text("metadata.resourceVersion") == version || changed.text("metadata.uid") != created.text("metadata.uid") {
		t.Fatalf("labelled: %s", changed.raw)
	}
	if r := w.must(200, "GET", "/api/v1/networks/n", ""); r.raw != changed.raw {
		t.Fatalf("read %s after %s", r.raw, changed.raw)
	}
	list := w.must(200, "GET", "/api/v1/networks", "")
	if items := list.at("items").([]any); len(items) != 1 || list.text("kind") != "NetworkList" || list.text("metadata.resourceVersion") == "" {
		t.Fatal(list.raw)
	}
	if r := w.must(400, "PUT", "/api/v1/networks/n", networkBody("n", "10.2.0.0/24")); r.pointers() != "/spec/ipv4Prefix" {
		t.Fatalf("immutable field: %s", r.raw)
	}
	gone := w.must(200, "DELETE", "/api/v1/networks/n", "")
	if gone.text("metadata.name") != "n" {
		t.Fatal(gone.raw)
	}
	w.must(404, "GET", "/api/v1/networks/n", "")
	w.must(404, "DELETE", "/api/v1/networks/n", "")
	again := w.must(201, "PUT", "/api/v1/networks/n", networkBody("n", "10.2.0.0/24"))
	if again.text("metadata.uid") == created.text("metadata.uid") {
		t.Fatal("a new resource has the old uid")
	}
}

func TestPreconditions(t *testing.T) {
	w := newWorld(t)
	w.factory()
	path := "/api/v1/adapters/a1"
	first := w.must(200, "GET", path, "").text("metadata.resourceVersion")
	body := func(disabled bool, version string) string {
		return fmt.Sprintf(`{"apiVersion":"cyphonic/v1","kind":"Adapter","metadata":{"name":"a1","resourceVersion":%q},"spec":{"network":"f","disabled":%t}}`, version, disabled)
	}
	second := w.must(200, "PUT", path, body(true, first)).text("metadata.resourceVersion")
	if r := w.must(409, "PUT", path, body(false, first)); r.pointers() != "/metadata/resourceVersion" {
		t.Fatal(r.raw)
	}
	w.must(412, "PUT", path, body(false, ""), with{"If-Match", `"` + first + `"`})
	w.must(412, "DELETE", path, "", with{"If-Match", `"` + first + `"`})
	w.must(412, "PUT", "/api/v1/adapters/none", resource("Adapter", "none", `{"network":"f"}`), with{"If-Match", "*"})
	w.must(409, "PUT", "/api/v1/adapters/a3", strings.Replace(body(false, first), `"a1"`, `"a3"`, 1))
	w.must(200, "PUT", path, body(false, ""), with{"If-Match", `"1", "` + second + `"`})
	w.must(200, "PUT", path, body(true, ""), with{"If-Match", "*"})
	w.must(409, "PUT", path, strings.Replace(body(false, ""), `"name"`, `"uid":"other","name"`, 1))
	if r := w.must(400, "POST", "/api/v1/adapters", body(false, first)); r.pointers() != "/metadata/resourceVersion" {
		t.Fatal(r.raw)
	}
	if r := w.must(400, "PUT", "/api/v1/adapters/other", body(false, "")); r.pointers() != "/metadata/name" {
		t.Fatal(r.raw)
	}
}

func TestConcurrentConditionalWritersOneWins(t *testing.T) {
	w := newWorld(t)
	w.factory()
	version := w.must(200, "GET", "/api/v1/adapters/a1", "").header.Get("ETag")
	codes := make([]int, 8)
	var wg sync.WaitGroup
	for i := range codes {
		wg.Go(func() {
			body := fmt.Sprintf(`{"apiVersion":"cyphonic/v1","kind":"Adapter","metadata":{"name":"a1","labels":{"w":"%d"}},"spec":{"network":"f"}}`, i)
			codes[i] = w.do("PUT", "/api/v1/adapters/a1", w.admin, body, with{"If-Match", version}).code
		})
	}
	wg.Wait()
	won := 0
	for _, c := range codes {
		switch c {
		case 200:
			won++
		case 412:
		default:
			t.Errorf("got %d", c)
		}
	}
	if won != 1 {
		t.Fatalf("%d writers won: %v", won, codes)
	}
}

func TestBadRequests(t *testing.T) {
	w := newWorld(t)
	w.factory()
	big := `{"x":"` + strings.Repeat("a", maxBodyBytes) + `"}`
	cases := []struct {
		name, method, path, body string
		code                     int
		pointers                 string
	}{
		{"unknown field", "POST", "/api/v1/nodes", resource("Node", "x", `{"network":"f","netwrok":"f"}`), 400, "/spec/netwrok"},
		{"field in another case", "POST", "/api/v1/nodes", resource("Node", "x", `{"Network":"f"}`), 400, "/spec/Network"},
		{"wrong type", "POST", "/api/v1/nodes", resource("Node", "x", `{"network":7}`), 400, "/spec/network"},
		{"wrong kind", "POST", "/api/v1/nodes", resource("Adapter", "x", `{"network":"f"}`), 400, "/kind"},
		{"several faults", "POST", "/api/v1/nodes", resource("Node", "X", `{"network":"F"}`), 400, "/metadata/name /spec/network"},
		{"no JSON", "POST", "/api/v1/nodes", "hello", 400, ""},
		{"two documents", "POST", "/api/v1/nodes", nodeBody("x", "f") + nodeBody("y", "f"), 400, ""},
		{"too large", "POST", "/api/v1/nodes", big, 413, ""},
		{"absent network", "POST", "/api/v1/nodes", nodeBody("x", "g"), 400, "/spec/network"},
		{"absent adapter", "POST", "/api/v1/generalnodes", gnBody("x", "f", "a9", "02:00:00:00:00:01"), 400, "/spec/adapter"},
		{"absent subject", "POST", "/api/v1/enrollmenttokens", resource("EnrollmentToken", "x", `{"subjectKind":"Node","subjectName":"x"}`), 400, "/spec/subjectName"},
		{"address outside", "POST", "/api/v1/nodes", resource("Node", "x", `{"network":"f","virtualIPv4":"10.2.0.5"}`), 400, "/spec/virtualIPv4"},
		{"the gateway's address", "POST", "/api/v1/nodes", resource("Node", "x", `{"network":"f","virtualIPv4":"10.1.0.1"}`), 400, "/spec/virtualIPv4"},
		{"name outside", "POST", "/api/v1/nodes", resource("Node", "x", `{"network":"f","fqdn":"x.other.example"}`), 400, "/spec/fqdn"},
		{"address of the wrong mode", "POST", "/api/v1/generalnodes", resource("GeneralNode", "x", `{"network":"f","adapter":"a1","mac":"02:00:00:00:00:01","virtualIPv6":"fd00:1::9"}`), 400, "/spec/virtualIPv6"},
		{"unknown parameter", "GET", "/api/v1/nodes?wach=true", "", 400, ""},
		{"malformed parameter", "GET", "/api/v1/nodes?watch=perhaps", "", 400, ""},
		{"version without watch", "GET", "/api/v1/nodes?resourceVersion=5", "", 400, ""},
		{"malformed version", "GET", "/api/v1/nodes?watch=true&resourceVersion=x", "", 400, ""},
		{"wrong method", "PATCH", "/api/v1/nodes", "{}", 405, ""},
	}
	for _, c := range cases {
		r := w.do(c.method, c.path, w.admin, c.body)
		if r.code != c.code || r.pointers() != c.pointers {
			t.Errorf("%s: got %d %q, want %d %q: %s", c.name, r.code, r.pointers(), c.code, c.pointers, r.raw)
		}
	}
	if r := w.do("POST", "/api/v1/nodes", w.admin, nodeBody("x", "f"), with{"Content-Type", "application/yaml"}); r.code != 415 {
		t.Errorf("other media type: %d", r.code)
	}
	if n, err := w.store.Count(context.Background(), keyspace.ResourcePrefix(keyspace.Nodes)); err != nil || n != 0 {
		t.Errorf("refused requests left %d nodes, %v", n, err)
	}
	if n, err := w.store.Count(context.Background(), keyspace.IPAMPrefix("f", false)); err != nil || n != 0 {
		t.Errorf("refused requests left %d addresses, %v", n, err)
	}
}

func TestWhatIsReferredToStays(t *testing.T) {
	w := newWorld(t)
	w.factory()
	w.must(201, "POST", "/api/v1/generalnodes", gnBody("g", "f", "a1", "02:00:00:00:00:01"))
	if r := w.must(409, "DELETE", "/api/v1/networks/f", ""); r.text("type") != typeReferenced || !strings.Contains(r.text("detail"), "generalnode/g") {
		t.Fatal(r.raw)
	}
	if r := w.must(409, "DELETE", "/api/v1/adapters/a1", ""); !strings.Contains(r.text("detail"), "generalnode/g") {
		t.Fatal(r.raw)
	}
	moved := w.must(200, "PUT", "/api/v1/generalnodes/g", gnBody("g", "f", "a2", "02:00:00:00:00:01"))
	if moved.at("metadata.generation") != 2.0 {
		t.Fatal(moved.raw)
	}
	w.must(200, "DELETE", "/api/v1/adapters/a1", "")
	w.must(409, "DELETE", "/api/v1/adapters/a2", "")
	w.must(201, "POST", "/api/v1/networks", networkBody("other", "10.9.0.0/24"))
	w.must(201, "POST", "/api/v1/adapters", resource("Adapter", "foreign", `{"network":"other"}`))
	if r := w.must(400, "PUT", "/api/v1/generalnodes/g", gnBody("g", "f", "foreign", "02:00:00:00:00:01")); r.pointers() != "/spec/adapter" {
		t.Fatal(r.raw)
	}
	w.must(201, "POST", "/api/v1/accesspolicies", resource("AccessPolicy", "p", `{"network":"f","from":[{}],"to":[{}],"rules":[{"protocol":"any"}]}`))
	w.must(201, "POST", "/api/v1/cloudservices", resource("CloudService", "nms", `{"service":"nms","ipv4":"192.0.2.1"}`))
	w.must(200, "DELETE", "/api/v1/generalnodes/g", "")
	w.must(200, "DELETE", "/api/v1/adapters/a2", "")
	w.must(409, "DELETE", "/api/v1/networks/f", "")
	w.must(200, "DELETE", "/api/v1/accesspolicies/p", "")
	w.must(200, "DELETE", "/api/v1/networks/f", "")
	for _, prefix := range []string{"references/networks/f", "ipam/f", "unique/f"} {
		if n, err := w.store.Count(context.Background(), keyspace.Root+prefix); err != nil || n != 0 {
			t.Errorf("%d keys are left below %s, %v", n, prefix, err)
		}
	}
}

func TestDeletionDeletesTheEnrolledKey(t *testing.T) {
	w := newWorld(t)
	w.factory()
	w.must(201, "POST", "/api/v1/nodes", nodeBody("n", "f"))
	w.must(201, "POST", "/api/v1/generalnodes", gnBody("g", "f", "a2", "02:00:00:00:00:01"))
	record := keyspace.Encode(keyspace.EnrolledRecord{UID: "u", Static: make([]byte, 32), Signing: make([]byte, 32)})
	for plural, name := range map[string]string{"nodes": "n", "generalnodes": "g", "adapters": "a1"} {
		if _, err := w.store.Create(context.Background(), keyspace.Enrolled(plural, name), record); err != nil {
			t.Fatal(err)
		}
		w.must(200, "DELETE", "/api/v1/"+plural+"/"+name, "")
	}
	if n, err := w.store.Count(context.Background(), keyspace.EnrolledPrefix); err != nil || n != 0 {
		t.Fatalf("%d enrolled keys are left, %v", n, err)
	}
}

func TestUnreachableStore(t *testing.T) {
	w := newWorld(t)
	w.factory()
	w.must(200, "GET", "/readyz", "")
	w.serve(downStore{w.store})
	for _, c := range []struct{ method, path, body string }{
		{"GET", "/api/v1/nodes", ""},
		{"GET", "/api/v1/nodes/x", ""},
		{"GET", "/api/v1/nodes?watch=true", ""},
		{"POST", "/api/v1/nodes", nodeBody("x", "f")},
		{"PUT", "/api/v1/nodes/x", nodeBody("x", "f")},
		{"DELETE", "/api/v1/nodes/x", ""},
		{"GET", "/readyz", ""},
	} {
		r := w.do(c.method, c.path, w.admin, c.body)
		if r.code != 503 || r.text("type") != typeUnavailable || r.header.Get("Retry-After") == "" || !strings.Contains(r.text("detail"), "repeat") {
			t.Errorf("%s %s: %d %s", c.method, c.path, r.code, r.raw)
		}
	}
	if r := w.do("GET", "/api/v1/adapters/a1/generalnodes", w.tokenOf("a1"), ""); r.code != 503 {
		t.Errorf("adapter: %d %s", r.code, r.raw)
	}
	w.must(200, "GET", "/livez", "")
}

// downStore is a store that does not answer.
type downStore struct{ store.Store }

func down(what string) error { return fmt.Errorf("%s: %w", what, store.ErrUnavailable) }

func (downStore) Get(context.Context, string) (store.Entry, error) {
	return store.Entry{}, down("get")
}

func (downStore) List(context.Context, string, store.ListOptions) (store.Listing, error) {
	return store.Listing{}, down("list")
}
func (downStore) Count(context.Context, string) (int64, error) { return 0, down("count") }
func (downStore) Commit(context.Context, store.Transaction) (int64, error) {
	return 0, down("commit")
}

func TestSystemPages(t *testing.T) {
	w := newWorld(t)
	spec := w.must(200, "GET", "/openapi.json", "")
	if spec.text("openapi") != "3.0.3" {
		t.Error(spec.raw[:100])
	}
	w.must(404, "GET", "/api/v1/nodes/none", "")
	page := w.must(200, "GET", "/metrics", "").raw
	for _, line := range []string{
		`cyphonic_manager_requests_total{method="GET",path="/api/v1/nodes/:name",status="404"} 1`, "cyphonic_manager_watches 0",
	} {
		if !strings.Contains(page, line) {
			t.Errorf("%q is not in the metrics:\n%s", line, page)
		}
	}
	if w.must(200, "GET", "/livez", "").header.Get("X-Request-Id") == "" {
		t.Error("no request id")
	}
}

// TestDeletionAndUseRaceSafely deletes a network while devices are created in
// it: never is there a device without its network.
func TestDeletionAndUseRaceSafely(t *testing.T) {
	w := newWorld(t)
	outcomes := map[string]int{}
	for round := range 15 {
		name := fmt.Sprintf("n%d", round)
		w.must(201, "POST", "/api/v1/networks", networkBody(name, "10.1.0.0/24"))
		var deleted, created reply
		var wg sync.WaitGroup
		wg.Go(func() { deleted = w.do("DELETE", "/api/v1/networks/"+name, w.admin, "") })
		wg.Go(func() { created = w.do("POST", "/api/v1/nodes", w.admin, nodeBody("d-"+name, name)) })
		wg.Wait()
		network := w.do("GET", "/api/v1/networks/"+name, w.admin, "").code
		node := w.do("GET", "/api/v1/nodes/d-"+name, w.admin, "").code
		outcome := fmt.Sprint(deleted.code, created.code, network, node)
		outcomes[outcome]++
		if outcome != "200 400 404 404" && outcome != "409 201 200 200" {
			t.Errorf("deletion %d, creation %d, network %d, node %d", deleted.code, created.code, network, node)
		}
	}
	t.Log(outcomes)
}

// hookStore calls before ahead of the first commit.
type hookStore struct {
	store.Store
	once   *sync.Once
	before func()
}

func (h hookStore) Commit(ctx context.Context, tx store.Transaction) (int64, error) {
	h.once.Do(h.before)
	return h.Store.Commit(ctx, tx)
}

func TestAReferenceThatAppearsBeforeTheDeletionIsSeen(t *testing.T) {
	w := newWorld(t)
	w.factory()
	url, admin := w.url, w.admin
	var created reply
	w.serve(hookStore{w.store, new(sync.Once), func() {
		other := *w
		other.url, other.admin = url, admin
		created = other.do("POST", "/api/v1/generalnodes", admin, gnBody("g", "f", "a1", "02:00:00:00:00:01"))
	}})
	r := w.must(409, "DELETE", "/api/v1/adapters/a1", "")
	if created.code != 201 || r.text("type") != typeReferenced || !strings.Contains(r.text("detail"), "generalnode/g") {
		t.Fatalf("creation: %d, deletion: %s", created.code, r.raw)
	}
}
