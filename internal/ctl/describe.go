package ctl

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/cyphonic/cyphonic/api"
)

func (c *command) describeCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "describe KIND [NAME…] | KIND/NAME…",
		Short:             "Show everything about resources, for people",
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: completeKinds,
		RunE: func(cmd *cobra.Command, args []string) error {
			if c.output != "" {
				return &usageError{errors.New("describe has one format; use get for others")}
			}
			targets, err := targetsOf(args)
			if err != nil {
				return err
			}
			manager, err := c.connect()
			if err != nil {
				return err
			}
			defer manager.Close()
			var objects []api.Object
			for _, t := range targets {
				if t.name == "" {
					list, err := manager.List(cmd.Context(), t.kind)
					if err != nil {
						return err
					}
					objects = append(objects, list.Items...)
					continue
				}
				object, err := manager.Get(cmd.Context(), t.kind, t.name)
				if err != nil {
					return fmt.Errorf("%s: %w", t, err)
				}
				objects = append(objects, object)
			}
			return describeAll(c.Stdout, objects, c.Now())
		},
	}
}

func describeAll(w io.Writer, objects []api.Object, now time.Time) error {
	for i, object := range objects {
		if i > 0 {
			fmt.Fprintln(w)
		}
		text, err := describe(object, now)
		if err != nil {
			return err
		}
		if _, err := io.WriteString(w, text); err != nil {
			return err
		}
	}
	return nil
}

func describe(o api.Object, now time.Time) (string, error) {
	var text strings.Builder
	meta := o.Meta()
	line := func(label, value string) { fmt.Fprintf(&text, "%-13s%s\n", label+":", orDash(value)) }
	line("Name", meta.Name)
	line("Kind", o.KindName())
	line("Labels", labelsText(meta.Labels))
	line("Annotations", labelsText(meta.Annotations))
	line("UID", meta.Uid)
	line("Version", fmt.Sprintf("%s (generation %d)", meta.ResourceVersion, meta.Generation))
	line("Created", sinceText(meta.CreationTimestamp, now))
	line("Updated", sinceText(meta.UpdateTimestamp, now))
	if err := section(&text, "Spec", o.SpecPart(), nil); err != nil {
		return "", err
	}
	conditions := conditionsOf(o)
	if err := section(&text, "Status", o.StatusPart(), []string{"conditions"}); err != nil {
		return "", err
	}
	if len(conditions) > 0 {
		text.WriteString("Conditions:\n")
	}
	for _, condition := range conditions {
		fmt.Fprintf(&text, "  %s=%s", condition.Type, condition.Status)
		if condition.Reason != "" || condition.Message != "" {
			fmt.Fprintf(&text, " %s", strings.TrimSpace(condition.Reason+" "+condition.Message))
		}
		fmt.Fprintf(&text, " (since %s)\n", orDash(timeText(condition.LastTransitionTime)))
	}
	return text.String(), nil
}

// section prints a part of a resource as indented YAML without the fields that are left out.
func section(text *strings.Builder, heading string, part any, without []string) error {
	encoded, err := yaml.Marshal(part)
	if err != nil {
		return err
	}
	fields := map[string]any{}
	if err := yaml.Unmarshal(encoded, &fields); err != nil {
		return err
	}
	for _, name := range without {
		delete(fields, name)
	}
	if len(fields) == 0 {
		fmt.Fprintf(text, "%-13s-\n", heading+":")
		return nil
	}
	if encoded, err = yaml.Marshal(fields); err != nil {
		return err
	}
	fmt.Fprintf(text, "%s:\n", heading)
	for line := range strings.Lines(string(encoded)) {
		text.WriteString("  " + line)
	}
	return nil
}

func conditionsOf(o api.Object) []api.Condition {
	switch o := o.(type) {
	case *api.Network:
		return o.Status.Conditions
	case *api.Node:
		return o.Status.Conditions
	case *api.Adapter:
		return o.Status.Conditions
	case *api.GeneralNode:
		return o.Status.Conditions
	case *api.AccessPolicy:
		return o.Status.Conditions
	case *api.CloudService:
		return o.Status.Conditions
	}
	return nil
}

func sinceText(then, now time.Time) string {
	if then.IsZero() {
		return ""
	}
	return fmt.Sprintf("%s (%s ago)", timeText(then), age(then, now))
}
