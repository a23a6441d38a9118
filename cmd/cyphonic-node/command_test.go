package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cyphonic/cyphonic/internal/program"
)

// try runs one command line.
func try(args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = execute(context.Background(), args, &out, &errs)
	return code, out.String(), errs.String()
}

func TestExitCodesAndMessages(t *testing.T) {
	dir := t.TempDir()
	config := filepath.Join(dir, "config.yaml")
	if err := os.WriteFile(config, []byte("name: x\nauthenticationService: as.example:7441\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	broken := filepath.Join(dir, "broken.yaml")
	if err := os.WriteFile(broken, []byte("nmae: x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		args []string
		code int
		want string // in stdout or stderr
	}{
		"help":                   {[]string{"--help"}, program.ExitOK, "Exit codes"},
		"version":                {[]string{"version"}, program.ExitOK, "go1."},
		"unknown verb":           {[]string{"fly"}, program.ExitUsage, "fly"},
		"no verb":                {nil, program.ExitUsage, "name a verb"},
		"config without a verb":  {[]string{"config"}, program.ExitUsage, "name a verb"},
		"unknown flag":           {[]string{"run", "--fast"}, program.ExitUsage, "--fast"},
		"no configuration":       {[]string{"run", "--config", filepath.Join(dir, "none.yaml")}, program.ExitUsage, "none.yaml"},
		"unknown field":          {[]string{"config", "validate", "--config", broken}, program.ExitUsage, "nmae"},
		"no trust":               {[]string{"config", "validate", "--config", config}, program.ExitUsage, "trust.json"},
		"log level":              {[]string{"run", "--config", config, "--log-level", "loud"}, program.ExitUsage, "--log-level"},
		"status, not running":    {[]string{"status", "--socket", filepath.Join(dir, "none.sock")}, program.ExitFailure, "not running"},
		"status, unknown output": {[]string{"status", "-o", "xml"}, program.ExitUsage, "--output"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			code, stdout, stderr := try(test.args...)
			if code != test.code || !strings.Contains(stdout+stderr, test.want) {
				t.Errorf("exit code %d, output %q; want %d and %q", code, stdout+stderr, test.code, test.want)
			}
		})
	}
}
