package main

import (
	"os/exec"
	"strings"
	"testing"
)

// No process of the cloud can hold an end-to-end key: the code that makes and
// uses them is not in the program.
func TestTheCloudHasNoTunnelCode(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	const module = "github.com/cyphonic/cyphonic/"
	found := false
	for path := range strings.Lines(string(out)) {
		path = strings.TrimSpace(path)
		found = found || path == module+"services/trs"
		for _, secret := range []string{"internal/tunnel", "internal/dataplane", "internal/endpoint"} {
			if path == module+secret {
				t.Errorf("cyphonicd contains %s", secret)
			}
		}
	}
	if !found {
		t.Fatal("the TRS is not among the packages: the list is not that of cyphonicd")
	}
}
