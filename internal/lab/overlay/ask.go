package overlay

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/cyphonic/cyphonic/internal/lab"
)

// Answer is what a host's resolver said.
type Answer struct {
	Code      int // DNS response code
	Addresses []netip.Addr
	Took      time.Duration
}

// Ask sends one DNS question, for A or AAAA, to the first name server of the host's /etc/resolv.conf and waits for the
// answer until ctx ends. It does not repeat the question.
func Ask(ctx context.Context, host *lab.Host, name string, kind uint16) (Answer, error) {
	server, err := nameserver(host)
	if err != nil {
		return Answer{}, err
	}
	conn, err := host.Dial(ctx, "udp", net.JoinHostPort(server, "53"))
	if err != nil {
		return Answer{}, err
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline)
	}
	started := time.Now()
	client := &dns.Conn{Conn: conn, UDPSize: dns.DefaultMsgSize}
	if err := client.WriteMsg(new(dns.Msg).SetQuestion(dns.Fqdn(name), kind)); err != nil {
		return Answer{}, fmt.Errorf("ask for %s: %w", name, err)
	}
	message, err := client.ReadMsg()
	if err != nil {
		return Answer{}, fmt.Errorf("ask for %s: %w", name, err)
	}
	answer := Answer{Code: message.Rcode, Took: time.Since(started)}
	for _, record := range message.Answer {
		var addr netip.Addr
		switch r := record.(type) {
		case *dns.A:
			addr, _ = netip.AddrFromSlice(r.A)
		case *dns.AAAA:
			addr, _ = netip.AddrFromSlice(r.AAAA)
		default:
			continue
		}
		answer.Addresses = append(answer.Addresses, addr.Unmap())
	}
	return answer, nil
}

func nameserver(host *lab.Host) (string, error) {
	data, err := os.ReadFile(host.ResolverFile())
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(data)) {
		if fields := strings.Fields(line); len(fields) == 2 && fields[0] == "nameserver" {
			return fields[1], nil
		}
	}
	return "", errors.New(host.Name + " has no name server")
}
