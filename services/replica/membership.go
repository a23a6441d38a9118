package replica

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/cyphonic/cyphonic/internal/keyspace"
)

// Member is a live replica of a service: its record, checked. It is immutable.
type Member struct{ keyspace.ReplicaRecord }

// Ready reports whether the member serves and takes over what is given to it.
func (m Member) Ready() bool { return m.State == keyspace.ReplicaReady }

// Membership is the live replicas of all services at one revision. It is immutable. The zero value has none.
type Membership struct {
	// Revision is of etcd. All replicas see the same members at the same revision; 0: etcd has not been read yet.
	Revision int64
	// Structure counts how often, as this process saw it, something else than loads changed: who only wants to know
	// who is there, in which state and where compares it and not the whole.
	Structure uint64

	services map[string][]Member // sorted by name
}

// Of lists the members of a service by name. The caller must not change the list.
func (m *Membership) Of(service string) []Member { return m.services[service] }

// Find returns the member of that name.
func (m *Membership) Find(service, name string) (Member, bool) {
	list := m.services[service]
	i, found := slices.BinarySearchFunc(list, name, func(x Member, name string) int { return strings.Compare(x.Name, name) })
	if !found {
		return Member{}, false
	}
	return list[i], true
}

// Names lists the names of the members of a service that are Ready, for Rendezvous.
func (m *Membership) Names(service string) []string {
	names := make([]string, 0, len(m.services[service]))
	for _, x := range m.services[service] {
		if x.Ready() {
			names = append(names, x.Name)
		}
	}
	return names
}

// NewMembership makes a Membership of the given members, for tests of who uses one.
func NewMembership(revision int64, structure uint64, members ...Member) *Membership {
	m := &Membership{Revision: revision, Structure: structure, services: make(map[string][]Member)}
	for _, x := range members {
		m.services[x.Service] = insertMember(m.services[x.Service], x)
	}
	return m
}

// insertMember returns list with x in its place; list stays as it is.
func insertMember(list []Member, x Member) []Member {
	i, found := slices.BinarySearchFunc(list, x.Name, func(m Member, name string) int { return strings.Compare(m.Name, name) })
	list = slices.Clone(list)
	if found {
		list[i] = x
		return list
	}
	return slices.Insert(list, i, x)
}

// removeMember returns list without the member of that name; list stays as it is.
func removeMember(list []Member, name string) []Member {
	return slices.DeleteFunc(slices.Clone(list), func(m Member) bool { return m.Name == name })
}

// gathering is a Membership and a channel that is closed when it is replaced.
type gathering struct {
	membership *Membership
	replaced   chan struct{}
}

// Membership returns the live replicas as etcd said last. It never blocks and never returns nil. While etcd is away it
// stays as it is.
func (r *Replica) Membership() *Membership { return r.members.Load().membership }

// MembershipChanged returns a channel that is closed when what Membership returns is replaced, also by one in which
// only a load differs (Structure). Ask for the channel before you read the membership.
func (r *Replica) MembershipChanged() <-chan struct{} { return r.members.Load().replaced }

// followMembers follows the records of replicas and the requests to drain until ctx ends.
func (r *Replica) followMembers(ctx context.Context) {
	o := FollowOptions{
		Client: r.client, Log: r.log, Prefixes: []string{keyspace.ReplicasRoot}, // one prefix has one order of changes
	}
	_ = Follow(ctx, o, r.applyMembers) // which returns no error
}

// applyMembers takes over what Follow reports.
func (r *Replica) applyMembers(u Update) {
	old := r.Membership()
	m := &Membership{Revision: max(old.Revision, u.Revision), Structure: old.Structure, services: make(map[string][]Member)}
	if u.List {
		m.Revision = u.Revision // which is lower if etcd was restored
	} else {
		maps.Copy(m.services, old.services)
	}
	for _, key := range u.Deletes {
		if service, name, ok := keyspace.ParseLive(key); ok {
			m.services[service] = removeMember(m.services[service], name)
		}
	}
	for _, item := range u.Puts {
		r.putMember(m, item)
	}
	for service, list := range m.services {
		if len(list) == 0 {
			delete(m.services, service)
		}
	}
	if !sameStructure(old, m) {
		m.Structure++
	}
	r.noteDrains(u)
	r.metrics.count(m)
	replaced := r.members.Swap(&gathering{membership: m, replaced: make(chan struct{})})
	close(replaced.replaced)
}

// putMember takes over one record. A record that cannot be used removes what the key meant before: nobody must be sent
// where nothing is known to be.
func (r *Replica) putMember(m *Membership, item Item) {
	service, name, ok := keyspace.ParseLive(item.Key)
	if !ok {
		return
	}
	member, err := decodeMember(service, name, item.Value)
	if err == nil && m.size() >= maxMembers {
		if _, known := m.Find(service, name); !known {
			err = fmt.Errorf("there are more than %d replicas", maxMembers)
		}
	}
	if err != nil {
		m.services[service] = removeMember(m.services[service], name)
		r.metrics.undecodable.Inc()
		r.log.Error("replica left out", "key", item.Key, "error", err)
		return
	}
	m.services[service] = insertMember(m.services[service], member)
}

func (m *Membership) size() int {
	n := 0
	for _, list := range m.services {
		n += len(list)
	}
	return n
}

// sameStructure reports whether two memberships differ in nothing but loads.
func sameStructure(a, b *Membership) bool {
	return maps.EqualFunc(a.services, b.services, func(x, y []Member) bool {
		return slices.EqualFunc(x, y, func(x, y Member) bool {
			return x.Host == y.Host && x.Name == y.Name && x.Version == y.Version && x.State == y.State &&
				x.Since.Equal(y.Since) && x.Started.Equal(y.Started) && slices.Equal(x.Addresses, y.Addresses) &&
				x.Peer == y.Peer && x.Pin == y.Pin && slices.Equal(x.Advertised, y.Advertised)
		})
	})
}

// decodeMember checks what a replica says of itself. A state that a later version may have is left as it is: it is not
// Ready.
func decodeMember(service, name string, value []byte) (Member, error) {
	var m Member
	if err := json.Unmarshal(value, &m.ReplicaRecord); err != nil {
		return Member{}, fmt.Errorf("%w: replica", keyspace.ErrRecord)
	}
	if m.Service != service || m.Name != name || m.State == "" || len(m.Host) > maxRecordText || len(m.Version) > maxRecordText || len(name) > maxRecordText {
		return Member{}, fmt.Errorf("%w: replica of another name, without state, or with a text that is too long", keyspace.ErrRecord)
	}
	for i, addr := range m.Addresses {
		m.Addresses[i] = addr.Unmap()
	}
	for i, addr := range m.Advertised {
		m.Advertised[i] = netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())
	}
	if m.Peer.IsValid() {
		m.Peer = netip.AddrPortFrom(m.Peer.Addr().Unmap(), m.Peer.Port())
	}
	advertised := make([]netip.Addr, len(m.Advertised))
	for i, addr := range m.Advertised {
		advertised[i] = addr.Addr()
		if addr.Port() == 0 {
			return Member{}, fmt.Errorf("%w: replica with an advertised address without port", keyspace.ErrRecord)
		}
	}
	if !onePerFamily(m.Addresses) || !onePerFamily(advertised) {
		return Member{}, fmt.Errorf("%w: replica with more than one address of a family, or none that can be sent to", keyspace.ErrRecord)
	}
	pin, err := hex.DecodeString(m.Pin)
	if err != nil || m.Peer.IsValid() != (len(pin) == 32) || !m.Peer.IsValid() && len(pin) != 0 {
		return Member{}, fmt.Errorf("%w: replica whose peer address and pin do not go together", keyspace.ErrRecord)
	}
	return m, nil
}

// onePerFamily reports whether the addresses are unicast, at most one of each family.
func onePerFamily(addrs []netip.Addr) bool {
	var four, six int
	for _, a := range addrs {
		switch {
		case !a.IsValid() || a.IsUnspecified() || a.IsMulticast():
			return false
		case a.Is4():
			four++
		default:
			six++
		}
	}
	return four <= 1 && six <= 1
}
