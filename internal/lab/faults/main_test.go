package faults

import (
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/cyphonic/cyphonic/internal/lab/control"
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
	return control.ForTest(t, control.Options{Members: 3, Managers: 3})
}
