package rest

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/cyphonic/cyphonic/api"
)

// The matrix says for every operation of the specification, for an object in
// the network hall, in the network yard or in none, and for every sort of
// subject what comes of it:
//
//	yes   the request is carried out; of a list or a watch: the object is in it
//	none  the list or the watch is there and the object is not in it
//	401   and other numbers: the status
//
// testdata/access-matrix.txt has one line per operation and place. An operation
// without a line, and a line without an operation, fails.
const matrixFile = "testdata/access-matrix.txt"

// cellRequest makes the request of a row. It is called once per column.
type cellRequest func(m *matrixWorld, place string) (*http.Request, error)

// row is an operation in a place.
type row struct {
	operation string // with " watch" for a list that is watched
	place     string // hall, yard, or "-"
	request   cellRequest
	// listed is what to look for in the answer; empty: the status decides.
	listed string
	before func() // makes what the request is about, if a column before has deleted it
}

func (r row) key() string { return r.operation + " @" + r.place }

// named is how an object of a list shows its name.
func named(name string) string { return fmt.Sprintf(`"name":%q`, name) }

// rowsOf are the rows of an operation. It fails for one that it does not know.
func (m *matrixWorld) rowsOf(method, path string, o *openapi3.Operation) []row {
	if special, ok := m.specialRows(o.OperationID); ok {
		return special
	}
	kind, known := api.KindOfPlural(strings.Split(strings.TrimPrefix(path, "/api/v1/"), "/")[0])
	if !known {
		m.t.Errorf("operation %s (%s %s): the matrix does not know how to make a request; add it to specialRows, and lines to %s", o.OperationID, method, path, matrixFile)
		return nil
	}
	places := []string{"hall", "yard"}
	if slices.Contains(systemKinds(), kind.Name) || (kind.Name == "Network" && method == http.MethodPost) {
		places = []string{"-"}
	}
	var rows []row
	for _, place := range places {
		network := strings.Trim(place, "-")
		base := row{operation: o.OperationID, place: place, before: func() { m.plantAgain(kind.Name, network) }}
		switch {
		case method == http.MethodGet && !strings.Contains(path, "{name}"):
			base.listed, base.request = named(targetName(kind.Name, network)), get(path)
			rows = append(rows, base)
			base.operation, base.request = o.OperationID+" watch", get(path+"?watch=true")
		case method == http.MethodGet || method == http.MethodDelete:
			base.request = onTarget(method, path, kind.Name, "", nil)
		case method == http.MethodPost:
			base.request = func(m *matrixWorld, _ string) (*http.Request, error) {
				m.serial++
				return request(method, m.url+path, "application/json", m.body(kind.Name, fmt.Sprintf("new-%d", m.serial), network, "new"))
			}
		case method == http.MethodPatch:
			base.request = onTarget(method, path, kind.Name, "application/merge-patch+json", func() string {
				m.serial++
				return fmt.Sprintf(`{"metadata":{"labels":{"mark":"p%d"}}}`, m.serial)
			})
		case strings.HasSuffix(path, "/status"):
			base.request = onTarget(method, path, kind.Name, "application/json", func() string { return m.reported(kind, network) })
		default: // PUT
			base.request = onTarget(method, path, kind.Name, "application/json", func() string {
				m.serial++
				return m.body(kind.Name, targetName(kind.Name, network), network, fmt.Sprintf("r%d", m.serial))
			})
		}
		rows = append(rows, base)
	}
	return rows
}

// plantAgain makes the object of a row if it was deleted.
func (m *matrixWorld) plantAgain(kind, network string) {
	switch kind {
	case "Event", "Network":
	case "Replica":
		m.plantReplica()
	default:
		m.plant(kind, network)
	}
}

// reported is the object as it is with another status.
func (m *matrixWorld) reported(kind api.Kind, network string) string {
	m.serial++
	raw := m.do("GET", "/api/v1/"+kind.Plural+"/"+targetName(kind.Name, network), m.admin, "").raw
	o := kind.New()
	if err := api.Decode([]byte(raw), o); err != nil {
		m.t.Fatal(err)
	}
	if conditions := conditionsOf(o); conditions != nil {
		*conditions = []api.Condition{{Type: "Tested", Status: "True", Message: fmt.Sprint(m.serial), LastTransitionTime: time.Unix(m.serial, 0).UTC()}}
	}
	o.Meta().ResourceVersion = ""
	out, err := encodeLine(o)
	if err != nil {
		m.t.Fatal(err)
	}
	return string(out)
}

func get(path string) cellRequest {
	return func(m *matrixWorld, _ string) (*http.Request, error) {
		return http.NewRequest(http.MethodGet, m.url+path, nil)
	}
}

func request(method, url, contentType, body string) (*http.Request, error) {
	r, err := http.NewRequest(method, url, strings.NewReader(body))
	if err == nil && contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	return r, err
}

func onTarget(method, path, kind, contentType string, body func() string) cellRequest {
	return func(m *matrixWorld, place string) (*http.Request, error) {
		url := m.url + strings.ReplaceAll(path, "{name}", targetName(kind, strings.Trim(place, "-")))
		if body == nil {
			return request(method, url, "", "")
		}
		return request(method, url, contentType, body())
	}
}

// specialRows are the operations that are not about a resource of the path.
func (m *matrixWorld) specialRows(operation string) ([]row, bool) {
	post := func(path, contentType string, body func(place string) string) cellRequest {
		return func(m *matrixWorld, place string) (*http.Request, error) {
			return request(http.MethodPost, m.url+path, contentType, body(place))
		}
	}
	adapterPath := func(format string) func(place string) string {
		return func(place string) string { return fmt.Sprintf(format, place+"-1", place+"-camera") }
	}
	switch operation {
	case "getLivez", "getReadyz", "getOpenAPI", "getReference", "getMetrics", "getWhoami", "getTelemetryMetrics", "getTelemetryTargets":
		path := map[string]string{
			"getLivez": "/livez", "getReadyz": "/readyz", "getOpenAPI": "/openapi.json", "getReference": "/reference", "getMetrics": "/metrics",
			"getWhoami": "/api/v1/whoami", "getTelemetryMetrics": "/api/v1/telemetry/metrics", "getTelemetryTargets": "/api/v1/telemetry/targets",
		}[operation]
		return []row{{operation: operation, place: "-", request: get(path)}}, true
	case "listAuditRecords":
		return []row{
			{operation: operation, place: "hall", request: get("/api/v1/audit?kind=Node&name=hall-holder"), listed: named("hall-holder")},
			{operation: operation, place: "yard", request: get("/api/v1/audit?kind=Node&name=yard-holder"), listed: named("yard-holder")},
			{operation: operation, place: "-", request: get("/api/v1/audit?kind=Role&name=base"), listed: named("base")},
		}, true
	case "createAccessReview":
		return []row{{operation: operation, place: "-", request: post("/api/v1/accessreviews", "application/json", func(string) string { return `{"verb":"get","kind":"Node","network":"yard"}` })}}, true
	case "getBackup":
		return []row{{operation: operation, place: "-", request: get("/api/v1/backup?recipient=age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p")}}, true
	case "createRestore":
		return []row{{operation: operation, place: "-", request: post("/api/v1/restore", "application/octet-stream", func(string) string { return "no backup" })}}, true
	case "createPlan":
		return m.inBoth(row{operation: operation, request: post("/api/v1/plans", "application/json", func(place string) string {
			return fmt.Sprintf(`{"items":[%s],"fieldManager":"matrix"}`, m.body("Node", "planned", place, "x"))
		}), listed: `"verdict":"created"`}), true
	case "getReachability":
		return m.inBoth(row{operation: operation, request: func(m *matrixWorld, place string) (*http.Request, error) {
			return http.NewRequest(http.MethodGet, fmt.Sprintf("%s/api/v1/reachability?from=node/%s-holder&to=generalnode/%s-camera", m.url, place, place), nil)
		}}), true
	case "listAdapterGeneralNodes":
		path := adapterPath("/api/v1/adapters/%[1]s/generalnodes")
		list := m.inBoth(row{operation: operation, listed: "-camera\"", request: func(m *matrixWorld, place string) (*http.Request, error) {
			return http.NewRequest(http.MethodGet, m.url+path(place), nil)
		}})
		return append(list, m.inBoth(row{operation: operation + " watch", listed: "-camera\"", request: func(m *matrixWorld, place string) (*http.Request, error) {
			return http.NewRequest(http.MethodGet, m.url+path(place)+"?watch=true", nil)
		}})...), true
	case "putAdapterGeneralNodeStatus":
		path := adapterPath("/api/v1/adapters/%[1]s/generalnodes/%[2]s/status")
		kind, _ := api.KindNamed("GeneralNode")
		return m.inBoth(row{operation: operation, request: func(m *matrixWorld, place string) (*http.Request, error) {
			return request(http.MethodPut, m.url+path(place), "application/json", m.reported(kind, place))
		}}), true
	case "drainReplica":
		return []row{{operation: operation, place: "-", before: m.plantReplica, request: post("/api/v1/replicas/target/drain", "", func(string) string { return "" })}}, true
	case "pushAdapterMetrics":
		path := adapterPath("/api/v1/adapters/%[1]s/metrics")
		pause := func() { m.clock.advance(10 * time.Second) } // an adapter must not push too often
		return m.inBoth(row{operation: operation, before: pause, request: func(m *matrixWorld, place string) (*http.Request, error) {
			m.serial++
			r, err := request(http.MethodPost, m.url+path(place), "application/vnd.google.protobuf", emptyGzip)
			if err == nil {
				r.Header.Set("Content-Encoding", "gzip")
				r.Header.Set("Cyphonic-Metrics-Boot", "0b5e7d4c-matrix")
				r.Header.Set("Cyphonic-Metrics-Sequence", fmt.Sprint(m.serial))
			}
			return r, err
		}}), true
	}
	return nil, false
}

// emptyGzip is the compressed form of nothing.
const emptyGzip = "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff\x01\x00\x00\xff\xff\x00\x00\x00\x00\x00\x00\x00\x00"

func (m *matrixWorld) inBoth(r row) []row {
	hall, yard := r, r
	hall.place, yard.place = "hall", "yard"
	return []row{hall, yard}
}

// cell sends the request of a row as a column and says what came of it.
func (m *matrixWorld) cell(r row, c column) string {
	m.t.Helper()
	if r.before != nil {
		r.before()
	}
	req, err := r.request(m, r.place)
	if err != nil {
		m.t.Fatal(err)
	}
	a := m.ask(c, req)
	if a.code == 429 {
		m.t.Fatalf("%s as %s: %s", r.key(), c.name, a.raw)
	}
	switch {
	case a.code >= 300:
		return fmt.Sprint(a.code)
	case r.listed != "" && !strings.Contains(a.raw, r.listed):
		return "none"
	}
	return "yes"
}

// readMatrix reads the table: a line of column names, then lines of an
// operation, a place and what is expected of each column.
func readMatrix(t *testing.T) (columns []string, expected map[string][]string) {
	t.Helper()
	text, err := os.ReadFile(matrixFile)
	if err != nil {
		t.Fatal(err)
	}
	expected = map[string][]string{}
	for line := range bytes.Lines(text) {
		key, cells, ok := strings.Cut(strings.TrimSpace(string(line)), "|")
		switch {
		case strings.HasPrefix(key, "#") || strings.TrimSpace(string(line)) == "":
		case !ok:
			t.Fatalf("%s: no | in %q", matrixFile, line)
		case columns == nil:
			columns = strings.Fields(cells)
		default:
			key = strings.Join(strings.Fields(key), " ")
			if expected[key] != nil {
				t.Errorf("%s: two lines for %s", matrixFile, key)
			}
			expected[key] = strings.Fields(cells)
		}
	}
	return columns, expected
}

func TestAccessMatrix(t *testing.T) {
	m := newMatrixWorld(t)
	names, expected := readMatrix(t)
	var have []string
	for _, c := range m.columns {
		have = append(have, c.name)
	}
	if !slices.Equal(names, have) {
		t.Fatalf("the columns of %s are %v, those of the test %v", matrixFile, names, have)
	}
	m.runChain()
	cells := 0
	for _, r := range m.rows() {
		want := expected[r.key()]
		delete(expected, r.key())
		var got []string
		for _, c := range m.columns {
			got = append(got, m.cell(r, c))
			cells++
		}
		if want == nil {
			t.Errorf("there is no line for %s; what happens now is\n%-46s| %s", r.key(), r.key(), strings.Join(got, " "))
			continue
		}
		for i, c := range m.columns {
			if i >= len(want) || got[i] != want[i] {
				t.Errorf("%s as %s: %s, want %v", r.key(), c.name, got[i], want[min(i, len(want)-1):])
			}
		}
	}
	for key := range expected {
		t.Errorf("%s has a line for %s, which the specification has not", matrixFile, key)
	}
	if cells < 1500 {
		t.Errorf("only %d cells", cells)
	}
	t.Logf("%d cells", cells)
}

// rows are those of all operations, sorted; deletions come last of a kind.
func (m *matrixWorld) rows() []row {
	var rows []row
	for path, item := range m.server.document.parsed.Paths.Map() {
		for method, operation := range item.Operations() {
			rows = append(rows, m.rowsOf(method, path, operation)...)
		}
	}
	slices.SortFunc(rows, func(a, b row) int { return strings.Compare(a.key(), b.key()) })
	return rows
}

// runChain puts the records of what was planted into the chain.
func (m *matrixWorld) runChain() {
	m.t.Helper()
	m.lead(func() bool {
		page := m.do("GET", "/api/v1/audit?kind=RoleBinding&name=adapters", m.admin, "")
		items, _ := page.at("items").([]any)
		return len(items) > 0
	})
}
