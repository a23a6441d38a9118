package manifest

import (
	"fmt"

	"github.com/cyphonic/cyphonic/api"
)

// Check returns the faults of valid resources that show only when they are seen together: a resource twice, a name, address or MAC twice in a network, a name or
// address outside of its network, an adapter of another network. What is not among the resources is taken for good: the manager knows more.
func Check(resources []Resource) []*FileError {
	t := together{named: map[string]Resource{}, taken: map[string]Resource{}}
	for _, r := range resources {
		t.once(r)
	}
	for _, r := range resources {
		t.inNetwork(r)
	}
	return t.faults
}

// CheckComplete returns a fault for each reference to something that is neither among the resources nor there from the beginning. Only resources that shall be a
// whole installation need none.
func CheckComplete(resources []Resource) (faults []*FileError) {
	named := map[string]bool{}
	for _, role := range api.BuiltInRoles() {
		named["Role/"+role] = true
	}
	for _, r := range resources {
		named[r.Object.KindName()+"/"+r.Object.Meta().Name] = true
	}
	for _, r := range resources {
		for _, reference := range r.Object.References() {
			if reference.Name != "" && !named[reference.Kind+"/"+reference.Name] {
				faults = append(faults, r.Error(reference.Pointer, fmt.Sprintf("refers to the %s %q, which no manifest describes", reference.Kind, reference.Name)))
			}
		}
	}
	return faults
}

type together struct {
	named  map[string]Resource
	taken  map[string]Resource // by network, field and value
	faults []*FileError
}

func (t *together) once(r Resource) {
	if first, ok := t.named[r.Name()]; ok {
		t.fault(r, "/metadata/name", "is already described in %s", first.Source.At(""))
		return
	}
	t.named[r.Name()] = r
}

func (t *together) inNetwork(r Resource) {
	switch device := r.Object.(type) {
	case *api.Node:
		t.device(r, device.Spec.Network, "", device.Spec.Fqdn, device.Spec.VirtualIPv4, device.Spec.VirtualIPv6)
	case *api.GeneralNode:
		t.device(r, device.Spec.Network, device.Spec.Mac, device.Spec.Fqdn, device.Spec.VirtualIPv4, device.Spec.VirtualIPv6)
		t.carried(r, device)
	}
}

// carried wants the adapter in the network of the general node.
func (t *together) carried(r Resource, device *api.GeneralNode) {
	other, ok := t.named["adapter/"+device.Spec.Adapter]
	if !ok {
		return
	}
	if adapter := other.Object.(*api.Adapter); adapter.Spec.Network != device.Spec.Network {
		t.fault(r, "/spec/adapter", "is %q, which is in network %s (%s), not in %s: choose an adapter of the same network",
			device.Spec.Adapter, adapter.Spec.Network, other.Source.At("/spec/network"), device.Spec.Network)
	}
}

func (t *together) device(r Resource, networkName, mac, fqdn, ipv4, ipv6 string) {
	if other, ok := t.named["network/"+networkName]; ok {
		network := other.Object.(*api.Network)
		for _, field := range api.CheckInNetwork(r.Object, network) {
			t.fault(r, field.Pointer, "%s", field.Detail)
		}
		fqdn = api.FQDN(fqdn, r.Object.Meta().Name, network.Spec.Domain)
	}
	t.claim(r, networkName, "/spec/mac", mac)
	t.claim(r, networkName, "/spec/fqdn", fqdn)
	t.claim(r, networkName, "/spec/virtualIPv4", ipv4)
	t.claim(r, networkName, "/spec/virtualIPv6", ipv6)
}

// claim reports a value that another device of the network has already.
func (t *together) claim(r Resource, network, pointer, value string) {
	if value == "" {
		return
	}
	key := network + " " + pointer + " " + value
	if first, ok := t.taken[key]; ok && first.Name() != r.Name() {
		t.fault(r, pointer, "is %q, which %s, %s has already: choose another", value, first.Source.At(pointer), first.Name())
		return
	}
	t.taken[key] = r
}

func (t *together) fault(r Resource, pointer, format string, args ...any) {
	t.faults = append(t.faults, r.Error(pointer, fmt.Sprintf(format, args...)))
}
