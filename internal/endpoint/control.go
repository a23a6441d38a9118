package endpoint

import (
	"context"
	"time"

	"github.com/cyphonic/cyphonic/internal/dataplane"
	"github.com/cyphonic/cyphonic/internal/path"
	"github.com/cyphonic/cyphonic/internal/wire"
)

// control is the control goroutine: everything that changes state happens here.
func (e *Endpoint) control(ctx context.Context) {
	e.readAddresses()
	alarm := time.NewTimer(time.Hour)
	defer alarm.Stop()
	for {
		now := e.o.Now()
		for _, command := range e.takeCommands() {
			command(now)
		}
		e.timers.run(now)
		alarm.Reset(e.untilNext())
		select {
		case <-ctx.Done():
			e.leave(e.o.Now())
			return
		case <-e.wake:
		case <-alarm.C:
		case m := <-e.inbox.control:
			e.onControl(e.o.Now(), m)
		case m := <-e.inbox.signals:
			e.onSignal(e.o.Now(), m)
		case m := <-e.inbox.inits:
			e.onInit(e.o.Now(), m)
		case m := <-e.inbox.handshakes:
			e.onHandshake(e.o.Now(), m)
		case m := <-e.inbox.relays:
			e.onRelay(e.o.Now(), m)
		case m := <-e.inbox.misses:
			e.inbox.sources.give(m.src)
			e.onMiss(e.o.Now(), m)
		case m := <-e.inbox.seen:
			e.onSeen(e.o.Now(), m)
		case r := <-e.renewed:
			r.local.onRenewed(e.o.Now(), r)
		}
	}
}

func (e *Endpoint) untilNext() time.Duration {
	next, ok := e.timers.next()
	if !ok {
		return time.Hour
	}
	return max(0, next.Sub(e.o.Now()))
}

// leave says farewell for all identities.
func (e *Endpoint) leave(now time.Time) {
	for _, command := range e.takeCommands() {
		command(now)
	}
	for _, l := range e.byTag {
		l.remove(now)
	}
}

// after runs f on the control goroutine after d, unless Run ends before.
func (e *Endpoint) after(now time.Time, d time.Duration, f func()) {
	e.timers.set(newTimer(func(time.Time) { f() }), now.Add(d))
}

// onSignal hands a datagram of the NMS to the identity that its tag names.
func (e *Endpoint) onSignal(now time.Time, m datagramItem) {
	reply, err := wire.ParseSignalReply(m.b)
	if err != nil {
		e.metrics.drop(dropMalformed)
		return
	}
	l := e.byTag[reply.ReceiverTag]
	if l == nil {
		e.metrics.drop(dropTag)
		return
	}
	if err := l.client.Receive(now, m.b); err != nil {
		e.metrics.drop(signalReason(err))
	}
	l.pump(now)
}

// onControl takes a message that a peer has said inside a session.
func (e *Endpoint) onControl(now time.Time, m controlItem) {
	p := e.byAssociation[m.association]
	if p == nil || !p.owns(m.session) {
		e.metrics.drop(dropPeer)
		return
	}
	from := path.Path(m.from)
	p.confirmed(now, m.session)
	p.selector.Seen(now, from)
	message, err := wire.ParseControl(m.message)
	if err != nil {
		e.metrics.drop(dropMalformed)
		p.act(now)
		return
	}
	switch c := message.(type) {
	case wire.Probe:
		p.try(now, from, wire.ProbeReply{ID: c.ID, Observed: m.from.Addr})
	case wire.ProbeReply:
		if !p.selector.Replied(now, from, c.ID) {
			e.metrics.drop(dropProbe)
		}
	case wire.CandidateUpdate:
		p.selector.Announced(now, path.Usable(c.Candidates, e.families, p.local.overlay()))
		p.candidates = p.selector.Direct()
	case wire.Close:
		p.endSession(now)
		return
	case wire.Keepalive:
	default:
		e.metrics.drop(dropType)
	}
	p.act(now)
}

func (e *Endpoint) onSeen(now time.Time, m seenItem) {
	p := e.byAssociation[m.association]
	if p == nil || !p.owns(m.session) {
		return
	}
	from := path.Path(m.from)
	p.confirmed(now, m.session)
	p.selector.Seen(now, from)
	p.act(now)
}

// send sends a datagram that is no part of a session.
func (e *Endpoint) send(to path.Path, b []byte) {
	if err := e.plane.SendDatagram(dataplane.Path(to), b); err != nil {
		e.log.Debug("datagram not sent", "to", to.Addr, "error", err)
	}
}
