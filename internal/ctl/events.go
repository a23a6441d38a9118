package ctl

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/api/client"
)

type eventFlags struct {
	regarding string
	types     []string
	reason    string
	watch     bool
	noHeaders bool
}

func (c *command) eventsCommand() *cobra.Command {
	var flags eventFlags
	cmd := &cobra.Command{
		Use:   "events",
		Short: "Show what happened to resources",
		Long:  `Show what happened to resources, the latest last. The manager keeps events for a day; the audit log (cyphonicctl audit) keeps who did what for longer.`,
		Example: `  cyphonicctl events
  cyphonicctl events --for generalnode/cam1
  cyphonicctl events --types Warning --watch
  cyphonicctl events --for gitsource/fleet -o json`,
		Args:        cobra.NoArgs,
		Annotations: formats(queryFormats),
		RunE: func(cmd *cobra.Command, _ []string) error {
			fields, err := flags.fields()
			if err != nil {
				return err
			}
			return c.withManager(func(manager *client.Client) error { return c.events(cmd.Context(), manager, fields, flags) })
		},
	}
	cmd.Flags().StringVar(&flags.regarding, "for", "", "only events about this resource, KIND/NAME, or about this KIND")
	cmd.Flags().StringSliceVar(&flags.types, "types", nil, "only events of these types: Normal, Warning")
	cmd.Flags().StringVar(&flags.reason, "reason", "", "only events with this reason, as in AddressAllocated")
	cmd.Flags().BoolVarP(&flags.watch, "watch", "w", false, "go on with what happens until interrupted")
	cmd.Flags().BoolVar(&flags.noHeaders, "no-headers", false, "no headings")
	return cmd
}

// fields is the field selector of the flags.
func (f eventFlags) fields() (string, error) {
	var fields []string
	if f.regarding != "" {
		word, name, _ := strings.Cut(f.regarding, "/")
		kind, err := kindOf(word)
		if err != nil {
			return "", err
		}
		fields = append(fields, regarding(kind.Name, name))
	}
	var types []string
	for _, text := range f.types {
		switch {
		case strings.EqualFold(text, "Normal"):
			types = append(types, "Normal")
		case strings.EqualFold(text, "Warning"):
			types = append(types, "Warning")
		default:
			return "", &usageError{fmt.Errorf("--types %q is not Normal or Warning", text)}
		}
	}
	if slices.Sort(types); len(slices.Compact(types)) == 1 {
		fields = append(fields, "type="+types[0])
	}
	if f.reason != "" {
		fields = append(fields, "reason="+f.reason)
	}
	return strings.Join(fields, ","), nil
}

func (c *command) events(ctx context.Context, manager *client.Client, fields string, flags eventFlags) error {
	p, err := c.newPrinter(getFlags{noHeaders: flags.noHeaders})
	if err != nil {
		return err
	}
	list, err := manager.List(ctx, eventKind(), client.ListOptions{Fields: fields})
	if err != nil {
		return err
	}
	events := sortedEvents(list.Items)
	for i, e := range events {
		list.Items[i] = e
	}
	if !flags.watch {
		if len(events) == 0 && p.forPeople() {
			fmt.Fprintln(c.Stderr, "No events.")
			return nil
		}
		if err := p.list(list); err != nil {
			return err
		}
		return p.end()
	}
	if err := p.present(eventKind(), list.Items); err != nil {
		return err
	}
	options := c.followOptions(selection{fields: fields}, list.Metadata.ResourceVersion)
	return manager.Follow(ctx, eventKind(), options, func(change client.Change) error {
		if change.Type == api.WatchEventTypeBOOKMARK || change.Type == api.WatchEventTypeDELETED {
			return nil // an old event that is forgotten is no news
		}
		return p.next(change.Object)
	})
}

func eventKind() api.Kind {
	kind, _ := api.KindNamed("Event")
	return kind
}

// regarding is the field selector of the events about a resource, or about a kind.
func regarding(kind, name string) string {
	selector := "regarding.kind=" + kind
	if name != "" {
		selector += ",regarding.name=" + name
	}
	return selector
}

// sortedEvents has the latest last.
func sortedEvents(objects []api.Object) []*api.Event {
	var events []*api.Event
	for _, o := range objects {
		events = append(events, o.(*api.Event))
	}
	slices.SortStableFunc(events, func(a, b *api.Event) int {
		return cmp.Or(a.LastTimestamp.Compare(b.LastTimestamp), cmp.Compare(a.Metadata.Name, b.Metadata.Name))
	})
	return events
}
