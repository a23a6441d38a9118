package adapter

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/api/client"
)

// reporter tells the manager the states of general nodes. Only the latest state of each waits, so that a
// flapping device or a manager that is away costs nothing.
type reporter struct {
	adapter string
	manager *atomic.Pointer[client.Client]
	log     *slog.Logger
	wake    chan struct{}

	mu      sync.Mutex
	waiting map[string]api.GeneralNodeStatus
}

func newReporter(adapter string, manager *atomic.Pointer[client.Client], log *slog.Logger) *reporter {
	return &reporter{adapter: adapter, manager: manager, log: log, wake: make(chan struct{}, 1), waiting: make(map[string]api.GeneralNodeStatus)}
}

// report replaces what waits for a general node.
func (r *reporter) report(name string, s api.GeneralNodeStatus) {
	r.mu.Lock()
	r.waiting[name] = s
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// drop forgets what waits for a general node that has left the list.
func (r *reporter) drop(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.waiting, name)
}

// Run sends until ctx ends, and what waits then in one last attempt.
func (r *reporter) Run(ctx context.Context) error {
	defer func() {
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastReport)
		defer cancel()
		if err := r.flush(last); err != nil {
			r.log.Debug("last states not reported", "error", err)
		}
	}()
	for attempt := 0; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-r.wake:
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(reportInterval):
		}
		err := r.flush(ctx)
		if err == nil {
			attempt = 0
			continue
		}
		r.log.Debug("states not reported", "error", err)
		pause(ctx, min(attempt, maxFollowBackoff), err)
		attempt++
		select {
		case r.wake <- struct{}{}:
		default:
		}
	}
}

// flush sends what waits; what fails waits again unless something newer does.
func (r *reporter) flush(ctx context.Context) error {
	manager := r.manager.Load()
	if manager == nil {
		return errNoManager
	}
	r.mu.Lock()
	batch := r.waiting
	r.waiting = make(map[string]api.GeneralNodeStatus)
	r.mu.Unlock()
	var failed error
	for name, s := range batch {
		if failed == nil {
			err := r.send(ctx, manager, name, s)
			if err == nil || client.IsNotFound(err) {
				continue
			}
			if status := client.StatusOf(err); status >= 400 && status < 500 && status != 401 && status != 409 && status != 429 {
				r.log.Warn("the manager refuses a state", "generalNode", name, "error", err)
				continue
			}
			failed = err
		}
		r.mu.Lock()
		if _, newer := r.waiting[name]; !newer {
			r.waiting[name] = s
		}
		r.mu.Unlock()
	}
	return failed
}

func (r *reporter) send(ctx context.Context, manager *client.Client, name string, s api.GeneralNodeStatus) error {
	ctx, cancel := context.WithTimeout(ctx, managerTimeout)
	defer cancel()
	g := &api.GeneralNode{Metadata: api.ObjectMeta{Name: name}, Status: s}
	_, err := manager.PutAdapterGeneralNodeStatus(ctx, r.adapter, g)
	return err
}
