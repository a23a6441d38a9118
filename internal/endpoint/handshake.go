package endpoint

import (
	"slices"
	"time"

	"github.com/cyphonic/cyphonic/internal/path"
	"github.com/cyphonic/cyphonic/internal/tunnel"
	"github.com/cyphonic/cyphonic/internal/wire"
)

// initiation is a handshake that this end has begun. Its first message goes to
// every path in rounds; the second one goes where the answer came from.
type initiation struct {
	peer    *peer
	machine *tunnel.Initiator
	index   uint32
	started time.Time
	rounds  int
	queue   []path.Path // of the present round
	next    time.Time
	cookies int

	kem     []byte    // the second message, once the response has come
	kemPath path.Path // where the response came from
}

// initiate begins a handshake, unless one is under way.
func (p *peer) initiate(now time.Time) {
	if p.initiation != nil {
		return
	}
	index := p.e.newIndex()
	config := p.local.tunnelConfig()
	config.Verify = p.verify
	machine, err := tunnel.NewInitiator(config, p.certificate.Public, p.tag, index)
	if err != nil {
		delete(p.e.indices, index)
		p.e.metrics.handshakes.WithLabelValues("initiator", "failed").Inc()
		p.e.log.Error("handshake cannot begin", "local", p.local.fqdn, "peer", p.certificate.FQDN, "error", err)
		return
	}
	p.initiation = &initiation{peer: p, machine: machine, index: index, started: now, next: now}
	p.e.initiations[index] = p.initiation
	p.tickInitiation(now)
	p.plan(now)
}

// abandon gives the handshake begun here up.
func (p *peer) abandon(result string) {
	i := p.initiation
	if i == nil {
		return
	}
	p.e.metrics.handshakes.WithLabelValues("initiator", result).Inc()
	p.forgetInitiation()
	i.machine.Erase()
	delete(p.e.indices, i.index)
}

func (p *peer) forgetInitiation() {
	delete(p.e.initiations, p.initiation.index)
	p.initiation = nil
}

func (p *peer) nextInitiation() time.Time {
	if p.initiation == nil {
		return time.Time{}
	}
	return p.initiation.next
}

// tickInitiation sends the next message that is due.
func (p *peer) tickInitiation(now time.Time) {
	i := p.initiation
	if i == nil || now.Before(i.next) {
		return
	}
	if now.Sub(i.started) >= handshakeTimeout {
		p.abandon("timeout")
		p.failAttempts(now, ErrTimeout)
		return
	}
	if now.Sub(i.started) >= relayAfter && p.session == nil {
		p.wantRelay(now)
	}
	if len(i.queue) == 0 {
		i.queue = i.targets()
	}
	if len(i.queue) > 0 {
		i.send(now, i.queue[0])
		i.queue = i.queue[1:]
	}
	if len(i.queue) > 0 {
		i.next = now.Add(pacing)
		return
	}
	i.next = now.Add(min(handshakeRetry<<min(i.rounds, 4), handshakeRetryMax))
	if relay := i.started.Add(relayAfter); now.Before(relay) && i.next.After(relay) {
		i.next = relay
	}
	i.rounds++
}

// targets is the paths of one round. Keys are renewed on the path in use, and
// elsewhere only when that does not answer. The second message goes to one path
// alone, so that its answer shows that the peer receives there.
func (i *initiation) targets() []path.Path {
	p := i.peer
	if i.kem != nil {
		return []path.Path{i.kemPath}
	}
	var list []path.Path
	if p.selector != nil {
		list = append(list, p.selector.Current())
		if i.rounds < 2 && !p.selector.Dead() && !p.restarted {
			return list
		}
	}
	for n := range p.candidates { // each round another one first, as the bound may cut it short
		list = append(list, path.Path{Addr: p.candidates[(n+i.rounds)%len(p.candidates)]})
	}
	for _, b := range p.bindings {
		if b.channel != 0 {
			list = append(list, b.path())
		}
	}
	var once []path.Path
	for _, to := range list {
		if !slices.Contains(once, to) {
			once = append(once, to)
		}
	}
	return once
}

func (i *initiation) send(now time.Time, to path.Path) {
	if i.kem != nil {
		i.peer.send(now, to, i.kem)
		return
	}
	i.peer.send(now, to, i.machine.Message())
}

// onHandshake takes an answer within a handshake.
func (e *Endpoint) onHandshake(now time.Time, m datagramItem) {
	from := path.Path(m.from)
	switch wire.Type(m.b[0]) {
	case wire.TypeHandshakeResponse:
		r, err := wire.ParseHandshakeResponse(m.b)
		if err != nil {
			e.metrics.drop(dropMalformed)
			return
		}
		e.onResponse(now, from, r.ReceiverIndex, m.b)
	case wire.TypeCookieReply:
		r, err := wire.ParseCookieReply(m.b)
		if err != nil {
			e.metrics.drop(dropMalformed)
			return
		}
		e.onCookie(now, from, r.ReceiverIndex, m.b)
	default: // Data of a handshake
		h, err := wire.ParseDataHeader(m.b)
		if err != nil {
			e.metrics.drop(dropMalformed)
			return
		}
		if r := e.responses[h.ReceiverIndex]; r != nil {
			e.onKEMKey(now, from, r, m.b)
			return
		}
		e.onKEMCiphertext(now, h.ReceiverIndex, m.b)
	}
}

func (e *Endpoint) onResponse(now time.Time, from path.Path, index uint32, b []byte) {
	i := e.initiations[index]
	if i == nil {
		e.metrics.drop(dropIndex)
		return
	}
	if i.kem != nil {
		e.metrics.drop(dropDuplicate) // the same answer by another way
		return
	}
	kem, err := i.machine.Response(b)
	if err != nil {
		e.metrics.drop(handshakeReason(err))
		return
	}
	i.kem, i.kemPath, i.rounds, i.queue = kem, from, 0, nil
	i.next = now
	i.peer.tick(now)
}

func (e *Endpoint) onCookie(now time.Time, from path.Path, index uint32, b []byte) {
	i := e.initiations[index]
	if i == nil {
		e.metrics.drop(dropIndex)
		return
	}
	if i.cookies == maxCookies {
		e.metrics.drop(dropDuplicate)
		return
	}
	if err := i.machine.CookieReply(b); err != nil {
		e.metrics.drop(handshakeReason(err))
		return
	}
	i.cookies++
	i.send(now, from)
}

// onKEMCiphertext completes a handshake begun here.
func (e *Endpoint) onKEMCiphertext(now time.Time, index uint32, b []byte) {
	i := e.initiations[index]
	if i == nil {
		e.metrics.drop(dropIndex)
		return
	}
	session, err := i.machine.Complete(b)
	if err != nil {
		e.metrics.drop(handshakeReason(err))
		return
	}
	p := i.peer
	p.forgetInitiation()
	s, err := p.receive(now, session, i.kemPath)
	if err != nil {
		e.metrics.handshakes.WithLabelValues("initiator", "failed").Inc()
		e.log.Error("session cannot be used", "local", p.local.fqdn, "peer", p.certificate.FQDN, "error", err)
		session.Erase()
		delete(e.indices, index)
		p.failAttempts(now, ErrBusy)
		return
	}
	e.metrics.handshakes.WithLabelValues("initiator", "ok").Inc()
	e.metrics.handshakeSeconds.Observe(now.Sub(i.started).Seconds())
	if p.session == nil {
		p.setup = now.Sub(i.started)
	}
	p.use(now, s)
}

// failAttempts ends the attempts whose handshake with the peer has failed.
func (p *peer) failAttempts(now time.Time, err error) {
	if p.session != nil {
		return
	}
	for _, a := range p.local.attempts {
		if a.peer == p {
			a.fail(now, err)
		}
	}
}
