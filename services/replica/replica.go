// Package replica is what every replica of a service shares: it watches the
// desired state and the shared keys in etcd, offers them as immutable
// snapshots, keeps offering the last one while etcd is away, creates and
// rotates the keys, and writes the few records that logins need (enrolled keys
// and used tokens).
//
// Besides manager/store/etcd it is the only package that talks to etcd. It
// must not decide anything about a device: that is up to the services.
package replica

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"github.com/cyphonic/cyphonic/internal/keyspace"
)

// Client is a client of etcd, named here for programs that only pass it on.
type Client = clientv3.Client

// Options are what a Replica needs. All fields are required.
type Options struct {
	Client     *Client // stays the caller's to close
	Log        *slog.Logger
	Registerer prometheus.Registerer
	Rand       io.Reader
	Now        func() time.Time
}

// Replica follows etcd. Its methods are safe for concurrent use.
type Replica struct {
	// constant
	client  *clientv3.Client
	log     *slog.Logger
	rand    io.Reader
	now     func() time.Time
	metrics *metrics
	syncs   *rate.Limiter
	ready   chan struct{} // closed after the first publication

	// owned by the goroutine that watches
	published time.Time
	pending   bool // there are changes to publish when the timer fires

	// owned by the goroutine that follows the members
	drains map[string]int64 // requests to drain, by key: the revision

	registered    chan struct{} // of size 1: there is a new registration
	registering   sync.Mutex
	registrations []*Registration // under registering

	// atomic
	current  atomic.Pointer[publication]
	members  atomic.Pointer[gathering]
	follower atomic.Pointer[follower] // of the desired state
}

// publication is a snapshot and a channel that is closed when it is replaced.
type publication struct {
	snapshot *Snapshot
	replaced chan struct{}
}

// New returns a Replica that has an empty snapshot until Run has read etcd.
func New(o Options) (*Replica, error) {
	m, err := newMetrics(o.Registerer)
	if err != nil {
		return nil, fmt.Errorf("register metrics: %w", err)
	}
	r := &Replica{
		client: o.Client, log: o.Log, rand: o.Rand, now: o.Now, metrics: m,
		syncs: rate.NewLimiter(syncsPerSecond, syncBurst), ready: make(chan struct{}),
		drains: make(map[string]int64), registered: make(chan struct{}, 1),
	}
	r.members.Store(&gathering{membership: new(Membership), replaced: make(chan struct{})})
	empty, _ := NewSnapshot(Contents{})
	r.current.Store(&publication{snapshot: empty, replaced: make(chan struct{})})
	return r, nil
}

// Snapshot returns the newest snapshot. It never blocks and never returns nil.
func (r *Replica) Snapshot() *Snapshot { return r.current.Load().snapshot }

// Ready is closed when the first snapshot has been read from etcd.
func (r *Replica) Ready() <-chan struct{} { return r.ready }

// Run follows etcd until ctx ends and returns nil then. Failures of etcd are
// logged and tried again; the last snapshot stays meanwhile.
func (r *Replica) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { r.followState(ctx); return nil })
	group.Go(func() error { r.followMembers(ctx); return nil })
	group.Go(func() error { r.keepKeys(ctx); return nil })
	group.Go(func() error { return r.keepRegistrations(ctx) })
	return group.Wait()
}

// followState follows the desired state until ctx ends.
func (r *Replica) followState(ctx context.Context) {
	timer := time.NewTimer(keyCheckInterval)
	defer timer.Stop()
	var live, next *state
	w := &follower{
		client: r.client, prefixes: []string{keyspace.Root}, log: r.log, connected: r.metrics.connect, timer: timer,
		begin: func(revision int64) {
			next = newState()
			next.revision, next.previous = revision, live
		},
		listed: func(items []Item) {
			for _, item := range items {
				r.put(next, item.Key, item.Value)
			}
		},
		end: func() {
			next.previous, live, next = nil, next, nil
			r.publish(live, timer)
		},
		changed: func(u Update) {
			live.revision = u.Revision
			for _, key := range u.Deletes {
				live.remove(key)
			}
			for _, item := range u.Puts {
				r.put(live, item.Key, item.Value)
			}
			r.publishSoon(live, timer)
		},
		// Published even without changes now and then, also while etcd is away: which key seals depends on the time.
		due: func() {
			if live != nil {
				r.publish(live, timer)
			}
		},
	}
	r.follower.Store(w)
	w.run(ctx)
}

func (r *Replica) put(s *state, key string, value []byte) {
	if err := s.put(key, value); err != nil {
		r.metrics.undecodable.Inc()
		r.log.Error("record left out", "error", err)
	}
}

// publishSoon publishes at once if nothing has been for a while. Changes that stream in are published together, every
// publishInterval.
func (r *Replica) publishSoon(s *state, timer *time.Timer) {
	if r.pending {
		return
	}
	wait := publishInterval - r.now().Sub(r.published)
	if wait <= 0 || wait > publishInterval {
		r.publish(s, timer)
		return
	}
	r.pending = true
	timer.Reset(wait)
}

// publish makes what has changed the newest snapshot.
func (r *Replica) publish(s *state, timer *time.Timer) {
	start := time.Now()
	snapshot, errs := s.snapshot(r.now())
	for _, err := range errs {
		r.log.Error("resource left out", "error", err)
	}
	r.published, r.pending = r.now(), false
	timer.Reset(keyCheckInterval)
	r.metrics.revision.Set(float64(s.revision))
	r.metrics.subjects.Set(float64(s.byRef.size))
	old := r.current.Swap(&publication{snapshot: snapshot, replaced: make(chan struct{})})
	close(old.replaced)
	r.metrics.publish.Observe(time.Since(start).Seconds())
	select {
	case <-r.ready:
	default:
		close(r.ready)
	}
}

// Sync waits until the snapshot shows at least everything that was in etcd
// when Sync was called, for answers such as "unknown" that must not be given
// because this replica lags behind. It gives up after two seconds, when etcd
// is away and when it is called too often.
func (r *Replica) Sync(ctx context.Context) error {
	if !r.syncs.Allow() {
		return errors.New("too many reads of etcd: try again later")
	}
	ctx, cancel := context.WithTimeout(ctx, syncTimeout)
	defer cancel()
	now, err := r.client.Get(ctx, keyspace.Root, clientv3.WithCountOnly())
	if err != nil {
		return fmt.Errorf("read the revision of etcd: %w", err)
	}
	return r.wait(ctx, now.Header.Revision)
}

// wait blocks until the snapshot's revision is at least revision. The watch
// learns of revisions outside its prefix through a progress report.
func (r *Replica) wait(ctx context.Context, revision int64) error {
	for {
		p := r.current.Load()
		if p.snapshot.revision >= revision {
			return nil
		}
		// A request that is lost or comes too early is repeated.
		if w := r.follower.Load(); w != nil {
			w.progress(ctx)
		}
		again := time.NewTimer(progressInterval)
		select {
		case <-p.replaced:
		case <-again.C:
		case <-ctx.Done():
			again.Stop()
			return ctx.Err()
		}
		again.Stop()
	}
}

// keepKeys creates and rotates the shared keys.
func (r *Replica) keepKeys(ctx context.Context) {
	delay := retryMin
	for {
		err := r.EnsureKeys(ctx)
		if ctx.Err() != nil {
			return
		}
		wait := keyCheckInterval
		if err != nil {
			r.log.Warn("shared keys not checked, trying again", "error", err, "delay", delay)
			wait, delay = delay, min(2*delay, retryMax)
		} else {
			delay = retryMin
		}
		if !sleep(ctx, wait) {
			return
		}
	}
}

// sleep waits for d and reports false when ctx ended before.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
