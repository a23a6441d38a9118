package api

import (
	"net/netip"
	"strings"
)

func (*Node) KindName() string     { return "Node" }
func (n *Node) Meta() *ObjectMeta  { return &n.Metadata }
func (n *Node) SetType()           { n.ApiVersion, n.Kind = Version, n.KindName() }
func (n *Node) SpecPart() any      { return &n.Spec }
func (n *Node) StatusPart() any    { return &n.Status }
func (n *Node) SetStatus(o Object) { n.Status = o.(*Node).Status }

// References returns the network.
func (n *Node) References() []Reference {
	return []Reference{{"Network", n.Spec.Network, "/spec/network"}}
}

// Default brings name and addresses to their canonical form.
func (n *Node) Default() {
	n.Spec.Fqdn = canonicalDomain(n.Spec.Fqdn)
	n.Spec.VirtualIPv4 = canonicalAddress(n.Spec.VirtualIPv4)
	n.Spec.VirtualIPv6 = canonicalAddress(n.Spec.VirtualIPv6)
}

// Validate checks the node by itself; see CheckInNetwork for what depends on its network.
func (n *Node) Validate() FieldErrors {
	var found faults
	validateEnvelope(n, n.ApiVersion, n.Kind, &found)
	requireName(n.Spec.Network, "/spec/network", &found)
	validateFQDN(n.Spec.Fqdn, "/spec/fqdn", &found)
	validateAddress(n.Spec.VirtualIPv4, 4, "/spec/virtualIPv4", &found)
	validateAddress(n.Spec.VirtualIPv6, 6, "/spec/virtualIPv6", &found)
	validatePasswordHash(n.Spec.Authentication.PasswordHash, "/spec/authentication/passwordHash", &found)
	validatePhase(n.Status.Phase, &found)
	validateConditions(n.Status.Conditions, &found)
	return found.list
}

// FQDN returns the name that a device is reached by: the one its specification gives, else its own name in the domain of the network.
func FQDN(specified, name, domain string) string {
	if specified != "" {
		return specified
	}
	return name + "." + domain
}

// CheckInNetwork returns the faults that a valid Node or GeneralNode has in a valid network: a name outside of the domain, a fixed virtual IP that no device
// can have. Other kinds have none.
func CheckInNetwork(o Object, network *Network) FieldErrors {
	switch device := o.(type) {
	case *Node:
		return checkDevice(device.Spec.Fqdn, device.Metadata.Name, device.Spec.VirtualIPv4, device.Spec.VirtualIPv6, network)
	case *GeneralNode:
		return checkDevice(device.Spec.Fqdn, device.Metadata.Name, device.Spec.VirtualIPv4, device.Spec.VirtualIPv6, network)
	}
	return nil
}

func checkDevice(fqdn, name, ipv4, ipv6 string, network *Network) FieldErrors {
	var found faults
	if full := FQDN(fqdn, name, network.Spec.Domain); !strings.HasSuffix(full, "."+network.Spec.Domain) {
		found.add("/spec/fqdn", "is %s, must end in .%s, the domain of network %s", show(fqdn), network.Spec.Domain, network.Metadata.Name)
	}
	checkAssignable(ipv4, network.Spec.Ipv4Prefix, "/spec/virtualIPv4", network, &found)
	checkAssignable(ipv6, network.Spec.Ipv6Prefix, "/spec/virtualIPv6", network, &found)
	return found.list
}

func checkAssignable(text, prefixText string, at pointer, network *Network, found *faults) {
	address, err := netip.ParseAddr(text)
	if err != nil {
		return
	}
	prefix, err := netip.ParsePrefix(prefixText)
	if err != nil || !Assignable(prefix, address) {
		found.add(at, "is %s, must be in %s, the prefix of network %s, and neither its first address, its gateway nor its broadcast address", address, prefixText, network.Metadata.Name)
	}
}
