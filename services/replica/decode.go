package replica

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"time"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/internal/identity"
	"github.com/cyphonic/cyphonic/internal/keyspace"
)

// state is the decoded content of etcd, by key. It is owned by the goroutine
// that watches.
type state struct {
	revision int64
	subjects map[Ref]*Subject
	networks map[string]*Network
	services map[string]namedService
	policies map[string]*api.AccessPolicy
	enrolled map[Ref]Enrolled
	keys     map[keyspace.Purpose]map[uint32]keyspace.KeyRecord
}

type namedService struct {
	service string // as, nms, trs, manager
	Service
}

func newState() *state {
	return &state{
		subjects: make(map[Ref]*Subject),
		networks: make(map[string]*Network),
		services: make(map[string]namedService),
		policies: make(map[string]*api.AccessPolicy),
		enrolled: make(map[Ref]Enrolled),
		keys:     make(map[keyspace.Purpose]map[uint32]keyspace.KeyRecord),
	}
}

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
		return s.decodeResource(Ref{plural, name}, value)
	}
	if plural, name, ok := keyspace.ParseEnrolled(key); ok {
		r, err := keyspace.Decode[keyspace.EnrolledRecord](value)
		if err != nil {
			return err
		}
		s.enrolled[Ref{plural, name}] = Enrolled{UID: r.UID, Public: devicePublic(r)}
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
		delete(s.subjects, Ref{plural, name})
		switch plural {
		case keyspace.Networks:
			delete(s.networks, name)
		case keyspace.CloudServices:
			delete(s.services, name)
		case keyspace.AccessPolicies:
			delete(s.policies, name)
		}
		return
	}
	if plural, name, ok := keyspace.ParseEnrolled(key); ok {
		delete(s.enrolled, Ref{plural, name})
		return
	}
	if purpose, id, ok := keyspace.ParseKey(key); ok {
		delete(s.keys[purpose], id)
	}
}

func (s *state) decodeResource(ref Ref, value []byte) error {
	switch ref.Plural {
	case keyspace.Networks:
		return s.decodeNetwork(value)
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
		s.policies[ref.Name] = p
	}
	return nil
}

func (s *state) decodeNetwork(value []byte) error {
	var r api.Network
	if err := json.Unmarshal(value, &r); err != nil {
		return err
	}
	n := &Network{Name: r.Metadata.Name, Domain: CanonicalName(r.Spec.Domain)}
	var err error
	if n.IPv4Prefix, err = parsePrefix(r.Spec.Ipv4Prefix); err != nil {
		return err
	}
	if n.IPv6Prefix, err = parsePrefix(r.Spec.Ipv6Prefix); err != nil {
		return err
	}
	s.networks[n.Name] = n
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
	s.subjects[subject.Ref] = subject
	return nil
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
	s.services[name] = svc
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

// snapshot indexes the state as it stands at the time now, which decides which
// of the keys seals.
func (s *state) snapshot(now time.Time) (*Snapshot, []error) {
	c := Contents{
		Revision: s.revision,
		Services: make(map[string][]Service),
		Enrolled: make(map[Ref]Enrolled, len(s.enrolled)),
		Ticket:   s.keyring(keyspace.PurposeTicket, now),
		Relay:    s.keyring(keyspace.PurposeRelay, now),
		Access:   s.keyring(keyspace.PurposeAccess, now),
	}
	for _, subject := range s.subjects {
		c.Subjects = append(c.Subjects, subject)
	}
	for _, n := range s.networks {
		c.Networks = append(c.Networks, n)
	}
	for _, p := range s.policies {
		c.Policies = append(c.Policies, p)
	}
	for _, svc := range s.services {
		c.Services[svc.service] = append(c.Services[svc.service], svc.Service)
	}
	for ref, e := range s.enrolled {
		c.Enrolled[ref] = e
	}
	return NewSnapshot(c)
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
