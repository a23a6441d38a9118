package replica

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"
)

// keepLease renews the lease until ctx ends. A lease that etcd does not know any more is given up; who writes takes another.
func (l *LeasedRecord) keepLease(ctx context.Context) {
	for ctx.Err() == nil {
		lease, renewed := l.held()
		due := l.ttl / leaseRenewals
		if lease == 0 || time.Since(renewed) < due {
			sleep(ctx, due/4)
			continue
		}
		now := time.Now()
		err := l.renew(ctx, lease, renewed.Add(l.ttl))
		switch {
		case err == nil:
			l.mu.Lock()
			l.renewed = now
			l.mu.Unlock()
		case ctx.Err() != nil:
		case errors.Is(err, rpctypes.ErrLeaseNotFound):
			l.log.Warn("the lease has run out, taking another", "error", err)
			l.lost(lease)
			l.poke()
		default:
			l.log.Warn("lease not renewed, trying again", "error", err)
			sleep(ctx, retryMin)
		}
	}
}

// renew renews a lease that lives until end, as far as is known. A renewal costs etcd no write. While there is no
// answer it asks again, each time another member, but goes on waiting for the first ones: on a busy machine all of them
// may be slow, and an answer just before the end is as good as one at once.
func (l *LeasedRecord) renew(ctx context.Context, lease clientv3.LeaseID, end time.Time) error {
	again := l.ttl / leaseRenewals
	ctx, cancel := context.WithTimeout(ctx, max(time.Until(end), again))
	var group errgroup.Group
	defer func() { cancel(); _ = group.Wait() }()
	answers := make(chan error, leaseRenewals)
	timer := time.NewTimer(0)
	defer timer.Stop()
	var last error
	for asked, answered := 0, 0; ; {
		select {
		case <-timer.C:
			if asked++; asked < leaseRenewals {
				timer.Reset(again)
			}
			group.Go(func() error {
				_, err := l.client.KeepAliveOnce(ctx, lease)
				answers <- err
				return nil
			})
		case err := <-answers:
			if answered++; err == nil || errors.Is(err, rpctypes.ErrLeaseNotFound) {
				return err
			}
			last = err
			if answered == asked { // nobody is asked: that was no slow answer
				return fmt.Errorf("renew the lease: %w", last)
			}
		case <-ctx.Done():
			return fmt.Errorf("renew the lease: %w", errors.Join(ctx.Err(), last))
		}
	}
}
