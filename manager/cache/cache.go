package cache

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/cyphonic/cyphonic/manager/store"
)

// Options is what a Cache needs.
type Options struct {
	Store      store.Store
	Log        *slog.Logger
	Registerer prometheus.Registerer
	Now        func() time.Time // nil: time.Now
}

// Cache holds all resources. It is safe for concurrent use.
type Cache struct {
	store   store.Store
	log     *slog.Logger
	now     func() time.Time
	metrics *metrics
	decoder *decoder // of the goroutine that follows
	pins    pins
	rounds  rounds
	ready   chan struct{} // closed when everything has been read
	ended   chan struct{} // closed when Run has ended

	mu         sync.RWMutex
	loaded     bool
	revision   int64
	tables     map[string]*table // by plural
	history    history
	topics     map[topic]map[*Subscription]struct{}
	subscribed int
	moved      chan struct{} // closed and made anew when revision grows
	watcher    store.Watcher // nil while there is none
	wanted     int64         // the highest revision that somebody waits for
	prodded    chan struct{} // one place: wanted has grown
	probe      probe
	currentAt  time.Time
}

// probe is a moment of which the revision of the store is known.
type probe struct {
	revision int64
	at       time.Time
}

// New makes an empty cache that Run fills.
func New(o Options) (*Cache, error) {
	if o.Store == nil || o.Log == nil || o.Registerer == nil {
		return nil, errors.New("cache: Store, Log and Registerer are required")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	c := &Cache{
		store: o.Store, log: o.Log, now: o.Now, decoder: newDecoder(),
		pins:  pins{held: make(map[pinKey]pin)},
		ready: make(chan struct{}), ended: make(chan struct{}),
		rounds:  rounds{asked: make(chan struct{}, 1)},
		tables:  make(map[string]*table),
		history: history{ring: make([]record, historyChanges)},
		topics:  make(map[topic]map[*Subscription]struct{}),
		moved:   make(chan struct{}), prodded: make(chan struct{}, 1),
	}
	m, err := newMetrics(o.Registerer, c)
	if err != nil {
		return nil, fmt.Errorf("cache: %w", err)
	}
	c.metrics = m
	return c, nil
}

// Run follows the store until ctx ends and then returns nil. While the store
// is not available it keeps trying; what is there goes on being served.
func (c *Cache) Run(ctx context.Context) error {
	defer close(c.ended)
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() error { return c.follow(groupCtx) })
	group.Go(func() error { return c.refresh(groupCtx) })
	group.Go(func() error { return c.prod(groupCtx) })
	return group.Wait()
}

// Ready is closed when everything has been read once. Views are empty before.
func (c *Cache) Ready() <-chan struct{} { return c.ready }

// View returns the resources of a kind as the cache knows them. It costs
// little, whatever their number.
func (c *Cache) View(plural string) View {
	c.mu.RLock()
	t := c.tables[plural]
	if t == nil {
		v := View{plural: plural, revision: c.revision}
		c.mu.RUnlock()
		return v
	}
	if t.clean {
		v := t.shown(c.revision)
		c.mu.RUnlock()
		return v
	}
	c.mu.RUnlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.tables[plural].shown(c.revision)
}

// AllocatedAddresses counts the virtual addresses of a network's devices.
func (c *Cache) AllocatedAddresses(network string) (v4, v6 int64) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	for _, t := range c.tables {
		a := t.addresses[network]
		v4, v6 = v4+a.v4, v6+a.v6
	}
	return v4, v6
}

// CurrentAt is a moment, as late as is known, at which the cache showed all
// that the store had. It is the zero Time before the first.
func (c *Cache) CurrentAt() time.Time {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.currentAt
}

// table returns the table of a kind. mu is held.
func (c *Cache) table(plural string) *table {
	t := c.tables[plural]
	if t == nil {
		t = newTable(intern(plural))
		c.tables[t.plural] = t
	}
	return t
}

// record remembers and announces a change. mu is held.
func (c *Cache) record(plural string, change Change) {
	number := c.history.add(record{Change: change, plural: plural})
	c.announce(plural, change, number)
}

// advance says that the cache shows everything up to a revision. mu is held.
func (c *Cache) advance(revision int64) {
	if revision <= c.revision {
		return
	}
	c.revision = revision
	close(c.moved)
	c.moved = make(chan struct{})
	c.settle()
}

// settle notes that the cache is as current as the probe. mu is held.
func (c *Cache) settle() {
	if c.probe.revision != 0 && c.probe.revision <= c.revision && c.loaded {
		if c.probe.at.After(c.currentAt) {
			c.currentAt = c.probe.at
		}
		c.probe = probe{}
	}
}
