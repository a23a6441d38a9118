package lan

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

const (
	dhcpServerPort = 67
	dhcpClientPort = 68
)

// DHCPOptions configure a DHCPServer.
type DHCPOptions struct {
	// Ask is called for every readable message of a device; seen is the device's address. It returns the
	// lease if the device may have it now. Otherwise the message is held: Ready answers it later.
	Ask func(seen MAC) (Lease, bool)
	// Event is called after the answer.
	Event func(MAC, Event)
	Log   *slog.Logger
}

// DHCPServer answers DHCPv4 for the general nodes. The answer to a device that is not logged in yet is held
// until it is: the client sees a slow server instead of an error.
type DHCPServer struct {
	options DHCPOptions
	link    dhcpLink

	mu   sync.Mutex
	held map[MAC]heldRequest
}

type heldRequest struct {
	message *dhcpv4.DHCPv4
	until   time.Time
}

// dhcpLink is where requests come from and replies go to.
type dhcpLink interface {
	// receive returns the next IP packet and the sender's hardware address; net.ErrClosed after close.
	receive(buf []byte) (n int, sender MAC, err error)
	// send sends a reply to a client; the zero address means broadcast.
	send(to netip.Addr, reply []byte) error
	close()
}

func newDHCPServer(o DHCPOptions, link dhcpLink) *DHCPServer {
	return &DHCPServer{options: o, link: link, held: make(map[MAC]heldRequest)}
}

// Run serves until ctx ends. One goroutine does everything: an answer takes microseconds and waits for
// nobody, since logins run elsewhere.
func (s *DHCPServer) Run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, s.link.close)
	defer func() {
		if stop() {
			s.link.close()
		}
	}()
	buf := make([]byte, maxFrame)
	for {
		n, sender, err := s.link.receive(buf)
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, net.ErrClosed) {
			return fmt.Errorf("lan: DHCP socket: %w", err)
		}
		if err != nil {
			s.options.Log.Warn("cannot receive DHCP", "error", err)
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(time.Second):
			}
			continue
		}
		payload, ok := udpPayload(buf[:n])
		if !ok {
			continue
		}
		s.handle(time.Now(), payload, sender)
	}
}

// handle works on one message.
func (s *DHCPServer) handle(now time.Time, payload []byte, sender MAC) {
	m, err := parseRequest(payload, sender)
	if err != nil {
		s.options.Log.Debug("DHCP message ignored", "mac", sender, "error", err)
		return
	}
	s.hold(now, sender, m) // before asking: the login may be done before Ask returns
	lease, ok := s.options.Ask(sender)
	if ok && s.take(now, sender) != nil {
		s.answer(m, sender, lease)
	}
}

// Ready answers the message that a device's login has held up.
func (s *DHCPServer) Ready(mac MAC, lease Lease) {
	if m := s.take(time.Now(), mac); m != nil {
		s.answer(m, mac, lease)
	}
}

func (s *DHCPServer) answer(m *dhcpv4.DHCPv4, mac MAC, lease Lease) {
	reply, event := respond(m, lease)
	if reply != nil {
		if err := s.link.send(destination(m, reply), reply.ToBytes()); err != nil {
			s.options.Log.Warn("cannot send a DHCP answer", "mac", mac, "error", err)
			return
		}
		s.options.Log.Debug("DHCP answered", "mac", mac, "request", m.MessageType(), "reply", reply.MessageType(), "address", lease.IPv4)
	}
	if event != EventNone {
		s.options.Event(mac, event)
	}
}

// hold keeps the device's latest message, and forgets those that nobody waits for any more when the
// bound is reached.
func (s *DHCPServer) hold(now time.Time, mac MAC, m *dhcpv4.DHCPv4) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, replaces := s.held[mac]; !replaces && len(s.held) >= maxHeld {
		for k, h := range s.held {
			if now.After(h.until) {
				delete(s.held, k)
			}
		}
		if len(s.held) >= maxHeld {
			return
		}
	}
	s.held[mac] = heldRequest{message: m, until: now.Add(heldTimeout)}
}

// take returns the held message unless it is too old.
func (s *DHCPServer) take(now time.Time, mac MAC) *dhcpv4.DHCPv4 {
	s.mu.Lock()
	defer s.mu.Unlock()
	h, ok := s.held[mac]
	delete(s.held, mac)
	if !ok || now.After(h.until) {
		return nil
	}
	return h.message
}

// udpPayload returns the payload of an unfragmented IPv4 packet to the DHCP server port. The UDP checksum is
// not checked: the kernel hands local packets out before it is filled in.
func udpPayload(b []byte) ([]byte, bool) {
	const minIP, udpHeader = 20, 8
	if len(b) < minIP || b[0]>>4 != 4 || b[9] != 17 || binary.BigEndian.Uint16(b[6:])&0x3fff != 0 {
		return nil, false
	}
	header := int(b[0]&0xf) * 4
	total := int(binary.BigEndian.Uint16(b[2:]))
	if header < minIP || total > len(b) || total < header+udpHeader {
		return nil, false
	}
	udp := b[header:total]
	length := int(binary.BigEndian.Uint16(udp[4:]))
	if binary.BigEndian.Uint16(udp[2:]) != dhcpServerPort || length < udpHeader || length > len(udp) {
		return nil, false
	}
	return udp[udpHeader:length], true
}
