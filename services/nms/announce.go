package nms

import (
	"net/netip"
	"time"

	"github.com/cyphonic/cyphonic/internal/wire"
	"github.com/cyphonic/cyphonic/services/replica"
)

// PolicyChanged tells registered devices that the policy version of their network has changed since the last
// RegistrationAck that they got: it appends a further one for each, at most announceBatch in a call, and goes on with
// the next call. It is called again and again, and costs nothing while no version changes.
//
// A message goes only to an address that its device has proven by cookie, once for each version, and is not
// repeated: the next keep-alive carries the version as well. Of several replicas the one that acts for a device tells
// it; each one drops what it holds of a device that may not take part any more.
func (c *Core) PolicyChanged(now time.Time, out []Datagram) []Datagram {
	snap := c.snapshot()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.advance(now)
	a := &c.announcing
	if a.place == 0 {
		if snap.Version() == c.announced && !c.arrivals {
			return out
		}
		*a = announcing{place: len(c.row), version: snap.Version(), done: true}
		c.arrivals = false
	}
	left := announceBatch
	c.each(&a.place, announceScan, func(l *location) (more bool) {
		out, more = c.announce(snap, l, &left, out)
		return more
	})
	switch {
	case a.place > 0:
	case !a.done:
		c.arrivals = true // another round
	case a.version == snap.Version():
		c.announced = a.version
	}
	return out
}

// announcing is how far a round is in which devices are told of a version.
type announcing struct {
	place   int // in row; 0: there is none
	version uint64
	done    bool // nobody has to be told again
}

// announce tells one device, if it must be told. more is false if it must, but enough have been told for now.
func (c *Core) announce(snap *replica.Snapshot, l *location, left *int, out []Datagram) (_ []Datagram, more bool) {
	if !l.registered(c.now) {
		return out, true
	}
	if c.withdrawn(snap, l.uid, l) {
		c.metrics.withdrawn.Inc()
		l.addr = netip.AddrPort{}
		return out, true
	}
	version := snap.PolicyVersion(l.subject.Network)
	switch {
	case version == l.policy || l.acting != c.name:
		return out, true
	case *left == 0:
		return out, false
	case c.now.Sub(l.announced) < announceAgain:
		c.announcing.done = false
		return out, true
	}
	*left--
	l.policy, l.announced = version, c.now
	return c.send(&l.contact, "policy_changed", l.ack(l.echo), out), true
}

// withdrawn reports whether the desired state does not let the device at a location take part any more. Its replay
// state stays until the location ends, so that an earlier registration cannot be replayed.
func (c *Core) withdrawn(snap *replica.Snapshot, uid string, l *location) bool {
	s := snap.SubjectByUID(uid)
	if s == nil {
		return true
	}
	enabled, _ := snap.Enabled(s)
	return !enabled || stillValid(snap, s, &l.contact) != dropNone
}

// ack is what a device is told about its location.
func (l *contact) ack(echo uint64) wire.RegistrationAck {
	return wire.RegistrationAck{
		Echo: echo, Observed: l.addr, NATed: l.nated, Policy: l.policy,
		TTL: uint16(locationTTL / time.Second), Keepalive: uint16(keepaliveInterval / time.Second),
	}
}
