package rest

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cyphonic/cyphonic/manager/store"
)

func TestDevicesGetNamesAndAddresses(t *testing.T) {
	w := newWorld(t)
	w.factory()
	n := w.must(201, "POST", "/api/v1/nodes", nodeBody("n", "f"))
	if n.text("status.fqdn") != "n.f.example.internal" || n.text("status.virtualIPv4") != "10.1.0.2" || n.text("status.virtualIPv6") != "fd00:1::2" {
		t.Fatal(n.raw)
	}
	g := w.must(201, "POST", "/api/v1/generalnodes", gnBody("g", "f", "a1", "02:00:00:00:00:01"))
	if g.text("status.virtualIPv4") != "10.1.0.3" || g.text("status.virtualIPv6") != "" || g.text("status.phase") != "Absent" {
		t.Fatal(g.raw)
	}
	dual := w.must(200, "PUT", "/api/v1/generalnodes/g", strings.Replace(gnBody("g", "f", "a1", "02:00:00:00:00:01"), `"mac"`, `"addressMode":"dual","mac"`, 1))
	if dual.text("status.virtualIPv4") != "10.1.0.3" || dual.text("status.virtualIPv6") != "fd00:1::3" {
		t.Fatal(dual.raw)
	}
	six := w.must(200, "PUT", "/api/v1/generalnodes/g", strings.Replace(gnBody("g", "f", "a1", "02:00:00:00:00:01"), `"mac"`, `"addressMode":"ipv6","mac"`, 1))
	if six.text("status.virtualIPv4") != "" || six.text("status.virtualIPv6") != "fd00:1::3" {
		t.Fatal(six.raw)
	}
	fixed := w.must(200, "PUT", "/api/v1/nodes/n", resource("Node", "n", `{"network":"f","virtualIPv4":"10.1.0.99","fqdn":"door.f.example.internal"}`))
	if fixed.text("status.virtualIPv4") != "10.1.0.99" || fixed.text("status.fqdn") != "door.f.example.internal" || fixed.text("status.virtualIPv6") != "fd00:1::2" {
		t.Fatal(fixed.raw)
	}
	next := w.must(201, "POST", "/api/v1/nodes", nodeBody("m", "f"))
	if next.text("status.virtualIPv4") != "10.1.0.2" {
		t.Fatalf("the address that was given up is not used again: %s", next.raw)
	}
	net := w.must(200, "GET", "/api/v1/networks/f", "")
	if net.at("status.ipv4Allocated") != 2.0 || net.at("status.ipv6Allocated") != 3.0 {
		t.Fatal(net.raw)
	}
}

func TestValuesThatAreTaken(t *testing.T) {
	w := newWorld(t)
	w.factory()
	w.must(201, "POST", "/api/v1/generalnodes", gnBody("g", "f", "a1", "02:00:00:00:00:01"))
	w.must(201, "POST", "/api/v1/networks", networkBody("other", "10.9.0.0/24"))
	w.must(201, "POST", "/api/v1/adapters", resource("Adapter", "b", `{"network":"other"}`))
	cases := []struct{ name, path, body, pointer string }{
		{"MAC address", "generalnodes", gnBody("h", "f", "a2", "02:00:00:00:00:01"), "/spec/mac"},
		{"name by default", "nodes", nodeBody("g", "f"), "/metadata/name"},
		{"name by specification", "nodes", resource("Node", "h", `{"network":"f","fqdn":"g.f.example.internal"}`), "/spec/fqdn"},
		{"address", "nodes", resource("Node", "h", `{"network":"f","virtualIPv4":"10.1.0.2"}`), "/spec/virtualIPv4"},
	}
	for _, c := range cases {
		r := w.do("POST", "/api/v1/"+c.path, w.admin, c.body)
		if r.code != 409 || r.text("type") != typeTaken || r.pointers() != c.pointer || !strings.Contains(r.text("detail"), "generalnode/g ") {
			t.Errorf("%s: %d %s", c.name, r.code, r.raw)
		}
	}
	w.must(201, "POST", "/api/v1/generalnodes", gnBody("h", "other", "b", "02:00:00:00:00:01"))
	w.must(200, "PUT", "/api/v1/generalnodes/g", gnBody("g", "f", "a1", "02:00:00:00:00:02"))
	w.must(201, "POST", "/api/v1/generalnodes", gnBody("i", "f", "a1", "02:00:00:00:00:01"))
	if r := w.do("PUT", "/api/v1/generalnodes/g", w.admin, gnBody("g", "f", "a1", "02:00:00:00:00:01")); r.code != 409 || r.pointers() != "/spec/mac" {
		t.Fatalf("update to a taken MAC: %d %s", r.code, r.raw)
	}
}

func TestFullPrefix(t *testing.T) {
	w := newWorld(t)
	w.must(201, "POST", "/api/v1/networks", networkBody("s", "10.1.0.0/29"))
	for i := range 5 {
		w.must(201, "POST", "/api/v1/nodes", nodeBody(fmt.Sprintf("n%d", i), "s"))
	}
	r := w.must(409, "POST", "/api/v1/nodes", nodeBody("late", "s"))
	if r.text("type") != typePrefixFull || r.pointers() != "/spec/network" || !strings.Contains(r.text("detail"), "10.1.0.0/29") || !strings.Contains(r.text("detail"), "delete") {
		t.Fatal(r.raw)
	}
	w.must(200, "DELETE", "/api/v1/nodes/n3", "")
	if r := w.must(201, "POST", "/api/v1/nodes", nodeBody("late", "s")); r.text("status.virtualIPv4") != "10.1.0.5" {
		t.Fatal(r.raw)
	}
}

func TestConcurrentCreatorsGetDifferentAddresses(t *testing.T) {
	w := newWorld(t)
	w.must(201, "POST", "/api/v1/networks", networkBody("s", "10.1.0.0/27"))
	const creators, addresses = 40, 29
	replies := make([]reply, creators)
	var wg sync.WaitGroup
	for i := range replies {
		wg.Go(func() {
			replies[i] = w.do("POST", "/api/v1/nodes", w.admin, nodeBody(fmt.Sprintf("n%d", i), "s"))
		})
	}
	wg.Wait()
	seen := map[string]bool{}
	for _, r := range replies {
		switch r.code {
		case 201:
			for _, a := range []string{r.text("status.virtualIPv4"), r.text("status.virtualIPv6")} {
				if a == "" || seen[a] {
					t.Errorf("%q was given twice or is missing", a)
				}
				seen[a] = true
			}
		case 409:
		default:
			t.Errorf("%d %s", r.code, r.raw)
		}
	}
	if len(seen) != 2*addresses {
		t.Fatalf("%d addresses were given out, %d could be", len(seen), 2*addresses)
	}
	if l := w.must(200, "GET", "/api/v1/nodes", ""); len(l.at("items").([]any)) != addresses {
		t.Fatal("the list differs from the answers")
	}
}

func TestStatusIsWrittenByItself(t *testing.T) {
	w := newWorld(t)
	w.factory()
	w.must(201, "POST", "/api/v1/generalnodes", gnBody("g", "f", "a1", "02:00:00:00:00:01"))
	w.must(201, "POST", "/api/v1/generalnodes", gnBody("h", "f", "a2", "02:00:00:00:00:02"))
	before := w.must(200, "GET", "/api/v1/generalnodes/g", "")
	status := `{"apiVersion":"cyphonic/v1","kind":"GeneralNode","metadata":{"name":"g","labels":{"evil":"x"}},"spec":{"network":"evil","adapter":"a2","mac":"02:00:00:00:00:09"},` +
		`"status":{"phase":"Up","reason":"ok","nodeID":"abc","virtualIPv4":"10.1.0.77","fqdn":"evil.f.example.internal","conditions":[{"type":"Ready","status":"True"}]}}`
	path := "/api/v1/adapters/a1/generalnodes/g/status"
	r := w.do("PUT", path, w.tokenOf("a1"), status)
	if r.code != 200 || r.text("status.phase") != "Up" || r.text("status.nodeID") != "abc" {
		t.Fatalf("%d %s", r.code, r.raw)
	}
	for _, same := range []string{"spec.network", "spec.adapter", "spec.mac", "metadata.generation", "metadata.uid", "metadata.updateTimestamp", "metadata.labels", "status.virtualIPv4", "status.fqdn"} {
		if fmt.Sprint(r.at(same)) != fmt.Sprint(before.at(same)) {
			t.Errorf("%s went from %v to %v", same, before.at(same), r.at(same))
		}
	}
	version := r.text("metadata.resourceVersion")
	if again := w.do("PUT", path, w.tokenOf("a1"), status); again.text("metadata.resourceVersion") != version {
		t.Errorf("an unchanged status was written again")
	}
	applied := w.must(200, "PUT", "/api/v1/generalnodes/g", strings.Replace(gnBody("g", "f", "a1", "02:00:00:00:00:01"), `"name"`, `"labels":{"x":"y"},"name"`, 1))
	if applied.text("status.phase") != "Up" {
		t.Errorf("apply lost the status: %s", applied.raw)
	}
	bad := []struct {
		name, path, token, body string
		want                    int
	}{
		{"another adapter's general node", "/api/v1/adapters/a1/generalnodes/h/status", w.tokenOf("a1"), strings.Replace(status, `"name":"g"`, `"name":"h"`, 1), 404},
		{"another adapter's path", "/api/v1/adapters/a2/generalnodes/h/status", w.tokenOf("a1"), status, 403},
		{"absent general node", "/api/v1/adapters/a1/generalnodes/none/status", w.tokenOf("a1"), strings.Replace(status, `"name":"g"`, `"name":"none"`, 1), 404},
		{"other name in the body", path, w.tokenOf("a1"), strings.Replace(status, `"name":"g"`, `"name":"h"`, 1), 400},
		{"unknown phase", path, w.tokenOf("a1"), strings.Replace(status, `"Up"`, `"Great"`, 1), 400},
		{"old revision", path, w.tokenOf("a1"), strings.Replace(status, `"name":"g"`, `"name":"g","resourceVersion":"1"`, 1), 409},
		{"If-Match", "/api/v1/generalnodes/g/status", w.admin, status, 412},
	}
	for _, c := range bad {
		if r := w.do("PUT", c.path, c.token, c.body, with{"If-Match", `"1"`}); r.code != c.want {
			t.Errorf("%s: got %d, want %d: %s", c.name, r.code, c.want, r.raw)
		}
	}
}

func TestEnrolmentTokens(t *testing.T) {
	w := newWorld(t)
	w.factory()
	w.must(201, "POST", "/api/v1/nodes", nodeBody("n", "f"))
	body := resource("EnrollmentToken", "t", `{"subjectKind":"Node","subjectName":"n","ttlSeconds":60}`)
	created := w.must(201, "POST", "/api/v1/enrollmenttokens", body)
	secret, hash := created.text("status.token"), created.text("status.tokenHash")
	if !strings.HasPrefix(secret, "cye1.") || len(hash) != 64 || created.text("status.phase") != "Pending" {
		t.Fatal(created.raw)
	}
	dump := func() string {
		l, err := w.store.List(t.Context(), "/cyphonic/", store.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		for _, e := range l.Entries {
			fmt.Fprintf(&b, "%s=%s\n", e.Key, e.Value)
		}
		return b.String()
	}
	if d := dump(); strings.Contains(d, secret) || !strings.Contains(d, "/cyphonic/v1/tokens/"+hash+"=") {
		t.Fatalf("the store holds the secret, or no index:\n%s", d)
	}
	for _, path := range []string{"/api/v1/enrollmenttokens/t", "/api/v1/enrollmenttokens"} {
		if r := w.must(200, "GET", path, ""); strings.Contains(r.raw, secret) {
			t.Fatalf("%s shows the secret", path)
		}
	}
	if r := w.must(200, "PUT", "/api/v1/enrollmenttokens/t", body); strings.Contains(r.raw, secret) || r.text("status.token") != "" {
		t.Fatal("apply shows a secret")
	}
	if strings.Contains(w.log.String(), secret) {
		t.Fatal("the log has the secret")
	}
	forged := strings.Replace(body, `"spec"`, `"status":{"phase":"Used","tokenHash":"00"},"spec"`, 1)
	if r := w.must(200, "PUT", "/api/v1/enrollmenttokens/t/status", forged); r.text("status.tokenHash") != hash || r.text("status.phase") != "Pending" {
		t.Fatal(r.raw)
	}
	w.clock.advance(61 * time.Second)
	if r := w.must(200, "GET", "/api/v1/enrollmenttokens/t", ""); r.text("status.phase") != "Expired" {
		t.Fatal(r.raw)
	}
	w.must(200, "DELETE", "/api/v1/nodes/n", "")
	w.must(404, "GET", "/api/v1/enrollmenttokens/t", "")
	if d := dump(); strings.Contains(d, hash) || strings.Contains(d, "references/nodes") {
		t.Fatalf("the token of a deleted node is left:\n%s", d)
	}
}
