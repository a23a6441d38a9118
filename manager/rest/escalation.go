package rest

import (
	"context"
	"net/http"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/manager/access"
)

// planRights refuses to give somebody more rights than the subject of the
// request has, by a Role, a RoleBinding, an APIToken or a GitSource. A change
// that leaves the specification as it is gives nothing.
func (s *Server) planRights(ctx context.Context, p *plan, targets map[string]api.Object) error {
	if p.old != nil && sameJSON(p.old.SpecPart(), p.new.SpecPart()) {
		return nil
	}
	who := principalOf(ctx)
	pointer, covers := "/spec/rules", func() (bool, string) { return true, "" }
	switch o := p.new.(type) {
	case *api.Role:
		covers = func() (bool, string) { return s.access.Covers(who, o.Spec.Rules) }
	case *api.RoleBinding:
		pointer = "/spec/role"
		covers = func() (bool, string) { return s.access.Covers(who, access.Narrow(rulesOf(targets), o.Spec.Networks)) }
	case *api.GitSource:
		pointer = "/spec/role"
		covers = func() (bool, string) { return s.access.Covers(who, rulesOf(targets)) }
	case *api.APIToken: // bindings may name the token
		covers = func() (bool, string) { return s.access.CoversToken(who, o) }
	}
	var missing string
	may := func() (ok bool) {
		ok, missing = covers()
		return ok
	}
	if s.againIfNot(ctx, may) {
		return nil
	}
	verb := access.Update
	if p.old == nil {
		verb = access.Create
	}
	refusal := refuseField(http.StatusForbidden, typeBlank, pointer, "this would give away a right that %s does not have: %s", who, missing)
	return &denial{problem: refusal, target: s.target(ctx, verb, p.new)}
}

// rulesOf are the rules of the role that was referred to.
func rulesOf(targets map[string]api.Object) []api.RoleRule {
	role, ok := targets["Role"].(*api.Role)
	if !ok { // planReferences has read it
		return []api.RoleRule{{Verbs: []string{api.Any}, Kinds: []string{api.Any}}}
	}
	return role.Spec.Rules
}
