package ctl

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/spf13/cobra"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/api/client"
	"github.com/cyphonic/cyphonic/internal/jsonpath"
)

type getFlags struct {
	watch, watchOnly, noHeaders, managedFields, ignoreNotFound bool
	selection
	sortBy    string
	chunkSize int
}

// selection is which resources of a kind.
type selection struct{ labels, fields string }

func (s *selection) add(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&s.labels, "selector", "l", "", "only resources with these labels, as in 'a=b,c!=d,e in (f,g),h,!i'")
	cmd.Flags().StringVar(&s.fields, "field-selector", "", "only resources with these fields, as in 'spec.network=factory,status.phase!=Up'")
}

// check finds what the manager would refuse.
func (s selection) check(targets []target) error {
	if _, faults := api.ParseLabelSelector(s.labels); len(faults) > 0 {
		return &usageError{fmt.Errorf("--selector: %w", faults)}
	}
	for _, t := range targets {
		if _, faults := api.ParseFieldSelector(t.kind.Name, s.fields); len(faults) > 0 {
			return &usageError{fmt.Errorf("--field-selector: %s: %w", t.kind.Plural, faults)}
		}
	}
	return nil
}

// alone adds the name of one resource.
func (s selection) alone(name string) selection {
	if name == "" {
		return s
	}
	if s.fields != "" {
		s.fields += ","
	}
	s.fields += "metadata.name=" + name
	return s
}

func (c *command) getCommand() *cobra.Command {
	var flags getFlags
	cmd := &cobra.Command{
		Use:   "get KIND[,KIND…] [NAME…] | KIND/NAME… | all",
		Short: "Show resources",
		Long: `Show resources: those named, or all of one or several kinds; "all" is every kind but events and replicas.

-o jsonpath=… prints what a template finds, as kubectl does: {.items[*].metadata.name}, {range .items[*]}{.metadata.name}{"\n"}{end}, [?(@.type=="Ready")], [0], [-1:], ..name.
-o custom-columns=NAME:.metadata.name,… makes a table of such paths. --sort-by takes one of them too.`,
		Example: `  cyphonicctl get nodes
  cyphonicctl get all
  cyphonicctl get generalnodes -o wide --watch
  cyphonicctl get node/viewer -o yaml
  cyphonicctl get gn -l 'site in (hall-1,hall-2)' --field-selector status.phase!=Up -o name
  cyphonicctl get gn --sort-by .spec.mac -o custom-columns=NAME:.metadata.name,MAC:.spec.mac
  cyphonicctl get gn -o jsonpath='{range .items[*]}{.metadata.name}{"\t"}{.status.virtualIPv4}{"\n"}{end}'`,
		Args:              cobra.MinimumNArgs(1),
		Annotations:       formats(queryFormats),
		ValidArgsFunction: c.completeTargets,
		RunE: func(cmd *cobra.Command, args []string) error {
			targets, err := targetsOf(args)
			if err != nil {
				return err
			}
			if err := flags.checkGet(targets); err != nil {
				return err
			}
			return c.withManager(func(manager *client.Client) error { return c.get(cmd.Context(), manager, targets, flags) })
		},
	}
	flags.add(cmd)
	cmd.Flags().BoolVarP(&flags.watch, "watch", "w", false, "go on with the changes of one kind until interrupted")
	cmd.Flags().BoolVar(&flags.watchOnly, "watch-only", false, "as --watch, without what there is at the beginning")
	cmd.Flags().StringVar(&flags.sortBy, "sort-by", "", "sort by this field, as in .metadata.creationTimestamp")
	cmd.Flags().BoolVar(&flags.noHeaders, "no-headers", false, "tables without headings")
	cmd.Flags().IntVar(&flags.chunkSize, "chunk-size", 500, "resources to ask the manager for at a time")
	cmd.Flags().BoolVar(&flags.managedFields, "show-managed-fields", false, "print metadata.managedFields with -o json and yaml")
	cmd.Flags().BoolVar(&flags.ignoreNotFound, "ignore-not-found", false, "what does not exist is no error")
	return cmd
}

func (f getFlags) checkGet(targets []target) error {
	if err := f.check(targets); err != nil {
		return err
	}
	named := targets[0].name != ""
	switch {
	case f.chunkSize < 1 || f.chunkSize > maxChunk:
		return &usageError{fmt.Errorf("--chunk-size must be within 1 and %d", maxChunk)}
	case named && (f.labels != "" || f.fields != ""):
		return &usageError{errors.New("select by name or with --selector and --field-selector, not both")}
	case (f.watch || f.watchOnly) && len(targets) > 1:
		return &usageError{errors.New("--watch follows one kind or one resource")}
	case (f.watch || f.watchOnly) && f.sortBy != "":
		return &usageError{errors.New("--watch prints changes in the order in which they happen: leave --sort-by out")}
	}
	return nil
}

func (c *command) get(ctx context.Context, manager *client.Client, targets []target, flags getFlags) error {
	p, err := c.newPrinter(flags)
	if err != nil {
		return err
	}
	switch {
	case flags.watch || flags.watchOnly:
		return c.getAndFollow(ctx, manager, targets[0], flags, p)
	case targets[0].name != "":
		return c.getNamed(ctx, manager, targets, flags, p)
	}
	var faults []error
	for _, t := range targets {
		err := c.getKind(ctx, manager, t.kind, flags, p, len(targets) == 1)
		faults = append(faults, err)
		if err != nil && client.StatusOf(err) != http.StatusForbidden { // the right to see one kind says nothing of the next
			return errors.Join(faults...)
		}
	}
	return errors.Join(append(faults, p.end())...)
}

// getKind prints page by page what can be printed so.
func (c *command) getKind(ctx context.Context, manager *client.Client, kind api.Kind, flags getFlags, p *printer, alone bool) error {
	all := kind.NewList("", nil)
	bar := c.newProgress("Reading " + kind.Plural)
	defer bar.done()
	printed := 0
	options := client.ListOptions{Labels: flags.labels, Fields: flags.fields, Limit: flags.chunkSize}
	if p.collects() || flags.sortBy != "" {
		options.Restart = func() { all.Items = nil }
	}
	err := manager.ListPages(ctx, kind, options, func(page api.List) error {
		if options.Restart == nil {
			printed += len(page.Items)
			return p.page(page)
		}
		all.Items = append(all.Items, page.Items...)
		all.Metadata.ResourceVersion = page.Metadata.ResourceVersion
		bar.at(len(all.Items), len(all.Items)+int(page.Metadata.RemainingItemCount))
		return nil
	})
	if err != nil {
		return fmt.Errorf("%s: %w", kind.Plural, err)
	}
	bar.done()
	if options.Restart != nil {
		printed = len(all.Items)
		if err := p.list(all); err != nil {
			return err
		}
	}
	if printed == 0 && alone && p.forPeople() {
		fmt.Fprintf(c.Stderr, "No %s.\n", kind.Plural)
	}
	return nil
}

func (c *command) getNamed(ctx context.Context, manager *client.Client, targets []target, flags getFlags, p *printer) error {
	var (
		objects []api.Object
		faults  []error
	)
	for _, t := range targets {
		object, err := manager.Get(ctx, t.kind, t.name)
		switch {
		case client.IsNotFound(err) && flags.ignoreNotFound:
		case err != nil:
			faults = append(faults, fmt.Errorf("%s: %w", t, err))
		default:
			objects = append(objects, object)
		}
		if hopeless(err) {
			break
		}
	}
	switch {
	case len(targets) == 1 && len(objects) == 1:
		faults = append(faults, p.one(objects[0]))
	case len(objects) > 0:
		for _, list := range groups(objects) {
			faults = append(faults, p.list(list))
		}
		faults = append(faults, p.end())
	}
	return errors.Join(faults...)
}

// getAndFollow prints what there is and then what changes, rows under one heading. A resource that was named may come into being later.
func (c *command) getAndFollow(ctx context.Context, manager *client.Client, t target, flags getFlags, p *printer) error {
	s := flags.alone(t.name)
	list, err := manager.List(ctx, t.kind, client.ListOptions{Labels: s.labels, Fields: s.fields, Limit: flags.chunkSize})
	if err != nil {
		return err
	}
	if !flags.watchOnly {
		if err := p.present(t.kind, list.Items); err != nil {
			return err
		}
	}
	options := c.followOptions(s, list.Metadata.ResourceVersion)
	return manager.Follow(ctx, t.kind, options, func(change client.Change) error {
		switch change.Type {
		case api.WatchEventTypeBOOKMARK:
			return nil
		case api.WatchEventTypeDELETED:
			return p.deleted(change.Object)
		}
		return p.next(change.Object)
	})
}

// sortObjects sorts by what a path finds first in each: numbers as numbers, anything else as text; what has nothing there comes first.
func sortObjects(objects []api.Object, path *jsonpath.Path) error {
	keys := make(map[api.Object]any, len(objects))
	for _, o := range objects {
		value, err := generic(o)
		if err != nil {
			return err
		}
		found, err := path.Find(value)
		if err != nil {
			return err
		}
		if len(found) > 0 {
			keys[o] = found[0]
		}
	}
	slices.SortStableFunc(objects, func(a, b api.Object) int { return compareValues(keys[a], keys[b]) })
	return nil
}
