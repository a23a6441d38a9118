package replica

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cyphonic/cyphonic/internal/keyspace"
)

// LifecycleService is what a Lifecycle takes through its life: as.Server, nms.Server and trs.Server. Ready, Refuse and Residual
// are quick, and all methods are safe while Run runs.
type LifecycleService interface {
	// Run serves until ctx ends, waits for everything it started and returns nil then.
	Run(ctx context.Context) error
	// Ready returns nil if the service can serve now, else what it lacks.
	Ready() error
	// HandOver gives what this replica owns to others. It is called once, when the replica begins to leave; the
	// service serves on meanwhile and afterwards. It returns when the others have everything, or why they have not.
	HandOver(ctx context.Context) error
	// Refuse takes nothing new from now on; what is under way goes on.
	Refuse()
	// Residual is the number of sessions under way that would be lost if the process ended now.
	Residual() int
}

// Balancer is who spreads a service's traffic over its replicas, as the replica sees it.
type Balancer interface {
	// SetState says where the replica is in its life. It does not wait.
	SetState(keyspace.ReplicaState)
	// Joined waits until the balancer has put a replica that is Ready in service, or ctx ends.
	Joined(ctx context.Context) error
	// Withdrawn waits until the balancer has confirmed that it sends nothing new here, or ctx ends. A balancer that
	// cannot be reached sends nothing.
	Withdrawn(ctx context.Context) error
}

// Drain bounds the parts of leaving.
type Drain struct {
	// Wait is how long the replica serves everything after it has told the balancer and the other replicas that it
	// leaves. It covers the time that routers take to send nothing more. 0 does not even wait for the balancer.
	Wait time.Duration
	// HandOver bounds how long giving away what the replica owns may take, from the beginning of leaving. 0: nothing is
	// given away, because nobody is there to take it. The longer of HandOver and Wait bounds the balancers' confirmation.
	HandOver time.Duration
	// Finish bounds how long sessions under way are waited for after that.
	Finish time.Duration
}

// LifecycleOptions are what a Lifecycle needs.
type LifecycleOptions struct {
	Name      string // of the service: as, nms, trs
	Service   LifecycleService
	Balancers []Balancer      // told of every state, in this order, of Ready in the reverse one: the record in etcd, the speaker of the host
	Requested <-chan struct{} // closed when somebody asks in etcd to drain; nil: nobody can
	Drain     Drain
	Metrics   *LifecycleMetrics
	Log       *slog.Logger
	Now       func() time.Time
}

// Lifecycle is the life of one replica:
//
//	Starting ⇄ Ready → Leaving → Finishing → end
//
// Starting and Ready follow what the service says of itself. Leaving begins by DrainNow, by request in etcd or with the
// end of Run's context, and nothing leads back. Killing the process at any point is safe: whatever is not handed over
// is what a crash loses too, and others take it as such (ADR 0023).
type Lifecycle struct {
	// constant
	LifecycleOptions
	leave     chan struct{} // closed to begin to leave
	leaveOnce sync.Once
	ended     chan struct{} // closed when nothing is under way any more or waiting for it has ended

	// owned by the goroutine that moves it
	served bool // it has been Ready

	// atomic
	state atomic.Pointer[keyspace.ReplicaState]
}

// NewLifecycle returns a Lifecycle that is Starting.
func NewLifecycle(o LifecycleOptions) *Lifecycle {
	l := &Lifecycle{LifecycleOptions: o, leave: make(chan struct{}), ended: make(chan struct{})}
	state := keyspace.ReplicaStarting
	l.state.Store(&state)
	return l
}

// State is where the replica is.
func (l *Lifecycle) State() keyspace.ReplicaState { return *l.state.Load() }

// Ready returns nil if the replica is Ready, else why it should get no traffic.
func (l *Lifecycle) Ready() error {
	switch state := l.State(); state {
	case keyspace.ReplicaReady:
		return nil
	case keyspace.ReplicaStarting:
		if err := l.Service.Ready(); err != nil {
			return fmt.Errorf("%s: %w", l.Name, err)
		}
		return fmt.Errorf("%s: starting", l.Name)
	default:
		return fmt.Errorf("%s: draining (%s)", l.Name, state)
	}
}

// Residual is the number of sessions under way.
func (l *Lifecycle) Residual() int { return l.Service.Residual() }

// DrainNow begins to leave, once. It does not wait.
func (l *Lifecycle) DrainNow() { l.leaveOnce.Do(func() { close(l.leave) }) }

// Drained is closed when the replica has nothing under way any more, or the time for it is over.
func (l *Lifecycle) Drained() <-chan struct{} { return l.ended }

// Run serves until the replica has left, which it does when ctx ends, when DrainNow is called and when etcd asks. It
// returns nil then, and an error at once if the service fails.
func (l *Lifecycle) Run(ctx context.Context) error {
	defer close(l.ended)
	// The service outlives ctx by the drain.
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	group, serving := errgroup.WithContext(serving)
	group.Go(func() error {
		err := l.Service.Run(serving)
		if err == nil && serving.Err() == nil {
			return errors.New("the service has ended by itself")
		}
		return err
	})
	group.Go(func() error {
		defer stop()
		l.follow(ctx, serving)
		if serving.Err() == nil {
			l.drain(serving)
		}
		return nil
	})
	if err := group.Wait(); err != nil {
		return fmt.Errorf("%s: %w", l.Name, err)
	}
	return nil
}
