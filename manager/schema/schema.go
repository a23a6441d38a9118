// Package schema carries the database from the layout of an older manager to
// that of this one, and keeps this one away from a database that a newer one
// has taken over.
//
// The layout has a version, stored at keyspace.Schema; a database without it
// has version 1. A migration leads from one version to the next and never back.
// Each runs as leader: every write is fenced, so that of several managers that
// start at once one migrates and the others wait. A migration may be cut off at
// any point, and done again from its beginning.
//
// The package must not know how resources are served. Migrations keep their own
// copies of the shapes that they write: a migration is never changed.
package schema

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/manager/store"
)

// Version is the layout that this program writes.
const Version = 2

// ErrNewer says that a newer manager has taken over the database.
var ErrNewer = errors.New("the database has a newer layout")

const (
	// office is the name that the managers elect a leader for.
	office = "schema"
	// officeTTL is how long a manager that died in a migration stands in the
	// way of the next.
	officeTTL = 15 * time.Second
	// retryInterval is how long to wait before the store is tried again.
	retryInterval = time.Second
)

// Options is what Ensure needs.
type Options struct {
	Store  store.Store
	Holder string    // who migrates, for people
	Rand   io.Reader // for the identifiers of what is created
	Now    func() time.Time
	Log    *slog.Logger
}

// Ensure returns nil when the database has the layout of this program. It
// migrates, or waits until another manager has, and tries again as long as the
// store is not available. The error wraps ErrNewer or is ctx.Err().
func Ensure(ctx context.Context, o Options) error {
	for {
		err := ensure(ctx, o)
		switch {
		case err == nil || errors.Is(err, ErrNewer):
			return err
		case ctx.Err() != nil:
			return ctx.Err()
		case !errors.Is(err, store.ErrUnavailable) && !errors.Is(err, errFenced):
			return err
		}
		o.Log.Warn("the layout of the database cannot be looked at yet", "err", err)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(retryInterval):
		}
	}
}

// errFenced says that another manager has become the leader meanwhile.
var errFenced = errors.New("another manager leads now")

func ensure(ctx context.Context, o Options) error {
	version, err := Read(ctx, o.Store)
	if err != nil || version == Version {
		return err
	}
	termCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	term, err := o.Store.Lead(termCtx, office, o.Holder, officeTTL)
	if err != nil {
		return err
	}
	defer func() {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), officeTTL)
		defer cancel()
		if err := term.Resign(end); err != nil {
			o.Log.Warn("the office of the migration ends by itself", "err", err)
		}
	}()
	return migrate(ctx, o, term.Condition())
}

// Read returns the version of the layout. The error wraps ErrNewer if this
// program must not touch the database.
func Read(ctx context.Context, s store.Store) (int, error) {
	version, _, err := read(ctx, s)
	return version, err
}

// read returns also the condition that the version stays so.
func read(ctx context.Context, s store.Store) (int, store.Condition, error) {
	e, err := s.Get(ctx, keyspace.Schema)
	if errors.Is(err, store.ErrNotFound) {
		return 1, store.Absent(keyspace.Schema), nil
	}
	if err != nil {
		return 0, store.Condition{}, fmt.Errorf("read the version of the layout: %w", err)
	}
	r, err := keyspace.Decode[keyspace.SchemaRecord](e.Value)
	if err != nil || r.Version < 1 {
		return 0, store.Condition{}, fmt.Errorf("%s: %w", keyspace.Schema, keyspace.ErrRecord)
	}
	return r.Version, store.AtRevision(keyspace.Schema, e.Revision), Supported(r.Version)
}

// Supported returns an error that wraps ErrNewer if the version is one that
// this program does not know.
func Supported(version int) error {
	if version <= Version {
		return nil
	}
	return fmt.Errorf("%w: version %d, this program knows %d: install the release that wrote it, or a later one", ErrNewer, version, Version)
}

// migrate does the migrations that are missing, in order, as leader.
func migrate(ctx context.Context, o Options, fence store.Condition) error {
	for {
		version, unchanged, err := read(ctx, o.Store)
		if err != nil || version == Version {
			return err
		}
		m, ok := migrations()[version]
		if !ok {
			return fmt.Errorf("no migration leads on from version %d", version)
		}
		start := time.Now()
		if err := m(ctx, work{Options: o, fence: fence}); err != nil {
			return fmt.Errorf("migrate from version %d: %w", version, err)
		}
		record := keyspace.Encode(keyspace.SchemaRecord{Version: version + 1})
		_, err = o.Store.Commit(ctx, store.Transaction{
			Conditions: []store.Condition{fence, unchanged},
			Writes:     []store.Write{store.Put(keyspace.Schema, record)},
		})
		if err != nil {
			return asFenced(err, fence)
		}
		o.Log.Info("the database has been migrated", "version", version+1, "took", time.Since(start).Round(time.Millisecond))
	}
}

// work is what a migration works with.
type work struct {
	Options
	fence store.Condition
}

// migration leads from one version to the next.
type migration func(ctx context.Context, w work) error

// migrations are the migrations by the version that they begin at.
func migrations() map[int]migration { return map[int]migration{1: addRoles} }

// create writes a key unless it exists, as leader.
func (w work) create(ctx context.Context, key string, value []byte) error {
	_, err := w.Store.Commit(ctx, store.Transaction{
		Conditions: []store.Condition{w.fence, store.Absent(key)},
		Writes:     []store.Write{store.Put(key, value)},
	})
	if err = asFenced(err, w.fence); errors.Is(err, store.ErrExists) {
		return nil
	}
	return err
}

func asFenced(err error, fence store.Condition) error {
	var failed *store.ConditionError
	if errors.As(err, &failed) && failed.Condition == fence {
		return errFenced
	}
	return err
}
