package ctl

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/api/client"
)

func (c *command) watchCommand() *cobra.Command {
	var (
		chosen          selection
		resourceVersion string
	)
	cmd := &cobra.Command{
		Use:   "watch KIND [NAME] | KIND/NAME",
		Short: "Print changes as they happen",
		Long: `Print changes as they happen, one per line, until interrupted: ADDED, MODIFIED or DELETED and the resource; with -o json the event as a JSON object.
It begins with an ADDED for each resource there is, unless --resource-version says from where to go on.

Managers that go away and come back are waited for; changes that were missed meanwhile are printed then.`,
		Example: `  cyphonicctl watch generalnodes
  cyphonicctl watch gn -l site=hall-1 -o json
  cyphonicctl watch node/viewer`,
		Args:              cobra.RangeArgs(1, 2),
		Annotations:       formats("table,json,name"),
		ValidArgsFunction: c.completeTargets,
		RunE: func(cmd *cobra.Command, args []string) error {
			targets, err := targetsOf(args)
			if err != nil {
				return err
			}
			if len(targets) != 1 {
				return &usageError{errors.New("watch follows one kind or one resource")}
			}
			if err := chosen.check(targets); err != nil {
				return err
			}
			return c.withManager(func(manager *client.Client) error {
				options := c.followOptions(chosen.alone(targets[0].name), resourceVersion)
				return manager.Follow(cmd.Context(), targets[0].kind, options, c.printChange)
			})
		},
	}
	chosen.add(cmd)
	cmd.Flags().StringVar(&resourceVersion, "resource-version", "", "print the changes after this resourceVersion only")
	return cmd
}

func (c *command) printChange(change client.Change) error {
	if change.Type == api.WatchEventTypeBOOKMARK {
		return nil
	}
	switch c.output {
	case "json":
		object, err := json.Marshal(change.Object)
		if err != nil {
			return err
		}
		return json.NewEncoder(c.Stdout).Encode(api.WatchEvent{Type: change.Type, Object: object})
	case "name":
		return c.printNames([]api.Object{change.Object})
	}
	verb := fmt.Sprintf("%-8s", change.Type)
	_, err := fmt.Fprintln(c.Stdout, c.paint(c.Stdout, styleOfState(string(change.Type)), verb), nameOf(change.Object))
	return err
}

// followOptions says on standard error what keeps changes from coming in, once it has lasted for more than a moment.
func (c *command) followOptions(s selection, resourceVersion string) client.FollowOptions {
	waiting := false
	return client.FollowOptions{
		WatchOptions: client.WatchOptions{Labels: s.labels, Fields: s.fields, ResourceVersion: resourceVersion},
		Patience:     followPatience,
		OnState: func(state client.FollowState) {
			switch {
			case state.Phase == client.FollowAnew:
				c.warn("too many changes were missed: what is different now follows")
			case state.Phase == client.FollowWaiting && state.Err != nil && !waiting:
				waiting = true
				c.warn("%v: waiting for the managers", state.Err)
			case state.Phase == client.FollowOpen && waiting:
				waiting = false
				c.warn("the managers are back")
			}
		},
	}
}
