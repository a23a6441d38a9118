package rest

import (
	"strings"
	"testing"
	"time"
)

func TestEveryPathButThePublicOnesNeedsAToken(t *testing.T) {
	w := newWorld(t)
	public := map[string]bool{"/livez": true, "/readyz": true, "/openapi.json": true, "/reference": true}
	paths := 0
	for path, item := range w.server.document.parsed.Paths.Map() {
		for method := range item.Operations() {
			paths++
			url := strings.NewReplacer("{name}", "x", "{generalNode}", "y").Replace(path)
			r := w.do(method, url, "", "")
			want := 401
			if public[path] {
				want = 200
			}
			if r.code != want {
				t.Errorf("%s %s without token: %d, want %d", method, path, r.code, want)
			}
			if r.code == 401 && r.header.Get("WWW-Authenticate") == "" {
				t.Errorf("%s %s: no challenge", method, path)
			}
		}
	}
	if paths < 80 {
		t.Fatalf("only %d operations were tried", paths)
	}
}

func TestAuthorisation(t *testing.T) {
	w := newWorld(t)
	w.factory()
	own := "/api/v1/adapters/a1/generalnodes"
	valid := w.tokenOf("a1")
	hour := time.Now().Add(time.Hour)
	cases := []struct {
		name, path, token string
		want              int
	}{
		{"administrator", "/api/v1/nodes", w.admin, 200},
		{"administrator on an adapter's path", own, w.admin, 200},
		{"metrics for the administrator", "/metrics", w.admin, 200},
		{"wrong administrator", "/api/v1/nodes", w.admin + "x", 401},
		{"hash instead of the token", "/api/v1/nodes", w.hash, 401},
		{"adapter on its own path", own, valid, 200},
		{"adapter on another's path", "/api/v1/adapters/a2/generalnodes", valid, 403},
		{"adapter on an administrator's path", "/api/v1/generalnodes", valid, 403},
		{"adapter on its own resource", "/api/v1/adapters/a1", valid, 403},
		{"adapter on metrics", "/metrics", valid, 403},
		{"adapter at an unknown path", "/api/v1/nothing", valid, 404},
		{"expired", own, w.adapterToken("Adapter", "a1", w.key.Secret, time.Now().Add(-time.Second)), 401},
		{"sealed with another key", own, w.adapterToken("Adapter", "a1", [32]byte{1}, hour), 401},
		{"of a node with the adapter's name", own, w.adapterToken("Node", "a1", w.key.Secret, hour), 401},
		{"of an adapter that does not exist", "/api/v1/adapters/a9/generalnodes", w.tokenOf("a9"), 403},
		{"cut short", own, valid[:len(valid)-4], 401},
		{"bit flipped", own, valid[:len(valid)-5] + flip(valid[len(valid)-5]) + valid[len(valid)-4:], 401},
		{"prefix only", own, "cya1.", 401},
		{"unknown path", "/api/v1/nothing", w.admin, 404},
	}
	for _, c := range cases {
		if r := w.do("GET", c.path, c.token, ""); r.code != c.want {
			t.Errorf("%s: got %d, want %d: %s", c.name, r.code, c.want, r.raw)
		}
	}
	w.must(200, "PUT", "/api/v1/adapters/a1", resource("Adapter", "a1", `{"network":"f","disabled":true}`))
	if r := w.do("GET", own, valid, ""); r.code != 403 {
		t.Errorf("disabled adapter: %d", r.code)
	}
	w.must(200, "DELETE", "/api/v1/adapters/a1", "")
	w.must(201, "POST", "/api/v1/adapters", resource("Adapter", "a1", `{"network":"f"}`))
	if r := w.do("GET", own, valid, ""); r.code != 403 {
		t.Errorf("token from before the adapter was created anew: %d", r.code)
	}
	if r := w.do("GET", "/api/v1/nodes", "", "", with{"Authorization", "Basic " + w.admin}); r.code != 401 {
		t.Errorf("other scheme: %d", r.code)
	}
	if strings.Contains(w.log.String(), w.admin) || strings.Contains(w.log.String(), valid) {
		t.Error("a token is in the log")
	}
}

func flip(c byte) string {
	if c == 'A' {
		return "B"
	}
	return "A"
}
