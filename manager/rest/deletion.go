package rest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/manager/access"
	"github.com/cyphonic/cyphonic/manager/store"
)

// Finalizers whose names begin with systemFinalizers are the manager's own.
const (
	systemFinalizers = "cyphonic/"
	// FinalizerDependents stays until all resources that refer to this one are
	// deleted.
	FinalizerDependents = systemFinalizers + "dependents"
)

// deleting says that the deletion of a resource was asked for: it waits for
// its finalizers.
func deleting(o api.Object) bool { return !o.Meta().DeletionTimestamp.IsZero() }

// cascading says that a deletion waits for those that refer to the resource.
func cascading(o api.Object) bool { return slices.Contains(o.Meta().Finalizers, FinalizerDependents) }

// delete answers DELETE with the resource as it was, or, if it waits for
// finalizers, as it is.
func (s *Server) delete(ctx context.Context, plural, name string, p writeParams) (*answer, error) {
	if p.DryRun != "" {
		return s.trial(ctx, p, func(s *Server, p writeParams) (*answer, error) { return s.delete(ctx, plural, name, p) })
	}
	kind := kindOf(plural)
	return s.attempts(func(r *round) (*answer, error) {
		old, err := r.load(ctx, kind, name)
		if err != nil {
			return nil, orNotFound(err, kind, name)
		}
		if err := s.permit(ctx, access.Delete, old.object); err != nil {
			return nil, err
		}
		if err := checkPreconditions(old, &api.ObjectMeta{}, p.IfMatch); err != nil {
			return nil, err
		}
		finalizers, err := s.finalizersFor(ctx, kind, old.object, p.Cascade)
		if err != nil {
			return nil, err
		}
		if len(finalizers) == 0 {
			return s.remove(ctx, r, old)
		}
		return s.markDeleted(ctx, r, old, finalizers)
	})
}

// finalizersFor returns what has to be done before a resource can go. It
// refuses the deletion of what others refer to, unless they shall go as well.
func (s *Server) finalizersFor(ctx context.Context, kind api.Kind, o api.Object, cascade bool) ([]string, error) {
	users, _, err := s.dependents(ctx, kind.Plural, o.Meta().Name, maxReferrers+1)
	if err != nil {
		return nil, err
	}
	finalizers := slices.Clone(o.Meta().Finalizers)
	if len(users) == 0 {
		return finalizers, nil
	}
	if !cascade && !cascading(o) {
		return nil, referenced(kind, o.Meta().Name, users)
	}
	if err := s.permitCascade(ctx, kind.Plural, o.Meta().Name); err != nil {
		return nil, err
	}
	if !cascading(o) {
		finalizers = append(finalizers, FinalizerDependents)
	}
	return finalizers, nil
}

// permitCascade asks for the right to delete dependents: one of each kind
// stands for all, because they belong to the same network.
func (s *Server) permitCascade(ctx context.Context, plural, name string) error {
	for _, kind := range api.Kinds() {
		refs, _, err := s.dependentsOf(ctx, plural, name, kind, 1)
		if err != nil {
			return err
		}
		for _, ref := range refs {
			got, err := s.load(ctx, kind, ref.Name)
			if errors.Is(err, store.ErrNotFound) {
				continue
			}
			if err != nil {
				return err
			}
			if err := s.permit(ctx, access.Delete, got.object); err != nil {
				return err
			}
		}
	}
	return nil
}

// remove deletes a resource with everything that is its.
func (s *Server) remove(ctx context.Context, r *round, old stored) (*answer, error) {
	if err := s.observed(ctx, old.object); err != nil {
		return nil, err
	}
	if _, _, err := s.commit(ctx, r, change{kind: kindNamed(old.object), old: old.object, revision: old.revision}); err != nil {
		return nil, err
	}
	return answerObject(http.StatusOK, old.object)
}

// markDeleted notes that a resource is to go when its finalizers are gone.
func (s *Server) markDeleted(ctx context.Context, r *round, old stored, finalizers []string) (*answer, error) {
	if deleting(old.object) && slices.Equal(finalizers, old.object.Meta().Finalizers) {
		return s.unchanged(ctx, r, old)
	}
	o, err := clone(kindNamed(old.object), old.object)
	if err != nil {
		return nil, err
	}
	o.Meta().Finalizers = finalizers
	if !deleting(o) {
		o.Meta().DeletionTimestamp = s.now().UTC()
	}
	return s.commitUpdate(ctx, r, old, o)
}

// release takes finalizers off a resource that waits for them, and removes the
// resource with the last one. Nothing else can be changed about it.
func (s *Server) release(ctx context.Context, r *round, old stored, o api.Object, sameSpec bool) (*answer, error) {
	was, is := old.object.Meta(), o.Meta()
	added := slices.ContainsFunc(is.Finalizers, func(f string) bool { return !slices.Contains(was.Finalizers, f) })
	labels := *is
	labels.Finalizers = was.Finalizers
	if !sameSpec || added || !sameWritable(was, &labels) {
		return nil, refuse(http.StatusConflict, typeDeleting, "%s %q is being deleted since %s and waits for %s; only its finalizers can be removed. Wait until it is gone, then create it again",
			o.KindName(), was.Name, was.DeletionTimestamp.Format(time.RFC3339), strings.Join(was.Finalizers, ", "))
	}
	if len(is.Finalizers) > 0 {
		return s.commitUpdate(ctx, r, old, o)
	}
	kind := kindNamed(old.object)
	users, _, err := s.dependents(ctx, kind.Plural, was.Name, maxReferrers+1)
	if err != nil {
		return nil, err
	}
	if len(users) > 0 {
		return nil, referenced(kind, was.Name, users)
	}
	return s.remove(ctx, r, old)
}

// withSystemFinalizers adds the manager's own finalizers of before.
func withSystemFinalizers(before, given []string) []string {
	out := slices.Clone(given)
	for _, f := range before {
		if strings.HasPrefix(f, systemFinalizers) && !slices.Contains(out, f) {
			out = append(out, f)
		}
	}
	return out
}

// checkFinalizers refuses finalizers that only the manager adds.
func checkFinalizers(before, given []string) error {
	for i, f := range given {
		if strings.HasPrefix(f, systemFinalizers) && !slices.Contains(before, f) {
			return refuseField(http.StatusBadRequest, typeInvalid, fmt.Sprintf("/metadata/finalizers/%d", i), "is %q, but finalizers that begin with %s are the manager's own", f, systemFinalizers)
		}
	}
	return nil
}

// orNotFound turns store.ErrNotFound into a 404.
func orNotFound(err error, kind api.Kind, name string) error {
	if errors.Is(err, store.ErrNotFound) {
		return notFound(kind, name)
	}
	return err
}

// referenced is the refusal to delete what others refer to.
func referenced(kind api.Kind, name string, users []api.ObjectReference) *problem {
	var names []string
	for _, u := range users[:min(len(users), maxReferrers)] {
		names = append(names, strings.ToLower(u.Kind)+"/"+u.Name)
	}
	more := ""
	if len(users) > maxReferrers {
		more = " and more"
	}
	return refuse(http.StatusConflict, typeReferenced, "%s %q is used by %s%s; delete or change these first, or delete with cascade=true (cyphonicctl delete --cascade)", kind.Name, name, strings.Join(names, ", "), more)
}

// dependents lists resources that refer to one, those first to which nobody
// else can refer, up to limit. Enrolment tokens, which go with what they are
// for, are none.
func (s *Server) dependents(ctx context.Context, plural, name string, limit int) (refs []api.ObjectReference, more bool, err error) {
	l, err := s.store.List(ctx, keyspace.ReferencePrefix(plural, name), store.ListOptions{Limit: referrersAtOnce})
	if err != nil {
		return nil, false, err
	}
	if !l.More {
		refs, err := referencesIn(l.Entries)
		return refs[:min(len(refs), limit)], len(refs) > limit, err
	}
	for _, kind := range slices.Backward(api.Kinds()) {
		found, cut, err := s.dependentsOf(ctx, plural, name, kind, limit-len(refs))
		if err != nil {
			return nil, false, err
		}
		if refs = append(refs, found...); cut || len(refs) >= limit {
			return refs, true, nil
		}
	}
	return refs, false, nil
}

// referencesIn reads who refers, without enrolment tokens.
func referencesIn(entries []store.Entry) ([]api.ObjectReference, error) {
	var refs []api.ObjectReference
	for _, e := range entries {
		owner, err := keyspace.Decode[keyspace.Owner](e.Value)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", e.Key, err)
		}
		if kind, ok := api.KindOfPlural(owner.Kind); ok && owner.Kind != keyspace.EnrollmentTokens {
			refs = append(refs, api.ObjectReference{Kind: kind.Name, Name: owner.Name, Uid: owner.UID})
		}
	}
	rank := func(r api.ObjectReference) int { kind, _ := api.KindNamed(r.Kind); return kind.Rank }
	slices.SortStableFunc(refs, func(a, b api.ObjectReference) int { return rank(b) - rank(a) })
	return refs, nil
}

// dependentsOf lists the resources of one kind that refer to a resource.
func (s *Server) dependentsOf(ctx context.Context, plural, name string, kind api.Kind, limit int) ([]api.ObjectReference, bool, error) {
	if !mayRefer(kind, plural) || limit <= 0 {
		return nil, false, nil
	}
	l, err := s.store.List(ctx, keyspace.ReferencePrefix(plural, name)+kind.Plural+".", store.ListOptions{Limit: limit})
	if err != nil {
		return nil, false, err
	}
	refs, err := referencesIn(l.Entries)
	return refs, l.More, err
}

// mayRefer says whether resources of a kind can refer to those of a plural:
// kinds refer to kinds of lower rank only.
func mayRefer(kind api.Kind, plural string) bool { return kind.Rank > kindOf(plural).Rank }
