package reconcile

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/manager/access"
	"github.com/cyphonic/cyphonic/manager/rest"
	"github.com/cyphonic/cyphonic/manager/store"
)

// Cascader is what rest.Server does about deletions that wait.
type Cascader interface {
	Waiting(ctx context.Context, limit int) ([]api.ObjectReference, error)
	Cascade(ctx context.Context, ref api.ObjectReference, limit int) (rest.CascadeProgress, error)
}

// Deletions goes on with cascading deletions, a batch of each at a time, so
// that a large one does not hold up small ones. Its progress is in the
// conditions and events of the resources.
func Deletions(c Cascader, log *slog.Logger) Work {
	return Work{"deletion", func(ctx context.Context, _ store.Leadership) error {
		ctx = rest.WithPrincipal(ctx, access.ForSystem("deletion"))
		for ctx.Err() == nil {
			busy, err := deletionPass(ctx, c, log)
			if err != nil {
				return err
			}
			if !busy {
				pause(ctx, deletionInterval)
			}
		}
		return nil
	}}
}

// deletionPass says whether another pass would get on.
func deletionPass(ctx context.Context, c Cascader, log *slog.Logger) (busy bool, err error) {
	waiting, err := c.Waiting(ctx, deletionObjects)
	if err != nil {
		return false, fmt.Errorf("look for deletions that wait: %w", err)
	}
	for _, ref := range waiting {
		if ctx.Err() != nil {
			return false, nil
		}
		progress, err := c.Cascade(ctx, ref, deletionBatch)
		if err != nil {
			return false, fmt.Errorf("delete what refers to %s %s: %w", ref.Kind, ref.Name, err)
		}
		if progress.Deleted > 0 {
			busy = true
			log.Info("deleted what refers to a resource that is being deleted", "kind", ref.Kind, "name", ref.Name, "deleted", progress.Deleted, "left", progress.Left)
		}
	}
	return busy, nil
}
