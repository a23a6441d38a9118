package udp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"
)

// batchConn is what ipv4.PacketConn and ipv6.PacketConn have in common.
type batchConn interface {
	ReadBatch(ms []ipv4.Message, flags int) (int, error)
	WriteBatch(ms []ipv4.Message, flags int) (int, error)
}

// socket is the UDP socket of one address family.
type socket struct {
	udp   *net.UDPConn
	batch batchConn
	ipv6  bool

	segment   atomic.Bool // UDP_SEGMENT may be used
	canGather bool        // UDP_GRO is offered
}

// conn is a Conn over one socket of each family that is available.
type conn struct {
	sockets []*socket // one or two
	ipv4    *socket   // nil: family not available
	ipv6    *socket   // nil: family not available
	port    uint16
	metrics *metrics
	scratch sync.Pool // *writeScratch

	closed atomic.Bool

	readMu sync.Mutex // one reader; guards everything below
	reader batchReader
}

// Listen opens the sockets. They are set to non-blocking, closed on exec, and get large
// queues; UDP_SEGMENT and UDP_GRO are used where the kernel offers them.
//
// It fails when the port is taken, or with ErrNoFamily when no wanted family is available.
func Listen(o Options) (Conn, error) {
	m, err := newMetrics(o.Registerer)
	if err != nil {
		return nil, err
	}
	var sockets []*socket
	for range portAttempts {
		sockets, err = listenFamilies(o)
		if err == nil || o.Port != 0 || !errors.Is(err, unix.EADDRINUSE) {
			break
		}
	}
	if err != nil {
		return nil, err
	}
	c := &conn{sockets: sockets, metrics: m}
	for _, s := range sockets {
		if s.ipv6 {
			c.ipv6 = s
		} else {
			c.ipv4 = s
		}
	}
	c.port = localPortOf(sockets[0].udp)
	c.scratch.New = func() any { return newWriteScratch() }
	if err := c.reader.open(sockets); err != nil {
		closeAll(sockets)
		return nil, err
	}
	return c, nil
}

// listenFamilies opens a socket for each wanted and available family on one port.
func listenFamilies(o Options) ([]*socket, error) {
	want4, want6, optional := o.families()
	port := o.Port
	var sockets []*socket
	var missing []error
	for _, family := range []struct {
		wanted bool
		ipv6   bool
		addr   netip.Addr
	}{{want4, false, o.IPv4Address}, {want6, true, o.IPv6Address}} {
		if !family.wanted {
			continue
		}
		s, err := listenFamily(o, family.ipv6, family.addr, port)
		switch {
		case err == nil:
			sockets = append(sockets, s)
			port = localPortOf(s.udp)
		case optional && familyMissing(err):
			missing = append(missing, err)
		default:
			closeAll(sockets)
			return nil, err
		}
	}
	if len(sockets) == 0 {
		return nil, errors.Join(append([]error{ErrNoFamily}, missing...)...)
	}
	return sockets, nil
}

// familyMissing says whether err means that the host lacks the address family.
func familyMissing(err error) bool {
	return errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EADDRNOTAVAIL) || errors.Is(err, unix.EPROTONOSUPPORT)
}

func listenFamily(o Options, isIPv6 bool, addr netip.Addr, port uint16) (*socket, error) {
	s := &socket{ipv6: isIPv6}
	network, host := "udp4", "0.0.0.0"
	if isIPv6 {
		network, host = "udp6", "::"
	}
	if addr.IsValid() {
		host = addr.String()
	}
	lc := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var inner error
		if err := raw.Control(func(fd uintptr) { inner = s.configure(int(fd), o) }); err != nil {
			return err
		}
		return inner
	}}
	address := net.JoinHostPort(host, strconv.Itoa(int(port)))
	pc, err := lc.ListenPacket(context.Background(), network, address)
	if err != nil {
		return nil, fmt.Errorf("udp: listen on %s %s: %w", network, address, err)
	}
	s.udp = pc.(*net.UDPConn)
	if err := forbidBroadcast(s.udp); err != nil {
		return nil, errors.Join(err, s.udp.Close())
	}
	if isIPv6 {
		s.batch = ipv6.NewPacketConn(s.udp)
	} else {
		s.batch = ipv4.NewPacketConn(s.udp)
	}
	return s, nil
}

// configure sets the socket options; it runs before the socket is bound.
func (s *socket) configure(fd int, o Options) error {
	setBuffer(fd, unix.SO_RCVBUFFORCE, unix.SO_RCVBUF)
	setBuffer(fd, unix.SO_SNDBUFFORCE, unix.SO_SNDBUF)
	if o.Mark != 0 {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, int(o.Mark)); err != nil {
			return fmt.Errorf("udp: set mark %#x (needs CAP_NET_ADMIN): %w", o.Mark, err)
		}
	}
	if o.Device != "" {
		if err := unix.BindToDevice(fd, o.Device); err != nil {
			return fmt.Errorf("udp: bind to interface %q: %w", o.Device, err)
		}
	}
	if o.DisableOffload {
		return nil
	}
	_, err := unix.GetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_SEGMENT)
	s.segment.Store(err == nil)
	_, err = unix.GetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_GRO)
	s.canGather = err == nil
	return nil
}

// forbidBroadcast undoes what package net sets: a peer may name a broadcast address of a
// network of this host as its own, and only the kernel knows them all.
func forbidBroadcast(c *net.UDPConn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return fmt.Errorf("udp: forbid broadcast: %w", err)
	}
	var inner error
	err = raw.Control(func(fd uintptr) { inner = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_BROADCAST, 0) })
	if err = errors.Join(err, inner); err != nil {
		return fmt.Errorf("udp: forbid broadcast: %w", err)
	}
	return nil
}

// setBuffer asks for a large queue: beyond the system's limit where allowed, else up to it.
func setBuffer(fd, force, plain int) {
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, force, socketBuffer) != nil {
		// The kernel silently caps the plain option at net.core.[rw]mem_max.
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, plain, socketBuffer)
	}
}

// LocalPort implements Conn.
func (c *conn) LocalPort() uint16 { return c.port }

// BatchSize implements Conn.
func (c *conn) BatchSize() int { return MaxBatch }

// Close implements Conn.
func (c *conn) Close() error {
	c.closed.Store(true)
	return errors.Join(c.reader.close(), closeAll(c.sockets))
}

func closeAll(sockets []*socket) error {
	var errs []error
	for _, s := range sockets {
		if err := s.udp.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
