package ctl

import (
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/cyphonic/cyphonic/api"
)

func TestEveryVerbIsExplainedWithExamples(t *testing.T) {
	c := &command{Environment: OperatingSystem()}
	count := 0
	var visit func(*cobra.Command)
	visit = func(cmd *cobra.Command) {
		count++
		if cmd.Short == "" || cmd.Example == "" {
			t.Errorf("%s has no example or no description", cmd.CommandPath())
		}
		for line := range strings.Lines(cmd.Example) {
			if !strings.Contains(line, "cyphonicctl") {
				t.Errorf("%s: the example %q does not run cyphonicctl", cmd.CommandPath(), line)
			}
		}
		for _, below := range cmd.Commands() {
			visit(below)
		}
	}
	visit(c.root())
	if count < 30 {
		t.Errorf("only %d verbs found", count)
	}
}

func TestTheHelpHasEveryShortName(t *testing.T) {
	_, list, _ := strings.Cut(rootHelp, "short name (")
	list, _, _ = strings.Cut(list, ")")
	for _, kind := range api.Kinds() {
		if kind.Short != "" && !slices.Contains(strings.Split(list, ", "), kind.Short) {
			t.Errorf("%s: %q is not in %q", kind.Name, kind.Short, list)
		}
	}
}
