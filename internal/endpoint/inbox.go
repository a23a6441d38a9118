package endpoint

import (
	"bytes"
	"net/netip"
	"sync"

	"github.com/cyphonic/cyphonic/internal/dataplane"
	"github.com/cyphonic/cyphonic/internal/tunnel"
	"github.com/cyphonic/cyphonic/internal/wire"
)

// inbox takes what the data plane cannot decide into bounded queues, one per
// kind, so that a flood of one kind (handshakes of strangers) does not keep the
// others (signalling, authenticated control messages) out. It implements
// dataplane.Handler: it copies, never blocks, and counts what it drops.
type inbox struct {
	metrics    *metrics
	control    chan controlItem
	signals    chan datagramItem
	inits      chan datagramItem
	handshakes chan datagramItem // answers within handshakes
	relays     chan datagramItem
	misses     chan missItem
	sources    shares // of misses
	seen       chan seenItem
}

type datagramItem struct {
	from dataplane.Path
	b    []byte
}

type controlItem struct {
	association *dataplane.Association
	session     *tunnel.Session
	from        dataplane.Path
	message     []byte
}

type seenItem struct {
	association *dataplane.Association
	session     *tunnel.Session
	from        dataplane.Path
}

type missItem struct {
	src, dst netip.Addr
	packet   []byte
}

func newInbox(m *metrics) *inbox {
	return &inbox{
		metrics:    m,
		control:    make(chan controlItem, controlQueue),
		signals:    make(chan datagramItem, signalQueue),
		inits:      make(chan datagramItem, initQueue),
		handshakes: make(chan datagramItem, handshakeQueue),
		relays:     make(chan datagramItem, relayQueue),
		misses:     make(chan missItem, missQueue),
		seen:       make(chan seenItem, seenQueue),
	}
}

var _ dataplane.Handler = (*inbox)(nil)

// Miss implements dataplane.Handler.
func (in *inbox) Miss(src, dst netip.Addr, packet []byte) {
	if len(in.misses) == cap(in.misses) || !in.sources.take(src) {
		in.metrics.drop(dropQueue)
		return
	}
	select {
	case in.misses <- missItem{src, dst, bytes.Clone(packet)}:
	default:
		in.sources.give(src)
		in.metrics.drop(dropQueue)
	}
}

// shares counts the queued packets of each source, so that a general node that
// writes to everybody leaves room for the others of its adapter.
type shares struct {
	mu     sync.Mutex
	queued map[netip.Addr]int
}

func (s *shares) take(src netip.Addr) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.queued[src] >= missShare {
		return false
	}
	if s.queued == nil {
		s.queued = make(map[netip.Addr]int)
	}
	s.queued[src]++
	return true
}

func (s *shares) give(src netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.queued[src]--; s.queued[src] <= 0 {
		delete(s.queued, src)
	}
}

// Control implements dataplane.Handler.
func (in *inbox) Control(a *dataplane.Association, s *tunnel.Session, from dataplane.Path, message []byte) {
	put(in, in.control, controlItem{a, s, from, bytes.Clone(message)})
}

// PathSeen implements dataplane.Handler. A full queue is no loss: the next
// packet reports the path again.
func (in *inbox) PathSeen(a *dataplane.Association, s *tunnel.Session, from dataplane.Path) {
	select {
	case in.seen <- seenItem{a, s, from}:
	default:
	}
}

// Datagram implements dataplane.Handler.
func (in *inbox) Datagram(from dataplane.Path, b []byte) {
	queue, reason := in.queueFor(from, b)
	if queue == nil {
		in.metrics.drop(reason)
		return
	}
	if len(queue) == cap(queue) { // before the copy
		in.metrics.drop(dropQueue)
		return
	}
	put(in, queue, datagramItem{from, bytes.Clone(b)})
}

func (in *inbox) queueFor(from dataplane.Path, b []byte) (queue chan datagramItem, reason string) {
	t, err := wire.PeekType(b)
	if err != nil {
		return nil, dropMalformed
	}
	switch t {
	case wire.TypeHandshakeInit:
		return in.inits, ""
	case wire.TypeHandshakeResponse, wire.TypeCookieReply:
		return in.handshakes, ""
	case wire.TypeData:
		h, err := wire.ParseDataHeader(b)
		switch {
		case err != nil:
			return nil, dropMalformed
		case h.Flags&wire.FlagHandshake == 0:
			return nil, dropSession
		}
		return in.handshakes, ""
	case wire.TypePunch:
		return nil, dropPunch
	}
	if from.Relayed() { // a relay carries what peers say to each other, nothing else
		return nil, dropRelayed
	}
	switch t {
	case wire.TypeSignalReply:
		return in.signals, ""
	case wire.TypeRelayChallenge, wire.TypeRelayBound, wire.TypeRelayError:
		return in.relays, ""
	}
	return nil, dropType
}

func put[T any](in *inbox, queue chan T, item T) {
	select {
	case queue <- item:
	default:
		in.metrics.drop(dropQueue)
	}
}
