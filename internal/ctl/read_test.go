package ctl_test

import (
	"encoding/json"
	"errors"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/cyphonic/cyphonic/api"
)

// setstatus KIND NAME JSON writes fields of a status, as the system does.
func setstatus(ts *testscript.TestScript, _ bool, args []string) {
	manager, err := clientOf(ts.Getenv("CYPHONIC_CONFIG"))
	ts.Check(err)
	defer manager.Close()
	ctx := ts.Value(contextKey{}).(testing.TB).Context()
	kind, ok := api.KindNamed(args[0])
	if !ok {
		ts.Fatalf("no kind %s", args[0])
	}
	o, err := manager.Get(ctx, kind, args[1])
	ts.Check(err)
	ts.Check(json.Unmarshal([]byte(args[2]), o.StatusPart()))
	o.Meta().ResourceVersion = ""
	_, err = manager.PutStatus(ctx, o)
	ts.Check(err)
}

// eventually SECONDS COMMAND… runs a command until it prints something and succeeds.
func eventually(ts *testscript.TestScript, _ bool, args []string) {
	seconds, err := strconv.Atoi(args[0])
	ts.Check(err)
	for end := time.Now().Add(time.Duration(seconds) * time.Second); ; {
		err = ts.Exec(args[1], args[2:]...)
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		if err == nil && ts.ReadFile("stdout") != "" {
			return
		}
		if time.Now().After(end) {
			ts.Fatalf("%v printed nothing within %d s: %v\n%s", args[1:], seconds, err, ts.ReadFile("stderr"))
		}
	}
}
