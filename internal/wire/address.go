package wire

import (
	"encoding/binary"
	"net/netip"
)

// Addresses are a family byte (4 or 6; 0 where an address is optional and absent) and 4 or 16 bytes;
// an address with port has u16 port behind it. IPv4-mapped IPv6 addresses (::ffff:a.b.c.d) have no
// encoding: Append writes them as IPv4, decoders refuse them with ErrAddress, so that no filter that
// looks at one family can be passed in the clothes of the other.
const (
	familyNone = 0
	family4    = 4
	family6    = 6
)

func appendAddr(dst []byte, a netip.Addr) []byte {
	a = a.Unmap()
	switch {
	case a.Is4():
		v := a.As4()
		return append(append(dst, family4), v[:]...)
	case a.Is6():
		v := a.As16()
		return append(append(dst, family6), v[:]...)
	}
	return append(dst, familyNone)
}

func appendAddrPort(dst []byte, a netip.AddrPort) []byte {
	dst = appendAddr(dst, a.Addr())
	if !a.Addr().IsValid() {
		return dst
	}
	return binary.BigEndian.AppendUint16(dst, a.Port())
}

func appendPrefix(dst []byte, p netip.Prefix) []byte {
	dst = appendAddr(dst, p.Addr())
	if !p.Addr().IsValid() {
		return dst
	}
	return append(dst, byte(p.Bits()))
}

// optionalAddr reads an address that may be absent (the zero netip.Addr).
func (r *reader) optionalAddr() netip.Addr {
	switch r.u8() {
	case familyNone:
		return netip.Addr{}
	case family4:
		if v := r.take(4); v != nil {
			return netip.AddrFrom4([4]byte(v))
		}
		return netip.Addr{}
	case family6:
		v := r.take(16)
		if v == nil {
			return netip.Addr{}
		}
		a := netip.AddrFrom16([16]byte(v))
		if a.Is4In6() {
			r.fail(ErrAddress)
			return netip.Addr{}
		}
		return a
	}
	r.fail(ErrAddress)
	return netip.Addr{}
}

// addr reads an address that must be there.
func (r *reader) addr() netip.Addr {
	a := r.optionalAddr()
	if r.err == nil && !a.IsValid() {
		r.fail(ErrAddress)
	}
	return a
}

func (r *reader) optionalAddrPort() netip.AddrPort {
	a := r.optionalAddr()
	if !a.IsValid() {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(a, r.u16())
}

func (r *reader) addrPort() netip.AddrPort {
	ap := r.optionalAddrPort()
	if r.err == nil && !ap.IsValid() {
		r.fail(ErrAddress)
	}
	return ap
}

func (r *reader) optionalPrefix() netip.Prefix {
	a := r.optionalAddr()
	if !a.IsValid() {
		return netip.Prefix{}
	}
	p := netip.PrefixFrom(a, int(r.u8()))
	if r.err == nil && (!p.IsValid() || p != p.Masked()) {
		r.fail(ErrAddress)
		return netip.Prefix{}
	}
	return p
}

// appendCandidates writes count u8 and that many addresses with port.
func appendCandidates(dst []byte, c []netip.AddrPort) []byte {
	dst = append(dst, byte(len(c)))
	for _, a := range c {
		dst = appendAddrPort(dst, a)
	}
	return dst
}

func (r *reader) candidates() []netip.AddrPort {
	n := int(r.u8())
	if n > MaxCandidates {
		r.fail(ErrLength)
		return nil
	}
	if n == 0 || r.err != nil {
		return nil
	}
	c := make([]netip.AddrPort, 0, n)
	for range n {
		c = append(c, r.addrPort())
	}
	if r.err != nil {
		return nil
	}
	return c
}
