package wire

import (
	"bytes"
	"encoding/binary"
)

// reader consumes a message from the front. The first error sticks; later reads return zero values, so
// a decoder reads all its fields and asks once, with done.
type reader struct {
	b   []byte
	err error
}

func (r *reader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
	r.b = nil
}

// take returns the next n bytes, aliasing the input.
func (r *reader) take(n int) []byte {
	if len(r.b) < n {
		r.fail(ErrShort)
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

func (r *reader) u8() uint8 {
	if v := r.take(1); v != nil {
		return v[0]
	}
	return 0
}

func (r *reader) u16() uint16 {
	if v := r.take(2); v != nil {
		return binary.BigEndian.Uint16(v)
	}
	return 0
}

func (r *reader) u32() uint32 {
	if v := r.take(4); v != nil {
		return binary.BigEndian.Uint32(v)
	}
	return 0
}

func (r *reader) u64() uint64 {
	if v := r.take(8); v != nil {
		return binary.BigEndian.Uint64(v)
	}
	return 0
}

// flag reads a byte that must be 0 or 1.
func (r *reader) flag() bool {
	v := r.u8()
	if v > 1 {
		r.fail(ErrValue)
	}
	return v == 1
}

func (r *reader) copyTo(dst []byte) { copy(dst, r.take(len(dst))) }

// vector8 and vector16 return a copy of a byte string behind its length; an empty one is nil.
func (r *reader) vector8(limit int) []byte  { return r.vector(int(r.u8()), limit) }
func (r *reader) vector16(limit int) []byte { return r.vector(int(r.u16()), limit) }

func (r *reader) vector(n, limit int) []byte {
	if n > limit {
		r.fail(ErrLength)
		return nil
	}
	if n == 0 {
		return nil
	}
	return bytes.Clone(r.take(n))
}

// name reads an FQDN or resource name: length u8 and that many letters, digits, '-', '_' and '.'.
func (r *reader) name() string {
	s := string(r.vector8(MaxName))
	for i := range len(s) {
		c := s[i]
		if c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.' {
			continue
		}
		r.fail(ErrValue)
		return ""
	}
	return s
}

// text reads text for people: length u16, no control characters.
func (r *reader) text(limit int) string {
	b := r.vector16(limit)
	for _, c := range b {
		if c < 0x20 || c == 0x7f {
			r.fail(ErrValue)
			return ""
		}
	}
	return string(b)
}

// header consumes the type and version bytes; the flag nibble must be zero.
func (r *reader) header(t Type) {
	h := r.take(2)
	switch {
	case h == nil:
	case h[1]>>4 != Version:
		r.fail(ErrVersion)
	case Type(h[0]) != t:
		r.fail(ErrType)
	case h[1]&0x0f != 0:
		r.fail(ErrReserved)
	}
}

// reserved consumes n bytes that must be zero.
func (r *reader) reserved(n int) {
	for _, c := range r.take(n) {
		if c != 0 {
			r.fail(ErrReserved)
			return
		}
	}
}

// rest returns all bytes that are left, aliasing the input.
func (r *reader) rest() []byte {
	v := r.b
	r.b = nil
	return v
}

// done reports the first error, or ErrLength if bytes are left over.
func (r *reader) done() error {
	if r.err == nil && len(r.b) != 0 {
		r.err = ErrLength
	}
	return r.err
}

func appendHeader(dst []byte, t Type) []byte { return append(dst, byte(t), Version<<4) }

// appendHeaderReserved appends the header and two reserved bytes.
func appendHeaderReserved(dst []byte, t Type) []byte {
	return append(dst, byte(t), Version<<4, 0, 0)
}

func appendVector8(dst, v []byte) []byte {
	return append(append(dst, byte(len(v))), v...)
}

func appendVector16(dst, v []byte) []byte {
	return append(binary.BigEndian.AppendUint16(dst, uint16(len(v))), v...)
}

func appendName(dst []byte, s string) []byte {
	return append(append(dst, byte(len(s))), s...)
}

func appendText(dst []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(dst, uint16(len(s))), s...)
}

func appendFlag(dst []byte, v bool) []byte {
	if v {
		return append(dst, 1)
	}
	return append(dst, 0)
}
