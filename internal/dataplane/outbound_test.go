package dataplane

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"

	"github.com/cyphonic/cyphonic/internal/wire"
)

func TestMissesAreHandedOverAndInjectSendsThem(t *testing.T) {
	a, b := pair(t, 2)
	a.association.SetSession(nil)
	held := udpPacket(addressA4, addressB4, 1, 2, []byte("held"))
	foreign := udpPacket(addressA4, netip.MustParseAddr("10.50.0.9"), 1, 2, []byte("unknown"))
	_ = a.tun.Send(held)
	_ = a.tun.Send(foreign)
	a.handler.await(func() bool { return len(a.handler.misses) == 2 })
	for i, want := range [][]byte{held, foreign} {
		src, dst := addresses(want)
		if m := a.handler.misses[i]; !bytes.Equal(m.packet, want) || m.src != src || m.dst != dst {
			t.Fatalf("miss %d: %+v", i, m)
		}
	}
	a.association.SetSession(a.session)
	a.plane.Inject(a.association, [][]byte{held, make([]byte, 9000), held})
	for range 2 {
		if got, err := b.tun.Receive(); err != nil || !bytes.Equal(got, held) {
			t.Fatalf("got %x, %v", got, err)
		}
	}
	if n := a.drops("out", dropTooBig); n != 1 {
		t.Fatalf("too_big = %v", n)
	}
}

func TestOutboundDrops(t *testing.T) {
	ok := udpPacket(addressA4, addressB4, 1, 2, nil)
	for _, row := range []struct {
		name   string
		set    func(*end)
		packet []byte
		reason dropReason
	}{
		{"malformed", func(*end) {}, []byte("this is not an IP packet at all"), dropMalformed},
		{"multicast", func(*end) {}, udpPacket(addressA6, netip.MustParseAddr("ff02::2"), 1, 2, nil), dropNotUnicast},
		{"link-local source", func(*end) {}, udpPacket(netip.MustParseAddr("fe80::1"), addressB6, 1, 2, nil), dropNotUnicast},
		{"broadcast", func(*end) {}, udpPacket(addressA4, netip.MustParseAddr("255.255.255.255"), 1, 2, nil), dropNotUnicast},
		{"no rule", func(e *end) { e.association.SetFilter(nil) }, ok, dropPolicy},
		{"no path", func(e *end) { e.association.SetPath(Path{}) }, ok, dropNoPath},
		{"erased session", func(e *end) { e.session.Erase() }, ok, dropExhausted},
	} {
		t.Run(row.name, func(t *testing.T) {
			conn := newScripted()
			a, _ := pairOver(t, 1, conn, newScripted())
			row.set(a)
			a.run(t)
			_ = a.tun.Send(row.packet)
			waitFor(t, func() bool { return a.drops("out", row.reason) == 1 })
			if n := len(conn.departed()) + len(a.handler.misses); n != 0 {
				t.Fatal("the packet went out")
			}
		})
	}
}

func TestTooBigPacketsAreAnswered(t *testing.T) {
	conn := newScripted()
	a, _ := pairOver(t, 1, conn, newScripted())
	a.run(t)
	for _, packet := range [][]byte{
		udpPacket(addressA4, addressB4, 1, 2, make([]byte, 1401-28)),
		udpPacket(addressA6, addressB6, 1, 2, make([]byte, 1401-48)),
	} {
		_ = a.tun.Send(packet)
		answer, err := a.tun.Receive()
		if err != nil {
			t.Fatal(err)
		}
		var h header
		if !h.parse(answer) || !isICMPError(&h) {
			t.Fatalf("answer %x", answer)
		}
		src, dst := addresses(answer)
		if psrc, pdst := addresses(packet); src != pdst || dst != psrc {
			t.Fatalf("answer goes from %v to %v", src, dst)
		}
		if mtu := binary.BigEndian.Uint16(answer[h.upper+6:]); mtu != 1400 {
			t.Fatalf("answer says %d", mtu)
		}
	}
	if n := len(conn.departed()); n != 0 {
		t.Fatal("the packet went out")
	}
}

func TestSendingGroupsByDestinationAndKeepsOrder(t *testing.T) {
	sessionA, _ := sessions(t)
	other, _ := sessions(t)
	conn := newScripted()
	e := newEnd(t, conn, 1, Addresses{addressA4, addressA6, addressB4, addressB6}, sessionA, realB)
	second := NewAssociation(Addresses{LocalIPv4: addressA4, PeerIPv4: stranger4})
	second.SetFilter(allowAll)
	second.SetSession(other)
	second.SetPath(Path{Addr: realA})
	if err := e.plane.AddAssociation(second); err != nil {
		t.Fatal(err)
	}
	batch := e.plane.newOutboundBatch()
	for i := range 10 {
		to := []netip.Addr{addressB4, stranger4, addressB6}[i%3]
		from := addressA4
		if to.Is6() {
			from = addressA6
		}
		batch.sizes[i] = copy(batch.buffers[i][packetOffset:], udpPacket(from, to, 1, 2, []byte{byte(i)}))
		batch.n++
	}
	e.plane.stageOutbound(batch)
	e.plane.seal(batch)
	e.plane.send(batch)
	var order []netip.AddrPort
	last := map[netip.AddrPort]uint64{}
	for i, d := range conn.departed() {
		h, err := wire.ParseDataHeader(d.data)
		if err != nil {
			t.Fatal(err)
		}
		if counter, ok := last[d.from.Addr]; ok && h.Counter != counter+1 {
			t.Fatalf("datagram %d to %v has counter %d after %d", i, d.from.Addr, h.Counter, counter)
		}
		last[d.from.Addr] = h.Counter
		order = append(order, d.from.Addr)
	}
	if want := slices.Concat(slices.Repeat([]netip.AddrPort{realB}, 7), slices.Repeat([]netip.AddrPort{realA}, 3)); !slices.Equal(order, want) {
		t.Fatalf("destinations %v, want %v", order, want)
	}
	if s := second.Stats(); s.TxPackets != 3 {
		t.Fatalf("stats of the second association: %+v", s)
	}
}
