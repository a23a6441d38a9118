package bfd

import (
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"net"
	"net/netip"
	"strconv"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

const (
	// controlPort of single-hop sessions, and the TTL that proves that a packet was sent on this link (RFC 5881).
	controlPort = 3784
	ttl         = 255
	// trafficClass is CS6, network control.
	trafficClass = 0xc0
)

// link is a session with its socket for sending. Everything is under the manager's lock.
type link struct {
	peer    Peer
	session *session
	conn    *sender
	retry   time.Time // not before the socket is opened again
	answer  bool      // a Poll waits for its answer
	speak   bool      // the neighbour does not know the state yet
}

func (l *link) close() {
	if l.conn != nil {
		_ = l.conn.Close()
		l.conn = nil
	}
}

// sender is the socket of one session: its source port is its own (RFC 5881, section 4).
type sender struct {
	net.PacketConn
	index int // of the peer's interface; 0: any
	write func(data []byte) error
}

// openSender opens the socket of a session with a free source port.
func openSender(p Peer) (*sender, error) {
	network, index := "udp4", 0
	if p.Address.Is6() {
		network = "udp6"
	}
	if p.Interface != "" {
		iface, err := net.InterfaceByName(p.Interface)
		if err != nil {
			return nil, fmt.Errorf("interface %s: %w", p.Interface, err)
		}
		index = iface.Index
	}
	local := ""
	if p.LocalAddress.IsValid() {
		local = p.LocalAddress.String()
	}
	var conn net.PacketConn
	var err error
	for range portTries {
		port := firstPort + mathrand.IntN(lastPort-firstPort+1)
		if conn, err = net.ListenPacket(network, net.JoinHostPort(local, strconv.Itoa(port))); err == nil {
			break
		}
	}
	if err != nil {
		return nil, fmt.Errorf("open a socket: %w", err)
	}
	s := &sender{PacketConn: conn, index: index}
	if err := s.prepare(net.UDPAddrFromAddrPort(netip.AddrPortFrom(p.Address, controlPort))); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return s, nil
}

// prepare sets what the packets to an address need.
func (s *sender) prepare(to *net.UDPAddr) error {
	if to.IP.To4() != nil {
		c := ipv4.NewPacketConn(s.PacketConn)
		s.write = func(data []byte) error {
			_, err := c.WriteTo(data, &ipv4.ControlMessage{IfIndex: s.index}, to)
			return err
		}
		return errors.Join(c.SetTTL(ttl), c.SetTOS(trafficClass))
	}
	c := ipv6.NewPacketConn(s.PacketConn)
	s.write = func(data []byte) error {
		_, err := c.WriteTo(data, &ipv6.ControlMessage{IfIndex: s.index}, to)
		return err
	}
	return errors.Join(c.SetHopLimit(ttl), c.SetTrafficClass(trafficClass))
}

// send sends a packet of a session. That it cannot be sent is what the neighbour detects; here it is counted.
func (m *Manager) send(l *link, p packet, now time.Time) {
	if l.conn == nil {
		if !m.running || now.Before(l.retry) {
			return
		}
		l.retry = now.Add(reopenPause)
		conn, err := openSender(l.peer)
		if err != nil {
			m.metrics.drops.WithLabelValues("no_socket").Inc()
			m.log.Debug("cannot send BFD packets", "peer", l.peer.Address, "error", err)
			return
		}
		l.conn = conn
	}
	if err := l.conn.write(p.append(make([]byte, 0, packetLength))); err != nil {
		m.metrics.drops.WithLabelValues("send").Inc()
		m.log.Debug("cannot send a BFD packet", "peer", l.peer.Address, "error", err)
		l.close() // the local address may have gone, the interface may be another one
		return
	}
	m.metrics.sent.Inc()
}

// receiver is a socket on the control port of one family.
type receiver struct {
	net.PacketConn
	// read gives the payload, its sender, the interface that it came by and its TTL.
	read func(buffer []byte) (n int, from netip.Addr, index, hops int, err error)
}

// openReceivers opens the control port for both families; a host without IPv6 has the other only.
func openReceivers() ([]*receiver, error) {
	four, err := net.ListenPacket("udp4", fmt.Sprintf(":%d", controlPort))
	if err != nil {
		return nil, fmt.Errorf("open the BFD port (is another BFD program running?): %w", err)
	}
	r, err := receiver4(four)
	receivers := []*receiver{r}
	if six, openErr := net.ListenPacket("udp6", fmt.Sprintf(":%d", controlPort)); openErr == nil {
		r, failed := receiver6(six)
		receivers, err = append(receivers, r), errors.Join(err, failed)
	}
	if err != nil {
		for _, r := range receivers {
			_ = r.Close()
		}
		return nil, fmt.Errorf("prepare the BFD port: %w", err)
	}
	return receivers, nil
}

func receiver4(conn net.PacketConn) (*receiver, error) {
	c := ipv4.NewPacketConn(conn)
	return &receiver{conn, func(buffer []byte) (int, netip.Addr, int, int, error) {
		n, message, from, err := c.ReadFrom(buffer)
		if err != nil || message == nil {
			return n, source(from), 0, 0, err
		}
		return n, source(from), message.IfIndex, message.TTL, nil
	}}, c.SetControlMessage(ipv4.FlagTTL|ipv4.FlagInterface, true)
}

func receiver6(conn net.PacketConn) (*receiver, error) {
	c := ipv6.NewPacketConn(conn)
	return &receiver{conn, func(buffer []byte) (int, netip.Addr, int, int, error) {
		n, message, from, err := c.ReadFrom(buffer)
		if err != nil || message == nil {
			return n, source(from), 0, 0, err
		}
		return n, source(from), message.IfIndex, message.HopLimit, nil
	}}, c.SetControlMessage(ipv6.FlagHopLimit|ipv6.FlagInterface, true)
}

func source(from net.Addr) netip.Addr {
	if udp, ok := from.(*net.UDPAddr); ok {
		return udp.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}

// read takes packets until the socket is closed.
func (m *Manager) read(r *receiver) error {
	buffer := make([]byte, maxPayload)
	for {
		n, from, index, hops, err := r.read(buffer)
		if err != nil {
			return err
		}
		if why := m.take(buffer[:n], from, index, hops); why != "" {
			m.metrics.drops.WithLabelValues(why).Inc()
		}
	}
}

// take gives a packet to its session, or says why not (RFC 5880, section 6.8.6, and RFC 5881, section 5).
func (m *Manager) take(data []byte, from netip.Addr, index, hops int) (dropped string) {
	if hops != ttl {
		return "ttl"
	}
	p, err := parsePacket(data)
	if err != nil {
		return err.Error()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	l := m.sessions[from]
	if l == nil {
		l = m.sessions[from.WithZone("")]
	}
	switch {
	case l == nil:
		return "unknown_peer"
	case p.yours != 0 && p.yours != l.session.local:
		return "discriminator"
	case l.peer.Interface != "" && (l.conn == nil || l.conn.index != index):
		return "interface"
	}
	m.metrics.received.Inc()
	c := l.session.receive(p, time.Now())
	if c.event {
		m.record(l)
	}
	l.answer, l.speak = l.answer || c.answer, l.speak || c.speak
	m.wakeUp()
	return ""
}
