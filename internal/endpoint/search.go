package endpoint

import (
	"net/netip"
	"slices"
	"time"

	"github.com/cyphonic/cyphonic/internal/tunnel"
)

// search is the way of a session to another relay: the TRS of the present one
// has said that it leaves, or does not answer any more.
//
//	reason → direction request → RelayBind at the other TRS → probes through it → the session moves
//
// The present relay is used until the other one works in both directions. All
// steps are repeated, ever more slowly, until the session has left it.
type search struct {
	reason string    // "": nothing is searched
	next   time.Time // when to ask
	tries  int
	other  bool // ask for another relay than the one that the NMS would name
}

// Reasons of a search; values of the label "reason".
const (
	searchLeaving = "leaving"
	searchSilent  = "silent"
)

// onLeaving takes the word of a TRS that it leaves. It is said by who has the
// binding's key, about a RelayBind of a moment ago: a notice that is sent again
// later has a nonce that nobody knows any more.
func (b *binding) onLeaving(now time.Time) {
	e := b.peer.e
	if b.waiting && b.channel == 0 {
		b.tries = bindTries // perhaps a refusal: unless RelayBound comes with it, this is the end
	}
	if !e.leaves(now, b.server) {
		e.metrics.relays.WithLabelValues("leaving").Inc()
		e.log.Info("relay leaves", "relay", b.server)
	}
	if len(e.leaving) >= maxLeaving {
		clear(e.leaving)
	}
	e.leaving[b.server] = now.Add(leavingFor)
}

// leaves says whether a TRS has said that it leaves.
func (e *Endpoint) leaves(now time.Time, server netip.AddrPort) bool {
	until, ok := e.leaving[server]
	if ok && !now.Before(until) {
		delete(e.leaving, server)
	}
	return ok && now.Before(until)
}

// silentAt is when a TRS that has not answered is taken for gone; zero if it need not answer.
func (b *binding) silentAt() time.Time {
	if !b.waiting || b.silent {
		return time.Time{}
	}
	return b.asked.Add(max(silentAfter, 2*b.rtt))
}

// tickSilence notices that the TRS does not answer. That alone may be loss; the path is checked.
func (b *binding) tickSilence(now time.Time) {
	if at := b.silentAt(); at.IsZero() || now.Before(at) {
		return
	}
	b.silent = true
	if b.peer.uses(b) {
		b.peer.selector.Doubt(now)
	}
}

// avoids says whether a relay at the TRS is no good at the moment.
func (p *peer) avoids(now time.Time, server netip.AddrPort) bool {
	return p.e.leaves(now, server) || slices.ContainsFunc(p.bindings, func(b *binding) bool { return b.server == server && b.silent })
}

// elsewhere says whether a relay at a TRS that is not avoided is at hand.
func (p *peer) elsewhere(now time.Time) bool {
	return slices.ContainsFunc(p.bindings, func(b *binding) bool { return b.channel != 0 && !p.avoids(now, b.server) })
}

// whyMove says why the session needs another relay than it has, or "".
func (p *peer) whyMove(now time.Time) string {
	if p.session == nil {
		return ""
	}
	relay := p.selector.Current()
	switch {
	case relay.Relayed() && p.e.leaves(now, relay.Addr):
		return searchLeaving
	case !p.selector.Failing():
		return ""
	case !relay.Relayed():
		if len(p.bindings) > 0 && !p.elsewhere(now) && p.bindings[0].silent {
			return searchSilent // the relay that should replace the direct path
		}
		return ""
	}
	answers := func(b *binding) bool { return b.server == relay.Addr && b.channel != 0 && !b.silent }
	if slices.ContainsFunc(p.bindings, answers) {
		return ""
	}
	return searchSilent
}

// tickSearch begins, carries on and ends the search.
func (p *peer) tickSearch(now time.Time) {
	p.dropLeaving(now)
	s, why := &p.search, p.whyMove(now)
	switch {
	case why == "":
		if s.reason != "" {
			p.cancelRelay()
			*s = search{}
		}
		return
	case why != s.reason:
		p.beginSearch(now, why)
	}
	if !now.Before(s.next) {
		p.seek(now)
	}
}

// dropLeaving gives up bindings at a TRS that leaves and that no packet needs. The other
// end may still send through them: the TRS keeps them for that.
func (p *peer) dropLeaving(now time.Time) {
	if p.selector == nil || p.selector.Failing() {
		return
	}
	for _, b := range slices.Clone(p.bindings) {
		if b.server == p.selector.Current().Addr || !p.e.leaves(now, b.server) {
			continue
		}
		p.dropBinding(b)
		if string(p.offer.relay.Token) == string(b.relay.Token) {
			p.offer = offer{}
		}
		p.setRelay(now)
	}
}

// beginSearch lets the end that decides about paths ask first: the direction that it
// gets serves both. A silent TRS may not be missed by the NMS yet, so another one is asked for;
// one that leaves has told the NMS itself.
func (p *peer) beginSearch(now time.Time, why string) {
	wait := time.Duration(0)
	if !tunnel.Wins(p.local.id, p.id) {
		wait = searchYield
	}
	if why == searchSilent {
		wait /= 4
	}
	p.search = search{reason: why, next: now.Add(wait), other: why == searchSilent}
	if why == searchSilent {
		p.elseUntil = now.Add(elseFor)
	}
	p.e.metrics.searches.WithLabelValues(why).Inc()
	p.e.log.Info("session needs another relay", "local", p.local.fqdn, "peer", p.certificate.FQDN, "relay", p.selector.Current().Addr, "reason", why)
}

// seek asks the NMS for a direction with another relay.
func (p *peer) seek(now time.Time) {
	s := &p.search
	if p.asking() && s.tries > 0 {
		if patient := p.relayAsked.Add(p.patience()); now.Before(patient) {
			s.next = patient
			return
		}
		s.other = !s.other // perhaps the NMS does not know the question; its answer is still taken
	}
	most := searchRetryMax
	if s.reason == searchSilent {
		most = silentRetryMax
	}
	s.next = now.Add(min(searchRetry<<min(s.tries, 10), most))
	s.tries++
	p.askRelay(now, s.other)
}

func (p *peer) patience() time.Duration { return max(searchPatience, 3*p.selector.RTT()) }

// cancelRelay forgets the request under way.
func (p *peer) cancelRelay() {
	if p.asking() {
		p.local.client.Cancel(p.relayRequest)
		delete(p.local.requests, p.relayRequest)
	}
}

// searched takes note of a direction. If it names a relay that is no good the
// question was the wrong one; the other one follows, the first time at once.
func (p *peer) searched(now time.Time, avoided, other bool) {
	s := &p.search
	switch {
	case s.reason == "":
	case !avoided:
		s.next = now.Add(p.patience()) // time to bind and to move
	case s.tries == 1:
		s.other, s.next = !other, now
	case s.tries < searchHurry:
		s.other, s.next = !other, soonest(s.next, now.Add(searchRetry))
	default:
		s.other = !other
	}
}
