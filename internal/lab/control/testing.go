package control

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/cyphonic/cyphonic/internal/lab/overlay"
)

// ForTest starts a control plane for a test and removes it afterwards. The programs are those in CYPHONIC_BIN, or are built. The logs of a test that fails are kept
// below build/evidence, three folders above the test's.
func ForTest(t *testing.T, o Options) *Plane {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("CYPHONIC_UNPRIVILEGED") == "1" {
			t.Skip("needs root: network namespaces")
		}
		t.Fatal("needs root: network namespaces")
	}
	ctx, cancel := context.WithTimeout(t.Context(), testStart)
	defer cancel()
	o.Programs = os.Getenv("CYPHONIC_BIN")
	if o.Programs == "" {
		o.Programs = t.TempDir()
		if _, err := overlay.BuildPrograms(ctx, o.Programs); err != nil {
			t.Fatal(err)
		}
	}
	p, err := Start(ctx, o)
	t.Cleanup(func() {
		if t.Failed() && p.lab != nil {
			t.Logf("logs: %s", keepLogs(t, p))
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// testStart bounds building and starting.
const testStart = 3 * time.Minute

func keepLogs(t *testing.T, p *Plane) string {
	directory, err := filepath.Abs(filepath.Join("../../../build/evidence", t.Name()))
	if err == nil {
		err = os.RemoveAll(directory)
	}
	if err == nil {
		err = os.CopyFS(directory, os.DirFS(filepath.Join(p.Directory(), "logs")))
	}
	if err != nil {
		return "not kept: " + err.Error()
	}
	return directory
}
