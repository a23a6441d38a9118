package rest

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/manager/access"
)

// GetWhoami says who makes the request.
func (s *Server) GetWhoami(ctx context.Context, _ GetWhoamiRequestObject) (GetWhoamiResponseObject, error) {
	who := principalOf(ctx)
	return answerJSON(api.Whoami{
		Kind: string(who.Kind), Name: who.Name, Groups: who.Groups, Roles: s.access.RolesOf(who), ExpirationTimestamp: who.NotAfter.UTC(),
	})
}

// VisitGetWhoamiResponse writes the answer.
func (a *answer) VisitGetWhoamiResponse(w http.ResponseWriter) error { return a.write(w) }

// CreateAccessReview says whether the subject of the request may do something.
func (s *Server) CreateAccessReview(ctx context.Context, r CreateAccessReviewRequestObject) (CreateAccessReviewResponseObject, error) {
	q := r.Body
	_, resource := api.KindNamed(q.Kind)
	switch {
	case !slices.Contains(api.Verbs(), q.Verb):
		return nil, refuseField(http.StatusBadRequest, typeInvalid, "/verb", "is %q, must be one of %s", q.Verb, strings.Join(api.Verbs(), ", "))
	case !resource && !slices.Contains(api.PseudoKinds(), q.Kind):
		return nil, refuseField(http.StatusBadRequest, typeInvalid, "/kind", "is %q, which is neither a kind of resource nor one of %s", q.Kind, strings.Join(api.PseudoKinds(), ", "))
	}
	t := access.Target{Verb: access.Verb(q.Verb), Kind: q.Kind, Network: q.Network, Name: q.Name}
	s.againIfNot(ctx, func() bool { return s.access.Decide(principalOf(ctx), t).Allowed })
	d := s.access.Decide(principalOf(ctx), t)
	return answerJSON(api.AccessDecision{Allowed: d.Allowed, Reason: d.Reason})
}

// VisitCreateAccessReviewResponse writes the answer.
func (a *answer) VisitCreateAccessReviewResponse(w http.ResponseWriter) error { return a.write(w) }
