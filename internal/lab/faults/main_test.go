package faults

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/cyphonic/cyphonic/internal/lab/control"
	"github.com/cyphonic/cyphonic/internal/lab/overlay"
)

// faultSeconds is how long faults go on; CYPHONIC_FAULT_SECONDS makes it longer.
func faultSeconds(t *testing.T) time.Duration {
	t.Helper()
	text := os.Getenv("CYPHONIC_FAULT_SECONDS")
	if text == "" {
		return 25 * time.Second
	}
	seconds, err := strconv.Atoi(text)
	if err != nil || seconds < 1 {
		t.Fatalf("CYPHONIC_FAULT_SECONDS is %q, must be a number of seconds", text)
	}
	return time.Duration(seconds) * time.Second
}

// start brings up three managers on three etcd members.
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
	built, err := programs(ctx, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	p, err := control.Start(ctx, control.Options{Programs: built, Members: 3, Managers: 3})
	t.Cleanup(func() {
		if t.Failed() && p.Lab() != nil {
			keep(t, p)
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

// keep copies the logs of a failed run to build/evidence at the top of the module.
func keep(t *testing.T, p *control.Plane) {
	directory, err := filepath.Abs(filepath.Join("../../../build/evidence", t.Name()))
	if err != nil {
		t.Error(err)
		return
	}
	if err := os.RemoveAll(directory); err != nil {
		t.Error(err)
	}
	fmt.Println("logs:", directory, os.CopyFS(directory, os.DirFS(filepath.Join(p.Directory(), "logs"))))
}

func programs(ctx context.Context, directory string) (string, error) {
	if built := os.Getenv("CYPHONIC_BIN"); built != "" {
		return built, nil
	}
	_, err := overlay.BuildPrograms(ctx, directory)
	return directory, err
}
