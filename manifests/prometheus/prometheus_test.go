package prometheus

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/cyphonic/cyphonic/internal/catalogue"
)

const runbooks = "../../docs/runbooks"

type ruleFile struct {
	Groups []struct {
		Name  string
		Rules []rule
	}
}

type rule struct {
	Record, Alert, Expr, For string
	Labels, Annotations      map[string]string
}

func rules(t *testing.T) []rule {
	t.Helper()
	files, err := filepath.Glob("rules/*.yaml")
	if err != nil || len(files) < 2 {
		t.Fatalf("%v, %v", files, err)
	}
	var out []rule
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var f ruleFile
		if err := yaml.Unmarshal(b, &f); err != nil {
			t.Fatal(err)
		}
		for _, g := range f.Groups {
			out = append(out, g.Rules...)
		}
	}
	return out
}

// promtool runs the tool; the version of Debian 12 is enough.
func promtool(t *testing.T, args ...string) {
	t.Helper()
	path, err := exec.LookPath("promtool")
	if err != nil {
		t.Fatal("promtool is missing: scripts/install-deps installs it (package prometheus)")
	}
	if out, err := exec.Command(path, args...).CombinedOutput(); err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func TestTheConfigurationIsValid(t *testing.T) {
	promtool(t, "check", "config", "--syntax-only", "prometheus.yml")
	promtool(t, "check", "rules", "rules/recording.yaml", "rules/alerts.yaml")
}

func TestTheRulesDoWhatTheirTestsSay(t *testing.T) {
	promtool(t, "test", "rules", "tests/alerts.yaml")
	text, err := os.ReadFile("tests/alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rules(t) {
		if r.Alert != "" && !strings.Contains(string(text), "name: "+r.Alert+" fires\n") {
			t.Errorf("no test wants %s to fire", r.Alert)
		}
	}
}

func TestEveryAlertHasARunbookAndEveryRunbookAnAlert(t *testing.T) {
	index, err := os.ReadFile(runbooks + "/README.md")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{"README.md": true}
	for _, r := range rules(t) {
		if r.Alert == "" {
			continue
		}
		name := r.Alert + ".md"
		known[name] = true
		if !strings.HasSuffix(r.Annotations["runbook_url"], "/docs/runbooks/"+name) || r.Annotations["summary"] == "" || r.Annotations["description"] == "" {
			t.Errorf("%s: annotations %v", r.Alert, r.Annotations)
		}
		if !slices.Contains([]string{"critical", "warning", "info"}, r.Labels["severity"]) {
			t.Errorf("%s: severity %q", r.Alert, r.Labels["severity"])
		}
		text, err := os.ReadFile(filepath.Join(runbooks, name))
		if err != nil {
			t.Error(err)
			continue
		}
		for _, want := range []string{"# " + r.Alert, "Severity: " + r.Labels["severity"], r.Expr, "## What it means", "## What to look at", "## What to do"} {
			if !strings.Contains(string(text), want) {
				t.Errorf("%s lacks %q", name, want)
			}
		}
		if !strings.Contains(string(index), "("+name+")") {
			t.Errorf("%s is not in the index of the runbooks", name)
		}
	}
	files, err := os.ReadDir(runbooks)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if !known[f.Name()] {
			t.Errorf("runbook %s has no alert", f.Name())
		}
	}
}

// TestRunbooksNameWhatThereIs holds the metrics and links of the runbooks against what exists.
func TestRunbooksNameWhatThereIs(t *testing.T) {
	c := read(t)
	recorded := recordedNames(t)
	files, err := filepath.Glob(runbooks + "/*.md")
	if err != nil || len(files) < 10 {
		t.Fatalf("%v, %v", files, err)
	}
	link := regexp.MustCompile(`\]\(([^)#:]+\.[a-z]+)`)
	code := regexp.MustCompile("`([^`]+)`")
	fence := regexp.MustCompile("(?s)```.*?```")
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range link.FindAllStringSubmatch(string(text), -1) {
			if _, err := os.Stat(filepath.Join(runbooks, found[1])); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		for _, found := range code.FindAllStringSubmatch(fence.ReplaceAllString(string(text), ""), -1) {
			for _, s := range catalogue.Selectors(found[1]) {
				if fault := c.Misused(s, recorded); fault != "" {
					t.Errorf("%s: %s", name, fault)
				}
			}
		}
	}
}

func read(t *testing.T) *catalogue.Catalogue {
	t.Helper()
	c, err := catalogue.Read("../..")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func recordedNames(t *testing.T) []string {
	t.Helper()
	var out []string
	for _, r := range rules(t) {
		if r.Record != "" {
			out = append(out, r.Record)
		}
	}
	return out
}

func TestRulesAskForWhatThereIs(t *testing.T) {
	c, recorded := read(t), recordedNames(t)
	checked := 0
	for _, r := range rules(t) {
		for _, s := range catalogue.Selectors(r.Expr) {
			checked++
			if fault := c.Misused(s, recorded); fault != "" {
				t.Errorf("%s%s: %s", r.Record, r.Alert, fault)
			}
		}
	}
	if checked < 40 {
		t.Errorf("only %d selectors found", checked)
	}
}
