// Package etcd implements the manager's store on etcd: a client for any etcd
// from 3.4 on, a server inside the process for installations of one machine,
// and the connection to an external cluster.
//
// Apart from services/replica it is the only package that may import etcd. It
// must not know resources.
package etcd

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/manager/store"
)

// Store is a store.Store on an etcd client.
type Store struct {
	client   *clientv3.Client // constant
	timeout  time.Duration    // constant: of one request
	leases   leases
	progress progress
	watches  atomic.Int64 // opened so far
}

var _ store.Store = (*Store)(nil)

// NewStore wraps a client, which stays the caller's to close.
func NewStore(client *clientv3.Client) *Store {
	return &Store{client: client, timeout: operationTimeout, leases: newLeases(client)}
}

// Get returns one key.
func (s *Store) Get(ctx context.Context, key string) (store.Entry, error) {
	opCtx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	r, err := s.client.Get(opCtx, key)
	if err != nil {
		return store.Entry{}, classify(ctx, "get "+key, err)
	}
	if len(r.Kvs) == 0 {
		return store.Entry{}, fmt.Errorf("get %s: %w", key, store.ErrNotFound)
	}
	return entryOf(r.Kvs[0]), nil
}

// Count returns how many keys begin with a prefix.
func (s *Store) Count(ctx context.Context, prefix string) (int64, error) {
	opCtx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	r, err := s.client.Get(opCtx, prefix, clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err != nil {
		return 0, classify(ctx, "count "+prefix, err)
	}
	return r.Count, nil
}

// Create writes a key that must not exist.
func (s *Store) Create(ctx context.Context, key string, value []byte) (int64, error) {
	return s.Commit(ctx, store.Transaction{
		Conditions: []store.Condition{store.Absent(key)},
		Writes:     []store.Write{store.Put(key, value)},
	})
}

// Update writes a key that must be at a revision.
func (s *Store) Update(ctx context.Context, key string, value []byte, revision int64) (int64, error) {
	if revision == 0 {
		return 0, fmt.Errorf("%w: update of %s without a revision", store.ErrTransaction, key)
	}
	return s.Commit(ctx, store.Transaction{
		Conditions: []store.Condition{store.AtRevision(key, revision)},
		Writes:     []store.Write{store.Put(key, value)},
	})
}

// Delete removes a key that must be at a revision.
func (s *Store) Delete(ctx context.Context, key string, revision int64) (int64, error) {
	if revision == 0 {
		return 0, fmt.Errorf("%w: deletion of %s without a revision", store.ErrTransaction, key)
	}
	return s.Commit(ctx, store.Transaction{
		Conditions: []store.Condition{store.AtRevision(key, revision)},
		Writes:     []store.Write{store.Remove(key)},
	})
}

// Commit does all writes at one revision, or none. The entries that explain a
// failure are read inside the same etcd transaction.
func (s *Store) Commit(ctx context.Context, t store.Transaction) (int64, error) {
	if err := t.Validate(); err != nil {
		return 0, err
	}
	revision, err := s.commit(ctx, t)
	if isLeaseGone(err) { // etcd forgot a lease before its time; nothing was written
		s.leases.forget()
		revision, err = s.commit(ctx, t)
	}
	return revision, err
}

func (s *Store) commit(ctx context.Context, t store.Transaction) (int64, error) {
	opCtx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	compares, reads := conditionsOf(t.Conditions)
	writes := make([]clientv3.Op, 0, len(t.Writes))
	for _, w := range t.Writes {
		if w.Delete {
			writes = append(writes, clientv3.OpDelete(w.Key))
			continue
		}
		var opts []clientv3.OpOption
		if w.TTL > 0 {
			lease, err := s.leases.get(opCtx, w.TTL)
			if err != nil {
				return 0, classify(ctx, "commit", err)
			}
			opts = append(opts, clientv3.WithLease(lease))
		}
		writes = append(writes, clientv3.OpPut(w.Key, string(w.Value), opts...))
	}
	r, err := s.client.Txn(opCtx).If(compares...).Then(writes...).Else(reads...).Commit()
	if err != nil {
		return 0, classify(ctx, "commit", err)
	}
	if !r.Succeeded {
		return 0, explain(t.Conditions, r)
	}
	return r.Header.Revision, nil
}

// conditionsOf translates conditions into comparisons, and into the reads that
// explain which of them failed.
func conditionsOf(conditions []store.Condition) (compares []clientv3.Cmp, reads []clientv3.Op) {
	for _, c := range conditions {
		compares = append(compares, compareOf(c))
		read := clientv3.OpGet(c.Key)
		if c.Prefix {
			read = clientv3.OpGet(c.Key, clientv3.WithPrefix(), clientv3.WithLimit(1))
		}
		reads = append(reads, read)
	}
	return compares, reads
}

// compareOf translates a condition. The create revision of an absent key
// compares as 0, and a comparison over a range holds if it holds for each key.
func compareOf(c store.Condition) clientv3.Cmp {
	switch {
	case c.Prefix:
		return clientv3.Compare(clientv3.CreateRevision(c.Key), "=", 0).WithPrefix()
	case c.Any:
		return clientv3.Compare(clientv3.CreateRevision(c.Key), ">", 0)
	default:
		return clientv3.Compare(clientv3.ModRevision(c.Key), "=", c.Revision)
	}
}

func explain(conditions []store.Condition, r *clientv3.TxnResponse) error {
	for i, c := range conditions {
		if i >= len(r.Responses) {
			break
		}
		var found store.Entry
		if kvs := r.Responses[i].GetResponseRange().GetKvs(); len(kvs) > 0 {
			found = entryOf(kvs[0])
		}
		if !c.Holds(found) {
			return &store.ConditionError{Condition: c, Current: found}
		}
	}
	return fmt.Errorf("commit: %w: etcd refused without a reason", store.ErrConflict)
}

// Revision returns the revision of the whole store by one linearizable read.
// The key is one that a user of etcd with rights on CYPHONIC's keys only can
// read.
func (s *Store) Revision(ctx context.Context) (int64, error) {
	opCtx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	r, err := s.client.Get(opCtx, keyspace.Schema, clientv3.WithKeysOnly())
	if err != nil {
		return 0, classify(ctx, "read the revision", err)
	}
	return r.Header.Revision, nil
}

// Ping does one linearizable read.
func (s *Store) Ping(ctx context.Context) error {
	if _, err := s.Revision(ctx); err != nil {
		return fmt.Errorf("ping: %w", err)
	}
	return nil
}

func entryOf(kv *mvccpb.KeyValue) store.Entry {
	return store.Entry{
		Key: string(kv.Key), Value: kv.Value,
		CreateRevision: kv.CreateRevision, Revision: kv.ModRevision,
	}
}

// classify maps etcd's errors to the store's. ctx is the caller's context:
// its end is not the store's fault.
func classify(ctx context.Context, operation string, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	switch {
	case errors.Is(err, rpctypes.ErrCompacted), errors.Is(err, rpctypes.ErrFutureRev):
		return fmt.Errorf("%s: %w", operation, store.ErrCompacted)
	case errors.Is(err, rpctypes.ErrAuthOldRevision), errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled),
		errors.Is(err, clientv3.ErrNoAvailableEndpoints):
		return fmt.Errorf("%s: %w: %w", operation, store.ErrUnavailable, err)
	}
	switch codeOf(err) {
	case codes.Unavailable, codes.DeadlineExceeded, codes.ResourceExhausted, codes.Canceled, codes.Internal, codes.Aborted, codes.Unknown,
		codes.Unauthenticated, codes.PermissionDenied:
		return fmt.Errorf("%s: %w: %w", operation, store.ErrUnavailable, err)
	}
	return fmt.Errorf("%s: %w", operation, err)
}

// classifyIf is classify where there may be no error.
func classifyIf(ctx context.Context, operation string, err error) error {
	if err == nil {
		return nil
	}
	return classify(ctx, operation, err)
}

func isLeaseGone(err error) bool { return errors.Is(err, rpctypes.ErrLeaseNotFound) }

func codeOf(err error) codes.Code {
	var e rpctypes.EtcdError
	if errors.As(err, &e) {
		return e.Code()
	}
	return status.Code(err)
}
