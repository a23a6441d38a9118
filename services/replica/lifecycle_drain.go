package replica

import (
	"context"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cyphonic/cyphonic/internal/keyspace"
)

// follow keeps the state in step with the service until it has to leave or serving ends.
func (l *Lifecycle) follow(ctx, serving context.Context) {
	l.enter(keyspace.ReplicaStarting)
	ticker := time.NewTicker(readyInterval)
	defer ticker.Stop()
	for {
		l.check(ctx)
		select {
		case <-ctx.Done():
			return
		case <-serving.Done():
			return
		case <-l.leave:
			return
		case <-l.Requested:
			l.Log.Info("drain requested in etcd")
			return
		case <-ticker.C:
		}
	}
}

// check moves between Starting and Ready.
func (l *Lifecycle) check(ctx context.Context) {
	l.Metrics.residual.WithLabelValues(l.Name).Set(float64(l.Service.Residual()))
	err := l.Service.Ready()
	switch state := l.State(); {
	case err == nil && state == keyspace.ReplicaStarting:
		l.served = true
		l.join(ctx)
	case err != nil && state == keyspace.ReplicaReady:
		l.Log.Warn("cannot serve now", "reason", err)
		l.enter(keyspace.ReplicaStarting)
	}
}

// join becomes Ready. The balancer of the host knows first: until it has its rules for the replica, what that sends would not
// leave from the address of the service, and as soon as etcd says that it is Ready, others let it decide about devices.
func (l *Lifecycle) join(ctx context.Context) {
	state := keyspace.ReplicaReady
	l.state.Store(&state)
	l.Metrics.Enter(l.Name, state)
	bounded, cancel := context.WithTimeout(ctx, joinLimit)
	defer cancel()
	for _, b := range slices.Backward(l.Balancers) {
		b.SetState(state)
		if err := b.Joined(bounded); err != nil && ctx.Err() == nil {
			l.Log.Warn("a balancer has not put the replica in service yet", "error", err)
		}
	}
	l.Log.Info("replica", "state", state)
}

// enter takes a state and tells the balancers.
func (l *Lifecycle) enter(state keyspace.ReplicaState) {
	l.state.Store(&state)
	l.Metrics.Enter(l.Name, state)
	for _, b := range l.Balancers {
		b.SetState(state)
	}
	l.Log.Info("replica", "state", state)
}

// drain leaves: no new traffic, everything handed over, nothing new accepted, everything under way finished. serving
// ends early only if the service fails.
func (l *Lifecycle) drain(serving context.Context) {
	start := l.Now()
	l.enter(keyspace.ReplicaLeaving)
	l.leaveBalancers(serving)
	l.Metrics.step(l.Name, stepLeave, l.Now().Sub(start))

	finishing := l.Now()
	l.enter(keyspace.ReplicaFinishing)
	l.Service.Refuse()
	residual := l.finish(serving)
	l.Metrics.step(l.Name, stepFinish, l.Now().Sub(finishing))
	l.Log.Info("drained", "after", l.Now().Sub(start), "lost", residual)
}

// leaveBalancers serves on for Wait, until the balancers have confirmed and until everything has been handed over. Wait
// is served whatever happens; the rest is bounded. A replica that never was Ready got nothing to wait for.
func (l *Lifecycle) leaveBalancers(serving context.Context) {
	var group errgroup.Group
	if l.Drain.HandOver > 0 {
		group.Go(func() error { l.handOver(serving); return nil })
	}
	bounded, cancel := context.WithTimeout(serving, max(l.Drain.HandOver, l.Drain.Wait))
	defer cancel()
	if l.Drain.Wait > 0 && l.served {
		for _, b := range l.Balancers {
			group.Go(func() error {
				if err := b.Withdrawn(bounded); err != nil && serving.Err() == nil {
					l.Metrics.failed(l.Name, stepLeave)
					l.Log.Warn("the balancer has not confirmed that it sends nothing new", "error", err)
				}
				return nil
			})
		}
		sleep(serving, l.Drain.Wait)
	}
	_ = group.Wait()
}

func (l *Lifecycle) handOver(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, l.Drain.HandOver)
	defer cancel()
	start := l.Now()
	if err := l.Service.HandOver(ctx); err != nil {
		l.Metrics.failed(l.Name, stepHandOver)
		l.Log.Warn("not everything was handed over", "error", err)
	}
	l.Metrics.step(l.Name, stepHandOver, l.Now().Sub(start))
}

// finish waits until nothing is under way any more, for at most Finish, and returns how much still is.
func (l *Lifecycle) finish(serving context.Context) int {
	bounded, cancel := context.WithTimeout(serving, l.Drain.Finish)
	defer cancel()
	for {
		residual := l.Service.Residual()
		l.Metrics.residual.WithLabelValues(l.Name).Set(float64(residual))
		if residual <= 0 || !sleep(bounded, finishInterval) {
			return residual
		}
	}
}
