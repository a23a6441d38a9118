package nms

import (
	"net/netip"
	"time"

	"github.com/cyphonic/cyphonic/internal/wire"
	"github.com/cyphonic/cyphonic/services/replica"
)

// PolicyChanged tells registered devices that the policy version of their network has changed since the last
// RegistrationAck that they got: it appends a further one for each, at most announceBatch in a call. Which devices
// are left is seen by the next call. It is called again and again, and costs nothing while no version changes.
//
// A message goes only to an address that its device has proven by cookie, once for each version, and is not
// repeated: the next keep-alive carries the version as well. Of several replicas the one that acts for a device tells
// it; each one drops what it holds of a device that may not take part any more.
func (c *Core) PolicyChanged(now time.Time, out []Datagram) []Datagram {
	snap := c.snapshot()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.advance(now)
	if snap.Version() == c.announced && !c.arrivals {
		return out
	}
	left := announceBatch
	done := true
	for uid, l := range c.locations {
		if !l.registered(now) {
			continue
		}
		if c.withdrawn(snap, uid, l) {
			c.metrics.withdrawn.Inc()
			l.addr = netip.AddrPort{}
			continue
		}
		version := snap.PolicyVersion(l.subject.Network)
		if version == l.policy || l.acting != c.name {
			continue
		}
		if left == 0 || now.Sub(l.announced) < announceAgain {
			done = false
			continue
		}
		left--
		l.policy, l.announced = version, now
		out = c.send(&l.contact, "policy_changed", l.ack(l.echo), out)
	}
	if done {
		c.announced, c.arrivals = snap.Version(), false
	}
	return out
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
