package rest

import (
	"context"
	"errors"
	"net/http"

	"github.com/cyphonic/cyphonic/internal/auditchain"
	"github.com/cyphonic/cyphonic/manager/access"
	"github.com/cyphonic/cyphonic/manager/audit"
	"github.com/cyphonic/cyphonic/manager/store"
)

// auditWrite is the record of a change for the transaction that does it. What
// adapters report of their general nodes, and the manager of itself, is no
// decision of anybody and is not recorded.
func (s *Server) auditWrite(ctx context.Context, c change) []store.Write {
	from := callerOf(ctx)
	if c.statusOnly && (from.who.Kind == access.Adapter || from.who.Kind == access.System || from.who.Kind == access.GitSource) {
		return nil
	}
	r := s.newRecord(ctx)
	r.Outcome, r.Status = auditchain.Allowed, http.StatusOK
	r.Verb = string(verbOf(c, from.route))
	if r.Verb == string(access.Create) {
		r.Status = http.StatusCreated
	}
	o := c.subject()
	r.Kind, r.Name, r.Network = c.kind.Name, o.Meta().Name, s.networkOfObject(ctx, o)
	r.Before, r.After, r.Truncated = audit.Objects(c.old, c.new)
	return []store.Write{s.audit.Pending(r)}
}

func verbOf(c change, r route) access.Verb {
	switch {
	case c.old == nil:
		return access.Create
	case c.new == nil || (deleting(c.new) && !deleting(c.old)):
		return access.Delete
	case c.statusOnly:
		return access.Report
	case len(r.verbs) > 0 && r.verbs[0] == access.Patch:
		return access.Patch
	}
	return access.Update
}

func (s *Server) newRecord(ctx context.Context) audit.Record {
	from := callerOf(ctx)
	return audit.Record{Time: s.now(), RequestId: requestIDOf(ctx), Subject: from.who.String(), RemoteAddress: from.remote}
}

// auditRead records that somebody reads what tells a lot, before it is read.
func (s *Server) auditRead(ctx context.Context) error {
	if s.rehearsal {
		return nil
	}
	from := callerOf(ctx)
	r := s.newRecord(ctx)
	r.Verb, r.Kind, r.Outcome, r.Status = string(from.route.verbs[0]), from.route.kind, auditchain.Allowed, http.StatusOK
	return s.audit.Write(ctx, r)
}

// noteRefusal records requests that were refused because of who made them, and
// writes that failed. Nobody waits for it.
func (s *Server) noteRefusal(ctx context.Context, name string, err error) {
	if err == nil {
		return
	}
	from := callerOf(ctx)
	r := s.newRecord(ctx)
	r.Outcome, r.Kind, r.Name = auditchain.Failed, from.route.kind, name
	if len(from.route.verbs) > 0 {
		r.Verb = string(from.route.verbs[0])
	}
	var denied *denial
	switch {
	case errors.As(err, &denied) && denied.credential == access.ReasonMissing:
		return // nobody tried to be anybody
	case errors.As(err, &denied) && denied.credential != "":
		r.Outcome, r.Verb = auditchain.Denied, "login"
		if r.Kind == "" {
			r.Kind = "Login"
		}
	case errors.As(err, &denied):
		r.Outcome, r.Verb, r.Kind, r.Network = auditchain.Denied, string(denied.target.Verb), denied.target.Kind, denied.target.Network
		if r.Name == "" {
			r.Name = denied.target.Name
		}
	case !from.route.write || from.who.Kind == access.Adapter || from.who.Kind == "":
		return
	}
	p := asProblem(err)
	r.Status, r.Reason = p.status, reasonOf(p)
	source := r.Subject
	if from.who.Kind == "" {
		source = from.remote
	}
	s.audit.Note(source, r)
}

// reasonOf says why a request failed without repeating what it said: what is
// not valid may be a secret in the wrong place.
func reasonOf(p *problem) string {
	if p.status != http.StatusBadRequest && p.status != http.StatusUnprocessableEntity {
		return p.detail
	}
	reason := "the request is not valid"
	for i, e := range p.errors {
		reason += map[bool]string{true: ": ", false: ", "}[i == 0] + e.Pointer
	}
	return reason
}

// noteRehearsal records that somebody tried something out with dryRun=All.
func (s *Server) noteRehearsal(ctx context.Context, name string, status int, dryRun string) {
	from := callerOf(ctx)
	if dryRun == "" || !from.route.write {
		return
	}
	r := s.newRecord(ctx)
	r.Verb, r.Kind, r.Name = string(from.route.verbs[0]), from.route.kind, name
	r.Outcome, r.Status, r.Reason = auditchain.Allowed, status, "dry run: nothing was written"
	s.audit.Note(r.Subject, r)
}
