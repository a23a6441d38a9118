package replica

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/internal/identity"
	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/internal/policy"
)

// state is the desired state while it changes. Indexes and sums are kept up with every change, so that a snapshot
// costs as much as has changed since the last one. It is owned by one goroutine.
type state struct {
	indexes
	revision int64

	shadowed shadows
	carried  map[string]*trie[Ref, *Subject] // general nodes, by adapter
	services map[string]namedService
	policies map[string]*api.AccessPolicy
	keys     map[keyspace.Purpose]map[uint32]keyspace.KeyRecord

	// what snapshots are made of, and what has to be made anew for the next one
	sums            map[string]*sum // by network
	total           uint64          // of the versions of all networks
	set             *policy.Set
	view            map[string][]Service
	changedNetworks map[string]struct{} // sums
	changedPolicies map[string]struct{} // networks
	changedServices bool

	texts    interner
	previous *state // of the list before: what is still as it was then is shared with it
}

// indexes find things of the desired state.
type indexes struct {
	byRef    trie[Ref, *Subject]
	byUID    trie[string, *Subject]
	byFQDN   trie[nameKey, *Subject]
	byIPv4   trie[addrKey, *Subject]
	byIPv6   trie[addrKey, *Subject]
	enrolled trie[Ref, *enrolment]
	networks trie[string, *Network]
	versions trie[string, *networkVersion] // of the policy, by network
}

// snapshot returns the indexes as they are now.
func (x *indexes) snapshot() indexes {
	return indexes{
		byRef: x.byRef.snapshot(), byUID: x.byUID.snapshot(), byFQDN: x.byFQDN.snapshot(),
		byIPv4: x.byIPv4.snapshot(), byIPv6: x.byIPv6.snapshot(),
		enrolled: x.enrolled.snapshot(), networks: x.networks.snapshot(), versions: x.versions.snapshot(),
	}
}

type nameKey struct{ network, fqdn string }

type addrKey struct {
	network string
	addr    [16]byte
}

func keyOfIPv4(s *Subject) addrKey { return addrKey{s.Network, s.IPv4.As16()} }
func keyOfIPv6(s *Subject) addrKey { return addrKey{s.Network, s.IPv6.As16()} }
func keyOfFQDN(s *Subject) nameKey { return nameKey{s.Network, CanonicalName(s.FQDN)} }
func keyOfRef(s *Subject) Ref      { return s.Ref }
func keyOfUID(s *Subject) string   { return s.UID }

// enrolment is the enrolled key of a device.
type enrolment struct {
	Ref
	Enrolled
}

// networkVersion is the policy version of a network.
type networkVersion struct {
	network string
	version uint64
}

// sum is the sum of the fingerprints of the items of a network.
type sum struct {
	sum   uint64
	items int
}

type namedService struct {
	service string // as, nms, trs, manager
	Service
}

func newState() *state {
	return &state{
		indexes: indexes{
			byRef: newTrie(keyOfRef), byUID: newTrie(keyOfUID), byFQDN: newTrie(keyOfFQDN),
			byIPv4: newTrie(keyOfIPv4), byIPv6: newTrie(keyOfIPv6),
			enrolled: newTrie(func(e *enrolment) Ref { return e.Ref }),
			networks: newTrie(func(n *Network) string { return n.Name }),
			versions: newTrie(func(v *networkVersion) string { return v.network }),
		},
		shadowed:        newShadows(),
		carried:         make(map[string]*trie[Ref, *Subject]),
		services:        make(map[string]namedService),
		policies:        make(map[string]*api.AccessPolicy),
		keys:            make(map[keyspace.Purpose]map[uint32]keyspace.KeyRecord),
		sums:            make(map[string]*sum),
		set:             new(policy.Set),
		view:            make(map[string][]Service),
		changedNetworks: make(map[string]struct{}),
		changedPolicies: make(map[string]struct{}),
	}
}

// setSubject puts a device in the place of the one of its name; nil removes it.
func (s *state) setSubject(ref Ref, subject *Subject) {
	old, _ := s.byRef.get(ref)
	if old == nil && subject == nil {
		return
	}
	// Whether an adapter may take part decides about what it carries.
	var dependent *trie[Ref, *Subject]
	if ref.Plural == keyspace.Adapters && (old != nil && !old.Disabled) != (subject != nil && !subject.Disabled) {
		dependent = s.carried[ref.Name]
	}
	s.countAll(dependent, false)
	if old != nil {
		s.count(old, false)
		s.unindex(old)
	}
	if subject != nil {
		s.index(subject)
		s.count(subject, true)
	}
	s.countAll(dependent, true)
}

func (s *state) countAll(subjects *trie[Ref, *Subject], in bool) {
	if subjects == nil {
		return
	}
	for subject := range subjects.all() {
		s.count(subject, in)
	}
}

func (s *state) index(subject *Subject) {
	s.byRef.put(subject)
	claim(&s.byUID, s.shadowed.byUID, subject)
	if subject.FQDN != "" {
		claim(&s.byFQDN, s.shadowed.byFQDN, subject)
	}
	if subject.IPv4.IsValid() {
		claim(&s.byIPv4, s.shadowed.byAddr, subject)
	}
	if subject.IPv6.IsValid() {
		claim(&s.byIPv6, s.shadowed.byAddr, subject)
	}
	if subject.Plural == keyspace.GeneralNodes {
		list := s.carried[subject.Adapter]
		if list == nil {
			empty := newTrie(keyOfRef)
			list = &empty
			s.carried[subject.Adapter] = list
		}
		list.put(subject)
	}
}

func (s *state) unindex(subject *Subject) {
	s.byRef.remove(subject.Ref)
	release(&s.byUID, s.shadowed.byUID, subject)
	if subject.FQDN != "" {
		release(&s.byFQDN, s.shadowed.byFQDN, subject)
	}
	if subject.IPv4.IsValid() {
		release(&s.byIPv4, s.shadowed.byAddr, subject)
	}
	if subject.IPv6.IsValid() {
		release(&s.byIPv6, s.shadowed.byAddr, subject)
	}
	if subject.Plural == keyspace.GeneralNodes {
		list := s.carried[subject.Adapter]
		list.remove(subject.Ref)
		if list.size == 0 {
			delete(s.carried, subject.Adapter)
		}
	}
}

// shadows are the devices that have the same identifier, name or address as another one, which is the one that is
// found. The manager lets none come about; what may be is that changes of one transaction come one after the other.
type shadows struct {
	byUID  map[string][]*Subject
	byFQDN map[nameKey][]*Subject
	byAddr map[addrKey][]*Subject
}

func newShadows() shadows {
	return shadows{make(map[string][]*Subject), make(map[nameKey][]*Subject), make(map[addrKey][]*Subject)}
}

func compareRefs(a, b *Subject) int {
	return cmp.Or(strings.Compare(a.Plural, b.Plural), strings.Compare(a.Name, b.Name))
}

// claim enters a subject into an index. Of several with one key the first by name is found, at every replica.
func claim[K comparable](index *trie[K, *Subject], shadowed map[K][]*Subject, subject *Subject) {
	k := index.key(subject)
	if now, ok := index.get(k); ok {
		if compareRefs(now, subject) < 0 {
			now, subject = subject, now
		}
		shadowed[k] = append(shadowed[k], now)
	}
	index.put(subject)
}

// release takes a subject out of an index.
func release[K comparable](index *trie[K, *Subject], shadowed map[K][]*Subject, subject *Subject) {
	k := index.key(subject)
	others := shadowed[k]
	if now, _ := index.get(k); now == subject {
		if len(others) == 0 {
			index.remove(k)
			return
		}
		subject = slices.MinFunc(others, compareRefs)
		index.put(subject)
	}
	others = slices.DeleteFunc(others, func(x *Subject) bool { return x == subject })
	if len(others) == 0 {
		delete(shadowed, k)
		return
	}
	shadowed[k] = others
}

// setEnrolled puts a key in the place of the one that the device had; nil removes it.
func (s *state) setEnrolled(ref Ref, e *enrolment) {
	subject, known := s.byRef.get(ref)
	if known {
		s.count(subject, false)
	}
	if e == nil {
		s.enrolled.remove(ref)
	} else {
		s.enrolled.put(e)
	}
	if known {
		s.count(subject, true)
	}
}

// setPolicy puts a policy in the place of the one of its name; nil removes it.
func (s *state) setPolicy(name string, p *api.AccessPolicy) {
	if old := s.policies[name]; old != nil {
		s.countPolicy(old, false)
		delete(s.policies, name)
	}
	if p != nil {
		s.countPolicy(p, true)
		s.policies[name] = p
	}
}

// compile brings the compiled policies up to date. The errors name the policies that were left out.
func (s *state) compile() (errs []error) {
	if len(s.changedPolicies) == 0 {
		return nil
	}
	byNetwork := make(map[string][]*api.AccessPolicy)
	all := make([]*api.AccessPolicy, 0, len(s.policies))
	for _, name := range slices.Sorted(maps.Keys(s.policies)) { // in the same order at every replica
		p := s.policies[name]
		byNetwork[p.Spec.Network] = append(byNetwork[p.Spec.Network], p)
		all = append(all, p)
	}
	if len(s.changedPolicies) > maxReplaced {
		s.set, errs = policy.Compile(all)
	} else {
		for network := range s.changedPolicies {
			set, failed := s.set.Replace(network, byNetwork[network])
			s.set, errs = set, append(errs, failed...)
		}
	}
	clear(s.changedPolicies)
	return errs
}

// listServices brings the lists of services up to date.
func (s *state) listServices() {
	if !s.changedServices {
		return
	}
	s.view = make(map[string][]Service)
	for _, svc := range s.services {
		s.view[svc.service] = append(s.view[svc.service], svc.Service)
	}
	for _, list := range s.view {
		slices.SortFunc(list, func(a, b Service) int { return strings.Compare(a.Name, b.Name) })
	}
	s.changedServices = false
}

// rings are the keyrings at one time.
type rings struct{ ticket, relay, access identity.Keyring }

// freeze returns the state as it is now, with the keyrings.
func (s *state) freeze(keys rings) (*Snapshot, []error) {
	errs := s.compile()
	s.listServices()
	s.sumUp()
	return &Snapshot{
		indexes: s.indexes.snapshot(), revision: s.revision, policies: s.set, services: s.view, version: s.total,
		ticket: keys.ticket, relay: keys.relay, access: keys.access,
	}, errs
}
