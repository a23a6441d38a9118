package openapi

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"go.yaml.in/yaml/v3"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/openapi/bundle"
)

func TestDocumentIsCurrent(t *testing.T) {
	want, err := bundle.Bundle(os.DirFS("."), "openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(want, Document) {
		t.Error("openapi.gen.yaml is not what openapi.yaml and its files say: run go generate ./openapi")
	}
}

func TestSpecificationIsValidBothSplitAndBundled(t *testing.T) {
	loader := openapi3.NewLoader()
	loader.IsExternalRefsAllowed = true
	split, err := loader.LoadFromFile("openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := split.Validate(t.Context()); err != nil {
		t.Error(err)
	}
	bundled := load(t)
	if got, want := len(bundled.Paths.Map()), len(split.Paths.Map()); got != want || got == 0 {
		t.Errorf("the bundled document has %d paths, the split one %d", got, want)
	}
}

func TestSpecificationHasThePathsOfEveryKind(t *testing.T) {
	document := load(t)
	for _, kind := range api.Kinds() {
		for _, path := range []string{"/api/v1/" + kind.Plural, "/api/v1/" + kind.Plural + "/{name}", "/api/v1/" + kind.Plural + "/{name}/status"} {
			if kind.ReadOnly && strings.HasSuffix(path, "/status") {
				continue
			}
			if document.Paths.Value(path) == nil {
				t.Errorf("there is no path %s", path)
			}
		}
		if document.Components.Schemas[kind.Name] == nil || document.Components.Schemas[kind.Name+"List"] == nil {
			t.Errorf("there are no schemas %s and %sList", kind.Name, kind.Name)
		}
	}
}

// The decoder is strict; the specification says so.
func TestSchemasOfResourcesAllowNoFurtherFields(t *testing.T) {
	document := load(t)
	for name, schema := range document.Components.Schemas {
		answer := slices.Contains([]string{"Problem", "FieldError", "WatchEvent", "Patch"}, name)
		further := schema.Value.AdditionalProperties.Has
		if schema.Value.Type.Is("object") && !answer && (further == nil || *further) {
			t.Errorf("schema %s allows further fields", name)
		}
	}
}

// Only reading needs no token where it says so: everything that writes does.
func TestOperationsThatWriteNeedAToken(t *testing.T) {
	for path, item := range load(t).Paths.Map() {
		for method, operation := range item.Operations() {
			open := operation.Security != nil && len(*operation.Security) == 0
			if access, _ := operation.Extensions["x-cyphonic-access"].(string); !slices.Contains([]string{"public", "authenticated", "adapter", "resource"}, access) || open != (access == "public") {
				t.Errorf("%s %s: x-cyphonic-access is %q, security is %v", method, path, access, operation.Security)
			}
			if open && (method != "GET" || strings.HasPrefix(path, "/api/")) {
				t.Errorf("%s %s needs no token", method, path)
			}
		}
	}
}

func TestExamplesFitTheSchemas(t *testing.T) {
	document := load(t)
	var names []string
	for _, folder := range []string{"", "access/", "bgp/"} {
		found, err := filepath.Glob("../manifests/examples/" + folder + "*.yaml")
		if err != nil || len(found) == 0 {
			t.Fatalf("no examples in %q: %v", folder, err)
		}
		names = append(names, found...)
	}
	for _, name := range names {
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		decoder := yaml.NewDecoder(bytes.NewReader(content))
		for {
			var value map[string]any
			if err := decoder.Decode(&value); err == io.EOF {
				break
			} else if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			kind, _ := value["kind"].(string)
			if err := document.Components.Schemas[kind].Value.VisitJSON(viaJSON(t, value)); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

func load(t *testing.T) *openapi3.T {
	t.Helper()
	document, err := openapi3.NewLoader().LoadFromData(Document)
	if err != nil {
		t.Fatal(err)
	}
	if err := document.Validate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return document
}

func viaJSON(t *testing.T, value any) any {
	t.Helper()
	text, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	var plain any
	if err := json.Unmarshal(text, &plain); err != nil {
		t.Fatal(err)
	}
	return plain
}
