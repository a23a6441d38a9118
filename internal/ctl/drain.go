package ctl

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/api/client"
)

type drainFlags struct {
	undo    bool
	force   bool
	timeout time.Duration
}

// drainable is something that serves others and can be asked to stop doing so before it goes away. Each kind of it has one implementation.
type drainable interface {
	// set says in the desired state whether it shall be drained.
	set(ctx context.Context, drained bool) error
	// busy returns what it serves still, by name.
	busy(ctx context.Context) ([]string, error)
	// noun is what it serves, for people.
	noun() (one, several string)
}

func (c *command) drainCommand() *cobra.Command {
	var flags drainFlags
	cmd := &cobra.Command{
		Use:   "drain adapter/NAME | replica/NAME | host/NAME",
		Short: "Take the load off something before it goes away",
		Long: `Take the load off something before it goes away, and wait until it has none.

An adapter that is drained treats all its general nodes as disabled; it stays so, also when it is restarted, until --undo.

A replica of a service that is drained leaves the balancer, hands over what it owns, refuses what is new, finishes what is under way and ends: it is drained when it has
gone, and nothing takes that back. host/NAME drains all replicas of a host, managers last. Neither is done, unless with --force, if no other replica of the service is Ready.
What restarts replicas that end (systemd, Kubernetes) starts another one.`,
		Example: `  cyphonicctl drain adapter/gateway-a --timeout 2m
  cyphonicctl drain adapter/gateway-a --undo
  cyphonicctl drain replica/nms-0c9d1f5e7a3b2468
  cyphonicctl drain host/host-a`,
		Args:              cobra.RangeArgs(1, 2),
		Annotations:       formats(""),
		ValidArgsFunction: c.completeTargets,
		RunE: func(cmd *cobra.Command, args []string) error {
			if host, ok := hostNamed(args); ok {
				return c.withManager(func(manager *client.Client) error { return c.drainHost(cmd.Context(), manager, host, flags) })
			}
			targets, err := targetsOf(args)
			if err != nil {
				return err
			}
			if len(targets) != 1 || targets[0].name == "" {
				return &usageError{errors.New("name one thing to drain, as in adapter/gateway-a")}
			}
			manager, err := c.connect()
			if err != nil {
				return err
			}
			defer manager.Close()
			if targets[0].kind.Name == replicaKind().Name {
				return c.drainReplica(cmd.Context(), manager, targets[0], flags)
			}
			d, err := drainableOf(manager, targets[0])
			if err != nil {
				return err
			}
			return c.drain(cmd.Context(), d, targets[0], flags)
		},
	}
	cmd.Flags().BoolVar(&flags.undo, "undo", false, "let an adapter serve again")
	cmd.Flags().BoolVar(&flags.force, "force", false, "drain also the last replica of a service that is Ready")
	cmd.Flags().DurationVar(&flags.timeout, "timeout", drainTimeout, "how long to wait; 0: not at all")
	return cmd
}

func drainableOf(manager *client.Client, t target) (drainable, error) {
	if t.kind.Name == "Adapter" {
		return &drainableAdapter{manager, t}, nil
	}
	return nil, &usageError{fmt.Errorf("%s cannot be drained: only adapters, replicas and hosts can", t)}
}

func (c *command) drain(ctx context.Context, d drainable, t target, flags drainFlags) error {
	if err := d.set(ctx, !flags.undo); err != nil {
		return fmt.Errorf("%s: %w", t, err)
	}
	if flags.undo {
		_, err := fmt.Fprintln(c.Stdout, t, "serves again")
		return err
	}
	_, several := d.noun()
	p := c.newProgress(fmt.Sprintf("draining %s: %s left", t, several))
	defer p.done()
	var left []string
	wait := func() (done bool, err error) {
		if left, err = d.busy(ctx); err != nil {
			return false, err
		}
		p.at(len(left), 0)
		return len(left) == 0, nil
	}
	if flags.timeout == 0 {
		_, err := fmt.Fprintln(c.Stdout, t, "is told to drain")
		return err
	}
	err := poll(ctx, flags.timeout, wait)
	p.done()
	if errors.Is(err, errTimeout) {
		one, several := d.noun()
		return fmt.Errorf("%s: %s still up after %s (%s): it stays told to drain; wait longer with --timeout, or take it back with --undo",
			t, count(int64(len(left)), one+" is", several+" are"), flags.timeout, someOf(left, maxStillUp))
	}
	if err != nil {
		return fmt.Errorf("%s: %w", t, err)
	}
	_, err = fmt.Fprintln(c.Stdout, t, "is drained")
	return err
}

// someOf names the first ones.
func someOf(names []string, shown int) string {
	if len(names) > shown {
		return strings.Join(names[:shown], ", ") + ", …"
	}
	return strings.Join(names, ", ")
}

type drainableAdapter struct {
	manager *client.Client
	target  target
}

func (a *drainableAdapter) set(ctx context.Context, drained bool) error {
	patch := `{"spec":{"drained":null}}`
	if drained {
		patch = `{"spec":{"drained":true}}`
	}
	_, err := a.manager.Patch(ctx, a.target.kind, a.target.name, []byte(patch), client.WriteOptions{FieldManager: defaultFieldManager + "-drain"})
	return err
}

func (a *drainableAdapter) busy(ctx context.Context) (names []string, err error) {
	kind, _ := api.KindNamed("GeneralNode")
	options := client.ListOptions{Fields: "spec.adapter=" + a.target.name + ",status.phase=" + string(api.DevicePhaseUp)}
	options.Restart = func() { names = nil }
	err = a.manager.ListPages(ctx, kind, options, func(page api.List) error {
		for _, o := range page.Items {
			names = append(names, nameOf(o))
		}
		return nil
	})
	return names, err
}

func (*drainableAdapter) noun() (one, several string) { return "general node", "general nodes" }
