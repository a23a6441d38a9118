package rest

import (
	"strings"
	"testing"
	"time"

	"github.com/cyphonic/cyphonic/internal/keyspace"
)

func TestAPITokens(t *testing.T) {
	w := newWorld(t)
	body := resource("APIToken", "ci", `{"ttlSeconds":60,"rules":[{"verbs":["get"],"kinds":["Node"]}]}`)
	created := w.must(201, "POST", "/api/v1/apitokens", body)
	secret, hash := created.text("status.token"), created.text("status.tokenHash")
	if !strings.HasPrefix(secret, "cyt1.") || len(hash) != 64 || created.text("status.phase") != "Active" || created.text("status.expirationTimestamp") == "" {
		t.Fatal(created.raw)
	}
	if d := w.dump("/cyphonic/"); strings.Contains(d, secret) || !strings.Contains(d, keyspace.APIToken(hash)+"@") {
		t.Fatalf("the store holds the secret, or no index:\n%s", d)
	}
	forged := strings.Replace(body, `"spec"`, `"status":{"phase":"Active","tokenHash":"00"},"spec"`, 1)
	for _, r := range []reply{
		w.must(200, "GET", "/api/v1/apitokens/ci", ""),
		w.must(200, "PUT", "/api/v1/apitokens/ci", strings.Replace(body, `"get"`, `"list"`, 1)),
		w.must(200, "PUT", "/api/v1/apitokens/ci/status", forged),
	} {
		if r.text("status.token") != "" || r.text("status.tokenHash") != hash {
			t.Error(r.raw)
		}
	}
	if r := w.do("PUT", "/api/v1/apitokens/ci", w.admin, strings.Replace(body, "60", "61", 1)); r.code != 400 || r.pointers() != "/spec/ttlSeconds" {
		t.Errorf("%d %s", r.code, r.raw)
	}
	w.clock.advance(61 * time.Second)
	if r := w.must(200, "GET", "/api/v1/apitokens/ci", ""); r.text("status.phase") != "Expired" {
		t.Error(r.raw)
	}
	w.must(200, "DELETE", "/api/v1/apitokens/ci", "")
	if d := w.dump(keyspace.APITokensPrefix); d != "" {
		t.Errorf("the index of a deleted token is left: %s", d)
	}
	if strings.Contains(w.log.String(), secret) {
		t.Error("the log has the secret")
	}
}

func TestRightsReferToRoles(t *testing.T) {
	w := newWorld(t)
	role := resource("Role", "r", `{"rules":[{"verbs":["get"],"kinds":["Node"]}]}`)
	for path, body := range map[string]string{
		"rolebindings": resource("RoleBinding", "b", `{"role":"r","subjects":[{"kind":"User","name":"alice"}]}`),
		"gitsources":   resource("GitSource", "g", `{"role":"r","url":"https://git.example.org/fleet.git"}`),
	} {
		if r := w.do("POST", "/api/v1/"+path, w.admin, body); r.code != 400 || r.pointers() != "/spec/role" {
			t.Errorf("%s: %d %s", path, r.code, r.raw)
		}
	}
	w.must(201, "POST", "/api/v1/roles", role)
	w.must(201, "POST", "/api/v1/rolebindings", resource("RoleBinding", "b", `{"role":"r","subjects":[{"kind":"User","name":"alice"}]}`))
	if r := w.must(409, "DELETE", "/api/v1/roles/r", ""); r.text("type") != typeReferenced || !strings.Contains(r.text("detail"), "rolebinding/b") {
		t.Error(r.raw)
	}
}
