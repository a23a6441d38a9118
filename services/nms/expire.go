package nms

import "time"

// Expire forgets locations and directions that have ended.
func (c *Core) Expire(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.advance(now)
	owned := 0
	for uid, l := range c.locations {
		if l.acting == c.name {
			owned++
		}
		if now.Sub(l.lastSeen) >= locationTTL {
			delete(c.locations, uid)
		}
	}
	for key, d := range c.directions {
		if !now.Before(d.expires) {
			c.forget(key, d)
		}
	}
	c.metrics.locations.Set(float64(len(c.locations)))
	c.metrics.owned.Set(float64(owned))
	c.metrics.pending.Set(float64(len(c.directions)))
}

// Locations lists for the operator the registered devices for which this
// replica acts, in no order.
func (c *Core) Locations(now time.Time) []Location {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := make([]Location, 0, len(c.locations))
	for _, l := range c.locations {
		if l.acting == c.name && l.registered(now) {
			list = append(list, l.view())
		}
	}
	return list
}
