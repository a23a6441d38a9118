package etcd

import (
	"context"
	"errors"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"

	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/manager/store"
)

// leadership is an office: a key that goes with the lease of its holder. The
// holder creates the key and nobody updates it, so that its revision names one
// term of office and no other.
type leadership struct {
	store    *Store
	session  *concurrency.Session // keeps the lease alive
	key      string
	revision int64
}

// Lead waits until holder is the leader for a name.
func (s *Store) Lead(ctx context.Context, name, holder string, ttl time.Duration) (store.Leadership, error) {
	if name == "" || ttl < minTTL {
		return nil, fmt.Errorf("%w: leader for %q with a time to live of %v", store.ErrTransaction, name, ttl)
	}
	session, err := s.session(ctx, ttl)
	if err != nil {
		return nil, classify(ctx, "lead "+name, err)
	}
	l := &leadership{store: s, session: session, key: keyspace.Leader(name)}
	if err := l.campaign(ctx, keyspace.LeaderRecord{Holder: holder}); err != nil {
		// The key may have been written after all: without its lease it goes.
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.timeout)
		defer cancel()
		_ = l.Resign(end) // else the lease ends by itself
		return nil, classify(ctx, "lead "+name, err)
	}
	return l, nil
}

// session grants a lease and keeps it alive until ctx ends.
func (s *Store) session(ctx context.Context, ttl time.Duration) (*concurrency.Session, error) {
	opCtx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	seconds := (ttl + time.Second - 1) / time.Second
	lease, err := s.client.Grant(opCtx, int64(seconds))
	if err != nil {
		return nil, err
	}
	return concurrency.NewSession(s.client, concurrency.WithContext(ctx), concurrency.WithLease(lease.ID), concurrency.WithTTL(int(seconds)))
}

// campaign creates the key as soon as it does not exist.
func (l *leadership) campaign(ctx context.Context, r keyspace.LeaderRecord) error {
	for {
		standing, err := l.create(ctx, r)
		if err != nil || standing == 0 {
			return err
		}
		if err := l.awaitVacancy(ctx, standing); err != nil {
			return err
		}
	}
}

// create creates the key, or returns the revision at which another's stands.
func (l *leadership) create(ctx context.Context, r keyspace.LeaderRecord) (standing int64, err error) {
	opCtx, cancel := context.WithTimeout(ctx, l.store.timeout)
	defer cancel()
	got, err := l.store.client.Txn(opCtx).
		If(clientv3.Compare(clientv3.CreateRevision(l.key), "=", 0)).
		Then(clientv3.OpPut(l.key, string(keyspace.Encode(r)), clientv3.WithLease(l.session.Lease()))).
		Commit()
	if err != nil {
		return 0, err
	}
	if !got.Succeeded {
		return got.Header.Revision, nil
	}
	l.revision = got.Header.Revision
	return 0, nil
}

// awaitVacancy waits until the key that stood at a revision is deleted, or for
// so long that it is time to look again: an event that never comes must not
// keep an office empty.
func (l *leadership) awaitVacancy(ctx context.Context, revision int64) error {
	waitCtx, cancel := context.WithTimeout(ctx, vacancyRetry)
	defer cancel()
	defer context.AfterFunc(l.session.Ctx(), cancel)()
	w, err := l.store.Watch(waitCtx, l.key, revision)
	if err != nil {
		return err
	}
	defer w.Close()
	for {
		b, err := w.Next(waitCtx)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(waitCtx.Err(), context.DeadlineExceeded):
			return nil // look again
		case waitCtx.Err() != nil:
			return fmt.Errorf("%w: the lease of the candidate has ended", store.ErrUnavailable)
		case errors.Is(err, store.ErrCompacted):
			return nil // look again
		case err != nil:
			return err
		}
		for _, e := range b.Events {
			if e.Type == store.EventDelete && e.Entry.Key == l.key {
				return nil
			}
		}
	}
}

// Condition holds during this term of office.
func (l *leadership) Condition() store.Condition { return store.AtRevision(l.key, l.revision) }

// Lost is closed when the lease is not kept alive any more.
func (l *leadership) Lost() <-chan struct{} { return l.session.Done() }

// Resign ends the lease, and with it the key.
func (l *leadership) Resign(ctx context.Context) error {
	l.session.Orphan() // stops keeping it alive
	opCtx, cancel := context.WithTimeout(ctx, l.store.timeout)
	defer cancel()
	_, err := l.store.client.Revoke(opCtx, l.session.Lease())
	if err != nil && !isLeaseGone(err) {
		return classify(ctx, "resign", err)
	}
	return nil
}
