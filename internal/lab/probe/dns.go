package probe

import (
	"context"
	"fmt"
	"net"
	"net/netip"

	"github.com/miekg/dns"
)

// ServeDNS answers, until ctx ends, questions for the given names as the rest of the world's DNS would; every other
// name does not exist.
func ServeDNS(ctx context.Context, conn net.PacketConn, names map[string]netip.Addr) error {
	server := &dns.Server{PacketConn: conn, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, question *dns.Msg) {
		_ = w.WriteMsg(dnsAnswer(question, names)) // the asker repeats a lost answer
	})}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	if err := server.ActivateAndServe(); err != nil && ctx.Err() == nil {
		return fmt.Errorf("serve DNS: %w", err)
	}
	return nil
}

func dnsAnswer(question *dns.Msg, names map[string]netip.Addr) *dns.Msg {
	answer := new(dns.Msg).SetReply(question)
	if len(question.Question) != 1 {
		return answer.SetRcode(question, dns.RcodeFormatError)
	}
	asked := question.Question[0]
	addr, ok := names[asked.Name]
	if !ok {
		return answer.SetRcode(question, dns.RcodeNameError)
	}
	header := dns.RR_Header{Name: asked.Name, Rrtype: asked.Qtype, Class: dns.ClassINET, Ttl: 60}
	switch {
	case asked.Qtype == dns.TypeA && addr.Is4():
		answer.Answer = append(answer.Answer, &dns.A{Hdr: header, A: addr.AsSlice()})
	case asked.Qtype == dns.TypeAAAA && addr.Is6():
		answer.Answer = append(answer.Answer, &dns.AAAA{Hdr: header, AAAA: addr.AsSlice()})
	}
	return answer
}
