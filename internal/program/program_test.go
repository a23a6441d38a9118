package program

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

func TestExitCodes(t *testing.T) {
	boom := errors.New("boom")
	for name, tt := range map[string]struct {
		args []string
		code int
		want string
	}{
		"done":            {[]string{"work"}, ExitOK, ""},
		"failed":          {[]string{"fail"}, ExitFailure, "prog: boom\n"},
		"misused":         {[]string{"misuse"}, ExitUsage, "prog: boom\n"},
		"no verb":         {nil, ExitUsage, "name a verb"},
		"unknown verb":    {[]string{"fly"}, ExitUsage, "fly"},
		"unknown flag":    {[]string{"work", "--fast"}, ExitUsage, "--fast"},
		"unknown format":  {[]string{"log", "--log-format", "xml"}, ExitUsage, `--log-format "xml"`},
		"unknown level":   {[]string{"log", "--log-level", "loud"}, ExitUsage, `--log-level "loud"`},
		"structured logs": {[]string{"log", "--log-format", "json", "--log-level", "debug"}, ExitOK, `"msg":"hello"`},
		"version":         {[]string{"version"}, ExitOK, "prog "},
	} {
		var out bytes.Buffer
		var logging Logging
		root := NewRoot("prog", "short", "long", &out, &out)
		logging.AddFlags(root.PersistentFlags())
		for verb, result := range map[string]error{"work": nil, "fail": Fail(boom), "misuse": boom} {
			root.AddCommand(&cobra.Command{Use: verb, Args: cobra.NoArgs, RunE: func(*cobra.Command, []string) error { return result }})
		}
		root.AddCommand(&cobra.Command{Use: "log", RunE: func(*cobra.Command, []string) error {
			log, err := logging.New(&out)
			if err == nil {
				log.Debug("hello")
			}
			return err
		}})
		if code := Execute(context.Background(), root, tt.args); code != tt.code || !strings.Contains(out.String(), tt.want) {
			t.Errorf("%s: exit code %d, output %q; want %d and %q", name, code, out.String(), tt.code, tt.want)
		}
	}
}

func TestFailKeepsItsCause(t *testing.T) {
	if cause := context.Canceled; !errors.Is(Fail(cause), cause) {
		t.Error("the cause is lost")
	}
}
