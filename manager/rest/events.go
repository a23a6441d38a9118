package rest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/manager/access"
	"github.com/cyphonic/cyphonic/manager/cache"
	"github.com/cyphonic/cyphonic/manager/events"
	"github.com/cyphonic/cyphonic/manager/store"
)

// Events are not in the cache: they are many, go by themselves and are read
// seldom. They are read from the store, and watched there.

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

// getEvent answers with one event.
func (s *Server) getEvent(ctx context.Context, name string) (*answer, error) {
	kind := kindOf("events")
	e, err := events.Get(ctx, s.store, name)
	if errors.Is(err, store.ErrNotFound) {
		return nil, s.hidden(ctx, kind, name, err)
	}
	if err != nil {
		return nil, err
	}
	if err := s.permit(ctx, access.Get, e); err != nil {
		return nil, err
	}
	return answerObject(http.StatusOK, e)
}

// listEvents answers with a page of events in the order of what they are about.
func (s *Server) listEvents(ctx context.Context, q query, p listParams) (*answer, error) {
	at := page{total: unknownTotal}
	if p.Continue != "" {
		var err error
		if at, err = parsePage(q.scope(), p.Continue); err != nil {
			return nil, err
		}
	}
	limit := maxPageItems
	if p.Limit > 0 {
		limit = min(p.Limit, maxPageItems)
	}
	items, next, err := s.readEvents(ctx, q, &at, limit)
	if err != nil {
		return nil, err
	}
	list := struct {
		api.List
		Items []*api.Event `json:"items"`
	}{List: q.kind.NewList("", nil), Items: items}
	list.Metadata = at.meta(q.scope(), len(items), next)
	s.metrics.pages.WithLabelValues("store").Inc()
	return answerJSON(list)
}

// readEvents reads a page, and fills in the revision of the first.
func (s *Server) readEvents(ctx context.Context, q query, at *page, limit int) (items []*api.Event, next *page, err error) {
	after := ""
	if at.after != "" {
		key, ok := events.KeyOf(at.after)
		if !ok {
			return nil, nil, refuse(http.StatusBadRequest, typeInvalid, "continue is not one that the manager gave out for this list: begin again without it")
		}
		after = key
	}
	items = []*api.Event{}
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

// initialEvents shows the events that there were at a revision.
func (s *Server) initialEvents(q query, revision int64) func(ctx context.Context, after string) ([]sight, string, error) {
	return func(ctx context.Context, after string) (seen []sight, next string, err error) {
		items, more, err := s.readEvents(ctx, q, &page{revision: revision, after: after}, watchChunk)
		if err != nil {
			return nil, "", err
		}
		for _, e := range items {
			object, err := json.Marshal(e)
			if err != nil {
				return nil, "", fmt.Errorf("encode an event: %w", err)
			}
			seen = append(seen, sight{api.WatchEventTypeADDED, object})
		}
		if more != nil {
			next = more.after
		}
		return seen, next, nil
	}
}

// eventFeed is the changes of events for a stream.
type eventFeed struct {
	watcher *events.Watcher
	query   *query
	known   int64 // everything up to it has been delivered
}

func (f *eventFeed) next(outer context.Context, _ <-chan struct{}) (seen []sight, revision int64, err error) {
	ctx, cancel := context.WithTimeout(outer, eventPatience) // it cannot wait for stop too
	defer cancel()
	got, revision, err := f.watcher.Next(ctx)
	if err != nil && ctx.Err() != nil && outer.Err() == nil {
		return nil, f.known, nil
	}
	if err != nil {
		return nil, 0, err
	}
	f.known = revision
	for _, c := range got {
		if !f.query.matchesEvent(c.Event) {
			continue
		}
		object, err := json.Marshal(c.Event)
		if err != nil {
			return nil, 0, fmt.Errorf("encode an event: %w", err)
		}
		out := sight{kind: api.WatchEventTypeMODIFIED, object: object}
		switch {
		case c.Type == store.EventDelete:
			out.kind = api.WatchEventTypeDELETED
		case c.Event.Count <= 1:
			out.kind = api.WatchEventTypeADDED
		}
		seen = append(seen, out)
	}
	return seen, revision, nil
}

func (f *eventFeed) close() { f.watcher.Close() }

func (f *eventFeed) reached() int64 { return f.known }
