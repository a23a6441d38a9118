package udp

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
)

// portable is a Conn over one net.UDPConn, one datagram a call: what every system offers.
type portable struct {
	udp     *net.UDPConn
	metrics *metrics
}

// listenPortable opens one socket that serves the wanted families. Mark and Device are
// refused, as they exist on Linux only.
func listenPortable(o Options) (Conn, error) {
	if o.Mark != 0 || o.Device != "" {
		return nil, errors.New("udp: mark and device need Linux")
	}
	m, err := newMetrics(o.Registerer)
	if err != nil {
		return nil, err
	}
	network, addr := "udp", netip.Addr{}
	if want4, want6, optional := o.families(); !optional {
		switch {
		case want4:
			network, addr = "udp4", o.IPv4Address
		case want6:
			network, addr = "udp6", o.IPv6Address
		}
	}
	local := &net.UDPAddr{Port: int(o.Port)}
	if addr.IsValid() {
		local.IP = addr.AsSlice()
	}
	c, err := net.ListenUDP(network, local)
	if err != nil {
		return nil, fmt.Errorf("udp: listen on %s port %d: %w", network, o.Port, err)
	}
	// A smaller queue than asked for costs packets under load, not correctness.
	_ = c.SetReadBuffer(socketBuffer)
	_ = c.SetWriteBuffer(socketBuffer)
	return &portable{udp: c, metrics: m}, nil
}

// ReadBatch implements Conn.
func (p *portable) ReadBatch(ms []Message) (int, error) {
	if len(ms) == 0 {
		return 0, nil
	}
	for failures := 0; ; {
		n, from, err := p.udp.ReadFromUDPAddrPort(ms[0].Buf)
		if errors.Is(err, net.ErrClosed) {
			return 0, net.ErrClosed
		}
		if err != nil {
			if failures++; failures > maxReadFailures {
				return 0, fmt.Errorf("udp: receive: %w", err)
			}
			p.metrics.receiveErrors.Inc()
			continue
		}
		p.metrics.receiveCalls.Inc()
		p.metrics.received.Inc()
		ms[0].N, ms[0].Addr, ms[0].SegmentSize = n, netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), 0
		return 1, nil
	}
}

// WriteBatch implements Conn.
func (p *portable) WriteBatch(ms []Message) (int, error) {
	sent := 0
	for i := range ms {
		_, err := p.udp.WriteToUDPAddrPort(ms[i].Buf[:ms[i].N], ms[i].Addr)
		if errors.Is(err, net.ErrClosed) {
			return sent, net.ErrClosed
		}
		if err != nil {
			p.metrics.sendErrors.WithLabelValues("other").Inc()
			continue
		}
		sent++
	}
	p.metrics.sendCalls.Inc()
	p.metrics.sent.Add(float64(sent))
	return sent, nil
}

// LocalPort implements Conn.
func (p *portable) LocalPort() uint16 { return localPortOf(p.udp) }

// BatchSize implements Conn.
func (p *portable) BatchSize() int { return 1 }

// Close implements Conn.
func (p *portable) Close() error {
	if err := p.udp.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

func localPortOf(c *net.UDPConn) uint16 {
	return c.LocalAddr().(*net.UDPAddr).AddrPort().Port()
}
