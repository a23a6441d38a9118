package ctl

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/api/client"
	"github.com/cyphonic/cyphonic/internal/policy"
)

type describeFlags struct {
	selection
	managedFields, noEvents bool
}

func (c *command) describeCommand() *cobra.Command {
	var flags describeFlags
	cmd := &cobra.Command{
		Use:   "describe KIND [NAME…] | KIND/NAME…",
		Short: "Show everything about resources, for people",
		Long: `Show everything about resources, for people: specification, status, conditions, who decides about which fields, events, and for a device the access policies that
select it. It has one format; "get" has others.`,
		Example: `  cyphonicctl describe node viewer
  cyphonicctl describe gn -l site=hall-1
  cyphonicctl describe gitsource/fleet --show-managed-fields`,
		Args:              cobra.MinimumNArgs(1),
		Annotations:       formats(""),
		ValidArgsFunction: c.completeTargets,
		RunE: func(cmd *cobra.Command, args []string) error {
			targets, err := targetsOf(args)
			if err != nil {
				return err
			}
			if err := flags.check(targets); err != nil {
				return err
			}
			return c.withManager(func(manager *client.Client) error { return c.describeTargets(cmd.Context(), manager, targets, flags) })
		},
	}
	flags.add(cmd)
	cmd.Flags().BoolVar(&flags.managedFields, "show-managed-fields", false, "name every field under who decides about it")
	cmd.Flags().BoolVar(&flags.noEvents, "no-events", false, "leave events out")
	return cmd
}

func (c *command) describeTargets(ctx context.Context, manager *client.Client, targets []target, flags describeFlags) error {
	d := &describer{c: c, manager: manager, flags: flags, policies: map[string][]*api.AccessPolicy{}}
	for _, t := range targets {
		if t.name != "" {
			object, err := manager.Get(ctx, t.kind, t.name)
			if err != nil {
				return fmt.Errorf("%s: %w", t, err)
			}
			if err := d.describe(ctx, object); err != nil {
				return err
			}
			continue
		}
		found := 0
		err := manager.ListPages(ctx, t.kind, client.ListOptions{Labels: flags.labels, Fields: flags.fields}, func(page api.List) error {
			for _, object := range page.Items {
				if err := d.describe(ctx, object); err != nil {
					return err
				}
				found++
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("%s: %w", t.kind.Plural, err)
		}
		if found == 0 {
			fmt.Fprintf(c.Stderr, "No %s.\n", t.kind.Plural)
		}
	}
	return nil
}

// describer writes one resource after the other and remembers what all of them need.
type describer struct {
	c        *command
	manager  *client.Client
	flags    describeFlags
	count    int
	policies map[string][]*api.AccessPolicy // by network
}

func (d *describer) describe(ctx context.Context, o api.Object) error {
	var text strings.Builder
	if d.count++; d.count > 1 {
		text.WriteByte('\n')
	}
	without := []string{"conditions"}
	switch o := o.(type) {
	case *api.Event:
		d.head(&text, o)
		d.event(&text, o)
	case *api.Replica:
		if err := d.replica(ctx, &text, o); err != nil {
			return err
		}
	default:
		d.head(&text, o)
		if err := d.section(&text, "Spec", o.SpecPart(), nil); err != nil {
			return err
		}
		if d.observed(&text, o) {
			break
		}
		if err := d.section(&text, "Status", o.StatusPart(), without); err != nil {
			return err
		}
	}
	if err := d.conditions(&text, o); err != nil {
		return err
	}
	d.owners(&text, o.Meta().ManagedFields)
	if err := d.selecting(ctx, &text, o); err != nil {
		return err
	}
	if err := d.events(ctx, &text, o); err != nil {
		return err
	}
	_, err := fmt.Fprint(d.c.Stdout, text.String())
	return err
}

func (d *describer) heading(text string) string {
	return d.c.paint(d.c.Stdout, styleHeading, text)
}

func (d *describer) line(text *strings.Builder, label, value string) {
	fmt.Fprintf(text, "%s%s%s\n", d.heading(label+":"), strings.Repeat(" ", max(1, 12-len(label))), orDash(printable(value)))
}

func (d *describer) head(text *strings.Builder, o api.Object) {
	meta, now := o.Meta(), d.c.Now()
	d.line(text, "Name", meta.Name)
	d.line(text, "Kind", o.KindName())
	d.line(text, "Labels", labelsText(meta.Labels))
	d.line(text, "Annotations", labelsText(meta.Annotations))
	d.line(text, "UID", meta.Uid)
	d.line(text, "Version", fmt.Sprintf("%s (generation %d)", meta.ResourceVersion, meta.Generation))
	d.line(text, "Created", sinceText(meta.CreationTimestamp, now))
	d.line(text, "Updated", sinceText(meta.UpdateTimestamp, now))
	if !meta.DeletionTimestamp.IsZero() {
		d.line(text, "Deletion", fmt.Sprintf("since %s, waits for %s", timeText(meta.DeletionTimestamp), strings.Join(meta.Finalizers, ", ")))
	}
}

func (d *describer) event(text *strings.Builder, e *api.Event) {
	now := d.c.Now()
	d.line(text, "Regarding", referenceText(e.Regarding))
	d.line(text, "Type", string(e.Type))
	d.line(text, "Reason", e.Reason)
	d.line(text, "Message", e.Message)
	d.line(text, "Count", fmt.Sprint(max(1, e.Count)))
	d.line(text, "First", sinceText(e.FirstTimestamp, now))
	d.line(text, "Last", sinceText(e.LastTimestamp, now))
	d.line(text, "Source", e.Source)
}

// section prints a part of a resource as indented YAML without the fields that are left out.
func (d *describer) section(text *strings.Builder, heading string, part any, without []string) error {
	value, err := generic(part)
	if err != nil {
		return err
	}
	fields, _ := value.(map[string]any)
	for _, name := range without {
		delete(fields, name)
	}
	if len(fields) == 0 {
		d.line(text, heading, "")
		return nil
	}
	encoded, err := encodeYAML(fields)
	if err != nil {
		return err
	}
	fmt.Fprintf(text, "%s\n", d.heading(heading+":"))
	for line := range strings.Lines(string(encoded)) {
		text.WriteString("  " + line)
	}
	return nil
}

func (d *describer) conditions(text *strings.Builder, o api.Object) error {
	conditions, err := conditionsOf(o)
	if err != nil || len(conditions) == 0 {
		return err
	}
	fmt.Fprintf(text, "%s\n", d.heading("Conditions:"))
	for _, condition := range conditions {
		status := d.c.paint(d.c.Stdout, styleOfState(string(condition.Status)), string(condition.Status))
		fmt.Fprintf(text, "  %s=%s", condition.Type, status)
		if condition.Reason != "" || condition.Message != "" {
			fmt.Fprintf(text, " %s", printable(strings.TrimSpace(condition.Reason+" "+condition.Message)))
		}
		fmt.Fprintf(text, " (since %s)\n", orDash(timeText(condition.LastTransitionTime)))
	}
	return nil
}

// owners says who decides about how many fields, or about which.
func (d *describer) owners(text *strings.Builder, owners []api.ManagedFields) {
	if len(owners) == 0 {
		return
	}
	fmt.Fprintf(text, "%s\n", d.heading("Field managers:"))
	for _, owner := range owners {
		fmt.Fprintf(text, "  %s (%s, %s ago): ", printable(owner.Manager), owner.Operation, first(age(owner.Time, d.c.Now()), "unknown time"))
		if !d.flags.managedFields {
			fmt.Fprintln(text, count(int64(len(owner.Fields)), "field", "fields"))
			continue
		}
		text.WriteByte('\n')
		for _, field := range owner.Fields {
			fmt.Fprintf(text, "    %s\n", printable(field))
		}
	}
}

// selecting names the access policies that select a device.
func (d *describer) selecting(ctx context.Context, text *strings.Builder, o api.Object) error {
	subject, enabled := policy.SubjectOf(o)
	if subject.Network == "" {
		return nil
	}
	policies, err := d.policiesOf(ctx, subject.Network)
	if client.StatusOf(err) == http.StatusForbidden {
		d.line(text, "Policies", "not visible to this credential")
		return nil
	}
	if err != nil {
		return err
	}
	var lines []string
	for _, p := range policies {
		from, to := policy.Selects(p, subject)
		if from {
			lines = append(lines, fmt.Sprintf("  %s: may open %s to %s", p.Metadata.Name, first(rulesText(p.Spec.Rules), "nothing"), selectorsText(p.Spec.To)))
		}
		if to {
			lines = append(lines, fmt.Sprintf("  %s: %s may open %s to it", p.Metadata.Name, selectorsText(p.Spec.From), first(rulesText(p.Spec.Rules), "nothing")))
		}
	}
	if len(lines) == 0 {
		d.line(text, "Policies", "none selects it: it can reach nobody and nobody can reach it")
		return nil
	}
	fmt.Fprintf(text, "%s\n", d.heading("Policies:"))
	if !enabled {
		text.WriteString("  (of no effect while it is disabled)\n")
	}
	fmt.Fprintln(text, strings.Join(lines, "\n"))
	return nil
}

func (d *describer) policiesOf(ctx context.Context, network string) ([]*api.AccessPolicy, error) {
	if known, ok := d.policies[network]; ok {
		return known, nil
	}
	kind, _ := api.KindNamed("AccessPolicy")
	list, err := d.manager.List(ctx, kind, client.ListOptions{Fields: "spec.network=" + network})
	if err != nil {
		return nil, err
	}
	var policies []*api.AccessPolicy
	for _, o := range list.Items {
		policies = append(policies, o.(*api.AccessPolicy))
	}
	d.policies[network] = policies
	return policies, nil
}

// events shows the latest ones about the resource.
func (d *describer) events(ctx context.Context, text *strings.Builder, o api.Object) error {
	if d.flags.noEvents || o.KindName() == "Event" {
		return nil
	}
	list, err := d.manager.List(ctx, eventKind(), client.ListOptions{Fields: regarding(o.KindName(), o.Meta().Name)})
	if client.StatusOf(err) == http.StatusForbidden {
		d.line(text, "Events", "not visible to this credential")
		return nil
	}
	if err != nil {
		return fmt.Errorf("events: %w", err)
	}
	events := sortedEvents(list.Items)
	events = slices.DeleteFunc(events, func(e *api.Event) bool { return e.Regarding.Uid != "" && e.Regarding.Uid != o.Meta().Uid })
	if len(events) == 0 {
		d.line(text, "Events", "none")
		return nil
	}
	fmt.Fprintf(text, "%s\n", d.heading("Events:"))
	if more := len(events) - maxDescribed; more > 0 {
		fmt.Fprintf(text, "  (%d older ones: cyphonicctl events --for %s)\n", more, nameOf(o))
		events = events[more:]
	}
	for _, e := range events {
		kind := d.c.paint(d.c.Stdout, styleOfState(string(e.Type)), fmt.Sprintf("%-8s", e.Type))
		fmt.Fprintf(text, "  %-5s %s %s%s: %s\n", age(e.LastTimestamp, d.c.Now()), kind, printable(e.Reason), timesText(e.Count), printable(e.Message))
	}
	return nil
}

func timesText(count int64) string {
	if count < 2 {
		return ""
	}
	return fmt.Sprintf(" (%d times)", count)
}

// conditionsOf reads the conditions of any kind.
func conditionsOf(o api.Object) ([]api.Condition, error) {
	var status struct {
		Conditions []api.Condition `json:"conditions"`
	}
	if err := convert(o.StatusPart(), &status); err != nil {
		return nil, err
	}
	return status.Conditions, nil
}

func sinceText(then, now time.Time) string {
	if then.IsZero() {
		return ""
	}
	return fmt.Sprintf("%s (%s ago)", timeText(then), age(then, now))
}
