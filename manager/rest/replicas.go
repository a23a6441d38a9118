package rest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/manager/access"
	"github.com/cyphonic/cyphonic/manager/cache"
	"github.com/cyphonic/cyphonic/manager/replicas"
	"github.com/cyphonic/cyphonic/manager/store"
)

// Replicas are not in the cache: they write themselves, every few seconds. They
// are read from the store, and watched there.

const kindReplica = "Replica"

// matchesReplica says whether a replica is in the list.
func (q query) matchesReplica(r *replicas.Replica) (*api.Replica, bool) {
	if r == nil {
		return nil, false
	}
	o := r.Resource()
	if !q.labels.Matches(nil) || !q.fields.Matches(func(name string) string { return api.FieldOf(o, name) }) {
		return o, false
	}
	return o, q.visible == nil || q.visible(&cache.Item{Name: o.Metadata.Name})
}

// getReplica answers with one replica.
func (s *Server) getReplica(ctx context.Context, name string) (*answer, error) {
	r, err := s.replicaOf(ctx, access.Get, name)
	if err != nil {
		return nil, err
	}
	return answerObject(http.StatusOK, r.Resource())
}

// replicaOf reads the replica of a name for somebody who may do something to it.
func (s *Server) replicaOf(ctx context.Context, verb access.Verb, name string) (replicas.Replica, error) {
	r, err := replicas.Get(ctx, s.store, name)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return r, s.hidden(ctx, kindOf(keyspace.Replicas), name, err)
	case errors.Is(err, replicas.ErrAmbiguous):
		return r, refuse(http.StatusConflict, typeConflict, "%v; give each replica a name of its own", err)
	case err != nil:
		return r, err
	}
	return r, s.permit(ctx, verb, r.Resource())
}

// listReplicas answers with a page of replicas in the order of their names.
func (s *Server) listReplicas(ctx context.Context, q query, p listParams) (*answer, error) {
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
	items, next, err := s.readReplicas(ctx, q, &at, limit)
	if err != nil {
		return nil, err
	}
	list := struct {
		api.List
		Items []*api.Replica `json:"items"`
	}{List: q.kind.NewList("", nil), Items: items}
	list.Metadata = at.meta(q.scope(), len(items), next)
	s.metrics.pages.WithLabelValues("store").Inc()
	return answerJSON(list)
}

// readReplicas reads a page, and fills in the revision of the first.
func (s *Server) readReplicas(ctx context.Context, q query, at *page, limit int) (items []*api.Replica, next *page, err error) {
	state, err := replicas.List(ctx, s.store, at.revision)
	if err != nil {
		return nil, nil, err
	}
	at.revision = state.Revision
	items = []*api.Replica{}
	for i := range state.Replicas {
		r := &state.Replicas[i]
		if r.Record.Name <= at.after {
			continue
		}
		o, ok := q.matchesReplica(r)
		if !ok {
			continue
		}
		if len(items) == limit {
			return items, &page{revision: at.revision, after: items[limit-1].Metadata.Name, sent: at.sent + int64(limit), total: unknownTotal}, nil
		}
		items = append(items, o)
	}
	return items, nil, nil
}

// initialReplicas shows the replicas that there were at a revision.
func (s *Server) initialReplicas(q query, revision int64) func(ctx context.Context, after string) ([]sight, string, error) {
	return func(ctx context.Context, after string) (seen []sight, next string, err error) {
		items, more, err := s.readReplicas(ctx, q, &page{revision: revision, after: after}, watchChunk)
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

func appendSight(seen []sight, kind api.WatchEventType, o *api.Replica) ([]sight, error) {
	object, err := json.Marshal(o)
	if err != nil {
		return nil, fmt.Errorf("encode a replica: %w", err)
	}
	return append(seen, sight{kind, object}), nil
}

// replicaFeed is the changes of replicas for a stream.
type replicaFeed struct {
	watcher *replicas.Watcher
	query   *query
	known   int64 // everything up to it has been delivered
}

func (f *replicaFeed) next(outer context.Context, _ <-chan struct{}) (seen []sight, revision int64, err error) {
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
		before, was := f.query.matchesReplica(c.Before)
		after, is := f.query.matchesReplica(c.After)
		switch {
		case was && is:
			seen, err = appendSight(seen, api.WatchEventTypeMODIFIED, after)
		case is:
			seen, err = appendSight(seen, api.WatchEventTypeADDED, after)
		case was:
			seen, err = appendSight(seen, api.WatchEventTypeDELETED, before)
		}
		if err != nil {
			return nil, 0, err
		}
	}
	return seen, revision, nil
}

func (f *replicaFeed) close() { f.watcher.Close() }

func (f *replicaFeed) reached() int64 { return f.known }

// DrainReplica asks a replica to drain.
func (s *Server) DrainReplica(ctx context.Context, r DrainReplicaRequestObject) (DrainReplicaResponseObject, error) {
	return s.drainReplica(ctx, r.Name, writeParams{DryRun: r.Params.DryRun})
}

// VisitDrainReplicaResponse writes the answer.
func (a *answer) VisitDrainReplicaResponse(w http.ResponseWriter) error { return a.write(w) }

func (s *Server) drainReplica(ctx context.Context, name string, p writeParams) (*answer, error) {
	if p.DryRun != "" {
		return s.trial(ctx, p, func(s *Server, p writeParams) (*answer, error) { return s.drainReplica(ctx, name, p) })
	}
	before, err := s.replicaOf(ctx, access.Update, name)
	if err != nil {
		return nil, err
	}
	if before.Draining() {
		return answerObject(http.StatusAccepted, before.Resource())
	}
	now := s.now().UTC()
	by := principalOf(ctx).String()
	transaction, err := replicas.AskToDrain(before, by, now)
	if err != nil {
		return nil, err
	}
	after := before
	after.Drain = keyspace.DrainRecord{Requested: now, By: by}
	kind := kindOf(keyspace.Replicas)
	if !s.rehearsal {
		transaction.Writes = append(transaction.Writes, s.auditWrite(ctx, change{kind: kind, old: before.Resource(), new: after.Resource()})...)
	}
	_, err = s.store.Commit(ctx, transaction)
	if errors.Is(err, store.ErrNotFound) { // it has gone meanwhile
		return nil, s.hidden(ctx, kind, name, err)
	}
	if err != nil {
		return nil, err
	}
	if s.events != nil {
		s.events.Event(referenceTo(after.Resource()), "", api.EventTypeNormal, reasonDrain, "asked to drain by "+by)
	}
	return answerObject(http.StatusAccepted, after.Resource())
}
