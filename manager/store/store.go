// Package store is the contract of the manager's database: keys with values,
// one revision counter over all of them, transactions over several keys, and
// watches that resume from a revision.
//
// The package holds the contract only. It must not know resources or etcd;
// implementations live below it (etcd) and pass the suite in storetest.
package store

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Errors that callers branch on. Implementations wrap them.
var (
	// ErrNotFound says that a key that must exist does not.
	ErrNotFound = errors.New("not found")
	// ErrExists says that a key that must not exist does.
	ErrExists = errors.New("already exists")
	// ErrConflict says that a key was changed since the expected revision.
	ErrConflict = errors.New("changed in the meantime")
	// ErrCompacted says that a revision cannot be served (any more): list
	// again and watch from the revision of that list.
	ErrCompacted = errors.New("revision is no longer available")
	// ErrUnavailable says that the database did not answer in time. A write
	// that failed so may or may not have happened.
	ErrUnavailable = errors.New("store is unavailable")
)

// Entry is a key with its value.
type Entry struct {
	Key   string
	Value []byte // owned by the caller
	// CreateRevision is the revision that created the key, Revision the one
	// that last wrote it.
	CreateRevision, Revision int64
}

// Listing is the answer to a list.
type Listing struct {
	Entries []Entry // ordered by key
	// Revision is the revision of the whole store at which Entries is
	// complete: a watch that starts after it misses nothing.
	Revision int64
	// More says that ListOptions.Limit left entries out: list again with
	// After the last key at this Revision.
	More bool
}

// ListOptions selects what List returns. The zero value is everything, now.
type ListOptions struct {
	Revision int64  // the revision to list at; 0 is the newest
	KeysOnly bool   // leave Entry.Value empty
	Limit    int    // at most so many entries; 0 is all of them
	After    string // only keys after this one, in the order of bytes
}

// EventType says what happened to a key.
type EventType uint8

// What happens to a key.
const (
	EventPut    EventType = iota + 1 // created or updated
	EventDelete                      // deleted
)

// Event is one change of one key.
type Event struct {
	Type EventType
	// Entry is the state after the change. For EventDelete it has only Key
	// and Revision, the revision of the deletion.
	Entry Entry
	// Previous is the state before the change. It is the zero Entry if the
	// key was created, or if the state before has been compacted away.
	Previous Entry
}

// Created says that the event put a key that did not exist.
func (e Event) Created() bool {
	return e.Type == EventPut && e.Entry.CreateRevision == e.Entry.Revision
}

// Batch is what a Watcher delivers at once: all changes of one or more
// revisions, in order. The changes of one transaction are never parted.
type Batch struct {
	Events   []Event
	Revision int64 // everything up to it has been delivered
}

// Watcher delivers changes. It is used by one goroutine.
type Watcher interface {
	// Next waits for changes. The error is ctx.Err(), after which the watcher
	// may go on, or wraps ErrCompacted or ErrUnavailable, and then it is over.
	Next(ctx context.Context) (Batch, error)
	// Progress asks that Next soon delivers a batch, if need be without
	// events, whose Revision is not less than that of the store now. The
	// request may get lost: who waits repeats it. It may be called while
	// another goroutine is in Next.
	Progress(ctx context.Context) error
	// Close ends the watch and frees its resources. It may be called twice.
	Close()
}

// Leadership is the office of a leader. It ends by Resign, by the end of the
// context that it was won with, or because the store does not hear from its
// holder for the time to live that was agreed.
type Leadership interface {
	// Condition holds as long as nobody else can have become the leader. Put
	// it into every transaction that only a leader may do: a former leader
	// that does not know yet that it is one then writes nothing.
	Condition() Condition
	// Lost is closed when the office has ended.
	Lost() <-chan struct{}
	// Resign gives the office up, so that another need not wait for its end.
	Resign(ctx context.Context) error
}

// Store is the database. It is safe for concurrent use. Methods return
// ctx.Err() if ctx ended, else errors that wrap the sentinels above.
type Store interface {
	// Get returns one key, or ErrNotFound.
	Get(ctx context.Context, key string) (Entry, error)
	// List returns the keys that begin with prefix, or ErrCompacted.
	List(ctx context.Context, prefix string, o ListOptions) (Listing, error)
	// Count returns how many keys begin with prefix.
	Count(ctx context.Context, prefix string) (int64, error)
	// Create writes a key that must not exist (ErrExists) and returns the
	// revision of the write.
	Create(ctx context.Context, key string, value []byte) (int64, error)
	// Update writes a key that must be at a revision (ErrConflict,
	// ErrNotFound) and returns the revision of the write.
	Update(ctx context.Context, key string, value []byte, revision int64) (int64, error)
	// Delete removes a key that must be at a revision (ErrConflict,
	// ErrNotFound) and returns the revision of the deletion.
	Delete(ctx context.Context, key string, revision int64) (int64, error)
	// Commit does all writes of a transaction at one revision, which it
	// returns, or none. If a condition does not hold the error is a
	// *ConditionError.
	Commit(ctx context.Context, t Transaction) (int64, error)
	// Watch delivers the changes of the keys that begin with prefix, from
	// the first after the revision on.
	Watch(ctx context.Context, prefix string, after int64) (Watcher, error)
	// Revision returns the revision of the whole store: not less than that of
	// any write that had been acknowledged when Revision was called.
	Revision(ctx context.Context) (int64, error)
	// Lead waits until holder, a text for people, is the leader for a name.
	// There is at most one at any time. ttl, at least a second, is how long a
	// leader that has gone away stands in the way of the next.
	Lead(ctx context.Context, name, holder string, ttl time.Duration) (Leadership, error)
	// Ping returns nil if a linearizable read succeeds.
	Ping(ctx context.Context) error
}

// MaxConditions and MaxWrites bound a transaction: what every etcd accepts by
// default (--max-txn-ops).
const (
	MaxConditions = 128
	MaxWrites     = 128
)

// ErrTransaction says that a transaction is malformed: a fault of the program.
var ErrTransaction = errors.New("malformed transaction")

// Transaction is a set of conditions and of writes to different keys.
type Transaction struct {
	Conditions []Condition
	Writes     []Write
}

// Condition must hold for a transaction to happen. Use its constructors.
type Condition struct {
	Key      string
	Prefix   bool  // no key begins with Key
	Any      bool  // Key exists, at any revision
	Revision int64 // otherwise: Key is at this revision; 0: it does not exist
}

// Absent demands that a key does not exist.
func Absent(key string) Condition { return Condition{Key: key} }

// AbsentBelow demands that no key begins with a prefix.
func AbsentBelow(prefix string) Condition { return Condition{Key: prefix, Prefix: true} }

// Present demands that a key exists.
func Present(key string) Condition { return Condition{Key: key, Any: true} }

// AtRevision demands that a key was last written by a revision.
func AtRevision(key string, revision int64) Condition {
	return Condition{Key: key, Revision: revision}
}

// Write puts or deletes one key. Deleting an absent key is no error.
type Write struct {
	Key    string
	Value  []byte
	Delete bool
	// TTL, if it is not 0, is how long a put key lives: it goes by itself, not
	// before, and not much later than a tenth of TTL after it. The next write
	// of the key decides anew.
	TTL time.Duration
}

// Put writes a key.
func Put(key string, value []byte) Write { return Write{Key: key, Value: value} }

// PutFor writes a key that goes by itself after a time.
func PutFor(key string, value []byte, ttl time.Duration) Write {
	return Write{Key: key, Value: value, TTL: ttl}
}

// Remove deletes a key.
func Remove(key string) Write { return Write{Key: key, Delete: true} }

// Validate checks the bounds that an implementation relies on.
func (t Transaction) Validate() error {
	if len(t.Conditions) > MaxConditions || len(t.Writes) > MaxWrites || len(t.Writes) == 0 {
		return fmt.Errorf("%w: %d conditions, %d writes", ErrTransaction, len(t.Conditions), len(t.Writes))
	}
	seen := make(map[string]bool, len(t.Writes))
	for _, w := range t.Writes {
		if w.Key == "" || seen[w.Key] {
			return fmt.Errorf("%w: key %q is empty or written twice", ErrTransaction, w.Key)
		}
		if w.TTL < 0 || (w.Delete && w.TTL != 0) {
			return fmt.Errorf("%w: key %q is to live for %v", ErrTransaction, w.Key, w.TTL)
		}
		seen[w.Key] = true
	}
	for _, c := range t.Conditions {
		if c.Key == "" || c.Revision < 0 {
			return fmt.Errorf("%w: condition on %q at revision %d", ErrTransaction, c.Key, c.Revision)
		}
	}
	return nil
}

// ConditionError says which condition of a transaction did not hold.
type ConditionError struct {
	Condition Condition
	// Current is what stands in the way: the entry of the key, or the first
	// entry below the prefix. It is the zero Entry if the key is absent.
	Current Entry
}

// Error names the key and what is wrong with it.
func (e *ConditionError) Error() string {
	return fmt.Sprintf("%s: %v", e.Condition.Key, e.Unwrap())
}

// Unwrap returns ErrExists, ErrNotFound or ErrConflict.
func (e *ConditionError) Unwrap() error {
	switch {
	case e.Current.Key == "":
		return ErrNotFound
	case e.Condition.Prefix || (e.Condition.Revision == 0 && !e.Condition.Any):
		return ErrExists
	default:
		return ErrConflict
	}
}

// Holds says whether the condition holds where found is the entry of its key
// (or the first entry below its prefix), or the zero Entry if there is none.
func (c Condition) Holds(found Entry) bool {
	switch {
	case c.Prefix:
		return found.Key == ""
	case c.Any:
		return found.Key != ""
	default:
		return found.Revision == c.Revision
	}
}
