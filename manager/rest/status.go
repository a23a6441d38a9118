package rest

import (
	"context"
	"net/http"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/manager/access"
	"github.com/cyphonic/cyphonic/manager/store"
)

// putStatus answers PUT …/status. Specification, labels and generation stay.
func (s *Server) putStatus(ctx context.Context, plural, name string, body api.Object, match filter, p writeParams) (*answer, error) {
	if p.DryRun != "" {
		return s.trial(ctx, p, func(s *Server, p writeParams) (*answer, error) { return s.putStatus(ctx, plural, name, body, match, p) })
	}
	if n := body.Meta().Name; n != "" && n != name {
		return nil, refuseField(http.StatusBadRequest, typeInvalid, "/metadata/name", "is %q, but the path says %q", n, name)
	}
	kind := kindOf(plural)
	return s.attempts(func(r *round) (*answer, error) {
		old, err := r.load(ctx, kind, name)
		if err != nil {
			return nil, orNotFound(err, kind, name)
		}
		if !match(old.object) {
			return nil, notFound(kind, name)
		}
		if err := s.permitReport(ctx, old.object); err != nil {
			return nil, err
		}
		if err := checkPreconditions(old, body.Meta(), p.IfMatch); err != nil {
			return nil, err
		}
		return s.report(ctx, r, kind, old, body)
	})
}

// permitReport asks for the right to write a status. What an adapter may
// report about is decided by the path and by what it carries.
func (s *Server) permitReport(ctx context.Context, o api.Object) error {
	if principalOf(ctx).Kind == access.Adapter {
		return nil
	}
	return s.permit(ctx, access.Report, o)
}

// report makes the status of a resource that of the body.
func (s *Server) report(ctx context.Context, r *round, kind api.Kind, old stored, body api.Object) (*answer, error) {
	o, err := clone(kind, old.object)
	if err != nil {
		return nil, err
	}
	o.SetStatus(body)
	keepOwnStatus(principalOf(ctx), old.object, o)
	if faults := o.Validate(); len(faults) > 0 {
		return nil, invalid(faults)
	}
	if sameJSON(old.object.StatusPart(), o.StatusPart()) {
		return s.unchanged(ctx, r, old)
	}
	c := change{kind: kind, old: old.object, new: o, revision: old.revision, statusOnly: true}
	value, err := encodeEntry(o)
	if err != nil {
		return nil, err
	}
	tx := store.Transaction{
		Conditions: []store.Condition{store.AtRevision(c.key(), c.revision)},
		Writes:     append([]store.Write{store.Put(c.key(), value)}, s.auditWrite(ctx, c)...),
	}
	revision, err := s.store.Commit(ctx, tx)
	if err != nil {
		return nil, (&plan{change: c}).explain(err)
	}
	s.noticeReport(c)
	o.Meta().ResourceVersion = formatRevision(revision)
	if err := s.observed(ctx, o); err != nil {
		return nil, err
	}
	return answerObject(http.StatusOK, o)
}
