package api

import (
	"net/netip"
	"strings"
)

// Bounds of the prefixes of a network.
const (
	MinIPv4PrefixBits = 8
	MaxIPv4PrefixBits = 29 // leaves five addresses besides network, gateway and broadcast
	MinIPv6PrefixBits = 32
	MaxIPv6PrefixBits = 120
	maxDomain         = MaxFQDN - MaxName - 1 // so that every name fits under it
)

func (*Network) KindName() string     { return "Network" }
func (n *Network) Meta() *ObjectMeta  { return &n.Metadata }
func (n *Network) SetType()           { n.ApiVersion, n.Kind = Version, n.KindName() }
func (n *Network) SpecPart() any      { return &n.Spec }
func (n *Network) StatusPart() any    { return &n.Status }
func (n *Network) SetStatus(o Object) { n.Status = o.(*Network).Status }

// References returns none: a network stands by itself.
func (n *Network) References() []Reference { return nil }

// Default masks the prefixes and writes the domain in lower case without a final dot.
func (n *Network) Default() {
	n.Spec.Ipv4Prefix = canonicalPrefix(n.Spec.Ipv4Prefix)
	n.Spec.Ipv6Prefix = canonicalPrefix(n.Spec.Ipv6Prefix)
	n.Spec.Domain = canonicalDomain(n.Spec.Domain)
}

// Validate checks the prefixes and the domain.
func (n *Network) Validate() FieldErrors {
	var found faults
	validateEnvelope(n, n.ApiVersion, n.Kind, &found)
	validatePrefix(n.Spec.Ipv4Prefix, 4, MinIPv4PrefixBits, MaxIPv4PrefixBits, "/spec/ipv4Prefix", &found)
	validatePrefix(n.Spec.Ipv6Prefix, 6, MinIPv6PrefixBits, MaxIPv6PrefixBits, "/spec/ipv6Prefix", &found)
	switch domain := n.Spec.Domain; {
	case domain == "":
		found.add("/spec/domain", "is missing")
	case len(domain) > maxDomain || !isDomain(domain) || !strings.Contains(domain, "."):
		found.add("/spec/domain", "is %s, must be a DNS name of two labels or more and at most %d bytes, as in factory.example.internal", show(domain), maxDomain)
	}
	validateConditions(n.Status.Conditions, &found)
	return found.list
}

// Gateway returns the first host address of a prefix, the one that adapters have towards general nodes.
func Gateway(prefix netip.Prefix) netip.Addr { return prefix.Masked().Addr().Next() }

// Assignable tells whether a device may have the address as its virtual IP: it is in the prefix and neither the network's own address, the gateway nor, for IPv4,
// the broadcast address.
func Assignable(prefix netip.Prefix, address netip.Addr) bool {
	prefix = prefix.Masked()
	if !prefix.Contains(address) || address == prefix.Addr() || address == Gateway(prefix) {
		return false
	}
	return !address.Is4() || prefix.Contains(address.Next())
}

func validatePrefix(text string, family, minBits, maxBits int, at pointer, found *faults) {
	if text == "" {
		found.add(at, "is missing")
		return
	}
	prefix, err := netip.ParsePrefix(text)
	switch {
	case err != nil || prefix.Addr().Is4In6() || prefix.Addr().Is4() != (family == 4):
		found.add(at, "is %s, must be an IPv%d prefix in CIDR notation", show(text), family)
	case prefix.Bits() < minBits || prefix.Bits() > maxBits:
		found.add(at, "is a /%d, must be between /%d and /%d", prefix.Bits(), minBits, maxBits)
	case overlapsSpecial(prefix):
		found.add(at, "is %s, which overlaps addresses with another meaning (loopback, link-local, multicast, reserved)", prefix)
	}
}

// overlapsSpecial refuses the blocks whose addresses hosts treat specially: RFC 6890, RFC 4291.
func overlapsSpecial(prefix netip.Prefix) bool {
	for _, block := range []string{"0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3", "::/32", "fe80::/10", "ff00::/8", "64:ff9b::/96"} {
		if prefix.Overlaps(netip.MustParsePrefix(block)) {
			return true
		}
	}
	return false
}

func canonicalPrefix(text string) string {
	prefix, err := netip.ParsePrefix(strings.TrimSpace(text))
	if err != nil {
		return text
	}
	return prefix.Masked().String()
}

func canonicalAddress(text string) string {
	address, err := netip.ParseAddr(strings.TrimSpace(text))
	if err != nil {
		return text
	}
	return address.String()
}

func canonicalDomain(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }
