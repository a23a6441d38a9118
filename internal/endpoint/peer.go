package endpoint

import (
	"errors"
	"net/netip"
	"time"

	"github.com/cyphonic/cyphonic/internal/dataplane"
	"github.com/cyphonic/cyphonic/internal/identity"
	"github.com/cyphonic/cyphonic/internal/path"
	"github.com/cyphonic/cyphonic/internal/tunnel"
	"github.com/cyphonic/cyphonic/internal/wire"
)

// peer is one that the NMS has named in a direction for one identity. It
// outlives its sessions, so that it can be reached while the NMS is away.
type peer struct {
	// Constant.
	local *Local
	e     *Endpoint
	id    identity.NodeID
	timer *timer

	// From the latest direction or handshake.
	certificate     *identity.Certificate
	tag             uint32
	candidates      []netip.AddrPort
	rules           []wire.Rule
	kind            wire.RouteKind // of the latest direction that was not about a relay
	authorisedUntil time.Time
	restarted       bool // the tag has changed since the session was made
	doubt           doubt
	unproven        unproven
	punched         time.Time // when a direction was last answered with punches

	// Handshakes.
	initiation *initiation // begun here, nil if none
	responses  []*response // begun by the peer, the oldest first
	expecting  expectation

	// The session in use, and those before and after it.
	association *dataplane.Association
	selector    *path.Selector // nil without session
	session     *epoch         // nil without session
	next        *epoch         // made as the responder, not yet confirmed
	retired     []*epoch
	rekeyAt     time.Time // of a retry; zero: when the session is old enough
	setup       time.Duration
	changes     int    // of the path, since the first session
	label       string // of the peers gauge, "" without session
	lastUser    time.Time
	userPackets uint64

	// Relay.
	offer        offer
	bindings     []*binding // the newest first
	relayRequest uint64     // the latest direction request for a relay
	relayAsked   time.Time  // when it was made
	search       search
	elseUntil    time.Time // until when the NMS may still name a TRS that is gone
	elseAsked    bool      // by the latest request: another relay than the NMS would name
}

// epoch is a session with what this package knows about it.
type epoch struct {
	*tunnel.Session
	path  path.Path // on which the handshake has shown that the peer receives
	since time.Time
	until time.Time // when a retired one ends
}

// Reasons to refuse a direction's peer.
var (
	errOther    = errors.New("the certificate is not of the device that was asked for")
	errNetwork  = errors.New("the certificate is of another network")
	errSelf     = errors.New("the peer is this identity itself")
	errNoRoom   = errors.New("the table of peers is full")
	errNames    = errors.New("the certificate names the device other than the direction does")
	errNoFamily = errors.New("no virtual IP of a common family")
)

// learn takes over what a direction says about a peer.
func (l *Local) learn(now time.Time, d wire.Direction, asked purpose) (*peer, error) {
	c, err := l.verify(d.PeerCertificate)
	if err != nil {
		return nil, err
	}
	if !asked.allows(c) {
		return nil, errOther
	}
	if c.NodeID() == l.id {
		return nil, errSelf
	}
	l.replaceOthers(now, c)
	p := l.peers[c.NodeID()]
	if p == nil {
		if p, err = l.newPeer(c); err != nil {
			return nil, err
		}
	}
	p.name(c)
	if p.session != nil && p.tag != d.PeerTag {
		p.restarted = true
	}
	if p.tag != d.PeerTag && p.initiation != nil {
		p.abandon("peer restarted")
	}
	p.tag = d.PeerTag
	p.doubt.settle(now)
	p.authorisedUntil = now.Add(authorised)
	p.candidates = path.Usable(d.Candidates, l.e.families, l.overlay())
	p.rules = d.Rules
	if p.association != nil {
		p.association.SetFilter(p.rules)
	}
	if p.selector != nil {
		p.selector.SetDirect(now, p.candidates)
	}
	return p, nil
}

func (l *Local) newPeer(c *identity.Certificate) (*peer, error) {
	common := l.ipv4.IsValid() && c.VirtualIPv4.IsValid() || l.ipv6.IsValid() && c.VirtualIPv6.IsValid()
	if !common {
		return nil, errNoFamily
	}
	if l.e.peers >= maxPeers && !l.forgetOne() {
		l.e.metrics.drop(dropTable)
		return nil, errNoRoom
	}
	p := &peer{local: l, e: l.e, id: c.NodeID()}
	p.timer = newTimer(p.tick)
	l.peers[p.id] = p
	l.e.peers++
	return p, nil
}

// forgetOne makes room: the peer without session whose authorisation ends first.
func (l *Local) forgetOne() bool {
	var oldest *peer
	for _, p := range l.peers {
		if !p.busy() && (oldest == nil || p.authorisedUntil.Before(oldest.authorisedUntil)) {
			oldest = p
		}
	}
	if oldest == nil {
		return false
	}
	oldest.remove(time.Time{})
	return true
}

func (p *peer) busy() bool {
	return p.session != nil || p.next != nil || p.initiation != nil || len(p.responses) > 0
}

// sameNames says whether two certificates of a device name it and its addresses alike. A handshake may show
// a newer certificate than the direction did, but not an older one with names that others have by now.
func sameNames(a, b *identity.Certificate) bool {
	return a.FQDN == b.FQDN && a.Network == b.Network && a.VirtualIPv4 == b.VirtualIPv4 && a.VirtualIPv6 == b.VirtualIPv6
}

// verify checks the certificate that the peer shows in a handshake begun here.
func (p *peer) verify(raw []byte) (*identity.Certificate, error) {
	c, err := p.local.verify(raw)
	if err != nil {
		return nil, err
	}
	if !sameNames(c, p.certificate) {
		return nil, errNames
	}
	return c, nil
}

// replaceOthers ends what earlier holders of a certificate's names have here: the NMS has given them away.
func (l *Local) replaceOthers(now time.Time, c *identity.Certificate) {
	for _, a := range []netip.Addr{c.VirtualIPv4, c.VirtualIPv6} {
		if other := l.byAddr[a]; other != nil && other.id != c.NodeID() {
			l.e.log.Info("virtual IP has a new holder", "local", l.fqdn, "address", a, "peer", c.FQDN)
			other.remove(now)
		}
	}
}

// name enters the peer into the indexes under its certificate's names.
func (p *peer) name(c *identity.Certificate) {
	l := p.local
	p.unname()
	p.certificate = c
	l.byName[normal(wire.Target{FQDN: c.FQDN}).FQDN] = p
	for _, a := range []netip.Addr{c.VirtualIPv4, c.VirtualIPv6} {
		if a.IsValid() {
			l.byAddr[a] = p
		}
	}
}

func (p *peer) unname() {
	c, l := p.certificate, p.local
	if c == nil {
		return
	}
	if name := normal(wire.Target{FQDN: c.FQDN}).FQDN; l.byName[name] == p {
		delete(l.byName, name)
	}
	for _, a := range []netip.Addr{c.VirtualIPv4, c.VirtualIPv6} {
		if l.byAddr[a] == p {
			delete(l.byAddr, a)
		}
	}
}

// remove forgets the peer and everything about it.
func (p *peer) remove(now time.Time) {
	if p.local.peers[p.id] != p {
		return
	}
	p.endSession(now)
	p.detach()
	p.dropCheck()
	p.abandon("closed")
	for len(p.responses) > 0 {
		p.dropResponse(p.responses[0])
	}
	p.unname()
	p.e.timers.stop(p.timer)
	delete(p.local.peers, p.id)
	p.e.peers--
}

// public is what callers of Connect get.
func (p *peer) public() Peer {
	return Peer{
		FQDN: p.certificate.FQDN, NodeID: p.id,
		VirtualIPv4: p.certificate.VirtualIPv4, VirtualIPv6: p.certificate.VirtualIPv6,
		Relayed: p.selector != nil && p.selector.Current().Relayed(),
	}
}

// inject sends held packets through the session.
func (p *peer) inject(packets ...[]byte) {
	var list [][]byte
	for _, packet := range packets {
		if packet != nil {
			list = append(list, packet)
		}
	}
	if len(list) > 0 {
		p.e.plane.Inject(p.association, list)
	}
}

// say sends a control message in the session, on exactly one path.
func (p *peer) say(to dataplane.Path, m wire.Control) {
	if p.session == nil || !to.Addr.IsValid() {
		return
	}
	if err := p.e.plane.SendControl(p.association, p.session.Session, to, m.AppendControl(nil)); err != nil {
		p.e.log.Debug("control message not sent", "peer", p.certificate.FQDN, "error", err)
	}
}

// owns says whether s is one of the peer's sessions.
func (p *peer) owns(s *tunnel.Session) bool {
	if p.session != nil && p.session.Session == s || p.next != nil && p.next.Session == s {
		return true
	}
	for _, r := range p.retired {
		if r.Session == s {
			return p.selector != nil
		}
	}
	return false
}

// moved says that this host, or what others see of it, has another address.
func (p *peer) moved(now time.Time) {
	for _, b := range p.bindings {
		b.refresh(now)
	}
	if p.selector != nil {
		p.selector.AddressChanged(now)
		p.act(now)
	}
	p.plan(now)
}

// tick does what is due for the peer.
func (p *peer) tick(now time.Time) {
	p.tickInitiation(now)
	p.tickResponses(now)
	p.tickExpecting(now)
	p.tickBindings(now)
	p.tickSession(now)
	p.tickSearch(now)
	p.tickCheck(now)
	if !p.busy() && !now.Before(p.authorisedUntil) {
		p.remove(now)
		return
	}
	p.plan(now)
}

// plan sets the next call of tick.
func (p *peer) plan(now time.Time) {
	if p.local.peers[p.id] != p {
		return
	}
	next := soonest(p.nextInitiation(), p.nextResponse(), p.expecting.next, p.nextBinding(), p.nextSession(), p.search.next, p.doubt.next)
	if !p.busy() {
		next = soonest(next, p.authorisedUntil)
	}
	if !next.IsZero() && next.Before(now) {
		next = now
	}
	p.e.timers.set(p.timer, next)
}
