package endpoint

import (
	"net/netip"
	"slices"
	"time"

	"github.com/cyphonic/cyphonic/internal/path"
	"github.com/cyphonic/cyphonic/internal/wire"
)

// offer is the relay of the latest direction.
type offer struct {
	relay     wire.Relay
	direction uint64
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
	channel uint32 // 0 until bound
	waiting bool   // for RelayBound
	tries   int
	next    time.Time
	expires time.Time // of the binding, if it is not refreshed
}

func (b *binding) path() path.Path { return path.Path{Addr: b.server, Channel: b.channel} }

// take keeps a direction's relay. When both ends have asked at the same time,
// there are two; the direction identifier tells both ends which one to take.
func (p *peer) take(now time.Time, direction uint64, r wire.Relay) {
	if len(r.Token) == 0 {
		return
	}
	competing := len(p.offer.relay.Token) > 0 && now.Sub(p.offer.at) < offerSettle
	if competing && direction < p.offer.direction {
		return
	}
	p.offer = offer{relay: r, direction: direction, at: now}
	if len(p.bindings) > 0 {
		p.bind(now)
	}
}

// wantRelay binds the relay at hand and, for a session without a working path,
// asks the NMS to tell the peer as well (with a new relay).
func (p *peer) wantRelay(now time.Time) {
	p.bind(now)
	if p.session != nil && len(p.bindings) > 0 && !p.bindings[0].waiting {
		p.bindings[0].refresh(now) // the TRS may have forgotten it
		p.tickBindings(now)
	}
	if now.Sub(p.relayAsked) < relayAsk || p.local.requests[p.relayRequest].peer == p {
		return
	}
	if p.session == nil && len(p.offer.relay.Token) > 0 {
		return // the peer binds by itself, it waits for the handshake
	}
	id, err := p.local.client.Request(now, p.target(), true)
	if err != nil {
		return // the selector asks again
	}
	p.relayRequest, p.relayAsked = id, now
	p.local.requests[id] = purpose{peer: p}
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
	server, ok := p.e.families.Choose(p.offer.relay.IPv4, p.offer.relay.IPv6)
	if !ok {
		p.e.metrics.relays.WithLabelValues("no_family").Inc()
		return
	}
	for len(p.bindings) > 1 { // the present and the one before are enough
		p.dropBinding(p.bindings[1])
	}
	b := &binding{peer: p, relay: p.offer.relay, server: server}
	p.bindings = slices.Insert(p.bindings, 0, b)
	b.refresh(now)
	p.tickBindings(now)
	p.plan(now)
}

// refresh sends a new RelayBind as soon as the peer is ticked.
func (b *binding) refresh(now time.Time) {
	e := b.peer.e
	delete(e.bindings, b.nonce)
	for b.nonce = e.random(); e.bindings[b.nonce] != nil; {
		b.nonce = e.random()
	}
	e.bindings[b.nonce] = b
	b.waiting, b.tries, b.next = true, 0, now
}

func (p *peer) tickBindings(now time.Time) {
	for _, b := range slices.Clone(p.bindings) {
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

// wanted says whether a binding is to be refreshed: the newest one while a path
// may need it.
func (p *peer) wanted(now time.Time, b *binding) bool {
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
}

// giveUp ends a binding that is not needed or does not work.
func (p *peer) giveUp(now time.Time, b *binding) {
	newest := b == p.bindings[0]
	p.dropBinding(b)
	if newest && string(p.offer.relay.Token) == string(b.relay.Token) && b.channel == 0 {
		p.offer = offer{} // never bound: its token is of no use
	}
	if newest && p.selector != nil {
		var rest path.Path
		if before := p.bound(); before != nil {
			rest = before.path()
		}
		p.selector.SetRelay(now, rest)
	}
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
		next = soonest(next, b.next)
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
	b.cookie = m.Cookie
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
	first := b.channel != m.Channel
	b.waiting, b.tries, b.channel = false, 0, m.Channel
	life := time.Duration(m.TTL) * time.Second
	b.expires = now.Add(life)
	b.next = now.Add(min(bindRefresh, max(life/3, time.Second)))
	if !first {
		return
	}
	p.e.metrics.relays.WithLabelValues("bound").Inc()
	if b == p.bindings[0] && p.selector != nil {
		p.selector.SetRelay(now, b.path())
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
	p.e.metrics.relays.WithLabelValues(m.Code.String()).Inc()
	p.e.log.Warn("relay refused", "local", p.local.fqdn, "peer", p.certificate.FQDN, "code", m.Code)
	b.channel = 0
	p.giveUp(now, b)
}
