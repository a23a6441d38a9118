package policy

import "github.com/cyphonic/cyphonic/api"

// Selects tells whether a policy selects a device to open flows, and to have flows opened to it.
func Selects(p *api.AccessPolicy, s Subject) (from, to bool) {
	if p.Spec.Network != s.Network {
		return false, false
	}
	return matches(selectors(p.Spec.From), s), matches(selectors(p.Spec.To), s)
}
