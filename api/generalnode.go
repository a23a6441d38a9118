package api

import (
	"net"
	"strings"
)

func (*GeneralNode) KindName() string     { return "GeneralNode" }
func (g *GeneralNode) Meta() *ObjectMeta  { return &g.Metadata }
func (g *GeneralNode) SetType()           { g.ApiVersion, g.Kind = Version, g.KindName() }
func (g *GeneralNode) SpecPart() any      { return &g.Spec }
func (g *GeneralNode) StatusPart() any    { return &g.Status }
func (g *GeneralNode) SetStatus(o Object) { g.Status = o.(*GeneralNode).Status }

// References returns the network and the adapter.
func (g *GeneralNode) References() []Reference {
	return []Reference{{"Network", g.Spec.Network, "/spec/network"}, {"Adapter", g.Spec.Adapter, "/spec/adapter"}}
}

// Default chooses IPv4 and authentication by MAC address where nothing is said, and writes MAC address, name and addresses in their canonical form.
func (g *GeneralNode) Default() {
	if g.Spec.AddressMode == "" {
		g.Spec.AddressMode = AddressModeIpv4
	}
	if g.Spec.Authentication.Method == "" {
		g.Spec.Authentication.Method = AuthenticationMethodMac
	}
	g.Spec.Mac = strings.ToLower(g.Spec.Mac)
	g.Spec.Fqdn = canonicalDomain(g.Spec.Fqdn)
	g.Spec.VirtualIPv4 = canonicalAddress(g.Spec.VirtualIPv4)
	g.Spec.VirtualIPv6 = canonicalAddress(g.Spec.VirtualIPv6)
}

// Validate checks the general node by itself; see CheckInNetwork for what depends on its network.
func (g *GeneralNode) Validate() FieldErrors {
	var found faults
	validateEnvelope(g, g.ApiVersion, g.Kind, &found)
	requireName(g.Spec.Network, "/spec/network", &found)
	requireName(g.Spec.Adapter, "/spec/adapter", &found)
	validateMAC(g.Spec.Mac, "/spec/mac", &found)
	validateFQDN(g.Spec.Fqdn, "/spec/fqdn", &found)
	validateAddress(g.Spec.VirtualIPv4, 4, "/spec/virtualIPv4", &found)
	validateAddress(g.Spec.VirtualIPv6, 6, "/spec/virtualIPv6", &found)
	if !g.Spec.AddressMode.Valid() {
		found.add("/spec/addressMode", "is %s, must be one of ipv4, ipv6, dual", show(g.Spec.AddressMode))
	}
	if !g.Spec.Authentication.Method.Valid() {
		found.add("/spec/authentication/method", "is %s, must be one of mac, basic, dot1x", show(g.Spec.Authentication.Method))
	}
	validatePhase(g.Status.Phase, &found)
	validateConditions(g.Status.Conditions, &found)
	return found.list
}

// validateMAC wants the address of one interface: group addresses (IEEE 802 section 8.2) and the zero address are refused.
func validateMAC(text string, at pointer, found *faults) {
	if text == "" {
		found.add(at, "is missing")
		return
	}
	mac, err := net.ParseMAC(text)
	switch {
	case err != nil || len(mac) != 6 || len(text) != 17 || strings.Count(text, ":") != 5:
		found.add(at, "is %s, must be six hexadecimal bytes with colons, as in 02:00:00:00:01:01", show(text))
	case mac[0]&1 != 0 || strings.Trim(text, "0:") == "":
		found.add(at, "is %s, which is not the address of one device", show(text))
	}
}
