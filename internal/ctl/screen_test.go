package ctl_test

import (
	"strings"
	"testing"

	"github.com/cyphonic/cyphonic/internal/ctl"
)

// Whoever may write a resource must not write on the terminal of whoever reads it.
func TestWhatOthersWroteDoesNotActOnTheTerminal(t *testing.T) {
	o := startedOperator(t)
	manifest := o.file(`
apiVersion: cyphonic/v1
kind: CloudService
metadata:
  name: evil
  annotations:
    note: "\e]0;owned\a\e[2J\u009b2J\e[8mhidden\rb"
spec: {service: trs, ipv4: 192.0.2.1}
`)
	o.run(0, "yes\n", "apply", "-f", manifest)
	for _, args := range [][]string{
		{"get", "cs/evil", "-o", "jsonpath={.metadata.annotations.note}"},
		{"get", "cs/evil", "-o", "custom-columns=NOTE:.metadata.annotations.note"},
		{"get", "cs/evil", "-o", "json"},
		{"get", "cs/evil", "-o", "yaml"},
		{"describe", "cs/evil"},
		{"diff", "-f", o.file("apiVersion: cyphonic/v1\nkind: CloudService\nmetadata: {name: evil}\nspec: {service: trs, ipv4: 192.0.2.2}\n")},
	} {
		want := 0
		if args[0] == "diff" {
			want = 1
		}
		out, errors := o.run(want, "", args...)
		if text := out + errors; strings.ContainsAny(text, "\x1b\a\r\u009b") {
			t.Errorf("%q writes control sequences: %q", args, text)
		}
	}
	var raw strings.Builder
	env := environment(&raw)
	if code := ctl.Run(t.Context(), []string{"--config", o.config, "get", "cs/evil", "-o", "jsonpath={.metadata.annotations.note}"}, env); code != 0 || !strings.Contains(raw.String(), "\x1b]0;owned\a") {
		t.Errorf("%d: a pipe does not get what was written: %q", code, raw.String())
	}
}
