package endpoint

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/cyphonic/cyphonic/internal/identity"
	"github.com/cyphonic/cyphonic/internal/login"
	"github.com/cyphonic/cyphonic/internal/path"
	"github.com/cyphonic/cyphonic/internal/signaling"
	"github.com/cyphonic/cyphonic/internal/tunnel"
	"github.com/cyphonic/cyphonic/internal/wire"
)

// Identity is one that the endpoint is to host.
type Identity struct {
	Key   *identity.DeviceKey
	Grant *login.Grant
	// Renew logs in again for a new grant before the present one ends. Without
	// it the identity ends with its grant. It is called by a goroutine of Run.
	Renew func(context.Context) (*login.Grant, error)
}

// Local is a hosted identity.
type Local struct {
	// Constant.
	e          *Endpoint
	key        *identity.DeviceKey
	id         identity.NodeID
	tag        uint32
	fqdn       string
	ipv4, ipv6 netip.Addr
	renew      func(context.Context) (*login.Grant, error)
	registered chan struct{} // closed at the first registration
	closed     chan struct{} // closed when the identity is gone
	closing    sync.Once

	// Of the control goroutine, complete before it sees the Local.
	grant       *login.Grant
	certificate *identity.Certificate
	verifier    *identity.Verifier
	client      *signaling.Client
	peers       map[identity.NodeID]*peer
	byAddr      map[netip.Addr]*peer
	byName      map[string]*peer
	attempts    map[wire.Target]*attempt
	requests    map[uint64]purpose
	refusals    map[wire.Target]time.Time // until when packets are dropped
	timer       *timer
	renewal     renewalState
	gone        Traffic // with peers whose association has ended; constant once closed is
	removed     bool
}

// purpose is what a direction request was made for: an attempt, a relay for a
// peer whose session has no working path (perhaps another than the NMS would
// name), or whether a peer is still allowed.
type purpose struct {
	attempt *attempt
	peer    *peer
	check   bool
	other   bool
}

// allows says whether a certificate belongs to the device that was asked for.
// The NMS is not trusted with that: it could name any device of the network.
func (u purpose) allows(c *identity.Certificate) bool {
	switch {
	case u.peer != nil:
		return c.NodeID() == u.peer.id
	case u.attempt == nil: // nothing was asked: the other end did
		return true
	case u.attempt.target.FQDN != "":
		return normal(wire.Target{FQDN: c.FQDN}) == u.attempt.target
	}
	return u.attempt.target.Addr == c.VirtualIPv4 || u.attempt.target.Addr == c.VirtualIPv6
}

// Add starts to host an identity. Its virtual IPs must not be in use by another
// one; ErrExists says so, ErrBusy that MaxLocals is reached.
func (e *Endpoint) Add(i Identity) (*Local, error) {
	l, err := e.newLocal(i)
	if err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.locals >= MaxLocals {
		return nil, ErrBusy
	}
	for _, a := range l.addrs() {
		if e.byAddr[a] != nil {
			return nil, fmt.Errorf("%w: %s", ErrExists, a)
		}
	}
	if err := e.postLocked(l.start); err != nil {
		return nil, err
	}
	for _, a := range l.addrs() {
		e.byAddr[a] = l
	}
	e.locals++
	return l, nil
}

func (e *Endpoint) newLocal(i Identity) (*Local, error) {
	if i.Key == nil || i.Grant == nil {
		return nil, errors.New("endpoint: an identity needs a key and a grant")
	}
	l := &Local{
		e: e, key: i.Key, id: i.Key.NodeID(), renew: i.Renew,
		registered: make(chan struct{}),
		closed:     make(chan struct{}),
		peers:      make(map[identity.NodeID]*peer),
		byAddr:     make(map[netip.Addr]*peer),
		byName:     make(map[string]*peer),
		attempts:   make(map[wire.Target]*attempt),
		requests:   make(map[uint64]purpose),
		refusals:   make(map[wire.Target]time.Time),
	}
	if err := l.take(i.Grant); err != nil {
		return nil, err
	}
	l.fqdn, l.ipv4, l.ipv6 = l.certificate.FQDN, l.certificate.VirtualIPv4, l.certificate.VirtualIPv6
	if len(l.addrs()) == 0 {
		return nil, errors.New("endpoint: the certificate names no virtual IP")
	}
	return l, nil
}

// take checks a grant and puts it in the place of the present one.
func (l *Local) take(g *login.Grant) error {
	now := g.Now(l.e.o.Now())
	verifier, err := identity.NewVerifier(l.e.o.Trust, g.Issuers, now)
	if err != nil {
		return fmt.Errorf("endpoint: issuers in the grant: %w", err)
	}
	c, err := verifier.Verify(g.Certificate, now)
	if err != nil {
		return fmt.Errorf("endpoint: certificate in the grant: %w", err)
	}
	switch {
	case c.NodeID() != l.id:
		return errors.New("endpoint: certificate in the grant: it is for another key")
	case l.grant != nil && (c.VirtualIPv4 != l.ipv4 || c.VirtualIPv6 != l.ipv6 || c.FQDN != l.fqdn):
		return errors.New("endpoint: certificate in the grant: name or virtual IP has changed, the identity must start anew")
	}
	l.grant, l.certificate, l.verifier = g, c, verifier
	return nil
}

// start begins the identity's life on the control goroutine.
func (l *Local) start(now time.Time) {
	e := l.e
	for l.tag == 0 || e.byTag[l.tag] != nil {
		l.tag = uint32(e.random())
	}
	e.byTag[l.tag] = l
	e.metrics.locals.Inc()
	l.timer = newTimer(l.tick)
	l.client = signaling.New(signaling.Config{Tag: l.tag, Random: e.random}, l.credentials(), l.candidates())
	l.planRenewal(now)
	l.tick(now)
}

// tunnelConfig is what handshakes need of the identity.
func (l *Local) tunnelConfig() tunnel.Config {
	return tunnel.Config{Key: l.key, Certificate: l.grant.Certificate, Verify: l.verify, Rand: l.e.o.Rand}
}

// verify checks a peer's certificate by the clock of the AS.
func (l *Local) verify(raw []byte) (*identity.Certificate, error) {
	c, err := l.verifier.Verify(raw, l.grant.Now(l.e.o.Now()))
	if err != nil {
		return nil, err
	}
	if c.Network != l.grant.Network { // all networks of an installation have one root
		return nil, errNetwork
	}
	return c, nil
}

func (l *Local) credentials() signaling.Credentials {
	return signaling.Credentials{
		Ticket: l.grant.Ticket, SessionKey: l.grant.SessionKey, Certificate: l.grant.Certificate,
		Servers: l.servers(), ServerTime: l.grant.Now(l.e.o.Now()),
	}
}

// servers gives the addresses of the NMS that the host can reach.
func (l *Local) servers() []netip.AddrPort {
	var list []netip.AddrPort
	for _, a := range []netip.AddrPort{l.grant.NMSIPv4, l.grant.NMSIPv6} {
		if a.IsValid() && l.e.families.Has(a.Addr()) {
			list = append(list, a)
		}
	}
	return list
}

// candidates gives the host's own addresses, for the NMS.
func (l *Local) candidates() []netip.AddrPort {
	return path.Own(netip.AddrPort{}, l.e.own, l.overlay())
}

// reachable gives the addresses for a peer: the observed one too.
func (l *Local) reachable() []netip.AddrPort {
	observed, _ := l.client.Observed()
	return path.Own(observed, l.e.own, l.overlay())
}

// overlay gives the virtual prefixes, in which no real address can be.
func (l *Local) overlay() []netip.Prefix {
	var list []netip.Prefix
	for _, p := range []netip.Prefix{l.grant.IPv4Prefix, l.grant.IPv6Prefix} {
		if p.IsValid() {
			list = append(list, p)
		}
	}
	return list
}

func (l *Local) addrs() []netip.Addr {
	var list []netip.Addr
	for _, a := range []netip.Addr{l.ipv4, l.ipv6} {
		if a.IsValid() {
			list = append(list, a)
		}
	}
	return list
}

// NodeID is the identity's.
func (l *Local) NodeID() identity.NodeID { return l.id }

// FQDN is the identity's name in the overlay.
func (l *Local) FQDN() string { return l.fqdn }

// WaitRegistered waits for the first registration at the NMS.
func (l *Local) WaitRegistered(ctx context.Context) error {
	select {
	case <-l.registered:
		return nil
	case <-l.closed:
		return ErrClosed
	case <-l.e.done:
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close logs the identity out, ends its tunnels and frees its virtual IPs. It
// returns when that is done, or at once if the endpoint does not run.
func (l *Local) Close() {
	l.closing.Do(func() {
		e := l.e
		e.mu.Lock()
		running := e.started
		err := e.postLocked(l.remove)
		e.mu.Unlock()
		if err != nil || !running {
			return
		}
		select {
		case <-l.closed:
		case <-e.done:
		}
	})
}

// remove ends the identity's life on the control goroutine.
func (l *Local) remove(now time.Time) {
	if l.removed {
		return
	}
	l.removed = true
	e := l.e
	for _, a := range l.attempts {
		a.fail(now, ErrClosed)
	}
	for _, p := range l.peers {
		if p.session != nil {
			p.say(p.association.Path(), wire.Close{Reason: wire.CloseNormal})
		}
		p.remove(now)
	}
	l.client.Logout()
	l.flush()
	e.timers.stop(l.timer)
	delete(e.byTag, l.tag)
	e.metrics.locals.Dec()
	e.mu.Lock()
	for _, a := range l.addrs() {
		delete(e.byAddr, a)
	}
	e.locals--
	e.mu.Unlock()
	close(l.closed)
}

// tick does what is due.
func (l *Local) tick(now time.Time) {
	l.client.Tick(now)
	for _, a := range l.attempts {
		if !now.Before(a.deadline) {
			a.fail(now, ErrTimeout)
		}
	}
	l.tickRenewal(now)
	l.pump(now)
}

// pump carries out what the signalling client wants, and sets the next call.
func (l *Local) pump(now time.Time) {
	for {
		events := l.client.Events()
		l.flush()
		if len(events) == 0 {
			break
		}
		for _, event := range events {
			l.onEvent(now, event)
		}
	}
	if l.removed {
		return
	}
	next := soonest(l.client.Next(), l.renewal.at)
	for _, a := range l.attempts {
		next = soonest(next, a.deadline)
	}
	l.e.timers.set(l.timer, next)
}

func (l *Local) flush() {
	for _, d := range l.client.Outbox() {
		l.e.send(path.Path{Addr: d.To}, d.Payload)
	}
}

func (l *Local) onEvent(now time.Time, event signaling.Event) {
	switch ev := event.(type) {
	case signaling.Registered:
		l.onRegistered(now, ev)
	case signaling.PolicyChanged:
		l.onPolicyChanged(now)
	case signaling.Unregistered:
		l.e.metrics.registrations.WithLabelValues("lost").Inc()
		l.e.log.Warn("registration lost: no answer from the NMS", "local", l.fqdn)
	case signaling.Forgotten:
		l.e.hasten(now)
	case signaling.Unanswered:
		l.hastenRenewal(now)
	case signaling.Failed:
		l.onFailed(now, ev)
	case signaling.Confirm:
		l.onConfirm(now, ev)
	case signaling.Routed:
		l.onRouted(now, ev)
	}
}

func (l *Local) onRegistered(now time.Time, ev signaling.Registered) {
	l.e.metrics.registrations.WithLabelValues("ok").Inc()
	l.e.log.Info("registered", "local", l.fqdn, "observed", ev.Observed, "nated", ev.NATed)
	select {
	case <-l.registered: // not the first time: the address that peers see may be another one
		for _, p := range l.peers {
			p.moved(now)
		}
	default:
		close(l.registered)
	}
}

// normal brings a target into the form under which it is known.
func normal(t wire.Target) wire.Target {
	if t.FQDN != "" {
		return wire.Target{FQDN: strings.ToLower(strings.TrimSuffix(t.FQDN, "."))}
	}
	return wire.Target{Addr: t.Addr.Unmap()}
}

// find gives the peer of a target, nil if it is not known.
func (l *Local) find(t wire.Target) *peer {
	if t.FQDN != "" {
		return l.byName[t.FQDN]
	}
	return l.byAddr[t.Addr]
}
