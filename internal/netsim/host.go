package netsim

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"

	"github.com/cyphonic/cyphonic/internal/udp"
)

const (
	// queueLength bounds the datagrams waiting in a socket; further ones are lost.
	queueLength = 4096
	batchSize   = 64
	// firstPort is where ports for sockets without a wish begin.
	firstPort = 40000
)

// Host has addresses and sockets. It is attached to the core or to a NAT.
type Host struct {
	network *Network
	nat     *NAT // nil: public IPv4

	// under network.mu
	addrs   []netip.Addr
	sockets map[uint16]*Conn
	down    bool
}

// Host attaches a host with public addresses, at most one of each family.
func (n *Network) Host(addrs ...netip.Addr) *Host {
	n.mu.Lock()
	defer n.mu.Unlock()
	h := &Host{network: n, sockets: make(map[uint16]*Conn)}
	h.attach(addrs)
	return h
}

func (h *Host) attach(addrs []netip.Addr) {
	h.addrs = slices.Clone(addrs)
	for _, a := range addrs {
		mustUnmapped(a)
		if h.nat != nil && a.Is4() {
			h.nat.hosts[a] = h
		} else {
			h.network.hosts[a] = h
		}
	}
}

func (h *Host) detach() {
	for _, a := range h.addrs {
		if h.nat != nil && a.Is4() {
			delete(h.nat.hosts, a)
		} else {
			delete(h.network.hosts, a)
		}
	}
	h.addrs = nil
}

// SetAddrs replaces the host's addresses; its sockets stay open.
func (h *Host) SetAddrs(addrs ...netip.Addr) {
	h.network.mu.Lock()
	defer h.network.mu.Unlock()
	h.detach()
	h.attach(addrs)
}

// Move attaches the host elsewhere: behind nat, or to the core if nat is nil.
func (h *Host) Move(nat *NAT, addrs ...netip.Addr) {
	h.network.mu.Lock()
	defer h.network.mu.Unlock()
	h.detach()
	h.nat = nat
	h.attach(addrs)
}

// SetDown cuts the host off, or connects it again.
func (h *Host) SetDown(down bool) {
	h.network.mu.Lock()
	defer h.network.mu.Unlock()
	h.down = down
}

// Candidates is the host's addresses, each with the given port.
func (h *Host) Candidates(port uint16) []netip.AddrPort {
	h.network.mu.Lock()
	defer h.network.mu.Unlock()
	var list []netip.AddrPort
	for _, a := range h.addrs {
		list = append(list, netip.AddrPortFrom(a, port))
	}
	return list
}

// Listen opens a socket for both families; port 0 takes a free one.
func (h *Host) Listen(port uint16) (*Conn, error) {
	h.network.mu.Lock()
	defer h.network.mu.Unlock()
	for p := uint16(firstPort); port == 0; p++ {
		if h.sockets[p] == nil {
			port = p
		}
	}
	if h.sockets[port] != nil {
		return nil, fmt.Errorf("netsim: port %d is taken", port)
	}
	c := &Conn{host: h, port: port}
	c.arrived.L = &c.mu
	h.sockets[port] = c
	return c, nil
}

func (h *Host) addr(like netip.Addr) (netip.Addr, bool) {
	for _, a := range h.addrs {
		if a.Is4() == like.Is4() {
			return a, true
		}
	}
	return netip.Addr{}, false
}

// send routes a datagram of this host; the network is locked.
func (h *Host) send(port uint16, to netip.AddrPort, payload []byte) bool {
	source, ok := h.addr(to.Addr())
	if !ok || h.down {
		return false
	}
	p := Packet{From: netip.AddrPortFrom(source, port), To: to, Payload: slices.Clone(payload)}
	switch {
	case slices.Contains(h.addrs, to.Addr()):
		h.network.schedule(LANDelay, func() { h.receive(p) })
	case h.nat != nil && to.Addr().Is4():
		h.nat.outbound(p)
	default:
		h.network.enter(p)
	}
	return true
}

// receive puts a datagram into the socket that it is for; the network is locked.
func (h *Host) receive(p Packet) {
	if c := h.sockets[p.To.Port()]; c != nil && !h.down {
		c.push(p)
	}
}

// Conn is a simulated socket. It implements udp.Conn.
type Conn struct {
	host *Host
	port uint16

	mu      sync.Mutex
	arrived sync.Cond
	closed  bool
	queue   []Packet
}

var _ udp.Conn = (*Conn)(nil)

func (c *Conn) push(p Packet) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || len(c.queue) == queueLength {
		return
	}
	c.queue = append(c.queue, p)
	c.arrived.Signal()
}

// ReadBatch implements udp.Conn.
func (c *Conn) ReadBatch(ms []udp.Message) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.queue) == 0 && !c.closed {
		c.arrived.Wait()
	}
	if c.closed {
		return 0, net.ErrClosed
	}
	n := min(len(ms), len(c.queue))
	for i, p := range c.queue[:n] {
		ms[i].N, ms[i].Addr, ms[i].SegmentSize = copy(ms[i].Buf, p.Payload), p.From, 0
	}
	c.queue = slices.Delete(c.queue, 0, n)
	return n, nil
}

// WriteBatch implements udp.Conn.
func (c *Conn) WriteBatch(ms []udp.Message) (int, error) {
	c.mu.Lock()
	closed := c.closed
	c.mu.Unlock()
	if closed {
		return 0, net.ErrClosed
	}
	n := c.host.network
	n.mu.Lock()
	defer n.mu.Unlock()
	sent := 0
	for _, m := range ms {
		if c.host.send(c.port, m.Addr, m.Buf[:m.N]) {
			sent++
		}
	}
	return sent, nil
}

// LocalPort implements udp.Conn.
func (c *Conn) LocalPort() uint16 { return c.port }

// BatchSize implements udp.Conn.
func (c *Conn) BatchSize() int { return batchSize }

// Close implements udp.Conn.
func (c *Conn) Close() error {
	n := c.host.network
	n.mu.Lock()
	if c.host.sockets[c.port] == c {
		delete(c.host.sockets, c.port)
	}
	n.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	c.queue = nil
	c.arrived.Broadcast()
	return nil
}
