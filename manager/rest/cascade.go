package rest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/manager/access"
	"github.com/cyphonic/cyphonic/manager/store"
)

// ConditionDependentsGone is False while the deletion of a resource waits for
// those that refer to it.
const ConditionDependentsGone = "DependentsGone"

// CascadeProgress is what a pass of a cascading deletion did.
type CascadeProgress struct {
	Deleted int   // dependents that are gone, or wait for finalizers of their own
	Left    int64 // dependents that were there after the pass
	Done    bool  // nothing is left to do for this resource
}

// rotation is where the next look at waiting deletions begins, so that those
// that cannot get on do not stand in the way of the others.
type rotation struct {
	mu    sync.Mutex
	after string // under mu
}

// Waiting lists up to limit resources whose deletion waits for those that refer
// to them. Another call goes on where the last one ended, and begins again at
// the end.
func (s *Server) Waiting(ctx context.Context, limit int) ([]api.ObjectReference, error) {
	s.rotation.mu.Lock()
	defer s.rotation.mu.Unlock()
	l, err := s.store.List(ctx, keyspace.DeletingPrefix, store.ListOptions{Limit: limit, KeysOnly: true, After: s.rotation.after})
	if err == nil && len(l.Entries) == 0 && s.rotation.after != "" {
		l, err = s.store.List(ctx, keyspace.DeletingPrefix, store.ListOptions{Limit: limit, KeysOnly: true})
	}
	if err != nil {
		return nil, err
	}
	s.rotation.after = ""
	var refs []api.ObjectReference
	for _, e := range l.Entries {
		plural, name, ok := keyspace.ParseDeleting(e.Key)
		if kind, known := api.KindOfPlural(plural); ok && known {
			refs = append(refs, api.ObjectReference{Kind: kind.Name, Name: name})
		}
		if l.More {
			s.rotation.after = e.Key
		}
	}
	return refs, nil
}

// Cascade goes on with the deletion of a resource that waits for its
// dependents: it deletes up to limit of them (those that others refer to with
// cascade=true), and takes the finalizer off when none is left. ctx carries the
// principal on whose behalf this is done. Call it again until it is Done.
func (s *Server) Cascade(ctx context.Context, ref api.ObjectReference, limit int) (CascadeProgress, error) {
	kind, ok := api.KindNamed(ref.Kind)
	if !ok {
		return CascadeProgress{Done: true}, nil
	}
	old, err := s.load(ctx, kind, ref.Name)
	if errors.Is(err, store.ErrNotFound) {
		return CascadeProgress{Done: true}, nil
	}
	if err != nil {
		return CascadeProgress{}, err
	}
	if !deleting(old.object) || !cascading(old.object) {
		return CascadeProgress{Done: true}, nil
	}
	deleted, err := s.deleteDependents(ctx, kind, ref.Name, limit)
	if err != nil {
		return CascadeProgress{Deleted: deleted}, err
	}
	refs, _, err := s.dependents(ctx, kind.Plural, ref.Name, 1)
	if err != nil {
		return CascadeProgress{Deleted: deleted}, err
	}
	if len(refs) == 0 {
		return CascadeProgress{Deleted: deleted, Done: true}, s.takeOff(ctx, kind, ref.Name)
	}
	left, err := s.store.Count(ctx, keyspace.ReferencePrefix(kind.Plural, ref.Name))
	if err != nil {
		return CascadeProgress{Deleted: deleted}, err
	}
	return CascadeProgress{Deleted: deleted, Left: left}, s.noteLeft(ctx, kind, ref.Name, left)
}

// deleteDependents deletes up to limit resources that refer to one: first those
// to which nobody else can refer. It looks past those that are on their way
// already, which have finalizers of their own.
func (s *Server) deleteDependents(ctx context.Context, kind api.Kind, name string, limit int) (deleted int, err error) {
	for _, by := range slices.Backward(api.Kinds()) {
		if !mayRefer(by, kind.Plural) {
			continue
		}
		prefix, after := keyspace.ReferencePrefix(kind.Plural, name)+by.Plural+".", ""
		for looked := 0; looked < limit*cascadeLookahead; {
			l, err := s.store.List(ctx, prefix, store.ListOptions{Limit: referrersAtOnce, After: after})
			if err != nil {
				return deleted, err
			}
			refs, err := referencesIn(l.Entries)
			if err != nil {
				return deleted, err
			}
			for _, ref := range refs {
				if deleted == limit {
					return deleted, nil
				}
				did, err := s.deleteDependent(ctx, by, ref.Name)
				if err != nil {
					return deleted, fmt.Errorf("delete %s %s, which refers to %s %s: %w", ref.Kind, ref.Name, kind.Name, name, err)
				}
				deleted += did
			}
			if looked += len(l.Entries); !l.More {
				break
			}
			after = l.Entries[len(l.Entries)-1].Key
		}
	}
	return deleted, nil
}

// deleteDependent deletes one resource that refers to another. That it is gone
// already, or that others keep changing it, is no failure.
func (s *Server) deleteDependent(ctx context.Context, kind api.Kind, name string) (did int, err error) {
	r := &round{server: s, fresh: !s.cacheReady()}
	if got, err := r.load(ctx, kind, name); err == nil && deleting(got.object) {
		return 0, nil
	}
	_, err = s.delete(ctx, kind.Plural, name, writeParams{Cascade: true})
	var refusal *problem
	switch {
	case err == nil:
		return 1, nil
	case errors.As(err, &refusal) && (refusal.status == http.StatusNotFound || refusal.status == http.StatusConflict):
		return 0, nil
	}
	return 0, err
}

// noteLeft says in the status, and in an event, how many dependents are left.
func (s *Server) noteLeft(ctx context.Context, kind api.Kind, name string, left int64) error {
	message := fmt.Sprintf("%d resources that refer to it are left", left)
	_, err := s.attempts(func(r *round) (*answer, error) {
		old, err := r.load(ctx, kind, name)
		if err != nil {
			return nil, orNotFound(err, kind, name)
		}
		o, err := clone(kind, old.object)
		if err != nil {
			return nil, err
		}
		conditions := conditionsOf(o)
		if conditions == nil {
			return nil, nil
		}
		*conditions = withCondition(*conditions, api.Condition{
			Type: ConditionDependentsGone, Status: api.ConditionStatusFalse, Reason: "Deleting", Message: message,
			ObservedGeneration: o.Meta().Generation, LastTransitionTime: s.now().UTC(),
		})
		a, err := s.report(ctx, r, kind, old, o)
		if err == nil && s.events != nil {
			s.events.Event(referenceTo(o), access.NetworkOf(o, nil), api.EventTypeNormal, reasonDeletionWaits, message)
		}
		return a, err
	})
	var refusal *problem
	if errors.As(err, &refusal) && refusal.status == http.StatusNotFound {
		return nil
	}
	return err
}

// takeOff removes the finalizer of a cascade, and the resource if it was the
// last one.
func (s *Server) takeOff(ctx context.Context, kind api.Kind, name string) error {
	_, err := s.attempts(func(r *round) (*answer, error) {
		old, err := r.load(ctx, kind, name)
		if err != nil {
			return nil, orNotFound(err, kind, name)
		}
		o, err := clone(kind, old.object)
		if err != nil {
			return nil, err
		}
		o.Meta().Finalizers = slices.DeleteFunc(o.Meta().Finalizers, func(f string) bool { return f == FinalizerDependents })
		return s.release(ctx, r, old, o, true)
	})
	var refusal *problem
	if errors.As(err, &refusal) && refusal.status == http.StatusNotFound {
		return nil
	}
	return err
}

// withCondition replaces the condition of a type; the time stays if the status
// does.
func withCondition(conditions []api.Condition, c api.Condition) []api.Condition {
	out := slices.Clone(conditions)
	i := slices.IndexFunc(out, func(o api.Condition) bool { return o.Type == c.Type })
	if i < 0 {
		return append(out, c)
	}
	if out[i].Status == c.Status {
		c.LastTransitionTime = out[i].LastTransitionTime
	}
	out[i] = c
	return out
}

// conditionsOf points at the conditions of a resource that others can refer
// to; nil for other kinds.
func conditionsOf(o api.Object) *[]api.Condition {
	switch o := o.(type) {
	case *api.Network:
		return &o.Status.Conditions
	case *api.Adapter:
		return &o.Status.Conditions
	case *api.Node:
		return &o.Status.Conditions
	case *api.Role:
		return &o.Status.Conditions
	}
	return nil
}
