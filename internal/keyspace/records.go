package keyspace

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sort"
	"strconv"
	"strings"
	"time"
)

// ErrRecord says that the bytes behind a key are not the record its name promises.
var ErrRecord = errors.New("malformed record")

// Secret is a 256-bit symmetric key. It prints and logs as "redacted"; only
// its JSON form, which goes to etcd and nowhere else, holds the bytes (base64).
type Secret [32]byte

// String returns a fixed text, never the secret.
func (Secret) String() string { return "redacted" }

// GoString returns a fixed text, never the secret (for the verb %#v).
func (Secret) GoString() string { return "redacted" }

// LogValue returns a fixed text, never the secret.
func (Secret) LogValue() slog.Value { return slog.StringValue("redacted") }

// MarshalJSON encodes the secret as base64.
func (s Secret) MarshalJSON() ([]byte, error) {
	return json.Marshal(base64.StdEncoding.EncodeToString(s[:]))
}

// UnmarshalJSON decodes base64 of exactly 32 bytes that are not all zero.
func (s *Secret) UnmarshalJSON(b []byte) error {
	var text string
	if err := json.Unmarshal(b, &text); err != nil {
		return fmt.Errorf("%w: secret", ErrRecord)
	}
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(raw) != len(s) {
		return fmt.Errorf("%w: secret", ErrRecord)
	}
	copy(s[:], raw)
	if *s == (Secret{}) {
		return fmt.Errorf("%w: secret is zero", ErrRecord)
	}
	return nil
}

// KeyRecord is one symmetric key shared by the replicas, stored at Key.
type KeyRecord struct {
	ID     uint32 `json:"id"`     // also the last part of the key, 8 hex digits
	Secret Secret `json:"secret"` // 256 random bits
	// Created is when the key was made. Replicas seal with the youngest key
	// that is active and open with every key they know.
	Created time.Time `json:"created"`
	// ActiveFrom is when replicas begin to seal with the key: later than
	// Created when a key is rotated, so that every replica knows it by then.
	ActiveFrom time.Time `json:"activeFrom"`
}

// NewKeyRecord makes a key from 36 bytes of rand, active at once. The
// identifier is random so that two writers cannot mean different keys by it.
func NewKeyRecord(rand io.Reader, now time.Time) (KeyRecord, error) {
	var b [36]byte
	if _, err := io.ReadFull(rand, b[:]); err != nil {
		return KeyRecord{}, fmt.Errorf("read random bytes for a key: %w", err)
	}
	r := KeyRecord{Created: now.UTC(), ActiveFrom: now.UTC()}
	copy(r.Secret[:], b[:32])
	r.ID = uint32(b[32])<<24 | uint32(b[33])<<16 | uint32(b[34])<<8 | uint32(b[35])
	return r, nil
}

// Order sorts the keys of one purpose for use at the time now: first the key
// to seal with (the youngest active one; the oldest if none is active yet),
// then the others, youngest first.
func Order(records []KeyRecord, now time.Time) []KeyRecord {
	out := append([]KeyRecord(nil), records...)
	sort.Slice(out, func(i, j int) bool {
		if !out[i].ActiveFrom.Equal(out[j].ActiveFrom) {
			return out[i].ActiveFrom.After(out[j].ActiveFrom)
		}
		return out[i].ID > out[j].ID
	})
	current := len(out) - 1
	for i, r := range out {
		if !r.ActiveFrom.After(now) {
			current = i
			break
		}
	}
	if current > 0 {
		r := out[current]
		copy(out[1:current+1], out[:current])
		out[0] = r
	}
	return out
}

// Owner names the resource that holds an address, a unique value or a reference.
type Owner struct {
	Kind string `json:"kind"` // plural
	Name string `json:"name"`
	UID  string `json:"uid"`
}

// String names a device, which is what holds addresses and unique values, as in "generalnode/cam1".
func (o Owner) String() string { return strings.TrimSuffix(o.Kind, "s") + "/" + o.Name }

// EnrolledRecord is the key of a device, stored at Enrolled.
type EnrolledRecord struct {
	UID        string    `json:"uid"`     // of the resource; a record of another UID is void
	Static     []byte    `json:"static"`  // X25519 public key, 32 bytes
	Signing    []byte    `json:"signing"` // Ed25519 public key, 32 bytes
	NodeID     string    `json:"nodeID"`  // lower-case hex
	EnrolledAt time.Time `json:"enrolledAt"`
	TokenUID   string    `json:"tokenUID,omitempty"` // the token that enrolled it, if one did
}

// TokenRecord is the index entry of an enrolment token, stored at Token.
type TokenRecord struct {
	Name string `json:"name"` // of the EnrollmentToken
	UID  string `json:"uid"`
}

// ConsumedRecord marks an enrolment token as used, stored at Consumed.
type ConsumedRecord struct {
	SubjectKind string    `json:"subjectKind"` // plural
	SubjectName string    `json:"subjectName"`
	NodeID      string    `json:"nodeID"`
	ConsumedAt  time.Time `json:"consumedAt"`
}

// Record is any of the records.
type Record interface {
	KeyRecord | Owner | EnrolledRecord | TokenRecord | ConsumedRecord | SchemaRecord | LeaderRecord
}

// Encode returns the JSON of a record.
func Encode[R Record](r R) []byte {
	b, err := json.Marshal(r)
	if err != nil { // the records hold only strings, bytes, numbers and times
		panic(fmt.Sprintf("encode %T: %v", r, err))
	}
	return b
}

// Decode parses the JSON of a record. Unknown fields are allowed: a newer
// writer may know more. The error wraps ErrRecord and shows no secret.
func Decode[R Record](b []byte) (R, error) {
	var r R
	if err := json.Unmarshal(b, &r); err != nil {
		return r, fmt.Errorf("%w: %T", ErrRecord, r)
	}
	if e, ok := any(r).(EnrolledRecord); ok && (len(e.Static) != 32 || len(e.Signing) != 32) {
		return r, fmt.Errorf("%w: device key is not 32 bytes", ErrRecord)
	}
	if k, ok := any(r).(KeyRecord); ok && k.Secret == (Secret{}) {
		return r, fmt.Errorf("%w: key without secret", ErrRecord)
	}
	return r, nil
}

func formatID(id uint32) string { return fmt.Sprintf("%08x", id) }

func parseID(s string) (uint32, error) {
	if len(s) != 8 {
		return 0, fmt.Errorf("%w: key id %q", ErrRecord, s)
	}
	id, err := strconv.ParseUint(s, 16, 32)
	if err != nil {
		return 0, fmt.Errorf("%w: key id %q", ErrRecord, s)
	}
	return uint32(id), nil
}
