package dataplane

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/binary"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"github.com/cyphonic/cyphonic/internal/identity"
	"github.com/cyphonic/cyphonic/internal/tun"
	"github.com/cyphonic/cyphonic/internal/tunnel"
	"github.com/cyphonic/cyphonic/internal/udp"
	"github.com/cyphonic/cyphonic/internal/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	addressA4, addressB4 = netip.MustParseAddr("10.50.0.1"), netip.MustParseAddr("10.50.0.2")
	addressA6, addressB6 = netip.MustParseAddr("fd50::1"), netip.MustParseAddr("fd50::2")
	stranger4, stranger6 = netip.MustParseAddr("10.50.0.66"), netip.MustParseAddr("fd50::66")
	realA, realB         = netip.MustParseAddrPort("192.0.2.1:1001"), netip.MustParseAddrPort("192.0.2.2:1002")
)

var allowAll = []wire.Rule{{Inbound: true, PortHigh: 65535}, {PortHigh: 65535}}

// device is a key with a certificate for a tunnel handshake.
func device(t testing.TB, issuer *identity.Issuer, name string, v4, v6 netip.Addr) (*identity.DeviceKey, []byte) {
	t.Helper()
	key, err := identity.NewDeviceKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	c, err := issuer.Issue(identity.Certificate{
		Public: key.Public(), FQDN: name, VirtualIPv4: v4, VirtualIPv6: v6, Network: "test",
		Assurance: identity.AssuranceKey, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
	})
	if err != nil {
		t.Fatal(err)
	}
	return key, c.Raw()
}

func newIssuer(t testing.TB) *identity.Issuer {
	t.Helper()
	root, err := identity.NewRootKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := identity.NewIssuerKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	issuer, err := identity.NewIssuer(key, root.IssueIssuer(key.Public().(ed25519.PublicKey), now.Add(-time.Hour), now.Add(time.Hour)))
	if err != nil {
		t.Fatal(err)
	}
	return issuer
}

// sessions runs a handshake and returns its two ends, with local indices 100 and 200.
func sessions(t testing.TB) (a, b *tunnel.Session) {
	t.Helper()
	issuer := newIssuer(t)
	keyA, certificateA := device(t, issuer, "a.test", addressA4, addressA6)
	keyB, certificateB := device(t, issuer, "b.test", addressB4, addressB6)
	config := func(k *identity.DeviceKey, c []byte) tunnel.Config {
		return tunnel.Config{Key: k, Certificate: c, Verify: identity.ParseCertificate, Rand: rand.Reader, Ciphers: []tunnel.Cipher{tunnel.CipherAES256GCM}}
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	i, err := tunnel.NewInitiator(config(keyA, certificateA), keyB.Public(), 7, 100)
	must(err)
	r, response, err := tunnel.NewResponder(config(keyB, certificateB), 200, i.Message())
	must(err)
	kem, err := i.Response(response)
	must(err)
	b, reply, err := r.Complete(kem)
	must(err)
	a, err = i.Complete(reply)
	must(err)
	return a, b
}

// recorder is a Handler that keeps what it gets.
type recorder struct {
	mu        sync.Mutex
	changed   sync.Cond
	misses    []miss
	datagrams []received
	controls  []received
	paths     []Path
}

type miss struct {
	src, dst netip.Addr
	packet   []byte
}

type received struct {
	from Path
	data []byte
}

func newRecorder() *recorder {
	r := &recorder{}
	r.changed.L = &r.mu
	return r
}

func (r *recorder) note(f func()) {
	r.mu.Lock()
	f()
	r.mu.Unlock()
	r.changed.Broadcast()
}

func (r *recorder) Miss(src, dst netip.Addr, p []byte) {
	r.note(func() { r.misses = append(r.misses, miss{src, dst, append([]byte(nil), p...)}) })
}

func (r *recorder) Datagram(from Path, b []byte) {
	r.note(func() { r.datagrams = append(r.datagrams, received{from, append([]byte(nil), b...)}) })
}

func (r *recorder) Control(_ *Association, _ *tunnel.Session, from Path, b []byte) {
	r.note(func() { r.controls = append(r.controls, received{from, append([]byte(nil), b...)}) })
}

func (r *recorder) PathSeen(_ *Association, _ *tunnel.Session, from Path) {
	r.note(func() { r.paths = append(r.paths, from) })
}

// await waits until ready holds; the test's own time limit ends it otherwise.
func (r *recorder) await(ready func() bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for !ready() {
		r.changed.Wait()
	}
}

// end is one side of a test network.
type end struct {
	plane       *Plane
	tun         *tun.Fake
	conn        udp.Conn
	handler     *recorder
	association *Association
	session     *tunnel.Session
	address     netip.AddrPort
}

// newEnd returns an end that is not yet running, over conn.
func newEnd(t testing.TB, conn udp.Conn, workers int, addresses Addresses, s *tunnel.Session, peer netip.AddrPort) *end {
	t.Helper()
	e := &end{tun: tun.NewFake("fake0", 1400), conn: conn, handler: newRecorder(), session: s}
	var err error
	e.plane, err = New(Options{Tun: e.tun, UDP: conn, Workers: workers, Handler: e.handler})
	if err != nil {
		t.Fatal(err)
	}
	e.association = NewAssociation(addresses)
	e.association.SetFilter(allowAll)
	e.association.SetSession(s)
	e.association.SetPath(Path{Addr: peer})
	if err := e.plane.AddAssociation(e.association); err != nil {
		t.Fatal(err)
	}
	if err := e.plane.AddSession(s, e.association); err != nil {
		t.Fatal(err)
	}
	return e
}

// run starts the plane; it is stopped, and waited for, when the test ends.
func (e *end) run(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.plane.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

func (e *end) drops(direction string, reason dropReason) float64 {
	m := &e.plane.metrics.in
	if direction == "out" {
		m = &e.plane.metrics.out
	}
	return testutil.ToFloat64(m.drops[reason])
}

// pair returns two connected ends that are running.
func pair(t testing.TB, workers int) (a, b *end) {
	t.Helper()
	a, b = pairOverFake(t, workers)
	a.run(t)
	b.run(t)
	return a, b
}

// pairOverFake returns two connected ends that are not yet running.
func pairOverFake(t testing.TB, workers int) (a, b *end) {
	t.Helper()
	connA, connB := udp.NewFakePair(realA, realB)
	return pairOver(t, workers, connA, connB)
}

func pairOver(t testing.TB, workers int, connA, connB udp.Conn) (a, b *end) {
	t.Helper()
	sessionA, sessionB := sessions(t)
	a = newEnd(t, connA, workers, Addresses{addressA4, addressA6, addressB4, addressB6}, sessionA, realB)
	b = newEnd(t, connB, workers, Addresses{addressB4, addressB6, addressA4, addressA6}, sessionB, realA)
	a.address, b.address = realA, realB
	return a, b
}

// scripted is a Conn whose arrivals a test supplies and whose departures it records.
type scripted struct {
	arriving chan []udp.Message
	closed   chan struct{}
	once     sync.Once

	mu   sync.Mutex
	sent []received
}

func newScripted() *scripted {
	return &scripted{arriving: make(chan []udp.Message), closed: make(chan struct{})}
}

func (c *scripted) ReadBatch(ms []udp.Message) (int, error) {
	select {
	case arrived := <-c.arriving:
		for i, m := range arrived {
			ms[i].N, ms[i].Addr, ms[i].SegmentSize = copy(ms[i].Buf, m.Buf[:m.N]), m.Addr, m.SegmentSize
		}
		return len(arrived), nil
	case <-c.closed:
		return 0, net.ErrClosed
	}
}

func (c *scripted) WriteBatch(ms []udp.Message) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range ms {
		c.sent = append(c.sent, received{Path{Addr: m.Addr}, append([]byte(nil), m.Buf[:m.N]...)})
	}
	return len(ms), nil
}

func (c *scripted) LocalPort() uint16 { return 1 }
func (c *scripted) BatchSize() int    { return 1 }
func (c *scripted) Close() error      { c.once.Do(func() { close(c.closed) }); return nil }

// arrive delivers datagrams that come from one address, each as a message of its own.
func (c *scripted) arrive(from netip.AddrPort, datagrams ...[]byte) {
	var ms []udp.Message
	for _, d := range datagrams {
		ms = append(ms, udp.Message{Buf: d, N: len(d), Addr: from})
	}
	c.arriving <- ms
}

func (c *scripted) departed() []received {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]received(nil), c.sent...)
}

// ipPacket makes an IP packet of a protocol with the given upper-layer bytes.
func ipPacket(src, dst netip.Addr, protocol uint8, upper []byte) []byte {
	if src.Is4() {
		b := []byte{0x45, 0, 0, 0, 0, 1, 0x40, 0, 64, protocol, 0, 0}
		b = append(append(b, src.AsSlice()...), dst.AsSlice()...)
		binary.BigEndian.PutUint16(b[2:], uint16(len(b)+len(upper)))
		binary.BigEndian.PutUint16(b[10:], ^checksum(0, b))
		return append(b, upper...)
	}
	b := []byte{0x60, 0, 0, 0, byte(len(upper) >> 8), byte(len(upper)), protocol, 64}
	b = append(append(b, src.AsSlice()...), dst.AsSlice()...)
	return append(b, upper...)
}

func udpPacket(src, dst netip.Addr, sourcePort, destinationPort uint16, data []byte) []byte {
	u := binary.BigEndian.AppendUint16(nil, sourcePort)
	u = binary.BigEndian.AppendUint16(u, destinationPort)
	u = binary.BigEndian.AppendUint16(u, uint16(udpHeaderSize+len(data)))
	return ipPacket(src, dst, protocolUDP, append(append(u, 0, 0), data...))
}

func tcpPacket(src, dst netip.Addr, sourcePort, destinationPort uint16, flags uint8) []byte {
	h := make([]byte, tcpHeaderSize)
	binary.BigEndian.PutUint16(h, sourcePort)
	binary.BigEndian.PutUint16(h[2:], destinationPort)
	h[12], h[13] = 5<<4, flags
	return ipPacket(src, dst, protocolTCP, h)
}

func icmpPacket(src, dst netip.Addr, kind uint8, id uint16, data []byte) []byte {
	protocol := uint8(protocolICMP)
	if src.Is6() {
		protocol = protocolICMPv6
	}
	return ipPacket(src, dst, protocol, append([]byte{kind, 0, 0, 0, byte(id >> 8), byte(id), 0, 1}, data...))
}

// seal makes a Data datagram of a session's next counter.
func seal(t testing.TB, s *tunnel.Session, flags uint8, plaintext []byte) []byte {
	t.Helper()
	counter, ok := s.Reserve(1)
	if !ok {
		t.Fatal("no counter left")
	}
	return s.Seal(nil, flags, counter, plaintext)
}

func relayed(channel uint32, datagram []byte) []byte {
	return append(wire.AppendRelayHeader(nil, channel), datagram...)
}
