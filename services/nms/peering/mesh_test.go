package peering

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// cutFour takes messages of a length u32 and so many bytes.
func cutFour(b []byte) (message, rest []byte, err error) {
	if len(b) < 4 {
		return nil, b, nil
	}
	n := int(binary.BigEndian.Uint32(b))
	if n > 1000 {
		return nil, nil, errors.New("too long")
	}
	if len(b) < 4+n {
		return nil, b, nil
	}
	return b[:4+n], b[4+n:], nil
}

func message(text string) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(text))), text...)
}

// side is a replica under test: it records what its links do.
type side struct {
	mesh *Mesh
	peer Peer
	log  *lockedBuffer

	mu     sync.Mutex
	events []string
	change chan struct{}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (s *side) note(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = append(s.events, text)
	close(s.change)
	s.change = make(chan struct{})
}

func (s *side) LinkUp(name string)   { s.note("up " + name) }
func (s *side) LinkDown(name string) { s.note("down " + name) }

func (s *side) Messages(_ string, messages [][]byte) {
	for _, m := range messages {
		s.note(string(m[4:]))
	}
}

// wait waits until the events contain those, in this order.
func (s *side) wait(t *testing.T, want ...string) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		s.mu.Lock()
		left := want
		for _, e := range s.events {
			if len(left) > 0 && e == left[0] {
				left = left[1:]
			}
		}
		change, events := s.change, s.events
		s.mu.Unlock()
		if len(left) == 0 {
			return
		}
		select {
		case <-change:
		case <-deadline:
			t.Fatalf("%v is missing in %v", left, events)
		}
	}
}

func newSide(t *testing.T, name string, versions Versions) *side {
	t.Helper()
	identity, err := NewIdentity(rand.Reader, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &side{change: make(chan struct{}), log: &lockedBuffer{}}
	s.mesh, err = New(Options{
		Name: name, Program: "test", Identity: identity, Listener: listener, Versions: versions, Cut: cutFour, Handler: s,
		Log: slog.New(slog.NewTextHandler(s.log, nil)), Registerer: prometheus.NewRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	s.peer = Peer{name, netip.MustParseAddrPort(listener.Addr().String()), identity.Pin}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.mesh.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return s
}

func (s *side) refused(reason refusal) float64 {
	return testutil.ToFloat64(s.mesh.metrics.refused.WithLabelValues(string(reason)))
}

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for range 2000 {
		if f() {
			return
		}
		<-time.After(10 * time.Millisecond)
	}
	t.Fatalf("%s does not happen", what)
}

func TestMessagesArriveInOrderBothWays(t *testing.T) {
	a, b := newSide(t, "a", Versions{1, 1}), newSide(t, "b", Versions{1, 3})
	a.mesh.SetPeers([]Peer{a.peer, b.peer})
	b.mesh.SetPeers([]Peer{a.peer, b.peer})
	a.wait(t, "up b")
	b.wait(t, "up a")
	var want []string
	for i := range 200 {
		text := strings.Repeat("x", i)
		want = append(want, text)
		a.mesh.Send("b", message(text))
		b.mesh.Send("a", message("from b"))
	}
	b.wait(t, want...)
	a.wait(t, "from b", "from b")
	if batches := testutil.ToFloat64(a.mesh.metrics.writes); batches == 0 || batches > 200 {
		t.Errorf("%v batches for 200 messages", batches)
	}
	a.mesh.Send("nobody", message("lost"))
	if testutil.ToFloat64(a.mesh.metrics.lost) == 0 {
		t.Error("what cannot be sent is not counted")
	}
}

func TestOnlyPinnedReplicasAreLinked(t *testing.T) {
	a, b, thief := newSide(t, "a", Versions{1, 1}), newSide(t, "b", Versions{1, 1}), newSide(t, "a", Versions{1, 1})
	b.mesh.SetPeers([]Peer{a.peer})
	thief.mesh.SetPeers([]Peer{b.peer}) // has the name, not the key
	eventually(t, "the acceptor refuses", func() bool { return b.refused(refusedPin) > 0 })
	other := b.peer
	other.Pin = strings.Repeat("0", 64)
	a.mesh.SetPeers([]Peer{other}) // somebody else answers at the address
	eventually(t, "the one who connects refuses", func() bool { return a.refused(refusedPin) > 0 })
	if !strings.Contains(a.log.String(), "certificate that no replica has in etcd") {
		t.Errorf("log: %s", a.log)
	}
	b.mu.Lock()
	linked := strings.Join(b.events, " ")
	b.mu.Unlock()
	if linked != "" {
		t.Errorf("without the other's certificate: %s", linked)
	}
	a.mesh.SetPeers([]Peer{b.peer})
	a.wait(t, "up b")
}

func TestVersionsThatDoNotMeetAreRefusedAndNamed(t *testing.T) {
	a, b := newSide(t, "a", Versions{1, 2}), newSide(t, "b", Versions{3, 4})
	a.mesh.SetPeers([]Peer{b.peer})
	b.mesh.SetPeers([]Peer{a.peer})
	eventually(t, "the refusal", func() bool { return a.refused(refusedVersion) > 0 && b.refused(refusedVersion) > 0 })
	for _, s := range []*side{a, b} {
		eventually(t, "the log", func() bool { return strings.Contains(s.log.String(), "upgrade one version at a time") })
	}
	for _, row := range []struct {
		a, b Versions
		want uint8
		ok   bool
	}{{Versions{1, 2}, Versions{2, 3}, 2, true}, {Versions{1, 1}, Versions{1, 5}, 1, true}, {Versions{1, 1}, Versions{2, 2}, 0, false}} {
		if v, ok := row.a.agree(row.b); ok != row.ok || ok && v != row.want {
			t.Errorf("%v and %v: %d, %v", row.a, row.b, v, ok)
		}
	}
}

func TestALinkComesBackAndAnotherCertificateEndsIt(t *testing.T) {
	a, b := newSide(t, "a", Versions{1, 1}), newSide(t, "b", Versions{1, 1})
	a.mesh.SetPeers([]Peer{b.peer})
	b.mesh.SetPeers([]Peer{a.peer})
	a.wait(t, "up b")
	b.wait(t, "up a")
	b.mesh.Send("a", append(binary.BigEndian.AppendUint32(nil, 5000), 1)) // malformed
	a.wait(t, "up b", "down b", "up b")
	b.wait(t, "up a", "down a", "up a")
	changed := a.peer
	changed.Pin = strings.Repeat("1", 64)
	b.mesh.SetPeers([]Peer{changed})
	b.wait(t, "up a", "down a", "up a", "down a")
	eventually(t, "the refusal", func() bool { return b.refused(refusedPin) > 0 })
}

func TestAPeerThatReadsNothingLosesItsLink(t *testing.T) {
	near, far := net.Pipe()
	defer func() { _ = far.Close() }()
	m, err := newMetrics(prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	l := newLink(Peer{Name: "b"}, 1, near, m)
	done := make(chan ending, 1)
	go func() { done <- l.run(context.Background(), cutFour, func([][]byte) {}) }()
	block := make([]byte, 1<<20)
	for range maxQueue/len(block) + 2 {
		l.send(block)
	}
	if reason := <-done; reason != endedSlow {
		t.Errorf("ended because %s", reason)
	}
	if len(l.queue) > maxQueue {
		t.Errorf("%d bytes are queued", len(l.queue))
	}
}

func TestSilentStrangersDoNotKeepReplicasOut(t *testing.T) {
	b := newSide(t, "b", Versions{1, 1})
	stranger := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
	for range maxHandshakes + 20 {
		conn, err := stranger.Dial("tcp", b.peer.Addr.String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
	}
	eventually(t, "the refusal", func() bool { return b.refused(refusedBusy) >= maxHandshakes+20-maxStrangers })
	a := newSide(t, "a", Versions{1, 1})
	b.mesh.SetPeers([]Peer{a.peer})
	a.mesh.SetPeers([]Peer{b.peer})
	a.wait(t, "up b")
}

func FuzzHello(f *testing.F) {
	good := hello{versions: Versions{1, 2}, name: "nms-1", program: "v1"}
	f.Add(good.append(nil))
	f.Add([]byte("CYPL\x01\x01\x00\x02\x05a"))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := readHello(bytes.NewReader(b))
		if err != nil {
			return
		}
		again, err := readHello(bytes.NewReader(h.append(nil)))
		if err != nil || again != h {
			t.Errorf("%+v comes back as %+v, %v", h, again, err)
		}
	})
}
