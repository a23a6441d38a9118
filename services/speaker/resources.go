package speaker

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/services/speaker/netfilter"
)

// service is a CloudService.
type service struct {
	name     string
	kind     string // as, nms, trs, manager: what its replicas register as
	protocol netfilter.Protocol
	vips     []netip.Addr
	port     uint16
}

// neighbour is a BGPPeer.
type neighbour struct {
	Peer
	hosts          []string
	passwordSecret string
	suspended      bool
	bfd            *bfdSettings // nil: not used
	fault          string       // why there can be no session
}

// bfdSettings are those of a BGPPeer.
type bfdSettings struct {
	receive, transmit time.Duration
	multiplier        uint8
}

// advertisement is a BGPAdvertisement.
type advertisement struct {
	name                   string
	services, peers, hosts []string // none: all
	attributes             Attributes
}

func (a advertisement) covers(list []string, name string) bool {
	return len(list) == 0 || slices.Contains(list, name)
}

// resources are what is known of the desired state. They belong to one goroutine.
type resources struct {
	services       map[string]service
	neighbours     map[string]neighbour
	advertisements map[string]advertisement
	speakers       map[string][]netip.Addr // other hosts with a speaker
	raw            map[string][]byte       // what the first three were read from, by key
}

func newResources() *resources {
	return &resources{
		services: map[string]service{}, neighbours: map[string]neighbour{}, advertisements: map[string]advertisement{},
		speakers: map[string][]netip.Addr{}, raw: map[string][]byte{},
	}
}

// followed are the prefixes of the keys that matter.
func followed() []string {
	return []string{
		keyspace.ResourcePrefix(keyspace.CloudServices), keyspace.ResourcePrefix(keyspace.BGPPeers),
		keyspace.ResourcePrefix(keyspace.BGPAdvertisements), keyspace.SpeakersPrefix,
	}
}

// put takes over one key. What cannot be read removes what was there before.
func (r *resources) put(key string, value []byte) error {
	if host, ok := keyspace.ParseSpeaker(key); ok {
		var record keyspace.SpeakerRecord
		if err := json.Unmarshal(value, &record); err != nil {
			delete(r.speakers, host)
			return fmt.Errorf("%s: %w", key, err)
		}
		if _, there := r.speakers[host]; !there && len(r.speakers) >= maxSpeakers {
			return fmt.Errorf("%s: more than %d other hosts: the speaker looks at no more", key, maxSpeakers)
		}
		r.speakers[host] = record.Addresses[:min(len(record.Addresses), 2)]
		return nil
	}
	plural, name, ok := keyspace.ParseResource(key)
	if !ok {
		return nil
	}
	var err error
	switch plural {
	case keyspace.CloudServices:
		err = store(r.services, name, value, readService)
	case keyspace.BGPPeers:
		err = store(r.neighbours, name, value, readNeighbour)
	case keyspace.BGPAdvertisements:
		err = store(r.advertisements, name, value, readAdvertisement)
	}
	if err != nil {
		delete(r.raw, key)
		return fmt.Errorf("%s: %w", key, err)
	}
	r.raw[key] = value
	return nil
}

func store[T any](m map[string]T, name string, value []byte, read func([]byte) (T, error)) error {
	if _, there := m[name]; !there && len(m) >= maxResources {
		return fmt.Errorf("more than %d resources of this kind: the speaker looks at no more", maxResources)
	}
	v, err := read(value)
	if err != nil {
		delete(m, name)
		return err
	}
	m[name] = v
	return nil
}

// remove forgets one key.
func (r *resources) remove(key string) {
	if host, ok := keyspace.ParseSpeaker(key); ok {
		delete(r.speakers, host)
		return
	}
	delete(r.raw, key)
	plural, name, ok := keyspace.ParseResource(key)
	if !ok {
		return
	}
	switch plural {
	case keyspace.CloudServices:
		delete(r.services, name)
	case keyspace.BGPPeers:
		delete(r.neighbours, name)
	case keyspace.BGPAdvertisements:
		delete(r.advertisements, name)
	}
}

func readService(value []byte) (service, error) {
	var o api.CloudService
	if err := json.Unmarshal(value, &o); err != nil {
		return service{}, err
	}
	o.Default()
	if faults := o.Validate(); len(faults) > 0 {
		return service{}, faults
	}
	s := service{name: o.Metadata.Name, kind: string(o.Spec.Service), port: uint16(o.Spec.Port)}
	s.protocol = protocolOf(s.kind)
	for _, text := range []string{o.Spec.Ipv4, o.Spec.Ipv6} {
		if text == "" {
			continue
		}
		a, err := netip.ParseAddr(text)
		if err != nil {
			return service{}, err
		}
		s.vips = append(s.vips, a)
	}
	return s, nil
}

// protocolOf is what the replicas of a kind speak.
func protocolOf(kind string) netfilter.Protocol {
	if kind == string(api.ServiceNameNms) || kind == string(api.ServiceNameTrs) {
		return netfilter.UDP
	}
	return netfilter.TCP
}

func readNeighbour(value []byte) (neighbour, error) {
	var o api.BGPPeer
	if err := json.Unmarshal(value, &o); err != nil {
		return neighbour{}, err
	}
	o.Default()
	o.Status = api.BGPPeerStatus{} // what others say about it must not end the session
	if faults := o.Validate(); len(faults) > 0 {
		return neighbour{}, faults // numbers out of their bounds would become others, and BFD takes all peers or none
	}
	s := o.Spec
	n := neighbour{
		Peer: Peer{
			Name: o.Metadata.Name, PeerASN: uint32(s.PeerASN), LocalASN: uint32(s.LocalASN),
			Port: uint16(cmp.Or(s.PeerPort, 179)), HoldTime: time.Duration(cmp.Or(s.HoldTimeSeconds, 9)) * time.Second,
			ConnectRetry: time.Duration(cmp.Or(s.ConnectRetrySeconds, 5)) * time.Second,
			TTLSecurity:  s.TtlSecurity, Passive: s.Passive, ExtendedNextHop: s.ExtendedNextHop,
			MaxReceived: uint32(cmp.Or(s.MaxReceivedPrefixes, 1000)),
		},
		hosts: s.Hosts, passwordSecret: s.PasswordSecret, suspended: s.Suspended,
	}
	if s.EbgpMultihop > 1 && !n.Internal() {
		n.MultihopTTL = uint8(s.EbgpMultihop)
	}
	if s.Bfd.Enabled {
		n.bfd = &bfdSettings{
			receive:    time.Duration(cmp.Or(s.Bfd.ReceiveIntervalMilliseconds, 300)) * time.Millisecond,
			transmit:   time.Duration(cmp.Or(s.Bfd.TransmitIntervalMilliseconds, 300)) * time.Millisecond,
			multiplier: uint8(cmp.Or(s.Bfd.DetectMultiplier, 3)),
		}
	}
	var err error
	if n.Address, err = netip.ParseAddr(s.PeerAddress); err != nil {
		return neighbour{}, fmt.Errorf("peerAddress: %w", err)
	}
	n.Address = n.Address.Unmap()
	if s.LocalAddress != "" {
		if n.LocalAddress, err = netip.ParseAddr(s.LocalAddress); err != nil {
			return neighbour{}, fmt.Errorf("localAddress: %w", err)
		}
		n.LocalAddress = n.LocalAddress.Unmap()
	}
	n.IPv4 = slices.Contains(s.AddressFamilies, "ipv4")
	n.IPv6 = slices.Contains(s.AddressFamilies, "ipv6")
	if len(s.AddressFamilies) == 0 {
		n.IPv4 = n.Address.Is4() || s.ExtendedNextHop
		n.IPv6 = n.Address.Is6()
	}
	return n, n.check()
}

// check refuses what no session can have, should the manager not have refused it already.
func (n neighbour) check() error {
	switch {
	case n.PeerASN == 0 || n.LocalASN == 0:
		return errors.New("peerASN and localASN are needed")
	case n.HoldTime < 3*time.Second:
		return errors.New("holdTimeSeconds must be at least 3")
	case n.LocalAddress.IsValid() && n.LocalAddress.Is4() != n.Address.Is4():
		return errors.New("localAddress and peerAddress are of different families")
	case n.ExtendedNextHop && n.Address.Is4():
		return errors.New("extendedNextHop needs an IPv6 peerAddress")
	case n.TTLSecurity && n.MultihopTTL > 0:
		return errors.New("ttlSecurity and ebgpMultihop exclude each other")
	}
	return nil
}

func readAdvertisement(value []byte) (advertisement, error) {
	var o api.BGPAdvertisement
	if err := json.Unmarshal(value, &o); err != nil {
		return advertisement{}, err
	}
	o.Default()
	s := o.Spec
	a := advertisement{
		name: o.Metadata.Name, services: s.Services, peers: s.Peers, hosts: s.Hosts,
		attributes: Attributes{LocalPreference: uint32(s.LocalPreference), MED: uint32(s.Med), Prepend: uint8(min(max(s.AsPathPrepend, 0), 16))},
	}
	for _, text := range s.Communities {
		c, ok := api.ParseCommunity(text)
		if !ok {
			return advertisement{}, fmt.Errorf("communities: %q is none", text)
		}
		a.attributes.Communities = append(a.attributes.Communities, c)
	}
	for _, text := range s.LargeCommunities {
		c, ok := api.ParseLargeCommunity(text)
		if !ok {
			return advertisement{}, fmt.Errorf("largeCommunities: %q is none", text)
		}
		a.attributes.LargeCommunities = append(a.attributes.LargeCommunities, c)
	}
	return a, nil
}
