package rest

import (
	"strings"
	"testing"
)

func TestNobodyGivesAwayMoreThanTheyHave(t *testing.T) {
	w := newWorld(t)
	w.must(201, "POST", "/api/v1/roles", resource("Role", "all", `{"rules":[{"verbs":["*"],"kinds":["*"]}]}`))
	w.must(201, "POST", "/api/v1/roles", resource("Role", "nodes", `{"rules":[{"verbs":["get"],"kinds":["Node"],"networks":["hall"]}]}`))
	w.must(201, "POST", "/api/v1/rolebindings", resource("RoleBinding", "ci", `{"role":"all","subjects":[{"kind":"Token","name":"ci"}]}`))
	limited := w.must(201, "POST", "/api/v1/apitokens", resource("APIToken", "limited",
		`{"rules":[{"verbs":["*"],"kinds":["Role","RoleBinding","APIToken","GitSource"]},{"verbs":["get","create"],"kinds":["Node"],"networks":["hall"]},{"verbs":["create"],"kinds":["Plan"]}]}`)).text("status.token")
	rules := func(rule string) string { return `{"rules":[` + rule + `]}` }
	cases := []struct {
		name, path, body string
		code             int
		pointer          string
	}{
		{"a role within one's rights", "roles", resource("Role", "r1", rules(`{"verbs":["get"],"kinds":["Node"],"networks":["hall"]}`)), 201, ""},
		{"another verb", "roles", resource("Role", "r2", rules(`{"verbs":["delete"],"kinds":["Node"],"networks":["hall"]}`)), 403, "/spec/rules"},
		{"another kind", "roles", resource("Role", "r2", rules(`{"verbs":["get"],"kinds":["Adapter"],"networks":["hall"]}`)), 403, "/spec/rules"},
		{"another network", "roles", resource("Role", "r2", rules(`{"verbs":["get"],"kinds":["Node"],"networks":["yard"]}`)), 403, "/spec/rules"},
		{"all networks", "roles", resource("Role", "r2", rules(`{"verbs":["get"],"kinds":["Node"]}`)), 403, "/spec/rules"},
		{"everything", "roles", resource("Role", "r2", rules(`{"verbs":["*"],"kinds":["*"]}`)), 403, "/spec/rules"},
		{"a binding to a role within one's rights", "rolebindings", resource("RoleBinding", "b1", `{"role":"nodes","subjects":[{"kind":"User","name":"me"}]}`), 201, ""},
		{"a binding to a stronger role", "rolebindings", resource("RoleBinding", "b2", `{"role":"all","subjects":[{"kind":"User","name":"me"}]}`), 403, "/spec/role"},
		{"a binding to a stronger role in one network", "rolebindings", resource("RoleBinding", "b2", `{"role":"all","networks":["hall"],"subjects":[{"kind":"User","name":"me"}]}`), 403, "/spec/role"},
		{"a token within one's rights", "apitokens", resource("APIToken", "t1", rules(`{"verbs":["get"],"kinds":["Node"],"networks":["hall"]}`)), 201, ""},
		{"a stronger token", "apitokens", resource("APIToken", "t2", rules(`{"verbs":["get"],"kinds":["Audit"]}`)), 403, "/spec/rules"},
		{"a token whose name has a binding", "apitokens", resource("APIToken", "ci", `{}`), 403, "/spec/rules"},
		{"a git source with a role within one's rights", "gitsources", resource("GitSource", "g1", `{"role":"nodes","url":"https://git.example.org/a.git"}`), 201, ""},
		{"a git source with a stronger role", "gitsources", resource("GitSource", "g2", `{"role":"all","url":"https://git.example.org/a.git"}`), 403, "/spec/role"},
	}
	for _, c := range cases {
		r := w.do("POST", "/api/v1/"+c.path, limited, c.body)
		if r.code != c.code || r.pointers() != c.pointer {
			t.Errorf("%s: %d at %q: %s", c.name, r.code, r.pointers(), r.raw)
		}
	}
	stronger := resource("Role", "nodes", rules(`{"verbs":["*"],"kinds":["*"]}`))
	for name, r := range map[string]reply{
		"PUT":   w.do("PUT", "/api/v1/roles/nodes", limited, stronger),
		"merge": w.do("PATCH", "/api/v1/roles/nodes", limited, `{"spec":{"rules":[{"verbs":["*"],"kinds":["*"]}]}}`, with{"Content-Type", mergePatchType}),
		"apply": w.do("PATCH", "/api/v1/roles/nodes?fieldManager=m&force=true", limited, stronger, with{"Content-Type", applyPatchType}),
		"token": w.do("PATCH", "/api/v1/apitokens/limited", limited, `{"spec":{"rules":[{"verbs":["*"],"kinds":["*"]}]}}`, with{"Content-Type", mergePatchType}),
	} {
		if r.code != 403 {
			t.Errorf("%s: %d %s", name, r.code, r.raw)
		}
	}
	if r := w.do("PATCH", "/api/v1/roles/all", limited, `{"metadata":{"labels":{"a":"b"}}}`, with{"Content-Type", mergePatchType}); r.code != 200 {
		t.Errorf("a label on a stronger role: %d %s", r.code, r.raw)
	}
	plan := w.do("POST", "/api/v1/plans", limited, `{"items":[`+strings.Join([]string{
		resource("Role", "fresh", rules(`{"verbs":["get"],"kinds":["Node"],"networks":["hall"]}`)),
		resource("RoleBinding", "fresh", `{"role":"fresh","subjects":[{"kind":"User","name":"me"}]}`),
		resource("RoleBinding", "strong", `{"role":"all","subjects":[{"kind":"User","name":"me"}]}`),
		resource("Adapter", "a", `{"network":"hall"}`),
	}, ",")+`]}`)
	if plan.code != 200 {
		t.Fatal(plan.raw)
	}
	expectLines(t, plan.verdicts(), "Role/fresh created", "RoleBinding/fresh created", "RoleBinding/strong refused about:blank /spec/role", "Adapter/a refused about:blank")
}
