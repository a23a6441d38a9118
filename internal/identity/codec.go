package identity

import (
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/crypto/cryptobyte"
)

// writer builds a binary form; the first field out of bounds makes the whole fail.
type writer struct {
	b   []byte
	err error
}

func (w *writer) u8(v uint8)       { w.b = append(w.b, v) }
func (w *writer) bytes(v []byte)   { w.b = append(w.b, v...) }
func (w *writer) time(t time.Time) { w.u64(uint64(t.Unix())) }

func (w *writer) u32(v uint32) {
	w.b = append(w.b, byte(v>>24), byte(v>>16), byte(v>>8), byte(v))
}

func (w *writer) u64(v uint64) {
	w.u32(uint32(v >> 32))
	w.u32(uint32(v))
}

func (w *writer) string(field, s string, limit int) {
	if len(s) > limit && w.err == nil {
		w.err = fmt.Errorf("%w: %s has %d bytes, at most %d", ErrTooLong, field, len(s), limit)
	}
	if !plain([]byte(s)) && w.err == nil {
		w.err = fmt.Errorf("%w: %s %q has a character that is not printable ASCII", ErrMalformed, field, s)
	}
	w.u8(uint8(len(s)))
	w.b = append(w.b, s...)
}

// addr writes a presence byte and the address, which must be of the wanted family.
func (w *writer) addr(field string, a netip.Addr, ipv4 bool) {
	switch {
	case !a.IsValid():
		w.u8(0)
	case a.Is4() != ipv4 || a.Is4In6() || a.Zone() != "":
		if w.err == nil {
			w.err = fmt.Errorf("%w: %s %s is of the wrong family", ErrMalformed, field, a)
		}
	default:
		w.u8(1)
		w.bytes(a.AsSlice())
	}
}

// reader consumes a binary form; the first failure sticks and done reports it.
type reader struct {
	s  cryptobyte.String
	ok bool
}

func newReader(b []byte) *reader { return &reader{s: b, ok: true} }

func (r *reader) check(ok bool) { r.ok = r.ok && ok }

func (r *reader) u8() (v uint8)      { r.check(r.s.ReadUint8(&v)); return v }
func (r *reader) u32() (v uint32)    { r.check(r.s.ReadUint32(&v)); return v }
func (r *reader) u64() (v uint64)    { r.check(r.s.ReadUint64(&v)); return v }
func (r *reader) copyTo(dst []byte)  { r.check(r.s.CopyBytes(dst)) }
func (r *reader) version(want uint8) { r.check(r.u8() == want) }
func (r *reader) time() time.Time    { return r.unix(r.u64()) }
func (r *reader) done() bool         { return r.ok && r.s.Empty() }

// unix bounds times to years that time.Time can compare and format without surprises.
func (r *reader) unix(v uint64) time.Time {
	const year9999 = 253402300799
	r.check(v <= year9999)
	if !r.ok {
		return time.Time{}
	}
	return time.Unix(int64(v), 0).UTC()
}

func (r *reader) string(limit int) string {
	var v cryptobyte.String
	r.check(r.s.ReadUint8LengthPrefixed(&v) && len(v) <= limit && plain(v))
	if !r.ok {
		return ""
	}
	return string(v)
}

func (r *reader) addr(ipv4 bool) netip.Addr {
	switch r.u8() {
	case 0:
		return netip.Addr{}
	case 1:
		size := 16
		if ipv4 {
			size = 4
		}
		var b []byte
		r.check(r.s.ReadBytes(&b, size))
		a, ok := netip.AddrFromSlice(b)
		r.check(ok && !a.Is4In6())
		if r.ok {
			return a
		}
		return netip.Addr{}
	}
	r.check(false)
	return netip.Addr{}
}

// plain reports whether b has only what names, groups and UIDs may contain, so that they are safe in logs.
func plain(b []byte) bool {
	for _, c := range b {
		if c <= 0x20 || c >= 0x7f {
			return false
		}
	}
	return true
}
