package endpoint

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/cyphonic/cyphonic/internal/identity"
	"github.com/cyphonic/cyphonic/internal/signaling"
	"github.com/cyphonic/cyphonic/internal/wire"
)

// Peer is a connected peer.
type Peer struct {
	FQDN                     string
	VirtualIPv4, VirtualIPv6 netip.Addr
	NodeID                   identity.NodeID
	Relayed                  bool
}

// attempt is the way from a target to a session: direction request, handshake.
// Whoever wants the same target joins it.
type attempt struct {
	local    *Local
	target   wire.Target
	deadline time.Time
	request  uint64 // the direction request under way, 0 if none
	peer     *peer  // once the direction is known
	waiters  []chan<- outcome
	held     [][]byte
}

type outcome struct {
	peer Peer
	err  error
}

// Connect brings up the tunnel to a peer, or finds it up. It fails with
// ErrUnknown, ErrDenied, ErrOffline, ErrTimeout, ErrBusy, ErrClosed or ctx's error.
func (l *Local) Connect(ctx context.Context, target wire.Target) (Peer, error) {
	target = normal(target)
	if target.FQDN == "" && !target.Addr.IsValid() || len(target.FQDN) > wire.MaxName {
		return Peer{}, fmt.Errorf("%w: the target is neither a name nor an address", ErrUnknown)
	}
	result := make(chan outcome, 1)
	if err := l.e.post(func(now time.Time) { l.connect(now, target, result, nil) }); err != nil {
		return Peer{}, err
	}
	select {
	case r := <-result:
		return r.peer, r.err
	case <-ctx.Done():
		return Peer{}, ctx.Err()
	case <-l.e.done:
		return Peer{}, ErrClosed
	}
}

// connect joins or begins an attempt, with a waiter or with a packet to send.
func (l *Local) connect(now time.Time, target wire.Target, waiter chan<- outcome, packet []byte) {
	if l.removed {
		answer(waiter, outcome{err: ErrClosed})
		return
	}
	if p := l.find(target); p != nil && p.session != nil {
		answer(waiter, outcome{peer: p.public()})
		p.inject(packet)
		return
	}
	a := l.attempts[target]
	if a == nil {
		if a = l.begin(now, target, waiter, packet != nil); a == nil {
			return
		}
	}
	a.join(waiter, packet)
	l.pump(now)
}

// begin makes an attempt, or refuses it and gives nil.
func (l *Local) begin(now time.Time, target wire.Target, waiter chan<- outcome, forPacket bool) *attempt {
	if forPacket && now.Before(l.refusals[target]) {
		l.e.metrics.drop(dropRefused)
		return nil
	}
	request, err := uint64(0), ErrBusy
	if len(l.attempts) < maxAttempts {
		request, err = l.client.Request(now, target, false)
	}
	if err != nil {
		if errors.Is(err, signaling.ErrBusy) {
			err = ErrBusy
		}
		answer(waiter, outcome{err: err})
		if forPacket {
			l.e.metrics.drop(dropTable)
		}
		return nil
	}
	a := &attempt{local: l, target: target, request: request, deadline: now.Add(attemptTimeout)}
	l.attempts[target] = a
	l.requests[request] = purpose{attempt: a}
	l.client.Tick(now)
	return a
}

func (a *attempt) join(waiter chan<- outcome, packet []byte) {
	e := a.local.e
	if waiter != nil {
		if len(a.waiters) >= maxWaiters {
			answer(waiter, outcome{err: ErrBusy})
		} else {
			a.waiters = append(a.waiters, waiter)
		}
	}
	if packet != nil {
		if len(a.held) >= maxHeld || e.heldBytes+len(packet) > maxHeldBytes {
			e.metrics.drop(dropHeld)
			return
		}
		a.held = append(a.held, packet)
		e.heldBytes += len(packet)
	}
}

// answer never waits: a waiter has room for its one outcome.
func answer(waiter chan<- outcome, o outcome) {
	if waiter != nil {
		waiter <- o
	}
}

// fail ends the attempt.
func (a *attempt) fail(now time.Time, err error) {
	l := a.local
	l.e.log.Debug("connection failed", "local", l.fqdn, "target", a.target, "error", err)
	for range a.end() {
		l.e.metrics.drop(dropTimeout)
	}
	if len(l.refusals) >= maxRefusals {
		clear(l.refusals)
	}
	l.refusals[a.target] = now.Add(refusedFor)
	for _, w := range a.waiters {
		answer(w, outcome{err: err})
	}
}

// succeed ends the attempt with its peer's session.
func (a *attempt) succeed(p *peer) {
	held := a.end()
	delete(a.local.refusals, a.target)
	for _, w := range a.waiters {
		answer(w, outcome{peer: p.public()})
	}
	p.inject(held...)
}

// end takes the attempt out of the tables and gives back what it held.
func (a *attempt) end() [][]byte {
	l := a.local
	delete(l.attempts, a.target)
	if a.request != 0 {
		l.client.Cancel(a.request)
		delete(l.requests, a.request)
	}
	for _, packet := range a.held {
		l.e.heldBytes -= len(packet)
	}
	return a.held
}

// onMiss takes a packet for which the data plane has no session.
func (e *Endpoint) onMiss(now time.Time, m missItem) {
	l, ok := e.Local(m.src)
	if !ok || l.client == nil {
		e.metrics.drop(dropLocal)
		return
	}
	if !l.inOverlay(m.dst) || l.isOwn(m.dst) {
		e.metrics.drop(dropDestination)
		return
	}
	l.connect(now, wire.Target{Addr: m.dst}, nil, m.packet)
}

// inOverlay says whether a peer can have the address.
func (l *Local) inOverlay(a netip.Addr) bool {
	for _, p := range l.overlay() {
		if p.Contains(a) {
			return !a.IsMulticast()
		}
	}
	return false
}

func (l *Local) isOwn(a netip.Addr) bool { return a == l.ipv4 || a == l.ipv6 }

// onFailed takes the NMS's refusal of a direction request, or its silence.
func (l *Local) onFailed(now time.Time, ev signaling.Failed) {
	use := l.requests[ev.RequestID]
	delete(l.requests, ev.RequestID)
	result := "timeout"
	if ev.Code != 0 {
		result = ev.Code.String()
	}
	l.e.metrics.directions.WithLabelValues("initiator", result).Inc()
	if use.check {
		use.peer.onCheckFailed(now, ev.Code)
		return
	}
	a := use.attempt
	if a == nil {
		return // a relay: the selector asks again
	}
	a.request = 0
	if p := l.find(a.target); p != nil && withdrawn(ev.Code) {
		p.revoke(now, ev.Code.String())
	}
	if ev.Code == 0 && l.tryKnown(now, a) {
		return
	}
	a.fail(now, failure(ev.Code))
}

// tryKnown uses what an earlier direction has said when the NMS is silent.
func (l *Local) tryKnown(now time.Time, a *attempt) bool {
	p := l.find(a.target)
	if p == nil || now.After(p.authorisedUntil) {
		return false
	}
	a.peer = p
	p.initiate(now)
	p.plan(now)
	return true
}

func failure(code wire.FailureCode) error {
	switch code {
	case 0:
		return fmt.Errorf("%w (the NMS does not answer)", ErrTimeout)
	case wire.FailureUnknown:
		return ErrUnknown
	case wire.FailureDenied:
		return ErrDenied
	case wire.FailureOffline:
		return ErrOffline
	case wire.FailureRejected:
		return fmt.Errorf("%w: it refused the connection", ErrDenied)
	case wire.FailureBusy:
		return fmt.Errorf("%w (the NMS)", ErrBusy)
	}
	return fmt.Errorf("%w (the NMS reports an internal failure)", ErrTimeout)
}
