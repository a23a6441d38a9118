package rest

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/manager/store"
)

// Some kinds are not in the cache: events are many, go by themselves and are
// read seldom; replicas write themselves, every few seconds. They are read from
// the store, and watched there.

// storedKind is how one of these kinds is read.
type storedKind struct {
	// get reads what the subject may see of one name.
	get func(ctx context.Context, name string) (api.Object, error)
	// page reads a page of a list, and fills in the revision of the first.
	page func(ctx context.Context, q query, at *page, limit int) (items []api.Object, next *page, err error)
	// watch follows the changes after a revision.
	watch func(ctx context.Context, q *query, after int64) (storedChanges, error)
}

// storedChanges are the changes of a kind as far as a query shows them.
type storedChanges interface {
	next(ctx context.Context) (seen []sight, revision int64, err error)
	close()
}

// stored returns how a read-only kind is read.
func (s *Server) stored(kind api.Kind) storedKind {
	if kind.Name == kindReplica {
		return storedKind{s.getReplica, s.readReplicas, s.watchReplicas}
	}
	return storedKind{s.getEvent, s.readEvents, s.watchEvents}
}

// getStored answers with one resource.
func (s *Server) getStored(ctx context.Context, kind api.Kind, name string) (*answer, error) {
	o, err := s.stored(kind).get(ctx, name)
	if err != nil {
		return nil, err
	}
	return answerObject(http.StatusOK, o)
}

// listStored answers with a page of a list.
func (s *Server) listStored(ctx context.Context, q query, p listParams) (*answer, error) {
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
	items, next, err := s.stored(q.kind).page(ctx, q, &at, limit)
	if err != nil {
		return nil, err
	}
	list := q.kind.NewList("", items)
	list.Metadata = at.meta(q.scope(), len(items), next)
	s.metrics.pages.WithLabelValues("store").Inc()
	return answerJSON(list)
}

// watchStored answers with a stream of changes.
func (s *Server) watchStored(ctx context.Context, q query, version string) (*answer, error) {
	var after int64
	var err error
	if version == "" {
		after, err = s.store.Revision(ctx)
	} else {
		after, err = s.resumable(ctx, version)
	}
	if err != nil {
		return nil, err
	}
	// A list below a prefix that nothing has asks the store about the revision.
	if _, err := s.store.List(ctx, noPrefix, store.ListOptions{Revision: after, Limit: 1}); err != nil {
		return nil, err
	}
	// The watch outlives the reading of the request: it gets the context of the stream.
	st := &stream{server: s, query: &q, revision: after}
	if version == "" {
		st.initial = s.initialStored(q, after)
	}
	st.open = func(ctx context.Context) (feed, error) {
		changes, err := s.stored(q.kind).watch(ctx, &q, after)
		if err != nil {
			return nil, err
		}
		return &storedFeed{changes: changes, known: after}, nil
	}
	return s.answerStream(ctx, st)
}

// noPrefix has no keys below it.
const noPrefix = "/cyphonic/none/"

// initialStored shows what there was at a revision.
func (s *Server) initialStored(q query, revision int64) func(ctx context.Context, after string) ([]sight, string, error) {
	return func(ctx context.Context, after string) (seen []sight, next string, err error) {
		items, more, err := s.stored(q.kind).page(ctx, q, &page{revision: revision, after: after}, watchChunk)
		if err != nil {
			return nil, "", err
		}
		for _, o := range items {
			if seen, err = appendSight(seen, api.WatchEventTypeADDED, o); err != nil {
				return nil, "", err
			}
		}
		if more != nil {
			next = more.after
		}
		return seen, next, nil
	}
}

func appendSight(seen []sight, kind api.WatchEventType, o api.Object) ([]sight, error) {
	object, err := json.Marshal(o)
	if err != nil {
		return nil, fmt.Errorf("encode %s %q: %w", o.KindName(), o.Meta().Name, err)
	}
	return append(seen, sight{kind, object}), nil
}

// storedFeed is the changes of a kind for a stream.
type storedFeed struct {
	changes storedChanges
	known   int64 // everything up to it has been delivered
}

func (f *storedFeed) next(outer context.Context, _ <-chan struct{}) (seen []sight, revision int64, err error) {
	ctx, cancel := context.WithTimeout(outer, storedPatience) // it cannot wait for stop too
	defer cancel()
	seen, revision, err = f.changes.next(ctx)
	if err != nil && ctx.Err() != nil && outer.Err() == nil {
		return nil, f.known, nil
	}
	if err != nil {
		return nil, 0, err
	}
	f.known = revision
	return seen, revision, nil
}

func (f *storedFeed) close() { f.changes.close() }

func (f *storedFeed) reached() int64 { return f.known }
