// Package fence lets the leader's writes happen only as long as it leads: a
// store that adds the condition of the office to every write whose context
// carries it. A leader that was suspended, and wakes up when another has taken
// over, therefore writes nothing, whatever it is in the middle of.
//
// Whoever leads works with a context from With; everything below it, the REST
// API inside the process included, then writes fenced without knowing it. The
// package must not know who leads or why.
package fence

import (
	"context"
	"errors"
	"fmt"

	"github.com/cyphonic/cyphonic/manager/store"
)

// ErrNotLeading says that the office that a write depends on has passed to
// somebody else. It is a case of store.ErrUnavailable: who asked may ask the
// new leader.
var ErrNotLeading = fmt.Errorf("another manager leads now: %w", store.ErrUnavailable)

type conditionKey struct{}

// With returns a context whose writes happen only if the condition holds.
func With(ctx context.Context, c store.Condition) context.Context {
	return context.WithValue(ctx, conditionKey{}, c)
}

// Store is a store with fenced writes.
type Store struct{ store.Store }

// New returns the store with fenced writes.
func New(s store.Store) *Store { return &Store{s} }

// Create writes a key that must not exist.
func (s *Store) Create(ctx context.Context, key string, value []byte) (int64, error) {
	if _, ok := conditionOf(ctx); !ok {
		return s.Store.Create(ctx, key, value)
	}
	return s.Commit(ctx, store.Transaction{Conditions: []store.Condition{store.Absent(key)}, Writes: []store.Write{store.Put(key, value)}})
}

// Update writes a key that must be at a revision.
func (s *Store) Update(ctx context.Context, key string, value []byte, revision int64) (int64, error) {
	if _, ok := conditionOf(ctx); !ok {
		return s.Store.Update(ctx, key, value, revision)
	}
	return s.Commit(ctx, store.Transaction{Conditions: []store.Condition{store.AtRevision(key, revision)}, Writes: []store.Write{store.Put(key, value)}})
}

// Delete removes a key that must be at a revision.
func (s *Store) Delete(ctx context.Context, key string, revision int64) (int64, error) {
	if _, ok := conditionOf(ctx); !ok {
		return s.Store.Delete(ctx, key, revision)
	}
	return s.Commit(ctx, store.Transaction{Conditions: []store.Condition{store.AtRevision(key, revision)}, Writes: []store.Write{store.Remove(key)}})
}

// Commit does a transaction.
func (s *Store) Commit(ctx context.Context, t store.Transaction) (int64, error) {
	c, ok := conditionOf(ctx)
	if !ok {
		return s.Store.Commit(ctx, t)
	}
	// First, so that it is the one that is reported.
	t.Conditions = append([]store.Condition{c}, t.Conditions...)
	revision, err := s.Store.Commit(ctx, t)
	var failed *store.ConditionError
	if errors.As(err, &failed) && failed.Condition == c {
		return 0, ErrNotLeading
	}
	return revision, err
}

func conditionOf(ctx context.Context) (store.Condition, bool) {
	c, ok := ctx.Value(conditionKey{}).(store.Condition)
	return c, ok
}
