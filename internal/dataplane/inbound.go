package dataplane

import (
	"github.com/cyphonic/cyphonic/internal/tun"
	"github.com/cyphonic/cyphonic/internal/tunnel"
	"github.com/cyphonic/cyphonic/internal/udp"
	"github.com/cyphonic/cyphonic/internal/wire"
)

// inboundBatch is a batch on its way from the socket to the virtual interface, with all its
// memory.
type inboundBatch struct {
	messages  [batchMessages]udp.Message
	ticket    uint64
	datagrams []inboundDatagram // at most batchDatagrams
	writing   [][]byte          // each packet behind tun.Headroom bytes
}

// inboundDatagram is one datagram of a batch. Relay framing is removed.
type inboundDatagram struct {
	session     *tunnel.Session // nil: for the handler
	association *Association
	data        []byte
	plaintext   []byte // nil before opening and when opening failed
	counter     uint64
	channel     uint32 // relay channel, zero if not relayed
	message     uint8  // index of the message that it came in
	control     bool
}

func newInboundBatch() *inboundBatch {
	b := &inboundBatch{datagrams: make([]inboundDatagram, 0, batchDatagrams), writing: make([][]byte, 0, batchDatagrams)}
	for i := range b.messages {
		b.messages[i].Buf = make([]byte, udp.MaxMessage)
	}
	return b
}

// from is the path that a datagram came on.
func (b *inboundBatch) from(d *inboundDatagram) Path {
	return Path{Addr: b.messages[d.message].Addr, Channel: d.channel}
}

// inboundWorker reads, stages, opens and releases batches until the plane ends.
func (p *Plane) inboundWorker() error {
	for {
		select {
		case <-p.in.role:
		case <-p.in.closed:
			return nil
		}
		b, err := p.readInbound()
		p.in.role <- struct{}{}
		if b == nil {
			return err
		}
		p.open(b)
		p.in.done(b.ticket, b)
	}
}

// readInbound is readOutbound for the other direction.
func (p *Plane) readInbound() (*inboundBatch, error) {
	for {
		b := p.in.take()
		if b == nil {
			return nil, nil
		}
		n, err := p.udp.ReadBatch(b.messages[:])
		if err != nil {
			p.in.put(b)
			return nil, err
		}
		p.stageInbound(b, n)
		if p.workers > 1 && len(b.datagrams) >= handoverPackets {
			return b, nil
		}
		p.open(b)
		p.in.done(b.ticket, b)
	}
}

// stageInbound cuts n messages into datagrams, looks up their sessions, hands what is not
// Data of a session to the handler, and fixes the batch's place.
func (p *Plane) stageInbound(b *inboundBatch, n int) {
	b.datagrams = b.datagrams[:0]
	others := false
	p.tablesMu.RLock()
	for i := range b.messages[:n] {
		m := &b.messages[i]
		for rest := m.Buf[:m.N]; len(rest) > 0; {
			var d []byte
			if d, rest = m.Next(rest); !p.sortIn(b, uint8(i), d) {
				continue
			}
			others = others || b.datagrams[len(b.datagrams)-1].session == nil
		}
	}
	p.tablesMu.RUnlock()
	b.ticket = p.in.ticket()
	if !others {
		return
	}
	for i := range b.datagrams { // without the lock: the handler may change the tables
		if d := &b.datagrams[i]; d.session == nil {
			p.handler.Datagram(b.from(d), d.data)
		}
	}
}

// sortIn adds a datagram to the batch; false means that it was dropped.
func (p *Plane) sortIn(b *inboundBatch, message uint8, data []byte) bool {
	if len(b.datagrams) == cap(b.datagrams) {
		p.metrics.in.drop(dropOverflow)
		return false
	}
	d := inboundDatagram{data: data, message: message}
	t, err := wire.PeekType(data)
	if err == nil && t == wire.TypeRelayData {
		var relayed wire.RelayData
		if relayed, err = wire.ParseRelayData(data); err == nil {
			d.data, d.channel = relayed.Datagram, relayed.Channel
			t = wire.Type(d.data[0])
		}
	}
	if err != nil {
		p.metrics.in.drop(reasonOfWireError(err))
		return false
	}
	if t == wire.TypeData {
		h, err := wire.ParseDataHeader(d.data)
		if err != nil {
			p.metrics.in.drop(reasonOfWireError(err))
			return false
		}
		if r, ok := p.receivers[h.ReceiverIndex]; ok && h.Flags&wire.FlagHandshake == 0 {
			d.session, d.association = r.session, r.association
			d.counter, d.control = h.Counter, h.Flags&wire.FlagControl != 0
		}
	}
	b.datagrams = append(b.datagrams, d)
	return true
}

// open decrypts in place.
func (p *Plane) open(b *inboundBatch) {
	if p.pause != nil {
		p.pause()
	}
	for i := range b.datagrams {
		d := &b.datagrams[i]
		if d.session == nil {
			continue
		}
		body := d.data[wire.DataHeaderSize:wire.DataHeaderSize:len(d.data)]
		plaintext, err := d.session.Open(body, d.data)
		if err != nil {
			p.metrics.in.drop(reasonOfOpenError(err))
			continue
		}
		d.plaintext = plaintext
	}
}

// deliver releases a batch: replay window, control messages, source check, filter, and then
// what is left goes to the virtual interface. It is called for one batch at a time.
func (p *Plane) deliver(b *inboundBatch) {
	now := p.Clock()
	b.writing = b.writing[:0]
	packets, size := 0, 0
	for i := 0; i < len(b.datagrams); {
		j := i
		for a := b.datagrams[i].association; j < len(b.datagrams) && b.datagrams[j].association == a; j++ {
		}
		n, bytes := p.deliverRun(b, b.datagrams[i:j], now)
		packets, size = packets+n, size+bytes
		i = j
	}
	if len(b.writing) == 0 {
		return
	}
	if _, err := p.tun.Write(b.writing, tun.Headroom); err != nil && !isClosed(err) {
		p.log.Error("write to the virtual interface", "error", err)
	}
	p.metrics.in.packets.Add(float64(packets))
	p.metrics.in.bytes.Add(float64(size))
}

// deliverRun checks consecutive datagrams of one association and adds the packets that pass
// to the writing list.
func (p *Plane) deliverRun(b *inboundBatch, run []inboundDatagram, now int64) (packets, size int) {
	a := run[0].association
	if a == nil {
		return 0, 0
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	path := a.path.Load()
	seen := false
	for i := range run {
		d := &run[i]
		if d.plaintext == nil {
			continue
		}
		if !d.session.Accept(d.counter) {
			p.metrics.in.drop(dropReplay)
			continue
		}
		seen = true
		if from := b.from(d); path == nil || from != *path {
			p.pathSeen(a, d.session, from, now)
		}
		if d.control {
			a.mu.Unlock() // the handler may call a's methods
			p.handler.Control(a, d.session, b.from(d), d.plaintext)
			a.mu.Lock()
			path = a.path.Load()
			continue
		}
		if reason := a.checkInbound(d.plaintext, now); reason != dropNone {
			p.metrics.in.drop(reason)
			continue
		}
		packets++
		size += len(d.plaintext)
		start := wire.DataHeaderSize - tun.Headroom
		b.writing = append(b.writing, d.data[start:wire.DataHeaderSize+len(d.plaintext)])
	}
	if seen {
		a.lastRx.Store(now)
		a.rxPackets.Add(uint64(packets))
		a.rxBytes.Add(uint64(size))
	}
	return packets, size
}

// checkInbound decides about a packet that came out of the tunnel; a.mu is held.
func (a *Association) checkInbound(packet []byte, now int64) dropReason {
	var h header
	switch {
	case !h.parse(packet):
		return dropMalformed
	case !a.isFromPeer(packet):
		return dropSource
	}
	return a.filter.check(&h, packet, true, now)
}

// pathSeen tells the handler about another path, unless it was told just now; a.mu is held.
func (p *Plane) pathSeen(a *Association, s *tunnel.Session, from Path, now int64) {
	if last := a.pathSeen.Load(); last != 0 && now-last < int64(pathSeenInterval) {
		return
	}
	a.pathSeen.Store(now)
	a.mu.Unlock()
	defer a.mu.Lock()
	p.handler.PathSeen(a, s, from)
}
