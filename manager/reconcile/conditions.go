package reconcile

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/api/client"
	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/manager/cache"
	"github.com/cyphonic/cyphonic/manager/store"
)

// View is what is read of the cache.
type View interface {
	View(plural string) cache.View
	AllocatedAddresses(network string) (v4, v6 int64)
	Ready() <-chan struct{}
}

// Conditions keeps the conditions of policies and networks true. writer speaks
// to the API as the system.
func Conditions(v View, writer *client.Client, log *slog.Logger, now func() time.Time) Work {
	return Work{"conditions", func(ctx context.Context, _ store.Leadership) error {
		select {
		case <-ctx.Done():
			return nil
		case <-v.Ready():
		}
		c := &conditions{view: v, writer: writer, log: log, now: now}
		for ctx.Err() == nil {
			if err := c.pass(ctx); err != nil {
				return err
			}
			pause(ctx, conditionsInterval)
		}
		return nil
	}}
}

// conditions is one term's work. It belongs to one goroutine.
type conditions struct {
	view   View
	writer *client.Client
	log    *slog.Logger
	now    func() time.Time
	seen   int64 // revision of the store at the last complete pass
	left   int   // conditions that may still be written in this pass
}

func (c *conditions) pass(ctx context.Context) error {
	revision := c.view.View(keyspace.AccessPolicies).Revision()
	if revision == c.seen {
		return nil
	}
	c.left = maxConditionWrites
	if err := errors.Join(c.policies(ctx), c.networks(ctx)); err != nil {
		return err
	}
	if c.left > 0 {
		c.seen = revision
	}
	return nil
}

func (c *conditions) policies(ctx context.Context) error {
	byNetwork := map[string][]*api.AccessPolicy{}
	c.view.View(keyspace.AccessPolicies).Ascend("", func(i *cache.Item) bool {
		p := new(api.AccessPolicy)
		if json.Unmarshal(i.Value, p) == nil && p.Metadata.DeletionTimestamp.IsZero() {
			p.Metadata.ResourceVersion = fmt.Sprint(i.Revision)
			byNetwork[i.Network] = append(byNetwork[i.Network], p)
		}
		return true
	})
	seen := make(map[string]*sights, len(byNetwork))
	for network, policies := range byNetwork {
		seen[network] = newSights(policies)
	}
	for kind, plural := range map[string]string{"Node": keyspace.Nodes, "GeneralNode": keyspace.GeneralNodes} {
		c.view.View(plural).Ascend("", func(i *cache.Item) bool {
			if s := seen[i.Network]; s != nil {
				s.add(seenDevice{kind, i.Name, i.Labels})
			}
			return ctx.Err() == nil
		})
	}
	for network, policies := range byNetwork {
		for _, p := range policies {
			if err := c.write(ctx, p, &p.Status.Conditions, seen[network].matched(p)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *conditions) networks(ctx context.Context) error {
	var networks []*api.Network
	c.view.View(keyspace.Networks).Ascend("", func(i *cache.Item) bool {
		n := new(api.Network)
		if json.Unmarshal(i.Value, n) == nil && n.Metadata.DeletionTimestamp.IsZero() {
			n.Metadata.ResourceVersion = fmt.Sprint(i.Revision)
			networks = append(networks, n)
		}
		return true
	})
	for _, n := range networks {
		v4, v6 := c.view.AllocatedAddresses(n.Metadata.Name)
		if err := c.write(ctx, n, &n.Status.Conditions, addressesAvailable(n, v4, v6)); err != nil {
			return err
		}
	}
	return nil
}

// write puts a condition into the status of a resource if it says anything new.
// If the resource has changed meanwhile the next pass looks at it again.
func (c *conditions) write(ctx context.Context, o api.Object, conditions *[]api.Condition, wanted api.Condition) error {
	if ctx.Err() != nil || c.left <= 0 {
		return nil
	}
	merged, changed := merge(*conditions, wanted, c.now())
	if !changed {
		return nil
	}
	*conditions = merged
	c.left--
	_, err := c.writer.PutStatus(ctx, o)
	switch status := client.StatusOf(err); {
	case err == nil, ctx.Err() != nil, status == http.StatusNotFound, status == http.StatusConflict, status == http.StatusPreconditionFailed:
		return nil
	case status == http.StatusBadRequest:
		c.log.Warn("a condition cannot be written", "kind", o.KindName(), "name", o.Meta().Name, "err", err)
		return nil
	}
	return fmt.Errorf("write the conditions of %s %s: %w", o.KindName(), o.Meta().Name, err)
}

// merge puts a condition among others. The time of its last transition is now
// only if its status changes; changed is false if it says nothing new.
func merge(conditions []api.Condition, wanted api.Condition, now time.Time) (_ []api.Condition, changed bool) {
	wanted.LastTransitionTime = now.UTC().Truncate(time.Second)
	i := slices.IndexFunc(conditions, func(c api.Condition) bool { return c.Type == wanted.Type })
	if i < 0 {
		return append(slices.Clone(conditions), wanted), true
	}
	old := conditions[i]
	if old.Status == wanted.Status {
		wanted.LastTransitionTime = old.LastTransitionTime
	}
	if old == wanted {
		return conditions, false
	}
	out := slices.Clone(conditions)
	out[i] = wanted
	return out, true
}
