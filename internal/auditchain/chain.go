// Package auditchain is the arithmetic of the audit log: what a record is, how each record is bound to the one before it by a hash,
// and how a reader finds out that somebody tampered with the log. The manager, which writes the chain, and the command line, which
// verifies what it exported, meet here.
//
// The package is pure: it must not read a database, a file or a clock, and it does not decide what is recorded.
//
// The hash of a record is the SHA-256 of its canonical JSON (RFC 8785) without the member "hash", in lower-case hex. The canonical JSON
// contains "previousHash", so that a record can only be changed together with all records after it. Whoever remembers one hash
// therefore finds every change of what came before it.
package auditchain

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/cyphonic/cyphonic/api"
)

// Outcomes of a request.
const (
	Allowed = "allowed" // it was done, or it would have been (dry run)
	Denied  = "denied"  // the subject is unknown or may not
	Failed  = "failed"  // the subject may, but the request was refused or failed
)

// Record says who did what.
type Record = api.AuditRecord

// Point is a place in the chain: a record by its number and hash. The base of a log is the last record that was trimmed.
type Point = api.AuditBase

// Genesis is the base of a log of which nothing was trimmed: the first record has number 1 and this hash before it.
func Genesis() Point { return Point{Hash: strings.Repeat("0", 2*sha256.Size)} }

// Seal gives a record its place behind last and returns it with its hash.
func Seal(last Point, r Record) (Record, error) {
	r.Sequence, r.PreviousHash = last.Sequence+1, last.Hash
	r.Time = r.Time.UTC()
	hash, err := digest(r)
	if err != nil {
		return Record{}, err
	}
	r.Hash = hash
	return r, nil
}

// PointOf is where a record is.
func PointOf(r Record) Point { return Point{Sequence: r.Sequence, Hash: r.Hash} }

func digest(r Record) (string, error) {
	r.Hash = ""
	text, err := json.Marshal(r)
	if err != nil {
		return "", fmt.Errorf("encode audit record %d: %w", r.Sequence, err)
	}
	canonical, err := canonicalise(text, "hash")
	if err != nil {
		return "", fmt.Errorf("audit record %d: %w", r.Sequence, err)
	}
	sum := sha256.Sum256(canonical)
	return hex.EncodeToString(sum[:]), nil
}

// What can be wrong with a chain. A Fault wraps one of them.
var (
	// ErrChanged says that a record is not what it was when it was written.
	ErrChanged = errors.New("was changed after it was written")
	// ErrMissing says that records in the middle are gone.
	ErrMissing = errors.New("does not follow: records before it were removed")
	// ErrOrder says that records are not in the order of their numbers, or appear twice.
	ErrOrder = errors.New("is out of order or appears twice")
	// ErrBase says that the first record does not continue the base.
	ErrBase = errors.New("does not continue the base: the front of the log was removed or replaced")
	// ErrTruncated says that the log ends before a record that was seen before.
	ErrTruncated = errors.New("is gone: the end of the log was cut off")
	// ErrRewritten says that the log is consistent but another than the one that was seen before.
	ErrRewritten = errors.New("has another hash than it had: the log was written anew")
)

// Fault says at which record a chain is broken.
type Fault struct {
	Sequence int64
	Err      error // one of the above
}

// Error names the record.
func (f *Fault) Error() string { return fmt.Sprintf("audit record %d %v", f.Sequence, f.Err) }

// Unwrap returns the kind of fault.
func (f *Fault) Unwrap() error { return f.Err }

// Verifier checks records one after the other, so that a log of any length is verified in constant memory. It is used by one goroutine.
type Verifier struct {
	base, last Point
	remembered Point // zero: none
}

// NewVerifier expects the records after base. remembered is a point that the caller has seen in this log before (the head of an
// earlier verification), or the zero Point.
func NewVerifier(base, remembered Point) *Verifier {
	return &Verifier{base: base, last: base, remembered: remembered}
}

// Add checks the next record. After an error the verifier is of no more use.
func (v *Verifier) Add(r Record) error {
	first := v.last == v.base
	switch {
	case r.Sequence <= v.last.Sequence:
		return &Fault{r.Sequence, ErrOrder}
	case first && (r.Sequence != v.last.Sequence+1 || r.PreviousHash != v.last.Hash):
		return &Fault{r.Sequence, ErrBase}
	case r.Sequence != v.last.Sequence+1:
		return &Fault{r.Sequence, ErrMissing}
	case r.PreviousHash != v.last.Hash: // the record before has a hash of its own that fits its text
		return &Fault{v.last.Sequence, ErrChanged}
	}
	hash, err := digest(r)
	if err != nil || hash != r.Hash {
		return &Fault{r.Sequence, ErrChanged}
	}
	if r.Sequence == v.remembered.Sequence && r.Hash != v.remembered.Hash {
		return &Fault{r.Sequence, ErrRewritten}
	}
	v.last = PointOf(r)
	return nil
}

// End says that there are no more records. It returns the head, which is worth remembering.
func (v *Verifier) End() (Point, error) {
	switch {
	case v.remembered.Sequence > v.last.Sequence:
		return v.last, &Fault{v.remembered.Sequence, ErrTruncated}
	case v.remembered.Sequence == v.base.Sequence && v.remembered != (Point{}) && v.remembered.Hash != v.base.Hash:
		return v.last, &Fault{v.base.Sequence, ErrRewritten}
	}
	return v.last, nil
}

// Verify checks a whole log that continues base.
func Verify(records []Record, base Point) error {
	_, err := VerifySince(records, base, Point{})
	return err
}

// VerifySince is Verify for a reader who remembers a point of the log: it also finds an end that was cut off and a log that was
// written anew. It returns the head.
func VerifySince(records []Record, base, remembered Point) (Point, error) {
	v := NewVerifier(base, remembered)
	for _, r := range records {
		if err := v.Add(r); err != nil {
			return v.last, err
		}
	}
	return v.End()
}
