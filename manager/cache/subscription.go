package cache

import (
	"context"
	"fmt"

	"github.com/cyphonic/cyphonic/manager/store"
)

// topic is what a change is announced to: the kind alone, or one adapter or
// one name of the kind.
type topic struct{ plural, adapter, name string }

// Subscription delivers the changes of one kind, each once, in the order of
// revisions, several changes of one resource as one. Changes wait in the
// history that all subscriptions share (by kind), or in a short queue of what
// concerns the subscription (by adapter and by name), so that ten thousand
// adapters do not look at one another's changes. It is used by one goroutine.
type Subscription struct {
	cache *Cache
	topic topic
	match func(*Item) bool // nil: everything
	wake  chan struct{}    // one place: something may have come

	// Written under Cache.mu, or under its read lock by the one goroutine.
	after   int64    // the subscriber knows everything up to this revision
	behind  bool     // there is something in the history from cursor on
	cursor  uint64   // number of the next change in the history to look at
	until   uint64   // by adapter and by name: where the queue goes on
	pending []Change // by adapter and by name: the queue
	lost    bool     // too much came
	closed  bool
}

// Subscribe delivers the changes of a kind after a revision to which match
// applies. A change makes a resource appear (Before is nil) when it begins to
// match, and disappear (After is nil) when it ceases to. match may be nil. The
// error wraps store.ErrCompacted if the history does not reach back so far.
func (c *Cache) Subscribe(plural string, after int64, match func(*Item) bool) (*Subscription, error) {
	return c.subscribe(topic{plural: plural}, after, match)
}

// SubscribeCarriedBy is Subscribe for the resources of one adapter
// (spec.adapter). What others do costs it nothing.
func (c *Cache) SubscribeCarriedBy(plural, adapter string, after int64, match func(*Item) bool) (*Subscription, error) {
	return c.subscribe(topic{plural: plural, adapter: adapter}, after, func(i *Item) bool {
		return i.Adapter == adapter && (match == nil || match(i))
	})
}

// SubscribeName is Subscribe for one resource. What others do costs it nothing.
func (c *Cache) SubscribeName(plural, name string, after int64, match func(*Item) bool) (*Subscription, error) {
	return c.subscribe(topic{plural: plural, name: name}, after, func(i *Item) bool {
		return i.Name == name && (match == nil || match(i))
	})
}

func (c *Cache) subscribe(t topic, after int64, match func(*Item) bool) (*Subscription, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case !c.loaded:
		return nil, fmt.Errorf("subscribe to %s: %w: nothing has been read yet", t.plural, store.ErrUnavailable)
	case after < c.history.floor:
		return nil, fmt.Errorf("subscribe to %s after revision %d: %w", t.plural, after, store.ErrCompacted)
	case c.subscribed >= subscriptionLimit:
		return nil, fmt.Errorf("subscribe to %s: %w: there are %d subscriptions", t.plural, store.ErrUnavailable, c.subscribed)
	}
	s := &Subscription{cache: c, topic: t, match: match, after: after, wake: make(chan struct{}, 1)}
	s.cursor, s.until = c.history.after(after), c.history.next
	s.behind = s.cursor < s.until
	group := c.topics[t]
	if group == nil {
		group = make(map[*Subscription]struct{})
		c.topics[t] = group
	}
	group[s] = struct{}{}
	c.subscribed++
	return s, nil
}

// announce tells the subscriptions that a change concerns, which has a number
// in the history. Cache.mu is held.
func (c *Cache) announce(plural string, change Change, number uint64) {
	c.tell(topic{plural: plural}, change, number)
	c.tell(topic{plural: plural, name: change.name()}, change, number)
	var adapters [2]string
	if change.Before != nil {
		adapters[0] = change.Before.Adapter
	}
	if change.After != nil && change.After.Adapter != adapters[0] {
		adapters[1] = change.After.Adapter
	}
	for _, a := range adapters {
		if a != "" {
			c.tell(topic{plural: plural, adapter: a}, change, number)
		}
	}
}

func (c *Cache) tell(t topic, change Change, number uint64) {
	for s := range c.topics[t] {
		if s.narrow() {
			s.push(change)
		} else if !s.behind {
			s.behind, s.cursor = true, number
		}
		s.rouse()
	}
}

// narrow says that the subscription has a queue of its own.
func (s *Subscription) narrow() bool { return s.topic.adapter != "" || s.topic.name != "" }

func (s *Subscription) push(change Change) {
	if s.lost || change.Revision <= s.after {
		return
	}
	if len(s.pending) >= pendingChanges {
		if s.pending = merged(s.pending); len(s.pending) > pendingChanges/2 {
			s.lost, s.pending = true, nil
			s.cache.metrics.overruns.Inc()
			return
		}
	}
	s.pending = append(s.pending, change)
}

func (s *Subscription) rouse() {
	select {
	case s.wake <- struct{}{}:
	default: // it will look anyway
	}
}

// Next waits for changes. The subscriber then knows all there is up to the
// returned revision. Instead of changes there may be none: the revision alone
// has grown. After an error other than ctx.Err() the subscription is over; it
// wraps store.ErrCompacted if the subscriber fell too far behind: list again.
func (s *Subscription) Next(ctx context.Context) ([]Change, int64, error) {
	for {
		changes, revision, more, err := s.take()
		if err != nil {
			return nil, 0, err
		}
		changes = matching(merged(changes), s.match)
		if len(changes) > 0 {
			if more {
				s.rouse()
			}
			return changes, revision, nil
		}
		if more {
			if ctx.Err() != nil {
				return nil, 0, ctx.Err()
			}
			continue
		}
		select {
		case <-ctx.Done():
			return nil, 0, ctx.Err()
		case <-s.wake:
		}
	}
}

// Revision is one up to which Next has delivered everything, as high as can be
// said without waiting: what a bookmark tells.
func (s *Subscription) Revision() int64 {
	s.cache.mu.RLock()
	defer s.cache.mu.RUnlock()
	if s.lost || s.behind || len(s.pending) > 0 {
		return s.after
	}
	return max(s.after, s.cache.revision)
}

// Close ends the subscription and frees its place. It may be called twice.
func (s *Subscription) Close() {
	c := s.cache
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.closed {
		return
	}
	s.closed, s.pending = true, nil
	c.subscribed--
	delete(c.topics[s.topic], s)
	if len(c.topics[s.topic]) == 0 {
		delete(c.topics, s.topic)
	}
	s.rouse()
}

// take takes changes that wait, up to a whole revision, and says whether there
// are more.
func (s *Subscription) take() (changes []Change, revision int64, more bool, err error) {
	c := s.cache
	c.mu.RLock()
	defer c.mu.RUnlock()
	switch {
	case s.closed:
		return nil, 0, false, fmt.Errorf("%w: the subscription is closed", store.ErrUnavailable)
	case s.behind && s.cursor < c.history.first && !s.lost:
		s.lost = true
		c.metrics.overruns.Inc()
	}
	if s.lost {
		return nil, 0, false, fmt.Errorf("changes of %s: too far behind: %w", s.topic.plural, store.ErrCompacted)
	}
	if s.behind {
		var done bool
		if changes, done = s.scan(&c.history); !done {
			return changes, s.after, true, nil
		}
		s.behind = false
	}
	changes = append(changes, s.pending...)
	s.pending = nil
	s.after = max(s.after, c.revision)
	return changes, s.after, false, nil
}

// scan looks at a part of the history. It stops only between two revisions.
func (s *Subscription) scan(h *history) (changes []Change, done bool) {
	end := h.next
	if s.narrow() {
		end = s.until
	}
	reached := s.after
	for looked := 0; s.cursor < end; looked++ {
		r := h.at(s.cursor)
		if looked >= scanChanges && r.Revision != reached {
			s.after = max(s.after, reached)
			return changes, false
		}
		reached = r.Revision
		s.cursor++
		if r.Revision > s.after && s.concerns(r) {
			changes = append(changes, r.Change)
		}
	}
	return changes, true
}

func (s *Subscription) concerns(r record) bool {
	t := s.topic
	switch {
	case r.plural != t.plural:
		return false
	case t.name != "":
		return r.name() == t.name
	case t.adapter != "":
		return (r.Before != nil && r.Before.Adapter == t.adapter) || (r.After != nil && r.After.Adapter == t.adapter)
	}
	return true
}
