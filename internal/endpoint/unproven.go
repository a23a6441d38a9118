package endpoint

import (
	"time"

	"github.com/cyphonic/cyphonic/internal/dataplane"
	"github.com/cyphonic/cyphonic/internal/path"
	"github.com/cyphonic/cyphonic/internal/wire"
)

// unproven is what may still be sent for one peer to addresses at which it has
// not answered. The peer chooses its candidates and can forge the source of what
// it sends: without a bound it could turn this end against somebody else.
type unproven struct {
	left int // bytes
	at   time.Time
}

// take removes n bytes if there are as many left.
func (u *unproven) take(now time.Time, n int) bool {
	if u.at.IsZero() {
		u.left, u.at = unprovenBurst, now
	}
	if gained := int(min(now.Sub(u.at), time.Hour).Seconds() * unprovenPerSecond); gained > 0 {
		u.left, u.at = min(u.left+gained, unprovenBurst), now
	}
	if u.left < n {
		return false
	}
	u.left -= n
	return true
}

// maySend says whether n bytes may go to a path: relays and paths on which the
// peer has answered are free.
func (p *peer) maySend(now time.Time, to path.Path, n int) bool {
	if to.Relayed() || p.selector != nil && p.selector.Proven(to) {
		return true
	}
	if !p.unproven.take(now, n) {
		p.e.metrics.drop(dropUnproven)
		return false
	}
	return true
}

// send sends a datagram that is no part of a session, within the bound.
func (p *peer) send(now time.Time, to path.Path, b []byte) {
	if p.maySend(now, to, len(b)) {
		p.e.send(to, b)
	}
}

// try says something in the session on a path that may be unproven.
func (p *peer) try(now time.Time, to path.Path, m wire.Control) {
	if p.maySend(now, to, wire.DataOverhead+len(m.AppendControl(nil))) {
		p.say(dataplane.Path(to), m)
	}
}
