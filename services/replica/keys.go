package replica

import (
	"context"
	"fmt"
	"io"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/cyphonic/cyphonic/internal/keyspace"
)

// EnsureKeys makes sure that etcd holds a key for every purpose, creates those
// that are missing and rotates those that are due. Any number of replicas may
// do so at once: of several creations exactly one takes effect.
func (r *Replica) EnsureKeys(ctx context.Context) error {
	for _, p := range keyspace.Purposes() {
		if err := r.ensureKey(ctx, p); err != nil {
			return fmt.Errorf("ensure the %s key: %w", p, err)
		}
	}
	return nil
}

func (r *Replica) ensureKey(ctx context.Context, p keyspace.Purpose) error {
	prefix := keyspace.KeyPrefix(p)
	got, err := r.client.Get(ctx, prefix, clientv3.WithPrefix())
	if err != nil {
		return err
	}
	var records []keyspace.KeyRecord
	var newest int64
	for _, kv := range got.Kvs {
		newest = max(newest, kv.ModRevision)
		record, err := keyspace.Decode[keyspace.KeyRecord](kv.Value)
		if err != nil {
			return fmt.Errorf("%s: %w", kv.Key, err)
		}
		records = append(records, record)
	}
	create, remove, err := planKeys(r.rand, records, r.now())
	if err != nil || create == nil {
		return err
	}
	// Nobody else has added a key since the read: in an empty range etcd
	// compares with 0, otherwise every key of the range must satisfy.
	unchanged := clientv3.Compare(clientv3.ModRevision(prefix), "<", newest+1).WithPrefix()
	ops := []clientv3.Op{clientv3.OpPut(keyspace.Key(p, create.ID), string(keyspace.Encode(*create)))}
	for _, id := range remove {
		ops = append(ops, clientv3.OpDelete(keyspace.Key(p, id)))
	}
	done, err := r.client.Txn(ctx).If(unchanged).Then(ops...).Commit()
	if err != nil {
		return err
	}
	if done.Succeeded {
		r.log.Info("shared key created", "purpose", string(p), "key", create.ID, "removed", len(remove))
	}
	return nil
}

// planKeys decides what to do about the keys of one purpose: which key to
// create and which to remove with it. A new key becomes active only after
// keyActivationDelay, when every replica has seen it; the first key of all is
// active at once.
func planKeys(rand io.Reader, records []keyspace.KeyRecord, now time.Time) (create *keyspace.KeyRecord, remove []uint32, err error) {
	for _, r := range records {
		if now.Sub(r.Created) < keyRotationInterval {
			return nil, nil, nil
		}
	}
	record, err := keyspace.NewKeyRecord(rand, now)
	if err != nil {
		return nil, nil, err
	}
	if len(records) > 0 {
		record.ActiveFrom = now.Add(keyActivationDelay).UTC()
	}
	for _, r := range records {
		if now.Sub(r.Created) > keyRetention {
			remove = append(remove, r.ID)
		}
	}
	// The youngest key stays whatever its age: it seals until the new one is active.
	if youngest := keyspace.Order(records, now); len(youngest) > 0 {
		remove = without(remove, youngest[0].ID)
	}
	return &record, remove, nil
}

func without(ids []uint32, id uint32) []uint32 {
	var out []uint32
	for _, x := range ids {
		if x != id {
			out = append(out, x)
		}
	}
	return out
}
