package replica

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"
)

// LeasedRecordOptions say what a LeasedRecord writes. All fields are required.
type LeasedRecordOptions struct {
	Client *Client
	Key    string
	TTL    time.Duration // how long the key outlives a writer that is killed; at least 2 s, in whole seconds
	Log    *slog.Logger
}

// LeasedRecord keeps one key in etcd for as long as its writer lives: it goes when Run ends, and TTL after the process
// was killed. After an outage of etcd, also one that cost the lease, the last value is written again. Of two writers of
// one key the one that began later has it; the other waits until it is gone.
type LeasedRecord struct {
	// constant
	client *Client
	key    string
	ttl    time.Duration
	log    *slog.Logger
	wake   chan struct{} // of size 1

	// owned by the goroutine that writes
	verified time.Time        // that the key is there
	put      uint64           // the version that was written; 0: none yet
	under    clientv3.LeaseID // the lease under which it was written
	foreign  bool             // another writer has the key

	mu      sync.Mutex
	lease   clientv3.LeaseID // 0: none
	renewed time.Time        // the lease
	value   []byte
	version uint64 // counts the values
	first   int64  // revision of the first write; 0: none yet
	written uint64 // the version that etcd is known to have; 0: none
	change  chan struct{}
	leave   bool
}

// NewLeasedRecord returns a LeasedRecord without a value: the key appears when there is one and Run runs.
func NewLeasedRecord(o LeasedRecordOptions) *LeasedRecord {
	return &LeasedRecord{
		client: o.Client, key: o.Key, ttl: max(o.TTL, minLease), log: o.Log.With("key", o.Key),
		wake: make(chan struct{}, 1), change: make(chan struct{}),
	}
}

// Set makes value, which must not be changed afterwards, the value of the key as soon as etcd takes it. Of values that
// follow each other faster than that only the last one is written.
func (l *LeasedRecord) Set(value []byte) {
	l.mu.Lock()
	l.value, l.version = value, l.version+1
	l.mu.Unlock()
	l.poke()
}

func (l *LeasedRecord) poke() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// Written returns the revision of the first write, 0 before it.
func (l *LeasedRecord) Written() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.first
}

// Flush waits until etcd has the value that was set last.
func (l *LeasedRecord) Flush(ctx context.Context) error {
	for {
		l.mu.Lock()
		done, change := l.written == l.version, l.change
		l.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-change:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Withdraw removes the key and ends Run.
func (l *LeasedRecord) Withdraw() {
	l.mu.Lock()
	l.leave = true
	l.mu.Unlock()
	l.poke()
}

// Run writes until ctx ends or Withdraw is called, then removes the key and returns nil.
func (l *LeasedRecord) Run(ctx context.Context) error {
	var group errgroup.Group
	running, stop := context.WithCancel(ctx)
	// A renewal that takes long must not hold up a write, nor the other way round.
	group.Go(func() error { l.keepLease(running); return nil })
	group.Go(func() error { defer stop(); l.keepWriting(running); return nil })
	_ = group.Wait()
	l.revoke(ctx)
	return nil
}

func (l *LeasedRecord) keepWriting(ctx context.Context) {
	delay := retryMin
	for ctx.Err() == nil && !l.leaving() {
		wait := l.ttl / 4
		if err := l.step(ctx); err != nil && ctx.Err() == nil {
			l.log.Warn("leased record not written, trying again", "error", err, "delay", delay)
			wait, delay = delay, min(2*delay, leaseRetryMax)
		} else {
			delay = retryMin
		}
		l.await(ctx, wait)
	}
}

func (l *LeasedRecord) leaving() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.leave
}

// await waits for something to do.
func (l *LeasedRecord) await(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-l.wake:
	case <-timer.C:
	}
}

// step does what is due: a lease, the newest value, a look whether it is still there.
func (l *LeasedRecord) step(ctx context.Context) error {
	lease, err := l.takeLease(ctx)
	if err == nil {
		err = l.write(ctx, lease)
	}
	if errors.Is(err, rpctypes.ErrLeaseNotFound) {
		l.lost(lease)
	}
	return err
}

// lost takes note that a lease, and with it the key, is gone.
func (l *LeasedRecord) lost(lease clientv3.LeaseID) {
	l.mu.Lock()
	current := l.lease == lease
	if current {
		l.lease = 0
	}
	l.mu.Unlock()
	if current {
		l.note(0, 0)
	}
}

// note says which version etcd has.
func (l *LeasedRecord) note(version uint64, revision int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.written = version
	if l.first == 0 {
		l.first = revision
	}
	close(l.change)
	l.change = make(chan struct{})
}

// takeLease returns the lease, a new one if there is none.
func (l *LeasedRecord) takeLease(ctx context.Context) (clientv3.LeaseID, error) {
	if lease, _ := l.held(); lease != 0 {
		return lease, nil
	}
	ctx, cancel := context.WithTimeout(ctx, l.ttl/2)
	defer cancel()
	now := time.Now()
	granted, err := l.client.Grant(ctx, int64(l.ttl/time.Second))
	if err != nil {
		return 0, fmt.Errorf("take a lease: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lease, l.renewed = granted.ID, now
	return l.lease, nil
}

// held is the lease, if there is one, and when it was renewed last.
func (l *LeasedRecord) held() (clientv3.LeaseID, time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lease, l.renewed
}

// write brings the newest value into etcd.
func (l *LeasedRecord) write(ctx context.Context, lease clientv3.LeaseID) error {
	l.mu.Lock()
	value, version, started := l.value, l.version, l.first != 0
	l.mu.Unlock()
	if version == 0 || version == l.put && lease == l.under && !l.foreign && time.Since(l.verified) < l.ttl {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, l.ttl/2)
	defer cancel()
	put := clientv3.OpPut(l.key, string(value), clientv3.WithLease(lease))
	own := clientv3.Compare(clientv3.LeaseValue(l.key), "=", lease)
	absent := clientv3.Compare(clientv3.CreateRevision(l.key), "=", 0)
	txn := l.client.Txn(ctx).If(own).Then(put).Else(clientv3.OpTxn([]clientv3.Cmp{absent}, []clientv3.Op{put}, nil))
	if !started { // the key of an earlier process that was killed is taken over
		txn = l.client.Txn(ctx).Then(put)
	}
	done, err := txn.Commit()
	if err != nil {
		return fmt.Errorf("write: %w", err)
	}
	l.verified = time.Now()
	if !done.Succeeded && !done.Responses[0].GetResponseTxn().Succeeded {
		if !l.foreign {
			l.log.Error("another process writes the same key: give each replica a name of its own, or end one of them")
		}
		l.foreign, l.put, l.under = true, version, lease
		l.note(0, 0)
		return nil
	}
	l.foreign, l.put, l.under = false, version, lease
	l.note(version, done.Header.Revision)
	return nil
}

// revoke removes the key, if it is still this writer's.
func (l *LeasedRecord) revoke(ctx context.Context) {
	lease, _ := l.held()
	if lease == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), revokeTimeout)
	defer cancel()
	if _, err := l.client.Revoke(ctx, lease); err != nil && !errors.Is(err, rpctypes.ErrLeaseNotFound) {
		l.log.Warn("leased record not removed; it goes with its lease", "error", err)
	}
	l.lost(lease)
}
