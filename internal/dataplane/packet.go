package dataplane

import (
	"encoding/binary"
	"net/netip"
)

// IP protocol numbers (IANA).
const (
	protocolHopByHop    = 0
	protocolICMP        = 1
	protocolTCP         = 6
	protocolUDP         = 17
	protocolDCCP        = 33
	protocolRouting     = 43
	protocolFragment    = 44
	protocolAH          = 51
	protocolICMPv6      = 58
	protocolDestination = 60
	protocolSCTP        = 132
	protocolUDPLite     = 136
)

// Header sizes in bytes.
const (
	ipv4HeaderSize = 20
	ipv6HeaderSize = 40
	tcpHeaderSize  = 20
	udpHeaderSize  = 8
	icmpHeaderSize = 8
)

// TCP flags.
const (
	tcpFIN = 0x01
	tcpSYN = 0x02
	tcpRST = 0x04
	tcpACK = 0x10
)

// fragmentKind says what part of a packet there is.
type fragmentKind uint8

const (
	wholePacket   fragmentKind = iota
	firstFragment              // has the upper-layer header
	laterFragment              // has not
)

// header is what the data plane needs to know of the headers of an IP packet.
type header struct {
	version    uint8 // 4 or 6
	protocol   uint8 // upper layer
	fragment   fragmentKind
	fragmentID uint32
	upper      int // offset of the upper-layer header, or of the data of a later fragment

	sourcePort, destinationPort uint16 // TCP, UDP, UDP-Lite, SCTP, DCCP
	tcpFlags                    uint8
	icmpType                    uint8
	icmpID                      uint16 // echo request and reply
}

// parse reads the headers of one complete IP packet. It returns false for anything that is
// not exactly one: wrong version or lengths, an upper-layer header that is cut off.
func (p *header) parse(b []byte) bool {
	if len(b) < ipv4HeaderSize {
		return false
	}
	switch b[0] >> 4 {
	case 4:
		return int(binary.BigEndian.Uint16(b[2:])) == len(b) && p.parseIPv4(b) && p.parseUpper(b, true)
	case 6:
		return len(b) >= ipv6HeaderSize && ipv6HeaderSize+int(binary.BigEndian.Uint16(b[4:])) == len(b) &&
			p.parseIPv6(b) && p.parseUpper(b, true)
	}
	return false
}

// parseQuoted reads what an ICMP error quotes of a packet: its start, with at least eight
// bytes of the upper-layer header (RFC 792, RFC 4443 section 2.4c).
func (p *header) parseQuoted(b []byte) bool {
	if len(b) < ipv4HeaderSize {
		return false
	}
	switch b[0] >> 4 {
	case 4:
		return p.parseIPv4(b) && p.parseUpper(b, false)
	case 6:
		return len(b) >= ipv6HeaderSize && p.parseIPv6(b) && p.parseUpper(b, false)
	}
	return false
}

func (p *header) parseIPv4(b []byte) bool {
	size := int(b[0]&0x0f) * 4
	if size < ipv4HeaderSize || size > len(b) {
		return false
	}
	if size > ipv4HeaderSize && hasSourceRoute(b[ipv4HeaderSize:size]) {
		return false
	}
	*p = header{version: 4, protocol: b[9], upper: size}
	const moreFragments, offsetMask = 0x2000, 0x1fff
	flags := binary.BigEndian.Uint16(b[6:])
	p.setFragment(uint32(binary.BigEndian.Uint16(b[4:])), flags&moreFragments != 0, flags&offsetMask)
	// A fragment at offset 8 could rewrite the flags of a TCP header (RFC 1858 section 3.2).
	return p.protocol != protocolTCP || flags&offsetMask != 1
}

// hasSourceRoute says whether IPv4 options (RFC 791 section 3.1) send a packet further than to its destination,
// or cannot be read.
func hasSourceRoute(options []byte) bool {
	const end, noOperation, looseRoute, strictRoute = 0, 1, 131, 137
	for len(options) > 0 {
		switch options[0] {
		case end:
			return false
		case noOperation:
			options = options[1:]
			continue
		case looseRoute, strictRoute:
			return true
		}
		if len(options) < 2 || options[1] < 2 || int(options[1]) > len(options) {
			return true
		}
		options = options[options[1]:]
	}
	return false
}

func (p *header) setFragment(id uint32, more bool, offset uint16) {
	switch {
	case offset != 0:
		p.fragment, p.fragmentID = laterFragment, id
	case more:
		p.fragment, p.fragmentID = firstFragment, id
	}
}

// parseIPv6 walks along the extension headers (RFC 8200 section 4).
func (p *header) parseIPv6(b []byte) bool {
	*p = header{version: 6, protocol: b[6], upper: ipv6HeaderSize}
	for range maxExtensionHeaders {
		rest := b[p.upper:]
		size := 0
		switch p.protocol {
		case protocolHopByHop, protocolRouting, protocolDestination:
			if len(rest) < 8 {
				return false
			}
			size = (int(rest[1]) + 1) * 8
			if p.protocol == protocolRouting && rest[3] != 0 {
				return false // segments left: the packet's destination is not where it ends
			}
		case protocolAH:
			if len(rest) < 8 {
				return false
			}
			size = (int(rest[1]) + 2) * 4 // RFC 4302 section 2.2
		case protocolFragment:
			if len(rest) < 8 || p.fragment != wholePacket {
				return false
			}
			size = 8
			offset := binary.BigEndian.Uint16(rest[2:])
			p.setFragment(binary.BigEndian.Uint32(rest[4:]), offset&1 != 0, offset>>3)
		default:
			return true
		}
		if size > len(rest) {
			return false
		}
		p.protocol, p.upper = rest[0], p.upper+size
		if p.fragment == laterFragment {
			return true
		}
	}
	return false
}

// parseUpper reads the upper-layer header; strict asks for all of it, not only eight bytes.
func (p *header) parseUpper(b []byte, strict bool) bool {
	if p.fragment == laterFragment {
		return true
	}
	h := b[p.upper:]
	switch p.protocol {
	case protocolTCP:
		if len(h) < udpHeaderSize || strict && len(h) < tcpHeaderSize {
			return false
		}
		if len(h) > 13 {
			p.tcpFlags = h[13]
		}
	case protocolUDP, protocolUDPLite, protocolSCTP, protocolDCCP:
		if len(h) < udpHeaderSize {
			return false
		}
	case protocolICMP, protocolICMPv6:
		if len(h) < icmpHeaderSize || (p.protocol == protocolICMP) != (p.version == 4) {
			return false
		}
		p.icmpType, p.icmpID = h[0], binary.BigEndian.Uint16(h[4:])
		return true
	default:
		return true
	}
	p.sourcePort, p.destinationPort = binary.BigEndian.Uint16(h), binary.BigEndian.Uint16(h[2:])
	return true
}

// hasPorts says whether a protocol's first four bytes are source and destination port.
func hasPorts(protocol uint8) bool {
	switch protocol {
	case protocolTCP, protocolUDP, protocolUDPLite, protocolSCTP, protocolDCCP:
		return true
	}
	return false
}

// addressBytes returns the source and destination of a packet that was parsed: 4 + 4 or
// 16 + 16 bytes in a row.
func addressBytes(b []byte) []byte {
	if b[0]>>4 == 4 {
		return b[12:20]
	}
	return b[8:40]
}

// addresses returns the source and destination of a packet that was parsed.
func addresses(b []byte) (source, destination netip.Addr) {
	if b[0]>>4 == 4 {
		return netip.AddrFrom4([4]byte(b[12:16])), netip.AddrFrom4([4]byte(b[16:20]))
	}
	return netip.AddrFrom16([16]byte(b[8:24])), netip.AddrFrom16([16]byte(b[24:40]))
}
