package nms

import (
	"errors"
	"time"

	"github.com/cyphonic/cyphonic/internal/wire"
)

var errRemoved = errors.New("the other replicas see that this one has ended: its lease in etcd was lost")

// Leave makes the replica own nothing any more: it gives its locations away and
// forwards what comes. Without another replica it goes on as before.
func (c *Core) Leave(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.advance(now)
	c.leaving = true
	c.refreshRing()
}

// HandedOver reports whether a leaving replica has given all its locations away
// and the others have confirmed it. A replica without others has nobody to give
// them to.
func (c *Core) HandedOver(now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.advance(now)
	if len(c.ring) == 1 && c.ring[0] == c.name {
		return true
	}
	if !c.leaving || c.scanDue || c.scan > 0 {
		return false
	}
	for _, p := range c.order {
		if p.answers(now) && (p.barrier > p.passed || p.pushed) {
			return false
		}
	}
	for _, l := range c.row {
		if l.acting == c.name {
			c.rescan() // nobody answered when it was looked at, or it has come since
			return false
		}
	}
	return true
}

// Refuse makes the replica take nothing new itself. It forwards still.
func (c *Core) Refuse() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refusing = true
}

// Residual is the number of directions under way and of requests that wait for
// other replicas.
func (c *Core) Residual(now time.Time) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for _, d := range c.directions {
		if !d.confirmed && d.failure == 0 && now.Before(d.expires) {
			n++
		}
	}
	for _, f := range c.fetches {
		n += len(f.requests)
	}
	for _, p := range c.order {
		n += len(p.waiting)
	}
	return n
}

// Ready tells why the replica cannot own locations, if it cannot.
func (c *Core) Ready() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.removed && len(c.peers) > 0 {
		return errRemoved
	}
	return nil
}

// Linked reports whether all other ready replicas have been heard of.
func (c *Core) Linked(now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, x := range c.members.Replicas {
		if x.Name != c.name && x.Ready && !c.peers[x.Name].answers(now) {
			return false
		}
	}
	return true
}

// isNew reports whether a request begins something.
func (r *request) isNew() bool {
	switch r.body.(type) {
	case wire.Registration, wire.DirectionRequest:
		return true
	}
	return false
}
