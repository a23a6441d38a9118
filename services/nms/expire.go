package nms

import "time"

// Expire forgets directions that have ended and looks at the next locations,
// expireBatch at most.
func (c *Core) Expire(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.advance(now)
	if c.expiring == 0 {
		c.expiring, c.owned = len(c.row), 0
	}
	c.each(&c.expiring, expireBatch, func(l *location) bool {
		if l.acting == c.name {
			c.owned++
		}
		if now.Sub(l.lastSeen) >= locationTTL {
			c.remove(l)
		}
		return true
	})
	if c.expiring == 0 {
		c.metrics.owned.Set(float64(c.owned))
	}
	for key, d := range c.directions {
		if !now.Before(d.expires) {
			c.forget(key, d)
		}
	}
	c.metrics.locations.Set(float64(len(c.locations)))
	c.metrics.pending.Set(float64(len(c.directions)))
}

// Locations lists for the operator the registered devices for which this
// replica acts, in no order.
func (c *Core) Locations(now time.Time) []Location {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := make([]Location, 0, len(c.locations))
	for _, l := range c.row {
		if l.acting == c.name && l.registered(now) {
			list = append(list, l.view())
		}
	}
	return list
}
