package signaling

import (
	"encoding/binary"
	"slices"
	"time"

	"github.com/cyphonic/cyphonic/internal/wire"
)

// Receive takes one SignalReply datagram. On an error nothing has changed,
// except that an authentic datagram is remembered against its replay.
func (c *Client) Receive(now time.Time, datagram []byte) error {
	if c.closed {
		return ErrClosed
	}
	reply, err := wire.ParseSignalReply(datagram)
	if err != nil {
		return ErrMalformed
	}
	if reply.ReceiverTag != c.cfg.Tag {
		return ErrTag
	}
	nonce, plain, err := c.keys.OpenReply(datagram)
	if err != nil && now.Before(c.previousEnd) {
		nonce, plain, err = c.previous.OpenReply(datagram)
	}
	if err != nil {
		return ErrAuthentication
	}
	if !c.replay.accept(now, nonce) {
		return ErrReplay
	}
	body, err := wire.ParseSignalBody(plain)
	if err != nil {
		return ErrMalformed
	}
	switch m := body.(type) {
	case wire.RegistrationAck:
		return c.onAck(now, m)
	case wire.Challenge:
		return c.onChallenge(now, m)
	case wire.DirectionFailure:
		return c.onFailure(now, m)
	case wire.Confirmation:
		return c.onConfirmation(now, m)
	case wire.RouteDirection:
		return c.onRoute(now, m)
	}
	return ErrUnasked // a body that only a node sends
}

// replayGuard remembers the nonces of authentic replies. A nonce is the boot
// identifier of a replica and a counter that the replica shares among all its
// nodes, so the counters seen here are far apart: a set fits, a bitmap does not.
type replayGuard struct {
	replicas []replicaNonces
}

type replicaNonces struct {
	boot  [16]byte
	heard time.Time
	floor uint64   // counters up to here count as seen
	seen  []uint64 // ascending
}

// accept reports whether the nonce is new and remembers it.
func (g *replayGuard) accept(now time.Time, nonce [24]byte) bool {
	counter := binary.BigEndian.Uint64(nonce[16:])
	r := g.replica([16]byte(nonce[:16]))
	if counter < r.floor {
		return false
	}
	i, found := slices.BinarySearch(r.seen, counter)
	if found {
		return false
	}
	r.heard = now
	r.seen = slices.Insert(r.seen, i, counter)
	if len(r.seen) > maxNonces {
		r.floor = r.seen[0] + 1
		r.seen = slices.Delete(r.seen, 0, 1)
	}
	return true
}

func (g *replayGuard) replica(boot [16]byte) *replicaNonces {
	for i := range g.replicas {
		if g.replicas[i].boot == boot {
			return &g.replicas[i]
		}
	}
	if len(g.replicas) < maxReplicas {
		g.replicas = append(g.replicas, replicaNonces{boot: boot})
		return &g.replicas[len(g.replicas)-1]
	}
	oldest := 0
	for i := range g.replicas {
		if g.replicas[i].heard.Before(g.replicas[oldest].heard) {
			oldest = i
		}
	}
	g.replicas[oldest] = replicaNonces{boot: boot}
	return &g.replicas[oldest]
}
