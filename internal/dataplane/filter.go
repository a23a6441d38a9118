package dataplane

import (
	"bytes"
	"slices"

	"github.com/cyphonic/cyphonic/internal/wire"
)

// ICMP message types (RFC 792, RFC 4443).
const (
	icmpEchoReply        = 0
	icmpUnreachable      = 3
	icmpEchoRequest      = 8
	icmpTimeExceeded     = 11
	icmpParameterProblem = 12
	icmpv6LastError      = 127 // types below 128 are errors
	icmpv6EchoRequest    = 128
	icmpv6EchoReply      = 129
)

// filter is the stateful packet filter of one association. A packet passes when a rule
// allows it to open a flow in its direction, or when it belongs to a flow that was opened in
// either direction. Everything else is dropped; without rules that is everything.
//
// It is not safe for concurrent use; the association's mutex guards it.
type filter struct {
	rules     []wire.Rule
	flows     flowTable
	fragments [maxFragments]fragmentEntry
	nextEntry int // of fragments, to be overwritten next
}

// fragmentEntry remembers that the first fragment of a packet has passed.
type fragmentEntry struct {
	version  uint8
	protocol uint8 // IPv4 only: part of the identification (RFC 791)
	inbound  bool
	id       uint32
	seen     int64 // ns
}

// setRules replaces the rules. Flows that they would not have allowed to open are forgotten.
func (f *filter) setRules(rules []wire.Rule) {
	f.rules = slices.Clone(rules)
	f.flows.removeIf(func(e *flow) bool { return !f.allowed(e.key.protocol, e.openingPort, e.inbound) })
	f.fragments = [maxFragments]fragmentEntry{}
}

// check decides about one packet, b parsed as p, at now (ns). It returns dropNone to let it
// pass.
func (f *filter) check(p *header, b []byte, inbound bool, now int64) dropReason {
	if p.fragment == laterFragment {
		if f.firstPassed(p, inbound, now) {
			return dropNone
		}
		return dropFragment
	}
	reason := dropPolicy
	switch p.protocol {
	case protocolICMP, protocolICMPv6:
		reason = f.checkICMP(p, b, inbound, now)
	default:
		reason = f.checkFlow(p, keyOf(p, inbound), inbound, now)
	}
	if reason == dropNone && p.fragment == firstFragment {
		f.rememberFirst(p, inbound, now)
	}
	return reason
}

func keyOf(p *header, inbound bool) flowKey {
	k := flowKey{version: p.version, protocol: p.protocol, local: p.sourcePort, peer: p.destinationPort}
	if inbound {
		k.local, k.peer = k.peer, k.local
	}
	return k
}

// checkFlow decides about a packet that may open a flow.
func (f *filter) checkFlow(p *header, key flowKey, inbound bool, now int64) dropReason {
	e := f.flows.find(key, now)
	if e != nil && e.closed && p.protocol == protocolTCP && p.tcpFlags&(tcpSYN|tcpACK) == tcpSYN {
		f.flows.delete(key) // the same ports are used again
		e = nil
	}
	if e == nil {
		if !f.allowed(p.protocol, p.destinationPort, inbound) {
			return dropPolicy
		}
		e = f.flows.open(flow{key: key, inbound: inbound, openingPort: p.destinationPort})
	}
	e.seen = now
	e.replied = e.replied || e.inbound != inbound
	if p.protocol == protocolTCP {
		e.followTCP(p.tcpFlags, inbound)
	}
	return dropNone
}

// followTCP notes the end of a connection.
func (e *flow) followTCP(flags uint8, inbound bool) {
	if flags&tcpFIN != 0 {
		e.finIn = e.finIn || inbound
		e.finOut = e.finOut || !inbound
	}
	e.closed = e.closed || flags&tcpRST != 0 || e.finIn && e.finOut
}

// checkICMP decides about ICMP: echo is a flow, an error passes when it is about a packet of
// a flow, and nothing else passes.
func (f *filter) checkICMP(p *header, b []byte, inbound bool, now int64) dropReason {
	key := flowKey{version: p.version, protocol: p.protocol, local: p.icmpID}
	switch {
	case p.version == 4 && p.icmpType == icmpEchoRequest, p.version == 6 && p.icmpType == icmpv6EchoRequest:
		return f.checkFlow(p, key, inbound, now)
	case p.version == 4 && p.icmpType == icmpEchoReply, p.version == 6 && p.icmpType == icmpv6EchoReply:
		e := f.flows.find(key, now)
		if e == nil || e.inbound == inbound {
			return dropPolicy
		}
		e.seen, e.replied = now, true
		return dropNone
	case isICMPError(p) && p.fragment == wholePacket:
		return f.checkError(p, b, inbound, now)
	}
	return dropPolicy
}

func isICMPError(p *header) bool {
	if p.version == 6 {
		return p.protocol == protocolICMPv6 && p.icmpType <= icmpv6LastError
	}
	return p.protocol == protocolICMP &&
		(p.icmpType == icmpUnreachable || p.icmpType == icmpTimeExceeded || p.icmpType == icmpParameterProblem)
}

// checkError lets an ICMP error pass when it quotes a packet that its receiver sent to its
// sender in a flow that is known.
func (f *filter) checkError(p *header, b []byte, inbound bool, now int64) dropReason {
	quoted := b[p.upper+icmpHeaderSize:]
	var q header
	if !q.parseQuoted(quoted) || q.version != p.version || q.fragment == laterFragment {
		return dropPolicy
	}
	outer, inner := addressBytes(b), addressBytes(quoted)
	half := len(outer) / 2
	if !bytes.Equal(outer[:half], inner[half:]) || !bytes.Equal(outer[half:], inner[:half]) {
		return dropPolicy
	}
	key := keyOf(&q, !inbound)
	if q.protocol == protocolICMP || q.protocol == protocolICMPv6 {
		key = flowKey{version: q.version, protocol: q.protocol, local: q.icmpID}
	}
	if f.flows.find(key, now) == nil {
		return dropPolicy
	}
	return dropNone
}

// allowed says whether a rule lets a flow open in that direction.
func (f *filter) allowed(protocol uint8, port uint16, inbound bool) bool {
	for i := range f.rules {
		r := &f.rules[i]
		if r.Inbound != inbound {
			continue
		}
		if r.Protocol != 0 && r.Protocol != protocol && (r.Protocol != protocolICMP || protocol != protocolICMPv6) {
			continue
		}
		anyPort := !hasPorts(protocol) || r.PortLow == 0 && r.PortHigh == 0
		if anyPort || r.PortLow <= port && port <= r.PortHigh {
			return true
		}
	}
	return false
}

func (f *filter) rememberFirst(p *header, inbound bool, now int64) {
	f.fragments[f.nextEntry] = newFragmentEntry(p, inbound, now)
	f.nextEntry = (f.nextEntry + 1) % maxFragments
}

func (f *filter) firstPassed(p *header, inbound bool, now int64) bool {
	want := newFragmentEntry(p, inbound, 0)
	for i := range f.fragments {
		e := f.fragments[i]
		fresh := now-e.seen <= int64(timeoutFragment)
		e.seen = 0
		if fresh && e == want {
			return true
		}
	}
	return false
}

func newFragmentEntry(p *header, inbound bool, now int64) fragmentEntry {
	e := fragmentEntry{version: p.version, inbound: inbound, id: p.fragmentID, seen: now}
	if p.version == 4 {
		e.protocol = p.protocol
	}
	return e
}
