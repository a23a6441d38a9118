package cache

import (
	"context"
	"fmt"
	"runtime"
	"sort"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/manager/store"
)

// load reads all resources at one revision. The first time it also reads what
// happened shortly before; later it finds out what has changed since the last
// time. Either way the subscribers go on.
func (c *Cache) load(ctx context.Context) error {
	start := time.Now()
	l := &loading{cache: c, began: c.now(), tables: make(map[string]*table)}
	if err := l.read(ctx); err != nil {
		return fmt.Errorf("read all resources: %w", err)
	}
	if !c.isLoaded() {
		if err := l.recall(ctx); err != nil {
			c.log.Warn("clients of before cannot resume: what happened lately cannot be read", "err", err)
		}
	}
	l.install()
	c.log.Info("the cache has read all resources", "resources", l.items, "revision", l.revision, "changesBefore", len(l.before), "took", time.Since(start).Round(time.Millisecond))
	return nil
}

// loading is one read of everything, beside what is served meanwhile.
type loading struct {
	cache    *Cache
	began    time.Time // what the store had then, is read
	tables   map[string]*table
	revision int64
	items    int

	before []record // what happened before revision, if it is the first read
	floor  int64    // after which before is complete
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
		all := l.parse(page.Entries)
		for i, e := range page.Entries {
			l.add(e, all[i])
			after = e.Key
		}
	}
	return nil
}

// parse parses what is not known yet on all processors: it is most of the work
// of a start.
func (l *loading) parse(entries []store.Entry) []parsed {
	all := make([]parsed, len(entries))
	var group errgroup.Group
	group.SetLimit(runtime.GOMAXPROCS(0))
	for from := 0; from < len(entries); from += parsePart {
		group.Go(func() error {
			for i := from; i < min(from+parsePart, len(entries)); i++ {
				if plural, name, ok := keyspace.ParseResource(entries[i].Key); ok && l.known(plural, name, entries[i].Revision) == nil {
					all[i] = parse(entries[i])
				}
			}
			return nil
		})
	}
	_ = group.Wait() // nothing fails
	return all
}

// known is the item that is served already if it is of the revision, or nil.
func (l *loading) known(plural, name string, revision int64) *Item {
	item, ok := l.cache.View(plural).Get(name)
	if !ok || item.Revision != revision {
		return nil
	}
	return item
}

// add takes over one entry. An item that has not changed stays the same one,
// so that a second read needs little memory.
func (l *loading) add(e store.Entry, p parsed) {
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
	if known := l.known(plural, name, e.Revision); known != nil {
		t.put(known)
		return
	}
	t.put(l.cache.finish(name, e, p))
}

// install replaces the tables.
func (l *loading) install() {
	c := l.cache
	changes := l.changes()
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.loaded {
		c.history.floor = l.revision
		if len(l.before) > 0 {
			c.history.floor = l.floor
		}
		for _, r := range l.before {
			c.history.add(r)
		}
		c.loaded = true
		close(c.ready)
	}
	c.tables = l.tables
	if l.began.After(c.currentAt) {
		c.currentAt = l.began
	}
	for _, change := range changes {
		c.record(change.plural, change.Change)
	}
	if c.revision > 0 && l.revision > c.revision {
		// Who knows a revision in between cannot resume: what happened then is
		// known only as a whole.
		c.history.floor = l.revision
	}
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
