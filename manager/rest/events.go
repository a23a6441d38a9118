package rest

import (
	"context"
	"errors"
	"net/http"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/manager/access"
	"github.com/cyphonic/cyphonic/manager/cache"
	"github.com/cyphonic/cyphonic/manager/events"
	"github.com/cyphonic/cyphonic/manager/store"
)

// eventItem is an event as far as selectors and rights are concerned.
func eventItem(e *api.Event) *cache.Item {
	return &cache.Item{Name: e.Metadata.Name, Labels: e.Metadata.Labels, Network: e.Network}
}

// matchesEvent says whether an event is in the list.
func (q query) matchesEvent(e *api.Event) bool {
	if e == nil || !q.labels.Matches(e.Metadata.Labels) {
		return false
	}
	if !q.fields.Matches(func(name string) string { return api.FieldOf(e, name) }) {
		return false
	}
	return q.visible == nil || q.visible(eventItem(e))
}

// regarding is the one resource that the list is about, if the selector names
// it: then only its events are read.
func (q query) regarding() (ref api.ObjectReference) {
	for _, r := range q.fields {
		switch {
		case r.Not:
		case r.Field == "regarding.kind":
			ref.Kind = r.Value
		case r.Field == "regarding.name":
			ref.Name = r.Value
		}
	}
	if _, ok := api.KindNamed(ref.Kind); !ok || ref.Name == "" {
		return api.ObjectReference{}
	}
	return ref
}

// getEvent reads one event.
func (s *Server) getEvent(ctx context.Context, name string) (api.Object, error) {
	e, err := events.Get(ctx, s.store, name)
	if errors.Is(err, store.ErrNotFound) {
		return nil, s.hidden(ctx, kindOf("events"), name, err)
	}
	if err != nil {
		return nil, err
	}
	return e, s.permit(ctx, access.Get, e)
}

// readEvents reads a page, in the order of what the events are about.
func (s *Server) readEvents(ctx context.Context, q query, at *page, limit int) (items []api.Object, next *page, err error) {
	after := ""
	if at.after != "" {
		key, ok := events.KeyOf(at.after)
		if !ok {
			return nil, nil, refuse(http.StatusBadRequest, typeInvalid, "continue is not one that the manager gave out for this list: begin again without it")
		}
		after = key
	}
	for looked := 0; ; {
		got, err := events.List(ctx, s.store, q.regarding(), store.ListOptions{Revision: at.revision, Limit: min(storeChunk, maxPageRead-looked), After: after})
		if err != nil {
			return nil, nil, err
		}
		at.revision, after = got.Revision, got.After
		for i, e := range got.Events {
			looked++
			if q.matchesEvent(e) {
				items = append(items, e)
			}
			last := i == len(got.Events)-1
			if full := len(items) == limit || looked == maxPageRead; full && (!last || got.More) {
				return items, &page{revision: at.revision, after: e.Metadata.Name, sent: at.sent + int64(len(items)), total: unknownTotal}, nil
			}
		}
		if !got.More || len(got.Events) == 0 {
			return items, nil, nil
		}
	}
}

func (s *Server) watchEvents(ctx context.Context, q *query, after int64) (storedChanges, error) {
	w, err := events.Watch(ctx, s.store, after)
	if err != nil {
		return nil, err
	}
	return eventChanges{w, q}, nil
}

// eventChanges are the changes of events.
type eventChanges struct {
	watcher *events.Watcher
	query   *query
}

func (c eventChanges) next(ctx context.Context) (seen []sight, revision int64, err error) {
	got, revision, err := c.watcher.Next(ctx)
	if err != nil {
		return nil, 0, err
	}
	for _, change := range got {
		if !c.query.matchesEvent(change.Event) {
			continue
		}
		kind := api.WatchEventTypeMODIFIED
		switch {
		case change.Type == store.EventDelete:
			kind = api.WatchEventTypeDELETED
		case change.Event.Count <= 1:
			kind = api.WatchEventTypeADDED
		}
		if seen, err = appendSight(seen, kind, change.Event); err != nil {
			return nil, 0, err
		}
	}
	return seen, revision, nil
}

func (c eventChanges) close() { c.watcher.Close() }
