package cache

import (
	"context"
	"errors"
	"fmt"

	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/manager/store"
)

// recall reads the changes of the revisions before the one that was read, as
// far back as the store has them, within bounds of number and of time.
func (l *loading) recall(ctx context.Context) error {
	boundCtx, cancel := context.WithTimeout(ctx, recallTimeout)
	defer cancel()
	for back := int64(recallRevisions); back > 0; back /= 4 {
		l.before, l.floor = nil, max(l.revision-back, 1)
		err := l.follow(boundCtx)
		if err == nil {
			return nil
		}
		l.before = nil
		if boundCtx.Err() != nil && ctx.Err() == nil {
			return fmt.Errorf("%w: there is too much of it", store.ErrUnavailable)
		}
		if !errors.Is(err, store.ErrCompacted) {
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
