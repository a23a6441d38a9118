package resolver

import (
	"context"
	"errors"
	"net"
	"net/netip"

	"github.com/miekg/dns"
)

// overlay answers a question of the overlay's zones. result is the metric's label.
func (r *Resolver) overlay(ctx context.Context, from netip.Addr, query []byte, q question, target Target) (reply []byte, result string) {
	request := new(dns.Msg)
	if err := request.Unpack(query); err != nil {
		return nil, "malformed"
	}
	m := new(dns.Msg)
	m.SetReply(request)
	m.Authoritative = true
	m.RecursionAvailable = true
	opt := request.IsEdns0()
	if opt != nil {
		m.SetEdns0(maxUDPMessage, opt.Do())
	}
	if target == (Target{}) {
		result = r.apex(m, q)
	} else {
		peer, err := r.lookup(ctx, from, target)
		if err != nil {
			result = fail(m, err)
			r.options.Log.Debug("question not answered", "name", q.name, "from", from, "error", err)
		} else {
			result = fill(m, q, target, peer)
		}
	}
	if len(m.Answer) == 0 && (m.Rcode == dns.RcodeSuccess || m.Rcode == dns.RcodeNameError) {
		m.Ns = append(m.Ns, r.soa())
	}
	reply, err := m.Pack()
	if err != nil {
		r.options.Log.Error("cannot pack a DNS answer", "name", q.name, "error", err)
		return nil, "internal"
	}
	return reply, result
}

// lookup joins questions for the same target (A and AAAA come together): one search serves all. ctx is
// the resolver's, so nobody's search depends on another client's patience.
func (r *Resolver) lookup(ctx context.Context, from netip.Addr, target Target) (Peer, error) {
	key := from.String() + "|" + target.Name + "|" + target.Address.String()
	peer, err, _ := r.flights.Do(key, func() (any, error) {
		ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
		defer cancel()
		return r.options.Lookup(ctx, from, target)
	})
	if err != nil {
		return Peer{}, err
	}
	return peer.(Peer), nil
}

// apex answers for the domain itself, which has no address.
func (r *Resolver) apex(m *dns.Msg, q question) string {
	if q.qtype == dns.TypeSOA || q.qtype == dns.TypeANY {
		m.Answer = append(m.Answer, r.soa())
	}
	return "apex"
}

// fill puts the records that q asks for into m; a peer without such a record gives an empty answer.
func fill(m *dns.Msg, q question, target Target, peer Peer) string {
	header := func(rrtype uint16) dns.RR_Header {
		return dns.RR_Header{Name: m.Question[0].Name, Rrtype: rrtype, Class: dns.ClassINET, Ttl: uint32(answerTTL.Seconds())}
	}
	wants := func(rrtype uint16) bool { return q.qtype == rrtype || q.qtype == dns.TypeANY }
	if target.Address.IsValid() {
		if wants(dns.TypePTR) {
			m.Answer = append(m.Answer, &dns.PTR{Hdr: header(dns.TypePTR), Ptr: dns.Fqdn(peer.Name)})
		}
	} else {
		if wants(dns.TypeA) && peer.IPv4.IsValid() {
			m.Answer = append(m.Answer, &dns.A{Hdr: header(dns.TypeA), A: net.IP(peer.IPv4.AsSlice())})
		}
		if wants(dns.TypeAAAA) && peer.IPv6.IsValid() {
			m.Answer = append(m.Answer, &dns.AAAA{Hdr: header(dns.TypeAAAA), AAAA: net.IP(peer.IPv6.AsSlice())})
		}
	}
	if len(m.Answer) == 0 {
		return "nodata"
	}
	return "answered"
}

// fail puts an error into m as response code and, for those who speak EDNS, as extended error.
func fail(m *dns.Msg, err error) string {
	switch {
	case errors.Is(err, ErrUnknown):
		m.Rcode = dns.RcodeNameError
		return "unknown"
	case errors.Is(err, ErrDenied):
		m.Rcode = dns.RcodeRefused
		explain(m, dns.ExtendedErrorCodeProhibited, "no access policy allows this peer")
		return "denied"
	case errors.Is(err, ErrOffline):
		m.Rcode = dns.RcodeServerFailure
		explain(m, dns.ExtendedErrorCodeNoReachableAuthority, "the peer is offline")
		return "offline"
	case errors.Is(err, ErrTimeout), errors.Is(err, context.DeadlineExceeded):
		m.Rcode = dns.RcodeServerFailure
		explain(m, dns.ExtendedErrorCodeNetworkError, "the peer could not be reached in time")
		return "timeout"
	default:
		m.Rcode = dns.RcodeServerFailure
		explain(m, dns.ExtendedErrorCodeOther, "the agent could not ask; see its log")
		return "error"
	}
}

func explain(m *dns.Msg, code uint16, text string) {
	if opt := m.IsEdns0(); opt != nil {
		opt.Option = append(opt.Option, &dns.EDNS0_EDE{InfoCode: code, ExtraText: text})
	}
}

// soa is the zone's start of authority; its minimum is the negative time to live (RFC 2308).
func (r *Resolver) soa() dns.RR {
	domain := dns.Fqdn(r.options.Zone.Domain)
	ttl := uint32(negativeTTL.Seconds())
	return &dns.SOA{
		Hdr: dns.RR_Header{Name: domain, Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: ttl},
		Ns:  domain, Mbox: "hostmaster." + domain, Serial: 1, Refresh: 3600, Retry: 600, Expire: 86400, Minttl: ttl,
	}
}
