package conformance

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/cyphonic/cyphonic/internal/lab/control"
	"github.com/cyphonic/cyphonic/internal/lab/overlay"
)

// start brings up one manager with an embedded etcd.
func start(t *testing.T) *control.Plane {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("CYPHONIC_UNPRIVILEGED") == "1" {
			t.Skip("needs root: network namespaces")
		}
		t.Fatal("needs root: network namespaces")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	built := os.Getenv("CYPHONIC_BIN")
	if built == "" {
		built = t.TempDir()
		if _, err := overlay.BuildPrograms(ctx, built); err != nil {
			t.Fatal(err)
		}
	}
	p, err := control.Start(ctx, control.Options{Programs: built, Managers: 1})
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}
