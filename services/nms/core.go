// Package nms is the Node Management Service: it knows where every device is
// now and directs two devices that may talk to each other.
//
// The core is a state machine without socket, clock or goroutine: datagrams,
// messages of other replicas, the membership and the time go in, datagrams and
// messages come out. All retransmission is the devices'; the NMS only answers.
// It holds session keys of its own conversations with devices and no key of any
// tunnel between them; it must not import the tunnel package.
//
// Replicas are equal. Whichever gets a device's datagram authenticates it and
// hands it to the owner of the device's location (forward.go), which is the
// highest rendezvous hash among the ready ones and keeps a copy at the second
// (replicate.go). Owners change with the membership, not with the devices.
package nms

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cyphonic/cyphonic/internal/identity"
	"github.com/cyphonic/cyphonic/internal/wire"
	"github.com/cyphonic/cyphonic/services/replica"
)

// Datagram is one datagram to send.
type Datagram struct {
	To   netip.AddrPort
	Data []byte
}

// CoreOptions are what a Core needs. All fields but Name are required.
type CoreOptions struct {
	Name       string                   // of this replica; empty: it stays alone
	Snapshot   func() *replica.Snapshot // the desired state and the shared keys
	Rand       io.Reader
	Log        *slog.Logger
	Registerer prometheus.Registerer
}

// Core is the NMS without input and output. Its methods are safe for
// concurrent use.
type Core struct {
	// constant
	name     string
	snapshot func() *replica.Snapshot
	rand     io.Reader
	log      *slog.Logger
	metrics  *metrics
	bootID   [16]byte
	admitted func(*request) // tests look here; nil: nobody does

	// under mu
	mu         sync.Mutex
	now        time.Time // of the latest event
	cookies    cookies
	replies    uint64 // counter of the reply nonces
	announced  uint64 // policy version of the snapshot that all locations know
	arrivals   bool   // locations that may not know it have come from other replicas
	announcing announcing
	locations  map[string]*location // by UID
	row        []*location          // the same, in no order
	expiring   int                  // place in row; 0: a round ends
	owned      int                  // counted in this round
	directions map[directionKey]*direction
	byID       map[uint64]*direction
	cluster
}

// NewCore returns a core that knows no location.
func NewCore(o CoreOptions) (*Core, error) {
	m, err := newMetrics(o.Registerer)
	if err != nil {
		return nil, fmt.Errorf("register metrics: %w", err)
	}
	c := &Core{
		name: o.Name, snapshot: o.Snapshot, rand: o.Rand, log: o.Log, metrics: m,
		locations:  make(map[string]*location),
		directions: make(map[directionKey]*direction),
		byID:       make(map[uint64]*direction),
		cluster:    newCluster(o.Name),
	}
	if _, err := io.ReadFull(o.Rand, c.bootID[:]); err != nil {
		return nil, fmt.Errorf("read the boot identifier: %w", err)
	}
	return c, nil
}

// request is one authenticated datagram.
type request struct {
	src     netip.AddrPort
	size    int // of the datagram, bytes
	tag     uint32
	counter uint64
	cookie  [16]byte
	ticket  *identity.Ticket
	keys    identity.SignalKeys
	body    wire.SignalBody
	snap    *replica.Snapshot
	subject *replica.Subject
	arrival
	standing
}

// arrival is how a datagram has come here.
type arrival struct {
	gateway string // the replica at which it arrived
	hops    uint8  // forwardings
	hedged  bool   // an earlier owner does not answer
}

// standing is how far a request has come at its owner.
type standing struct {
	deputy bool      // another replica acts for the device, but does not answer
	prove  time.Time // not zero: the cookie must have been made since
}

// HandleDatagram takes one datagram that came from src and appends what to
// send to out. It keeps no reference to b. What it has for other replicas,
// Messages takes out.
func (c *Core) HandleDatagram(now time.Time, src netip.AddrPort, b []byte, out []Datagram) []Datagram {
	r := c.open(now, src, b, arrival{gateway: c.name})
	if r == nil {
		return out
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.advance(now)
	return c.dispatch(r, b, out)
}

// open authenticates a datagram without an effect on the core; nil: it is
// dropped and counted.
func (c *Core) open(now time.Time, src netip.AddrPort, b []byte, a arrival) *request {
	r, reason := c.authenticate(now, src, b)
	if reason == dropNone {
		reason = checkSubject(r)
	}
	if reason != dropNone {
		c.drop(reason)
		return nil
	}
	r.arrival = a
	return r
}

// apply lets a request take effect here.
func (c *Core) apply(r *request, out []Datagram) []Datagram {
	out, reason := c.admit(c.now, r, out)
	if reason != dropNone {
		c.drop(reason)
	}
	return out
}

// authenticate opens the ticket and, with the session key in it, the body. It
// has no effect on the core.
func (c *Core) authenticate(now time.Time, src netip.AddrPort, b []byte) (*request, dropReason) {
	kind, err := wire.PeekType(b)
	switch {
	case errors.Is(err, wire.ErrVersion):
		return nil, dropVersion
	case errors.Is(err, wire.ErrType), err == nil && kind != wire.TypeSignal:
		return nil, dropType
	case err != nil:
		return nil, dropMalformed
	}
	signal, err := wire.ParseSignal(b)
	if err != nil {
		return nil, dropMalformed
	}
	snap := c.snapshot()
	ticket, err := identity.OpenTicket(snap.TicketKeys(), signal.Ticket, now)
	if err != nil {
		return nil, dropTicket
	}
	keys := identity.NewSignalKeys(ticket.SessionKey)
	plaintext, err := keys.OpenSignal(b)
	if err != nil {
		return nil, dropAuthentication
	}
	body, err := wire.ParseSignalBody(plaintext)
	if err != nil {
		return nil, dropBody
	}
	return &request{
		src: netip.AddrPortFrom(src.Addr().Unmap(), src.Port()), size: len(b),
		tag: signal.ReceiverTag, counter: signal.Counter, cookie: signal.Cookie,
		ticket: ticket, keys: keys, body: body,
		snap: snap, subject: snap.SubjectByUID(ticket.UID),
	}, dropNone
}

// checkSubject holds the ticket against the desired state, which wins: a
// device that was deleted, disabled or changed needs a new login.
func checkSubject(r *request) dropReason {
	s, t := r.subject, r.ticket
	if s == nil {
		return dropUnknownSubject
	}
	if ok, _ := r.snap.Enabled(s); !ok {
		return dropDisabled
	}
	if s.Network != t.Network || s.FQDN != replica.CanonicalName(t.FQDN) ||
		s.IPv4 != t.VirtualIPv4 || s.IPv6 != t.VirtualIPv6 {
		return dropMismatch
	}
	if t.Assurance < s.Assurance {
		return dropAssurance
	}
	if t.Adapter != s.Adapter {
		return dropAdapter
	}
	if key, ok := r.snap.Enrolled(s); ok && key.NodeID() != t.NodeID {
		return dropSuperseded
	}
	return dropNone
}

// admit checks freshness and the source address and then lets the message take
// effect. A source address that is not the known one gets a challenge first,
// which leaves no state and is smaller than what it answers.
func (c *Core) admit(now time.Time, r *request, out []Datagram) ([]Datagram, dropReason) {
	kind, echo := describe(r.body)
	if kind == "" {
		return out, dropUnexpected
	}
	loc := c.locations[r.subject.UID]
	var state *login
	if loc != nil {
		var stale bool
		if state, stale = loc.login(r.ticket); stale {
			return out, dropSuperseded
		}
		if state != nil && !state.window.fresh(r.counter) {
			return out, dropReplay
		}
		if state != nil && loc.superseded(state) {
			return out, dropSuperseded
		}
	}
	known := loc != nil && loc.nodeID == r.ticket.NodeID && loc.addr == r.src && r.prove.IsZero()
	if !known && state != nil && r.counter < state.window.top {
		return out, dropReplay // held back on the way: the device has been heard from elsewhere since
	}
	if !known && !c.cookies.valid(r.snap.TicketKeys(), r.cookie, r.ticket.NodeID, r.src, now, c.provenSince(r, loc)) {
		if loc != nil && loc.addr == r.src {
			if now.Sub(loc.challenged) < challengeAgain {
				return out, dropChallenged
			}
			loc.challenged = now
		}
		return c.challenge(now, r, echo, out)
	}
	c.metrics.received.WithLabelValues(kind).Inc()
	if loc == nil || loc.nodeID != r.ticket.NodeID {
		if _, ok := r.body.(wire.Registration); !ok {
			return c.unregistered(r, out)
		}
	}
	if c.admitted != nil {
		c.admitted(r)
	}
	full := loc == nil
	if loc != nil {
		if state == nil {
			state, full = loc.addLogin(r.ticket), true
		}
		state.window.mark(r.counter)
		full = c.take(r, loc, state) || full
	}
	return c.perform(now, r, loc, full, out)
}

// perform does what an admitted request asks for. full says that the location
// has changed by more than the request's counter.
func (c *Core) perform(now time.Time, r *request, loc *location, full bool, out []Datagram) (_ []Datagram, reason dropReason) {
	changed := false
	switch body := r.body.(type) {
	case wire.Registration:
		out, changed, reason = c.register(now, r, loc, body, out)
	case wire.DirectionRequest:
		out, reason = c.requestDirection(now, r, loc, body, out)
	case wire.ConfirmationResponse:
		out, changed, reason = c.confirm(now, r, loc, body, out)
	case wire.Logout:
		c.logout(now, loc)
		changed = true
	}
	c.replicate(r.subject.UID, c.locations[r.subject.UID], full || changed)
	return out, reason
}

// describe names the messages that devices send and the number by which they
// recognise an answer. The kind is a metric label.
func describe(body wire.SignalBody) (kind string, echo uint64) {
	switch b := body.(type) {
	case wire.Registration:
		return "registration", b.Echo
	case wire.DirectionRequest:
		return "direction_request", b.RequestID
	case wire.ConfirmationResponse:
		return "confirmation_response", b.DirectionID
	case wire.Logout:
		return "logout", b.Echo
	}
	return "", 0
}

func (c *Core) challenge(now time.Time, r *request, echo uint64, out []Datagram) ([]Datagram, dropReason) {
	cookie := c.cookies.make(r.snap.TicketKeys(), r.ticket.NodeID, r.src, now)
	answer := c.seal(r.keys, r.tag, wire.Challenge{Echo: echo, Cookie: cookie})
	if len(answer) > r.size {
		return out, dropAmplification
	}
	c.metrics.sent.WithLabelValues("challenge").Inc()
	return c.emit(r.gateway, Datagram{r.src, answer}, out), dropNone
}

// unregistered tells a device that asks for a direction that it must register
// first: it tries again, and its own challenge made it register.
func (c *Core) unregistered(r *request, out []Datagram) ([]Datagram, dropReason) {
	request, ok := r.body.(wire.DirectionRequest)
	if !ok {
		return out, dropNotRegistered
	}
	return c.fail(r, request.RequestID, wire.FailureBusy, out), dropNotRegistered
}

// seal encodes a message to a device.
func (c *Core) seal(keys identity.SignalKeys, tag uint32, body wire.SignalBody) []byte {
	var nonce [24]byte
	copy(nonce[:], c.bootID[:])
	c.replies++
	binary.BigEndian.PutUint64(nonce[16:], c.replies)
	return keys.SealReply(nil, tag, nonce, body.AppendBody(nil))
}

// reply answers a request whose source address has been shown to be real.
func (c *Core) reply(r *request, kind string, body wire.SignalBody, out []Datagram) []Datagram {
	c.metrics.sent.WithLabelValues(kind).Inc()
	return c.emit(r.gateway, Datagram{r.src, c.seal(r.keys, r.tag, body)}, out)
}

// send sends a message to a registered device.
func (c *Core) send(l *contact, kind string, body wire.SignalBody, out []Datagram) []Datagram {
	c.metrics.sent.WithLabelValues(kind).Inc()
	if !l.keyed {
		l.keys, l.keyed = identity.NewSignalKeys(l.sessionKey), true
	}
	return c.emit(l.gateway, Datagram{l.addr, c.seal(l.keys, l.tag, body)}, out)
}

func (c *Core) drop(reason dropReason) { c.metrics.drops.WithLabelValues(string(reason)).Inc() }
