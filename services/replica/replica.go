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

	// atomic
	current atomic.Pointer[publication]
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
	}
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
	group.Go(func() error { r.follow(ctx); return nil })
	group.Go(func() error { r.keepKeys(ctx); return nil })
	return group.Wait()
}

// follow lists and watches again and again, with a growing delay after failures.
func (r *Replica) follow(ctx context.Context) {
	delay := retryMin
	for ctx.Err() == nil {
		start := r.now()
		err := r.listAndWatch(ctx)
		r.metrics.connected.Set(0)
		if ctx.Err() != nil {
			return
		}
		if r.now().Sub(start) > retryMax {
			delay = retryMin
		}
		r.log.Warn("watch of etcd ended, trying again", "error", err, "delay", delay)
		if !sleep(ctx, delay) {
			return
		}
		delay = min(2*delay, retryMax)
	}
}

// listAndWatch reads everything at one revision, publishes it and then applies
// the changes that follow.
func (r *Replica) listAndWatch(ctx context.Context) error {
	s, err := r.list(ctx)
	if err != nil {
		return fmt.Errorf("list: %w", err)
	}
	r.publish(s)
	r.metrics.connected.Set(1)

	ctx, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
	defer cancel()
	events := r.client.Watch(ctx, keyspace.Root, clientv3.WithPrefix(),
		clientv3.WithRev(s.revision+1), clientv3.WithProgressNotify())
	return r.apply(ctx, s, events)
}

// list reads all keys page by page at the revision of the first page.
func (r *Replica) list(ctx context.Context) (*state, error) {
	s := newState()
	key, end := keyspace.Root, clientv3.GetPrefixRangeEnd(keyspace.Root)
	for {
		options := []clientv3.OpOption{clientv3.WithRange(end), clientv3.WithLimit(listPage)}
		if s.revision != 0 {
			options = append(options, clientv3.WithRev(s.revision))
		}
		page, err := r.get(ctx, key, options)
		if err != nil {
			return nil, err
		}
		if s.revision == 0 {
			s.revision = page.Header.Revision
		}
		for _, kv := range page.Kvs {
			r.put(s, string(kv.Key), kv.Value)
		}
		if !page.More {
			return s, nil
		}
		key = string(page.Kvs[len(page.Kvs)-1].Key) + "\x00"
	}
}

func (r *Replica) get(ctx context.Context, key string, options []clientv3.OpOption) (*clientv3.GetResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	return r.client.Get(ctx, key, options...)
}

func (r *Replica) put(s *state, key string, value []byte) {
	if err := s.put(key, value); err != nil {
		r.metrics.undecodable.Inc()
		r.log.Error("record left out", "error", err)
	}
}

// apply follows the watch until it ends. Changes that arrive together are
// published together, at most every publishInterval.
func (r *Replica) apply(ctx context.Context, s *state, events clientv3.WatchChan) error {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	pending := false
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case response, ok := <-events:
			if !ok {
				return errors.New("watch closed")
			}
			if err := response.Err(); err != nil {
				return err
			}
			if marked(response) {
				continue
			}
			r.applyEvents(s, response)
			if wait := publishInterval - r.now().Sub(r.published); wait > 0 && wait <= publishInterval {
				if !pending {
					timer.Reset(wait)
				}
				pending = true
				continue
			}
		case <-timer.C:
		}
		// Published even without changes now and then: which key seals depends
		// on the time.
		pending = false
		r.publish(s)
		timer.Reset(keyCheckInterval)
	}
}

// marked says that a response tells nothing but that a manager asked its own
// watch how far it is.
func marked(response clientv3.WatchResponse) bool {
	for _, e := range response.Events {
		if string(e.Kv.Key) != keyspace.ResourcesMark {
			return false
		}
	}
	return len(response.Events) > 0
}

func (r *Replica) applyEvents(s *state, response clientv3.WatchResponse) {
	for _, e := range response.Events {
		if e.Type == clientv3.EventTypeDelete {
			s.remove(string(e.Kv.Key))
			continue
		}
		r.put(s, string(e.Kv.Key), e.Kv.Value)
	}
	s.revision = max(s.revision, response.Header.Revision)
}

func (r *Replica) publish(s *state) {
	snapshot, errs := s.snapshot(r.now())
	for _, err := range errs {
		r.log.Error("resource left out", "error", err)
	}
	r.published = r.now()
	r.metrics.revision.Set(float64(s.revision))
	r.metrics.subjects.Set(float64(len(s.subjects)))
	old := r.current.Swap(&publication{snapshot: snapshot, replaced: make(chan struct{})})
	close(old.replaced)
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
		// The watch's stream is chosen by the metadata of its context. A request
		// that is lost or comes too early is repeated.
		_ = r.client.RequestProgress(clientv3.WithRequireLeader(ctx))
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
