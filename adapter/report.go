package adapter

import (
	"context"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/api/client"
	"github.com/cyphonic/cyphonic/internal/enrolment"
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
	s.Reason = clip(s.Reason, api.MaxReason)
	for i := range s.Conditions {
		s.Conditions[i].Message = clip(s.Conditions[i].Message, api.MaxMessage)
	}
	r.mu.Lock()
	r.waiting[name] = s
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// clip cuts a text for people to the bytes that the manager takes of it.
func clip(text string, most int) string {
	if len(text) <= most {
		return text
	}
	const more = "…"
	return strings.ToValidUTF8(text[:most-len(more)], "") + more
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
		wait := max(client.RetryAfter(err), enrolment.Delay(min(attempt, maxFollowBackoff), err))
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
		attempt++
		select {
		case r.wake <- struct{}{}:
		default:
		}
	}
}

// flush sends what waits, a few at a time; what fails waits again unless something newer does. After a failure no more is begun: a manager that has too much
// to do is not asked for more.
func (r *reporter) flush(ctx context.Context) error {
	manager := r.manager.Load()
	if manager == nil {
		return errNoManager
	}
	r.mu.Lock()
	batch := r.waiting
	r.waiting = make(map[string]api.GeneralNodeStatus)
	r.mu.Unlock()
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(maxReports)
	for _, name := range slices.Sorted(maps.Keys(batch)) {
		group.Go(func() error {
			err := groupCtx.Err()
			if err == nil {
				err = r.settled(name, r.send(ctx, manager, name, batch[name]))
			}
			if err != nil {
				r.again(name, batch[name])
			}
			return err
		})
	}
	return group.Wait()
}

// settled returns the error of a report that is worth another attempt.
func (r *reporter) settled(name string, err error) error {
	switch status := client.StatusOf(err); {
	case err == nil, client.IsNotFound(err):
		return nil
	case status == http.StatusUnauthorized, status == http.StatusRequestTimeout, status == http.StatusConflict, status == http.StatusTooManyRequests,
		status < 400, status >= 500:
		return err
	}
	r.log.Warn("the manager refuses a state", "generalNode", name, "error", err)
	return nil
}

// again lets a state wait unless a newer one does.
func (r *reporter) again(name string, s api.GeneralNodeStatus) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, newer := r.waiting[name]; !newer {
		r.waiting[name] = s
	}
}

func (r *reporter) send(ctx context.Context, manager *client.Client, name string, s api.GeneralNodeStatus) error {
	ctx, cancel := context.WithTimeout(ctx, managerTimeout)
	defer cancel()
	g := &api.GeneralNode{Metadata: api.ObjectMeta{Name: name}, Status: s}
	_, err := manager.PutAdapterGeneralNodeStatus(ctx, r.adapter, g)
	return err
}
