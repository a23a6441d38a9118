package etcd

import (
	"context"
	"fmt"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/singleflight"
)

// leases are the etcd leases of keys that go by themselves. Keys that end at
// about the same time share one: a lease costs etcd more than a key.
type leases struct {
	client *clientv3.Client // constant
	began  time.Time        // constant; the clock of the ends below, deaf to changes of the time of day
	flight *singleflight.Group

	mu   *sync.Mutex
	held map[leaseEnd]clientv3.LeaseID // under mu: leases that have not ended
}

// leaseEnd names a lease: it ends a number of parts after leases.began.
type leaseEnd struct{ part, number time.Duration }

func newLeases(client *clientv3.Client) leases {
	return leases{
		client: client, began: time.Now(), flight: new(singleflight.Group),
		mu: new(sync.Mutex), held: make(map[leaseEnd]clientv3.LeaseID),
	}
}

// get returns a lease that lasts for ttl at least, and at most one part more.
func (l *leases) get(ctx context.Context, ttl time.Duration) (clientv3.LeaseID, error) {
	ttl = max(ttl, minTTL)
	part := max(ttl/leaseParts, time.Second).Round(time.Second)
	elapsed := time.Since(l.began)
	end := leaseEnd{part, (elapsed + ttl + part - 1) / part}
	l.mu.Lock()
	id, ok := l.held[end]
	l.mu.Unlock()
	if ok {
		return id, nil
	}
	granted := l.flight.DoChan(fmt.Sprint(end), func() (any, error) {
		seconds := (end.part*end.number - elapsed + time.Second - 1) / time.Second
		grantCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), operationTimeout) // others wait for it too
		defer cancel()
		r, err := l.client.Grant(grantCtx, int64(seconds))
		if err != nil {
			return nil, fmt.Errorf("grant a lease: %w", err)
		}
		l.remember(end, r.ID)
		return r.ID, nil
	})
	select {
	case <-ctx.Done():
		return 0, ctx.Err()
	case r := <-granted:
		if r.Err != nil {
			return 0, r.Err
		}
		return r.Val.(clientv3.LeaseID), nil
	}
}

func (l *leases) remember(end leaseEnd, id clientv3.LeaseID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	elapsed := time.Since(l.began)
	for old := range l.held {
		if old.part*old.number < elapsed {
			delete(l.held, old)
		}
	}
	l.held[end] = id
}

// forget drops all leases: one of them is gone.
func (l *leases) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(l.held)
}
