package api

import (
	"net/netip"
	"slices"
)

// Bounds and defaults of a BGP peer.
const (
	BGPPort                    = 179
	MinHoldTimeSeconds         = 3 // RFC 4271 section 4.2
	MaxHoldTimeSeconds         = 65535
	DefaultHoldTimeSeconds     = 9
	MaxConnectRetrySeconds     = 65535
	DefaultConnectRetrySeconds = 5
	MaxReceivedPrefixes        = 1_000_000
	DefaultReceivedPrefixes    = 1000
	MinBFDIntervalMilliseconds = 10
	MaxBFDIntervalMilliseconds = 60_000
	DefaultBFDInterval         = 300 // milliseconds
	MinBFDMultiplier           = 2
	MaxBFDMultiplier           = 255
	DefaultBFDMultiplier       = 3
	MaxHosts                   = 256
	maxASN                     = 1<<32 - 2
	maxTTL                     = 255
	asTrans                    = 23456 // RFC 6793 section 9
	lastASN16                  = 65535 // RFC 7300
)

func (*BGPPeer) KindName() string     { return "BGPPeer" }
func (p *BGPPeer) Meta() *ObjectMeta  { return &p.Metadata }
func (p *BGPPeer) SetType()           { p.ApiVersion, p.Kind = Version, p.KindName() }
func (p *BGPPeer) SpecPart() any      { return &p.Spec }
func (p *BGPPeer) StatusPart() any    { return &p.Status }
func (p *BGPPeer) SetStatus(o Object) { p.Status = o.(*BGPPeer).Status }

// References returns none: hosts are no resources.
func (p *BGPPeer) References() []Reference { return nil }

// Internal says that the router is in the autonomous system of the speakers (iBGP).
func (p *BGPPeer) Internal() bool { return p.Spec.PeerASN == p.Spec.LocalASN }

// OnHost says that the speaker of a host has the session, unless it is suspended.
func (p *BGPPeer) OnHost(host string) bool { return onHost(p.Spec.Hosts, host) }

func onHost(hosts []string, host string) bool {
	return len(hosts) == 0 || slices.Contains(hosts, host)
}

// Default writes the addresses in their canonical form and chooses port, times and families.
func (p *BGPPeer) Default() {
	spec := &p.Spec
	spec.PeerAddress, spec.LocalAddress = canonicalAddress(spec.PeerAddress), canonicalAddress(spec.LocalAddress)
	orDefault(&spec.PeerPort, BGPPort)
	orDefault(&spec.HoldTimeSeconds, DefaultHoldTimeSeconds)
	orDefault(&spec.ConnectRetrySeconds, DefaultConnectRetrySeconds)
	orDefault(&spec.MaxReceivedPrefixes, DefaultReceivedPrefixes)
	if spec.EbgpMultihop == 1 { // the same as none
		spec.EbgpMultihop = 0
	}
	if spec.Bfd.Enabled {
		orDefault(&spec.Bfd.ReceiveIntervalMilliseconds, DefaultBFDInterval)
		orDefault(&spec.Bfd.TransmitIntervalMilliseconds, DefaultBFDInterval)
		orDefault(&spec.Bfd.DetectMultiplier, DefaultBFDMultiplier)
	}
	if len(spec.AddressFamilies) > 0 {
		return
	}
	address, err := netip.ParseAddr(spec.PeerAddress)
	switch {
	case err != nil:
	case spec.ExtendedNextHop:
		spec.AddressFamilies = []AddressFamily{AddressFamilyIpv4, AddressFamilyIpv6}
	case address.Is4():
		spec.AddressFamilies = []AddressFamily{AddressFamilyIpv4}
	default:
		spec.AddressFamilies = []AddressFamily{AddressFamilyIpv6}
	}
}

func orDefault(field *int32, value int32) {
	if *field == 0 {
		*field = value
	}
}

// Validate checks that a session can be made of it.
func (p *BGPPeer) Validate() FieldErrors {
	var found faults
	validateEnvelope(p, p.ApiVersion, p.Kind, &found)
	spec := &p.Spec
	validateASN(spec.PeerASN, "/spec/peerASN", &found)
	validateASN(spec.LocalASN, "/spec/localASN", &found)
	validateRange(spec.PeerPort, 1, 65535, "/spec/peerPort", &found)
	validateRange(spec.HoldTimeSeconds, MinHoldTimeSeconds, MaxHoldTimeSeconds, "/spec/holdTimeSeconds", &found)
	validateRange(spec.ConnectRetrySeconds, 1, MaxConnectRetrySeconds, "/spec/connectRetrySeconds", &found)
	validateRange(spec.MaxReceivedPrefixes, 1, MaxReceivedPrefixes, "/spec/maxReceivedPrefixes", &found)
	validateRange(spec.EbgpMultihop, 0, maxTTL, "/spec/ebgpMultihop", &found)
	validateHosts(spec.Hosts, "/spec/hosts", &found)
	p.validateAddresses(&found)
	p.validateReach(&found)
	p.validateBFD(&found)
	if s := spec.PasswordSecret; s != "" && !isFileName(s) {
		found.add("/spec/passwordSecret", "is %s, must be the name of a file: up to %d letters, digits, '-', '_' and '.', with a letter or digit at both ends", show(s), MaxName)
	}
	validateSessions(p.Status.Sessions, "/status/sessions", &found)
	validateConditions(p.Status.Conditions, &found)
	return found.list
}

// validateSessions refuses states that there are not.
func validateSessions(sessions []BGPSession, at pointer, found *faults) {
	for i, s := range sessions {
		if s.Host == "" {
			found.add(at.index(i).key("host"), "is missing")
		}
		if !s.State.Valid() {
			found.add(at.index(i).key("state"), "is %s, must be one of Idle, Connect, Active, OpenSent, OpenConfirm, Established", show(s.State))
		}
		if s.Bfd != "" && !s.Bfd.Valid() {
			found.add(at.index(i).key("bfd"), "is %s, must be one of AdminDown, Down, Init, Up", show(s.Bfd))
		}
	}
}

func (p *BGPPeer) validateAddresses(found *faults) {
	spec := &p.Spec
	if spec.PeerAddress == "" {
		found.add("/spec/peerAddress", "is missing")
		return
	}
	peer, ok := validateEndpoint(spec.PeerAddress, "/spec/peerAddress", found)
	if !ok {
		return
	}
	p.validateFamilies(peer, found)
	if spec.LocalAddress == "" {
		return
	}
	local, ok := validateEndpoint(spec.LocalAddress, "/spec/localAddress", found)
	switch {
	case !ok:
	case local.Is4() != peer.Is4():
		found.add("/spec/localAddress", "is %s, must be of the family of peerAddress", show(spec.LocalAddress))
	case local == peer:
		found.add("/spec/localAddress", "is that of the router")
	case len(spec.Hosts) > 1:
		found.add("/spec/localAddress", "can be the address of one host only: name one in hosts, or leave it out")
	}
}

// validateEndpoint checks an address between which and a speaker there can be a session.
func validateEndpoint(text string, at pointer, found *faults) (netip.Addr, bool) {
	address, err := netip.ParseAddr(text)
	switch {
	case err != nil || address.Is4In6() || address.Zone() != "":
		found.add(at, "is %s, must be an IPv4 or IPv6 address", show(text))
		return netip.Addr{}, false
	case address.IsUnspecified() || address.IsMulticast() || address == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		found.add(at, "is %s, which no router can have", show(text))
		return netip.Addr{}, false
	case address.IsLinkLocalUnicast() && address.Is6():
		found.add(at, "is %s, which is link-local: give a global or unique local address", show(text))
		return netip.Addr{}, false
	}
	return address, true
}

func (p *BGPPeer) validateFamilies(peer netip.Addr, found *faults) {
	const at = pointer("/spec/addressFamilies")
	spec := &p.Spec
	if spec.ExtendedNextHop && peer.Is4() {
		found.add("/spec/extendedNextHop", "needs an IPv6 session: give the IPv6 address of the router in peerAddress")
		return
	}
	if spec.ExtendedNextHop && !slices.Contains(spec.AddressFamilies, AddressFamilyIpv4) {
		found.add("/spec/extendedNextHop", "is about IPv4, which addressFamilies does not have")
	}
	for i, family := range spec.AddressFamilies {
		switch {
		case !family.Valid():
			found.add(at.index(i), "is %s, must be one of ipv4, ipv6", show(family))
		case slices.Contains(spec.AddressFamilies[:i], family):
			found.add(at.index(i), "is given twice")
		}
	}
}

// validateReach checks how far the router may be away.
func (p *BGPPeer) validateReach(found *faults) {
	switch {
	case p.Spec.EbgpMultihop < 2 || p.Spec.EbgpMultihop > maxTTL:
	case p.Internal():
		found.add("/spec/ebgpMultihop", "is for external sessions: leave it out, the router of an internal one may be anywhere")
	case p.Spec.TtlSecurity:
		found.add("/spec/ttlSecurity", "is for routers on the link: leave out ttlSecurity or ebgpMultihop")
	case p.Spec.Bfd.Enabled:
		found.add("/spec/bfd/enabled", "needs a router on the link (RFC 5881): leave out bfd or ebgpMultihop")
	}
}

func (p *BGPPeer) validateBFD(found *faults) {
	const at = pointer("/spec/bfd")
	bfd := p.Spec.Bfd
	if !bfd.Enabled {
		return
	}
	validateRange(bfd.ReceiveIntervalMilliseconds, MinBFDIntervalMilliseconds, MaxBFDIntervalMilliseconds, at.key("receiveIntervalMilliseconds"), found)
	validateRange(bfd.TransmitIntervalMilliseconds, MinBFDIntervalMilliseconds, MaxBFDIntervalMilliseconds, at.key("transmitIntervalMilliseconds"), found)
	validateRange(bfd.DetectMultiplier, MinBFDMultiplier, MaxBFDMultiplier, at.key("detectMultiplier"), found)
}

// validateASN refuses the numbers that no autonomous system can have.
func validateASN(asn int64, at pointer, found *faults) {
	if asn < 1 || asn > maxASN || asn == asTrans || asn == lastASN16 {
		found.add(at, "is %d, must be the number of an autonomous system: 1 … %d without the reserved %d and %d", asn, int64(maxASN), asTrans, lastASN16)
	}
}

func validateRange[N int32 | int64](n, least, most N, at pointer, found *faults) {
	if n < least || n > most {
		found.add(at, "is %d, must be within %d … %d", n, least, most)
	}
}

// validateHosts checks names of hosts.
func validateHosts(hosts []string, at pointer, found *faults) {
	if len(hosts) > MaxHosts {
		found.add(at, "has %d hosts, at most %d are possible", len(hosts), MaxHosts)
	}
	for i, host := range hosts {
		switch {
		case host == "" || len(host) > MaxFQDN || !isDomain(host):
			found.add(at.index(i), "is %s, must be the name of a host as it calls itself: lower-case letters, digits, '-' and '.'", show(host))
		case slices.Contains(hosts[:i], host):
			found.add(at.index(i), "is given twice")
		}
	}
}

// isFileName says whether a text can only mean a file in a folder.
func isFileName(name string) bool {
	return labelKey(name) && !slices.Contains([]byte(name), '/')
}
