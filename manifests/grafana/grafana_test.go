package grafana

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/cyphonic/cyphonic/internal/catalogue"
)

var update = flag.Bool("update", false, "write the JSON files")

func fileOf(d Dashboard) string { return strings.TrimPrefix(d.UID, tag+"-") + ".json" }

func TestTheFilesAreCurrent(t *testing.T) {
	known := map[string]bool{}
	for _, d := range Dashboards() {
		want, err := d.JSON()
		if err != nil {
			t.Fatal(err)
		}
		known[fileOf(d)] = true
		if *update {
			if err := os.WriteFile(fileOf(d), want, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(fileOf(d))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is not what the code says: run go generate ./manifests/grafana and commit it (%v)", fileOf(d), err)
		}
	}
	files, err := filepath.Glob("*.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if !known[f] {
			t.Errorf("no dashboard makes %s", f)
		}
	}
}

func TestEveryQueryAsksForWhatThereIs(t *testing.T) {
	c, err := catalogue.Read("../..")
	if err != nil {
		t.Fatal(err)
	}
	recorded := recordedNames(t)
	checked := 0
	for _, d := range Dashboards() {
		var expressions []Query
		expressions = append(expressions, d.Queries()...)
		for name, q := range d.VariableQueries() {
			expressions = append(expressions, Query{"variable " + name, q})
		}
		for _, q := range expressions {
			selectors := catalogue.Selectors(q.Expr)
			if len(selectors) == 0 {
				t.Errorf("%s, %s: no metric in %s", d.Title, q.Panel, q.Expr)
			}
			for _, s := range selectors {
				checked++
				if fault := c.Misused(s, recorded); fault != "" {
					t.Errorf("%s, %s: %s", d.Title, q.Panel, fault)
				}
			}
		}
	}
	if checked < 60 {
		t.Errorf("only %d selectors found", checked)
	}
}

func recordedNames(t *testing.T) []string {
	t.Helper()
	b, err := os.ReadFile("../prometheus/rules/recording.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Groups []struct{ Rules []struct{ Record string } }
	}
	if err := yaml.Unmarshal(b, &file); err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, g := range file.Groups {
		for _, r := range g.Rules {
			out = append(out, r.Record)
		}
	}
	return out
}

func TestPanelsAreCompleteAndDoNotOverlap(t *testing.T) {
	for _, d := range Dashboards() {
		used := map[[2]int]string{}
		ids, rows := map[int]bool{}, 0
		for _, p := range d.Panels {
			if ids[p.ID] {
				t.Errorf("%s: two panels have the id %d", d.Title, p.ID)
			}
			ids[p.ID] = true
			if p.Type == "row" {
				rows++
			} else if p.Description == "" || p.FieldConfig.Defaults.Unit == "" || len(p.Targets) == 0 || p.Datasource.UID != "${datasource}" {
				t.Errorf("%s, %s: a panel has a description, a unit, a query and the data source of the variable", d.Title, p.Title)
			}
			for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
				for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
					if other := used[[2]int{x, y}]; other != "" || x >= columns {
						t.Fatalf("%s: %s overlaps %q or leaves the page", d.Title, p.Title, other)
					}
					used[[2]int{x, y}] = p.Title
				}
			}
		}
		if rows < 2 || len(d.Panels) < 8 || d.Description == "" {
			t.Errorf("%s has %d panels in %d rows", d.Title, len(d.Panels), rows)
		}
	}
}

func TestLinksLeadSomewhere(t *testing.T) {
	dashboards := map[string][]string{}
	for _, d := range Dashboards() {
		for _, v := range d.Templating.List {
			dashboards[d.UID] = append(dashboards[d.UID], v.Name)
		}
	}
	runbook := regexp.MustCompile(`/docs/runbooks/([A-Za-z]+\.md)"`)
	drill := regexp.MustCompile(`"/d/([a-z-]+)\?([^"]*)"`)
	found := 0
	for _, d := range Dashboards() {
		b, err := d.JSON()
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range runbook.FindAllStringSubmatch(string(b), -1) {
			found++
			if _, err := os.Stat("../../docs/runbooks/" + m[1]); err != nil {
				t.Errorf("%s: %v", d.Title, err)
			}
		}
		for _, m := range drill.FindAllStringSubmatch(string(b), -1) {
			found++
			if dashboards[m[1]] == nil {
				t.Errorf("%s leads to %s, which is not there", d.Title, m[1])
			}
			for v := range strings.SplitSeq(m[2], "&") {
				name, is := strings.CutPrefix(v, "var-")
				name, _, _ = strings.Cut(name, "=")
				if is && !slices.Contains(dashboards[m[1]], name) {
					t.Errorf("%s hands %s to %s, which has no such variable", d.Title, name, m[1])
				}
			}
		}
	}
	if found < 20 {
		t.Errorf("only %d links found", found)
	}
}

// TestVariablesAreDeclared finds the variables that queries use.
func TestVariablesAreDeclared(t *testing.T) {
	use := regexp.MustCompile(`\$\{?([a-z_]+)`)
	builtin := []string{"__rate_interval", "__interval", "__range", "__data", "__url_time_range", "__all", "datasource"}
	for _, d := range Dashboards() {
		declared := append([]string{}, builtin...)
		for _, v := range d.Templating.List {
			declared = append(declared, v.Name)
		}
		for _, q := range d.Queries() {
			for _, m := range use.FindAllStringSubmatch(q.Expr, -1) {
				if !slices.Contains(declared, m[1]) {
					t.Errorf("%s, %s: $%s is not declared", d.Title, q.Panel, m[1])
				}
			}
		}
		var any map[string]any
		b, err := d.JSON()
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(b, &any); err != nil {
			t.Error(err)
		}
	}
}
