package rest

import (
	"net/http"
	"strings"
	"testing"
)

func TestARefusalSaysWhatIsMissingAndWhere(t *testing.T) {
	m := newMatrixWorld(t)
	for path, want := range map[string]string{
		"/api/v1/roles":  `has the verb list on Role in any network;`,
		"/api/v1/backup": `has the verb get on Backup in all networks;`,
	} {
		r, err := http.NewRequest("GET", m.url+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if a := m.ask(m.column("hall-editor"), r); a.code != 403 || !strings.Contains(a.raw, want) {
			t.Errorf("GET %s: %d %s", path, a.code, a.raw)
		}
	}
}

func TestProblemsAreForPeopleToo(t *testing.T) {
	w := newWorld(t)
	w.factory()
	w.must(201, "POST", "/api/v1/generalnodes", gnBody("cam1", "f", "a1", "02:00:00:00:00:01"))
	for _, c := range []struct{ name, method, path, token, body, want string }{
		{"no HTML escapes", "GET", "/api/v1/nodes", "", "", "Bearer <token>"},
		{"a reference is named as everywhere", "DELETE", "/api/v1/adapters/a1", w.admin, "", "is used by generalnode/cam1;"},
		{"a name that is taken", "POST", "/api/v1/adapters", w.admin, resource("Adapter", "a1", `{"network":"f"}`), `"a1\" exists; choose another name`},
		{"words that are possible", "POST", "/api/v1/accessreviews", w.admin, `{"verb":"see","kind":"Node"}`, "must be one of get, list, watch,"},
	} {
		if r := w.do(c.method, c.path, c.token, c.body); !strings.Contains(r.raw, c.want) {
			t.Errorf("%s: %s", c.name, r.raw)
		}
	}
	if r := w.must(405, "DELETE", "/api/v1/nodes", ""); !strings.Contains(r.header.Get("Allow"), "HEAD") {
		t.Errorf("Allow: %s", r.header.Get("Allow"))
	}
}

func TestOneAddressIsNotSeveral(t *testing.T) {
	for addresses, want := range map[string]string{
		"10.0.0.2":             "the virtual address is 10.0.0.2",
		"10.0.0.2 and fd00::2": "the virtual addresses are 10.0.0.2 and fd00::2",
	} {
		if got := addressesText(addresses); got != want {
			t.Error(got)
		}
	}
}
