package dataplane

import (
	"fmt"

	"github.com/cyphonic/cyphonic/internal/tunnel"
	"github.com/cyphonic/cyphonic/internal/udp"
	"github.com/cyphonic/cyphonic/internal/wire"
)

// SendControl seals a control message in s and sends it on exactly that path, at once and
// from any goroutine. Packets that were staged before may leave after it. It fails when s
// has no counter left or is erased, and with net.ErrClosed after Run.
func (p *Plane) SendControl(_ *Association, s *tunnel.Session, path Path, control []byte) error {
	counter, ok := s.Reserve(1)
	if !ok {
		return fmt.Errorf("dataplane: send control message: %w", ErrExhausted)
	}
	b := make([]byte, 0, wire.RelayHeaderSize+wire.DataOverhead+len(control))
	if path.Relayed() {
		b = wire.AppendRelayHeader(b, path.Channel)
	}
	framed := len(b)
	if b = s.Seal(b, wire.FlagControl, counter, control); len(b) == framed {
		return fmt.Errorf("dataplane: send control message: %w", tunnel.ErrErased)
	}
	return p.write(b, path)
}

// SendDatagram sends b as it is, with relay framing around it if the path is relayed.
func (p *Plane) SendDatagram(path Path, b []byte) error {
	if path.Relayed() {
		b = append(wire.AppendRelayHeader(make([]byte, 0, wire.RelayHeaderSize+len(b)), path.Channel), b...)
	}
	return p.write(b, path)
}

func (p *Plane) write(b []byte, path Path) error {
	if !path.Addr.IsValid() {
		return fmt.Errorf("dataplane: send to %v: no address", path)
	}
	_, err := p.udp.WriteBatch([]udp.Message{{Buf: b, N: len(b), Addr: path.Addr}})
	if err != nil {
		return fmt.Errorf("dataplane: send to %v: %w", path, err)
	}
	return nil
}

// Inject sends IP packets as if they had just come from the virtual interface: it is meant
// for packets that Miss got and that were held until a had a session. Packets that are not
// between a's addresses go to the association that they belong to. It copies the packets;
// those longer than the MTU's buffers are dropped and counted. It may wait for the socket.
func (p *Plane) Inject(_ *Association, packets [][]byte) {
	for len(packets) > 0 {
		b := p.out.take()
		if b == nil {
			return // the plane has ended
		}
		b.n = 0
		for b.n < batchPackets && len(packets) > 0 {
			packet := packets[0]
			packets = packets[1:]
			room := b.buffers[b.n][packetOffset:]
			if len(packet) > len(room) {
				p.metrics.out.drop(dropTooBig)
				continue
			}
			b.sizes[b.n] = copy(room, packet)
			b.n++
		}
		p.stageOutbound(b)
		p.seal(b)
		p.out.done(b.ticket, b)
	}
}
