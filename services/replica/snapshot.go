package replica

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/internal/identity"
	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/internal/policy"
)

// Ref names a resource: plural as in package keyspace, and name.
type Ref struct{ Plural, Name string }

// Subject is a device of the desired state: a node, an adapter or a general
// node. A Subject is immutable.
type Subject struct {
	Ref
	UID     string // of the resource; deleting and creating it again changes it
	Network string
	FQDN    string     // in use; empty for adapters
	IPv4    netip.Addr // virtual; the zero Addr if none
	IPv6    netip.Addr // virtual; the zero Addr if none
	Labels  map[string]string
	// Disabled devices, and those that are being deleted, neither log in nor are
	// reached.
	Disabled     bool
	PasswordHash string // PHC; empty: no login by password

	Adapter   string             // general nodes: the adapter that carries it
	Assurance identity.Assurance // general nodes: what its method gives; else 0
}

// PolicySubject is how access policies see the subject when it was
// authenticated with assurance a.
func (s *Subject) PolicySubject(a identity.Assurance) policy.Subject {
	return policy.Subject{Kind: s.Kind(), Name: s.Name, Network: s.Network, Labels: s.Labels, Assurance: a}
}

// Kind is the resource kind of the subject.
func (s *Subject) Kind() string {
	switch s.Plural {
	case keyspace.Nodes:
		return "Node"
	case keyspace.Adapters:
		return "Adapter"
	case keyspace.GeneralNodes:
		return "GeneralNode"
	}
	return ""
}

// Network is an overlay network of the desired state.
type Network struct {
	Name, Domain           string
	IPv4Prefix, IPv6Prefix netip.Prefix
}

// Service is where devices reach a cloud service.
type Service struct {
	Name       string
	IPv4, IPv6 netip.AddrPort // the zero AddrPort if none
}

// Enrolled is the key of a device that has enrolled.
type Enrolled struct {
	UID    string // of the resource it was enrolled for; another UID makes it void
	Public identity.DevicePublic
}

// Contents is what a Snapshot is built from.
type Contents struct {
	Revision              int64
	Subjects              []*Subject
	Networks              []*Network
	Services              map[string][]Service // by service: as, nms, trs, manager
	Policies              []*api.AccessPolicy
	Enrolled              map[Ref]Enrolled
	Ticket, Relay, Access identity.Keyring
}

// Snapshot is the desired state and the shared keys at one revision, with the
// indexes that services need. It is immutable and safe for concurrent use, and
// shares what did not change with the snapshots before and after it.
type Snapshot struct {
	indexes
	revision int64
	policies *policy.Set
	services map[string][]Service
	version  uint64 // of the policies of all networks

	ticket, relay, access identity.Keyring
}

// NewSnapshot indexes contents, which must not be changed afterwards. The
// errors name the resources that were left out.
func NewSnapshot(c Contents) (*Snapshot, []error) {
	s := newState()
	s.revision = c.Revision
	for _, n := range c.Networks {
		s.networks.put(n)
	}
	for service, list := range c.Services {
		sorted := slices.Clone(list)
		slices.SortFunc(sorted, func(a, b Service) int { return strings.Compare(a.Name, b.Name) })
		s.view[service] = sorted
	}
	for ref, e := range c.Enrolled {
		s.setEnrolled(ref, &enrolment{Ref: ref, Enrolled: e})
	}
	for _, subject := range c.Subjects {
		s.setSubject(subject.Ref, subject)
	}
	for _, p := range c.Policies {
		s.setPolicy(p.Metadata.Name, p)
	}
	return s.freeze(rings{c.Ticket, c.Relay, c.Access})
}

// CanonicalName is a domain name in the form in which names are compared:
// lower case, without the trailing dot (RFC 4343).
func CanonicalName(fqdn string) string {
	return strings.ToLower(strings.TrimSuffix(fqdn, "."))
}

// Revision is the etcd revision that the snapshot shows.
func (s *Snapshot) Revision() int64 { return s.revision }

// Policies is the compiled access policies.
func (s *Snapshot) Policies() *policy.Set { return s.policies }

// Services lists the addresses of a service (as, nms, trs, manager) by name.
func (s *Snapshot) Services(service string) []Service { return s.services[service] }

// Network returns the network of that name or nil.
func (s *Snapshot) Network(name string) *Network {
	n, _ := s.networks.get(name)
	return n
}

// Subject returns the device of that name or nil.
func (s *Snapshot) Subject(ref Ref) *Subject {
	subject, _ := s.byRef.get(ref)
	return subject
}

// SubjectByUID returns the device whose resource has that UID or nil.
func (s *Snapshot) SubjectByUID(uid string) *Subject {
	subject, _ := s.byUID.get(uid)
	return subject
}

// SubjectByFQDN returns the device of that name in a network or nil.
func (s *Snapshot) SubjectByFQDN(network, fqdn string) *Subject {
	subject, _ := s.byFQDN.get(nameKey{network, CanonicalName(fqdn)})
	return subject
}

// SubjectByAddr returns the device of that virtual address in a network or nil.
func (s *Snapshot) SubjectByAddr(network string, addr netip.Addr) *Subject {
	index := &s.byIPv6
	if addr = addr.Unmap(); addr.Is4() {
		index = &s.byIPv4
	}
	subject, _ := index.get(addrKey{network, addr.As16()})
	return subject
}

// Enabled reports whether the device, and for a general node its adapter, may
// take part; why says what stands against it.
func (s *Snapshot) Enabled(subject *Subject) (ok bool, why string) { return s.enabled(subject) }

func (x *indexes) enabled(subject *Subject) (ok bool, why string) {
	if subject.Disabled {
		return false, "it is disabled in the desired state (spec.disabled), or is being deleted"
	}
	if subject.Plural != keyspace.GeneralNodes {
		return true, ""
	}
	adapter, _ := x.byRef.get(Ref{keyspace.Adapters, subject.Adapter})
	if adapter == nil {
		return false, "its adapter does not exist in the desired state"
	}
	if adapter.Disabled {
		return false, "its adapter is disabled in the desired state (spec.disabled), or is being deleted"
	}
	return true, ""
}

// Enrolled returns the enrolled key of a device. A key enrolled for an
// earlier resource of the same name does not count.
func (s *Snapshot) Enrolled(subject *Subject) (identity.DevicePublic, bool) {
	return s.enrolledKey(subject)
}

func (x *indexes) enrolledKey(subject *Subject) (identity.DevicePublic, bool) {
	e, ok := x.enrolled.get(subject.Ref)
	if !ok || e.UID != subject.UID {
		return identity.DevicePublic{}, false
	}
	return e.Public, true
}

// TicketKeys seals and opens tickets.
func (s *Snapshot) TicketKeys() identity.Keyring { return s.ticket }

// RelayKeys seals and opens relay tokens.
func (s *Snapshot) RelayKeys() identity.Keyring { return s.relay }

// AccessKeys seals and opens access tokens.
func (s *Snapshot) AccessKeys() identity.Keyring { return s.access }
