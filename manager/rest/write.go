package rest

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/google/uuid"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/manager/access"
	"github.com/cyphonic/cyphonic/manager/fields"
	"github.com/cyphonic/cyphonic/manager/store"
)

// intent is a write of one resource as it was asked for.
type intent struct {
	writeParams
	kind    api.Kind
	name    string
	manager string      // who decides about the fields
	verb    access.Verb // of an update
	// owned is the new account of the fields, where it does not follow from
	// what changes: for an apply.
	owned []api.ManagedFields
	// keepSystem keeps the finalizers of the manager, which the body need not
	// list.
	keepSystem bool
	record     *record // of the answer, for an Idempotency-Key
}

func (s *Server) intentOf(ctx context.Context, plural, name string, verb access.Verb, p writeParams) intent {
	in := intent{writeParams: p, kind: kindOf(plural), name: name, verb: verb, manager: p.FieldManager, keepSystem: true}
	if in.manager == "" {
		in.manager = managerOf(ctx)
	}
	return in
}

// managerOf is the field manager of a request that names none: its subject.
func managerOf(ctx context.Context) string {
	name := principalOf(ctx).String()
	return strings.ToValidUTF8(name[:min(len(name), maxFieldManager)], "")
}

// create answers POST.
func (s *Server) create(ctx context.Context, plural string, body api.Object, p writeParams) (*answer, error) {
	if p.DryRun != "" {
		return s.trial(ctx, p, func(s *Server, p writeParams) (*answer, error) { return s.create(ctx, plural, body, p) })
	}
	if p.IdempotencyKey != "" {
		return s.createOnceFor(ctx, plural, body, p)
	}
	return s.createFrom(ctx, s.intentOf(ctx, plural, body.Meta().Name, access.Create, p), body)
}

// createFrom creates what the body says.
func (s *Server) createFrom(ctx context.Context, in intent, body api.Object) (*answer, error) {
	if err := checkBody(body); err != nil {
		return nil, err
	}
	if err := s.permit(ctx, access.Create, body); err != nil {
		return nil, err
	}
	if body.Meta().ResourceVersion != "" {
		return nil, refuseField(http.StatusBadRequest, typeInvalid, "/metadata/resourceVersion", "a resource that is to be created has no resourceVersion; leave it out, or use PUT")
	}
	return s.attempts(func(r *round) (*answer, error) {
		_, err := r.load(ctx, in.kind, in.name)
		if err == nil {
			return nil, refuse(http.StatusConflict, typeExists, "%s %q exists; choose another name, or change it with PUT (cyphonicctl apply)", in.kind.Name, in.name)
		}
		if !errors.Is(err, store.ErrNotFound) {
			return nil, err
		}
		return s.createNew(ctx, r, in, body)
	})
}

// createNew creates a resource that was not there a moment ago.
func (s *Server) createNew(ctx context.Context, r *round, in intent, body api.Object) (*answer, error) {
	if err := checkFinalizers(nil, body.Meta().Finalizers); err != nil {
		return nil, err
	}
	o, err := clone(in.kind, body)
	if err != nil {
		return nil, err
	}
	now := s.now().UTC()
	*o.Meta() = api.ObjectMeta{
		Name: body.Meta().Name, Labels: o.Meta().Labels, Annotations: o.Meta().Annotations, Finalizers: o.Meta().Finalizers,
		Uid: uuid.NewString(), Generation: 1, CreationTimestamp: now, UpdateTimestamp: now, ManagedFields: in.owned,
	}
	o.SetStatus(in.kind.New())
	if in.owned == nil {
		after, err := tree(o)
		if err != nil {
			return nil, err
		}
		o.Meta().ManagedFields = fields.Update(nil, after, nil, in.manager, now)
	}
	revision, secret, err := s.commit(ctx, r, change{kind: in.kind, new: o, record: in.record})
	if err != nil {
		return nil, err
	}
	o.Meta().ResourceVersion = formatRevision(revision)
	if err := s.observed(ctx, o); err != nil {
		return nil, err
	}
	if !s.rehearsal {
		showSecret(o, secret)
	}
	return answerObject(http.StatusCreated, o)
}

// replace answers PUT: create or update.
func (s *Server) replace(ctx context.Context, plural, name string, body api.Object, p writeParams) (*answer, error) {
	if p.DryRun != "" {
		return s.trial(ctx, p, func(s *Server, p writeParams) (*answer, error) { return s.replace(ctx, plural, name, body, p) })
	}
	if err := checkBody(body); err != nil {
		return nil, err
	}
	if body.Meta().Name != name {
		return nil, refuseField(http.StatusBadRequest, typeInvalid, "/metadata/name", "is %q, but the path says %q", body.Meta().Name, name)
	}
	in := s.intentOf(ctx, plural, name, access.Update, p)
	return s.attempts(func(r *round) (*answer, error) {
		old, err := r.load(ctx, in.kind, name)
		if errors.Is(err, store.ErrNotFound) {
			return s.createAbsent(ctx, r, in, body)
		}
		if err != nil {
			return nil, err
		}
		return s.update(ctx, r, in, old, body)
	})
}

// createAbsent creates what was to be updated and is not there.
func (s *Server) createAbsent(ctx context.Context, r *round, in intent, body api.Object) (*answer, error) {
	if err := s.permit(ctx, access.Create, body); err != nil {
		return nil, err
	}
	if err := checkAbsent(in.kind, body, in.IfMatch); err != nil {
		return nil, err
	}
	return s.createNew(ctx, r, in, body)
}

// update makes a resource what the body says. Nothing is written if it is so.
func (s *Server) update(ctx context.Context, r *round, in intent, old stored, body api.Object) (*answer, error) {
	if err := s.permit(ctx, in.verb, old.object, body); err != nil {
		return nil, err
	}
	if err := checkPreconditions(old, body.Meta(), in.IfMatch); err != nil {
		return nil, err
	}
	if faults := api.CheckUpdate(old.object, body); len(faults) > 0 {
		return nil, invalid(faults)
	}
	o, err := s.successor(in, old, body)
	if err != nil {
		return nil, err
	}
	sameSpec, sameMeta := sameJSON(old.object.SpecPart(), o.SpecPart()), sameWritable(old.object.Meta(), o.Meta())
	if sameSpec && sameMeta && fields.SameOwners(old.object.Meta().ManagedFields, o.Meta().ManagedFields) {
		return s.unchanged(ctx, r, old)
	}
	if deleting(old.object) {
		return s.release(ctx, r, old, o, sameSpec)
	}
	if !sameSpec {
		o.Meta().Generation++
	}
	if !sameSpec || !sameMeta {
		o.Meta().UpdateTimestamp = s.now().UTC()
	}
	return s.commitUpdate(ctx, r, old, o)
}

// successor is the resource as it shall be after an update.
func (s *Server) successor(in intent, old stored, body api.Object) (api.Object, error) {
	finalizers := body.Meta().Finalizers
	if in.keepSystem {
		finalizers = withSystemFinalizers(old.object.Meta().Finalizers, finalizers)
	}
	if err := checkFinalizers(old.object.Meta().Finalizers, finalizers); err != nil {
		return nil, err
	}
	o, err := clone(in.kind, body)
	if err != nil {
		return nil, err
	}
	labels, annotations := o.Meta().Labels, o.Meta().Annotations
	*o.Meta() = *old.object.Meta()
	meta := o.Meta()
	meta.Labels, meta.Annotations, meta.Finalizers = labels, annotations, finalizers
	o.SetStatus(old.object)
	if in.owned != nil {
		meta.ManagedFields = in.owned
		return o, nil
	}
	before, err := tree(old.object)
	if err != nil {
		return nil, err
	}
	after, err := tree(o)
	if err != nil {
		return nil, err
	}
	meta.ManagedFields = fields.Update(before, after, meta.ManagedFields, in.manager, s.now().UTC())
	return o, nil
}

// commitUpdate writes an update and answers with it.
func (s *Server) commitUpdate(ctx context.Context, r *round, old stored, o api.Object) (*answer, error) {
	kind := kindNamed(o)
	revision, _, err := s.commit(ctx, r, change{kind: kind, old: old.object, new: o, revision: old.revision})
	if err != nil {
		return nil, err
	}
	o.Meta().ResourceVersion = formatRevision(revision)
	if err := s.observed(ctx, o); err != nil {
		return nil, err
	}
	return answerObject(http.StatusOK, o)
}

// unchanged answers a request that changes nothing with the resource as it is
// now: what the cache shows may be of the past.
func (s *Server) unchanged(ctx context.Context, r *round, old stored) (*answer, error) {
	if r.cached {
		return nil, errChanged
	}
	if err := s.observed(ctx, old.object); err != nil {
		return nil, err
	}
	return answerObject(http.StatusOK, old.object)
}

// checkBody defaults and validates a body by itself.
func checkBody(body api.Object) error {
	body.Default()
	return body.Validate().Err()
}

// checkAbsent refuses a conditional request for a resource that does not exist.
func checkAbsent(kind api.Kind, body api.Object, ifMatch string) error {
	name := body.Meta().Name
	switch {
	case ifMatch != "":
		return refuse(http.StatusPreconditionFailed, typeConflict, "If-Match is %s, but there is no %s named %q", ifMatch, kind.Name, name)
	case body.Meta().ResourceVersion != "":
		return refuseField(http.StatusConflict, typeConflict, "/metadata/resourceVersion", "there is no %s named %q any more; leave resourceVersion out to create it", kind.Name, name)
	}
	return nil
}

// checkPreconditions compares what the client believes with what is stored.
func checkPreconditions(old stored, given *api.ObjectMeta, ifMatch string) error {
	current := old.object.Meta()
	if ifMatch != "" && !etagMatches(ifMatch, current.ResourceVersion) {
		return refuse(http.StatusPreconditionFailed, typeConflict, "If-Match is %s, but the resource is at \"%s\"; read it again", ifMatch, current.ResourceVersion)
	}
	if v := given.ResourceVersion; v != "" && v != current.ResourceVersion {
		return refuseField(http.StatusConflict, typeConflict, "/metadata/resourceVersion", "is %q, but the resource is at %q; read it again", v, current.ResourceVersion)
	}
	if u := given.Uid; u != "" && u != current.Uid {
		return refuseField(http.StatusConflict, typeConflict, "/metadata/uid", "is %q, but the resource of this name is %q", u, current.Uid)
	}
	return nil
}

// etagMatches compares as RFC 9110 section 13.1.1 says: a list of strong tags.
func etagMatches(ifMatch, version string) bool {
	for tag := range strings.SplitSeq(ifMatch, ",") {
		if tag = strings.TrimSpace(tag); tag == "*" || tag == `"`+version+`"` {
			return true
		}
	}
	return false
}
