package cache

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cyphonic/cyphonic/manager/store"
)

// rounds let all who ask at about the same time share one read of the store's
// revision.
type rounds struct {
	asked chan struct{} // one place: next has been made

	mu   sync.Mutex
	next *round // under mu: the one that has not begun
}

// round is one read. Its fields are valid after done is closed.
type round struct {
	done     chan struct{}
	revision int64
	err      error
}

// join returns a round that has not begun.
func (r *rounds) join() *round {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.next == nil {
		r.next = &round{done: make(chan struct{})}
		select {
		case r.asked <- struct{}{}:
		default:
		}
	}
	return r.next
}

// begin takes the round that who asks from now on does not join, or nil.
func (r *rounds) begin() *round {
	r.mu.Lock()
	defer r.mu.Unlock()
	begun := r.next
	r.next = nil
	return begun
}

// Fresh waits until the cache shows all that was in the store when Fresh was
// called. The error is ctx.Err(), or wraps store.ErrUnavailable.
func (c *Cache) Fresh(ctx context.Context) error {
	start := time.Now()
	boundCtx, cancel := context.WithTimeout(ctx, freshTimeout)
	defer cancel()
	err := c.fresh(boundCtx)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("%w: the cache has not caught up within %v", store.ErrUnavailable, freshTimeout)
	}
	if err == nil {
		c.metrics.fresh.Observe(time.Since(start).Seconds())
	}
	return err
}

func (c *Cache) fresh(ctx context.Context) error {
	r := c.rounds.join()
	select {
	case <-r.done:
	case <-ctx.Done():
		return ctx.Err()
	case <-c.ended:
		return fmt.Errorf("%w: the cache has stopped", store.ErrUnavailable)
	}
	if r.err != nil {
		return r.err
	}
	return c.Await(ctx, r.revision)
}

// Await waits until the cache shows everything up to a revision, for example
// that of a write that has just been done.
func (c *Cache) Await(ctx context.Context, revision int64) error {
	for {
		c.mu.RLock()
		if c.loaded && c.revision >= revision {
			c.mu.RUnlock()
			return nil
		}
		moved := c.moved
		c.mu.RUnlock()
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		case <-c.ended:
			return fmt.Errorf("%w: the cache has stopped", store.ErrUnavailable)
		}
	}
}

// want has the watch asked for a revision if it does not come by itself. mu is
// held.
func (c *Cache) want(revision int64) {
	if revision <= c.wanted {
		return
	}
	c.wanted = revision
	select {
	case c.prodded <- struct{}{}:
	default:
	}
}

// refresh reads the revision of the store for those who ask, one read at a
// time, and now and then by itself.
func (c *Cache) refresh(ctx context.Context) error {
	tick := time.NewTicker(probeInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-c.rounds.asked:
		case <-tick.C:
		}
		r := c.rounds.begin()
		if r == nil {
			r = &round{done: make(chan struct{})} // nobody waits for it
		}
		at := c.now()
		readCtx, cancel := context.WithTimeout(ctx, freshTimeout)
		r.revision, r.err = c.store.Revision(readCtx)
		cancel()
		if r.err != nil && !errors.Is(r.err, store.ErrUnavailable) {
			r.err = fmt.Errorf("%w: %w", store.ErrUnavailable, r.err)
		}
		if r.err == nil {
			c.noteProbe(r.revision, at)
		}
		close(r.done)
	}
}

func (c *Cache) noteProbe(revision int64, at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.probe.revision == 0 || revision <= c.revision {
		c.probe = probe{revision, at}
	}
	c.want(revision)
	c.settle()
}

// prod asks the watch for progress until the cache shows what is wanted:
// changes elsewhere make the revision of the store grow too, and a watch tells
// of them by itself only after minutes.
func (c *Cache) prod(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-c.prodded:
		}
		for wait := progressGrace; ctx.Err() == nil && !c.reached(ctx, wait); wait = progressInterval {
			c.mu.RLock()
			w := c.watcher
			c.mu.RUnlock()
			if w == nil {
				continue
			}
			askCtx, cancel := context.WithTimeout(ctx, freshTimeout)
			if err := w.Progress(askCtx); err != nil && ctx.Err() == nil {
				c.log.Debug("the watch cannot be asked for progress", "err", err)
			}
			cancel()
		}
	}
}

// reached waits a moment for what is wanted.
func (c *Cache) reached(ctx context.Context, wait time.Duration) bool {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		c.mu.RLock()
		ok, moved := c.revision >= c.wanted, c.moved
		c.mu.RUnlock()
		if ok {
			return true
		}
		select {
		case <-moved:
		case <-timer.C:
			return false
		case <-ctx.Done():
			return false
		}
	}
}
