package dataplane

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/cyphonic/cyphonic/internal/tun"
	"github.com/cyphonic/cyphonic/internal/udp"
	"github.com/cyphonic/cyphonic/internal/wire"
)

func TestPacketsOfBothFamiliesGoBothWays(t *testing.T) {
	a, b := pair(t, 2)
	for _, row := range []struct {
		name     string
		from, to *end
		packet   []byte
	}{
		{"IPv4 a to b", a, b, udpPacket(addressA4, addressB4, 1, 2, []byte("hello"))},
		{"IPv4 b to a", b, a, udpPacket(addressB4, addressA4, 2, 1, []byte("hello back"))},
		{"IPv6 a to b", a, b, udpPacket(addressA6, addressB6, 1, 2, []byte("hello"))},
		{"IPv6 b to a", b, a, tcpPacket(addressB6, addressA6, 2, 1, tcpSYN)},
		{"largest", a, b, udpPacket(addressA4, addressB4, 1, 2, make([]byte, 1400-28))},
	} {
		t.Run(row.name, func(t *testing.T) {
			before := row.to.association.Stats()
			if err := row.from.tun.Send(row.packet); err != nil {
				t.Fatal(err)
			}
			got, err := row.to.tun.Receive()
			if err != nil || !bytes.Equal(got, row.packet) {
				t.Fatalf("got %x, %v; want %x", got, err, row.packet)
			}
			tx, rx := row.from.association.Stats(), row.to.association.Stats()
			if rx.RxPackets != before.RxPackets+1 || rx.RxBytes != before.RxBytes+uint64(len(row.packet)) || rx.LastRx == 0 {
				t.Errorf("receiver's stats %+v after %+v", rx, before)
			}
			if tx.TxPackets == 0 || tx.LastTx == 0 {
				t.Errorf("sender's stats %+v", tx)
			}
		})
	}
}

func TestRelayedPathFramesBothWays(t *testing.T) {
	connA, connB := newScripted(), newScripted()
	a, b := pairOver(t, 1, connA, connB)
	relay := netip.MustParseAddrPort("[2001:db8::1]:7443")
	a.association.SetPath(Path{Addr: relay, Channel: 77})
	b.association.SetPath(Path{Addr: relay, Channel: 88})
	a.run(t)
	b.run(t)
	packet := udpPacket(addressA4, addressB4, 1, 2, make([]byte, 1400-28))
	_ = a.tun.Send(packet)
	waitFor(t, func() bool { return len(connA.departed()) == 1 })
	sent := connA.departed()[0]
	if sent.from.Addr != relay {
		t.Fatalf("sent to %v, want the relay", sent.from)
	}
	if len(sent.data) > 1500-40-8 {
		t.Fatalf("a full packet makes a datagram of %d bytes, which does not fit 1500 with IPv6", len(sent.data))
	}
	m, err := wire.ParseRelayData(sent.data)
	if err != nil || m.Channel != 77 {
		t.Fatalf("channel %d, %v", m.Channel, err)
	}
	connB.arrive(relay, relayed(88, m.Datagram))
	if got, err := b.tun.Receive(); err != nil || !bytes.Equal(got, packet) {
		t.Fatalf("got %x, %v", got, err)
	}
	if b.handler.paths != nil {
		t.Fatalf("PathSeen for the path in use: %v", b.handler.paths)
	}
}

// waitFor polls for something that no channel announces.
func waitFor(t *testing.T, ready func() bool) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); !ready(); {
		if time.Now().After(deadline) {
			t.Fatal("did not happen in 5 s")
		}
		time.Sleep(time.Millisecond)
	}
}

func TestRunsOfDatagramsAreCut(t *testing.T) {
	connB := newScripted()
	a, b := pairOver(t, 2, newScripted(), connB)
	b.run(t)
	var run []byte
	var want [][]byte
	const segments = 20
	for i := range segments {
		size := 500
		if i == segments-1 {
			size = 60
		}
		p := udpPacket(addressA4, addressB4, 1, 2, bytes.Repeat([]byte{byte(i)}, size))
		want = append(want, p)
		run = append(run, seal(t, a.session, 0, p)...)
	}
	connB.arriving <- []udp.Message{{Buf: run, N: len(run), Addr: realA, SegmentSize: 500 + 28 + wire.DataOverhead}}
	for i := range want {
		if got, err := b.tun.Receive(); err != nil || !bytes.Equal(got, want[i]) {
			t.Fatalf("packet %d: %x, %v", i, got, err)
		}
	}
}

func TestInboundDropsAreCountedAndNothingElseHappens(t *testing.T) {
	connB := newScripted()
	a, b := pairOver(t, 2, newScripted(), connB)
	b.run(t)
	good := udpPacket(addressA4, addressB4, 1, 2, []byte("good"))
	first := seal(t, a.session, 0, good)
	flipped := seal(t, a.session, 0, good)
	flipped[len(flipped)-1] ^= 1
	header := seal(t, a.session, 0, good)
	header[15] ^= 1 // the counter is authenticated
	newer := slices.Clone(first)
	newer[1] = 2 << 4
	rows := []struct {
		name     string
		datagram []byte
		reason   dropReason
	}{
		{"replayed", first, dropReplay},
		{"replayed through a relay", relayed(5, first), dropReplay},
		{"bit flipped", flipped, dropAuthentication},
		{"bit flipped in the header", header, dropAuthentication},
		{"truncated", seal(t, a.session, 0, good)[:40], dropAuthentication},
		{"truncated header", seal(t, a.session, 0, good)[:20], dropMalformed},
		{"unknown version", newer, dropVersion},
		{"unknown type", []byte{0x99, wire.Version << 4, 0, 0}, dropMalformed},
		{"one byte", []byte{4}, dropMalformed},
		{"relay data in relay data", relayed(1, relayed(2, first)), dropMalformed},
		{"foreign IPv4 source", seal(t, a.session, 0, udpPacket(stranger4, addressB4, 1, 2, nil)), dropSource},
		{"foreign IPv6 source", seal(t, a.session, 0, udpPacket(stranger6, addressB6, 1, 2, nil)), dropSource},
		{"foreign destination", seal(t, a.session, 0, udpPacket(addressA4, stranger4, 1, 2, nil)), dropSource},
		{"own address as source", seal(t, a.session, 0, udpPacket(addressB4, addressB4, 1, 2, nil)), dropSource},
		{"no IP packet", seal(t, a.session, 0, []byte("GET / HTTP/1.1")), dropMalformed},
		{"empty packet", seal(t, a.session, 0, nil), dropMalformed},
	}
	connB.arrive(realA, first)
	if got, err := b.tun.Receive(); err != nil || !bytes.Equal(got, good) {
		t.Fatalf("got %x, %v", got, err)
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			before, stats := b.drops("in", row.reason), b.association.Stats()
			connB.arrive(realA, slices.Clone(row.datagram))
			waitFor(t, func() bool { return b.drops("in", row.reason) == before+1 })
			if after := b.association.Stats(); after.RxPackets != stats.RxPackets || b.tun.Waiting() != 0 {
				t.Fatalf("a packet came through: %+v, %d waiting", after, b.tun.Waiting())
			}
		})
	}
	if len(b.handler.datagrams)+len(b.handler.controls) != 0 {
		t.Fatalf("the handler was called: %+v %+v", b.handler.datagrams, b.handler.controls)
	}
	late := seal(t, a.session, 0, good)
	connB.arrive(realA, seal(t, a.session, 0, good), late) // reordered: both are new
	for range 2 {
		if _, err := b.tun.Receive(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestWhatIsNotDataOfASessionGoesToTheHandler(t *testing.T) {
	connB := newScripted()
	a, b := pairOver(t, 2, newScripted(), connB)
	b.run(t)
	unknown := wire.AppendDataHeader(nil, 0, 999, 1)
	unknown = append(unknown, make([]byte, 20)...)
	handshake := wire.AppendDataHeader(nil, wire.FlagControl|wire.FlagHandshake, a.session.RemoteIndex(), 0)
	handshake = append(handshake, make([]byte, 20)...)
	punch := []byte{byte(wire.TypePunch), wire.Version << 4, 0, 0, 1, 2, 3, 4}
	reply := append([]byte{byte(wire.TypeSignalReply), wire.Version << 4}, make([]byte, 60)...)
	sent := [][]byte{unknown, handshake, punch, relayed(9, unknown), relayed(9, punch), reply}
	connB.arrive(realA, sent...)
	b.handler.await(func() bool { return len(b.handler.datagrams) == len(sent) })
	for i, got := range b.handler.datagrams {
		want, channel := sent[i], uint32(0)
		if i == 3 || i == 4 {
			want, channel = want[wire.RelayHeaderSize:], 9
		}
		if !bytes.Equal(got.data, want) || got.from != (Path{Addr: realA, Channel: channel}) {
			t.Errorf("datagram %d: %x from %v", i, got.data, got.from)
		}
	}
}

func TestControlMessagesComeInOrderAndOnlyOnce(t *testing.T) {
	connB := newScripted()
	a, b := pairOver(t, 4, newScripted(), connB)
	b.run(t)
	var batch [][]byte
	for i := range 16 {
		batch = append(batch, seal(t, a.session, wire.FlagControl, []byte{byte(i)}))
	}
	batch = append(batch[:15], batch[14]) // the last one is a replay
	connB.arrive(realA, batch...)
	b.handler.await(func() bool { return len(b.handler.controls) == 15 })
	waitFor(t, func() bool { return b.drops("in", dropReplay) == 1 })
	for i, c := range b.handler.controls {
		if !bytes.Equal(c.data, []byte{byte(i)}) || c.from != (Path{Addr: realA}) {
			t.Fatalf("control message %d: %x from %v", i, c.data, c.from)
		}
	}
	if s := b.association.Stats(); s.LastRx == 0 || s.RxPackets != 0 {
		t.Fatalf("stats %+v: control messages are signs of life but not packets", s)
	}
}

func TestPathSeenIsCalledForAnotherPathAtMostOncePerInterval(t *testing.T) {
	sessionA, sessionB := sessions(t)
	conn, device, handler := newScripted(), tun.NewFake("fake0", 1400), newRecorder()
	now := time.Now()
	plane, err := New(Options{Tun: device, UDP: conn, Workers: 1, Handler: handler, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	association := NewAssociation(Addresses{addressB4, addressB6, addressA4, addressA6})
	association.SetPath(Path{Addr: realA})
	if err := plane.AddSession(sessionB, association); err != nil {
		t.Fatal(err)
	}
	b := &end{plane: plane}
	arrive := func(from netip.AddrPort, channel uint32) {
		d := seal(t, sessionA, wire.FlagControl, []byte("x"))
		if channel != 0 {
			d = relayed(channel, d)
		}
		batch := newInboundBatch()
		batch.messages[0].N, batch.messages[0].Addr = copy(batch.messages[0].Buf, d), from
		plane.stageInbound(batch, 1)
		plane.open(batch)
		plane.deliver(batch)
	}
	moved := netip.MustParseAddrPort("198.51.100.1:9")
	now = now.Add(time.Second)
	arrive(realA, 0) // the path in use
	arrive(moved, 0) // seen
	arrive(moved, 0) // too soon
	now = now.Add(49 * time.Millisecond)
	arrive(realA, 3) // too soon
	now = now.Add(time.Millisecond)
	arrive(realA, 3) // seen
	want := []Path{{Addr: moved}, {Addr: realA, Channel: 3}}
	if !slices.Equal(handler.paths, want) {
		t.Fatalf("PathSeen for %v, want %v", handler.paths, want)
	}
	forged := seal(t, sessionA, 0, []byte("x"))
	forged[20] ^= 1
	batch := newInboundBatch()
	now = now.Add(time.Second)
	batch.messages[0].N, batch.messages[0].Addr = copy(batch.messages[0].Buf, forged), moved
	plane.stageInbound(batch, 1)
	plane.open(batch)
	plane.deliver(batch)
	if len(handler.paths) != 2 || b.drops("in", dropAuthentication) != 1 {
		t.Fatalf("a forged datagram changed something: %v", handler.paths)
	}
}

func TestSendControlUsesExactlyThePathGiven(t *testing.T) {
	connA, connB := newScripted(), newScripted()
	a, b := pairOver(t, 1, connA, connB)
	b.run(t)
	path := Path{Addr: netip.MustParseAddrPort("203.0.113.5:7443"), Channel: 4}
	if err := a.plane.SendControl(a.association, a.session, path, []byte("probe")); err != nil {
		t.Fatal(err)
	}
	if err := a.plane.SendDatagram(Path{Addr: realB}, []byte("raw")); err != nil {
		t.Fatal(err)
	}
	sent := connA.departed()
	if sent[0].from.Addr != path.Addr || sent[1].from.Addr != realB || string(sent[1].data) != "raw" {
		t.Fatalf("sent %+v", sent)
	}
	connB.arrive(path.Addr, sent[0].data)
	b.handler.await(func() bool { return len(b.handler.controls) == 1 })
	if c := b.handler.controls[0]; string(c.data) != "probe" || c.from != path {
		t.Fatalf("control message %+v", c)
	}
	a.session.Erase()
	if err := a.plane.SendControl(a.association, a.session, path, nil); !errors.Is(err, ErrExhausted) {
		t.Fatalf("SendControl in an erased session = %v", err)
	}
	if err := a.plane.SendDatagram(Path{}, nil); err == nil {
		t.Fatal("SendDatagram to nowhere succeeded")
	}
}

func TestRemovedSessionsAndAssociationsGetNothing(t *testing.T) {
	connB := newScripted()
	a, b := pairOver(t, 1, newScripted(), connB)
	b.plane.RemoveSession(b.session.LocalIndex())
	b.plane.RemoveAssociation(b.association)
	b.run(t)
	connB.arrive(realA, seal(t, a.session, 0, udpPacket(addressA4, addressB4, 1, 2, nil)))
	b.handler.await(func() bool { return len(b.handler.datagrams) == 1 })
	_ = b.tun.Send(udpPacket(addressB4, addressA4, 1, 2, nil))
	b.handler.await(func() bool { return len(b.handler.misses) == 1 })
}

func TestTablesRefuseDuplicates(t *testing.T) {
	a, _ := pairOver(t, 1, newScripted(), newScripted())
	if err := a.plane.AddAssociation(a.association); err != nil {
		t.Fatalf("adding the same association again: %v", err)
	}
	if err := a.plane.AddAssociation(NewAssociation(a.association.Addresses())); !errors.Is(err, ErrDuplicate) {
		t.Fatalf("another association with the same addresses: %v", err)
	}
	sameIndex, _ := sessions(t)
	if err := a.plane.AddSession(sameIndex, a.association); !errors.Is(err, ErrDuplicate) {
		t.Fatalf("another session with the same index: %v", err)
	}
}

func TestRunEndsPromptlyAndOnceOnly(t *testing.T) {
	for _, workers := range []int{1, 8} {
		connA, connB := udp.NewFakePair(realA, realB)
		a, _ := pairOver(t, workers, connA, connB)
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error)
		go func() { done <- a.plane.Run(ctx) }()
		_ = a.tun.Send(udpPacket(addressA4, addressB4, 1, 2, nil))
		started := time.Now()
		cancel()
		if err := <-done; err != nil {
			t.Fatalf("Run = %v", err)
		}
		if d := time.Since(started); d > time.Second {
			t.Fatalf("Run took %v to end", d)
		}
		a.plane.Inject(a.association, slices.Repeat([][]byte{make([]byte, 40)}, 5000)) // must not block
	}
}

func TestRunReturnsTheErrorOfABrokenEnd(t *testing.T) {
	a, _ := pairOver(t, 2, newScripted(), newScripted())
	_ = a.tun.Close()
	if err := a.plane.Run(context.Background()); err == nil {
		t.Fatal("Run = nil although the virtual interface is gone")
	}
}

func TestOptionsAreChecked(t *testing.T) {
	device, conn, handler := tun.NewFake("f", 1400), newScripted(), newRecorder()
	for name, o := range map[string]Options{
		"no parts":          {},
		"negative workers":  {Tun: device, UDP: conn, Handler: handler, Workers: -1},
		"too many workers":  {Tun: device, UDP: conn, Handler: handler, Workers: MaxWorkers + 1},
		"metrics are taken": {Tun: device, UDP: conn, Handler: handler, Registerer: takenRegistry(t)},
	} {
		if _, err := New(o); err == nil {
			t.Errorf("%s: New succeeded", name)
		}
	}
}

func takenRegistry(t *testing.T) prometheus.Registerer {
	t.Helper()
	r := prometheus.NewRegistry()
	if _, err := New(Options{Tun: tun.NewFake("f", 1400), UDP: newScripted(), Handler: newRecorder(), Registerer: r}); err != nil {
		t.Fatal(err)
	}
	if n, err := testutil.GatherAndCount(r); err != nil || n < 10 {
		t.Fatalf("%d series, %v", n, err)
	}
	if problems, err := testutil.GatherAndLint(r); err != nil || len(problems) > 0 {
		t.Fatalf("metrics: %v %v", problems, err)
	}
	return r
}
