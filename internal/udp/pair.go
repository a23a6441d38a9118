package udp

import (
	"errors"
	"net"
	"net/netip"
	"sync"
)

// errShortBuffer says that a test's receive buffer is smaller than the datagram.
var errShortBuffer = errors.New("udp: fake: receive buffer is too small")

// Fake is an in-memory Conn. What one end of a pair writes, the other end reads, in order
// and without loss; the destination address is not looked at, the source is the writer's.
type Fake struct {
	local netip.AddrPort
	in    *fakeLine
	out   *fakeLine
}

// NewFakePair returns two Conns that are connected to each other and appear to each other
// under the given addresses. It is meant for tests and benchmarks.
func NewFakePair(a, b netip.AddrPort) (*Fake, *Fake) {
	ab, ba := newFakeLine(), newFakeLine()
	return &Fake{local: a, in: ba, out: ab}, &Fake{local: b, in: ab, out: ba}
}

// ReadBatch implements Conn.
func (f *Fake) ReadBatch(ms []Message) (int, error) { return f.in.read(ms) }

// WriteBatch implements Conn.
func (f *Fake) WriteBatch(ms []Message) (int, error) { return f.out.write(f.local, ms) }

// LocalPort implements Conn.
func (f *Fake) LocalPort() uint16 { return f.local.Port() }

// BatchSize implements Conn.
func (f *Fake) BatchSize() int { return MaxBatch }

// Close implements Conn. The other end stays open; what it sends from now on is lost.
func (f *Fake) Close() error {
	f.in.close(&f.in.readerClosed)
	f.out.close(&f.out.writerClosed)
	return nil
}

// fakeLine is one direction of a pair: a bounded ring of datagrams whose memory is reused.
type fakeLine struct {
	mu      sync.Mutex
	changed sync.Cond
	// The two ends of the line; each is closed by the Fake that has it.
	readerClosed, writerClosed bool

	ring  [fakeQueue]fakeDatagram
	head  int // index of the oldest
	count int
}

type fakeDatagram struct {
	from netip.AddrPort
	data []byte
}

func newFakeLine() *fakeLine {
	l := &fakeLine{}
	l.changed.L = &l.mu
	return l
}

func (l *fakeLine) read(ms []Message) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.count == 0 && !l.readerClosed {
		l.changed.Wait()
	}
	if l.readerClosed {
		return 0, net.ErrClosed
	}
	n := min(len(ms), l.count)
	for i := range ms[:n] {
		d := &l.ring[l.head]
		if len(ms[i].Buf) < len(d.data) {
			return i, errShortBuffer
		}
		ms[i].N, ms[i].Addr, ms[i].SegmentSize = copy(ms[i].Buf, d.data), d.from, 0
		l.head = (l.head + 1) % fakeQueue
	}
	l.count -= n
	l.changed.Broadcast()
	return n, nil
}

func (l *fakeLine) write(from netip.AddrPort, ms []Message) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range ms {
		for l.count == fakeQueue && !l.readerClosed && !l.writerClosed {
			l.changed.Wait()
		}
		if l.writerClosed {
			return i, net.ErrClosed
		}
		if l.readerClosed {
			continue
		}
		d := &l.ring[(l.head+l.count)%fakeQueue]
		d.from, d.data = from, append(d.data[:0], ms[i].Buf[:ms[i].N]...)
		l.count++
		if l.count == fakeQueue || i == len(ms)-1 {
			l.changed.Broadcast()
		}
	}
	return len(ms), nil
}

func (l *fakeLine) close(end *bool) {
	l.mu.Lock()
	*end = true
	l.mu.Unlock()
	l.changed.Broadcast()
}
