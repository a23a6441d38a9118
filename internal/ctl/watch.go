package ctl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/api/client"
)

func (c *command) watchCommand() *cobra.Command {
	var resourceVersion string
	cmd := &cobra.Command{
		Use:   "watch KIND [NAME] | KIND/NAME",
		Short: "Print changes as they happen",
		Long: `Print changes as they happen, one per line, until interrupted: ADDED, MODIFIED or DELETED and the resource; with -o json the event as a JSON object.
It begins with an ADDED for each resource there is, unless --resource-version says from where to go on.`,
		Args:              cobra.RangeArgs(1, 2),
		ValidArgsFunction: completeKinds,
		RunE: func(cmd *cobra.Command, args []string) error {
			targets, err := targetsOf(args)
			if err != nil {
				return err
			}
			if len(targets) != 1 {
				return &usageError{errors.New("watch follows one kind or one resource")}
			}
			if c.output == "yaml" || c.output == "wide" {
				return &usageError{errors.New("watch prints lines: use -o table, json or name")}
			}
			manager, err := c.connect()
			if err != nil {
				return err
			}
			defer manager.Close()
			return follow(cmd.Context(), manager, targets[0].kind, resourceVersion, func(event client.Event) error {
				return c.printEvent(event, targets[0].name)
			})
		},
	}
	cmd.Flags().StringVar(&resourceVersion, "resource-version", "", "print the changes after this resourceVersion only")
	return cmd
}

func (c *command) printEvent(event client.Event, name string) error {
	if event.Type == api.WatchEventTypeBOOKMARK || (name != "" && event.Object.Meta().Name != name) {
		return nil
	}
	switch c.output {
	case "json":
		object, err := json.Marshal(event.Object)
		if err != nil {
			return err
		}
		return json.NewEncoder(c.Stdout).Encode(api.WatchEvent{Type: event.Type, Object: object})
	case "name":
		_, err := fmt.Fprintln(c.Stdout, nameOf(event.Object))
		return err
	}
	_, err := fmt.Fprintf(c.Stdout, "%-8s %s\n", event.Type, nameOf(event.Object))
	return err
}

// follow hands over the changes after resourceVersion until ctx ends, which is no error, across ends of the stream. Where the store no longer has the changes it begins with what
// there is now.
func follow(ctx context.Context, manager *client.Client, kind api.Kind, resourceVersion string, handle func(client.Event) error) error {
	for ctx.Err() == nil {
		last, err := followOnce(ctx, manager, kind, resourceVersion, handle)
		switch {
		case client.IsGone(err):
			resourceVersion = ""
		case errors.Is(err, client.ErrWatchEnded):
			resourceVersion = last
		case ctx.Err() != nil:
			return nil
		default:
			return err
		}
		pause(ctx, time.Second)
	}
	return nil
}

// followOnce returns the last resourceVersion seen and why the stream ended.
func followOnce(ctx context.Context, manager *client.Client, kind api.Kind, resourceVersion string, handle func(client.Event) error) (string, error) {
	watch, err := manager.Watch(ctx, kind, resourceVersion)
	if err != nil {
		return resourceVersion, err
	}
	defer watch.Close()
	for {
		event, err := watch.Next()
		if err != nil {
			return resourceVersion, err
		}
		resourceVersion = event.Object.Meta().ResourceVersion
		if err := handle(event); err != nil {
			return resourceVersion, err
		}
	}
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
