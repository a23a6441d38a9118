package replica

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"maps"
	"slices"

	"github.com/cyphonic/cyphonic/internal/keyspace"
)

// policyVersions sums up, for each network, everything that decides which of its devices may talk: the devices as
// policies see them, their enrolled keys and the policies. All replicas come to the same versions, also after a
// restart; reports about devices, shared keys and cloud services change none (ADR 0012).
//
// The hashes of the items are added, so that their order does not matter.
func (s *Snapshot) policyVersions(c Contents) {
	s.versions = make(map[string]uint64)
	for _, subject := range c.Subjects {
		if subject.Plural != keyspace.Adapters { // seen by what they carry: Enabled
			s.versions[subject.Network] += fingerprint(s.appendSubject(nil, subject))
		}
	}
	for _, p := range c.Policies {
		spec, err := json.Marshal(p.Spec)
		if err != nil {
			continue // as a resource it came from JSON
		}
		s.versions[p.Spec.Network] += fingerprint(append(appendText([]byte("policy"), p.Metadata.Name), spec...))
	}
	for name, v := range s.versions {
		s.version += fingerprint(binary.BigEndian.AppendUint64(appendText([]byte("network"), name), v))
	}
}

func fingerprint(b []byte) uint64 {
	sum := sha256.Sum256(b)
	return binary.BigEndian.Uint64(sum[:])
}

// appendSubject writes what services hold a ticket against, and what policies select by.
func (s *Snapshot) appendSubject(b []byte, subject *Subject) []byte {
	b = append(b, "subject"...)
	for _, text := range []string{
		subject.Plural, subject.Name, subject.UID, subject.FQDN, subject.IPv4.String(), subject.IPv6.String(), subject.Adapter,
	} {
		b = appendText(b, text)
	}
	for _, label := range slices.Sorted(maps.Keys(subject.Labels)) {
		b = appendText(appendText(b, label), subject.Labels[label])
	}
	enabled := byte(0)
	if ok, _ := s.Enabled(subject); ok {
		enabled = 1
	}
	b = append(b, enabled, byte(subject.Assurance))
	if key, ok := s.Enrolled(subject); ok {
		b = append(append(b, key.Static[:]...), key.Signing[:]...)
	}
	return b
}

func appendText(b []byte, text string) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(text))), text...)
}

// PolicyVersion changes with everything that decides which devices of the network may talk. 0 is no such network.
func (s *Snapshot) PolicyVersion(network string) uint64 { return s.versions[network] }

// Version changes with the policy version of any network.
func (s *Snapshot) Version() uint64 { return s.version }
