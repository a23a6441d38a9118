package endpoint

import (
	"context"
	"time"

	"github.com/cyphonic/cyphonic/internal/login"
)

// renewalState is that of an identity's next login.
type renewalState struct {
	at      time.Time // zero: none planned
	running bool
	tries   int
}

// renewal is a job for a renewal worker, renewed its result.
type renewal struct {
	local *Local
	renew func(context.Context) (*login.Grant, error)
}

type renewed struct {
	local *Local
	grant *login.Grant
	err   error
}

// renewLoop is a renewal worker.
func (e *Endpoint) renewLoop(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case job := <-e.jobs:
			grant, err := job.run(ctx)
			select {
			case e.renewed <- renewed{local: job.local, grant: grant, err: err}:
			case <-ctx.Done():
				return
			}
		}
	}
}

func (j renewal) run(ctx context.Context) (*login.Grant, error) {
	ctx, cancel := context.WithTimeout(ctx, renewTimeout)
	defer cancel()
	return j.renew(ctx)
}

// planRenewal sets the renewal to half of the grant's life, with some spread so
// that the identities of an adapter do not all come at once.
func (l *Local) planRenewal(now time.Time) {
	l.renewal = renewalState{}
	if l.renew == nil {
		return
	}
	left := l.grant.NotAfter.Sub(l.grant.Now(now))
	half := left / 2
	if spread := int64(half / 8); spread > 0 {
		half -= time.Duration(l.e.random() % uint64(spread))
	}
	l.renewal.at = now.Add(max(half, renewMin))
}

// hastenRenewal brings the next login forward, because the NMS may not take the
// ticket any more: the device was made anew, or later tickets took its place.
func (l *Local) hastenRenewal(now time.Time) {
	r := &l.renewal
	if r.running || r.tries > 0 || l.renew == nil { // under way, or being retried
		return
	}
	r.at = now
}

// hasten brings the next registrations of all identities forward: the NMS has
// forgotten one of them, or sees its socket elsewhere, and they share that socket.
// Without it each would be unreachable until its own keep-alive.
func (e *Endpoint) hasten(now time.Time) {
	if now.Before(e.hastened) {
		return
	}
	e.hastened = now.Add(hastenEvery)
	spread := uint64(len(e.byTag)) * uint64(hastenPace)
	for _, l := range e.byTag {
		l.client.RegisterBy(now.Add(time.Duration(e.random() % spread)))
		e.timers.set(l.timer, soonest(l.timer.at, l.client.Next()))
	}
}

func (l *Local) tickRenewal(now time.Time) {
	r := &l.renewal
	if r.at.IsZero() || now.Before(r.at) || r.running {
		return
	}
	select {
	case l.e.jobs <- renewal{local: l, renew: l.renew}:
		r.running = true
		r.at = time.Time{}
	default:
		r.at = now.Add(renewRetry)
	}
}

// onRenewed puts the new grant into effect, or plans the next try.
func (l *Local) onRenewed(now time.Time, r renewed) {
	if l.removed {
		return
	}
	tries := l.renewal.tries
	if r.err == nil {
		r.err = l.take(r.grant)
	}
	if r.err != nil {
		l.e.metrics.renewals.WithLabelValues("failed").Inc()
		l.e.log.Warn("renewal of the ticket failed", "local", l.fqdn, "error", r.err, "left", l.grant.NotAfter.Sub(l.grant.Now(now)))
		wait := min(renewRetry<<min(tries, 10), renewRetryMax)
		l.renewal = renewalState{at: now.Add(wait), tries: tries + 1}
		l.pump(now)
		return
	}
	l.e.metrics.renewals.WithLabelValues("ok").Inc()
	l.planRenewal(now)
	l.client.Renew(now, l.credentials())
	l.tick(now)
}
