package dataplane

import (
	"encoding/binary"
	"testing"
)

func TestParse(t *testing.T) {
	tcp4, udp6 := tcpPacket(addressA4, addressB4, 5, 80, tcpSYN), udpPacket(addressA6, addressB6, 5, 80, []byte("x"))
	chain := func(n int) []byte { // n destination options headers before UDP
		upper := udp6[ipv6HeaderSize:]
		next := byte(protocolUDP)
		for range n {
			upper = append([]byte{next, 0, 1, 4, 0, 0, 0, 0}, upper...)
			next = protocolDestination
		}
		return ipPacket(addressA6, addressB6, next, upper)
	}
	change := func(b []byte, at int, to byte) []byte {
		b = append([]byte(nil), b...)
		b[at] = to
		return b
	}
	for _, row := range []struct {
		name   string
		packet []byte
		ok     bool
		want   header
	}{
		{"TCP over IPv4", tcp4, true, header{version: 4, protocol: protocolTCP, upper: 20, sourcePort: 5, destinationPort: 80, tcpFlags: tcpSYN}},
		{"UDP over IPv6", udp6, true, header{version: 6, protocol: protocolUDP, upper: 40, sourcePort: 5, destinationPort: 80}},
		{"extension headers", chain(3), true, header{version: 6, protocol: protocolUDP, upper: 64, sourcePort: 5, destinationPort: 80}},
		{"echo", icmpPacket(addressA4, addressB4, icmpEchoRequest, 77, nil), true, header{version: 4, protocol: protocolICMP, upper: 20, icmpType: icmpEchoRequest, icmpID: 77}},
		{"other protocol without data", ipPacket(addressA4, addressB4, 47, nil), true, header{version: 4, protocol: 47, upper: 20}},
		{"too many extension headers", chain(maxExtensionHeaders), false, header{}},
		{"empty", nil, false, header{}},
		{"version 5", change(tcp4, 0, 0x55), false, header{}},
		{"IPv4 header length below 20", change(tcp4, 0, 0x44), false, header{}},
		{"IPv4 header length beyond the packet", change(tcp4, 0, 0x4f), false, header{}},
		{"IPv4 total length too long", change(tcp4, 3, 200), false, header{}},
		{"IPv4 trailing bytes", append(append([]byte(nil), tcp4...), 0), false, header{}},
		{"IPv6 trailing bytes", append(append([]byte(nil), udp6...), 0), false, header{}},
		{"short IPv6 header", udp6[:39], false, header{}},
		{"TCP header cut", ipPacket(addressA4, addressB4, protocolTCP, make([]byte, 19)), false, header{}},
		{"UDP header cut", ipPacket(addressA4, addressB4, protocolUDP, make([]byte, 7)), false, header{}},
		{"ICMP header cut", ipPacket(addressA4, addressB4, protocolICMP, make([]byte, 7)), false, header{}},
		{"ICMPv6 over IPv4", ipPacket(addressA4, addressB4, protocolICMPv6, make([]byte, 8)), false, header{}},
		{"ICMPv4 over IPv6", ipPacket(addressA6, addressB6, protocolICMP, make([]byte, 8)), false, header{}},
		{"extension header beyond the packet", ipPacket(addressA6, addressB6, protocolHopByHop, []byte{17, 9, 0, 0, 0, 0, 0, 0}), false, header{}},
		{"loose source route", withOptions(tcp4, 131, 7, 4, 10, 0, 0, 1, 0), false, header{}},
		{"strict source route behind other options", withOptions(tcp4, 1, 148, 4, 0, 0, 137, 3, 4), false, header{}},
		{"options that cannot be read", withOptions(tcp4, 7, 9, 0, 0), false, header{}},
		{"option of length 0", withOptions(tcp4, 7, 0, 0, 0), false, header{}},
		{"router alert", withOptions(tcp4, 148, 4, 0, 0), true, header{version: 4, protocol: protocolTCP, upper: 24, sourcePort: 5, destinationPort: 80, tcpFlags: tcpSYN}},
		{"routing header with segments left", ipPacket(addressA6, addressB6, protocolRouting, append([]byte{17, 0, 0, 1, 0, 0, 0, 0}, udp6[40:]...)), false, header{}},
		{
			"routing header at its end", ipPacket(addressA6, addressB6, protocolRouting, append([]byte{17, 0, 0, 0, 0, 0, 0, 0}, udp6[40:]...)), true,
			header{version: 6, protocol: protocolUDP, upper: 48, sourcePort: 5, destinationPort: 80},
		},
		{"fragment that rewrites TCP flags", fragmentOf(tcp4, 1, 1, false), false, header{}},
		{"two fragment headers", fragmentOf6(addressA6, addressB6, protocolFragment, 1, 0, true, make([]byte, 40)), false, header{}},
	} {
		t.Run(row.name, func(t *testing.T) {
			var h header
			if ok := h.parse(row.packet); ok != row.ok {
				t.Fatalf("parse = %v, want %v", ok, row.ok)
			}
			if row.ok && h != row.want {
				t.Fatalf("got %+v, want %+v", h, row.want)
			}
		})
	}
}

func TestTooBigAnswersHaveCorrectChecksums(t *testing.T) {
	for _, packet := range [][]byte{
		udpPacket(addressA4, addressB4, 1, 2, make([]byte, 1501)), udpPacket(addressA6, addressB6, 1, 2, make([]byte, 1501)),
	} {
		var h header
		if !h.parse(packet) {
			t.Fatal("malformed")
		}
		answer := appendTooBig(nil, packet, &h, 1400)
		if !h.parse(answer) {
			t.Fatalf("malformed answer %x", answer)
		}
		sum := uint32(0)
		if h.version == 4 {
			if checksum(0, answer[:ipv4HeaderSize]) != 0xffff {
				t.Error("IPv4 header checksum is wrong")
			}
		} else {
			sum = uint32(checksum(uint32(len(answer)-h.upper)+protocolICMPv6, addressBytes(answer)))
		}
		if checksum(sum, answer[h.upper:]) != 0xffff {
			t.Errorf("version %d: ICMP checksum is wrong", h.version)
		}
	}
}

func TestTooBigIsSilentWhereAnAnswerIsForbidden(t *testing.T) {
	mayFragment := udpPacket(addressA4, addressB4, 1, 2, make([]byte, 1501))
	mayFragment[6] = 0
	for name, packet := range map[string][]byte{
		"fragmentation is allowed": mayFragment,
		"later fragment":           fragmentOf(mayFragment, 1, 100, false),
		"ICMP error":               icmpPacket(addressA4, addressB4, icmpUnreachable, 0, mayFragment),
		"ICMPv6 error":             icmpPacket(addressA6, addressB6, 1, 0, mayFragment),
	} {
		var h header
		if !h.parse(packet) {
			t.Fatalf("%s: malformed", name)
		}
		if answer := appendTooBig(nil, packet, &h, 1400); len(answer) != 0 {
			t.Errorf("%s: answered with %x", name, answer)
		}
	}
}

// FuzzPacket feeds arbitrary bytes to everything that looks into packets: as a packet of
// each direction and as an ICMP error's quotation.
func FuzzPacket(f *testing.F) {
	for _, p := range [][]byte{
		tcpPacket(addressA4, addressB4, 5, 80, tcpSYN), udpPacket(addressA6, addressB6, 5, 80, []byte("x")),
		icmpPacket(addressA4, addressB4, icmpUnreachable, 0, outUDP(1, 2)), icmpPacket(addressA6, addressB6, 1, 0, outTCP(1, 2, tcpACK)),
		fragmentOf(outUDP(1, 2), 1, 0, true), fragmentOf6(addressA6, addressB6, protocolUDP, 1, 0, true, make([]byte, 8)),
		ipPacket(addressA6, addressB6, protocolHopByHop, []byte{17, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 2, 0, 8, 0, 0}),
	} {
		f.Add(p)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var quoted, h header
		if quoted.parseQuoted(b) && quoted.upper > len(b) {
			t.Fatalf("upper layer at %d of %d", quoted.upper, len(b))
		}
		if !h.parse(b) {
			return
		}
		if h.upper > len(b) {
			t.Fatalf("upper layer at %d of %d", h.upper, len(b))
		}
		var table filter
		table.setRules(allowAll)
		a := NewAssociation(Addresses{addressA4, addressA6, addressB4, addressB6})
		for now, inbound := range []bool{false, true, false} {
			_ = table.check(&h, b, inbound, int64(now))
			_ = a.isFromPeer(b)
		}
		var second header
		if answer := appendTooBig(nil, b, &h, 1400); len(answer) > 0 && !second.parse(answer) {
			t.Fatalf("malformed answer %x", answer)
		}
		if len(b) <= 0xffff && binary.BigEndian.Uint16(b[2:]) == 0 && h.version == 4 {
			t.Fatal("a packet of length 0 was parsed")
		}
	})
}

// withOptions puts options, a multiple of four bytes, into an IPv4 packet.
func withOptions(b []byte, options ...byte) []byte {
	out := append([]byte(nil), b[:ipv4HeaderSize]...)
	out = append(append(out, options...), b[ipv4HeaderSize:]...)
	out[0] += byte(len(options) / 4)
	binary.BigEndian.PutUint16(out[2:], uint16(len(out)))
	return out
}
