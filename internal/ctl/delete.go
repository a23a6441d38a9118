package ctl

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/api/client"
)

type deleteFlags struct {
	manifests      manifestFlags
	selector       string
	all            bool
	cascade        bool
	wait           bool
	timeout        time.Duration
	dryRun         string
	ignoreNotFound bool
	yes            bool
	parallel       int
}

func (c *command) deleteCommand() *cobra.Command {
	var flags deleteFlags
	cmd := &cobra.Command{
		Use:   "delete KIND NAME… | KIND/NAME… | KIND -l SELECTOR | KIND --all | -f FILE|FOLDER|-",
		Short: "Delete resources",
		Long: `Delete resources: those named, those that manifests describe, those with certain labels, or all of a kind, in an order in which nothing is deleted before what
refers to it. Virtual IPs are freed. What others refer to is not deleted, unless --cascade deletes these first.

What is chosen by labels, by --all, or by --cascade is deleted only after you have agreed on the terminal, or with --yes.`,
		Example: `  cyphonicctl delete node viewer
  cyphonicctl delete -f manifests/examples
  cyphonicctl delete generalnodes -l site=hall-1
  cyphonicctl delete adapter gateway-a --cascade --yes`,
		ValidArgsFunction: completeKinds,
		Annotations:       formats("table,json,yaml,name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := flags.check(args); err != nil {
				return err
			}
			return c.delete(cmd.Context(), args, &flags)
		},
	}
	flags.manifests.add(cmd)
	cmd.Flags().StringVarP(&flags.selector, "selector", "l", "", "resources with these labels, as in a=b,c in (d,e),!f")
	cmd.Flags().BoolVar(&flags.all, "all", false, "all resources of the kind")
	cmd.Flags().BoolVar(&flags.cascade, "cascade", false, "delete what refers to the resources first")
	cmd.Flags().BoolVar(&flags.wait, "wait", true, "wait until the resources are gone")
	cmd.Flags().DurationVar(&flags.timeout, "timeout", deleteTimeout, "how long to wait")
	cmd.Flags().StringVar(&flags.dryRun, "dry-run", "none", "none; server: the manager does all but delete; client: only say what would be asked for")
	cmd.Flags().BoolVar(&flags.ignoreNotFound, "ignore-not-found", false, "what does not exist is no error")
	cmd.Flags().IntVar(&flags.parallel, "parallel", 16, "number of requests at a time")
	cmd.Flags().BoolVarP(&flags.yes, "yes", "y", false, "do not ask")
	return cmd
}

func (f *deleteFlags) check(args []string) error {
	chosen := f.selector != "" || f.all
	switch {
	case len(args) > 0 && len(f.manifests.files) > 0:
		return &usageError{errors.New("give names or manifests, not both")}
	case chosen && len(f.manifests.files) > 0:
		return &usageError{errors.New("-l and --all choose of a kind: they do not go with -f")}
	case f.selector != "" && f.all:
		return &usageError{errors.New("give either -l or --all")}
	case chosen && len(args) == 0:
		return &usageError{errors.New("name the kind to delete of")}
	case f.dryRun != "none" && f.dryRun != "server" && f.dryRun != "client":
		return &usageError{fmt.Errorf("--dry-run %q is not none, server or client", f.dryRun)}
	case f.parallel < 1 || f.parallel > maxParallel:
		return &usageError{fmt.Errorf("--parallel is %d, must be within 1 … %d", f.parallel, maxParallel)}
	}
	return nil
}

func (c *command) delete(ctx context.Context, args []string, flags *deleteFlags) error {
	targets, err := c.deleteTargets(args, flags)
	if err != nil {
		return err
	}
	manager, err := c.connect()
	if err != nil {
		return err
	}
	defer manager.Close()
	chosen := flags.selector != "" || flags.all
	if chosen {
		if targets, err = c.chosen(ctx, manager, targets, flags.selector); err != nil || len(targets) == 0 {
			return err
		}
	}
	if flags.dryRun == "client" {
		var all []shown
		for _, t := range targets {
			all = append(all, shownResource(emptyObject(t), "deleted (dry run)"))
		}
		return c.printShown(all)
	}
	if (chosen || flags.cascade) && !flags.yes && flags.dryRun == "none" {
		if err := c.confirm(deletionQuestion(targets, flags.cascade), !flags.manifests.stdin()); err != nil {
			return err
		}
	}
	return c.deleteAll(ctx, manager, targets, flags)
}

func deletionQuestion(targets []target, cascade bool) string {
	text := fmt.Sprintf("Delete %s (%s", count(int64(len(targets)), "resource", "resources"), targets[0])
	if len(targets) > 1 {
		text += ", …"
	}
	text += ")"
	if cascade {
		text += " and all that refers to them"
	}
	return text + "?"
}

// emptyObject has the name of a target and nothing else.
func emptyObject(t target) api.Object {
	o := t.kind.New()
	o.Meta().Name = t.name
	return o
}

func (c *command) deleteTargets(args []string, flags *deleteFlags) ([]target, error) {
	if len(args) == 0 {
		resources, err := c.readFlagged(flags.manifests)
		if err != nil {
			return nil, err
		}
		var targets []target
		for _, r := range resources {
			targets = append(targets, target{kindOfObject(r.Object), r.Object.Meta().Name})
		}
		return targets, nil
	}
	targets, err := targetsOf(args)
	if err != nil {
		return nil, err
	}
	chosen := flags.selector != "" || flags.all
	if named := targets[0].name != ""; named == chosen {
		if named {
			return nil, &usageError{errors.New("-l and --all choose of a kind: give no names with them")}
		}
		return nil, &usageError{errors.New("name what to delete: KIND NAME or KIND/NAME; or choose with -l or --all")}
	}
	return targets, nil
}

// chosen lists what the selector finds of the kinds.
func (c *command) chosen(ctx context.Context, manager *client.Client, kinds []target, selector string) (targets []target, err error) {
	if _, faults := api.ParseLabelSelector(selector); len(faults) > 0 {
		return nil, &usageError{fmt.Errorf("-l: %s", faults[0].Detail)}
	}
	for _, t := range kinds {
		err := manager.ListPages(ctx, t.kind, client.ListOptions{Labels: selector}, func(page api.List) error {
			for _, o := range page.Items {
				targets = append(targets, target{t.kind, o.Meta().Name})
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	if len(targets) == 0 {
		fmt.Fprintln(c.Stderr, "Nothing to delete.")
	}
	return targets, nil
}

func (c *command) deleteAll(ctx context.Context, manager *client.Client, targets []target, flags *deleteFlags) error {
	all := make([]proposed, len(targets))
	for i, t := range targets {
		all[i].target = t
	}
	p := c.newProgress("deleting")
	defer p.done()
	work := &together{parallel: flags.parallel, total: len(all), progress: p}
	groups := ranks(all)
	slices.Reverse(groups)
	for _, same := range groups {
		work.run(ctx, same, func(ctx context.Context, one proposed) (shown, error) {
			return c.deleteOne(ctx, manager, one.target, flags)
		})
	}
	p.done()
	results := slices.DeleteFunc(work.results, func(s shown) bool { return s.object == nil })
	return errors.Join(append([]error{c.printShown(results)}, work.faults...)...)
}

// deleteOne returns nothing for what does not exist where that is no error.
func (c *command) deleteOne(ctx context.Context, manager *client.Client, t target, flags *deleteFlags) (shown, error) {
	gone, err := manager.Delete(ctx, t.kind, t.name, client.DeleteOptions{DryRun: flags.dryRun == "server", Cascade: flags.cascade})
	switch {
	case client.IsNotFound(err) && flags.ignoreNotFound:
		return shown{}, nil
	case err != nil:
		return shown{}, fmt.Errorf("%s: %w", t, err)
	case flags.dryRun == "server":
		return shownResource(gone, "deleted (dry run)"), nil
	case gone.Meta().DeletionTimestamp.IsZero():
		return shownResource(gone, "deleted"), nil
	case !flags.wait:
		return shownResource(gone, "deletion requested"), nil
	}
	return c.awaitGone(ctx, manager, t, gone, flags.timeout)
}

// awaitGone waits for a resource whose finalizers have to be done first.
func (c *command) awaitGone(ctx context.Context, manager *client.Client, t target, gone api.Object, timeout time.Duration) (shown, error) {
	last := gone
	err := poll(ctx, timeout, func() (bool, error) {
		o, err := manager.Get(ctx, t.kind, t.name)
		if client.IsNotFound(err) || err == nil && o.Meta().Uid != gone.Meta().Uid {
			return true, nil
		}
		if err == nil {
			last = o
		}
		return false, err
	})
	if errors.Is(err, errTimeout) {
		return shown{}, fmt.Errorf("%s: is to be deleted, but is still there after %s: it waits for %s", t, timeout, strings.Join(last.Meta().Finalizers, ", "))
	}
	if err != nil {
		return shown{}, fmt.Errorf("%s: %w", t, err)
	}
	return shownResource(gone, "deleted"), nil
}
