package wire

import (
	"encoding/binary"
	"net/netip"
)

// Direction is what a node needs to reach one peer; part of Confirmation and RouteDirection.
//
//	0  certificate length u16, 1 to 512; certificate      of the peer
//	   peer tag u32                 goes into HandshakeInit.ReceiverTag
//	   candidates                   count u8, at most 8; addresses with port, the best first
//	   relay
//	   rules                        count u8, at most 32; 6 bytes each
//	   TTL u16                      seconds for which the direction may be used to begin a handshake
type Direction struct {
	PeerCertificate []byte
	PeerTag         uint32
	Candidates      []netip.AddrPort
	Relay           Relay
	Rules           []Rule
	TTL             uint16 // seconds
}

// Relay is a TRS allocation for one end of the pair. An empty Token means that there is none.
//
//	0  token length u8, 0 to 192; if 0, nothing follows
//	   token                        opaque to the node
//	   bind key 32                  keys the MACs of relay messages
//	   IPv4 address with port, or 0
//	   IPv6 address with port, or 0
type Relay struct {
	IPv4, IPv6 netip.AddrPort
	Token      []byte
	BindKey    [32]byte
}

// Rule allows flows of one protocol and port range in one direction. What no rule allows is dropped.
//
//	0  inbound u8, 0 or 1           1: the peer may open the flow, 0: the receiver of the message may
//	1  protocol u8                  IP protocol number, 0 = any; 1 stands for ICMPv4 and ICMPv6
//	2  lowest port u16              of the destination, inclusive; 0 and 65535 for protocols without ports
//	4  highest port u16
type Rule struct {
	Inbound           bool
	Protocol          uint8
	PortLow, PortHigh uint16
}

func (d Direction) append(dst []byte) []byte {
	dst = appendVector16(dst, d.PeerCertificate)
	dst = binary.BigEndian.AppendUint32(dst, d.PeerTag)
	dst = appendCandidates(dst, d.Candidates)
	dst = d.Relay.append(dst)
	dst = append(dst, byte(len(d.Rules)))
	for _, rule := range d.Rules {
		dst = append(appendFlag(dst, rule.Inbound), rule.Protocol)
		dst = binary.BigEndian.AppendUint16(dst, rule.PortLow)
		dst = binary.BigEndian.AppendUint16(dst, rule.PortHigh)
	}
	return binary.BigEndian.AppendUint16(dst, d.TTL)
}

func parseDirection(r *reader) Direction {
	d := Direction{PeerCertificate: r.vector16(MaxCertificate)}
	if len(d.PeerCertificate) == 0 {
		r.fail(ErrLength)
	}
	d.PeerTag = r.u32()
	d.Candidates = r.candidates()
	d.Relay = parseRelay(r)
	d.Rules = parseRules(r)
	d.TTL = r.u16()
	return d
}

func (m Relay) append(dst []byte) []byte {
	dst = appendVector8(dst, m.Token)
	if len(m.Token) == 0 {
		return dst
	}
	dst = append(dst, m.BindKey[:]...)
	dst = appendAddrPort(dst, m.IPv4)
	return appendAddrPort(dst, m.IPv6)
}

func parseRelay(r *reader) Relay {
	var m Relay
	if m.Token = r.vector8(MaxRelayToken); len(m.Token) == 0 {
		return m
	}
	r.copyTo(m.BindKey[:])
	m.IPv4 = r.optionalAddrPort()
	m.IPv6 = r.optionalAddrPort()
	if r.err == nil && (m.IPv4.IsValid() && !m.IPv4.Addr().Is4() || m.IPv6.IsValid() && !m.IPv6.Addr().Is6()) {
		r.fail(ErrAddress)
	}
	return m
}

func parseRules(r *reader) []Rule {
	n := int(r.u8())
	if n > MaxRules {
		r.fail(ErrLength)
		return nil
	}
	if n == 0 || r.err != nil {
		return nil
	}
	rules := make([]Rule, 0, n)
	for range n {
		rule := Rule{Inbound: r.flag(), Protocol: r.u8(), PortLow: r.u16(), PortHigh: r.u16()}
		if rule.PortLow > rule.PortHigh {
			r.fail(ErrValue)
		}
		rules = append(rules, rule)
	}
	if r.err != nil {
		return nil
	}
	return rules
}
