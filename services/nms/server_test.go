package nms

import (
	"context"
	"io"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/cyphonic/cyphonic/internal/udp"
	"github.com/cyphonic/cyphonic/internal/wire"
	"github.com/cyphonic/cyphonic/services/replica"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestServerAnswersAndEnds(t *testing.T) {
	w := newWorld(t)
	d := w.node("viewer", 2, "198.51.100.5:4000")
	near, far := udp.NewFakePair(d.src, netip.MustParseAddrPort("203.0.113.1:7442"))
	s, err := NewServer(ServerOptions{
		Core: w.core, Conn: far, Now: func() time.Time { return w.now }, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()

	exchange := func(body wire.SignalBody) wire.SignalBody {
		b := d.datagram(body)
		if _, err := near.WriteBatch([]udp.Message{{Buf: []byte{1}, N: 1}, {Buf: b, N: len(b)}}); err != nil {
			t.Fatal(err)
		}
		in := []udp.Message{{Buf: make([]byte, wire.MaxDatagram)}}
		if _, err := near.ReadBatch(in); err != nil {
			t.Fatal(err)
		}
		return w.open([]Datagram{{d.src, in[0].Buf[:in[0].N]}}, d)[0].body
	}
	challenge, ok := exchange(d.registration()).(wire.Challenge)
	if !ok {
		t.Fatal("a first registration is not challenged")
	}
	d.cookie = challenge.Cookie
	if ack, ok := exchange(d.registration()).(wire.RegistrationAck); !ok || ack.Observed != d.src {
		t.Errorf("acknowledgement %+v", ack)
	}
	if err := s.Ready(); err != nil {
		t.Errorf("it serves, and says %v", err)
	}
	if w.dropped(dropMalformed) != 2 {
		t.Errorf("%d malformed datagrams counted", w.dropped(dropMalformed))
	}
	cancel()
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("Run: %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("Run does not end")
	}
	w.snapshot, _ = replica.NewSnapshot(replica.Contents{Revision: 1}) // nobody else reads it any more
	if s.Ready() == nil {
		t.Error("ready without the keys of tickets")
	}
}
