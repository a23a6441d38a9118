package ctl

import (
	"os"
	"path/filepath"
	"testing"
)

// Whatever the bytes: an error or valid resources, each of which knows where it stands.
func FuzzParseManifest(f *testing.F) {
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
		resources, err := parseManifest("file", content)
		if err != nil && exitCode(err) != exitInvalid {
			t.Errorf("a manifest that is wrong ends with exit code %d: %v", exitCode(err), err)
		}
		for _, r := range resources {
			if faults := r.object.Validate(); faults != nil {
				t.Error(faults)
			}
			if r.source.lines[""] == 0 || r.source.document == 0 {
				t.Errorf("%s does not know where it stands: %+v", r.name(), r.source)
			}
		}
		checkTogether(resources)
	})
}
