package ctl

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/spf13/cobra"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/api/client"
	"github.com/cyphonic/cyphonic/internal/manifest"
)

// defaultFieldManager decides about the fields of manifests that this program applies.
const defaultFieldManager = "cyphonicctl"

type applyFlags struct {
	manifests    manifestFlags
	pruning      pruneFlags
	fieldManager string
	force        bool
	dryRun       string
	parallel     int
	yes          bool
	noPlan       bool
}

func (f *applyFlags) write() client.WriteOptions {
	return client.WriteOptions{FieldManager: f.fieldManager, Force: f.force}
}

func (f *applyFlags) check() error {
	switch {
	case f.dryRun != "none" && f.dryRun != "server" && f.dryRun != "client":
		return &usageError{fmt.Errorf("--dry-run %q is not none, server or client", f.dryRun)}
	case f.fieldManager == "" || len(f.fieldManager) > maxFieldManager:
		return &usageError{fmt.Errorf("--field-manager has %d characters, must have 1 … %d", len(f.fieldManager), maxFieldManager)}
	case f.parallel < 1 || f.parallel > maxParallel:
		return &usageError{fmt.Errorf("--parallel is %d, must be within 1 … %d", f.parallel, maxParallel)}
	case f.noPlan && (f.pruning.prune || f.dryRun == "server"):
		return &usageError{errors.New("--no-plan leaves out what --prune and --dry-run=server need")}
	}
	return nil
}

func (c *command) applyCommand() *cobra.Command {
	var flags applyFlags
	cmd := &cobra.Command{
		Use:   "apply -f FILE|FOLDER|-",
		Short: "Make the resources what manifests say",
		Long: `Make the resources what manifests say: create those that do not exist and set the fields that the manifests have. Fields that the manifests had before and
have no longer are removed; fields that others decide about are left alone, and a manifest that says something else about them is refused with the name of who does.

First all documents are read and checked, then the manager works out what would change, on the path that a change takes. If it refuses one resource nothing is sent.
Which pairs of devices gain or lose reachability is shown before anything is sent; on a terminal you are asked where access is gained or something is deleted.
Then the resources are sent in an order in which what others refer to comes first. Printed per resource: created, configured, unchanged or pruned.

With --applyset the resources are labelled as one set; with --prune too, what belongs to the set and is not described any more is deleted.`,
		Example: `  cyphonicctl apply -f manifests/examples
  cyphonicctl apply -R -f fleet --applyset fleet --prune
  cyphonicctl apply -f policy.yaml --dry-run=server`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := flags.check(); err != nil {
				return err
			}
			resources, err := flags.pruning.read(c, flags.manifests)
			if err != nil {
				return err
			}
			if flags.dryRun == "client" {
				return c.applyNothing(resources)
			}
			manager, err := c.connect()
			if err != nil {
				return err
			}
			defer manager.Close()
			return c.apply(cmd.Context(), manager, resources, &flags)
		},
	}
	flags.manifests.add(cmd)
	flags.pruning.add(cmd)
	cmd.Flags().StringVar(&flags.fieldManager, "field-manager", defaultFieldManager, "who decides about the fields of the manifests")
	cmd.Flags().BoolVar(&flags.force, "force-conflicts", false, "take over fields that other field managers decide about")
	cmd.Flags().StringVar(&flags.dryRun, "dry-run", "none", "none; server: the manager does all but write; client: the manifests are read and checked only")
	cmd.Flags().IntVar(&flags.parallel, "parallel", 16, "number of requests at a time")
	cmd.Flags().BoolVar(&flags.noPlan, "no-plan", false, "do not work out beforehand what would change")
	cmd.Flags().BoolVarP(&flags.yes, "yes", "y", false, "do not ask")
	return cmd
}

// applyNothing prints what would be sent.
func (c *command) applyNothing(resources []manifest.Resource) error {
	var shown []shown
	for _, r := range resources {
		shown = append(shown, shownResource(r.Object, "read (dry run)"))
	}
	return c.printShown(shown)
}

func (c *command) apply(ctx context.Context, manager *client.Client, resources []manifest.Resource, flags *applyFlags) error {
	if flags.noPlan {
		var all []proposed
		for _, r := range resources {
			all = append(all, proposed{resource: r, target: target{kindOfObject(r.Object), r.Object.Meta().Name}})
		}
		results, err := c.send(ctx, manager, all, nil, flags)
		return errors.Join(c.printShown(results), err)
	}
	leaving, err := flags.pruning.deletions(ctx, c, manager, resources)
	if err != nil {
		return err
	}
	p, err := c.propose(ctx, manager, resources, leaving, flags.pruning.set, flags.write())
	if err != nil {
		return err
	}
	if err := p.foreign(flags); err != nil {
		return err
	}
	c.showReachability(p.reachability, "would")
	if flags.dryRun == "server" {
		return c.printShown(p.shown(" (dry run)"))
	}
	if err := c.confirmApply(p, flags); err != nil {
		return err
	}
	sent, err := c.send(ctx, manager, p.pending(), p.deletions, flags)
	return errors.Join(c.printShown(p.outcome(sent)), err)
}

func (p *proposal) foreign(flags *applyFlags) error {
	var faults []error
	for _, one := range p.changes {
		if err := flags.pruning.foreign(one.resource, one.before); err != nil && !flags.force {
			faults = append(faults, err)
		}
	}
	return errors.Join(faults...)
}

// confirmApply asks where access is gained, if there is a terminal, and where something is deleted in any case.
func (c *command) confirmApply(p *proposal, flags *applyFlags) error {
	if flags.yes {
		return nil
	}
	deletions := int64(len(p.deletions))
	for _, one := range p.deletions {
		fmt.Fprintln(c.Stderr, c.paint(c.Stderr, styleBad, fmt.Sprintf("%s would be pruned", one.target)))
	}
	switch {
	case deletions > 0:
		return c.confirm(fmt.Sprintf("Delete %s and apply the rest?", count(deletions, "resource", "resources")), !flags.manifests.stdin())
	case p.reachability.GainedPairs > 0 && c.isTerminal(c.Stdin) && c.isTerminal(c.Stderr):
		return c.confirm(fmt.Sprintf("Give access to %s?", count(p.reachability.GainedPairs, "more pair of devices", "more pairs of devices")), !flags.manifests.stdin())
	}
	return nil
}

func (p *proposal) shown(suffix string) (all []shown) {
	for _, one := range p.changes {
		all = append(all, shownResource(one.after, string(one.verdict)+suffix))
	}
	for _, one := range p.deletions {
		all = append(all, shownResource(one.before, string(api.PlanVerdictPruned)+suffix))
	}
	return all
}

// outcome puts what was sent and what did not have to be sent into the order of the manifests, deletions last.
func (p *proposal) outcome(sent []shown) (all []shown) {
	var after []shown
	became := map[string]shown{}
	for _, one := range sent {
		if one.verdict == string(api.PlanVerdictPruned) {
			after = append(after, one)
			continue
		}
		became[nameOf(one.object)] = one
	}
	for _, one := range p.changes {
		if one.verdict == api.PlanVerdictUnchanged {
			all = append(all, shownResource(one.after, string(one.verdict)))
		} else if result, ok := became[one.resource.Name()]; ok {
			all = append(all, result)
		}
	}
	return append(all, after...)
}

// hopeless errors befall every further request too. That something may not be done to one resource says nothing of the others.
func hopeless(err error) bool {
	var denied *deniedError
	return err != nil && (exitCode(err) == exitUnreachable || client.StatusOf(err) == http.StatusUnauthorized || errors.As(err, &denied) || errors.Is(err, context.Canceled))
}
