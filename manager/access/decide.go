package access

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cyphonic/cyphonic/internal/keyspace"
)

// table returns the rights of now, compiled anew if roles, bindings or tokens have changed.
func (a *Access) table() *table {
	m := moment{
		roles: a.cache.View(keyspace.Roles), bindings: a.cache.View(keyspace.RoleBindings), tokens: a.cache.View(keyspace.APITokens),
	}
	if t := a.compiled.Load(); t != nil && t.same(m) {
		return t
	}
	a.compiling.Lock()
	defer a.compiling.Unlock()
	was := a.compiled.Load()
	if was != nil && was.same(m) {
		return was // somebody else was faster
	}
	t := compile(m, was)
	a.compiled.Store(t)
	return t
}

// Decide says whether a principal may do something, as far as the cache knows; see Fresh.
func (a *Access) Decide(p Principal, t Target) Decision {
	if p.Everything() {
		return Decision{Allowed: true, Reason: "may everything"}
	}
	var why string
	a.table().rightsOf(p, func(r *rights) bool {
		why = r.reason(t.Verb, t.Kind, t.Network)
		return why == ""
	})
	if why != "" {
		return Decision{Allowed: true, Reason: why}
	}
	return Decision{Reason: missing(p, t)}
}

// missing says what a principal would need.
func missing(p Principal, t Target) string {
	if p.Kind == Adapter {
		return fmt.Sprintf("%s may reach only its own general nodes, at /api/v1/adapters/%s/", p, p.Name)
	}
	where := "in all networks"
	switch {
	case t.Network != "":
		where = fmt.Sprintf("in network %q", t.Network)
	case t.Somewhere:
		where = "in any network"
	}
	return fmt.Sprintf("no role of %s has the verb %s on %s %s; ask who administers this manager for a RoleBinding", p, t.Verb, t.Kind, where)
}

// MayAny says whether a principal may do something to at least one resource of a kind, in whichever network.
func (a *Access) MayAny(p Principal, verb Verb, kind string) bool {
	if p.Everything() {
		return true
	}
	found := false
	a.table().rightsOf(p, func(r *rights) bool {
		found = r.somewhere(verb, kind)
		return !found
	})
	return found
}

// Networks says in which networks a principal may do something to resources of a kind: everywhere, or those for which the function
// returns true. It answers for the moment at which it was called and is cheaper than Decide for many resources.
func (a *Access) Networks(p Principal, verb Verb, kind string) (everywhere bool, in func(network string) bool) {
	if p.Everything() {
		return true, func(string) bool { return true }
	}
	var held []*rights
	a.table().rightsOf(p, func(r *rights) bool {
		if r.somewhere(verb, kind) {
			held = append(held, r)
		}
		return true
	})
	in = func(network string) bool {
		for _, r := range held {
			if r.reason(verb, kind, network) != "" {
				return true
			}
		}
		return false
	}
	return in(""), in
}

// RolesOf lists the roles of a principal by name, for people.
func (a *Access) RolesOf(p Principal) []string {
	var names []string
	seen := map[string]bool{}
	a.table().rightsOf(p, func(r *rights) bool {
		if r != nil {
			for _, name := range r.roles {
				if !seen[name] {
					seen[name] = true
					names = append(names, name)
				}
			}
		}
		return true
	})
	return names
}

// Version changes whenever rights may have changed: who keeps an answer asks again when it has.
func (a *Access) Version() uint64 { return a.table().version }

// ScopeAll is the Scope of who may everywhere.
const ScopeAll = "*"

// Scope is where a principal may do something to resources of a kind, in a form to compare: ScopeAll, or the names of the networks.
func (a *Access) Scope(p Principal, verb Verb, kind string) string {
	if p.Everything() {
		return ScopeAll
	}
	places := map[string]bool{}
	a.table().rightsOf(p, func(r *rights) bool {
		if r == nil {
			return true
		}
		for _, c := range []cell{{verb, kind}, {verb, wildcard}} {
			n := r.cells[c]
			if n == nil {
				continue
			}
			if n.all != "" {
				places[ScopeAll] = true
			}
			for place := range n.named {
				places[place] = true
			}
		}
		return true
	})
	if places[ScopeAll] {
		return ScopeAll
	}
	return strings.Join(slices.Sorted(maps.Keys(places)), ",")
}
