package replica

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"strings"
	"time"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/internal/identity"
	"github.com/cyphonic/cyphonic/internal/keyspace"
)

// put takes over one key. An undecodable value removes what the key meant
// before: a device must not keep rights that nobody can read any more.
func (s *state) put(key string, value []byte) error {
	err := s.decode(key, value)
	if err != nil {
		s.remove(key)
		return fmt.Errorf("%s: %w", key, err)
	}
	return nil
}

func (s *state) decode(key string, value []byte) error {
	if plural, name, ok := keyspace.ParseResource(key); ok {
		return s.decodeResource(s.ref(plural, name), value)
	}
	if plural, name, ok := keyspace.ParseEnrolled(key); ok {
		r, err := keyspace.Decode[keyspace.EnrolledRecord](value)
		if err != nil {
			return err
		}
		s.addEnrolled(s.ref(plural, name), Enrolled{UID: r.UID, Public: devicePublic(r)})
		return nil
	}
	if purpose, id, ok := keyspace.ParseKey(key); ok {
		r, err := keyspace.Decode[keyspace.KeyRecord](value)
		if err != nil {
			return err
		}
		if s.keys[purpose] == nil {
			s.keys[purpose] = make(map[uint32]keyspace.KeyRecord)
		}
		s.keys[purpose][id] = r
	}
	return nil
}

func devicePublic(r keyspace.EnrolledRecord) identity.DevicePublic {
	var p identity.DevicePublic
	copy(p.Static[:], r.Static)
	copy(p.Signing[:], r.Signing)
	return p
}

// remove forgets one key.
func (s *state) remove(key string) {
	if plural, name, ok := keyspace.ParseResource(key); ok {
		s.setSubject(Ref{plural, name}, nil)
		switch plural {
		case keyspace.Networks:
			s.networks.remove(name)
		case keyspace.CloudServices:
			delete(s.services, name)
			s.changedServices = true
		case keyspace.AccessPolicies:
			s.setPolicy(name, nil)
		}
		return
	}
	if plural, name, ok := keyspace.ParseEnrolled(key); ok {
		s.setEnrolled(Ref{plural, name}, nil)
		return
	}
	if purpose, id, ok := keyspace.ParseKey(key); ok {
		delete(s.keys[purpose], id)
	}
}

func (s *state) decodeResource(ref Ref, value []byte) error {
	switch ref.Plural {
	case keyspace.Networks:
		return s.decodeNetwork(ref.Name, value)
	case keyspace.Nodes:
		return s.decodeNode(ref, value)
	case keyspace.Adapters:
		return s.decodeAdapter(ref, value)
	case keyspace.GeneralNodes:
		return s.decodeGeneralNode(ref, value)
	case keyspace.CloudServices:
		return s.decodeCloudService(ref.Name, value)
	case keyspace.AccessPolicies:
		p := new(api.AccessPolicy)
		if err := json.Unmarshal(value, p); err != nil {
			return err
		}
		s.setPolicy(ref.Name, p)
	}
	return nil
}

func (s *state) decodeNetwork(name string, value []byte) error {
	var r api.Network
	if err := json.Unmarshal(value, &r); err != nil {
		return err
	}
	n := &Network{Name: name, Domain: CanonicalName(r.Spec.Domain)}
	var err error
	if n.IPv4Prefix, err = parsePrefix(r.Spec.Ipv4Prefix); err != nil {
		return err
	}
	if n.IPv6Prefix, err = parsePrefix(r.Spec.Ipv6Prefix); err != nil {
		return err
	}
	s.networks.put(n)
	return nil
}

func (s *state) decodeNode(ref Ref, value []byte) error {
	var r api.Node
	if err := json.Unmarshal(value, &r); err != nil {
		return err
	}
	subject := &Subject{
		Ref: ref, UID: r.Metadata.Uid, Network: r.Spec.Network, FQDN: CanonicalName(r.Status.Fqdn),
		Labels: r.Metadata.Labels, Disabled: off(r.Spec.Disabled, r.Metadata), PasswordHash: r.Spec.Authentication.PasswordHash,
	}
	return s.addSubject(subject, r.Status.VirtualIPv4, r.Status.VirtualIPv6)
}

func (s *state) decodeAdapter(ref Ref, value []byte) error {
	var r api.Adapter
	if err := json.Unmarshal(value, &r); err != nil {
		return err
	}
	subject := &Subject{
		Ref: ref, UID: r.Metadata.Uid, Network: r.Spec.Network,
		Labels: r.Metadata.Labels, Disabled: off(r.Spec.Disabled, r.Metadata), PasswordHash: r.Spec.Authentication.PasswordHash,
	}
	return s.addSubject(subject, "", "")
}

func (s *state) decodeGeneralNode(ref Ref, value []byte) error {
	var r api.GeneralNode
	if err := json.Unmarshal(value, &r); err != nil {
		return err
	}
	method := r.Spec.Authentication.Method
	if method == "" {
		method = api.AuthenticationMethodMac
	}
	assurance, err := identity.ParseAssurance(string(method))
	if err != nil {
		return err
	}
	subject := &Subject{
		Ref: ref, UID: r.Metadata.Uid, Network: r.Spec.Network, FQDN: CanonicalName(r.Status.Fqdn),
		Labels: r.Metadata.Labels, Disabled: off(r.Spec.Disabled, r.Metadata), Adapter: r.Spec.Adapter, Assurance: assurance,
	}
	return s.addSubject(subject, r.Status.VirtualIPv4, r.Status.VirtualIPv6)
}

// off says that a device neither logs in nor is reached: by its specification,
// or because it is being deleted.
func off(disabled bool, meta api.ObjectMeta) bool {
	return disabled || !meta.DeletionTimestamp.IsZero()
}

func (s *state) addSubject(subject *Subject, ipv4, ipv6 string) error {
	if subject.UID == "" {
		return fmt.Errorf("resource without uid")
	}
	var err error
	if subject.IPv4, err = parseAddr(ipv4); err != nil {
		return err
	}
	if subject.IPv6, err = parseAddr(ipv6); err != nil {
		return err
	}
	s.setSubject(subject.Ref, s.shared(subject))
	return nil
}

// ref names a device without keeping the whole key in memory.
func (s *state) ref(plural, name string) Ref {
	return Ref{s.texts.text(plural), strings.Clone(name)}
}

// shared lets a new subject share what it has in common with others, and is the one of the list before if nothing has
// changed since.
func (s *state) shared(subject *Subject) *Subject {
	subject.Network, subject.Adapter = s.texts.text(subject.Network), s.texts.text(subject.Adapter)
	subject.Labels = s.texts.set(subject.Labels)
	if e, ok := s.enrolled.get(subject.Ref); ok {
		subject.Ref = e.Ref
		if subject.UID == e.UID {
			subject.UID = e.UID
		}
	}
	if s.previous == nil {
		return subject
	}
	if old, ok := s.previous.byRef.get(subject.Ref); ok && old.equal(subject) {
		return old
	}
	return subject
}

// equal reports whether two subjects of one name are the same.
func (s *Subject) equal(o *Subject) bool {
	return s.UID == o.UID && s.Network == o.Network && s.FQDN == o.FQDN && s.IPv4 == o.IPv4 && s.IPv6 == o.IPv6 &&
		maps.Equal(s.Labels, o.Labels) && s.Disabled == o.Disabled && s.PasswordHash == o.PasswordHash &&
		s.Adapter == o.Adapter && s.Assurance == o.Assurance
}

// addEnrolled takes over the key of a device in the same way.
func (s *state) addEnrolled(ref Ref, e Enrolled) {
	if subject, ok := s.byRef.get(ref); ok {
		ref = subject.Ref
		if subject.UID == e.UID {
			e.UID = subject.UID
		}
	}
	if s.previous != nil {
		if old, ok := s.previous.enrolled.get(ref); ok && old.Enrolled == e {
			s.setEnrolled(ref, old)
			return
		}
	}
	s.setEnrolled(ref, &enrolment{Ref: ref, Enrolled: e})
}

// Default ports of the cloud services.
const (
	portManager = 7440
	portAS      = 7441
	portNMS     = 7442
	portTRS     = 7443
)

func (s *state) decodeCloudService(name string, value []byte) error {
	var r api.CloudService
	if err := json.Unmarshal(value, &r); err != nil {
		return err
	}
	port := uint16(r.Spec.Port)
	if port == 0 {
		switch r.Spec.Service {
		case api.ServiceNameManager:
			port = portManager
		case api.ServiceNameAs:
			port = portAS
		case api.ServiceNameNms:
			port = portNMS
		case api.ServiceNameTrs:
			port = portTRS
		}
	}
	ipv4, err := parseAddr(r.Spec.Ipv4)
	if err != nil {
		return err
	}
	ipv6, err := parseAddr(r.Spec.Ipv6)
	if err != nil {
		return err
	}
	svc := namedService{service: string(r.Spec.Service), Service: Service{Name: name}}
	if ipv4.IsValid() {
		svc.IPv4 = netip.AddrPortFrom(ipv4, port)
	}
	if ipv6.IsValid() {
		svc.IPv6 = netip.AddrPortFrom(ipv6, port)
	}
	s.services[name], s.changedServices = svc, true
	return nil
}

func parseAddr(text string) (netip.Addr, error) {
	if text == "" {
		return netip.Addr{}, nil
	}
	addr, err := netip.ParseAddr(text)
	return addr.Unmap(), err
}

func parsePrefix(text string) (netip.Prefix, error) {
	if text == "" {
		return netip.Prefix{}, nil
	}
	return netip.ParsePrefix(text)
}

// snapshot returns the state as it stands at the time now, which decides which
// of the keys seals. The errors name the resources that were left out.
func (s *state) snapshot(now time.Time) (*Snapshot, []error) {
	return s.freeze(rings{
		ticket: s.keyring(keyspace.PurposeTicket, now),
		relay:  s.keyring(keyspace.PurposeRelay, now),
		access: s.keyring(keyspace.PurposeAccess, now),
	})
}

func (s *state) keyring(p keyspace.Purpose, now time.Time) identity.Keyring {
	records := make([]keyspace.KeyRecord, 0, len(s.keys[p]))
	for _, r := range s.keys[p] {
		records = append(records, r)
	}
	var ring identity.Keyring
	for i, r := range keyspace.Order(records, now) {
		key := identity.SealingKey{ID: r.ID, Key: [32]byte(r.Secret)}
		if i == 0 {
			ring.Current = key
			continue
		}
		ring.Previous = append(ring.Previous, key)
	}
	return ring
}
