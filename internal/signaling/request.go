package signaling

import (
	"time"

	"github.com/cyphonic/cyphonic/internal/wire"
)

// request is a direction request waiting for its answer.
type request struct {
	target   wire.Target
	flags    uint8
	sent     int // datagrams sent by the timer
	next     time.Time
	deadline time.Time
}

// Request asks for a direction to target; relay says that the direct path does
// not work. The answer is a Routed or Failed event with the returned identifier.
// Before the first registration has taken effect the request waits for it.
func (c *Client) Request(now time.Time, target wire.Target, relay bool) (uint64, error) {
	flags := uint8(0)
	if relay {
		flags = wire.DirectionRelayWanted
	}
	return c.request(now, target, flags)
}

// RequestElse asks for a direction with another relay than the NMS has named or would name first, because that one
// does not work. An NMS of a version before stays silent.
func (c *Client) RequestElse(now time.Time, target wire.Target) (uint64, error) {
	return c.request(now, target, wire.DirectionRelayWanted|wire.DirectionRelayElse)
}

func (c *Client) request(now time.Time, target wire.Target, flags uint8) (uint64, error) {
	switch {
	case c.closed:
		return 0, ErrClosed
	case len(c.requests) >= MaxRequests:
		return 0, ErrBusy
	}
	id := c.cfg.Random() | 1 // never 0
	r := &request{target: target, flags: flags, next: now, deadline: now.Add(RequestLifetime)}
	if !c.reg.registered {
		r.next = r.deadline
	}
	c.requests[id] = r
	return id, nil
}

// Cancel forgets a request; its answer will be refused as unasked.
func (c *Client) Cancel(id uint64) { delete(c.requests, id) }

// releaseRequests sends what has waited for the registration.
func (c *Client) releaseRequests(now time.Time) {
	for _, r := range c.requests {
		if r.sent == 0 {
			r.next = now
		}
	}
}

func (c *Client) tickRequests(now time.Time) {
	for id, r := range c.requests {
		if now.Before(r.next) {
			continue
		}
		if !now.Before(r.deadline) {
			delete(c.requests, id)
			c.events = append(c.events, Failed{RequestID: id})
			continue
		}
		r.next = earlier(r.deadline, now.Add(c.jitter(backoff(requestRetry, r.sent, RequestLifetime))))
		r.sent++
		c.sendRequest(id, r)
	}
}

func (c *Client) sendRequest(id uint64, r *request) {
	c.send(wire.DirectionRequest{RequestID: id, Flags: r.flags, Target: r.target})
}

// onFailure ends a request, unless the NMS asks to try later.
func (c *Client) onFailure(now time.Time, m wire.DirectionFailure) error {
	r := c.requests[m.RequestID]
	if r == nil {
		return ErrUnasked
	}
	if again := now.Add(c.jitter(busyRetry)); m.Code == wire.FailureBusy && again.Before(r.deadline) {
		r.next = again
		return nil
	}
	delete(c.requests, m.RequestID)
	c.events = append(c.events, Failed{RequestID: m.RequestID, Code: m.Code})
	return nil
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
