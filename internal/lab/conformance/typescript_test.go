package conformance

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/cyphonic/cyphonic/internal/lab/control"
)

// The types are generated anew each time: a specification that a generator cannot read fails here.
func TestAGeneratedTypeScriptClientWorks(t *testing.T) {
	p := control.ForTest(t, control.Options{Managers: 1})
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	for _, step := range [][]string{
		{"npm", "ci", "--no-audit", "--no-fund"},
		{"npm", "run", "generate"},
		{"npm", "run", "compile"},
	} {
		command := exec.CommandContext(ctx, step[0], step[1:]...)
		command.Dir = "typescript"
		if out, err := command.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", step, err, out)
		}
	}
	authority := filepath.Join(t.TempDir(), "ca.crt")
	if err := os.WriteFile(authority, p.TrustedCertificates(), 0o600); err != nil {
		t.Fatal(err)
	}
	script, err := filepath.Abs("typescript/build/client.js")
	if err != nil {
		t.Fatal(err)
	}
	out, err := p.Run(ctx, "env", "NODE_EXTRA_CA_CERTS="+authority, "SERVER="+p.ServerURL(0), "TOKEN="+p.Token(), "node", script)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}
