package replicas

import (
	"context"

	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/manager/store"
)

// Change is a replica that came, reported or went. Before is nil for one that came, After for one that went; both have the
// revision of the change.
type Change struct{ Before, After *Replica }

// Watcher delivers what replicas report. It is used by one goroutine.
//
// That a replica was asked to drain shows with its next report, a few seconds later at most.
type Watcher struct {
	inner store.Watcher
	asked drains
}

// Watch delivers all changes after a revision.
func Watch(ctx context.Context, s store.Store, after int64) (*Watcher, error) {
	listing, err := s.List(ctx, keyspace.DrainPrefix, store.ListOptions{Revision: after, Limit: maxReplicas})
	if err != nil {
		return nil, err
	}
	inner, err := s.Watch(ctx, keyspace.ReplicasRoot, after)
	if err != nil {
		return nil, err
	}
	return &Watcher{inner: inner, asked: drainsOf(listing.Entries)}, nil
}

// Next waits for changes; see store.Watcher. revision is that up to which all have been delivered.
func (w *Watcher) Next(ctx context.Context) (changes []Change, revision int64, err error) {
	batch, err := w.inner.Next(ctx)
	if err != nil {
		return nil, 0, err
	}
	for _, e := range batch.Events {
		if _, _, ok := keyspace.ParseLive(e.Entry.Key); ok {
			if c, ok := w.change(e); ok {
				changes = append(changes, c)
			}
			continue
		}
		if e.Type == store.EventDelete {
			w.asked.remove(e.Entry.Key)
		} else {
			w.asked.put(e.Entry)
		}
	}
	return changes, batch.Revision, nil
}

// change is what a change of a key means; ok is false if it is not about a replica that can be read.
func (w *Watcher) change(e store.Event) (c Change, ok bool) {
	if before, ok := decode(e.Previous); ok {
		before = w.asked.join(before)
		before.Revision = e.Entry.Revision
		c.Before = &before
	}
	if e.Type == store.EventPut {
		if after, ok := decode(e.Entry); ok {
			after = w.asked.join(after)
			c.After = &after
		}
	}
	return c, c.Before != nil || c.After != nil
}

// Close ends the watch.
func (w *Watcher) Close() { w.inner.Close() }
