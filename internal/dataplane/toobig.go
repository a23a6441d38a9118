package dataplane

import (
	"encoding/binary"
)

// Sizes of the ICMP errors that the data plane makes.
const (
	tooBigIPv4Size = 576  // RFC 1812 section 4.3.2.3
	tooBigIPv6Size = 1280 // RFC 4443 section 2.4c
	dontFragment   = 0x40 // in byte 6 of an IPv4 header
	errorHopLimit  = 64
)

// appendTooBig appends the answer to a packet, parsed as p, that is longer than mtu bytes:
// "fragmentation needed" (RFC 792, RFC 1191) or "packet too big" (RFC 4443), as if from the
// packet's destination. It appends nothing for a packet that must not be answered: an ICMP
// error, a later fragment, an IPv4 packet that may be fragmented.
func appendTooBig(dst, b []byte, p *header, mtu int) []byte {
	if isICMPError(p) || p.fragment == laterFragment {
		return dst
	}
	if p.version == 6 {
		return appendTooBigIPv6(dst, b, mtu)
	}
	if b[6]&dontFragment == 0 {
		return dst
	}
	return appendTooBigIPv4(dst, b, mtu)
}

func appendTooBigIPv4(dst, b []byte, mtu int) []byte {
	start := len(dst)
	quoted := b[:min(len(b), tooBigIPv4Size-ipv4HeaderSize-icmpHeaderSize)]
	total := ipv4HeaderSize + icmpHeaderSize + len(quoted)
	dst = append(dst, 0x45, 0, byte(total>>8), byte(total), 0, 0, 0, 0, errorHopLimit, protocolICMP, 0, 0)
	dst = append(dst, b[16:20]...)
	dst = append(dst, b[12:16]...)
	binary.BigEndian.PutUint16(dst[start+10:], ^checksum(0, dst[start:]))
	dst = append(dst, icmpUnreachable, 4, 0, 0, 0, 0, byte(mtu>>8), byte(mtu))
	dst = append(dst, quoted...)
	icmp := dst[start+ipv4HeaderSize:]
	binary.BigEndian.PutUint16(icmp[2:], ^checksum(0, icmp))
	return dst
}

func appendTooBigIPv6(dst, b []byte, mtu int) []byte {
	const packetTooBig = 2
	start := len(dst)
	quoted := b[:min(len(b), tooBigIPv6Size-ipv6HeaderSize-icmpHeaderSize)]
	size := icmpHeaderSize + len(quoted)
	dst = append(dst, 0x60, 0, 0, 0, byte(size>>8), byte(size), protocolICMPv6, errorHopLimit)
	dst = append(dst, b[24:40]...)
	dst = append(dst, b[8:24]...)
	dst = append(dst, packetTooBig, 0, 0, 0)
	dst = binary.BigEndian.AppendUint32(dst, uint32(mtu))
	dst = append(dst, quoted...)
	icmp := dst[start+ipv6HeaderSize:]
	pseudo := uint32(protocolICMPv6) + uint32(size)
	pseudo += uint32(checksum(0, dst[start+8:start+40]))
	binary.BigEndian.PutUint16(icmp[2:], ^checksum(pseudo, icmp))
	return dst
}

// checksum is the Internet checksum before the final complement (RFC 1071), added to sum.
func checksum(sum uint32, b []byte) uint16 {
	for len(b) >= 2 {
		sum += uint32(b[0])<<8 | uint32(b[1])
		b = b[2:]
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	for sum>>16 != 0 {
		sum = sum>>16 + sum&0xffff
	}
	return uint16(sum)
}
