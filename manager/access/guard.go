package access

import (
	"fmt"

	"github.com/cyphonic/cyphonic/api"
)

// Covers says whether a principal has every right that rules give, so that nobody gives away more than they have. missing names a
// right that it does not have.
func (a *Access) Covers(p Principal, rules []api.RoleRule) (ok bool, missing string) {
	if p.Everything() {
		return true, ""
	}
	t := a.table()
	for _, rule := range rules {
		for _, kind := range rule.Kinds {
			for _, verb := range verbsOf(rule) {
				for _, place := range placesOf(rule.Networks) {
					if !t.covers(p, verb, kind, place) {
						return false, describe(verb, kind, place)
					}
				}
			}
		}
	}
	return true, ""
}

// covers is reason for a kind and a network that may be wildcards: all kinds are covered by a rule for all kinds only.
func (t *table) covers(p Principal, verb Verb, kind, place string) bool {
	if place == wildcard {
		place = "" // needs a right in all networks
	}
	found := false
	t.rightsOf(p, func(r *rights) bool {
		found = r.reason(verb, kind, place) != ""
		return !found
	})
	return found
}

func describe(verb Verb, kind, place string) string {
	if kind == wildcard {
		kind = "all kinds"
	}
	if place == wildcard {
		return fmt.Sprintf("the verb %s on %s in all networks", verb, kind)
	}
	return fmt.Sprintf("the verb %s on %s in network %q", verb, kind, place)
}

// everything is more than any rules give.
func everything() []api.RoleRule {
	return []api.RoleRule{{Verbs: []string{wildcard}, Kinds: []string{wildcard}}}
}

// CoversObject says whether a principal has every right that somebody gets by a Role, RoleBinding, APIToken or GitSource that it
// writes; other kinds give no rights. A role that does not exist (yet) counts as everything: who made it could fill it later.
func (a *Access) CoversObject(p Principal, o api.Object) (ok bool, missing string) {
	if p.Everything() {
		return true, ""
	}
	t := a.table()
	switch o := o.(type) {
	case *api.Role:
		return a.Covers(p, o.Spec.Rules)
	case *api.RoleBinding:
		return a.Covers(p, narrowRules(t.rulesOf(o.Spec.Role), o.Spec.Networks))
	case *api.GitSource:
		return a.Covers(p, t.rulesOf(o.Spec.Role))
	case *api.APIToken:
		if ok, missing := a.Covers(p, o.Spec.Rules); !ok {
			return false, missing
		}
		// Bindings may name a token that does not exist yet: who creates it gets what they give.
		return t.coversRights(p, t.subjects[subject{Token, o.Metadata.Name}])
	}
	return true, ""
}

func (t *table) rulesOf(role string) []api.RoleRule {
	if rules, ok := t.rules[role]; ok {
		return rules
	}
	return everything()
}

func (t *table) coversRights(p Principal, wanted *rights) (ok bool, missing string) {
	if wanted == nil {
		return true, ""
	}
	for c, n := range wanted.cells {
		if n.all != "" && !t.covers(p, c.verb, c.kind, wildcard) {
			return false, describe(c.verb, c.kind, wildcard)
		}
		for place := range n.named {
			if !t.covers(p, c.verb, c.kind, place) {
				return false, describe(c.verb, c.kind, place)
			}
		}
	}
	return true, ""
}
