package ctl

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/api/client"
)

type getFlags struct {
	watch    bool
	selector string
}

func (c *command) getCommand() *cobra.Command {
	var flags getFlags
	cmd := &cobra.Command{
		Use:   "get KIND[,KIND…] [NAME…] | KIND/NAME…",
		Short: "Show resources",
		Example: `  cyphonicctl get nodes
  cyphonicctl get generalnodes -o wide --watch
  cyphonicctl get node/viewer -o yaml
  cyphonicctl get gn -l site=hall-1 -o name`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: completeKinds,
		RunE: func(cmd *cobra.Command, args []string) error {
			targets, err := targetsOf(args)
			if err != nil {
				return err
			}
			selector, err := parseSelector(flags.selector)
			if err != nil {
				return err
			}
			manager, err := c.connect()
			if err != nil {
				return err
			}
			defer manager.Close()
			return c.get(cmd.Context(), manager, targets, selector, flags.watch)
		},
	}
	cmd.Flags().BoolVarP(&flags.watch, "watch", "w", false, "go on with the changes of one kind until interrupted")
	cmd.Flags().StringVarP(&flags.selector, "selector", "l", "", "only resources with these labels, as in a=b,c=d")
	return cmd
}

func (c *command) get(ctx context.Context, manager *client.Client, targets []target, selector map[string]string, watch bool) error {
	if watch && len(targets) > 1 {
		return &usageError{errors.New("--watch follows one kind or one resource")}
	}
	if watch {
		return c.getAndFollow(ctx, manager, targets[0], selector)
	}
	if targets[0].name != "" {
		return c.getNamed(ctx, manager, targets)
	}
	var lists []api.List
	for _, t := range targets {
		list, err := manager.List(ctx, t.kind)
		if err != nil {
			return err
		}
		list.Items = selected(list.Items, selector)
		lists = append(lists, list)
	}
	return c.printLists(lists)
}

func (c *command) getNamed(ctx context.Context, manager *client.Client, targets []target) error {
	var (
		objects []api.Object
		faults  []error
	)
	for _, t := range targets {
		object, err := manager.Get(ctx, t.kind, t.name)
		if err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", t, err))
			if hopeless(err) {
				break
			}
			continue
		}
		objects = append(objects, object)
	}
	if len(objects) == 1 && len(targets) == 1 {
		return c.printOne(objects[0])
	}
	if len(objects) > 0 {
		faults = append(faults, c.printLists(groups(objects)))
	}
	return errors.Join(faults...)
}

// getAndFollow prints what there is and then what changes, rows under one heading.
func (c *command) getAndFollow(ctx context.Context, manager *client.Client, t target, selector map[string]string) error {
	list, err := manager.List(ctx, t.kind)
	if err != nil {
		return err
	}
	stream := c.newStream(t.kind)
	present := slices.DeleteFunc(selected(list.Items, selector), func(o api.Object) bool { return t.name != "" && o.Meta().Name != t.name })
	if err := stream.present(present); err != nil {
		return err
	}
	return follow(ctx, manager, t.kind, list.Metadata.ResourceVersion, func(event client.Event) error {
		matches := t.name == "" || event.Object.Meta().Name == t.name
		if event.Type == api.WatchEventTypeBOOKMARK || !matches || len(selected([]api.Object{event.Object}, selector)) == 0 {
			return nil
		}
		if event.Type == api.WatchEventTypeDELETED {
			return stream.deleted(event.Object)
		}
		return stream.object(event.Object)
	})
}

func parseSelector(text string) (map[string]string, error) {
	if text == "" {
		return nil, nil
	}
	selector := map[string]string{}
	for part := range strings.SplitSeq(text, ",") {
		key, value, ok := strings.Cut(part, "=")
		if !ok || key == "" {
			return nil, &usageError{fmt.Errorf("selector %q is not of the form a=b,c=d", text)}
		}
		selector[key] = value
	}
	return selector, nil
}

func selected(objects []api.Object, selector map[string]string) []api.Object {
	var kept []api.Object
	for _, object := range objects {
		matches := true
		for key, value := range selector {
			has, ok := object.Meta().Labels[key]
			matches = matches && ok && has == value
		}
		if matches {
			kept = append(kept, object)
		}
	}
	return kept
}

// groups makes one list per kind, in the order in which the kinds first appear.
func groups(objects []api.Object) []api.List {
	var lists []api.List
	at := map[string]int{}
	for _, object := range objects {
		kind, _ := api.KindNamed(object.KindName())
		i, ok := at[kind.Name]
		if !ok {
			i = len(lists)
			at[kind.Name] = i
			lists = append(lists, kind.NewList("", nil))
		}
		lists[i].Items = append(lists[i].Items, object)
	}
	return lists
}

func completeKinds(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var plurals []string
	for _, kind := range api.Kinds() {
		plurals = append(plurals, kind.Plural)
	}
	return plurals, cobra.ShellCompDirectiveNoFileComp
}
