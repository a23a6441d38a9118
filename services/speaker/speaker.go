package speaker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/cyphonic/cyphonic/services/replica"
	"github.com/cyphonic/cyphonic/services/speaker/bfd"
	"github.com/cyphonic/cyphonic/services/speaker/netfilter"
)

// Balancer spreads the traffic of addresses over replicas; netfilter.Balancer is one.
type Balancer interface {
	// Apply makes the whole state true in one step, or changes nothing.
	Apply(context.Context, netfilter.State) error
	// Recall gives the names of the replicas that an earlier process let traffic go to.
	Recall(context.Context) ([]string, error)
	// Clean removes what is left over of earlier states.
	Clean(context.Context) error
}

// Detector notices lost links; bfd.Manager is one.
type Detector interface {
	Run(context.Context) error
	Set([]bfd.Peer) error
	Events() <-chan bfd.Event
	State(netip.Addr) (bfd.State, bool)
}

// Options of New. All fields are required unless it says otherwise.
type Options struct {
	Host, Version string
	Listener      net.Listener // the unix socket of the replicas; Run closes it
	Router        Router       // Run closes it
	Balancer      Balancer
	Detector      Detector
	// Follow gives what is below the prefixes, and what changes, until ctx ends (replica.Follow). It tells whether etcd
	// answers. Its functions are called from one goroutine.
	Follow func(ctx context.Context, prefixes []string, changed func(replica.Update), connected func(bool)) error
	// Report takes what the speaker does, a JSON keyspace.SpeakerRecord, whenever that has changed. It must not block.
	Report func([]byte)
	// Addresses of the host on the links of its routers; empty: those of its sessions.
	Addresses []netip.Addr
	// SecretsDirectory has the files with the passwords of sessions; empty: there are none.
	SecretsDirectory string
	// StateFile keeps the last known resources for a start while etcd is away; empty: none.
	StateFile string
	// GracefulShutdown is how long a route is announced with the lowest preference before it is withdrawn.
	GracefulShutdown time.Duration
	// RegistrationGrace is how long the replicas that an earlier process let traffic go to have time to register after the
	// start, at most. Before they have, the packet filter is not changed and nothing is announced.
	RegistrationGrace time.Duration

	Log        *slog.Logger
	Registerer prometheus.Registerer
	Now        func() time.Time
}

// Speaker is the speaker of one host.
type Speaker struct {
	// constant
	options  Options
	metrics  *metrics
	registry *registry
	updates  chan replica.Update
	links    chan bool // whether etcd answers
	jobs     chan netfilter.State
	results  chan result
	recalled chan []string // once: replicas of an earlier process
}

// result is how a change of the packet filter ended.
type result struct {
	state netfilter.State
	took  time.Duration
	err   error
}

// New returns a Speaker that does nothing before Run.
func New(o Options) (*Speaker, error) {
	m, err := newMetrics(o.Registerer)
	if err != nil {
		return nil, fmt.Errorf("register metrics: %w", err)
	}
	return &Speaker{
		options: o, metrics: m, registry: newRegistry(o.Log, m), updates: make(chan replica.Update), links: make(chan bool, 1),
		jobs: make(chan netfilter.State, 1), results: make(chan result, 1), recalled: make(chan []string, 1),
	}, nil
}

// Run announces until ctx ends. Then it withdraws everything, gracefully, and returns nil; the packet filter stays as it
// is, so that packets that are under way still arrive.
func (s *Speaker) Run(ctx context.Context) error {
	// The parts outlive ctx until everything is withdrawn.
	inner, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	group, inner := errgroup.WithContext(inner)
	group.Go(func() error { return s.registry.run(inner, s.options.Listener) })
	group.Go(func() error { return s.options.Detector.Run(inner) })
	group.Go(func() error { return s.follow(inner) })
	group.Go(func() error { s.apply(inner); return nil })
	group.Go(func() error {
		defer cancel()
		newLoop(s).run(ctx, inner)
		return nil
	})
	err := group.Wait()
	s.options.Router.Close()
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

func (s *Speaker) follow(ctx context.Context) error {
	changed := func(u replica.Update) {
		select {
		case s.updates <- u:
		case <-ctx.Done():
		}
	}
	connected := func(is bool) {
		select {
		case s.links <- is:
		case <-ctx.Done():
		}
	}
	return s.options.Follow(ctx, followed(), changed, connected)
}

// apply changes the packet filter beside the loop, which must not wait for it, and removes what is left over when
// nobody waits.
func (s *Speaker) apply(ctx context.Context) {
	if names, err := s.options.Balancer.Recall(ctx); err != nil {
		s.options.Log.Warn("not known which replicas an earlier speaker let traffic go to", "error", err)
	} else {
		s.recalled <- names // of size 1
	}
	var clean <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case state := <-s.jobs:
			start := s.options.Now()
			err := s.options.Balancer.Apply(ctx, state)
			s.results <- result{state, s.options.Now().Sub(start), err} // of size 1, one job at a time
			if err == nil && clean == nil {
				clean = time.After(cleanDelay)
			}
		case <-clean:
			clean = nil
			if err := s.options.Balancer.Clean(ctx); err != nil && ctx.Err() == nil {
				s.options.Log.Warn("packet filter not cleaned up", "error", err)
			}
		}
	}
}
