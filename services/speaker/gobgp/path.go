package gobgp

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"

	api "github.com/osrg/gobgp/v3/api"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/cyphonic/cyphonic/services/speaker"
)

// Numbers of the address families in the settings of a server.
const (
	familyIPv4 = 0
	familyIPv6 = 1
)

// Names of the policy and of the sets of prefixes that may be announced.
const (
	policyName = "own"
	set4, set6 = "own4", "own6"
)

// restrict lets the server take and send nothing but prefixes of the sets that were announced by this process.
func (n *neighbour) restrict(ctx context.Context) error {
	policy := &api.Policy{Name: policyName}
	for _, set := range []string{set4, set6} {
		request := &api.AddDefinedSetRequest{DefinedSet: &api.DefinedSet{DefinedType: api.DefinedType_PREFIX, Name: set}}
		if err := n.server.AddDefinedSet(ctx, request); err != nil {
			return err
		}
		policy.Statements = append(policy.Statements, &api.Statement{
			Name: set,
			Conditions: &api.Conditions{
				PrefixSet: &api.MatchSet{Name: set, Type: api.MatchSet_ANY}, RouteType: api.Conditions_ROUTE_TYPE_LOCAL,
			},
			Actions: &api.Actions{RouteAction: api.RouteAction_ACCEPT},
		})
	}
	if err := n.server.AddPolicy(ctx, &api.AddPolicyRequest{Policy: policy}); err != nil {
		return err
	}
	for _, direction := range []api.PolicyDirection{api.PolicyDirection_IMPORT, api.PolicyDirection_EXPORT} {
		request := &api.AddPolicyAssignmentRequest{Assignment: &api.PolicyAssignment{
			Name: "global", Direction: direction, Policies: []*api.Policy{{Name: policyName}}, DefaultAction: api.RouteAction_REJECT,
		}}
		if err := n.server.AddPolicyAssignment(ctx, request); err != nil {
			return err
		}
	}
	return nil
}

// allow enters a prefix into the set of those that may be announced, or removes it.
func (n *neighbour) allow(prefix netip.Prefix, allowed bool) error {
	set := &api.DefinedSet{DefinedType: api.DefinedType_PREFIX, Name: set4, Prefixes: []*api.Prefix{{
		IpPrefix: prefix.String(), MaskLengthMin: uint32(prefix.Bits()), MaskLengthMax: uint32(prefix.Bits()),
	}}}
	if prefix.Addr().Is6() {
		set.Name = set6
	}
	if allowed {
		return n.server.AddDefinedSet(context.Background(), &api.AddDefinedSetRequest{DefinedSet: set})
	}
	return n.server.DeleteDefinedSet(context.Background(), &api.DeleteDefinedSetRequest{DefinedSet: set})
}

// announce puts a prefix into the table, or gives it other attributes.
func (n *neighbour) announce(prefix netip.Prefix, a speaker.Attributes) error {
	if !prefix.IsSingleIP() {
		return fmt.Errorf("%s is no address: nothing else is announced", prefix)
	}
	path, err := n.path(prefix, a)
	if err != nil {
		return err
	}
	if !n.prefixes[prefix] {
		if err := n.allow(prefix, true); err != nil {
			return fmt.Errorf("allow %s: %w", prefix, err)
		}
		n.prefixes[prefix] = true
	}
	if _, err := n.server.AddPath(context.Background(), &api.AddPathRequest{Path: path}); err != nil {
		return fmt.Errorf("announce %s: %w", prefix, err)
	}
	return nil
}

// withdraw takes a prefix out of the table.
func (n *neighbour) withdraw(prefix netip.Prefix) error {
	if !n.prefixes[prefix] {
		return nil
	}
	path, err := withdrawal(prefix)
	if err != nil {
		return err
	}
	if err := n.server.DeletePath(context.Background(), &api.DeletePathRequest{Path: path}); err != nil {
		return fmt.Errorf("withdraw %s: %w", prefix, err)
	}
	if err := n.allow(prefix, false); err != nil {
		return fmt.Errorf("withdraw %s: %w", prefix, err)
	}
	delete(n.prefixes, prefix)
	return nil
}

// packer packs messages and keeps the first failure.
type packer struct{ err error }

func (p *packer) pack(m proto.Message) *anypb.Any {
	packed, err := anypb.New(m)
	if err != nil && p.err == nil {
		p.err = err
	}
	return packed
}

func family(a netip.Addr) *api.Family {
	if a.Is4() {
		return &api.Family{Afi: api.Family_AFI_IP, Safi: api.Family_SAFI_UNICAST}
	}
	return &api.Family{Afi: api.Family_AFI_IP6, Safi: api.Family_SAFI_UNICAST}
}

func withdrawal(prefix netip.Prefix) (*api.Path, error) {
	var p packer
	nlri := p.pack(&api.IPAddressPrefix{Prefix: prefix.Addr().String(), PrefixLen: uint32(prefix.Bits())})
	unspecified := netip.IPv4Unspecified().String()
	if prefix.Addr().Is6() {
		unspecified = netip.IPv6Unspecified().String()
	}
	return &api.Path{Family: family(prefix.Addr()), Nlri: nlri, Pattrs: nextHop(&p, prefix, nlri, unspecified), IsWithdraw: true}, p.err
}

// path is what GoBGP takes for a prefix with attributes.
func (n *neighbour) path(prefix netip.Prefix, a speaker.Attributes) (*api.Path, error) {
	hop, err := nextHopOf(n.peer, prefix.Addr())
	if err != nil {
		return nil, err
	}
	var p packer
	nlri := p.pack(&api.IPAddressPrefix{Prefix: prefix.Addr().String(), PrefixLen: uint32(prefix.Bits())})
	attributes := append([]*anypb.Any{p.pack(&api.OriginAttribute{Origin: 0})}, nextHop(&p, prefix, nlri, hop)...)
	if n.peer.Internal() {
		attributes = append(attributes, p.pack(&api.LocalPrefAttribute{LocalPref: a.LocalPreference}))
	} else if a.Prepend > 0 {
		attributes = append(attributes, p.pack(&api.AsPathAttribute{Segments: []*api.AsSegment{{
			Type: api.AsSegment_AS_SEQUENCE, Numbers: slices.Repeat([]uint32{n.peer.LocalASN}, int(a.Prepend)),
		}}}))
	}
	if a.MED > 0 {
		attributes = append(attributes, p.pack(&api.MultiExitDiscAttribute{Med: a.MED}))
	}
	if len(a.Communities) > 0 {
		attributes = append(attributes, p.pack(&api.CommunitiesAttribute{Communities: a.Communities}))
	}
	if len(a.LargeCommunities) > 0 {
		large := &api.LargeCommunitiesAttribute{}
		for _, c := range a.LargeCommunities {
			large.Communities = append(large.Communities, &api.LargeCommunity{GlobalAdmin: c[0], LocalData1: c[1], LocalData2: c[2]})
		}
		attributes = append(attributes, p.pack(large))
	}
	return &api.Path{Family: family(prefix.Addr()), Nlri: nlri, Pattrs: attributes}, p.err
}

// nextHop is the attribute that carries the next hop: NEXT_HOP for IPv4 by IPv4, else MP_REACH_NLRI (RFC 4760, RFC 8950).
func nextHop(p *packer, prefix netip.Prefix, nlri *anypb.Any, hop string) []*anypb.Any {
	if prefix.Addr().Is4() && netip.MustParseAddr(hop).Is4() {
		return []*anypb.Any{p.pack(&api.NextHopAttribute{NextHop: hop})}
	}
	return []*anypb.Any{p.pack(&api.MpReachNLRIAttribute{Family: family(prefix.Addr()), NextHops: []string{hop}, Nlris: []*anypb.Any{nlri}})}
}

// nextHopOf is the own address that the router shall send to. The unspecified address stands for that of the session.
func nextHopOf(p speaker.Peer, a netip.Addr) (string, error) {
	if p.Address.Is4() && a.Is4() {
		return netip.IPv4Unspecified().String(), nil
	}
	if p.Address.Is6() && (a.Is6() || p.ExtendedNextHop) {
		return netip.IPv6Unspecified().String(), nil
	}
	local := p.LocalAddress
	if !local.IsValid() {
		conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(p.Address, p.Port))) // sends nothing
		if err != nil {
			return "", fmt.Errorf("find the own address towards %s: %w", p.Address, err)
		}
		local = conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap()
		if err := conn.Close(); err != nil {
			return "", err
		}
	}
	return sibling(local, a.Is6())
}

// sibling finds an address of the wanted family on the interface that has the local address.
func sibling(local netip.Addr, v6 bool) (string, error) {
	interfaces, err := net.Interfaces()
	if err != nil {
		return "", fmt.Errorf("list interfaces: %w", err)
	}
	for _, i := range interfaces {
		addresses, err := i.Addrs()
		if err != nil {
			continue // it has just gone
		}
		var found netip.Addr
		has := false
		for _, text := range addresses {
			prefix, err := netip.ParsePrefix(text.String())
			if err != nil {
				continue
			}
			a := prefix.Addr()
			has = has || a == local.WithZone("")
			if a.Is6() == v6 && !a.IsLinkLocalUnicast() && !found.IsValid() && !prefix.IsSingleIP() {
				found = a
			}
		}
		if has && found.IsValid() {
			return found.String(), nil
		}
	}
	return "", fmt.Errorf("the interface with %s has no address of the other family for the next hop: give it one, or take the family out of addressFamilies", local)
}
