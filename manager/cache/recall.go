package cache

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/manager/store"
)

// recall reads the changes of the revisions before the one that was read, as
// far back as the store has them, within bounds of number and of time. It looks
// back a little first: etcd reads everything that a watch is behind at once and
// serves nobody meanwhile, and a revision may have hundreds of keys.
func (l *loading) recall(ctx context.Context) error {
	boundCtx, cancel := context.WithTimeout(ctx, recallTimeout)
	defer cancel()
	var known []record
	var floor int64 // after which known is complete; 0: nothing is known yet
	for back := int64(recallFirst); back > 0; {
		l.before, l.floor = nil, max(l.revision-back, 1)
		begin := time.Now()
		err := l.follow(boundCtx)
		switch {
		case err == nil && (back >= recallRevisions || l.floor == 1 || recallGrowth*time.Since(begin) > recallStep):
			return nil
		case err == nil:
			known, floor = l.before, l.floor
			back = min(recallGrowth*back, recallRevisions)
		case floor > 0: // it does not go further back
			l.before, l.floor = known, floor
			return nil
		case boundCtx.Err() != nil && ctx.Err() == nil:
			l.before = nil
			return fmt.Errorf("%w: there is too much of it", store.ErrUnavailable)
		case errors.Is(err, store.ErrCompacted):
			l.before = nil
			back /= recallGrowth
		default:
			l.before = nil
			return err
		}
	}
	return nil
}

// follow watches from floor up to revision.
func (l *loading) follow(ctx context.Context) error {
	w, err := l.cache.store.Watch(ctx, keyspace.ResourcesPrefix, l.floor)
	if err != nil {
		return err
	}
	defer w.Close()
	for reached := l.floor; reached < l.revision; {
		nextCtx, cancel := context.WithTimeout(ctx, progressInterval)
		batch, err := w.Next(nextCtx)
		quiet := err != nil && nextCtx.Err() != nil && ctx.Err() == nil
		cancel()
		if quiet { // the last revisions may concern other keys
			if err := w.Progress(ctx); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		for _, e := range batch.Events {
			if e.Entry.Revision <= l.revision {
				l.remember(e)
			}
		}
		reached = batch.Revision
	}
	return nil
}

// remember adds a change. When there are too many the older half is forgotten.
func (l *loading) remember(e store.Event) {
	plural, name, ok := keyspace.ParseResource(e.Entry.Key)
	if !ok {
		return
	}
	if e.Previous.Key == "" && !e.Created() { // the state before is compacted
		l.before, l.floor = l.before[:0], e.Entry.Revision
		return
	}
	r := record{Change{Revision: e.Entry.Revision}, intern(plural)}
	if e.Previous.Key != "" {
		r.Before = l.cache.decode(name, e.Previous)
	}
	if e.Type == store.EventPut {
		if r.After = l.current(plural, name); r.After == nil || r.After.Revision != e.Entry.Revision {
			r.After = l.cache.decode(name, e.Entry)
		}
	}
	if len(l.before) >= historyChanges {
		half := len(l.before) / 2
		l.floor = l.before[half-1].Revision
		l.before = append(l.before[:0], l.before[half:]...)
	}
	l.before = append(l.before, r)
}

// current is the item that was read, or nil.
func (l *loading) current(plural, name string) *Item {
	t := l.tables[plural]
	if t == nil {
		return nil
	}
	i, _ := t.items.Get(&Item{Name: name})
	return i
}
