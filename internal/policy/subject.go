package policy

import (
	"strings"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/internal/identity"
)

// ID names a device: the kind as in the resource, and the name.
type ID struct{ Kind, Name string }

// String is the kind in lower case and the name, as in node/viewer.
func (i ID) String() string { return strings.ToLower(i.Kind) + "/" + i.Name }

// ID returns the name of the device.
func (s Subject) ID() ID { return ID{s.Kind, s.Name} }

// SubjectOf returns a device as policies see it once it has logged in: a node with its enrolled key, a general node by the method that its specification demands.
// Disabled devices, which cannot log in, and other kinds are no subjects.
func SubjectOf(o api.Object) (Subject, bool) {
	switch device := o.(type) {
	case *api.Node:
		meta := device.Metadata
		return Subject{"Node", meta.Name, device.Spec.Network, meta.Labels, identity.AssuranceKey}, !device.Spec.Disabled
	case *api.GeneralNode:
		meta := device.Metadata
		assurance, err := identity.ParseAssurance(string(device.Spec.Authentication.Method))
		if err != nil {
			assurance = identity.AssuranceMAC // what Default chooses
		}
		return Subject{"GeneralNode", meta.Name, device.Spec.Network, meta.Labels, assurance}, !device.Spec.Disabled
	}
	return Subject{}, false
}

// Selected counts the devices that a policy selects as sources and as destinations, whatever their assurance.
func Selected(p *api.AccessPolicy, devices []Subject) (sources, destinations int) {
	from, to := selectors(p.Spec.From), selectors(p.Spec.To)
	for _, s := range devices {
		if s.Network != p.Spec.Network {
			continue
		}
		if matches(from, s) {
			sources++
		}
		if matches(to, s) {
			destinations++
		}
	}
	return sources, destinations
}
