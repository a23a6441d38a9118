package udp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"

	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

// controlSpace holds the control messages of one received message. Only UDP_GRO is asked for.
const controlSpace = 64

// batchReader waits for two sockets at once. Both are members of an epoll instance, and that
// instance is itself polled by the Go runtime, so that a single goroutine can sleep until
// either family has something, without a blocked thread and without a second goroutine.
// With one family the socket itself is waited for.
type batchReader struct {
	sockets []*socket
	epoll   *os.File // nil with one family
	raw     syscall.RawConn

	scratch [MaxBatch]ipv4.Message
	control [MaxBatch][controlSpace]byte
	buffers [MaxBatch][1][]byte
	decided bool // receive offload has been chosen
	current int  // index of the socket that is tried first
	streak  int  // batches in a row from the current socket

	// The call in progress; attempt is r.try, bound once.
	attempt func(uintptr) bool
	pending []ipv4.Message
	from    *socket
	n       int
	err     error
}

func (r *batchReader) open(sockets []*socket) error {
	r.sockets = sockets
	r.attempt = r.try
	if len(sockets) == 1 {
		return nil
	}
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return fmt.Errorf("udp: create epoll instance: %w", err)
	}
	for _, s := range sockets {
		if err := epollAdd(fd, s.udp); err != nil {
			_ = unix.Close(fd)
			return err
		}
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		_ = unix.Close(fd)
		return fmt.Errorf("udp: set epoll instance non-blocking: %w", err)
	}
	r.epoll = os.NewFile(uintptr(fd), "udp-sockets")
	r.raw, err = r.epoll.SyscallConn()
	if err != nil {
		_ = r.epoll.Close()
		return fmt.Errorf("udp: poll the epoll instance: %w", err)
	}
	return nil
}

func epollAdd(epoll int, c *net.UDPConn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return fmt.Errorf("udp: add socket to epoll instance: %w", err)
	}
	var inner error
	err = raw.Control(func(fd uintptr) {
		inner = unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, int(fd), &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)})
	})
	if err = errors.Join(err, inner); err != nil {
		return fmt.Errorf("udp: add socket to epoll instance: %w", err)
	}
	return nil
}

func (r *batchReader) close() error {
	if r.epoll == nil {
		return nil
	}
	if err := r.epoll.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return err
	}
	return nil
}

// ReadBatch implements Conn.
func (c *conn) ReadBatch(ms []Message) (int, error) {
	c.readMu.Lock()
	defer c.readMu.Unlock()
	r := &c.reader
	ms = ms[:min(len(ms), MaxBatch)]
	if len(ms) == 0 {
		return 0, nil
	}
	if !r.decided {
		r.decide(ms)
	}
	for failures := 0; ; {
		n, err := r.wait(ms)
		if err != nil {
			if c.closed.Load() || isClosed(err) {
				return 0, net.ErrClosed
			}
			if failures++; failures > maxReadFailures || !isTransient(err) {
				return 0, fmt.Errorf("udp: receive: %w", err)
			}
			c.metrics.receiveErrors.Inc()
			continue
		}
		if n = c.deliver(ms, n); n > 0 {
			return n, nil
		}
	}
}

// decide switches UDP_GRO on when every buffer can hold a whole run.
func (r *batchReader) decide(ms []Message) {
	r.decided = true
	for i := range ms {
		if len(ms[i].Buf) < MaxMessage {
			return
		}
	}
	for _, s := range r.sockets {
		if !s.canGather {
			continue
		}
		raw, err := s.udp.SyscallConn()
		if err != nil {
			continue
		}
		// Without it datagrams arrive one by one, which every caller handles.
		_ = raw.Control(func(fd uintptr) {
			_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_GRO, 1)
		})
	}
}

// wait fills the scratch messages from one socket and returns how many.
func (r *batchReader) wait(ms []Message) (int, error) {
	for i := range ms {
		r.buffers[i][0] = ms[i].Buf
		r.scratch[i] = ipv4.Message{Buffers: r.buffers[i][:], OOB: r.control[i][:]}
	}
	r.pending = r.scratch[:len(ms)]
	if r.epoll == nil {
		r.from = r.sockets[0]
		return r.from.batch.ReadBatch(r.pending, 0)
	}
	if err := r.raw.Read(r.attempt); err != nil {
		return 0, err
	}
	return r.n, r.err
}

// try reads from whichever socket has something; false means that none has.
func (r *batchReader) try(uintptr) bool {
	if r.streak >= fairTurn {
		r.current, r.streak = (r.current+1)%len(r.sockets), 0
	}
	for range r.sockets {
		r.from = r.sockets[r.current]
		r.n, r.err = r.from.batch.ReadBatch(r.pending, unix.MSG_DONTWAIT)
		if !errors.Is(r.err, unix.EAGAIN) {
			r.streak++
			return true
		}
		r.current, r.streak = (r.current+1)%len(r.sockets), 0
	}
	return false
}

// deliver moves n scratch messages into ms, leaving out what was cut off, and returns how
// many are left. The buffers of messages left out change places with later ones.
func (c *conn) deliver(ms []Message, n int) int {
	kept, datagrams := 0, 0
	for i := range n {
		got := &c.reader.scratch[i]
		if got.Flags&unix.MSG_TRUNC != 0 {
			c.metrics.truncated.Inc()
			continue
		}
		ms[kept].Buf, ms[i].Buf = ms[i].Buf, ms[kept].Buf
		m := &ms[kept]
		m.N, m.Addr, m.SegmentSize = got.N, sourceOf(got.Addr), segmentSize(got.OOB[:got.NN])
		datagrams++
		if m.SegmentSize > 0 {
			datagrams += (m.N - 1) / m.SegmentSize
		}
		kept++
	}
	c.metrics.receiveCalls.Inc()
	c.metrics.received.Add(float64(datagrams))
	return kept
}

func sourceOf(a net.Addr) netip.AddrPort {
	u, ok := a.(*net.UDPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	ap := u.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

// segmentSize finds the UDP_GRO control message: an int with the size of each datagram.
func segmentSize(control []byte) int {
	for len(control) >= unix.SizeofCmsghdr {
		h, data, rest, err := unix.ParseOneSocketControlMessage(control)
		if err != nil {
			return 0
		}
		if h.Level == unix.IPPROTO_UDP && h.Type == unix.UDP_GRO && len(data) >= 2 {
			if len(data) >= 4 {
				return int(binary.NativeEndian.Uint32(data))
			}
			return int(binary.NativeEndian.Uint16(data))
		}
		control = rest
	}
	return 0
}
