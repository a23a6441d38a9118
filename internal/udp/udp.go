package udp

import (
	"errors"
	"net/netip"

	"github.com/prometheus/client_golang/prometheus"
)

// Endpoint is a real address and port. Addresses of this package are always unmapped:
// an IPv4 address never appears as ::ffff:a.b.c.d.
type Endpoint = netip.AddrPort

// ErrNoFamily is returned by Listen when neither IPv4 nor IPv6 can be used.
var ErrNoFamily = errors.New("udp: no address family is available")

// Message is one element of a batch.
//
// The caller owns Buf before, during and after every call; a Conn keeps no reference.
type Message struct {
	// Buf is the memory of the message. ReadBatch fills it from the start; WriteBatch sends
	// Buf[:N] as one datagram.
	Buf []byte
	// N is the number of bytes used in Buf.
	N int
	// Addr is the source (ReadBatch) or the destination (WriteBatch).
	Addr netip.AddrPort
	// SegmentSize is set by ReadBatch and ignored by WriteBatch. When it is above zero and
	// below N, Buf[:N] holds several datagrams of one source: each SegmentSize bytes long,
	// the last one possibly shorter. Otherwise Buf[:N] is one datagram.
	SegmentSize int
}

// Next cuts the first datagram off rest, which is Buf[:N] or what an earlier Next left of it.
//
//	for rest := m.Buf[:m.N]; len(rest) > 0; {
//		var datagram []byte
//		datagram, rest = m.Next(rest)
//	}
func (m *Message) Next(rest []byte) (datagram, remaining []byte) {
	size := m.SegmentSize
	if size <= 0 || size > len(rest) {
		size = len(rest)
	}
	return rest[:size:size], rest[size:]
}

// Conn sends and receives datagrams of both address families on one port.
//
// ReadBatch blocks until at least one datagram is there and returns how many messages it
// filled. One goroutine at a time reads; WriteBatch may be called from many goroutines.
//
// A caller whose buffers all hold MaxMessage bytes gets runs of datagrams (SegmentSize);
// a caller with smaller buffers gets single datagrams, and one that does not fit is dropped
// and counted. The first ReadBatch decides; the buffers of one Conn must not get smaller.
//
// WriteBatch returns the number of datagrams that were handed to the kernel. Datagrams that
// cannot be sent now (no route, refused, too big, forbidden by a packet filter) are counted
// and skipped: as with any loss on the way, upper layers notice. An error is returned only
// when the Conn can no longer be used; net.ErrClosed after Close.
type Conn interface {
	ReadBatch([]Message) (int, error)
	WriteBatch([]Message) (int, error)
	// LocalPort is the port, the same in both families.
	LocalPort() uint16
	// BatchSize is the number of messages that one call handles best.
	BatchSize() int
	// Close makes blocked calls return net.ErrClosed.
	Close() error
}

// Options says what Listen opens.
type Options struct {
	// Port is the local port; zero takes one that is free in both families.
	Port uint16
	// IPv4 and IPv6 choose the families. With both or none set, both are opened and one that
	// the system does not offer is left out; with one set, only that one is opened.
	IPv4, IPv6 bool
	// IPv4Address and IPv6Address are the local addresses; the zero value means any.
	IPv4Address, IPv6Address netip.Addr
	// Mark is the SO_MARK of outgoing packets (needs CAP_NET_ADMIN); zero sets none.
	Mark uint32
	// Device binds the sockets to a network interface; empty binds to none.
	Device string
	// DisableOffload leaves UDP_SEGMENT and UDP_GRO unused.
	DisableOffload bool
	// Registerer takes the counters; nil keeps them private. Several Conns on one registry
	// share their counters.
	Registerer prometheus.Registerer
}

// families returns which families are wanted, and whether one of them may be missing.
func (o Options) families() (ipv4, ipv6, optional bool) {
	if o.IPv4 == o.IPv6 {
		return true, true, true
	}
	return o.IPv4, o.IPv6, false
}
