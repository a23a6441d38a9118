package dataplane

import (
	"fmt"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cyphonic/cyphonic/internal/tunnel"
	"github.com/cyphonic/cyphonic/internal/udp"
)

// superPacket is the number of full packets that a 64 KB super-packet is cut into.
const superPacket = 45

// discard is a Conn and a Handler that does nothing.
type discard struct{ udp.Conn }

func (discard) WriteBatch(ms []udp.Message) (int, error)            { return len(ms), nil }
func (discard) LocalPort() uint16                                   { return 1 }
func (discard) Close() error                                        { return nil }
func (discard) Miss(netip.Addr, netip.Addr, []byte)                 {}
func (discard) Datagram(Path, []byte)                               {}
func (discard) Control(*Association, *tunnel.Session, Path, []byte) {}
func (discard) PathSeen(*Association, *tunnel.Session, Path)        {}

// generator is a Device that gives out copies of one packet as fast as they are asked for,
// with a bounded number on their way, and counts what is written to it.
type generator struct {
	packet []byte
	batch  int // packets a Read
	window int // packets on their way

	mu       sync.Mutex
	changed  sync.Cond
	toSend   int // packets that may still be given out
	onTheWay int
	written  int
	closed   bool
	other    *generator // where the packets arrive
}

func newGenerators(packet []byte, batch, window int) (from, to *generator) {
	from, to = &generator{packet: packet, batch: batch, window: window}, &generator{}
	from.changed.L, to.changed.L = &from.mu, &to.mu
	to.other = from
	return from, to
}

func (g *generator) Read(bufs [][]byte, sizes []int, offset int) (int, error) {
	g.mu.Lock()
	for !g.closed && (g.toSend == 0 || g.onTheWay >= g.window) {
		g.changed.Wait()
	}
	n := min(g.batch, g.toSend, len(bufs))
	g.toSend -= n
	g.onTheWay += n
	closed := g.closed
	g.mu.Unlock()
	if closed {
		return 0, os.ErrClosed
	}
	for i := range n {
		sizes[i] = copy(bufs[i][offset:], g.packet)
	}
	return n, nil
}

func (g *generator) Write(bufs [][]byte, _ int) (int, error) {
	if f := g.other; f != nil {
		f.mu.Lock()
		f.onTheWay -= len(bufs)
		f.written += len(bufs)
		f.mu.Unlock()
		f.changed.Broadcast()
	}
	return len(bufs), nil
}

// send makes g give out n packets and waits until they have arrived.
func (g *generator) send(n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.toSend += n
	want := g.written + n
	g.changed.Broadcast()
	for g.written < want {
		g.changed.Wait()
	}
}

func (g *generator) MTU() int       { return 1400 }
func (g *generator) Name() string   { return "bench0" }
func (g *generator) BatchSize() int { return batchPackets }
func (g *generator) Close() error {
	g.mu.Lock()
	g.closed = true
	g.mu.Unlock()
	g.changed.Broadcast()
	return nil
}

func benchPacket(size int) []byte {
	return udpPacket(addressA4, addressB4, 5, 80, make([]byte, size-28))
}

// stages are the parts of the pipeline on one batch of full packets.
type stages struct {
	plane    *Plane
	outbound *outboundBatch
	inbound  *inboundBatch
	sealed   []byte // the batch as one run of datagrams
	size     int    // of each datagram
	peer     *tunnel.Session
}

func newStages(t testing.TB) *stages {
	t.Helper()
	sessionA, sessionB := sessions(t)
	device, _ := newGenerators(nil, 0, 0)
	plane, err := New(Options{Tun: device, UDP: discard{}, Workers: 1, Handler: discard{}})
	if err != nil {
		t.Fatal(err)
	}
	a := NewAssociation(Addresses{addressA4, addressA6, addressB4, addressB6})
	a.SetFilter(allowAll)
	a.SetSession(sessionA)
	a.SetPath(Path{Addr: realB})
	if err := plane.AddAssociation(a); err != nil {
		t.Fatal(err)
	}
	if err := plane.AddSession(sessionA, a); err != nil {
		t.Fatal(err)
	}
	s := &stages{plane: plane, outbound: plane.newOutboundBatch(), inbound: newInboundBatch(), peer: sessionB}
	s.outbound.n = superPacket
	packet := benchPacket(1400)
	for i := range superPacket {
		s.outbound.sizes[i] = copy(s.outbound.buffers[i][packetOffset:], packet)
	}
	answer := udpPacket(addressB4, addressA4, 80, 5, make([]byte, 1400-28))
	for range superPacket {
		d := seal(t, sessionB, 0, answer)
		s.sealed, s.size = append(s.sealed, d...), len(d)
	}
	return s
}

// refill puts packets that are fit for staging into the outbound batch again: sealing has
// encrypted them in place.
func (s *stages) refill(packet []byte) {
	for i := range superPacket {
		copy(s.outbound.buffers[i][packetOffset:], packet)
	}
}

func (s *stages) stageOut() {
	s.plane.stageOutbound(s.outbound)
	s.plane.out.head++ // the batch is not released through the lane
}

func (s *stages) arrive() {
	m := &s.inbound.messages[0]
	m.N, m.Addr, m.SegmentSize = copy(m.Buf, s.sealed), realB, s.size
}

func (s *stages) stageIn() {
	s.plane.stageInbound(s.inbound, 1)
	s.plane.in.head++
}

func TestStagesDoNotAllocate(t *testing.T) {
	s := newStages(t)
	packet := benchPacket(1400)
	if n := testing.AllocsPerRun(100, func() {
		s.refill(packet)
		s.stageOut()
		s.plane.seal(s.outbound)
		s.plane.send(s.outbound)
	}); n != 0 {
		t.Errorf("outbound: %v allocations per batch of %d packets", n, superPacket)
	}
	if n := testing.AllocsPerRun(100, func() {
		s.arrive()
		s.stageIn()
		s.plane.open(s.inbound)
		s.plane.deliver(s.inbound)
	}); n != 0 {
		t.Errorf("inbound: %v allocations per batch of %d packets", n, superPacket)
	}
	if st := s.outbound.packets[0].association.Stats(); st.TxPackets == 0 || st.RxPackets != superPacket {
		t.Fatalf("the stages did not do their work: %+v", st)
	}
}

// BenchmarkStage measures each stage on its own; one operation is a batch of 45 full packets.
func BenchmarkStage(b *testing.B) {
	packet := benchPacket(1400)
	s := newStages(b)
	nanoseconds := func(b *testing.B) {
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/superPacket, "ns/packet")
	}
	b.Run("outbound stage", func(b *testing.B) {
		s.refill(packet)
		for b.Loop() {
			s.stageOut()
		}
		nanoseconds(b)
	})
	b.Run("seal", func(b *testing.B) {
		s.refill(packet)
		s.stageOut()
		for b.Loop() {
			s.plane.seal(s.outbound)
		}
		nanoseconds(b)
	})
	b.Run("send", func(b *testing.B) {
		s.refill(packet)
		s.stageOut()
		s.plane.seal(s.outbound)
		datagrams := make([][]byte, superPacket)
		for i := range datagrams {
			datagrams[i] = s.outbound.packets[i].datagram
		}
		for b.Loop() {
			for i := range datagrams {
				s.outbound.packets[i].datagram = datagrams[i]
			}
			s.plane.send(s.outbound)
		}
		nanoseconds(b)
	})
	b.Run("inbound stage", func(b *testing.B) {
		s.arrive()
		for b.Loop() {
			s.stageIn()
		}
		nanoseconds(b)
	})
	b.Run("copy and open", func(b *testing.B) {
		s.arrive()
		s.stageIn()
		for b.Loop() {
			s.arrive()
			s.plane.open(s.inbound)
		}
		nanoseconds(b)
	})
	b.Run("deliver", func(b *testing.B) {
		benchmarkDeliver(b, s)
		nanoseconds(b)
	})
}

// benchmarkDeliver gives each round counters that the replay window has not seen.
func benchmarkDeliver(b *testing.B, s *stages) {
	s.arrive()
	s.stageIn()
	s.plane.open(s.inbound)
	counter := uint64(1 << 20)
	for b.Loop() {
		for i := range s.inbound.datagrams {
			s.inbound.datagrams[i].counter = counter
			counter++
		}
		s.plane.deliver(s.inbound)
	}
}

// BenchmarkPlane measures two planes from virtual interface to virtual interface; one
// operation is one packet.
func BenchmarkPlane(b *testing.B) {
	conns := map[string]func(b *testing.B) (connA, connB udp.Conn, toB netip.AddrPort){
		"fakes": func(*testing.B) (udp.Conn, udp.Conn, netip.AddrPort) {
			connA, connB := udp.NewFakePair(realA, realB)
			return connA, connB, realB
		},
		"loopback sockets": func(b *testing.B) (udp.Conn, udp.Conn, netip.AddrPort) {
			listen := func() udp.Conn {
				c, err := udp.Listen(udp.Options{})
				if err != nil {
					b.Fatal(err)
				}
				return c
			}
			connA, connB := listen(), listen()
			return connA, connB, netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), connB.LocalPort())
		},
	}
	for _, kind := range []string{"fakes", "loopback sockets"} {
		for _, row := range []struct{ size, batch int }{{1400, superPacket}, {1400, 1}, {100, 1}} {
			for _, workers := range []int{1, 2, 4} {
				b.Run(fmt.Sprintf("%s/%d bytes by %d/%d workers", kind, row.size, row.batch, workers), func(b *testing.B) {
					connA, connB, toB := conns[kind](b)
					benchmarkPlane(b, connA, connB, toB, row.size, row.batch, workers)
				})
			}
		}
	}
}

func benchmarkPlane(b *testing.B, connA, connB udp.Conn, toB netip.AddrPort, size, batch, workers int) {
	sessionA, sessionB := sessions(b)
	from, to := newGenerators(benchPacket(size), batch, 1024)
	for _, side := range []struct {
		device    *generator
		conn      udp.Conn
		addresses Addresses
		session   *tunnel.Session
		path      netip.AddrPort
	}{
		{from, connA, Addresses{addressA4, addressA6, addressB4, addressB6}, sessionA, toB},
		{to, connB, Addresses{addressB4, addressB6, addressA4, addressA6}, sessionB, realA},
	} {
		plane, err := New(Options{Tun: side.device, UDP: side.conn, Workers: workers, Handler: discard{}})
		if err != nil {
			b.Fatal(err)
		}
		a := NewAssociation(side.addresses)
		a.SetFilter(allowAll)
		a.SetSession(side.session)
		a.SetPath(Path{Addr: side.path})
		if err := plane.AddAssociation(a); err != nil {
			b.Fatal(err)
		}
		if err := plane.AddSession(side.session, a); err != nil {
			b.Fatal(err)
		}
		(&end{plane: plane}).run(b)
	}
	from.send(1000)
	b.SetBytes(int64(size))
	b.ReportAllocs()
	b.ResetTimer()
	cpu := cpuSeconds(b)
	from.send(b.N)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "packets/s")
	b.ReportMetric((cpuSeconds(b)-cpu)/float64(b.N)/float64(size)*1e9, "cpu-s/GB")
}

// cpuSeconds is the processor time of this process so far, user and system. It says more
// than the clock where other programs compete for the processors.
func cpuSeconds(b *testing.B) float64 {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
}
