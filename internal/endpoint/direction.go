package endpoint

import (
	"time"

	"github.com/cyphonic/cyphonic/internal/signaling"
	"github.com/cyphonic/cyphonic/internal/wire"
)

// onConfirm decides about a peer that wants to connect, and opens the NAT for it.
func (l *Local) onConfirm(now time.Time, ev signaling.Confirm) {
	p, err := l.learn(now, ev.Direction, purpose{})
	if err != nil {
		l.e.metrics.drop(dropCertificate)
		l.e.metrics.directions.WithLabelValues("responder", "rejected").Inc()
		l.e.log.Warn("direction rejected", "local", l.fqdn, "error", err)
		l.client.Answer(ev.DirectionID, false, nil)
		return
	}
	l.client.Answer(ev.DirectionID, true, l.reachable())
	if (p.session == nil || p.restarted) && now.Sub(p.punched) >= punchInterval {
		p.punched = now
		p.punch(now)
	}
}

// onRouted begins or awaits the handshake that a direction orders.
func (l *Local) onRouted(now time.Time, ev signaling.Routed) {
	use := l.requests[ev.RequestID]
	delete(l.requests, ev.RequestID)
	role := "responder"
	if ev.RequestID != 0 {
		role = "initiator"
	}
	p, err := l.learn(now, ev.Direction, use)
	if err != nil {
		l.e.metrics.drop(dropCertificate)
		l.e.metrics.directions.WithLabelValues(role, "rejected").Inc()
		l.e.log.Warn("direction rejected", "local", l.fqdn, "error", err)
		if use.attempt != nil {
			use.attempt.request = 0
			use.attempt.fail(now, ErrDenied)
		}
		if use.check {
			use.peer.onChecked(now, err)
		}
		return
	}
	l.e.metrics.directions.WithLabelValues(role, ev.Kind.String()).Inc()
	if ev.Kind != wire.RouteRelayed {
		p.kind = ev.Kind
	}
	p.take(now, ev, use)
	if use.attempt != nil {
		use.attempt.request, use.attempt.peer = 0, p
	}
	if use.check {
		p.onChecked(now, nil)
	}
	if ev.Kind == wire.RouteRelayed {
		p.bind(now)
	}
	switch {
	case use.check && p.session == nil: // it has ended meanwhile
	case p.session != nil && !p.restarted:
		p.resolve()
	case ev.Initiator:
		p.initiate(now)
	default:
		p.expect(now)
	}
	p.plan(now)
}
