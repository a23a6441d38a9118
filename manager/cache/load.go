package cache

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"time"

	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/manager/store"
)

// load reads all resources at one revision. The first time it begins at an
// older revision, if there is one, so that the watch repeats recent changes.
// Later it finds out what has changed since, and tells the subscribers.
func (c *Cache) load(ctx context.Context) error {
	start := time.Now()
	revision, err := c.startRevision(ctx)
	if err != nil {
		return err
	}
	l := &loading{cache: c, tables: make(map[string]*table), revision: revision}
	err = l.read(ctx)
	if errors.Is(err, store.ErrCompacted) && revision != 0 { // it was compacted while it was read
		l = &loading{cache: c, tables: make(map[string]*table)}
		err = l.read(ctx)
	}
	if err != nil {
		return fmt.Errorf("read all resources: %w", err)
	}
	l.install()
	c.log.Info("the cache has read all resources", "resources", l.items, "revision", l.revision, "took", time.Since(start).Round(time.Millisecond))
	return nil
}

// startRevision chooses where the first load begins; 0 is the newest revision.
func (c *Cache) startRevision(ctx context.Context) (int64, error) {
	if c.isLoaded() {
		return 0, nil
	}
	newest, err := c.store.Revision(ctx)
	if err != nil {
		return 0, err
	}
	for back := int64(replayRevisions); back > 0; back /= 4 {
		old := max(newest-back, 1)
		_, err := c.store.List(ctx, keyspace.ResourcesPrefix, store.ListOptions{Revision: old, Limit: 1, KeysOnly: true})
		if err == nil {
			return old, nil
		}
		if !errors.Is(err, store.ErrCompacted) {
			return 0, err
		}
	}
	return 0, nil
}

// loading is one read of everything, beside what is served meanwhile.
type loading struct {
	cache    *Cache
	tables   map[string]*table
	revision int64
	items    int
}

// read reads page after page.
func (l *loading) read(ctx context.Context) error {
	for after, more := "", true; more; {
		page, err := l.cache.store.List(ctx, keyspace.ResourcesPrefix, store.ListOptions{
			Revision: l.revision, Limit: loadPage, After: after,
		})
		if err != nil {
			return err
		}
		l.revision, more = page.Revision, page.More
		for _, e := range page.Entries {
			l.add(e)
			after = e.Key
		}
	}
	return nil
}

// add takes over one entry. An item that has not changed stays the same one,
// so that a second read needs little memory.
func (l *loading) add(e store.Entry) {
	plural, name, ok := keyspace.ParseResource(e.Key)
	if !ok {
		return
	}
	t := l.tables[plural]
	if t == nil {
		t = newTable(intern(plural))
		l.tables[t.plural] = t
	}
	l.items++
	if known, ok := l.cache.View(plural).Get(name); ok && known.Revision == e.Revision {
		t.put(known)
		return
	}
	t.put(l.cache.decode(name, e))
}

// install replaces the tables.
func (l *loading) install() {
	c := l.cache
	changes := l.changes()
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.loaded {
		c.history.reset(l.revision)
		c.loaded = true
		close(c.ready)
	}
	c.tables = l.tables
	for _, change := range changes {
		c.record(change.plural, change.Change)
	}
	// Who knows a revision in between cannot resume: what happened then is
	// known only as a whole.
	c.history.floor = max(c.history.floor, l.revision)
	c.advance(l.revision)
	c.settle()
}

// changes compares what was read with what is served, in the order of
// revisions. Nobody else changes what is served meanwhile.
func (l *loading) changes() []record {
	c := l.cache
	if !c.isLoaded() {
		return nil
	}
	var all []record
	for plural, t := range l.tables {
		old := c.View(plural)
		t.items.Ascend(func(i *Item) bool {
			before, _ := old.Get(i.Name)
			switch {
			case before == i:
			case before != nil && before.CreateRevision != i.CreateRevision: // deleted and created
				all = append(all, record{Change{Before: before, Revision: i.CreateRevision}, t.plural})
				before = nil
				fallthrough
			default:
				all = append(all, record{Change{Before: before, After: i, Revision: i.Revision}, t.plural})
			}
			return true
		})
	}
	c.mu.RLock()
	var plurals []string
	for plural := range c.tables {
		plurals = append(plurals, plural)
	}
	c.mu.RUnlock()
	for _, plural := range plurals {
		t := l.tables[plural]
		c.View(plural).Ascend("", func(i *Item) bool {
			if t == nil || !t.items.Has(i) {
				all = append(all, record{Change{Before: i, Revision: l.revision}, plural})
			}
			return true
		})
	}
	sort.SliceStable(all, func(i, j int) bool { return all[i].Revision < all[j].Revision })
	return all
}
