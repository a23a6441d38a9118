package replica

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"maps"
	"slices"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/internal/identity"
	"github.com/cyphonic/cyphonic/internal/keyspace"
)

// The policy version of a network sums up everything that decides which of its devices may talk: the devices as
// policies see them, their enrolled keys and the policies. All replicas come to the same versions, also after a
// restart and whatever the order of changes; reports about devices, shared keys and cloud services change none
// (ADR 0012). What is hashed must stay as it is: replicas of two versions of the program serve the same devices.
//
// The hashes of the items are added, so that their order does not matter and a change costs one subtraction.

// count adds a device to the sum of its network or takes it out. The enrolled key and the adapter must be the same
// when it is taken out as when it was added.
func (s *state) count(subject *Subject, in bool) {
	if subject.Plural == keyspace.Adapters { // seen by what they carry: Enabled
		return
	}
	key, enrolled := s.enrolledKey(subject)
	enabled, _ := s.enabled(subject)
	var room [512]byte
	s.tally(subject.Network, fingerprint(appendSubject(room[:0], subject, enabled, key, enrolled)), in)
}

// countPolicy does so with a policy.
func (s *state) countPolicy(p *api.AccessPolicy, in bool) {
	s.changedPolicies[p.Spec.Network] = struct{}{}
	spec, err := json.Marshal(p.Spec)
	if err != nil {
		return // as a resource it came from JSON
	}
	s.tally(p.Spec.Network, fingerprint(append(appendText([]byte("policy"), p.Metadata.Name), spec...)), in)
}

func (s *state) tally(network string, fingerprint uint64, in bool) {
	s.changedNetworks[network] = struct{}{}
	x := s.sums[network]
	if x == nil {
		x = new(sum)
		s.sums[network] = x
	}
	if in {
		x.sum, x.items = x.sum+fingerprint, x.items+1
		return
	}
	x.sum, x.items = x.sum-fingerprint, x.items-1
}

// sumUp brings the versions up to date.
func (s *state) sumUp() {
	for network := range s.changedNetworks {
		if old, ok := s.versions.get(network); ok {
			s.total -= old.fingerprint()
		}
		x := s.sums[network]
		if x.items == 0 {
			delete(s.sums, network)
			s.versions.remove(network)
			continue
		}
		v := &networkVersion{network: network, version: x.sum}
		s.versions.put(v)
		s.total += v.fingerprint()
	}
	clear(s.changedNetworks)
}

func (v *networkVersion) fingerprint() uint64 {
	return fingerprint(binary.BigEndian.AppendUint64(appendText([]byte("network"), v.network), v.version))
}

func fingerprint(b []byte) uint64 {
	sum := sha256.Sum256(b)
	return binary.BigEndian.Uint64(sum[:])
}

// appendSubject writes what services hold a ticket against, and what policies select by.
func appendSubject(b []byte, subject *Subject, enabled bool, key identity.DevicePublic, enrolled bool) []byte {
	b = append(b, "subject"...)
	for _, text := range [...]string{
		subject.Plural, subject.Name, subject.UID, subject.FQDN, subject.IPv4.String(), subject.IPv6.String(), subject.Adapter,
	} {
		b = appendText(b, text)
	}
	if len(subject.Labels) > 0 {
		for _, label := range slices.Sorted(maps.Keys(subject.Labels)) {
			b = appendText(appendText(b, label), subject.Labels[label])
		}
	}
	on := byte(0)
	if enabled {
		on = 1
	}
	b = append(b, on, byte(subject.Assurance))
	if enrolled {
		b = append(append(b, key.Static[:]...), key.Signing[:]...)
	}
	return b
}

func appendText(b []byte, text string) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(text))), text...)
}

// PolicyVersion changes with everything that decides which devices of the network may talk. 0 is no such network.
func (s *Snapshot) PolicyVersion(network string) uint64 {
	if v, ok := s.versions.get(network); ok {
		return v.version
	}
	return 0
}

// Version changes with the policy version of any network.
func (s *Snapshot) Version() uint64 { return s.version }
