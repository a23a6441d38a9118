package endpoint

import (
	"net/netip"
	"slices"
	"time"

	"github.com/cyphonic/cyphonic/internal/path"
	"github.com/cyphonic/cyphonic/internal/signaling"
	"github.com/cyphonic/cyphonic/internal/wire"
)

// offer is the relay of the latest direction.
type offer struct {
	relay     wire.Relay
	server    netip.AddrPort
	direction uint64
	own       bool // this end asked for the direction
	at        time.Time
}

// binding is this end's place at a TRS, for one relay token.
//
//	RelayBind → RelayChallenge → RelayBind with cookie → RelayBound, again every bindRefresh
type binding struct {
	peer    *peer
	relay   wire.Relay
	server  netip.AddrPort
	nonce   uint64 // of the datagram under way
	cookie  [16]byte
	channel uint32    // 0 until bound
	waiting bool      // for RelayBound
	asked   time.Time // when the datagram under way was first sent
	sent    time.Time // and last
	rtt     time.Duration
	silent  bool // the TRS has not answered in time
	tries   int
	next    time.Time
	expires time.Time // of the binding, if it is not refreshed
}

func (b *binding) path() path.Path { return path.Path{Addr: b.server, Channel: b.channel} }

// take keeps a direction's relay. When both ends have asked at the same time,
// there are two; the direction identifier tells both ends which one to take. One
// at a TRS that leaves or is silent is taken only for want of a better one.
func (p *peer) take(now time.Time, ev signaling.Routed, use purpose) {
	r, direction, own := ev.Direction.Relay, ev.DirectionID, ev.RequestID != 0
	if len(r.Token) == 0 {
		return
	}
	server, _ := p.e.families.Choose(r.IPv4, r.IPv6)
	avoided := p.avoids(now, server)
	if !avoided || own {
		p.searched(now, avoided, use.other)
	}
	if avoided && (p.selector != nil && !p.selector.Failing() || p.elsewhere(now)) {
		return
	}
	competing := len(p.offer.relay.Token) > 0 && now.Sub(p.offer.at) < offerSettle && own != p.offer.own
	if competing && direction < p.offer.direction && !p.avoids(now, p.offer.server) {
		return
	}
	p.offer = offer{relay: r, server: server, direction: direction, own: own, at: now}
	if len(p.bindings) > 0 {
		p.bind(now)
	}
}

// wantRelay binds the relay at hand and, for a session without a working path,
// asks the NMS to tell the peer as well (with a new relay).
func (p *peer) wantRelay(now time.Time) {
	p.bind(now)
	p.checkRelays(now)
	if now.Sub(p.relayAsked) < relayAsk || p.asking() || p.search.reason != "" {
		return
	}
	if p.session == nil && len(p.offer.relay.Token) > 0 {
		return // the peer binds by itself, it waits for the handshake
	}
	p.askRelay(now, now.Before(p.elseUntil) && !p.elseAsked) // without success the selector asks again
}

// checkRelays refreshes the bindings of a session: a TRS may have forgotten one, or be gone.
func (p *peer) checkRelays(now time.Time) {
	for _, b := range p.bindings {
		if p.session != nil && !b.waiting {
			b.refresh(now)
		}
	}
	p.tickBindings(now)
}

// asking says whether a direction request for a relay is under way.
func (p *peer) asking() bool {
	use, ok := p.local.requests[p.relayRequest]
	return ok && use.peer == p && !use.check
}

// askRelay asks the NMS for a direction with a relay, or with another one than it would name.
func (p *peer) askRelay(now time.Time, other bool) {
	var id uint64
	var err error
	if other {
		id, err = p.local.client.RequestElse(now, p.target())
	} else {
		id, err = p.local.client.Request(now, p.target(), true)
	}
	p.relayAsked, p.elseAsked = now, other
	if err != nil {
		return
	}
	p.relayRequest = id
	p.local.requests[id] = purpose{peer: p, other: other}
	p.local.client.Tick(now)
	p.local.pump(now)
}

func (p *peer) target() wire.Target {
	if p.certificate.FQDN != "" {
		return wire.Target{FQDN: p.certificate.FQDN}
	}
	if p.certificate.VirtualIPv4.IsValid() {
		return wire.Target{Addr: p.certificate.VirtualIPv4}
	}
	return wire.Target{Addr: p.certificate.VirtualIPv6}
}

// bind makes the binding of the present offer, if there is none.
func (p *peer) bind(now time.Time) {
	if len(p.offer.relay.Token) == 0 {
		return
	}
	if len(p.bindings) > 0 && string(p.bindings[0].relay.Token) == string(p.offer.relay.Token) {
		return
	}
	if !p.offer.server.IsValid() {
		p.e.metrics.relays.WithLabelValues("no_family").Inc()
		return
	}
	p.shedBindings()
	b := &binding{peer: p, relay: p.offer.relay, server: p.offer.server}
	p.bindings = slices.Insert(p.bindings, 0, b)
	b.refresh(now)
	p.tickBindings(now)
	p.plan(now)
}

// shedBindings makes room for another binding: the oldest one goes that is not
// bound yet, or else the oldest one that is not in use.
func (p *peer) shedBindings() {
	for _, spare := range []func(b *binding) bool{
		func(b *binding) bool { return b.channel == 0 },
		func(b *binding) bool { return !p.uses(b) },
	} {
		for i := len(p.bindings) - 1; i >= 0 && len(p.bindings) >= maxBindings; i-- {
			if spare(p.bindings[i]) {
				p.dropBinding(p.bindings[i])
			}
		}
	}
}

// uses says whether packets go through the binding.
func (p *peer) uses(b *binding) bool {
	return p.selector != nil && b.channel != 0 && p.selector.Current() == b.path()
}

// refresh sends a new RelayBind as soon as the peer is ticked.
func (b *binding) refresh(now time.Time) {
	e := b.peer.e
	delete(e.bindings, b.nonce)
	for b.nonce = e.random(); e.bindings[b.nonce] != nil; {
		b.nonce = e.random()
	}
	e.bindings[b.nonce] = b
	b.waiting, b.tries, b.next, b.asked = true, 0, now, now
}

func (p *peer) tickBindings(now time.Time) {
	for _, b := range slices.Clone(p.bindings) {
		b.tickSilence(now)
		switch {
		case now.Before(b.next):
			continue
		case b.waiting && b.tries == bindTries:
			p.e.metrics.relays.WithLabelValues("timeout").Inc()
			p.giveUp(now, b)
			continue
		case b.waiting:
			b.send(now)
			continue
		case p.wanted(now, b):
			b.refresh(now)
			b.send(now)
			continue
		}
		p.giveUp(now, b)
	}
}

// wanted says whether a binding is to be refreshed: that of the path in use, and
// the newest one while a path may need it.
func (p *peer) wanted(now time.Time, b *binding) bool {
	if p.uses(b) {
		return true
	}
	if b != p.bindings[0] && p.bindings[0].channel != 0 {
		return false
	}
	if p.selector == nil {
		return p.initiation != nil || p.next != nil || !p.expecting.next.IsZero()
	}
	return p.selector.RelayNeeded(now)
}

func (b *binding) send(now time.Time) {
	m := wire.RelayBind{Nonce: b.nonce, Cookie: b.cookie, Token: b.relay.Token}.Append(nil)
	wire.SignRelay(m, b.relay.BindKey)
	b.peer.e.send(path.Path{Addr: b.server}, m)
	b.next = now.Add(min(bindRetry<<min(b.tries, 4), bindRetryMax))
	b.tries++
	b.sent = now
}

// giveUp ends a binding that is not needed or does not work.
func (p *peer) giveUp(now time.Time, b *binding) {
	newest := b == p.bindings[0]
	p.dropBinding(b)
	if newest && string(p.offer.relay.Token) == string(b.relay.Token) && b.channel == 0 {
		p.offer = offer{} // never bound: its token is of no use
	}
	p.setRelay(now)
}

// setRelay tells the selector which relay is to be used: the newest one in effect.
func (p *peer) setRelay(now time.Time) {
	if p.selector == nil {
		return
	}
	var newest path.Path
	if b := p.bound(); b != nil {
		newest = b.path()
	}
	p.selector.SetRelay(now, newest)
}

func (p *peer) dropBinding(b *binding) {
	delete(p.e.bindings, b.nonce)
	p.bindings = slices.DeleteFunc(p.bindings, func(x *binding) bool { return x == b })
}

func (p *peer) dropBindings() {
	for len(p.bindings) > 0 {
		p.dropBinding(p.bindings[0])
	}
}

// bound is the newest binding that is in effect, nil if none.
func (p *peer) bound() *binding {
	for _, b := range p.bindings {
		if b.channel != 0 {
			return b
		}
	}
	return nil
}

func (p *peer) nextBinding() time.Time {
	var next time.Time
	for _, b := range p.bindings {
		next = soonest(next, b.next, b.silentAt())
	}
	return next
}

// onRelay takes an answer of a TRS.
func (e *Endpoint) onRelay(now time.Time, m datagramItem) {
	nonce, ok := relayNonce(m.b)
	if !ok {
		e.metrics.drop(dropMalformed)
		return
	}
	b := e.bindings[nonce]
	if b == nil || m.from.Addr != b.server {
		e.metrics.drop(dropNonce)
		return
	}
	switch wire.Type(m.b[0]) {
	case wire.TypeRelayChallenge:
		b.onChallenge(now, m.b)
	case wire.TypeRelayBound:
		b.onBound(now, m.b)
	case wire.TypeRelayError:
		b.onError(now, m.b)
	}
	b.peer.tickSearch(now)
	b.peer.act(now)
	b.peer.plan(now)
}

func relayNonce(b []byte) (uint64, bool) {
	switch wire.Type(b[0]) {
	case wire.TypeRelayChallenge:
		m, err := wire.ParseRelayChallenge(b)
		return m.Nonce, err == nil
	case wire.TypeRelayBound:
		m, err := wire.ParseRelayBound(b)
		return m.Nonce, err == nil
	}
	m, err := wire.ParseRelayError(b)
	return m.Nonce, err == nil
}

// onChallenge repeats the datagram with the cookie. A challenge has no MAC; a
// forged one costs a repetition, and those are bounded.
func (b *binding) onChallenge(now time.Time, datagram []byte) {
	m, err := wire.ParseRelayChallenge(datagram)
	if err != nil || !b.waiting || b.tries >= bindTries {
		b.peer.e.metrics.drop(dropDuplicate)
		return
	}
	b.cookie, b.silent, b.rtt = m.Cookie, false, now.Sub(b.sent)
	b.asked = now // the cookie has its own time
	b.send(now)
}

func (b *binding) onBound(now time.Time, datagram []byte) {
	p := b.peer
	m, err := wire.ParseRelayBound(datagram)
	if err != nil || !wire.VerifyRelay(datagram, b.relay.BindKey) {
		p.e.metrics.drop(dropRelayMAC)
		return
	}
	if !b.waiting {
		p.e.metrics.drop(dropDuplicate)
		return
	}
	first, again := b.channel != m.Channel, b.channel != 0
	b.waiting, b.silent, b.tries, b.channel, b.rtt = false, false, 0, m.Channel, now.Sub(b.sent)
	life := time.Duration(m.TTL) * time.Second
	b.expires = now.Add(life)
	b.next = now.Add(min(bindRefresh, max(life/3, time.Second)))
	if !first {
		return
	}
	if again {
		delete(p.e.leaving, b.server) // another process than the one that left
	}
	p.e.metrics.relays.WithLabelValues("bound").Inc()
	p.setRelay(now)
	if p.search.reason == searchSilent && b == p.bound() {
		p.selector.Replace(now)
	}
	if i := p.initiation; i != nil && i.kem == nil {
		i.send(now, b.path())
	}
}

func (b *binding) onError(now time.Time, datagram []byte) {
	p := b.peer
	m, err := wire.ParseRelayError(datagram)
	if err != nil || !wire.VerifyRelay(datagram, b.relay.BindKey) {
		p.e.metrics.drop(dropRelayMAC)
		return
	}
	if m.Code == wire.RelayErrorLeaving {
		b.onLeaving(now)
		return
	}
	p.e.metrics.relays.WithLabelValues(m.Code.String()).Inc()
	p.e.log.Warn("relay refused", "local", p.local.fqdn, "peer", p.certificate.FQDN, "code", m.Code)
	b.channel = 0
	p.giveUp(now, b)
}
