package signaling

import (
	"net/netip"
	"slices"
	"time"

	"github.com/cyphonic/cyphonic/internal/wire"
)

// direction remembers one direction, so that repetitions change nothing.
type direction struct {
	expires    time.Time
	answered   bool // as the responder
	accept     bool
	candidates []netip.AddrPort
	routed     bool
	sent       int       // answers sent by the timer
	next       time.Time // when the answer is repeated
}

// Answer answers a Confirm event; candidates are where this end can be reached. An
// answer that accepts is repeated until the route direction comes: the initiator,
// which has its own, does not notice that this end's was lost.
func (c *Client) Answer(id uint64, accept bool, candidates []netip.AddrPort) {
	d := c.directions[id]
	if d == nil || c.closed {
		return
	}
	d.answered, d.accept, d.candidates = true, accept, bounded(candidates)
	c.sendAnswer(id, d)
}

// waits says whether the answer may have to be repeated.
func (d *direction) waits() bool {
	return d.answered && d.accept && !d.routed && d.sent < answerRetries
}

func (c *Client) sendAnswer(id uint64, d *direction) {
	c.send(wire.ConfirmationResponse{DirectionID: id, Accept: d.accept, Candidates: d.candidates})
}

// onConfirmation reports a new direction and answers a repeated one as before.
func (c *Client) onConfirmation(now time.Time, m wire.Confirmation) error {
	if !c.recentEcho(m.Echo) {
		return ErrUnasked
	}
	if d := c.directions[m.DirectionID]; d != nil {
		if d.answered && !d.routed {
			c.sendAnswer(m.DirectionID, d)
		}
		return ErrDuplicate
	}
	c.rememberDirection(now, m.DirectionID)
	c.events = append(c.events, Confirm{DirectionID: m.DirectionID, Direction: m.Direction})
	return nil
}

// onRoute takes a route direction: at the initiator for a waiting request, at
// the responder for a direction that it has accepted, once.
func (c *Client) onRoute(now time.Time, m wire.RouteDirection) error {
	if c.requests[m.Echo] != nil {
		delete(c.requests, m.Echo)
		c.rememberDirection(now, m.DirectionID).routed = true
		c.events = append(c.events, Routed{RequestID: m.Echo, RouteDirection: m})
		return nil
	}
	d := c.directions[m.DirectionID]
	switch {
	case d != nil && d.routed:
		return ErrDuplicate
	case d == nil || !d.accept || !c.recentEcho(m.Echo):
		return ErrUnasked
	}
	d.routed = true
	c.events = append(c.events, Routed{RouteDirection: m})
	return nil
}

func (c *Client) recentEcho(echo uint64) bool {
	return echo != 0 && slices.Contains(c.reg.recent[:], echo)
}

func (c *Client) rememberDirection(now time.Time, id uint64) *direction {
	if d := c.directions[id]; d != nil {
		return d
	}
	if len(c.directions) >= maxDirections {
		c.forgetDirection()
	}
	d := &direction{expires: now.Add(directionLifetime), next: now.Add(c.jitter(answerRetry))}
	c.directions[id] = d
	return d
}

func (c *Client) forgetDirection() {
	var oldest uint64
	var at time.Time
	for id, d := range c.directions {
		if at.IsZero() || d.expires.Before(at) {
			oldest, at = id, d.expires
		}
	}
	delete(c.directions, oldest)
}

func (c *Client) tickDirections(now time.Time) {
	for id, d := range c.directions {
		switch {
		case !now.Before(d.expires):
			delete(c.directions, id)
		case d.waits() && !now.Before(d.next):
			d.sent++
			d.next = now.Add(c.jitter(backoff(answerRetry, d.sent, RequestLifetime)))
			c.sendAnswer(id, d)
		}
	}
}
