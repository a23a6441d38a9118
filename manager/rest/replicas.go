package rest

import (
	"context"
	"errors"
	"net/http"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/manager/access"
	"github.com/cyphonic/cyphonic/manager/cache"
	"github.com/cyphonic/cyphonic/manager/replicas"
	"github.com/cyphonic/cyphonic/manager/store"
)

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

// getReplica reads one replica.
func (s *Server) getReplica(ctx context.Context, name string) (api.Object, error) {
	r, err := s.replicaOf(ctx, access.Get, name)
	return r.Resource(), err
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

// readReplicas reads a page, in the order of the names.
func (s *Server) readReplicas(ctx context.Context, q query, at *page, limit int) (items []api.Object, next *page, err error) {
	state, err := replicas.List(ctx, s.store, at.revision)
	if err != nil {
		return nil, nil, err
	}
	at.revision = state.Revision
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
			return items, &page{revision: at.revision, after: items[limit-1].Meta().Name, sent: at.sent + int64(limit), total: unknownTotal}, nil
		}
		items = append(items, o)
	}
	return items, nil, nil
}

func (s *Server) watchReplicas(ctx context.Context, q *query, after int64) (storedChanges, error) {
	w, err := replicas.Watch(ctx, s.store, after)
	if err != nil {
		return nil, err
	}
	return replicaChanges{w, q}, nil
}

// replicaChanges are the changes of replicas.
type replicaChanges struct {
	watcher *replicas.Watcher
	query   *query
}

func (c replicaChanges) next(ctx context.Context) (seen []sight, revision int64, err error) {
	got, revision, err := c.watcher.Next(ctx)
	if err != nil {
		return nil, 0, err
	}
	for _, change := range got {
		before, was := c.query.matchesReplica(change.Before)
		after, is := c.query.matchesReplica(change.After)
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

func (c replicaChanges) close() { c.watcher.Close() }

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
