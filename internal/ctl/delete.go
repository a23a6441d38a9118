package ctl

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/api/client"
)

func (c *command) deleteCommand() *cobra.Command {
	var (
		manifests      manifestFlags
		ignoreNotFound bool
	)
	cmd := &cobra.Command{
		Use:   "delete KIND NAME… | KIND/NAME… | -f FILE|FOLDER|-",
		Short: "Delete resources",
		Long: `Delete resources, those named or those that manifests describe, in an order in which nothing is deleted before what refers to it.
Virtual IPs are freed. What others refer to is not deleted.`,
		Example:           "  cyphonicctl delete node viewer\n  cyphonicctl delete -f manifests/examples",
		ValidArgsFunction: completeKinds,
		RunE: func(cmd *cobra.Command, args []string) error {
			targets, err := c.deleteTargets(args, manifests)
			if err != nil {
				return err
			}
			return c.deleteAll(cmd.Context(), targets, ignoreNotFound)
		},
	}
	manifests.add(cmd)
	cmd.Flags().BoolVar(&ignoreNotFound, "ignore-not-found", false, "what does not exist is no error")
	return cmd
}

func (c *command) deleteTargets(args []string, manifests manifestFlags) ([]target, error) {
	switch {
	case len(args) > 0 && len(manifests.files) > 0:
		return nil, &usageError{errors.New("give names or manifests, not both")}
	case len(args) == 0:
		resources, err := c.readFlagged(manifests)
		if err != nil {
			return nil, err
		}
		var targets []target
		for _, r := range resources {
			kind, _ := api.KindNamed(r.object.KindName())
			targets = append(targets, target{kind, r.object.Meta().Name})
		}
		return targets, nil
	}
	targets, err := targetsOf(args)
	if err != nil {
		return nil, err
	}
	if targets[0].name == "" {
		return nil, &usageError{errors.New("name what to delete: KIND NAME or KIND/NAME")}
	}
	return targets, nil
}

func (c *command) deleteAll(ctx context.Context, targets []target, ignoreNotFound bool) error {
	manager, err := c.connect()
	if err != nil {
		return err
	}
	defer manager.Close()
	slices.SortStableFunc(targets, func(a, b target) int { return b.kind.Rank - a.kind.Rank })
	var faults []error
	for _, t := range targets {
		gone, err := manager.Delete(ctx, t.kind, t.name, "")
		if client.IsNotFound(err) && ignoreNotFound {
			continue
		}
		if err == nil {
			err = c.printVerdict(gone, "deleted")
		} else {
			err = fmt.Errorf("%s: %w", t, err)
		}
		if err != nil {
			faults = append(faults, err)
		}
		if hopeless(err) {
			break
		}
	}
	return errors.Join(faults...)
}
