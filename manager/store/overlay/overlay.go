// Package overlay is a store whose writes stay in memory, above another store
// that it only reads: what would happen is found out by letting it happen where
// nobody sees it.
//
// The package knows nothing of what is stored. It has no history: there are no
// watches, no leaders and no old revisions of what was written, and keys do not
// go by themselves.
package overlay

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/google/btree"
	"golang.org/x/sync/errgroup"

	"github.com/cyphonic/cyphonic/manager/store"
)

// ErrNoHistory says that an overlay cannot do what needs time to pass.
var ErrNoHistory = errors.New("a store in memory has no history")

const (
	// treeDegree is the degree of the tree of what was written.
	treeDegree = 32
	// readers is how many keys one transaction reads from the base at once.
	readers = 8
)

// Store is a store above another. It is safe for concurrent use. Its revisions
// begin after that of the base; what is written to the base later shows
// through where the overlay has not written itself.
type Store struct {
	base store.Store

	mu       sync.Mutex
	written  *btree.BTreeG[*layer] // under mu: what differs from the base
	began    int64                 // under mu: revision of the base at the first write; 0: none yet
	revision int64                 // under mu: of the last write
}

var _ store.Store = (*Store)(nil)

// layer is what the overlay has for a key.
type layer struct {
	entry   store.Entry
	deleted bool
	// under is what the base has below it, if it is known.
	under      store.Entry
	underKnown bool
	// reborn says that the key was deleted in the overlay before it was
	// written: its CreateRevision is the overlay's.
	reborn bool
}

// New returns an overlay without writes.
func New(base store.Store) *Store {
	return &Store{base: base, written: btree.NewG(treeDegree, func(a, b *layer) bool { return a.entry.Key < b.entry.Key })}
}

// Get returns one key.
func (s *Store) Get(ctx context.Context, key string) (store.Entry, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, err := s.look(ctx, key)
	if err != nil {
		return store.Entry{}, err
	}
	if e.Key == "" {
		return store.Entry{}, fmt.Errorf("get %s: %w", key, store.ErrNotFound)
	}
	return e, nil
}

// look returns the entry of a key, or the zero Entry. mu is held.
func (s *Store) look(ctx context.Context, key string) (store.Entry, error) {
	l, ok := s.layer(key)
	if !ok {
		return s.below(ctx, key)
	}
	if l.deleted {
		return store.Entry{}, ctx.Err()
	}
	if err := s.uncover(ctx, l); err != nil {
		return store.Entry{}, err
	}
	return l.shown(), nil
}

func (s *Store) layer(key string) (*layer, bool) {
	return s.written.Get(&layer{entry: store.Entry{Key: key}})
}

// below reads the base.
func (s *Store) below(ctx context.Context, key string) (store.Entry, error) {
	e, err := s.base.Get(ctx, key)
	if errors.Is(err, store.ErrNotFound) {
		return store.Entry{}, nil
	}
	return e, err
}

// uncover finds out what is below a layer. mu is held.
func (s *Store) uncover(ctx context.Context, l *layer) error {
	if l.underKnown {
		return nil
	}
	under, err := s.below(ctx, l.entry.Key)
	if err != nil {
		return err
	}
	l.under, l.underKnown = under, true
	return nil
}

// shown is the entry of a layer whose base is known and that is not deleted.
func (l *layer) shown() store.Entry {
	e := l.entry
	e.Value = append([]byte(nil), e.Value...)
	if !l.reborn && l.under.Key != "" {
		e.CreateRevision = l.under.CreateRevision
	}
	return e
}

// Create writes a key that must not exist.
func (s *Store) Create(ctx context.Context, key string, value []byte) (int64, error) {
	return s.Commit(ctx, store.Transaction{
		Conditions: []store.Condition{store.Absent(key)}, Writes: []store.Write{store.Put(key, value)},
	})
}

// Update writes a key that must be at a revision.
func (s *Store) Update(ctx context.Context, key string, value []byte, revision int64) (int64, error) {
	if revision == 0 {
		return 0, fmt.Errorf("%w: update of %s without a revision", store.ErrTransaction, key)
	}
	return s.Commit(ctx, store.Transaction{
		Conditions: []store.Condition{store.AtRevision(key, revision)}, Writes: []store.Write{store.Put(key, value)},
	})
}

// Delete removes a key that must be at a revision.
func (s *Store) Delete(ctx context.Context, key string, revision int64) (int64, error) {
	if revision == 0 {
		return 0, fmt.Errorf("%w: deletion of %s without a revision", store.ErrTransaction, key)
	}
	return s.Commit(ctx, store.Transaction{
		Conditions: []store.Condition{store.AtRevision(key, revision)}, Writes: []store.Write{store.Remove(key)},
	})
}

// Commit does all writes of a transaction in memory, or none.
func (s *Store) Commit(ctx context.Context, t store.Transaction) (int64, error) {
	if err := t.Validate(); err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.begin(ctx); err != nil {
		return 0, err
	}
	under, err := s.read(ctx, t.Conditions)
	if err != nil {
		return 0, err
	}
	for _, c := range t.Conditions {
		found, err := s.find(ctx, c, under)
		if err != nil {
			return 0, err
		}
		if !c.Holds(found) {
			return 0, &store.ConditionError{Condition: c, Current: found}
		}
	}
	s.revision++
	for _, w := range t.Writes {
		s.write(w, under)
	}
	return s.revision, nil
}

// begin chooses the first revision. mu is held.
func (s *Store) begin(ctx context.Context) error {
	if s.began != 0 {
		return ctx.Err()
	}
	revision, err := s.base.Revision(ctx)
	if err != nil {
		return err
	}
	s.began, s.revision = revision, revision
	return nil
}

// read reads from the base what conditions on single keys look at and the
// overlay does not have, several keys at once. mu is held.
func (s *Store) read(ctx context.Context, conditions []store.Condition) (map[string]store.Entry, error) {
	var keys []string
	wanted := make(map[string]bool)
	for _, c := range conditions {
		if _, ok := s.layer(c.Key); ok || c.Prefix || wanted[c.Key] {
			continue
		}
		wanted[c.Key] = true
		keys = append(keys, c.Key)
	}
	entries := make([]store.Entry, len(keys))
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(readers)
	for i, key := range keys {
		group.Go(func() (err error) {
			entries[i], err = s.below(groupCtx, key)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, err
	}
	under := make(map[string]store.Entry, len(keys))
	for i, key := range keys {
		under[key] = entries[i]
	}
	return under, nil
}

// find returns what a condition is about. mu is held.
func (s *Store) find(ctx context.Context, c store.Condition, under map[string]store.Entry) (store.Entry, error) {
	if c.Prefix {
		l, err := s.list(ctx, c.Key, store.ListOptions{Limit: 1})
		if err != nil || len(l.Entries) == 0 {
			return store.Entry{}, err
		}
		return l.Entries[0], nil
	}
	if e, ok := under[c.Key]; ok {
		return e, nil
	}
	return s.look(ctx, c.Key)
}

// write does one write. mu is held.
func (s *Store) write(w store.Write, under map[string]store.Entry) {
	l := &layer{deleted: w.Delete, entry: store.Entry{
		Key: w.Key, Value: append([]byte(nil), w.Value...), Revision: s.revision, CreateRevision: s.revision,
	}}
	if old, ok := s.layer(w.Key); ok {
		l.under, l.underKnown, l.reborn = old.under, old.underKnown, old.reborn
		if old.deleted {
			l.reborn = true
		} else {
			l.entry.CreateRevision = old.entry.CreateRevision
		}
	} else if e, ok := under[w.Key]; ok {
		l.under, l.underKnown = e, true
	}
	s.written.ReplaceOrInsert(l)
}

// Watch is not to be had.
func (s *Store) Watch(context.Context, string, int64) (store.Watcher, error) {
	return nil, fmt.Errorf("watch: %w", ErrNoHistory)
}

// Lead is not to be had.
func (s *Store) Lead(context.Context, string, string, time.Duration) (store.Leadership, error) {
	return nil, fmt.Errorf("lead: %w", ErrNoHistory)
}

// Ping asks the base.
func (s *Store) Ping(ctx context.Context) error { return s.base.Ping(ctx) }

// Revision is that of the last write here, or that of the base.
func (s *Store) Revision(ctx context.Context) (int64, error) {
	revision, err := s.base.Revision(ctx)
	if err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return max(revision, s.revision), nil
}

// Count returns how many keys begin with a prefix.
func (s *Store) Count(ctx context.Context, prefix string) (int64, error) {
	n, err := s.base.Count(ctx, prefix)
	if err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.layers(prefix, prefix, "") {
		if err := s.uncover(ctx, l); err != nil {
			return 0, err
		}
		if l.under.Key != "" {
			n--
		}
		if !l.deleted {
			n++
		}
	}
	return n, nil
}

// layers returns what was written below a prefix, from a key on, up to another
// one (included; "" is the end). mu is held.
func (s *Store) layers(prefix, from, to string) []*layer {
	var all []*layer
	s.written.AscendGreaterOrEqual(&layer{entry: store.Entry{Key: max(prefix, from)}}, func(l *layer) bool {
		if !strings.HasPrefix(l.entry.Key, prefix) || (to != "" && l.entry.Key > to) {
			return false
		}
		all = append(all, l)
		return true
	})
	return all
}
