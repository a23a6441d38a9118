package dataplane

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/cyphonic/cyphonic/internal/wire"
)

// step is one packet of a filter scenario.
type step struct {
	after   time.Duration // since the step before
	inbound bool
	packet  []byte
	want    dropReason
}

func out(packet []byte, want dropReason) step { return step{packet: packet, want: want} }
func in(packet []byte, want dropReason) step  { return step{packet: packet, want: want, inbound: true} }
func (s step) later(d time.Duration) step     { s.after = d; return s }

// The packets of the scenarios: from this end (A) to the peer (B) and back.
func outUDP(local, peer uint16) []byte { return udpPacket(addressA4, addressB4, local, peer, nil) }
func inUDP(peer, local uint16) []byte  { return udpPacket(addressB4, addressA4, peer, local, nil) }
func outTCP(local, peer uint16, flags uint8) []byte {
	return tcpPacket(addressA6, addressB6, local, peer, flags)
}

func inTCP(peer, local uint16, flags uint8) []byte {
	return tcpPacket(addressB6, addressA6, peer, local, flags)
}

// fragmentOf changes an IPv4 packet into a fragment.
func fragmentOf(b []byte, id uint16, offset uint16, more bool) []byte {
	b = slices.Clone(b)
	if more {
		offset |= 0x2000
	}
	binary.BigEndian.PutUint16(b[4:], id)
	binary.BigEndian.PutUint16(b[6:], offset)
	return b
}

// fragmentOf6 makes an IPv6 fragment.
func fragmentOf6(src, dst netip.Addr, protocol uint8, id uint32, offset uint16, more bool, data []byte) []byte {
	h := []byte{protocol, 0, 0, 0}
	field := offset << 3
	if more {
		field |= 1
	}
	binary.BigEndian.PutUint16(h[2:], field)
	return ipPacket(src, dst, protocolFragment, append(binary.BigEndian.AppendUint32(h, id), data...))
}

// scenario is a sequence of packets at one filter.
type scenario struct {
	name  string
	rules []wire.Rule
	steps []step
}

func outbound80() []wire.Rule {
	return []wire.Rule{{Protocol: protocolUDP, PortLow: 80, PortHigh: 89}, {Protocol: protocolTCP, PortLow: 80, PortHigh: 80}}
}

func inbound80() []wire.Rule {
	return []wire.Rule{{Inbound: true, Protocol: protocolUDP, PortLow: 80, PortHigh: 80}, {Inbound: true, Protocol: protocolTCP, PortLow: 80, PortHigh: 80}}
}

func portScenarios() []scenario {
	return []scenario{
		{"no rules drop everything", nil, []step{out(outUDP(5, 80), dropPolicy), in(inUDP(5, 80), dropPolicy)}},
		{"an outbound rule opens outbound only", outbound80(), []step{
			in(inUDP(5, 80), dropPolicy), out(outUDP(5, 80), dropNone), in(inUDP(80, 5), dropNone), in(inUDP(80, 6), dropPolicy),
		}},
		{"an inbound rule opens inbound only", inbound80(), []step{
			out(outUDP(80, 5), dropPolicy), in(inUDP(5, 80), dropNone), out(outUDP(80, 5), dropNone), out(outUDP(80, 6), dropPolicy),
		}},
		{"port ranges are inclusive", outbound80(), []step{
			out(outUDP(5, 79), dropPolicy), out(outUDP(5, 80), dropNone), out(outUDP(5, 89), dropNone), out(outUDP(5, 90), dropPolicy),
		}},
		{"the protocol counts", outbound80(), []step{
			out(outUDP(5, 85), dropNone), out(outTCP(5, 85, tcpSYN), dropPolicy), in(inTCP(85, 5, tcpACK), dropPolicy),
		}},
		{"any protocol", []wire.Rule{{PortHigh: 65535}}, []step{
			out(outUDP(5, 1), dropNone), out(outTCP(5, 1, tcpSYN), dropNone), out(ipPacket(addressA4, addressB4, 47, nil), dropNone),
			in(ipPacket(addressB4, addressA4, 47, nil), dropNone), in(ipPacket(addressB4, addressA4, 50, nil), dropPolicy),
		}},
		{"UDP flows time out", outbound80(), []step{
			out(outUDP(5, 80), dropNone), in(inUDP(80, 5), dropNone).later(timeoutUDP), in(inUDP(80, 5), dropPolicy).later(timeoutUDP + 1),
		}},
		{"an opening TCP flow times out", outbound80(), []step{
			out(outTCP(5, 80, tcpSYN), dropNone), in(inTCP(80, 5, tcpSYN|tcpACK), dropPolicy).later(timeoutTCPOpening + 1),
		}},
		{"an established TCP flow is kept for hours", outbound80(), []step{
			out(outTCP(5, 80, tcpSYN), dropNone), in(inTCP(80, 5, tcpSYN|tcpACK), dropNone).later(time.Second),
			in(inTCP(80, 5, tcpACK), dropNone).later(2 * time.Hour), in(inTCP(80, 5, tcpACK), dropPolicy).later(timeoutTCPEstablished + 1),
		}},
		{"a finished TCP flow is soon forgotten", outbound80(), []step{
			out(outTCP(5, 80, tcpSYN), dropNone), in(inTCP(80, 5, tcpSYN|tcpACK), dropNone), out(outTCP(5, 80, tcpFIN|tcpACK), dropNone),
			in(inTCP(80, 5, tcpACK), dropNone).later(time.Hour), in(inTCP(80, 5, tcpFIN|tcpACK), dropNone),
			out(outTCP(5, 80, tcpACK), dropNone).later(timeoutTCPClosing), in(inTCP(80, 5, tcpACK), dropPolicy).later(timeoutTCPClosing + 1),
		}},
		{"a reset ends a TCP flow", outbound80(), []step{
			out(outTCP(5, 80, tcpSYN), dropNone), in(inTCP(80, 5, tcpRST), dropNone), in(inTCP(80, 5, tcpACK), dropPolicy).later(timeoutTCPClosing + 1),
		}},
		{"the ports of a closed flow cannot be opened from the other side", outbound80(), []step{
			out(outTCP(5, 80, tcpSYN), dropNone), in(inTCP(80, 5, tcpRST), dropNone), in(inTCP(80, 5, tcpSYN), dropPolicy), out(outTCP(5, 80, tcpSYN), dropNone),
		}},
	}
}

func icmpAndFragmentScenarios() []scenario {
	ping := []wire.Rule{{Protocol: protocolICMP, PortHigh: 65535}}
	udpHeader := udpPacket(addressA6, addressB6, 5, 80, nil)[ipv6HeaderSize:]
	return []scenario{
		{"echo is a flow", ping, []step{
			in(icmpPacket(addressB4, addressA4, icmpEchoReply, 9, nil), dropPolicy), out(icmpPacket(addressA4, addressB4, icmpEchoRequest, 9, nil), dropNone),
			in(icmpPacket(addressB4, addressA4, icmpEchoReply, 9, nil), dropNone), in(icmpPacket(addressB4, addressA4, icmpEchoReply, 8, nil), dropPolicy),
			out(icmpPacket(addressA4, addressB4, icmpEchoReply, 9, nil), dropPolicy), in(icmpPacket(addressB4, addressA4, icmpEchoRequest, 7, nil), dropPolicy),
		}},
		{"the ICMP rule covers ICMPv6", ping, []step{
			out(icmpPacket(addressA6, addressB6, icmpv6EchoRequest, 9, nil), dropNone), in(icmpPacket(addressB6, addressA6, icmpv6EchoReply, 9, nil), dropNone),
			in(icmpPacket(addressB6, addressA6, icmpv6EchoReply, 9, nil), dropPolicy).later(timeoutICMP + 1),
		}},
		{"redirects and neighbour discovery never pass", allowAll, []step{
			in(icmpPacket(addressB4, addressA4, 5, 0, outUDP(1, 2)), dropPolicy), in(icmpPacket(addressB6, addressA6, 136, 0, make([]byte, 20)), dropPolicy),
		}},
		{"ICMP errors pass for flows only", outbound80(), []step{
			in(icmpPacket(addressB4, addressA4, icmpUnreachable, 0, outUDP(5, 80)), dropPolicy), out(outUDP(5, 80), dropNone),
			in(icmpPacket(addressB4, addressA4, icmpUnreachable, 0, outUDP(5, 80)), dropNone),
			in(icmpPacket(addressB4, addressA4, icmpUnreachable, 0, outUDP(5, 80)[:28]), dropNone),
			in(icmpPacket(addressB4, addressA4, icmpUnreachable, 0, outUDP(5, 80)[:27]), dropPolicy),
			in(icmpPacket(addressB4, addressA4, icmpUnreachable, 0, outUDP(6, 80)), dropPolicy),
			in(icmpPacket(addressB4, addressA4, icmpUnreachable, 0, inUDP(80, 5)), dropPolicy),
			in(icmpPacket(addressB4, addressA4, icmpUnreachable, 0, udpPacket(addressA4, stranger4, 5, 80, nil)), dropPolicy),
			in(icmpPacket(addressB4, addressA4, 4, 0, outUDP(5, 80)), dropPolicy),
		}},
		{"outbound ICMPv6 errors about inbound flows pass", inbound80(), []step{
			in(inTCP(5, 80, tcpSYN), dropNone), out(icmpPacket(addressA6, addressB6, 2, 0, inTCP(5, 80, tcpSYN)), dropNone),
			out(icmpPacket(addressA6, addressB6, 2, 0, inTCP(6, 80, tcpSYN)), dropPolicy),
		}},
		{"errors about echo requests pass", ping, []step{
			out(icmpPacket(addressA4, addressB4, icmpEchoRequest, 9, nil), dropNone),
			in(icmpPacket(addressB4, addressA4, icmpTimeExceeded, 0, icmpPacket(addressA4, addressB4, icmpEchoRequest, 9, nil)), dropNone),
		}},
		{"later fragments follow the first", outbound80(), []step{
			out(fragmentOf(outUDP(5, 80), 3, 100, true), dropFragment), out(fragmentOf(outUDP(5, 80), 3, 0, true), dropNone),
			out(fragmentOf(outUDP(5, 80), 3, 100, true), dropNone), out(fragmentOf(outUDP(5, 80), 3, 200, false), dropNone),
			out(fragmentOf(outUDP(5, 80), 4, 100, false), dropFragment), in(fragmentOf(inUDP(5, 80), 3, 100, false), dropFragment),
			out(fragmentOf(outTCP4(5, 80), 3, 100, false), dropFragment), out(fragmentOf(outUDP(5, 80), 3, 100, false), dropFragment).later(timeoutFragment + 1),
		}},
		{"fragments of a dropped first one are dropped", outbound80(), []step{
			out(fragmentOf(outUDP(5, 99), 3, 0, true), dropPolicy), out(fragmentOf(outUDP(5, 99), 3, 100, false), dropFragment),
		}},
		{"IPv6 fragments too", outbound80(), []step{
			out(fragmentOf6(addressA6, addressB6, protocolUDP, 1<<20, 0, true, udpHeader), dropNone),
			out(fragmentOf6(addressA6, addressB6, protocolUDP, 1<<20, 1, false, []byte("data")), dropNone),
			out(fragmentOf6(addressA6, addressB6, protocolUDP, 1<<21, 1, false, []byte("data")), dropFragment),
		}},
	}
}

func TestFilter(t *testing.T) {
	for _, row := range slices.Concat(portScenarios(), icmpAndFragmentScenarios()) {
		t.Run(row.name, func(t *testing.T) {
			var f filter
			f.setRules(row.rules)
			now := int64(1)
			for i, s := range row.steps {
				now += int64(s.after)
				var h header
				if !h.parse(s.packet) {
					t.Fatalf("step %d: malformed packet", i)
				}
				if got := f.check(&h, s.packet, s.inbound, now); got != s.want {
					t.Fatalf("step %d: %v, want %v", i, got, s.want)
				}
			}
		})
	}
}

func outTCP4(local, peer uint16) []byte { return tcpPacket(addressA4, addressB4, local, peer, tcpSYN) }

func TestNewRulesCutFlowsThatTheyDoNotAllow(t *testing.T) {
	var f filter
	pass := func(packet []byte, inbound bool) bool {
		var h header
		return h.parse(packet) && f.check(&h, packet, inbound, 1) == dropNone
	}
	f.setRules([]wire.Rule{{Protocol: protocolUDP, PortLow: 80, PortHigh: 81}})
	if !pass(outUDP(5, 80), false) || !pass(outUDP(5, 81), false) {
		t.Fatal("the rules do not work")
	}
	f.setRules([]wire.Rule{{Protocol: protocolUDP, PortLow: 81, PortHigh: 81}})
	if pass(inUDP(80, 5), true) {
		t.Error("an answer of a flow that is no longer allowed passed")
	}
	if !pass(inUDP(81, 5), true) {
		t.Error("a flow that is still allowed was cut")
	}
}

func TestFlowTableMakesRoomByForgettingTheFlowIdleLongest(t *testing.T) {
	var f filter
	f.setRules(allowAll[1:]) // outbound
	check := func(packet []byte, inbound bool, now int) dropReason {
		var h header
		h.parse(packet)
		return f.check(&h, packet, inbound, int64(now))
	}
	for i := range maxFlows {
		check(outUDP(uint16(i), 80), false, i)
	}
	check(outUDP(0, 80), false, maxFlows) // used again: 1 is now the oldest
	check(outUDP(maxFlows, 80), false, maxFlows+1)
	if n := len(f.flows.index); n != maxFlows {
		t.Fatalf("%d flows, want %d", n, maxFlows)
	}
	if got := check(inUDP(80, 1), true, maxFlows+2); got != dropPolicy {
		t.Error("the flow idle longest is still there")
	}
	for _, port := range []uint16{0, 2, maxFlows} {
		if got := check(inUDP(80, port), true, maxFlows+2); got != dropNone {
			t.Errorf("flow of port %d is gone", port)
		}
	}
}
