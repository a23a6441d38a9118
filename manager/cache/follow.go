package cache

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/manager/store"
)

// follow reads everything and then the changes, again and again.
func (c *Cache) follow(ctx context.Context) error {
	relist := true
	for wait := retryMin; ctx.Err() == nil; {
		reached := c.known()
		err := c.session(ctx, relist)
		if ctx.Err() != nil {
			return nil
		}
		relist = errors.Is(err, store.ErrCompacted) || !c.isLoaded()
		if relist && c.isLoaded() {
			c.metrics.relists.Inc()
		}
		if c.known() > reached {
			wait = retryMin
		}
		c.log.Warn("the cache does not follow the store; trying again", "err", err, "revision", c.known(), "listAgain", relist)
		select {
		case <-ctx.Done():
		case <-time.After(wait/2 + rand.N(wait)): // not all replicas at once
		}
		wait = min(2*wait, retryMax)
	}
	return nil
}

func (c *Cache) known() int64 {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.revision
}

func (c *Cache) isLoaded() bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.loaded
}

// session is one watch, after a list if one is needed.
func (c *Cache) session(ctx context.Context, relist bool) error {
	if relist {
		if err := c.load(ctx); err != nil {
			return err
		}
	}
	w, err := c.store.Watch(ctx, keyspace.ResourcesPrefix, c.known())
	if err != nil {
		return err
	}
	defer w.Close()
	c.attach(w)
	defer c.attach(nil)
	for {
		batch, err := w.Next(ctx)
		if err != nil {
			return err
		}
		c.apply(batch)
	}
}

// attach says which watch can be asked for progress.
func (c *Cache) attach(w store.Watcher) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.watcher = w
	if w != nil && c.wanted > c.revision { // it was asked for while there was no watch
		select {
		case c.prodded <- struct{}{}:
		default:
		}
	}
}

// news is an event with its item; item is nil if the resource was deleted.
type news struct {
	plural, name string
	item         *Item
	revision     int64
}

// apply takes over what the watch delivered.
func (c *Cache) apply(batch store.Batch) {
	all := make([]news, 0, len(batch.Events))
	for _, e := range batch.Events {
		plural, name, ok := keyspace.ParseResource(e.Entry.Key)
		if !ok {
			continue
		}
		n := news{plural: plural, name: name, revision: e.Entry.Revision}
		if e.Type == store.EventPut {
			n.item = c.decode(name, e.Entry)
		}
		all = append(all, n)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range all {
		if n.revision <= c.revision {
			continue
		}
		t := c.table(n.plural)
		change := Change{After: n.item, Revision: n.revision}
		if n.item != nil {
			change.Before = t.put(n.item)
		} else {
			change.Before = t.remove(n.name)
		}
		if change.Before != nil || change.After != nil {
			c.record(t.plural, change)
		}
	}
	c.advance(batch.Revision)
}

// decode makes an item; one that cannot be decoded is reported.
func (c *Cache) decode(name string, e store.Entry) *Item { return c.finish(name, e, parse(e)) }

// finish is decode for a value that has been parsed.
func (c *Cache) finish(name string, e store.Entry, p parsed) *Item {
	item, err := c.decoder.itemOf(name, e, p)
	if err != nil {
		c.metrics.undecodable.Inc()
		c.log.Error("a resource cannot be decoded", "err", fmt.Sprintf("%.200s", err))
	}
	return item
}
