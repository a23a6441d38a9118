package endpoint

import (
	"slices"
	"time"

	"github.com/cyphonic/cyphonic/internal/path"
	"github.com/cyphonic/cyphonic/internal/tunnel"
	"github.com/cyphonic/cyphonic/internal/wire"
)

// response is a handshake that a peer has begun and this end has answered.
type response struct {
	peer      *peer
	machine   *tunnel.Responder
	index     uint32
	ephemeral [32]byte
	message   []byte // HandshakeResponse
	session   *tunnel.Session
	reply     []byte // with KEMCiphertext, once there is a session
	replyTo   path.Path
	replies   int
	next      time.Time // when to repeat reply
	expires   time.Time
}

// rate counts events of the present second.
type rate struct {
	second int64
	count  int
}

func (r *rate) add(now time.Time) int {
	if s := now.Unix(); s != r.second {
		r.second, r.count = s, 0
	}
	r.count++
	return r.count
}

// onInit takes a HandshakeInit. The checks stand in the order of their cost;
// public-key work comes last and only for those who know the identity's key
// (MAC1) and, under load, receive at the address they write from (MAC2).
func (e *Endpoint) onInit(now time.Time, m datagramItem) {
	init, err := wire.ParseHandshakeInit(m.b)
	if err != nil {
		e.metrics.drop(dropMalformed)
		return
	}
	l := e.byTag[init.ReceiverTag]
	if l == nil {
		e.metrics.drop(dropTag)
		return
	}
	static := l.key.Public().Static
	if !e.guard.CheckMAC1(static, m.b) {
		e.metrics.drop(dropMAC)
		return
	}
	from := path.Path(m.from)
	if r := e.answered[init.Ephemeral]; r != nil {
		if r.session == nil && r.machine.RemoteIndex() == init.SenderIndex {
			e.send(from, r.message) // the same by another way, or repeated
		} else {
			e.metrics.drop(dropDuplicate)
		}
		return
	}
	count := e.handshakes.add(now)
	if (count > freeHandshakes || len(e.inbox.inits) > initQueue/2) && !e.guard.CheckMAC2(m.b, from.Addr, now) {
		e.metrics.drop(dropCookie)
		if reply, err := e.guard.Reply(static, m.b, from.Addr, now); err == nil {
			e.send(from, reply)
		}
		return
	}
	if count > maxHandshakes {
		e.metrics.drop(dropLoad)
		return
	}
	l.respond(now, from, init, m.b)
}

// respond does the public-key work and decides whether the peer may.
func (l *Local) respond(now time.Time, from path.Path, init wire.HandshakeInit, b []byte) {
	e := l.e
	index := e.newIndex()
	machine, message, err := tunnel.NewResponder(l.tunnelConfig(), index, b)
	if err != nil {
		delete(e.indices, index)
		e.metrics.drop(handshakeReason(err))
		return
	}
	p := l.peers[machine.Peer().NodeID()]
	reason := ""
	switch {
	case p == nil || now.After(p.authorisedUntil):
		reason = dropUnauthorised
	case !sameNames(machine.Peer(), p.certificate):
		reason = dropCertificate
	case p.unsettled():
		reason = dropUnsettled
		p.check(now) // the peer repeats its message, and gets an answer once the NMS has given one
	case p.initiation != nil && tunnel.Wins(l.id, p.id) && now.Sub(p.initiation.started) < deferFor:
		reason = dropSimultaneous
	}
	if reason != "" {
		e.metrics.drop(reason)
		machine.Erase()
		delete(e.indices, index)
		return
	}
	// An own handshake goes on: a HandshakeInit may be a replay, only its completion is not.
	for len(p.responses) >= maxResponses {
		p.dropResponse(p.responses[0])
	}
	r := &response{
		peer: p, machine: machine, index: index, ephemeral: init.Ephemeral,
		message: message, expires: now.Add(handshakeTimeout),
	}
	p.responses = append(p.responses, r)
	e.responses[index] = r
	e.answered[r.ephemeral] = r
	e.send(from, message)
	p.plan(now)
}

// dropResponse forgets a handshake; a session that it has made goes on.
func (p *peer) dropResponse(r *response) {
	e := p.e
	p.responses = slices.DeleteFunc(p.responses, func(x *response) bool { return x == r })
	delete(e.responses, r.index)
	delete(e.answered, r.ephemeral)
	if r.session == nil {
		delete(e.indices, r.index)
		e.metrics.handshakes.WithLabelValues("responder", "timeout").Inc()
	}
	r.machine.Erase()
}

// onKEMKey completes a handshake that the peer has begun. The session receives
// at once, and is used for sending when the peer has been heard in it.
func (e *Endpoint) onKEMKey(now time.Time, from path.Path, r *response, b []byte) {
	if r.session != nil && from != r.replyTo {
		e.metrics.drop(dropDuplicate) // the reply goes to one path, so that its use proves that path
		return
	}
	session, reply, err := r.machine.Complete(b)
	if err != nil {
		e.metrics.drop(handshakeReason(err))
		return
	}
	p := r.peer
	if r.session == nil {
		s, err := p.receive(now, session, from)
		if err != nil {
			e.log.Error("session cannot be used", "local", p.local.fqdn, "peer", p.certificate.FQDN, "error", err)
			e.metrics.handshakes.WithLabelValues("responder", "failed").Inc()
			session.Erase()
			p.dropResponse(r)
			return
		}
		if p.next != nil {
			p.destroy(now, p.next)
		}
		if p.initiation != nil && p.initiation.kem == nil {
			p.abandon("yielded")
		}
		p.expecting.answered = true
		p.next = s
		r.session, r.reply = session, reply
		r.expires = now.Add(confirmFor)
	}
	r.replyTo = from
	r.next = now.Add(handshakeRetry)
	e.send(from, reply)
	p.plan(now)
}

// tickResponses repeats the last message until the peer is heard in the session,
// and forgets what has taken too long.
func (p *peer) tickResponses(now time.Time) {
	for _, r := range slices.Clone(p.responses) {
		if !now.Before(r.expires) {
			p.dropResponse(r)
			continue
		}
		if r.reply == nil || r.next.IsZero() || now.Before(r.next) {
			continue
		}
		if p.next == nil || p.next.Session != r.session {
			r.next = time.Time{} // confirmed or replaced
			continue
		}
		p.e.send(r.replyTo, r.reply)
		r.replies++
		r.next = now.Add(min(handshakeRetry<<min(r.replies, 4), handshakeRetryMax))
	}
}

func (p *peer) nextResponse() time.Time {
	var next time.Time
	for _, r := range p.responses {
		next = soonest(next, r.next, r.expires)
	}
	return next
}

// expectation is that of the end that waits for the other's handshake: it
// punches its own NAT, and binds the relay if nothing comes.
type expectation struct {
	since    time.Time
	next     time.Time // zero: nothing is expected
	punches  int
	answered bool // a handshake of the peer has been completed
}

// punchDelay is the time from one round of punches to the next.
func punchDelay(n int) time.Duration {
	return [...]time.Duration{50, 150, 300, 500, 800, 1000}[min(n, 5)] * time.Millisecond
}

// expect begins to wait for the peer's handshake.
func (p *peer) expect(now time.Time) {
	if p.expecting.next.IsZero() {
		p.expecting = expectation{since: now, next: now}
	}
	p.tickExpecting(now)
	p.plan(now)
}

func (p *peer) tickExpecting(now time.Time) {
	x := &p.expecting
	if x.next.IsZero() || now.Before(x.next) {
		return
	}
	waited := now.Sub(x.since)
	if waited >= handshakeTimeout || p.initiation != nil {
		*x = expectation{}
		return
	}
	if !x.answered {
		p.punch(now)
	}
	if waited >= relayAfter {
		p.bind(now)
	}
	x.next = now.Add(punchDelay(x.punches))
	x.punches++
}

// punch opens this end's NAT towards the peer's candidates.
func (p *peer) punch(now time.Time) {
	b := wire.Punch{Nonce: uint32(p.e.random())}.Append(nil)
	for _, c := range p.candidates {
		p.send(now, path.Path{Addr: c}, b)
	}
}
