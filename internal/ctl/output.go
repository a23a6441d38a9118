package ctl

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// Formats of -o. A verb takes these five unless it has others as its annotation formatsKey, joined by commas.
const (
	standardFormats = "table,wide,json,yaml,name"
	queryFormats    = standardFormats + ",jsonpath=…,custom-columns=…"
	valueFormats    = "json,yaml"
	formatsKey      = "formats"
)

// formats is the annotation of a verb that takes these formats.
func formats(list string) map[string]string { return map[string]string{formatsKey: list} }

// begin checks the flags that all verbs have.
func (c *command) begin(cmd *cobra.Command, _ []string) error {
	accepted, ok := cmd.Annotations[formatsKey]
	if !ok {
		accepted = standardFormats
	}
	if err := c.splitOutput(accepted); err != nil {
		return err
	}
	if !slices.Contains([]string{"auto", "always", "never"}, c.color) {
		return fmt.Errorf("--color %q is not auto, always or never", c.color)
	}
	return nil
}

// noteStart lets every verb below note that its arguments were good: cobra checks some flags only after begin.
func (c *command) noteStart(cmd *cobra.Command) {
	if check := cmd.Args; check != nil && !cmd.HasSubCommands() {
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			if check(cmd, args) == nil {
				return nil
			}
			return fmt.Errorf("wrong arguments: write %s", cmd.UseLine())
		}
	}
	if run := cmd.RunE; run != nil {
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			c.started = true
			return run(cmd, args)
		}
	}
	for _, below := range cmd.Commands() {
		c.noteStart(below)
	}
}

func (c *command) splitOutput(accepted string) error {
	if c.output == "" {
		return nil
	}
	name, template, templated := strings.Cut(c.output, "=")
	for format := range strings.SplitSeq(accepted, ",") {
		if want, ok := strings.CutSuffix(format, "=…"); ok && want == name {
			if template == "" {
				return fmt.Errorf("-o %s needs a template: write %s=…, see `cyphonicctl get --help`", name, name)
			}
			c.output, c.template = name, template
			return nil
		}
		if format == name && !templated {
			return nil
		}
	}
	if accepted == "" {
		return fmt.Errorf("this verb has one output format: -o %s cannot be used", c.output)
	}
	return fmt.Errorf("unknown output format %q: use %s", c.output, enumeration(accepted))
}

// enumeration is "a, b or c" of "a,b,c".
func enumeration(list string) string {
	parts := strings.Split(list, ",")
	last := len(parts) - 1
	if last == 0 {
		return parts[0]
	}
	return strings.Join(parts[:last], ", ") + " or " + parts[last]
}
