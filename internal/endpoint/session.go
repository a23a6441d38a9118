package endpoint

import (
	"slices"
	"time"

	"github.com/cyphonic/cyphonic/internal/dataplane"
	"github.com/cyphonic/cyphonic/internal/path"
	"github.com/cyphonic/cyphonic/internal/tunnel"
	"github.com/cyphonic/cyphonic/internal/wire"
)

// prepare makes the association that belongs to the certificate's addresses.
func (p *peer) prepare() error {
	l, c := p.local, p.certificate
	addresses := dataplane.Addresses{
		LocalIPv4: l.ipv4, LocalIPv6: l.ipv6,
		PeerIPv4: c.VirtualIPv4, PeerIPv6: c.VirtualIPv6,
	}
	if p.association != nil && p.association.Addresses() == addresses {
		return nil
	}
	if p.association != nil { // the peer has got other virtual IPs
		p.endSession(p.e.o.Now())
		p.detach()
	}
	a := dataplane.NewAssociation(addresses)
	if err := p.e.plane.AddAssociation(a); err != nil {
		return err
	}
	a.SetFilter(p.rules)
	p.association = a
	p.e.byAssociation[a] = p
	return nil
}

// receive lets the data plane open what comes in a new session.
func (p *peer) receive(now time.Time, s *tunnel.Session, on path.Path) (*epoch, error) {
	if err := p.prepare(); err != nil {
		return nil, err
	}
	if err := p.e.plane.AddSession(s, p.association); err != nil {
		return nil, err
	}
	return &epoch{Session: s, path: on, since: now}, nil
}

// use makes a session the one that packets are sent in. The one before still
// receives for a while.
func (p *peer) use(now time.Time, s *epoch) {
	if old := p.session; old != nil {
		p.retire(now, old)
		p.e.metrics.rekeys.Inc()
	}
	p.session = s
	p.rekeyAt = time.Time{}
	p.restarted = false
	p.expecting = expectation{}
	if p.selector == nil {
		p.selector = path.NewSelector(path.Config{
			Controlling: tunnel.Wins(p.local.id, p.id),
			NewID:       p.e.random,
		})
		p.selector.SetDirect(now, p.candidates)
		if b := p.bound(); b != nil {
			p.selector.SetRelay(now, b.path())
		}
		p.lastUser = now
	}
	p.selector.Established(now, s.path)
	p.act(now) // sets the path
	p.association.SetSession(s.Session)
	p.planCheck(now)
	p.resolve()
	p.plan(now)
}

// confirmed is called for every authenticated message: the first one in a
// session that this end has answered shows that the peer has it as well, and so
// that it receives where the answer went. Where the message came from shows
// nothing, as its source can be forged.
func (p *peer) confirmed(now time.Time, s *tunnel.Session) {
	if p.next == nil || p.next.Session != s {
		return
	}
	next := p.next
	p.next = nil
	p.e.metrics.handshakes.WithLabelValues("responder", "ok").Inc()
	p.use(now, next)
}

// resolve ends the attempts that wanted this peer, whoever began the handshake.
func (p *peer) resolve() {
	c := p.certificate
	for _, t := range []wire.Target{{FQDN: c.FQDN}, {Addr: c.VirtualIPv4}, {Addr: c.VirtualIPv6}} {
		if a := p.local.attempts[normal(t)]; a != nil {
			a.succeed(p)
		}
	}
}

// retire takes a session out of use. It receives until its time is over: where
// two handshakes have crossed, the peer may go on sending in it.
func (p *peer) retire(now time.Time, s *epoch) {
	s.until = s.since.Add(tunnel.RejectAfter)
	p.retired = append(p.retired, s)
	if len(p.retired) > maxRetired {
		p.destroy(now, p.retired[0])
		p.retired = slices.Delete(p.retired, 0, 1)
	}
}

// destroy ends a session for good.
func (p *peer) destroy(now time.Time, s *epoch) {
	p.e.plane.RemoveSession(s.LocalIndex())
	p.e.after(now, eraseAfter, func() {
		s.Erase()
		delete(p.e.indices, s.LocalIndex())
	})
}

// detach takes the pair out of the data plane, with the flows it has seen.
func (p *peer) detach() {
	if p.association == nil {
		return
	}
	p.e.plane.RemoveAssociation(p.association)
	p.local.gone.add(p.association.Stats())
	delete(p.e.byAssociation, p.association)
	p.association = nil
}

// endSession forgets all keys of the pair; the next packet begins anew. The
// association stays: flows that are open go on in the next session.
func (p *peer) endSession(now time.Time) {
	if p.association != nil {
		p.association.SetSession(nil)
	}
	if p.session != nil {
		p.retired = append(p.retired, p.session)
	}
	if p.next != nil {
		p.retired = append(p.retired, p.next)
	}
	for _, s := range p.retired {
		p.destroy(now, s)
	}
	p.session, p.next, p.retired, p.selector = nil, nil, nil, nil
	p.restarted = false
	p.cancelRelay()
	p.search = search{}
	p.dropBindings()
	p.count("")
}

// tickSession watches over the session's age and its path.
func (p *peer) tickSession(now time.Time) {
	kept := p.retired[:0]
	for _, s := range p.retired {
		if now.Before(s.until) {
			kept = append(kept, s)
			continue
		}
		p.destroy(now, s)
	}
	p.retired = kept
	if p.next != nil && now.Sub(p.next.since) > handshakeTimeout {
		p.e.metrics.handshakes.WithLabelValues("responder", "unconfirmed").Inc()
		p.destroy(now, p.next)
		p.next = nil
	}
	if p.session == nil {
		return
	}
	p.tickUser(now)
	switch age := now.Sub(p.session.since); {
	case age >= tunnel.RejectAfter || p.session.Sent() >= tunnel.RejectAfterMessages:
		p.e.log.Info("session ended: its keys could not be renewed", "local", p.local.fqdn, "peer", p.certificate.FQDN)
		p.endSession(now)
		return
	case now.Sub(p.lastUser) >= idleAfter:
		p.say(p.association.Path(), wire.Close{Reason: wire.CloseNormal})
		p.endSession(now)
		return
	case !now.Before(p.rekeyTime()) && p.initiation == nil:
		p.rekeyAt = now.Add(rekeyRetry)
		p.initiate(now)
	}
	stats := p.association.Stats()
	p.selector.Tick(now, path.Traffic{LastTx: p.e.plane.Time(stats.LastTx), LastRx: p.e.plane.Time(stats.LastRx), RxPackets: stats.RxPackets})
	p.act(now)
}

// tickUser notes when a user last sent or received something.
func (p *peer) tickUser(now time.Time) {
	stats := p.association.Stats()
	if packets := stats.TxPackets + stats.RxPackets; packets != p.userPackets {
		p.userPackets, p.lastUser = packets, now
	}
}

// rekeyTime is when the keys are to be renewed: by the end that began the
// handshake, or by the other one if that fails.
func (p *peer) rekeyTime() time.Time {
	if !p.rekeyAt.IsZero() {
		return p.rekeyAt
	}
	if p.session.Sent() >= tunnel.RekeyAfterMessages {
		return p.session.since
	}
	if p.session.Initiator() {
		return p.session.since.Add(tunnel.RekeyAfter)
	}
	return p.session.since.Add(tunnel.RekeyAfter + responderRekey)
}

func (p *peer) nextSession() time.Time {
	var next time.Time
	for _, s := range p.retired {
		next = soonest(next, s.until)
	}
	if p.next != nil {
		next = soonest(next, p.next.since.Add(handshakeTimeout+time.Millisecond))
	}
	if p.session == nil {
		return next
	}
	if p.initiation == nil {
		next = soonest(next, p.rekeyTime())
	}
	return soonest(next, p.session.since.Add(tunnel.RejectAfter), p.selector.Next())
}

// act carries out what the selector wants.
func (p *peer) act(now time.Time) {
	if p.selector == nil {
		return
	}
	for _, a := range p.selector.Actions() {
		if p.selector == nil {
			return // an earlier action has ended the session
		}
		switch a.Op {
		case path.OpProbe:
			p.try(now, a.Path, wire.Probe{ID: a.ID})
		case path.OpUse:
			p.follow(a.Path)
		case path.OpAnnounce:
			p.say(dataplane.Path(a.Path), wire.CandidateUpdate{Candidates: p.local.reachable()})
		case path.OpRelay:
			p.wantRelay(now)
		case path.OpRelayCheck:
			p.checkRelays(now)
		case path.OpRestart:
			p.e.log.Info("peer does not answer: new handshake", "local", p.local.fqdn, "peer", p.certificate.FQDN)
			p.initiate(now)
		}
	}
	p.plan(now)
}

// follow changes the path of the session.
func (p *peer) follow(to path.Path) {
	if p.label != "" {
		p.changes++
		p.e.metrics.pathChanges.WithLabelValues(p.pathName(to)).Inc()
		p.e.log.Info("path changed", "local", p.local.fqdn, "peer", p.certificate.FQDN, "to", to.Addr, "path", p.pathName(to))
	}
	p.association.SetPath(dataplane.Path(to))
	p.count(p.pathName(to))
}

// count keeps the peers gauge.
func (p *peer) count(label string) {
	if p.label == label {
		return
	}
	if p.label != "" {
		p.e.metrics.peers.WithLabelValues(p.label).Dec()
	}
	if label != "" {
		p.e.metrics.peers.WithLabelValues(label).Inc()
	}
	p.label = label
}

// pathName is the word for a path: relayed, punched (a NAT is between the two)
// or direct.
func (p *peer) pathName(to path.Path) string {
	switch {
	case to.Relayed():
		return "relayed"
	case p.kind != wire.RouteDirect && to.Addr.Addr().Is4() && !to.Addr.Addr().IsPrivate():
		return "punched"
	}
	return "direct"
}
