package ctl

import (
	"fmt"

	"github.com/cyphonic/cyphonic/api"
)

// checkTogether returns the faults of valid resources that show only when they are seen together: a resource twice, a name, address or MAC twice in a network, a
// name or address outside of its network. What is not among the resources is taken for good: the manager knows more.
func checkTogether(resources []resource) []error {
	t := together{
		named:    map[string]resource{},
		taken:    map[string]resource{},
		networks: map[string]*api.Network{},
	}
	for _, r := range resources {
		t.once(r)
		if network, ok := r.object.(*api.Network); ok {
			t.networks[network.Metadata.Name] = network
		}
	}
	for _, r := range resources {
		t.inNetwork(r)
	}
	return t.faults
}

type together struct {
	named    map[string]resource
	taken    map[string]resource
	networks map[string]*api.Network
	faults   []error
}

func (t *together) once(r resource) {
	if first, ok := t.named[r.name()]; ok {
		t.fault(r, "/metadata/name", fmt.Sprintf("is already described in %s", first.source.at("", "")))
		return
	}
	t.named[r.name()] = r
}

func (t *together) inNetwork(r resource) {
	switch device := r.object.(type) {
	case *api.Node:
		t.device(r, device.Spec.Network, "", device.Spec.Fqdn, device.Spec.VirtualIPv4, device.Spec.VirtualIPv6)
	case *api.GeneralNode:
		t.device(r, device.Spec.Network, device.Spec.Mac, device.Spec.Fqdn, device.Spec.VirtualIPv4, device.Spec.VirtualIPv6)
	}
}

func (t *together) device(r resource, networkName, mac, fqdn, ipv4, ipv6 string) {
	if network, ok := t.networks[networkName]; ok {
		for _, field := range api.CheckInNetwork(r.object, network) {
			t.fault(r, field.Pointer, field.Detail)
		}
		fqdn = api.FQDN(fqdn, r.object.Meta().Name, network.Spec.Domain)
	}
	t.claim(r, networkName, "/spec/mac", mac)
	t.claim(r, networkName, "/spec/fqdn", fqdn)
	t.claim(r, networkName, "/spec/virtualIPv4", ipv4)
	t.claim(r, networkName, "/spec/virtualIPv6", ipv6)
}

// claim reports a value that another device of the network has already.
func (t *together) claim(r resource, network, pointer, value string) {
	if value == "" {
		return
	}
	key := network + " " + pointer + " " + value
	if first, ok := t.taken[key]; ok && first.name() != r.name() {
		t.fault(r, pointer, fmt.Sprintf("is %q, which %s has already: choose another", value, first.source.at(pointer, first.name())))
		return
	}
	t.taken[key] = r
}

func (t *together) fault(r resource, pointer, detail string) {
	t.faults = append(t.faults, &invalidError{fmt.Errorf("%s: %s: %s", r.source.at(pointer, r.name()), pointer, detail)})
}
