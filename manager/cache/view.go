package cache

import (
	"sync"
	"time"

	"github.com/google/btree"
)

// tree is an ordered set of items that is copied on write.
type tree = btree.BTreeG[*Item]

func byName(a, b *Item) bool { return a.Name < b.Name }

func byAdapter(a, b *Item) bool {
	if a.Adapter != b.Adapter {
		return a.Adapter < b.Adapter
	}
	return a.Name < b.Name
}

// addresses counts the virtual addresses of a network.
type addresses struct{ v4, v6 int64 }

// table is the resources of one kind. It is under Cache.mu.
type table struct {
	plural    string
	items     *tree
	carried   *tree // items with an adapter
	addresses map[string]addresses
	bytes     int64
	view      View
	clean     bool // view shows what the trees hold
}

func newTable(plural string) *table {
	return &table{
		plural: plural, items: btree.NewG(treeDegree, byName), carried: btree.NewG(treeDegree, byAdapter),
		addresses: make(map[string]addresses),
	}
}

// put adds or replaces an item and returns the one before.
func (t *table) put(i *Item) *Item {
	t.clean = false
	old, _ := t.items.ReplaceOrInsert(i)
	t.account(old, -1)
	t.account(i, 1)
	if old != nil && old.Adapter != "" && old.Adapter != i.Adapter {
		t.carried.Delete(old)
	}
	if i.Adapter != "" {
		t.carried.ReplaceOrInsert(i)
	}
	return old
}

// remove removes an item and returns it.
func (t *table) remove(name string) *Item {
	old, ok := t.items.Delete(&Item{Name: name})
	if !ok {
		return nil
	}
	t.clean = false
	t.account(old, -1)
	if old.Adapter != "" {
		t.carried.Delete(old)
	}
	return old
}

func (t *table) account(i *Item, sign int64) {
	if i == nil {
		return
	}
	t.bytes += sign * int64(i.size())
	if !i.ipv4 && !i.ipv6 {
		return
	}
	a := t.addresses[i.Network]
	if i.ipv4 {
		a.v4 += sign
	}
	if i.ipv6 {
		a.v6 += sign
	}
	if a == (addresses{}) {
		delete(t.addresses, i.Network)
		return
	}
	t.addresses[i.Network] = a
}

// shown returns a view of the table; the trees are cloned if they changed
// since the last one.
func (t *table) shown(revision int64) View {
	if !t.clean {
		t.view = View{plural: t.plural, items: t.items.Clone(), carried: t.carried.Clone()}
		t.clean = true
	}
	v := t.view
	v.revision = revision
	return v
}

// View is the resources of one kind as they were at one revision. It never
// changes and is safe for concurrent use. The zero View is empty.
type View struct {
	plural         string
	items, carried *tree
	revision       int64
}

// Revision is that of the whole store at which the view is complete.
func (v View) Revision() int64 { return v.revision }

// Len is the number of resources.
func (v View) Len() int {
	if v.items == nil {
		return 0
	}
	return v.items.Len()
}

// Get returns one resource.
func (v View) Get(name string) (*Item, bool) {
	if v.items == nil {
		return nil, false
	}
	return v.items.Get(&Item{Name: name})
}

// Ascend calls f for the resources whose names come after one, in the order of
// names, until f returns false. "" comes before all names.
func (v View) Ascend(after string, f func(*Item) bool) {
	if v.items == nil {
		return
	}
	v.items.AscendGreaterOrEqual(&Item{Name: after}, func(i *Item) bool {
		return i.Name == after || f(i)
	})
}

// CarriedBy is Ascend for the general nodes of one adapter. It does not look
// at others.
func (v View) CarriedBy(adapter, after string, f func(*Item) bool) {
	if v.carried == nil || adapter == "" {
		return
	}
	v.carried.AscendGreaterOrEqual(&Item{Adapter: adapter, Name: after}, func(i *Item) bool {
		return i.Adapter == adapter && (i.Name == after || f(i))
	})
}

// pins are views kept for lists that are read in pages.
type pins struct {
	mu   sync.Mutex
	held map[pinKey]pin // under mu
}

type pinKey struct {
	plural   string
	revision int64
}

type pin struct {
	view View
	used time.Time
}

func (p *pins) put(k pinKey, v View, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held[k] = pin{v, now}
	for old, kept := range p.held {
		if now.Sub(kept.used) > pinTime {
			delete(p.held, old)
		}
	}
	for len(p.held) > maxPins {
		var oldest pinKey
		for old, kept := range p.held {
			if at, ok := p.held[oldest]; !ok || kept.used.Before(at.used) {
				oldest = old
			}
		}
		delete(p.held, oldest)
	}
}

func (p *pins) get(k pinKey, now time.Time) (View, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	kept, ok := p.held[k]
	if !ok || now.Sub(kept.used) > pinTime {
		return View{}, false
	}
	p.held[k] = pin{kept.view, now}
	return kept.view, true
}

// Pin keeps a view for some minutes, so that the next pages of a list show the
// same revision. The number of pinned views is bounded: who does not find his
// again lists from the store at the revision.
func (c *Cache) Pin(v View) {
	if v.items != nil {
		c.pins.put(pinKey{v.plural, v.revision}, v, c.now())
	}
}

// Pinned returns a pinned view.
func (c *Cache) Pinned(plural string, revision int64) (View, bool) {
	return c.pins.get(pinKey{plural, revision}, c.now())
}
