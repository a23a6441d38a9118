package udp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

// writeScratch is the memory that one WriteBatch needs besides the datagrams. It is used by
// one call at a time.
type writeScratch struct {
	messages [MaxBatch]ipv4.Message
	addrs    [MaxBatch]net.UDPAddr
	ips      [MaxBatch][16]byte
	control  [MaxBatch][]byte
	buffers  [MaxBatch][]byte
	first    [MaxBatch + 1]int // index in the batch of each run's first datagram
}

func newWriteScratch() *writeScratch {
	s := &writeScratch{}
	for i := range s.control {
		s.control[i] = make([]byte, unix.CmsgSpace(2))
		h := (*unix.Cmsghdr)(unsafe.Pointer(&s.control[i][0]))
		h.Level, h.Type = unix.IPPROTO_UDP, unix.UDP_SEGMENT
		h.SetLen(unix.CmsgLen(2))
	}
	return s
}

// WriteBatch implements Conn.
func (c *conn) WriteBatch(ms []Message) (int, error) {
	if c.closed.Load() {
		return 0, net.ErrClosed
	}
	sc := c.scratch.Get().(*writeScratch)
	defer c.scratch.Put(sc)
	sent := 0
	for len(ms) > 0 {
		s := c.socketFor(ms[0].Addr)
		n := 1
		for n < len(ms) && n < MaxBatch && c.socketFor(ms[n].Addr) == s {
			n++
		}
		if s == nil {
			c.metrics.sendErrors.WithLabelValues("no_family").Add(float64(n))
		} else {
			k, err := c.writeFamily(s, sc, ms[:n])
			sent += k
			if err != nil {
				return sent, err
			}
		}
		ms = ms[n:]
	}
	c.metrics.sent.Add(float64(sent))
	return sent, nil
}

func (c *conn) socketFor(a netip.AddrPort) *socket {
	if a.Addr().Is4() || a.Addr().Is4In6() {
		return c.ipv4
	}
	if a.Addr().Is6() {
		return c.ipv6
	}
	return nil
}

// writeFamily sends ms, all of one family and at most MaxBatch, and returns how many
// datagrams the kernel took.
func (c *conn) writeFamily(s *socket, sc *writeScratch, ms []Message) (int, error) {
	runs := sc.pack(ms, s.segment.Load())
	sent := 0
	for done := 0; done < runs; {
		c.metrics.sendCalls.Inc()
		n, err := s.batch.WriteBatch(sc.messages[done:runs], 0)
		if err == nil && n > 0 {
			sent += sc.first[done+n] - sc.first[done]
			done += n
			continue
		}
		if isClosed(err) {
			return sent, net.ErrClosed
		}
		// The kernel refused the first message of this call: give up on that one only.
		run := ms[sc.first[done]:sc.first[done+1]]
		if len(run) > 1 {
			k, err := c.writeSingly(s, sc, done, run, err)
			sent += k
			if err != nil {
				return sent, err
			}
		} else if err = c.countSendError(err, 1); err != nil {
			return sent, err
		}
		done++
	}
	clear(sc.buffers[:len(ms)]) // keep no reference to the caller's memory
	return sent, nil
}

// writeSingly sends a run that the kernel refused as a whole, datagram by datagram.
// cause EIO means that the outgoing device cannot checksum segments; then UDP_SEGMENT is
// not used again on this socket.
func (c *conn) writeSingly(s *socket, sc *writeScratch, at int, run []Message, cause error) (int, error) {
	c.metrics.offloadFallbacks.Inc()
	if errors.Is(cause, unix.EIO) {
		s.segment.Store(false)
	}
	single := [1]ipv4.Message{sc.messages[at]}
	single[0].OOB = nil
	sent := 0
	for i := range run {
		single[0].Buffers = sc.buffers[sc.first[at]+i : sc.first[at]+i+1]
		_, err := s.batch.WriteBatch(single[:], 0)
		if err == nil {
			sent++
			continue
		}
		if isClosed(err) {
			return sent, net.ErrClosed
		}
		if err = c.countSendError(err, 1); err != nil {
			return sent, err
		}
	}
	return sent, nil
}

// pack turns ms into one system message per run: consecutive datagrams to one address, all
// of the first one's size, the last one possibly shorter. It returns the number of runs.
func (sc *writeScratch) pack(ms []Message, segment bool) int {
	runs := 0
	for i := 0; i < len(ms); runs++ {
		n := 1
		if segment {
			n = runLength(ms[i:])
		}
		for j := i; j < i+n; j++ {
			sc.buffers[j] = ms[j].Buf[:ms[j].N]
		}
		m := &sc.messages[runs]
		*m = ipv4.Message{Buffers: sc.buffers[i : i+n], Addr: sc.address(runs, ms[i].Addr)}
		if n > 1 {
			oob := sc.control[runs]
			binary.NativeEndian.PutUint16(oob[unix.CmsgLen(0):], uint16(ms[i].N))
			m.OOB = oob
		}
		sc.first[runs] = i
		i += n
	}
	sc.first[runs] = len(ms)
	return runs
}

// runLength is the number of datagrams at the start of ms that fit one UDP_SEGMENT send.
func runLength(ms []Message) int {
	size, total := ms[0].N, ms[0].N
	n := 1
	for n < len(ms) && n < maxSegments && size > 0 {
		m := &ms[n]
		total += m.N
		if m.Addr != ms[0].Addr || m.N > size || m.N == 0 || total > maxSegmentedBytes {
			break
		}
		n++
		if m.N < size {
			break
		}
	}
	return n
}

func (sc *writeScratch) address(i int, to netip.AddrPort) *net.UDPAddr {
	a := &sc.addrs[i]
	ip := to.Addr().Unmap()
	if ip.Is4() {
		b := ip.As4()
		a.IP = append(sc.ips[i][:0], b[:]...)
	} else {
		sc.ips[i] = ip.As16()
		a.IP = sc.ips[i][:]
	}
	a.Port, a.Zone = int(to.Port()), ip.Zone()
	return a
}

// countSendError counts a datagram that could not be sent and returns nil, or the error if
// it is one after which the socket is useless.
func (c *conn) countSendError(err error, datagrams int) error {
	if !isTransient(err) {
		return fmt.Errorf("udp: send: %w", err)
	}
	c.metrics.sendErrors.WithLabelValues(sendErrorReason(err)).Add(float64(datagrams))
	return nil
}

// isTransient says whether err concerns a destination or the moment rather than the socket.
func isTransient(err error) bool {
	return !errors.Is(err, unix.EBADF) && !errors.Is(err, unix.ENOTSOCK) && !errors.Is(err, unix.EFAULT)
}

func isClosed(err error) bool {
	return errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrClosed)
}

// sendErrorReason is a bounded label value for err.
func sendErrorReason(err error) string {
	for _, e := range [...]struct {
		errno  syscall.Errno
		reason string
	}{
		{unix.ENETUNREACH, "network_unreachable"},
		{unix.EHOSTUNREACH, "host_unreachable"},
		{unix.ENETDOWN, "network_down"},
		{unix.EPERM, "not_permitted"},
		{unix.EACCES, "not_permitted"},
		{unix.ECONNREFUSED, "refused"},
		{unix.EMSGSIZE, "too_big"},
		{unix.ENOBUFS, "no_buffers"},
		{unix.EINVAL, "invalid"},
		{unix.EADDRNOTAVAIL, "address_not_available"},
		{unix.EAFNOSUPPORT, "no_family"},
	} {
		if errors.Is(err, e.errno) {
			return e.reason
		}
	}
	return "other"
}
