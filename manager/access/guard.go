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
		for _, kind := range kindsOf(rule) {
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

// CoversToken is Covers for everything that the holder of a token gets: its own rules, and what bindings give to a token of its name.
// They may name one that does not exist yet.
func (a *Access) CoversToken(p Principal, o *api.APIToken) (ok bool, missing string) {
	if ok, missing := a.Covers(p, o.Spec.Rules); !ok || p.Everything() {
		return ok, missing
	}
	t := a.table()
	return t.coversRights(p, t.subjects[subject{Token, o.Metadata.Name}])
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
