package trs

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/cyphonic/cyphonic/internal/udp"
	"github.com/cyphonic/cyphonic/internal/wire"
	"github.com/cyphonic/cyphonic/services/replica"
)

// What leads a replica through its life takes a Server.
var _ replica.LifecycleService = (*Server)(nil)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func listen(t testing.TB) udp.Conn {
	t.Helper()
	conn, err := udp.Listen(udp.Options{IPv4: true, IPv4Address: netip.AddrFrom4([4]byte{127, 0, 0, 1})})
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

func loopback(conn udp.Conn) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), conn.LocalPort())
}

// startServer serves w.core on loopback until the test ends.
func startServer(t testing.TB, w *world) netip.AddrPort {
	t.Helper()
	_, addr := serve(t, w)
	return addr
}

func serve(t testing.TB, w *world) (*Server, netip.AddrPort) {
	t.Helper()
	conn := listen(t)
	s := NewServer(w.core, conn, time.Now, slog.New(slog.NewTextHandler(io.Discard, nil)))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Run: %v", err)
			}
		case <-time.After(10 * time.Second):
			t.Error("Run does not end")
		}
	})
	return s, loopback(conn)
}

// bindPair gives two sockets and binds them in the core at the present time.
func bindPair(t testing.TB, w *world) (a, b *client, connA, connB udp.Conn) {
	t.Helper()
	w.now = time.Now()
	connA, connB = listen(t), listen(t)
	t.Cleanup(func() { _ = errors.Join(connA.Close(), connB.Close()) })
	a, b = w.client(1, 0, loopback(connA).String()), w.client(1, 1, loopback(connB).String())
	a.token.BytesPerSecond = 1<<32 - 1
	a.seal()
	a.bind()
	b.bind()
	return a, b, connA, connB
}

// batch is n datagrams of size bytes from c to the TRS.
func batch(c *client, to netip.AddrPort, n, size int) []udp.Message {
	payload := append([]byte{byte(wire.TypeData), wire.Version << 4}, make([]byte, size-2-wire.RelayHeaderSize)...)
	messages := make([]udp.Message, n)
	for i := range messages {
		b := wire.RelayData{Channel: c.channel, Datagram: payload}.Append(nil)
		messages[i] = udp.Message{Buf: b, N: len(b), Addr: to}
	}
	return messages
}

// receive reports how many datagrams arrive at conn, until it is closed.
func receive(conn udp.Conn, done chan<- int) {
	messages := make([]udp.Message, conn.BatchSize())
	for i := range messages {
		messages[i].Buf = make([]byte, udp.MaxMessage)
	}
	for {
		n, err := conn.ReadBatch(messages)
		if errors.Is(err, net.ErrClosed) {
			close(done)
			return
		}
		got := 0
		for i := range messages[:n] {
			for rest := messages[i].Buf[:messages[i].N]; len(rest) > 0; got++ {
				_, rest = messages[i].Next(rest)
			}
		}
		done <- got
	}
}

func TestServerForwardsBatches(t *testing.T) {
	w := newWorld(t, func(o *CoreOptions) { o.AllowLocal = true })
	a, b, connA, connB := bindPair(t, w)
	trs := startServer(t, w)
	arrived := make(chan int, 1024)
	go receive(connB, arrived)
	const total = 32
	if _, err := connA.WriteBatch(batch(a, trs, total, 1448)); err != nil {
		t.Fatal(err)
	}
	if _, err := connA.WriteBatch([]udp.Message{{Buf: b.data(1), N: len(b.data(1)), Addr: trs}}); err != nil {
		t.Fatal(err) // the peer's channel from the wrong address
	}
	deadline := time.After(5 * time.Second)
	for got := 0; got < total; {
		select {
		case n := <-arrived:
			got += n
		case <-deadline:
			t.Fatalf("%d of %d datagrams arrived", got, total)
		}
	}
	if err := connB.Close(); err != nil {
		t.Fatal(err)
	}
	for range arrived {
		t.Error("more arrived than was sent")
	}
}

func TestServerHandsOver(t *testing.T) {
	w := newWorld(t, func(o *CoreOptions) { o.AllowLocal = true })
	key := w.ring.Current.Key
	w.ring.Current.Key = [32]byte{}
	s, trs := serve(t, w)
	if s.Ready() == nil {
		t.Error("ready without a relay key")
	}
	w.ring.Current.Key = key
	for end := time.Now().Add(5 * time.Second); s.Ready() != nil; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal(s.Ready())
		}
	}
	a, _, connA, _ := bindPair(t, w)
	stop := make(chan struct{})
	sending := make(chan struct{})
	go func() { // a session that does not move until it is told
		defer close(sending)
		for {
			select {
			case <-stop:
				return
			case <-time.After(10 * time.Millisecond):
				_, _ = connA.WriteBatch([]udp.Message{{Buf: a.data(1), N: len(a.data(1)), Addr: trs}})
			}
		}
	}()
	defer func() { <-sending }()
	short, cancel := context.WithTimeout(context.Background(), leaveSettle+500*time.Millisecond)
	defer cancel()
	if err := s.HandOver(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("hand-over of a session that stays: %v", err)
	}
	s.Refuse()
	if n := s.Residual(); n != 1 {
		t.Errorf("%d residual sessions", n)
	}
	messages := []udp.Message{{Buf: make([]byte, udp.MaxMessage)}}
	if n, err := connA.ReadBatch(messages); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	a.src = loopback(connA)
	datagram, _ := messages[0].Next(messages[0].Buf[:messages[0].N])
	a.noticeOf(Datagram{To: a.src, Data: datagram})
	close(stop)
	long, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := s.HandOver(long); err != nil {
		t.Errorf("hand-over after the session has moved: %v", err)
	}
	if n := s.Residual(); n != 0 {
		t.Errorf("%d residual sessions after the hand-over", n)
	}
}

func BenchmarkServer(b *testing.B) {
	w := newWorld(b, func(o *CoreOptions) { o.AllowLocal, o.NetworkBytesPerSecond = true, 1<<60 })
	x, _, connA, connB := bindPair(b, w)
	trs := startServer(b, w)
	arrived := make(chan int, 1024)
	go receive(connB, arrived)
	messages := batch(x, trs, 32, 1448)
	b.SetBytes(int64(len(messages) * 1448))
	lost := 0
	for b.Loop() {
		if _, err := connA.WriteBatch(messages); err != nil {
			b.Fatal(err)
		}
		for got := 0; got < len(messages); {
			select {
			case n := <-arrived:
				got += n
			case <-time.After(100 * time.Millisecond):
				lost += len(messages) - got
				got = len(messages)
			}
		}
	}
	b.ReportMetric(float64(lost), "lost")
	if err := connB.Close(); err != nil {
		b.Fatal(err)
	}
	for range arrived {
		lost--
	}
}
