// Package identity says who somebody is and how it is shown: the keys of each role, certificates and
// their issuers, the trust file, and the sealed and opaque tokens that the services give out.
//
// One type per key role: DeviceKey (X25519 and Ed25519 of an end device), RootKey (offline, signs issuers),
// Issuer (the AS's issuing key), SealingKey (shared by the replicas of a service), SignalKeys (one node's
// session with the NMS). Values with secrets redact themselves in text, logs and JSON.
//
// It must not open sockets or read the clock: callers pass now. Only files.go touches files. The binary
// forms are versioned by their first byte, exact in length, and each signed or sealed form is bound to
// its purpose by a label, so that none can stand for another.
package identity

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// Errors that callers branch on. Everything else that a function of this package returns wraps one of them
// or names a field of the caller's own input.
var (
	ErrMalformed   = errors.New("identity: malformed")
	ErrSignature   = errors.New("identity: signature does not verify")
	ErrIssuer      = errors.New("identity: unknown or untrusted issuer")
	ErrExpired     = errors.New("identity: expired")
	ErrNotYetValid = errors.New("identity: not yet valid")
	ErrUnknownKey  = errors.New("identity: sealed with a key that is not in the keyring")
	ErrSeal        = errors.New("identity: seal does not verify")
	ErrTooLong     = errors.New("identity: encoding exceeds its bound")
)

// NodeID names an end device for good: SHA-256 over its X25519 and Ed25519 public keys. Revocation goes by it.
type NodeID [sha256.Size]byte

// String returns 64 lower-case hexadecimal digits.
func (id NodeID) String() string { return hex.EncodeToString(id[:]) }

// Short returns the first 8 digits, for logs; it is not unique.
func (id NodeID) Short() string { return hex.EncodeToString(id[:4]) }

// MarshalText writes what String returns.
func (id NodeID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText reads what MarshalText writes.
func (id *NodeID) UnmarshalText(b []byte) error {
	v, err := ParseNodeID(string(b))
	if err != nil {
		return err
	}
	*id = v
	return nil
}

// Compare orders NodeIDs as big-endian numbers: -1, 0 or 1. The higher one of a pair initiates where both could.
func (id NodeID) Compare(other NodeID) int { return strings.Compare(string(id[:]), string(other[:])) }

// ParseNodeID reads 64 lower-case hexadecimal digits.
func ParseNodeID(s string) (NodeID, error) {
	var id NodeID
	if len(s) != 2*len(id) || strings.ToLower(s) != s {
		return NodeID{}, fmt.Errorf("%w: node ID is not 64 lower-case hexadecimal digits", ErrMalformed)
	}
	if _, err := hex.Decode(id[:], []byte(s)); err != nil {
		return NodeID{}, fmt.Errorf("%w: node ID is not 64 lower-case hexadecimal digits", ErrMalformed)
	}
	return id, nil
}

// Assurance is how a device was authenticated, the stronger the higher. Policy asks for a minimum.
type Assurance uint8

// The assurances. MAC, Basic and Dot1X are of general nodes; Key is of devices that hold their own key.
const (
	AssuranceMAC   Assurance = 1
	AssuranceBasic Assurance = 2
	AssuranceDot1X Assurance = 3
	AssuranceKey   Assurance = 4
)

// String returns the word used in manifests.
func (a Assurance) String() string {
	switch a {
	case AssuranceMAC:
		return "mac"
	case AssuranceBasic:
		return "basic"
	case AssuranceDot1X:
		return "dot1x"
	case AssuranceKey:
		return "key"
	}
	return "none"
}

// Valid reports whether a is one of the four assurances.
func (a Assurance) Valid() bool { return a >= AssuranceMAC && a <= AssuranceKey }

// ParseAssurance reads the word used in manifests.
func ParseAssurance(s string) (Assurance, error) {
	for a := AssuranceMAC; a <= AssuranceKey; a++ {
		if a.String() == s {
			return a, nil
		}
	}
	return 0, fmt.Errorf("%w: assurance %q is none of mac, basic, dot1x, key", ErrMalformed, s)
}
