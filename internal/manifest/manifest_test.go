package manifest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

const nodeText = "{apiVersion: cyphonic/v1, kind: Node, metadata: {name: %s}, spec: {network: factory}}\n"

func node(name string) string { return fmt.Sprintf(nodeText, name) }

func write(t *testing.T, folder string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(folder, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func names(resources []Resource) string {
	var all []string
	for _, r := range resources {
		all = append(all, r.Object.Meta().Name)
	}
	return strings.Join(all, " ")
}

func TestReadTakesFilesFoldersAndStandardInput(t *testing.T) {
	folder := t.TempDir()
	write(t, folder, map[string]string{
		"b.yml": node("b1") + "---\n# nothing\n---\n" + node("b2"), "a.yaml": node("a"), "c.json": `{"apiVersion":"cyphonic/v1","kind":"Node","metadata":{"name":"c"},"spec":{"network":"f"}}`,
		"readme.md": "no manifest", "below/d.yaml": node("d"), ".hidden/e.yaml": node("e"), ".f.yaml": node("f"),
	})
	for _, row := range []struct {
		name      string
		paths     []string
		recursive bool
		want      string
	}{
		{"a folder in the order of names, without what is below", []string{folder}, false, "a b1 b2 c"},
		{"and with it, but not what is hidden", []string{folder}, true, "a b1 b2 below-d c"},
		{"files as they come", []string{filepath.Join(folder, "c.json"), filepath.Join(folder, "a.yaml")}, false, "c a"},
		{"standard input among them", []string{"-", filepath.Join(folder, "a.yaml")}, false, "in a"},
		{"a hidden file that is named", []string{filepath.Join(folder, ".f.yaml")}, false, "f"},
	} {
		t.Run(row.name, func(t *testing.T) {
			resources, err := Read(row.paths, row.recursive, strings.NewReader(node("in")))
			if want := strings.Replace(row.want, "below-", "", 1); err != nil || names(resources) != want {
				t.Errorf("got %q, %v, want %q", names(resources), err, want)
			}
		})
	}
	for name, paths := range map[string][]string{"missing": {filepath.Join(folder, "nothing")}, "no manifests": {filepath.Join(folder, "below", "..", "empty")}, "only comments": {"-"}} {
		if name == "no manifests" {
			write(t, folder, map[string]string{"empty/readme": ""})
		}
		_, err := Read(paths, false, strings.NewReader("# nothing\n"))
		var fault *FileError
		if err == nil || errors.As(err, &fault) {
			t.Errorf("%s: %v is no error about paths", name, err)
		}
	}
}

func TestSymbolicLinks(t *testing.T) {
	folder, outside := t.TempDir(), t.TempDir()
	write(t, outside, map[string]string{"secret.yaml": node("secret")})
	write(t, folder, map[string]string{"a.yaml": node("a")})
	if err := os.Symlink(filepath.Join(outside, "secret.yaml"), filepath.Join(folder, "b.yaml")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(folder, "folder")); err != nil {
		t.Fatal(err)
	}
	resources, err := Read([]string{folder}, true, nil)
	var fault *FileError
	if !errors.As(err, &fault) || fault.File != filepath.Join(folder, "b.yaml") || names(resources) != "a" {
		t.Errorf("a link out of the folder: %q, %v", names(resources), err)
	}
	resources, faults := ReadFS(os.DirFS(folder), ".")
	if len(faults) != 1 || !strings.Contains(faults[0].Error(), "b.yaml: is a symbolic link") || names(resources) != "a" {
		t.Errorf("a link in a file system: %q, %v", names(resources), faults)
	}
	if err := os.Remove(filepath.Join(folder, "b.yaml")); err != nil {
		t.Fatal(err)
	}
	write(t, folder, map[string]string{"real/c.yaml": node("c")})
	if err := os.Symlink("real/c.yaml", filepath.Join(folder, "c.yaml")); err != nil {
		t.Fatal(err)
	}
	if resources, err := Read([]string{folder}, false, nil); err != nil || names(resources) != "a c" {
		t.Errorf("a link that stays inside: %q, %v", names(resources), err)
	}
}

func TestReadFS(t *testing.T) {
	files := fstest.MapFS{
		"fleet/a.yaml": {Data: []byte(node("a"))}, "fleet/hall/b.yaml": {Data: []byte(node("b") + "---\n{kind: x}\n")}, "other/c.yaml": {Data: []byte(node("c"))},
		".github/workflow.yaml": {Data: []byte("on: push")}, "fleet/link.yaml": {Data: []byte("../other/c.yaml"), Mode: fs.ModeSymlink},
	}
	resources, faults := ReadFS(files, "fleet")
	if names(resources) != "a b" || resources[1].Source.File != "fleet/hall/b.yaml" {
		t.Errorf("%+v", resources)
	}
	var texts []string
	for _, fault := range faults {
		texts = append(texts, fault.Error())
	}
	want := []string{
		"fleet/hall/b.yaml:3: document 2: /apiVersion: is missing, must be \"cyphonic/v1\"", "fleet/hall/b.yaml:3: document 2: /kind: ",
		"fleet/link.yaml: is a symbolic link, which is not followed",
	}
	if len(texts) != len(want) {
		t.Fatalf("got %q, want %q", texts, want)
	}
	for i := range want {
		if !strings.HasPrefix(texts[i], want[i]) {
			t.Errorf("got %q, want %q", texts[i], want[i])
		}
	}
	if resources, faults := ReadFS(files, "."); names(resources) != "a b c" || len(faults) != 3 {
		t.Errorf("%q, %v", names(resources), faults)
	}
	if _, faults := ReadFS(files, "nowhere"); len(faults) != 1 {
		t.Errorf("%v", faults)
	}
	if resources, faults := ReadFS(fstest.MapFS{"readme": {}}, "."); len(resources)+len(faults) != 0 {
		t.Errorf("%v %v", resources, faults)
	}
}

// What an apply sends has the fields that the manifest has, in canonical form, and no default.
func TestDocumentHasTheGivenFieldsOnly(t *testing.T) {
	text := `
apiVersion: cyphonic/v1
kind: GeneralNode
metadata: {name: cam1, labels: {role: camera}, annotations: null, resourceVersion: "7", uid: u, generation: 3, creationTimestamp: 2026-01-02T03:04:05Z, managedFields: [],
  finalizers: [example.org/keep, cyphonic/dependents]}
spec: {network: factory, adapter: g, mac: "02:00:00:00:0A:01", disabled: false, virtualIPv4: 100.96.0.9, fqdn: Cam1.Factory.Example.}
status: {phase: Up}
`
	resources, err := Read([]string{"-"}, false, strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	var got any
	if err := json.Unmarshal(resources[0].Document, &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"apiVersion": "cyphonic/v1", "kind": "GeneralNode",
		"metadata": map[string]any{"name": "cam1", "labels": map[string]any{"role": "camera"}, "resourceVersion": "7", "uid": "u", "finalizers": []any{"example.org/keep"}},
		"spec": map[string]any{
			"network": "factory", "adapter": "g", "mac": "02:00:00:00:0a:01", "disabled": false, "virtualIPv4": "100.96.0.9", "fqdn": "cam1.factory.example",
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if line := resources[0].Source.Line("/spec/mac"); line != 6 {
		t.Errorf("/spec/mac stands in line %d", line)
	}
	if line := resources[0].Source.Line("/spec/authentication/method"); line != 6 {
		t.Errorf("what is not there is looked for in line %d", line)
	}
}

func TestBounds(t *testing.T) {
	many := strings.Repeat("---\n"+node("a"), MaxResources+1)
	for _, row := range []struct{ name, text, want string }{
		{"a long file", strings.Repeat("#", MaxFile+1), "is longer than 16777216 bytes"},
		{"many resources", many, "there are more than 10000 resources"},
		{"many faults", "kind: List\nitems:\n" + strings.Repeat("- {}\n", 3*MaxFaults), "more faults are left out"},
		{"aliases that multiply", "a: &a [" + strings.Repeat("x,", 99) + "]\nb: &b [" + strings.Repeat("*a,", 99) + "]\nc: [" + strings.Repeat("*b,", 99) + "]\n", "aliases counted"},
		{"aliases of nothing", "a: &a []\nb: &b [" + strings.Repeat("*a,", 999) + "]\nc: &c [" + strings.Repeat("*b,", 999) + "]\nd: [" + strings.Repeat("*c,", 99) + "]\n", "aliases counted"},
		{"an alias of itself", "a: &a [*a]", "nested too deeply"},
		{"depth", strings.Repeat("[", 100) + strings.Repeat("]", 100), "nested too deeply"},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, err := Read([]string{"-"}, false, strings.NewReader(row.text))
			var fault *FileError
			if !errors.As(err, &fault) || !strings.Contains(err.Error(), row.want) {
				t.Errorf("%.200v, want %q", err, row.want)
			}
			if n := strings.Count(err.Error(), "\n"); n > MaxFaults {
				t.Errorf("%d faults", n)
			}
		})
	}
}

func TestManyFilesAreRefused(t *testing.T) {
	files := fstest.MapFS{}
	for i := range MaxFiles + 2 {
		files[fmt.Sprintf("%05d.yaml", i)] = &fstest.MapFile{}
	}
	if _, faults := ReadFS(files, "."); len(faults) != 1 || !strings.Contains(faults[0].Detail, "more than 10000 files") {
		t.Errorf("%v", faults)
	}
}

func TestCheck(t *testing.T) {
	text := `
apiVersion: cyphonic/v1
kind: Adapter
metadata: {name: g}
spec: {network: other}
---
{apiVersion: cyphonic/v1, kind: GeneralNode, metadata: {name: c}, spec: {network: factory, adapter: g, mac: "02:00:00:00:00:01"}}
`
	_, err := Read([]string{"-"}, false, strings.NewReader(text))
	want := `-:7: document 2, generalnode/c: /spec/adapter: is "g", which is in network other (-:5: document 1), not in factory: choose an adapter of the same network`
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	resources, _ := Read([]string{"-"}, false, strings.NewReader(node("n")))
	if faults := CheckComplete(resources); len(faults) != 1 || faults[0].Pointer != "/spec/network" {
		t.Errorf("%v", faults)
	}
}

// Whatever the bytes: faults or valid resources, each of which knows where it stands and can be read again from what an apply sends.
func FuzzParse(f *testing.F) {
	seeds, err := filepath.Glob("../../manifests/examples/*.yaml")
	if err != nil || len(seeds) == 0 {
		f.Fatalf("no examples: %v", err)
	}
	for _, name := range seeds {
		content, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(content)
	}
	for _, text := range []string{"a: &a [*a]", "? {a: b}\n: c", "<<: {a: b}", "!!binary aGVsbG8=", "--- !!set {a, b}", "a: 1e400", "a: 0x7fffffffffffffff1", "\"\\ud800\""} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		resources, _ := parse("file", content)
		Check(resources)
		for _, r := range resources {
			if faults := r.Object.Validate(); faults != nil {
				t.Error(faults)
			}
			if r.Source.lines[""] == 0 || r.Source.Document == 0 {
				t.Errorf("%s does not know where it stands: %+v", r.Name(), r.Source)
			}
			again, faults := parse("again", r.Document)
			if len(again) != 1 || again[0].Name() != r.Name() || string(again[0].Document) != string(r.Document) {
				t.Errorf("%s: %d resources, %v", r.Document, len(again), faults)
			}
		}
	})
}
