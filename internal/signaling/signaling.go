// Package signaling is a node's side of the conversation with the NMS, for one
// identity: registration and keep-alive, the challenge of a new source address,
// direction requests with their retransmission, confirmations and route
// directions.
//
// It is a state machine without socket, clock or goroutine: the caller passes
// datagrams and the time in, and takes datagrams and events out. It must not
// decide whom to talk to: it reports a confirmation and is told the answer.
//
// What comes from the NMS is believed only if it is authenticated by the session
// key, has not been seen before (the replica's nonce counter), and answers
// something: a request of this client or its latest registrations, by their
// random echoes. Everything else is refused with one of the errors of errors.go
// and changes nothing.
package signaling

import (
	"net/netip"
	"time"

	"github.com/cyphonic/cyphonic/internal/identity"
	"github.com/cyphonic/cyphonic/internal/wire"
)

// Config holds what a Client keeps for its whole life.
type Config struct {
	// Tag is the receiver tag of the identity, random and unique in the process.
	Tag uint32
	// Random gives cryptographically secure random numbers: echoes, request
	// identifiers, jitter.
	Random func() uint64
}

// Credentials is what a login gives for signalling. They change with each renewal.
type Credentials struct {
	Ticket      []byte
	SessionKey  [32]byte
	Certificate []byte
	// Servers are the NMS addresses that this host can reach, the preferred
	// one first. The next one is tried when one does not answer.
	Servers []netip.AddrPort
	// ServerTime is the present time by the AS's clock. The counters of the
	// datagrams start from its nanoseconds, so that they also grow when an
	// identity ends and begins again with the same ticket.
	ServerTime time.Time
}

// Datagram is one to send.
type Datagram struct {
	To      netip.AddrPort
	Payload []byte
}

// Event is something the caller wants to know; one of the types below.
type Event interface{ event() }

// Registered reports a registration in effect: the first one, one after an
// interruption, and one whose observed address differs from the one before.
type Registered struct {
	Observed netip.AddrPort
	NATed    bool
}

// PolicyChanged reports that something which decides who may talk in the network
// has changed since this client last heard of it.
type PolicyChanged struct{}

// Unregistered reports that the NMS has not answered for the location's life.
type Unregistered struct{}

// Forgotten reports that the NMS does not know the location from which this
// client writes, although it did: it has lost its locations, or the address that
// it sees is another one. The client registers again by itself; other clients of
// the same socket are likely to be in the same place.
type Forgotten struct{}

// Unanswered reports that registrations have stayed without answer for some
// time, and again after growing times. The NMS is away, or it does not take the
// credentials any more, which it tells to nobody.
type Unanswered struct{}

// Failed ends a direction request. Code is 0 when there was no answer in time.
type Failed struct {
	RequestID uint64
	Code      wire.FailureCode
}

// Confirm asks whether to accept the peer of a direction; the caller calls Answer.
type Confirm struct {
	DirectionID uint64
	Direction   wire.Direction
}

// Routed reports a route direction. RequestID is that of the request it
// answers, or 0 at the responder.
type Routed struct {
	RequestID uint64
	wire.RouteDirection
}

func (Registered) event()    {}
func (PolicyChanged) event() {}
func (Unregistered) event()  {}
func (Forgotten) event()     {}
func (Unanswered) event()    {}
func (Failed) event()        {}
func (Confirm) event()       {}
func (Routed) event()        {}

// Client is the state machine. It belongs to one goroutine.
type Client struct {
	cfg  Config
	keys identity.SignalKeys
	cred Credentials

	// previous are the keys before the latest renewal: answers to what was sent before it are sealed with them.
	previous    identity.SignalKeys
	previousEnd time.Time // until when they count

	counter    uint64
	server     int // index into cred.Servers
	cookie     [16]byte
	candidates []netip.AddrPort
	closed     bool

	reg        registration
	requests   map[uint64]*request
	directions map[uint64]*direction
	replay     replayGuard

	out    []Datagram
	events []Event
}

// New makes a Client that begins to register as soon as Tick is called.
// Candidates are the host's own addresses.
func New(cfg Config, cred Credentials, candidates []netip.AddrPort) *Client {
	c := &Client{
		cfg:        cfg,
		requests:   make(map[uint64]*request),
		directions: make(map[uint64]*direction),
	}
	c.candidates = bounded(candidates)
	c.setCredentials(cred)
	return c
}

// Renew puts new credentials into effect and registers with them at once.
func (c *Client) Renew(now time.Time, cred Credentials) {
	c.previous, c.previousEnd = c.keys, now.Add(RequestLifetime)
	c.setCredentials(cred)
	c.Register(now)
}

func (c *Client) setCredentials(cred Credentials) {
	c.cred = cred
	c.keys = identity.NewSignalKeys(cred.SessionKey)
	c.counter = max(c.counter, uint64(max(0, cred.ServerTime.UnixNano())))
	if c.server >= len(cred.Servers) {
		c.server = 0
	}
}

// Moved tells that the host's addresses have changed, and with them perhaps the
// NMS addresses that it can reach: both are replaced and registered at once.
func (c *Client) Moved(now time.Time, candidates, servers []netip.AddrPort) {
	c.candidates = bounded(candidates)
	c.cred.Servers = servers
	if c.server >= len(servers) {
		c.server = 0
	}
	c.Register(now)
}

func bounded(candidates []netip.AddrPort) []netip.AddrPort {
	return candidates[:min(len(candidates), wire.MaxCandidates)]
}

// Registered says whether the NMS knows the present location, as far as this end can tell.
func (c *Client) Registered() bool { return c.reg.registered }

// Observed is the address that the NMS saw last, and whether a NAT made it.
func (c *Client) Observed() (netip.AddrPort, bool) { return c.reg.observed, c.reg.nated }

// Outbox takes out the datagrams to send, in order.
func (c *Client) Outbox() []Datagram {
	out := c.out
	c.out = nil
	return out
}

// Events takes out what has happened, in order.
func (c *Client) Events() []Event {
	events := c.events
	c.events = nil
	return events
}

// Logout tells the NMS that the identity leaves. The client does nothing afterwards.
func (c *Client) Logout() {
	if !c.closed && c.reg.registered {
		c.send(wire.Logout{Echo: c.cfg.Random()})
	}
	c.closed = true
	c.reg.registered = false
	clear(c.requests)
}

// Next is when Tick must be called at the latest; zero is "no need".
func (c *Client) Next() time.Time {
	if c.closed {
		return time.Time{}
	}
	next := c.reg.next
	if c.reg.registered && c.reg.expires.Before(next) {
		next = c.reg.expires
	}
	for _, r := range c.requests {
		if r.next.Before(next) {
			next = r.next
		}
	}
	for _, d := range c.directions {
		if d.waits() && d.next.Before(next) {
			next = d.next
		}
	}
	return next
}

// Tick sends what is due.
func (c *Client) Tick(now time.Time) {
	if c.closed {
		return
	}
	c.tickRegistration(now)
	c.tickRequests(now)
	c.tickDirections(now)
}

// send seals one body for the NMS.
func (c *Client) send(body wire.SignalBody) {
	if len(c.cred.Servers) == 0 {
		return
	}
	c.counter++
	plain := wire.PadBody(body.AppendBody(nil), minRequestBody)
	c.out = append(c.out, Datagram{
		To:      c.cred.Servers[c.server],
		Payload: c.keys.SealSignal(nil, c.cfg.Tag, c.counter, c.cookie, c.cred.Ticket, plain),
	})
}
