package nms

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"time"

	"github.com/cyphonic/cyphonic/internal/wire"
)

// LinkVersion is the version of the messages between replicas, and
// LinkVersionMin the oldest one that this program understands. A message of an
// unknown kind is skipped and bytes after the known fields are ignored, so that
// both can stay as long as a newer replica only says more.
const (
	LinkVersion    = 1
	LinkVersionMin = 1
)

// linkKind is the first byte of a message between replicas:
//
//	0  kind u8
//	1  length of what follows u16
//	3  the fields of the kind
//
// Text is length u8 ‖ bytes; an address with port is family u8 (0, 4, 6) ‖ 0, 4
// or 16 bytes ‖ port u16; times are ages in milliseconds, because clocks differ.
type linkKind uint8

const (
	linkView       linkKind = 1  // revision u64, receiver is a member u8
	linkPing       linkKind = 2  // nothing
	linkAck        linkKind = 3  // number of forwarded and delivered datagrams received over this link u64
	linkForward    linkKind = 4  // flags u8 (1 hedged), hops u8, source, gateway, datagram
	linkDeliver    linkKind = 5  // destination, datagram
	linkLocation   linkKind = 6  // record
	linkMark       linkKind = 7  // UID, login 8, counter u64, echo u64, policy u64, age u32, gateway
	linkFetch      linkKind = 8  // id u64, claim u8, UID
	linkFound      linkKind = 9  // id u64, found u8, record
	linkBarrier    linkKind = 10 // number u64
	linkPassed     linkKind = 11 // number u64
	linkConfirm    linkKind = 12 // direction id u64, accept u8, record of the responder
	linkHeaderSize          = 3
	maxLinkPayload          = 8192 // a record has at most 1,800 bytes, a datagram 1,232
)

// errLink says that a message of another replica is not one.
var errLink = errors.New("nms: malformed message of another replica")

// NextLinkMessage cuts the first message, with its header, off a stream. An
// incomplete one gives nil and b; one beyond the bound an error.
func NextLinkMessage(b []byte) (message, rest []byte, err error) {
	if len(b) < linkHeaderSize {
		return nil, b, nil
	}
	n := int(binary.BigEndian.Uint16(b[1:]))
	if n > maxLinkPayload {
		return nil, nil, errLink
	}
	if len(b) < linkHeaderSize+n {
		return nil, b, nil
	}
	return b[:linkHeaderSize+n], b[linkHeaderSize+n:], nil
}

// begin starts a message; end writes its length.
func begin(dst []byte, kind linkKind) []byte { return append(dst, byte(kind), 0, 0) }

func end(b []byte, start int) []byte {
	binary.BigEndian.PutUint16(b[start+1:], uint16(len(b)-start-linkHeaderSize))
	return b
}

func appendText(b []byte, text string) []byte {
	text = text[:min(len(text), 255)]
	return append(append(b, byte(len(text))), text...)
}

func appendBytes(b, data []byte) []byte {
	return append(binary.BigEndian.AppendUint16(b, uint16(len(data))), data...)
}

func appendAddrPort(b []byte, a netip.AddrPort) []byte {
	b = appendAddr(b, a.Addr())
	return binary.BigEndian.AppendUint16(b, a.Port())
}

func appendAddr(b []byte, a netip.Addr) []byte {
	switch {
	case a.Is4():
		return append(append(b, 4), a.AsSlice()...)
	case a.Is6():
		return append(append(b, 6), a.AsSlice()...)
	}
	return append(b, 0)
}

func appendBool(b []byte, v bool) []byte {
	if v {
		return append(b, 1)
	}
	return append(b, 0)
}

// fields reads the fields of a message. After an error everything is zero.
type fields struct {
	b   []byte
	bad bool
}

func (f *fields) take(n int) []byte {
	if f.bad || n > len(f.b) {
		f.bad = true
		return nil
	}
	taken := f.b[:n:n]
	f.b = f.b[n:]
	return taken
}

func (f *fields) u8() uint8 {
	if b := f.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (f *fields) u16() uint16 {
	if b := f.take(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (f *fields) u32() uint32 {
	if b := f.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (f *fields) u64() uint64 {
	if b := f.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

func (f *fields) text() string      { return string(f.take(int(f.u8()))) }
func (f *fields) bytes() []byte     { return f.take(int(f.u16())) }
func (f *fields) boolean() bool     { return f.u8() == 1 }
func (f *fields) copyTo(dst []byte) { copy(dst, f.take(len(dst))) }

func (f *fields) addr() netip.Addr {
	switch f.u8() {
	case 0:
		return netip.Addr{}
	case 4:
		if b := f.take(4); b != nil {
			return netip.AddrFrom4([4]byte(b))
		}
	case 6:
		if b := f.take(16); b != nil {
			if a := netip.AddrFrom16([16]byte(b)); !a.Is4In6() {
				return a
			}
		}
	}
	f.bad = true
	return netip.Addr{}
}

func (f *fields) addrPort() netip.AddrPort {
	a, port := f.addr(), f.u16()
	if !a.IsValid() {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(a, port)
}

// age reads how long ago something was.
func (f *fields) age(now time.Time) time.Time {
	return now.Add(-time.Duration(f.u32()) * time.Millisecond)
}

func appendAge(b []byte, now, at time.Time) []byte {
	age := min(max(now.Sub(at).Milliseconds(), 0), int64(^uint32(0)))
	return binary.BigEndian.AppendUint32(b, uint32(age))
}

func appendView(b []byte, revision int64, member bool) []byte {
	start := len(b)
	b = binary.BigEndian.AppendUint64(begin(b, linkView), uint64(revision))
	return end(appendBool(b, member), start)
}

func appendPing(b []byte) []byte { return begin(b, linkPing) }

func appendNumber(b []byte, kind linkKind, n uint64) []byte {
	start := len(b)
	return end(binary.BigEndian.AppendUint64(begin(b, kind), n), start)
}

// forwarded is a device's datagram on its way to the owner.
type forwarded struct {
	hedged  bool
	hops    uint8
	src     netip.AddrPort
	gateway string
	data    []byte
}

func appendForward(b []byte, m forwarded) []byte {
	start := len(b)
	b = appendBool(begin(b, linkForward), m.hedged)
	b = appendText(appendAddrPort(append(b, m.hops), m.src), m.gateway)
	return end(append(b, m.data...), start)
}

func parseForward(b []byte) (forwarded, error) {
	f := fields{b: b}
	m := forwarded{hedged: f.u8()&1 != 0, hops: f.u8(), src: f.addrPort(), gateway: f.text()}
	m.data = f.b
	if f.bad || !m.src.IsValid() || len(m.data) > wire.MaxDatagram {
		return forwarded{}, errLink
	}
	return m, nil
}

func appendDeliver(b []byte, d Datagram) []byte {
	start := len(b)
	b = appendAddrPort(begin(b, linkDeliver), d.To)
	return end(append(b, d.Data...), start)
}

func parseDeliver(b []byte) (Datagram, error) {
	f := fields{b: b}
	d := Datagram{To: f.addrPort()}
	d.Data = f.b
	if kind, err := wire.PeekType(d.Data); f.bad || !d.To.IsValid() || len(d.Data) > wire.MaxDatagram || err != nil || kind != wire.TypeSignalReply {
		return Datagram{}, errLink
	}
	return d, nil
}
