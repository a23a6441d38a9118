package gitsync

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/api/client"
	"github.com/cyphonic/cyphonic/internal/applyset"
)

// report collects what writers find. It is shared by them.
type report struct {
	mu      sync.Mutex
	refused []api.GitFailure // under mu
}

func (r *report) add(f ...api.GitFailure) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refused = append(r.refused, f...)
}

// carryOut does the steps of a plan: changes rank by rank, several at once
// within a rank, then removals. What is refused does not keep the others from
// being done; an error means that the API cannot be reached or the round is
// over.
func (r *round) carryOut(ctx context.Context, s steps) (*report, error) {
	found := &report{}
	for _, c := range s.changes {
		if c.created {
			r.created[c.key()] = true
		}
	}
	for begin := 0; begin < len(s.changes); {
		end := begin
		for end < len(s.changes) && s.changes[end].kind.Rank == s.changes[begin].kind.Rank {
			end++
		}
		err := together(ctx, s.changes[begin:end], func(ctx context.Context, c change) error { return r.applyOne(ctx, c, found) })
		if err != nil {
			return found, err
		}
		begin = end
	}
	if len(found.refused) > 0 {
		return found, nil // what is left may hold on to what is to be deleted
	}
	for begin := 0; begin < len(s.removals); {
		end := begin
		for end < len(s.removals) && s.removals[end].kind.Rank == s.removals[begin].kind.Rank {
			end++
		}
		err := together(ctx, s.removals[begin:end], func(ctx context.Context, m removal) error { return r.removeOne(ctx, m, found) })
		if err != nil {
			return found, err
		}
		begin = end
	}
	return found, nil
}

// together does something to all items, a few at a time.
func together[T any](ctx context.Context, items []T, do func(context.Context, T) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallelWrites)
	for _, item := range items {
		group.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			return do(ctx, item)
		})
	}
	return group.Wait()
}

func (r *round) applyOne(ctx context.Context, c change, found *report) error {
	err := persist(ctx, func() error {
		_, _, err := r.api.Apply(ctx, c.kind, c.name, c.body, client.WriteOptions{FieldManager: r.manager(), Force: c.force})
		return err
	})
	var problem *client.ProblemError
	if !errors.As(err, &problem) || temporary(err) {
		return err
	}
	found.add(failuresOf(c.document, problem.Problem, r.source.Spec.Path)...)
	return nil
}

// removeOne deletes a resource unless it has been taken out of the apply set,
// or protected, meanwhile.
func (r *round) removeOne(ctx context.Context, m removal, found *report) error {
	err := persist(ctx, func() error {
		for {
			_, err := r.api.Delete(ctx, m.kind, m.name, client.DeleteOptions{IfMatch: m.resourceVersion})
			if client.StatusOf(err) != http.StatusPreconditionFailed {
				return err
			}
			o, err := r.api.Get(ctx, m.kind, m.name)
			if err != nil {
				return err
			}
			if o.Meta().Labels[applyset.Label] != applySetOf(r.source.Metadata.Name) || o.Meta().Annotations[applyset.PruneKey] == applyset.PruneDisabled {
				return nil
			}
			m.resourceVersion = o.Meta().ResourceVersion // devices report all the time
		}
	})
	var problem *client.ProblemError
	if client.IsNotFound(err) || err == nil {
		return nil
	}
	if !errors.As(err, &problem) || temporary(err) {
		return err
	}
	found.add(api.GitFailure{Resource: strings.ToLower(m.kind.Name) + "/" + m.name, Message: clip("cannot be deleted: " + textOf(problem.Problem))})
	return nil
}

// persist repeats what fails for a while.
func persist(ctx context.Context, do func() error) error {
	for attempt := 0; ; attempt++ {
		err := do()
		if err == nil || !temporary(err) || attempt == maxAttempts-1 {
			return err
		}
		wait := max(client.RetryAfter(err), time.Second<<attempt)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
	}
}

// temporary says that the same request may succeed later.
func temporary(err error) bool {
	var unreachable *client.UnreachableError
	if errors.As(err, &unreachable) {
		return true
	}
	switch client.StatusOf(err) {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout, http.StatusRequestTimeout:
		return true
	case http.StatusConflict:
		return client.RetryAfter(err) > 0
	}
	return false
}
