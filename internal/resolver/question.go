package resolver

import (
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"strconv"
	"strings"

	"github.com/miekg/dns"
)

const headerSize = 12 // RFC 1035 section 4.1.1

// question is the one question of a query as far as it is needed to say whose it is.
type question struct {
	name  string // lower case, without the final dot
	qtype uint16
	class uint16
	plain bool // a standard query with exactly one question, readable
}

// parseQuestion reads header and question. A query that is not a plain one still goes upstream as it is;
// ok is false only for what is no query at all.
func parseQuestion(b []byte) (q question, ok bool) {
	if len(b) < headerSize || b[2]&0x80 != 0 { // too short, or a response
		return question{}, false
	}
	opcode := int(b[2]>>3) & 0xf
	if opcode != dns.OpcodeQuery || binary.BigEndian.Uint16(b[4:]) != 1 {
		return question{}, true
	}
	name, end, err := dns.UnpackDomainName(b, headerSize)
	if err != nil || end+4 > len(b) {
		return question{}, true
	}
	return question{
		name:  strings.ToLower(strings.TrimSuffix(name, ".")),
		qtype: binary.BigEndian.Uint16(b[end:]),
		class: binary.BigEndian.Uint16(b[end+2:]),
		plain: true,
	}, true
}

// match says whether a question is the overlay's, and its target. A zero target with ours true is a name
// that exists without a peer behind it (the domain itself).
func (z Zone) match(q question) (target Target, ours bool) {
	if !q.plain || (q.class != dns.ClassINET && q.class != dns.ClassANY) {
		return Target{}, false
	}
	if q.name == z.Domain {
		return Target{}, true
	}
	if strings.HasSuffix(q.name, "."+z.Domain) {
		return Target{Name: q.name}, true
	}
	if a, ok := reverseAddress(q.name); ok && (contains(z.IPv4, a) || contains(z.IPv6, a)) {
		return Target{Address: a}, true
	}
	return Target{}, false
}

func contains(p netip.Prefix, a netip.Addr) bool {
	return p.IsValid() && p.Contains(a)
}

// reverseAddress reads a full reverse name: RFC 1035 section 3.5 for IPv4, RFC 3596 section 2.5 for IPv6.
func reverseAddress(name string) (netip.Addr, bool) {
	if labels, ok := strings.CutSuffix(name, ".in-addr.arpa"); ok {
		parts := strings.Split(labels, ".")
		if len(parts) != 4 {
			return netip.Addr{}, false
		}
		var a [4]byte
		for i, p := range parts {
			n, err := strconv.ParseUint(p, 10, 8)
			if err != nil {
				return netip.Addr{}, false
			}
			a[3-i] = byte(n)
		}
		return netip.AddrFrom4(a), true
	}
	labels, ok := strings.CutSuffix(name, ".ip6.arpa")
	if !ok || len(labels) != 63 {
		return netip.Addr{}, false
	}
	digits := make([]byte, 32)
	for i := range digits {
		if i > 0 && labels[2*i-1] != '.' {
			return netip.Addr{}, false
		}
		digits[31-i] = labels[2*i]
	}
	var a [16]byte
	if _, err := hex.Decode(a[:], digits); err != nil {
		return netip.Addr{}, false
	}
	return netip.AddrFrom16(a), true
}
