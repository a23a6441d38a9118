package rest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
)

// Every operation refuses parameters that it does not have.
func TestEveryOperationKnowsItsParameters(t *testing.T) {
	d, err := readDocument()
	if err != nil {
		t.Fatal(err)
	}
	if len(d.queries) < 50 {
		t.Fatalf("only %d operations", len(d.queries))
	}
	repeated := 0
	for operation, parameters := range d.queries {
		if err := parameters.check("no-such-parameter=1"); err == nil {
			t.Errorf("%s accepts any parameter", operation)
		}
		for name, p := range parameters {
			if err := parameters.check(name + "=1&" + name + "=1"); err == nil && !p.repeated {
				t.Errorf("%s accepts %s twice", operation, name)
			}
			if p.repeated {
				repeated++
				if err := parameters.check(strings.Repeat(name+"=a&", maxRepeats+1)); err == nil {
					t.Errorf("%s accepts %s any number of times", operation, name)
				}
			}
		}
	}
	if repeated == 0 {
		t.Error("no parameter is a list: the test looks at the wrong document")
	}
	for method := range map[string]bool{"GET": true, "PATCH": true} {
		if _, ok := d.queries[method+" /api/v1/nodes/:name"]; !ok {
			t.Errorf("%s of a node is not known", method)
		}
	}
}

func TestValuesOfParameters(t *testing.T) {
	d, err := readDocument()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ operation, query, want string }{
		{"GET /api/v1/audit", "since=yesterday", `"since" must be a time`},
		{"GET /api/v1/audit", "since=2026-01-02T15:04:05Z", ""},
		{"GET /api/v1/audit", "outcome=maybe", `"outcome" must be one of`},
		{"GET /api/v1/audit", "outcome=denied", ""},
		{"GET /api/v1/reachability", "from=node/a&to=node/b&port=70000", `"port" must be at most 65535`},
		{"GET /api/v1/reachability", "from=a&to=node/b", `"from" must be at least 3 characters`},
		{"POST /api/v1/nodes", "dryRun=Some", `"dryRun" must be one of [All]`},
		{"POST /api/v1/nodes", "dryRun=All", ""},
		{"DELETE /api/v1/nodes/:name", "cascade=yes", `"cascade" must be true or false`},
		{"GET /api/v1/nodes", "limit=99999999999999999999", `"limit" must be a whole number`},
		{"GET /api/v1/nodes", "labelSelector=" + strings.Repeat("a", 3000), `"labelSelector" must be at most`},
		{"GET /livez", "x=1", `"x" is unknown here; there are none`},
	} {
		parameters, ok := d.queries[c.operation]
		if !ok {
			t.Errorf("%s does not exist", c.operation)
			continue
		}
		err := parameters.check(c.query)
		if (err == nil) != (c.want == "") || (err != nil && !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s?%s: %v, want %q", c.operation, c.query, err, c.want)
		}
	}
}

// Every type of problem that the package makes is on the reference page.
func TestProblemTypesAreDocumented(t *testing.T) {
	listed := map[string]bool{}
	for _, p := range problemTypes() {
		if p.Meaning == "" || p.Statuses == "" || listed[p.Type] {
			t.Errorf("%+v", p)
		}
		listed[p.Type] = true
	}
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".go") || strings.HasSuffix(e.Name(), "_test.go") || strings.HasSuffix(e.Name(), ".gen.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), e.Name(), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			literal, ok := n.(*ast.BasicLit)
			if !ok || literal.Kind != token.STRING {
				return true
			}
			text, err := strconv.Unquote(literal.Value)
			if err == nil && strings.HasPrefix(text, "urn:cyphonic:problem:") {
				found++
				if !listed[text] {
					t.Errorf("%s (in %s) is not among problemTypes", text, e.Name())
				}
			}
			return true
		})
	}
	if found < 5 {
		t.Errorf("only %d types found", found)
	}
}

func TestBodiesAreBoundedByOperation(t *testing.T) {
	w := newWorld(t)
	large := strings.Repeat(" ", maxBodyBytes) + "{}"
	if r := w.do("POST", "/api/v1/nodes", w.admin, large); r.code != http.StatusRequestEntityTooLarge || !strings.Contains(r.text("detail"), "1048576") {
		t.Errorf("%d %s", r.code, r.raw)
	}
	if r := w.do("POST", "/api/v1/plans", w.admin, strings.Repeat(" ", maxBodyBytes)+`{"items":[]}`); r.code == http.StatusRequestEntityTooLarge {
		t.Errorf("a plan may be larger: %s", r.raw)
	}
	if r := w.do("POST", "/api/v1/plans", w.admin, strings.Repeat(" ", maxPlanBytes)+`{"items":[]}`); r.code != http.StatusRequestEntityTooLarge {
		t.Errorf("a plan of any size: %d", r.code)
	}
}
