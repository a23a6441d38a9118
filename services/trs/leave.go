package trs

import (
	"net/netip"
	"time"

	"github.com/cyphonic/cyphonic/internal/wire"
)

// Leave begins to tell all bound sides that this TRS leaves, and with them those that come. What is bound goes on.
//
// A session cannot be given to another replica: its sides send to this one's address. They are asked to ask the NMS,
// bind elsewhere beside this binding, and move (ADR 0025).
func (c *Core) Leave(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.leaving.IsZero() {
		return
	}
	c.leaving = now
	c.untold = make([]*session, 0, len(c.sessions))
	for _, s := range c.sessions {
		c.untold = append(c.untold, s)
	}
}

// Refuse takes no new sessions from now on. The second side of one that there is may still come.
func (c *Core) Refuse() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refusing = true
}

// telling says whether bound sides are told now.
func (c *Core) telling(now time.Time) bool {
	return !c.leaving.IsZero() && now.Sub(c.leaving) >= leaveSettle
}

// Notices appends what is to be said now to sessions that should move. It is a bounded number of datagrams; while the
// TRS does not leave it is none.
func (c *Core) Notices(now time.Time, out []Datagram) []Datagram {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.telling(now) {
		return out
	}
	for range min(noticeBatch, len(c.untold)) {
		s := c.untold[0]
		if now.Sub(s.noticed) < noticeRepeat {
			break // the queue is in the order of time
		}
		c.untold = c.untold[1:]
		if c.sessions[s.id] != s {
			continue // has ended
		}
		if s.notices < noticesLeast || s.active(now) {
			for i := range s.sides {
				if side := &s.sides[i]; side.bound(now) {
					out = append(out, c.notice(side.addr, side.answered[side.latest], side.bindKey))
				}
			}
		}
		s.notices, s.noticed = s.notices+1, now
		c.untold = append(c.untold, s)
	}
	return out
}

// notice says that this TRS leaves. The nonce is that of a RelayBind which this TRS has answered, so that the device
// knows it, and knows an old notice for what it is.
func (c *Core) notice(to netip.AddrPort, nonce uint64, bindKey [32]byte) Datagram {
	c.metrics.notices.Inc()
	b := wire.RelayError{Code: wire.RelayErrorLeaving, Nonce: nonce}.Append(nil)
	wire.SignRelay(b, bindKey)
	return Datagram{to, b}
}

// Residual is the number of sessions that have had traffic a moment ago: those that would be interrupted.
func (c *Core) Residual(now time.Time) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.residual(now)
}

func (c *Core) residual(now time.Time) (active int) {
	for _, s := range c.sessions {
		if s.active(now) {
			active++
		}
	}
	return active
}

// Left says whether every session has been told often enough and none has traffic any more, and how many have.
func (c *Core) Left(now time.Time) (left bool, active int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	active = c.residual(now)
	if !c.telling(now) || active > 0 {
		return false, active
	}
	for _, s := range c.sessions {
		if s.notices < noticesLeast {
			return false, 0
		}
	}
	return true, 0
}
