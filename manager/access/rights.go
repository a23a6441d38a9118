package access

import (
	"slices"

	"github.com/cyphonic/cyphonic/api"
)

// wildcard stands for all kinds, all verbs and all networks in rules.
const wildcard = "*"

// weighty are the kinds that a rule for all kinds speaks of only if it is for all verbs too: a backup has the keys of the services in
// it, and a restoration is everything, which is not what a rule means that lets somebody look at everything.
func weighty() []string { return []string{KindBackup, KindRestore} }

// kindsOf are the kinds that a rule speaks of, with the weighty ones where the wildcard includes them.
func kindsOf(rule api.RoleRule) []string {
	if slices.Contains(rule.Kinds, wildcard) && slices.Contains(rule.Verbs, wildcard) {
		return append(weighty(), rule.Kinds...)
	}
	return rule.Kinds
}

// cell is a verb on a kind; kind may be the wildcard.
type cell struct {
	verb Verb
	kind string
}

// networks says where a verb on a kind is allowed, and by what: the values are reasons.
type networks struct {
	all   string // allowed everywhere; empty: not
	named map[string]string
}

// in returns the reason why it is allowed in a network, empty if it is not. No network (a resource of the whole system) needs all.
func (n *networks) in(network string) string {
	if n == nil {
		return ""
	}
	if n.all != "" || network == "" {
		return n.all
	}
	return n.named[network]
}

// rights is what one subject may do. It is not changed after it was compiled.
type rights struct {
	cells map[cell]*networks
	roles []string // names, sorted
}

func newRights() *rights { return &rights{cells: map[cell]*networks{}} }

// reason says why a target is allowed, empty if it is not.
func (r *rights) reason(verb Verb, kind, network string) string {
	if r == nil {
		return ""
	}
	if why := r.cells[cell{verb, kind}].in(network); why != "" {
		return why
	}
	if slices.Contains(weighty(), kind) {
		return ""
	}
	return r.cells[cell{verb, wildcard}].in(network)
}

// somewhere says whether the verb is allowed on the kind in at least one network.
func (r *rights) somewhere(verb Verb, kind string) bool {
	if r == nil {
		return false
	}
	return r.cells[cell{verb, kind}] != nil || (r.cells[cell{verb, wildcard}] != nil && !slices.Contains(weighty(), kind))
}

// grant adds rules, narrowed to some networks if there are any.
func (r *rights) grant(why string, rules []api.RoleRule, narrowed []string) {
	for _, rule := range rules {
		places := narrow(placesOf(rule.Networks), placesOf(narrowed))
		if len(places) == 0 {
			continue // the rule and the binding speak of different networks
		}
		for _, verb := range verbsOf(rule) {
			for _, kind := range kindsOf(rule) {
				r.add(cell{verb, kind}, why, places)
			}
		}
	}
}

func (r *rights) add(c cell, why string, places []string) {
	n := r.cells[c]
	if n == nil {
		n = &networks{named: map[string]string{}}
		r.cells[c] = n
	}
	for _, place := range places {
		switch {
		case place == wildcard && n.all == "":
			n.all = why
		case place != wildcard && n.named[place] == "":
			n.named[place] = why
		}
	}
}

// placesOf reads a list of networks: none means all.
func placesOf(list []string) []string {
	if len(list) == 0 || slices.Contains(list, wildcard) {
		return []string{wildcard}
	}
	return list
}

// narrow returns the networks that are in both.
func narrow(a, b []string) []string {
	switch {
	case a[0] == wildcard:
		return b
	case b[0] == wildcard:
		return a
	}
	var both []string
	for _, place := range a {
		if slices.Contains(b, place) {
			both = append(both, place)
		}
	}
	return both
}

func verbsOf(rule api.RoleRule) []Verb {
	if slices.Contains(rule.Verbs, wildcard) {
		return Verbs()
	}
	verbs := make([]Verb, len(rule.Verbs))
	for i, v := range rule.Verbs {
		verbs[i] = Verb(v)
	}
	return verbs
}

// Narrow returns what rules allow behind a binding to some networks; no networks leave them as they are.
func Narrow(rules []api.RoleRule, networks []string) []api.RoleRule {
	var out []api.RoleRule
	for _, rule := range rules {
		rule.Networks = narrow(placesOf(rule.Networks), placesOf(networks))
		if len(rule.Networks) > 0 {
			out = append(out, rule)
		}
	}
	return out
}
