package endpoint

import (
	"errors"
	"time"

	"github.com/cyphonic/cyphonic/internal/wire"
)

// doubt is that about a peer since the NMS has said that something which
// decides who may talk has changed. It ends with the next direction, or with
// the peer. While the NMS is silent nothing comes of it: what was allowed goes on.
//
// A peer with a session is asked about by the session's initiator first; the
// direction that answers it settles the other end too. One without session is
// asked about when it begins a handshake.
type doubt struct {
	since   time.Time // zero: there is none
	next    time.Time // when to ask; zero: not planned
	request uint64    // under way, 0 if none
	again   bool      // changed once more since the request
	tries   int       // that gave no answer
}

// onPolicyChanged doubts every peer.
func (l *Local) onPolicyChanged(now time.Time) {
	l.e.log.Debug("policy version changed", "local", l.fqdn)
	for _, p := range l.peers {
		p.doubt.since, p.doubt.tries = now, 0
		if p.busy() {
			p.planCheck(now)
			p.plan(now)
		}
	}
}

// planCheck plans the request about a peer in doubt. The end that did not
// begin the session waits for the other one's.
func (p *peer) planCheck(now time.Time) {
	d := &p.doubt
	switch {
	case d.since.IsZero() || !d.next.IsZero():
	case d.request != 0:
		d.again = true
	default:
		wait := checkSettle + time.Duration(p.e.random()%uint64(checkSpread))
		if p.session != nil && !p.session.Initiator() {
			wait += checkSpread
		}
		d.next = now.Add(wait)
	}
}

func (p *peer) tickCheck(now time.Time) {
	if d := &p.doubt; !d.next.IsZero() && !now.Before(d.next) {
		d.next = time.Time{}
		if p.busy() {
			p.check(now)
		}
	}
}

// check asks the NMS whether the peer may still be talked to, and how.
func (p *peer) check(now time.Time) {
	d := &p.doubt
	if d.request != 0 {
		return
	}
	d.next = time.Time{}
	id, err := p.local.client.Request(now, p.target(), false)
	if err != nil {
		p.checkLater(now)
		return
	}
	d.request, d.again = id, false
	p.local.requests[id] = purpose{peer: p, check: true}
	p.local.client.Tick(now)
	p.local.pump(now)
}

// checkLater plans the next try after one without an answer.
func (p *peer) checkLater(now time.Time) {
	d := &p.doubt
	d.next = now.Add(min(checkRetry<<min(d.tries, 10), checkRetryMax))
	d.tries++
	p.plan(now)
}

// onCheckFailed takes the NMS's refusal, or its silence.
func (p *peer) onCheckFailed(now time.Time, code wire.FailureCode) {
	switch {
	case withdrawn(code):
		p.revoke(now, code.String())
	case code == wire.FailureRejected: // by the peer, so the NMS allows it
		p.onChecked(now, nil)
	default:
		p.doubt.request = 0
		p.checkLater(now)
	}
}

func withdrawn(code wire.FailureCode) bool {
	return code == wire.FailureUnknown || code == wire.FailureDenied
}

// onChecked takes the direction that answers a check; err says why it is refused.
func (p *peer) onChecked(now time.Time, err error) {
	d := &p.doubt
	d.request = 0
	switch {
	case errors.Is(err, errOther): // the name belongs to another key now
		p.revoke(now, "replaced")
	case err != nil:
		p.checkLater(now)
	case d.again:
		d.again = false
		p.planCheck(now)
		p.plan(now)
	default:
		*d = doubt{}
	}
}

// settle ends the doubt with a direction that was not asked for here, unless
// it may have been made before the change.
func (d *doubt) settle(now time.Time) {
	if d.request == 0 && now.Sub(d.since) >= checkSettle {
		*d = doubt{}
	}
}

// unsettled says whether a handshake of the peer has to wait for the NMS.
func (p *peer) unsettled() bool {
	return !p.doubt.since.IsZero() && p.session == nil && p.doubt.tries == 0
}

// revoke ends what a peer has here, because the NMS has taken it back.
func (p *peer) revoke(now time.Time, reason string) {
	e := p.e
	e.metrics.revocations.WithLabelValues(reason).Inc()
	e.log.Info("peer may not be talked to any more", "local", p.local.fqdn, "peer", p.certificate.FQDN, "reason", reason)
	if p.session != nil {
		p.say(p.association.Path(), wire.Close{Reason: wire.ClosePolicy})
	}
	p.endSession(now)
	p.failAttempts(now, ErrDenied)
	p.remove(now)
}

// dropCheck forgets the request.
func (p *peer) dropCheck() {
	if id := p.doubt.request; id != 0 {
		p.local.client.Cancel(id)
		delete(p.local.requests, id)
	}
	p.doubt = doubt{}
}
