package dataplane

import (
	"net/netip"

	"github.com/cyphonic/cyphonic/internal/tunnel"
	"github.com/cyphonic/cyphonic/internal/udp"
	"github.com/cyphonic/cyphonic/internal/wire"
)

// outboundBatch is a batch on its way from the virtual interface to the socket, with all its
// memory.
type outboundBatch struct {
	buffers [][]byte // each packet at packetOffset
	sizes   []int
	n       int // packets in use
	ticket  uint64
	packets [batchPackets]outboundPacket
	sending [batchPackets]udp.Message
	notices []byte // ICMP error being made
}

// outboundPacket is one packet of a batch.
type outboundPacket struct {
	association *Association
	session     *tunnel.Session
	path        Path
	counter     uint64
	datagram    []byte // what to send; nil before sealing and when dropped
	state       outboundState
}

type outboundState uint8

const (
	outboundDrop   outboundState = iota // counted, nothing more to do
	outboundSeal                        // to be sealed and sent
	outboundMiss                        // for the handler
	outboundTooBig                      // to be answered
)

// slotSize is the distance between outbound buffers for packets of that size: with room for
// both headers and the tag, and an odd number of cache lines, so that the buffers' first
// lines spread over the cache.
func slotSize(packet int) int {
	lines := (packetOffset + packet + wire.DataOverhead + cacheLine - 1) / cacheLine
	return (lines | 1) * cacheLine
}

func (p *Plane) newOutboundBatch() *outboundBatch {
	b := &outboundBatch{buffers: make([][]byte, batchPackets), sizes: make([]int, batchPackets)}
	arena := make([]byte, batchPackets*p.stride)
	for i := range b.buffers {
		// The tag's room is beyond the end that the virtual interface sees, inside cap.
		slot := arena[i*p.stride : (i+1)*p.stride : (i+1)*p.stride]
		b.buffers[i] = slot[:len(slot)-wire.DataOverhead]
	}
	return b
}

// outboundWorker reads, stages, seals and releases batches until the plane ends.
func (p *Plane) outboundWorker() error {
	for {
		select {
		case <-p.out.role:
		case <-p.out.closed:
			return nil
		}
		b, err := p.readOutbound()
		p.out.role <- struct{}{}
		if b == nil {
			return err
		}
		p.seal(b)
		p.out.done(b.ticket, b)
	}
}

// readOutbound runs in the reading role. It finishes small batches itself, and returns one
// that is worth passing the role on for; with one worker it returns when the plane ends.
func (p *Plane) readOutbound() (*outboundBatch, error) {
	for {
		b := p.out.take()
		if b == nil {
			return nil, nil
		}
		n, err := p.tun.Read(b.buffers, b.sizes, packetOffset)
		if err != nil {
			p.out.put(b)
			return nil, err
		}
		b.n = n
		p.stageOutbound(b)
		if p.workers > 1 && n >= handoverPackets {
			return b, nil
		}
		p.seal(b)
		p.out.done(b.ticket, b)
	}
}

// stageOutbound decides about each packet, takes counters and fixes the batch's place.
func (p *Plane) stageOutbound(b *outboundBatch) {
	p.stageMu.Lock()
	p.classify(b)
	p.reserve(b)
	b.ticket = p.out.ticket()
	p.stageMu.Unlock()
	for i := range b.packets[:b.n] { // without the lock: the handler may call Inject
		packet := b.buffers[i][packetOffset : packetOffset+b.sizes[i]]
		switch b.packets[i].state {
		case outboundMiss:
			source, destination := addresses(packet)
			p.handler.Miss(source, destination, packet)
		case outboundTooBig:
			p.answerTooBig(b, packet)
		}
	}
}

// classify looks up associations and applies the filter.
func (p *Plane) classify(b *outboundBatch) {
	now := p.Clock()
	p.tablesMu.RLock()
	defer p.tablesMu.RUnlock()
	var a *Association // of the packet before, its filter locked
	var key addressKey
	defer func() {
		if a != nil {
			a.mu.Unlock()
		}
	}()
	for i := range b.packets[:b.n] {
		packet := b.buffers[i][packetOffset : packetOffset+b.sizes[i]]
		e := &b.packets[i]
		*e = outboundPacket{}
		var h header
		if !h.parse(packet) {
			p.metrics.out.drop(dropMalformed)
			continue
		}
		if k := keyOfPacket(packet); k != key || i == 0 {
			if a != nil {
				a.mu.Unlock()
			}
			key, a = k, p.associations[k]
			if a != nil {
				a.mu.Lock()
			}
		}
		p.judge(e, &h, packet, a, key, now)
	}
}

// judge decides about one packet; a's filter is locked.
func (p *Plane) judge(e *outboundPacket, h *header, packet []byte, a *Association, key addressKey, now int64) {
	if a == nil {
		if !isUnicast(key.destination) || !isUnicast(key.source) {
			p.metrics.out.drop(dropNotUnicast)
			return
		}
		e.state = outboundMiss
		return
	}
	s, path := a.session.Load(), a.path.Load()
	if s == nil {
		e.state = outboundMiss
		return
	}
	switch reason := a.filter.check(h, packet, false, now); {
	case reason != dropNone:
		p.metrics.out.drop(reason)
	case len(packet) > p.mtu:
		p.metrics.out.drop(dropTooBig)
		e.state = outboundTooBig
	case path == nil || !path.Addr.IsValid():
		p.metrics.out.drop(dropNoPath)
	default:
		e.association, e.session, e.path, e.state = a, s, *path, outboundSeal
	}
}

func keyOfPacket(b []byte) addressKey {
	source, destination := addresses(b)
	return addressKey{source, destination}
}

// isUnicast says whether a is an address that a peer can have.
func isUnicast(a netip.Addr) bool {
	return a.IsGlobalUnicast() && a != netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

// reserve takes send counters, one call for each run of packets of one session.
func (p *Plane) reserve(b *outboundBatch) {
	for i := 0; i < b.n; {
		s := b.packets[i].session
		n, j := 0, i
		for ; j < b.n && b.packets[j].session == s; j++ {
			n++
		}
		if s == nil {
			i = j
			continue
		}
		first, ok := s.Reserve(n)
		for ; i < j; i++ {
			if !ok {
				b.packets[i].state = outboundDrop
				p.metrics.out.drop(dropExhausted)
				continue
			}
			b.packets[i].counter = first
			first++
		}
	}
}

// answerTooBig tells the sender of a packet that is too long for the overlay.
func (p *Plane) answerTooBig(b *outboundBatch, packet []byte) {
	var h header
	if !h.parse(packet) {
		return
	}
	const room = 64
	b.notices = appendTooBig(append(b.notices[:0], make([]byte, room)...), packet, &h, p.mtu)
	if len(b.notices) == room {
		return
	}
	// An interface that is down or closed cannot be told; the packet is counted already.
	_, _ = p.tun.Write([][]byte{b.notices}, room)
}

// seal encrypts in place: the packet stays where it was read, headers come in front of it.
func (p *Plane) seal(b *outboundBatch) {
	if p.pause != nil {
		p.pause()
	}
	for i := range b.packets[:b.n] {
		e := &b.packets[i]
		if e.state != outboundSeal {
			continue
		}
		const start = packetOffset - wire.DataHeaderSize
		slot := b.buffers[i]
		sealed := e.session.Seal(slot[start:start:cap(slot)], 0, e.counter, slot[packetOffset:packetOffset+b.sizes[i]])
		if len(sealed) == 0 {
			p.metrics.out.drop(dropErased)
			continue
		}
		if e.path.Relayed() {
			const framed = start - wire.RelayHeaderSize
			wire.AppendRelayHeader(slot[framed:framed:start], e.path.Channel)
			sealed = slot[framed : start+len(sealed) : cap(slot)]
		}
		e.datagram = sealed
	}
}

// send releases a batch: its datagrams go out grouped by destination, in order for each, so
// that the socket can join them into runs.
func (p *Plane) send(b *outboundBatch) {
	messages := b.sending[:0]
	for i := range b.packets[:b.n] {
		first := &b.packets[i]
		if first.datagram == nil {
			continue
		}
		to := first.path.Addr
		for j := i; j < b.n; j++ {
			e := &b.packets[j]
			if e.datagram != nil && e.path.Addr == to {
				messages = append(messages, udp.Message{Buf: e.datagram, N: len(e.datagram), Addr: to})
				e.datagram = nil
			}
		}
	}
	if len(messages) == 0 {
		return
	}
	if _, err := p.udp.WriteBatch(messages); err != nil && !isClosed(err) {
		p.log.Error("send datagrams", "error", err)
	}
	p.countSent(b, len(messages))
}

// countSent adds a batch to the counts, once for each run of packets of one association.
func (p *Plane) countSent(b *outboundBatch, packets int) {
	now := p.Clock()
	total := 0
	for i := 0; i < b.n; {
		a := b.packets[i].association
		n, size := 0, 0
		for ; i < b.n && b.packets[i].association == a; i++ {
			if b.packets[i].state == outboundSeal {
				n++
				size += b.sizes[i]
			}
		}
		if a != nil && n > 0 {
			a.txPackets.Add(uint64(n))
			a.txBytes.Add(uint64(size))
			a.lastTx.Store(now)
			total += size
		}
	}
	p.metrics.out.packets.Add(float64(packets))
	p.metrics.out.bytes.Add(float64(total))
}
