package rest

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/internal/policy"
	"github.com/cyphonic/cyphonic/manager/access"
	"github.com/cyphonic/cyphonic/manager/cache"
)

// GetReachability says which policies let one device open flows to another.
func (s *Server) GetReachability(ctx context.Context, r GetReachabilityRequestObject) (GetReachabilityResponseObject, error) {
	query, err := policy.ParseQuery(r.Params.Protocol, r.Params.Port)
	if err != nil {
		return nil, refuse(http.StatusBadRequest, typeInvalid, "%s", err)
	}
	if err := s.permitKind(ctx, access.Get, access.KindReachability); err != nil {
		return nil, err
	}
	from, fromEnabled, err := s.device(ctx, "from", r.Params.From)
	if err != nil {
		return nil, err
	}
	to, toEnabled, err := s.device(ctx, "to", r.Params.To)
	if err != nil {
		return nil, err
	}
	set, faults := policy.Compile(s.policiesOf(from.Network, to.Network))
	for _, fault := range faults {
		s.log.Error("access policy left out", "error", fault)
	}
	out := policy.Explain(set, from, to, query).Answer()
	for device, enabled := range map[string]bool{out.From: fromEnabled, out.To: toEnabled} {
		if !enabled {
			out.Allowed = false
			out.Reasons = append([]api.ReachabilityReason{{Reason: device + " is disabled: it can neither log in nor be reached"}}, out.Reasons...)
		}
	}
	return answerJSON(out)
}

// VisitGetReachabilityResponse writes the answer.
func (a *answer) VisitGetReachabilityResponse(w http.ResponseWriter) error { return a.write(w) }

// device reads what a parameter like node/viewer names, as policies see it. A
// device of a network that the subject may not ask about is as good as absent.
func (s *Server) device(ctx context.Context, parameter, text string) (subject policy.Subject, enabled bool, err error) {
	word, name, ok := strings.Cut(text, "/")
	kind, known := deviceKind(word)
	if !ok || !known || name == "" {
		return policy.Subject{}, false, refuse(http.StatusBadRequest, typeInvalid, "parameter %s is %q, must be node/NAME or generalnode/NAME", parameter, text)
	}
	got, err := s.loadOrProblem(ctx, kind, name)
	if err != nil {
		return policy.Subject{}, false, err
	}
	subject, enabled = policy.SubjectOf(got.object)
	if s.permitIn(ctx, access.Get, access.KindReachability, subject.Network) != nil {
		return policy.Subject{}, false, notFound(kind, name)
	}
	return subject, enabled && !deleting(got.object), nil
}

func deviceKind(word string) (api.Kind, bool) {
	switch strings.ToLower(word) {
	case "node", "nodes":
		return api.KindNamed("Node")
	case "generalnode", "generalnodes", "gn":
		return api.KindNamed("GeneralNode")
	}
	return api.Kind{}, false
}

// policiesOf are the access policies of some networks.
func (s *Server) policiesOf(networks ...string) (list []*api.AccessPolicy) {
	s.cache.View(keyspace.AccessPolicies).Ascend("", func(i *cache.Item) bool {
		for _, network := range networks {
			if o := new(api.AccessPolicy); i.Network == network && json.Unmarshal(i.Value, o) == nil {
				list = append(list, o)
				break
			}
		}
		return true
	})
	return list
}
