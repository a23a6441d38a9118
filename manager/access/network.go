package access

import "github.com/cyphonic/cyphonic/api"

// NetworkOf returns the network that a resource belongs to, empty if it belongs to the whole system. A Network belongs to itself, an
// enrolment token to the network of the device that may use it: lookup finds that device, and may be nil.
func NetworkOf(o api.Object, lookup func(kind, name string) (api.Object, bool)) string {
	switch o := o.(type) {
	case *api.Network:
		return o.Metadata.Name
	case *api.Node:
		return o.Spec.Network
	case *api.GeneralNode:
		return o.Spec.Network
	case *api.Adapter:
		return o.Spec.Network
	case *api.AccessPolicy:
		return o.Spec.Network
	case *api.EnrollmentToken:
		if lookup == nil {
			return ""
		}
		device, ok := lookup(string(o.Spec.SubjectKind), o.Spec.SubjectName)
		if !ok || device.KindName() == o.KindName() {
			return ""
		}
		return NetworkOf(device, nil)
	case *api.Event:
		return o.Network
	}
	return ""
}
