package ctl

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/spf13/cobra"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/api/client"
	"github.com/cyphonic/cyphonic/internal/applyset"
	"github.com/cyphonic/cyphonic/internal/manifest"
)

// pruneFlags say which apply set the manifests describe and what may be deleted of it.
type pruneFlags struct {
	set        string
	prune      bool
	limit      int
	share      int // per cent
	allowEmpty bool
}

func (p *pruneFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&p.set, "applyset", "", "name of the apply set that the resources belong to; it becomes their label "+applyset.Label)
	flags.BoolVar(&p.prune, "prune", false, "delete what belongs to the apply set and is not described any more")
	flags.IntVar(&p.limit, "prune-limit", applyset.DefaultMaxDeletions, "delete at most so many resources, else do nothing")
	flags.IntVar(&p.share, "prune-share", 100*applyset.DefaultMaxShare, "delete at most this part of the apply set, in per cent, else do nothing")
	flags.BoolVar(&p.allowEmpty, "prune-all", false, "manifests without resources delete the whole apply set")
}

func (p *pruneFlags) check() error {
	switch {
	case p.prune && p.set == "":
		return &usageError{errors.New("--prune needs --applyset: only what carries the label of the set is ever deleted")}
	case p.limit < 0 || p.share < 0 || p.share > 100:
		return &usageError{errors.New("--prune-limit is a number, --prune-share is within 0 … 100")}
	}
	if p.set == "" {
		return nil
	}
	probe := api.Network{Metadata: api.ObjectMeta{Name: p.set}}
	for _, fault := range probe.Validate() {
		if fault.Pointer == "/metadata/name" {
			return &usageError{fmt.Errorf("--applyset %s", fault.Detail)}
		}
	}
	return nil
}

// read reads manifests that may be empty if that was agreed, and labels the resources.
func (p *pruneFlags) read(c *command, m manifestFlags) ([]manifest.Resource, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	resources, err := c.readDescribable(m)
	if err != nil {
		var invalid *invalidError
		if p.prune && p.allowEmpty && len(m.files) > 0 && !errors.As(err, &invalid) {
			return c.readEmpty(m, err)
		}
		return nil, err
	}
	if p.set == "" {
		return resources, nil
	}
	for i, r := range resources {
		labelled, err := applyset.WithLabel(r.Document, p.set)
		if err != nil {
			return nil, manifestError(r.Error("/metadata/labels", err.Error()))
		}
		resources[i].Document = labelled
		if r.Object.Meta().Labels == nil {
			r.Object.Meta().Labels = map[string]string{}
		}
		r.Object.Meta().Labels[applyset.Label] = p.set
	}
	return resources, nil
}

// readEmpty tells paths without a resource from paths that cannot be read, and from several of which one is empty.
func (c *command) readEmpty(m manifestFlags, err error) ([]manifest.Resource, error) {
	var none *manifest.EmptyError
	if errors.As(err, &none) && (none.Folder == "" || len(m.files) == 1) {
		return nil, nil
	}
	return nil, err
}

// deletions lists the live resources of the set and returns those that left it, in the order in which they can be deleted.
func (p *pruneFlags) deletions(ctx context.Context, c *command, manager *client.Client, resources []manifest.Resource) ([]api.Object, error) {
	if !p.prune {
		return nil, nil
	}
	set := applyset.Set{Name: p.set}
	var live []api.Object
	for _, kind := range applyset.Kinds() {
		list, err := manager.List(ctx, kind, client.ListOptions{Labels: applyset.Label + "=" + p.set})
		if client.StatusOf(err) == http.StatusForbidden {
			c.warn("%s are not pruned: %v", kind.Plural, err)
			continue
		}
		if err != nil {
			return nil, err
		}
		set.Kinds = append(set.Kinds, kind.Name)
		live = append(live, list.Items...)
	}
	var desired []applyset.Item
	for _, r := range resources {
		desired = append(desired, applyset.Item{Object: r.Object, Place: r.Source.At("")})
	}
	actions, err := applyset.Plan(desired, live, set, applyset.Guard{MaxDeletions: p.limit, MaxShare: float64(p.share) / 100, AllowEmpty: p.allowEmpty})
	if err != nil {
		return nil, guardHelp(err)
	}
	for _, o := range actions.Protected {
		c.warn("%s has left the apply set but stays: its annotation %s is %s", nameOf(o), applyset.PruneKey, applyset.PruneDisabled)
	}
	return actions.Prune, nil
}

// guardHelp says with which flag a refused deletion can be done all the same.
func guardHelp(err error) error {
	var (
		guard *applyset.GuardError
		empty *applyset.EmptyError
	)
	switch {
	case errors.As(err, &guard):
		return &invalidError{fmt.Errorf("%w: nothing was changed; if they shall go, give --prune-limit %d --prune-share %d", err, max(guard.Deletions, guard.Guard.MaxDeletions), neededShare(guard))}
	case errors.As(err, &empty):
		return &invalidError{fmt.Errorf("%w: nothing was changed; if they shall go, give --prune-all", err)}
	}
	return &invalidError{err}
}

func neededShare(guard *applyset.GuardError) int {
	return max(int(100*guard.Guard.MaxShare+0.5), (100*guard.Deletions+guard.Live-1)/guard.Live)
}

// foreign refuses resources that belong to another apply set.
func (p *pruneFlags) foreign(r manifest.Resource, before api.Object) error {
	if p.set == "" || before == nil {
		return nil
	}
	if other := before.Meta().Labels[applyset.Label]; other != "" && other != p.set {
		return &invalidError{&applyset.ForeignError{Resource: r.Name(), Place: r.Source.At(""), Set: other}}
	}
	return nil
}
