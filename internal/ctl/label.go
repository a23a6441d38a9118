package ctl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/api/client"
)

type labelFlags struct {
	selection
	all, overwrite, dryRun bool
}

func (c *command) labelCommand() *cobra.Command {
	return c.metadataCommand("label", "labels", `  cyphonicctl label node viewer role=viewer
  cyphonicctl label gn cam1 cam2 site=hall-2 --overwrite
  cyphonicctl label gn -l site=hall-1 site-
  cyphonicctl label gn --all building=7 --dry-run`)
}

func (c *command) annotateCommand() *cobra.Command {
	return c.metadataCommand("annotate", "annotations", `  cyphonicctl annotate gn cam1 inventory=4711
  cyphonicctl annotate node/viewer 'note=on loan until May'
  cyphonicctl annotate network/factory cyphonic/prune=disabled
  cyphonicctl annotate gn --all note-`)
}

// metadataCommand is label or annotate; what is the field of the metadata.
func (c *command) metadataCommand(verb, what, example string) *cobra.Command {
	var flags labelFlags
	cmd := &cobra.Command{
		Use:   verb + " KIND NAME… | KIND/NAME… | KIND -l SELECTOR | KIND --all KEY=VALUE… KEY-…",
		Short: fmt.Sprintf("Set and remove %s of resources", what),
		Long: fmt.Sprintf(`Set (KEY=VALUE) and remove (KEY-) %s of resources. A value that is there already is changed with --overwrite only.
A resource that somebody else changes at the same time is read again.`, what),
		Example:           example,
		Args:              cobra.MinimumNArgs(2),
		Annotations:       formats("table,json,yaml,name"),
		ValidArgsFunction: c.completeTargets,
		RunE: func(cmd *cobra.Command, args []string) error {
			change, err := parseMetadata(verb, what, args, flags)
			if err != nil {
				return err
			}
			return c.withManager(func(manager *client.Client) error { return c.changeMetadata(cmd.Context(), manager, change) })
		},
	}
	flags.add(cmd)
	cmd.Flags().BoolVar(&flags.all, "all", false, "all resources of the kind")
	cmd.Flags().BoolVar(&flags.overwrite, "overwrite", false, "change values that are there already")
	cmd.Flags().BoolVar(&flags.dryRun, "dry-run", false, "do everything but write")
	return cmd
}

// metadataChange is what label or annotate does to each resource.
type metadataChange struct {
	verb    string // label or annotate
	what    string // labels or annotations
	targets []target
	values  map[string]*string // nil: remove
	flags   labelFlags
}

func parseMetadata(verb, what string, args []string, flags labelFlags) (metadataChange, error) {
	m := metadataChange{verb: verb, what: what, values: map[string]*string{}, flags: flags}
	words := slices.IndexFunc(args, isAssignment)
	if words < 0 {
		return m, &usageError{fmt.Errorf("say which %s to set or to remove: KEY=VALUE or KEY-", what)}
	}
	if words == 0 {
		return m, &usageError{errors.New("say first which resources: KIND NAME or KIND/NAME")}
	}
	for _, arg := range args[words:] {
		key, value, set := strings.Cut(arg, "=")
		if !set {
			var removed bool
			if key, removed = strings.CutSuffix(arg, "-"); !removed {
				return m, &usageError{fmt.Errorf("%q is neither KEY=VALUE nor KEY-", arg)}
			}
		}
		if _, twice := m.values[key]; twice || key == "" {
			return m, &usageError{fmt.Errorf("%q: the key is missing or given twice", arg)}
		}
		m.values[key] = nil
		if set {
			m.values[key] = &value
		}
	}
	var err error
	if m.targets, err = targetsOf(args[:words]); err != nil {
		return m, err
	}
	if err := flags.check(m.targets); err != nil {
		return m, err
	}
	selecting := flags.all || flags.labels != "" || flags.fields != ""
	if named := m.targets[0].name != ""; named == selecting {
		return m, &usageError{errors.New("name resources, or choose them with --selector, --field-selector or --all")}
	}
	return m, nil
}

// isAssignment tells KEY=VALUE and KEY- from names, which have no = and do not end in a hyphen.
func isAssignment(arg string) bool {
	return strings.Contains(arg, "=") || strings.HasSuffix(arg, "-")
}

func (c *command) changeMetadata(ctx context.Context, manager *client.Client, m metadataChange) error {
	var (
		targets []target
		faults  []error
	)
	for _, t := range m.targets {
		if t.name != "" {
			targets = append(targets, t)
			continue
		}
		list, err := manager.List(ctx, t.kind, client.ListOptions{Labels: m.flags.labels, Fields: m.flags.fields})
		if err != nil {
			return err
		}
		if len(list.Items) == 0 {
			fmt.Fprintf(c.Stderr, "No %s.\n", t.kind.Plural)
		}
		for _, o := range list.Items {
			targets = append(targets, target{t.kind, o.Meta().Name})
		}
	}
	bar := c.newProgress("Changing")
	defer bar.done()
	for i, t := range targets {
		bar.at(i, len(targets))
		err := c.changeOne(ctx, manager, t, m, bar)
		if err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", t, err))
		}
		if hopeless(err) {
			break
		}
	}
	return errors.Join(faults...)
}

func (c *command) changeOne(ctx context.Context, manager *client.Client, t target, m metadataChange, bar *progress) error {
	for attempt := 0; ; attempt++ {
		live, err := manager.Get(ctx, t.kind, t.name)
		if err != nil {
			return err
		}
		patch, err := m.patch(live)
		if err != nil {
			return err
		}
		verdict, after := "unchanged", live
		if patch != nil {
			verdict = "configured"
			after, err = manager.Patch(ctx, t.kind, t.name, patch, client.WriteOptions{
				IfMatch: live.Meta().ResourceVersion, DryRun: m.flags.dryRun, FieldManager: fieldManagerOf(m.verb),
			})
		}
		if client.StatusOf(err) == http.StatusPreconditionFailed && attempt < maxConflicts {
			continue
		}
		if err != nil {
			return err
		}
		bar.done()
		if m.flags.dryRun {
			verdict += " (dry run)"
		}
		return c.printVerdict(after, verdict)
	}
}

// patch is the merge patch that makes the change, nil if there is nothing to change.
func (m metadataChange) patch(live api.Object) ([]byte, error) {
	have := live.Meta().Labels
	if m.what == "annotations" {
		have = live.Meta().Annotations
	}
	changed := map[string]*string{}
	for _, key := range slices.Sorted(maps.Keys(m.values)) {
		wanted := m.values[key]
		now, exists := have[key]
		switch {
		case wanted == nil && !exists, wanted != nil && exists && now == *wanted:
			continue
		case wanted != nil && exists && !m.flags.overwrite:
			return nil, &conflictError{fmt.Errorf("%s has the value %q already: change it with --overwrite", key, now)}
		}
		changed[key] = wanted
	}
	if len(changed) == 0 {
		return nil, nil
	}
	return json.Marshal(map[string]any{"metadata": map[string]any{m.what: changed}})
}

// fieldManagerOf names a verb among those who decide about fields.
func fieldManagerOf(verb string) string { return "cyphonicctl-" + verb }
