package catalogue

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write docs/metrics.md")

const (
	root = "../.."
	file = root + "/docs/metrics.md"
)

func read(t *testing.T) *Catalogue {
	t.Helper()
	c, err := Read(root)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Metrics) < 80 {
		t.Fatalf("only %d metrics found: the scan looks at the wrong place", len(c.Metrics))
	}
	return c
}

func TestTheFileIsCurrent(t *testing.T) {
	want := read(t).Markdown()
	if *update {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("docs/metrics.md is not what the source says: run go generate ./internal/catalogue and commit it%s", firstDifference(string(got), want))
	}
}

func firstDifference(got, want string) string {
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range min(len(g), len(w)) {
		if g[i] != w[i] {
			return "\nfile:   " + g[i] + "\nsource: " + w[i]
		}
	}
	return ""
}

func TestEveryMetricIsNamedByTheRuleAndExplained(t *testing.T) {
	for _, m := range read(t).Metrics {
		if fault := Misnamed(m); fault != "" {
			t.Errorf("%s (%s): %s", m.Name, m.At, fault)
		}
		if len(m.Help) < 10 || !strings.HasSuffix(m.Help, ".") {
			t.Errorf("%s (%s): its help %q is no sentence", m.Name, m.At, m.Help)
		}
	}
}

func TestEveryLabelHasAStatedBound(t *testing.T) {
	c := read(t)
	for _, l := range c.Unbounded() {
		t.Errorf("%s: say in tables.go how many values it has at most, and which", l)
	}
	used := map[string]bool{}
	for _, m := range c.Metrics {
		for _, l := range m.Labels {
			used[m.Name+"/"+l], used[m.Component()+"/"+l] = true, true
		}
	}
	for key := range bounds() {
		if !used[key] {
			t.Errorf("tables.go has a bound for %s, which no metric has", key)
		}
	}
}

// TestNoDeclarationIsOverlooked counts the declarations in another way: by their text.
func TestNoDeclarationIsOverlooked(t *testing.T) {
	out, err := exec.Command("grep", "-rnE", `prometheus\.(Must)?New(Counter|Gauge|Histogram|Summary|Untyped|Desc)|promauto\.`, "--include=*.go", root).Output()
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]bool{}
	for _, m := range read(t).Metrics {
		name, _, _ := strings.Cut(m.At, ":")
		files[name] = true
	}
	checked := 0
	for line := range strings.Lines(string(out)) {
		name, text, _ := strings.Cut(line, ":")
		if strings.HasSuffix(name, "_test.go") || strings.Contains(name, "internal/catalogue/") {
			continue
		}
		checked++
		if strings.Contains(text, "promauto.") {
			t.Errorf("%s: promauto registers at a global registry", strings.TrimSpace(line))
		}
		if relative, _ := filepath.Rel(root, name); !files[relative] {
			t.Errorf("%s declares metrics and none of them is in the catalogue", relative)
		}
	}
	if checked < 50 {
		t.Errorf("only %d declarations found", checked)
	}
}

func TestScan(t *testing.T) {
	for _, row := range []struct {
		name, text string
		want       []Metric
		fails      bool
	}{
		{
			"literal", `var x = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "cyphonic_as_a_total", Help: "h" + " i"}, []string{"b", "a"})`,
			[]Metric{{Name: "cyphonic_as_a_total", Type: Counter, Help: "h i", Labels: []string{"b", "a"}}},
			false,
		},
		{
			"parts and constants", "const n = \"b\"\nvar x = prometheus.NewGauge(prometheus.GaugeOpts{Namespace: \"cyphonic\", Subsystem: \"as\", Name: n, ConstLabels: prometheus.Labels{\"l\": f()}})",
			[]Metric{{Name: "cyphonic_as_b", Type: Gauge, Labels: []string{"l"}}},
			false,
		},
		{
			"description", `var x = prometheus.NewDesc("cyphonic_as_c_total", "h", []string{"a"}, prometheus.Labels{"b": "c"})`,
			[]Metric{{Name: "cyphonic_as_c_total", Type: Counter, Help: "h", Labels: []string{"a", "b"}}},
			false,
		},
		{
			"closure", "func f() {\n c := func(n, h string, l ...string) any { return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: \"cyphonic_as_\" + n, Help: h}, l) }\n c(\"d_seconds\", \"h\", \"x\", \"y\")\n c(\"e_seconds\", \"i\")\n}",
			[]Metric{{Name: "cyphonic_as_d_seconds", Type: Histogram, Help: "h", Labels: []string{"x", "y"}}, {Name: "cyphonic_as_e_seconds", Type: Histogram, Help: "i"}},
			false,
		},
		{
			"function and labels in a variable", "func g(n string, l prometheus.Labels) any { return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: n, ConstLabels: l}, nil) }\nfunc f() {\n k := prometheus.Labels{\"kind\": x}\n g(\"cyphonic_as_f\", k)\n g(\"cyphonic_as_g\", nil)\n}",
			[]Metric{{Name: "cyphonic_as_f", Type: Gauge, Labels: []string{"kind"}}, {Name: "cyphonic_as_g", Type: Gauge}},
			false,
		},
		{"name from elsewhere", `var x = prometheus.NewGauge(prometheus.GaugeOpts{Name: other.Name})`, nil, true},
		{"labels from elsewhere", `var x = prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "cyphonic_as_h"}, names())`, nil, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			directory := t.TempDir()
			path := filepath.Join(directory, "x.go")
			if err := os.WriteFile(path, []byte("package x\nimport \"github.com/prometheus/client_golang/prometheus\"\n"+row.text+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			got, err := scanModule(directory)
			if (err != nil) != row.fails {
				t.Fatalf("error %v", err)
			}
			if row.fails {
				return
			}
			for i := range got {
				got[i].At = ""
			}
			if !slices.EqualFunc(got, row.want, func(a, b Metric) bool {
				return a.Name == b.Name && a.Type == b.Type && a.Help == b.Help && slices.Equal(a.Labels, b.Labels)
			}) {
				t.Errorf("%+v\nwant %+v", got, row.want)
			}
		})
	}
}

func TestTheRuleFindsWhatItForbids(t *testing.T) {
	for _, m := range []Metric{
		{Name: "requests_total", Type: Counter},
		{Name: "cyphonic_nobody_requests_total", Type: Counter},
		{Name: "cyphonic_as_requests", Type: Counter},
		{Name: "cyphonic_as_requests_total", Type: Gauge},
		{Name: "cyphonic_as_Requests_total", Type: Counter},
		{Name: "cyphonic_as__requests_total", Type: Counter},
		{Name: "cyphonic_as_wait_ms", Type: Gauge},
		{Name: "cyphonic_as_wait_milliseconds_total", Type: Counter},
		{Name: "cyphonic_as_size_kb", Type: Gauge},
		{Name: "cyphonic_as_wait", Type: Histogram},
		{Name: "cyphonic_as", Type: Gauge},
	} {
		if Misnamed(m) == "" {
			t.Errorf("%s %s passes", m.Type, m.Name)
		}
	}
	for _, m := range []Metric{
		{Name: "cyphonic_as_wait_seconds", Type: Histogram},
		{Name: "cyphonic_as_wait_seconds_total", Type: Counter},
		{Name: "cyphonic_as_connections", Type: Gauge},
	} {
		if fault := Misnamed(m); fault != "" {
			t.Errorf("%s %s: %s", m.Type, m.Name, fault)
		}
	}
}

func TestSeriesOfTheRunTimeAreHeldAgainstTheCatalogue(t *testing.T) {
	c := read(t)
	for _, row := range []struct {
		series string
		kind   Type
		labels []string
		ok     bool
	}{
		{"cyphonic_as_login_seconds_bucket", Histogram, []string{"le"}, true},
		{"cyphonic_as_login_seconds_count", "", nil, true},
		{"cyphonic_adapter_general_nodes", Gauge, []string{"phase", "adapter"}, true},
		{"cyphonic_udp_datagrams_total", Counter, []string{"direction", "service"}, true},
		{"go_goroutines", Gauge, nil, true},
		{"cyphonic_as_login_seconds_bucket", Gauge, []string{"le"}, false},
		{"cyphonic_as_connections_count", "", nil, false},
		{"cyphonic_as_connections", Gauge, []string{"user"}, false},
		{"cyphonic_as_nothing", Gauge, nil, false},
		{"etcd_server_version", Gauge, nil, false},
	} {
		if fault := c.Unexpected(row.series, row.kind, row.labels); (fault == "") != row.ok {
			t.Errorf("%s %v: %q", row.series, row.labels, fault)
		}
	}
}
