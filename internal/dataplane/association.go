package dataplane

import (
	"bytes"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/cyphonic/cyphonic/internal/tunnel"
	"github.com/cyphonic/cyphonic/internal/wire"
)

// Addresses are the virtual addresses of the two ends of an association. The zero value of
// one means that the end has no address of that family.
type Addresses struct {
	LocalIPv4, LocalIPv6 netip.Addr
	PeerIPv4, PeerIPv6   netip.Addr
}

// Association is one pair of a local identity and a peer. All methods are safe for
// concurrent use.
type Association struct {
	// Constant.
	addresses Addresses
	// The two ends' addresses in a row, as in the header of a packet from the peer; empty if
	// either is missing.
	fromPeer4, fromPeer6 []byte

	// Atomic.
	session atomic.Pointer[tunnel.Session]
	path    atomic.Pointer[Path]

	txPackets, txBytes atomic.Uint64
	lastTx             atomic.Int64
	_                  [cacheLine]byte // the other direction's worker writes what follows
	rxPackets, rxBytes atomic.Uint64
	lastRx, pathSeen   atomic.Int64

	mu     sync.Mutex
	filter filter // under mu
}

// Stats are the counts of one association since it was made.
type Stats struct {
	// Packets and bytes of IP packets that were sent into the tunnel, and of those that came
	// out of it and passed every check.
	TxPackets, TxBytes, RxPackets, RxBytes uint64
	// LastTx is when the last IP packet was sent, LastRx when the last authenticated datagram
	// (packet or control message) came: nanoseconds on the Plane's clock (Plane.Clock), zero
	// for never.
	LastRx, LastTx int64
}

// NewAssociation returns an association that drops everything: it has no session, no path
// and no rules.
func NewAssociation(a Addresses) *Association {
	return &Association{
		addresses: a,
		fromPeer4: addressPair(a.PeerIPv4, a.LocalIPv4),
		fromPeer6: addressPair(a.PeerIPv6, a.LocalIPv6),
	}
}

func addressPair(source, destination netip.Addr) []byte {
	if !source.IsValid() || !destination.IsValid() {
		return nil
	}
	return append(source.AsSlice(), destination.AsSlice()...)
}

// Addresses returns what NewAssociation was given.
func (a *Association) Addresses() Addresses { return a.addresses }

// SetFilter replaces the rules: who may open flows, seen from this end. Flows that are open
// and would not be allowed to open now are cut.
func (a *Association) SetFilter(rules []wire.Rule) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.filter.setRules(rules)
}

// SetSession chooses the session that packets are sent in; nil for none.
func (a *Association) SetSession(s *tunnel.Session) { a.session.Store(s) }

// Session is the session that packets are sent in, nil if none.
func (a *Association) Session() *tunnel.Session { return a.session.Load() }

// SetPath chooses where datagrams go.
func (a *Association) SetPath(p Path) { a.path.Store(&p) }

// Path is where datagrams go; the zero value if none was set.
func (a *Association) Path() Path {
	if p := a.path.Load(); p != nil {
		return *p
	}
	return Path{}
}

// Stats returns the counts.
func (a *Association) Stats() Stats {
	return Stats{
		TxPackets: a.txPackets.Load(), TxBytes: a.txBytes.Load(), LastTx: a.lastTx.Load(),
		RxPackets: a.rxPackets.Load(), RxBytes: a.rxBytes.Load(), LastRx: a.lastRx.Load(),
	}
}

// isFromPeer says whether a packet that was parsed goes exactly from the peer's virtual
// address to this end's.
func (a *Association) isFromPeer(b []byte) bool {
	want := a.fromPeer4
	if b[0]>>4 == 6 {
		want = a.fromPeer6
	}
	return len(want) != 0 && bytes.Equal(addressBytes(b), want)
}
