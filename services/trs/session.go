package trs

import (
	"net/netip"
	"slices"
	"time"
)

// session is the relay between the two sides of a pair.
type session struct {
	id      [16]byte
	network *network
	sides   [2]side

	// Of a TRS that leaves: how often the sides have been told, and when again.
	notices int
	noticed time.Time
}

// active says whether datagrams have been forwarded a moment ago. A RelayBind alone is none.
func (s *session) active(now time.Time) bool {
	for i := range s.sides {
		if side := &s.sides[i]; side.lastSeen.After(side.lastBind) && now.Sub(side.lastSeen) < residualAge {
			return true
		}
	}
	return false
}

// side is one end of a session.
type side struct {
	session  *session
	index    uint8
	channel  uint32         // 0: never bound
	addr     netip.AddrPort // the only address that the side sends from and gets at
	lastSeen time.Time
	lastBind time.Time
	notAfter time.Time // of the token
	bindKey  [32]byte  // of the token
	quota    bucket
	moves    bucket
	nonces   []uint64               // of the bindings that moved the side, oldest first
	answered [answeredMemory]uint64 // nonces of the latest bindings, in a ring
	latest   int                    // in answered
}

func (s *side) bound(now time.Time) bool {
	return s.addr.IsValid() && now.Sub(s.lastSeen) < idleTimeout && now.Before(s.notAfter)
}

func (s *side) peer() *side { return &s.session.sides[1-s.index] }

func (s *side) usedNonce(n uint64) bool { return slices.Contains(s.nonces, n) }

func (s *side) rememberNonce(n uint64) {
	if len(s.nonces) == nonceMemory {
		s.nonces = slices.Delete(s.nonces, 0, 1)
	}
	s.nonces = append(s.nonces, n)
}

// answer notes the nonce and key of a RelayBind: what the TRS says unasked carries them. A captured one that is sent
// again does not bring back what was before.
func (s *side) answer(nonce uint64, bindKey [32]byte) {
	if slices.Contains(s.answered[:], nonce) {
		return
	}
	s.latest = (s.latest + 1) % answeredMemory
	s.answered[s.latest], s.bindKey = nonce, bindKey
}

// network is what the sessions of one network share.
type network struct {
	name     string
	sessions int
	quota    bucket
}

// bucket is a token bucket. Its zero value lets nothing through.
type bucket struct {
	perSecond, burst float64
	level            float64
	last             time.Time
}

func newBucket(perSecond, burst float64, now time.Time) bucket {
	return bucket{perSecond: perSecond, burst: burst, level: burst, last: now}
}

// newByteBucket is a bucket for a quota in bytes per second.
func newByteBucket(bytesPerSecond float64, now time.Time) bucket {
	return newBucket(bytesPerSecond, max(minBurst, bytesPerSecond*quotaBurst.Seconds()), now)
}

// take removes n from the bucket if it holds as much.
func (b *bucket) take(now time.Time, n float64) bool {
	if passed := now.Sub(b.last); passed > 0 {
		b.level = min(b.burst, b.level+passed.Seconds()*b.perSecond)
		b.last = now
	}
	if b.level < n {
		return false
	}
	b.level -= n
	return true
}
