package resolver

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"

	"github.com/miekg/dns"
)

// forward passes a query to the upstream resolvers, one after the other, over the same transport as it
// came, and returns the answer with the ID of the query. result is the metric's label.
func (r *Resolver) forward(ctx context.Context, query []byte, network string) (reply []byte, result string) {
	upstreams := r.options.Upstreams()
	if len(upstreams) == 0 {
		return serverFailure(query), "no_upstream"
	}
	for _, u := range upstreams[:min(len(upstreams), maxUpstreams)] {
		reply, err := exchange(ctx, network, u, query)
		if err == nil {
			copy(reply, query[:2])
			return reply, "answered"
		}
		r.options.Log.Debug("upstream resolver does not answer", "upstream", u, "error", err)
		if ctx.Err() != nil {
			return nil, "stopped"
		}
	}
	return serverFailure(query), "failed"
}

// exchange asks one upstream resolver under a fresh random ID from a fresh port (RFC 5452 section 9.2).
func exchange(ctx context.Context, network string, upstream netip.AddrPort, query []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, upstreamTimeout)
	defer cancel()
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, network, upstream.String())
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Now()) })
	defer stop()
	out := bytes.Clone(query)
	if _, err := rand.Read(out[:2]); err != nil {
		return nil, err
	}
	if network == "tcp" {
		if err := writeFrame(conn, out); err != nil {
			return nil, err
		}
		reply, err := readFrame(conn)
		if err != nil {
			return nil, err
		}
		if !answers(reply, out) {
			return nil, errors.New("resolver: upstream answered another question")
		}
		return reply, nil
	}
	if _, err := conn.Write(out); err != nil {
		return nil, err
	}
	buf := make([]byte, maxUDPMessage)
	for {
		n, err := conn.Read(buf)
		if err != nil {
			return nil, err
		}
		if answers(buf[:n], out) { // anything else may be forged: wait on
			return buf[:n], nil
		}
	}
}

// answers says whether reply belongs to query: response bit, ID and, where it has one, the same question.
func answers(reply, query []byte) bool {
	if len(reply) < headerSize || reply[2]&0x80 == 0 || !bytes.Equal(reply[:2], query[:2]) {
		return false
	}
	if binary.BigEndian.Uint16(reply[4:]) == 0 { // errors may come without the question, answers may not
		return reply[3]&0xf != dns.RcodeSuccess && binary.BigEndian.Uint16(reply[6:]) == 0
	}
	asked, ok := parseQuestion(query)
	if !ok || !asked.plain {
		return true
	}
	name, end, err := dns.UnpackDomainName(reply, headerSize)
	if err != nil || end+4 > len(reply) {
		return false
	}
	return dns.CanonicalName(name) == dns.Fqdn(asked.name) && binary.BigEndian.Uint16(reply[end:]) == asked.qtype &&
		binary.BigEndian.Uint16(reply[end+2:]) == asked.class
}

// serverFailure answers a query with SERVFAIL and its question, nil if the query cannot be read.
func serverFailure(query []byte) []byte {
	request := new(dns.Msg)
	if err := request.Unpack(query); err != nil {
		return nil
	}
	m := new(dns.Msg)
	m.SetRcode(request, dns.RcodeServerFailure)
	m.RecursionAvailable = true
	reply, err := m.Pack()
	if err != nil {
		return nil
	}
	return reply
}

// readFrame reads a message with its two-byte length (RFC 1035 section 4.2.2).
func readFrame(r io.Reader) ([]byte, error) {
	var size [2]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, err
	}
	b := make([]byte, binary.BigEndian.Uint16(size[:]))
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, err
	}
	return b, nil
}

// writeFrame writes a message with its length in one write.
func writeFrame(w io.Writer, message []byte) error {
	if len(message) > 0xffff {
		return fmt.Errorf("resolver: message of %d bytes", len(message))
	}
	b := binary.BigEndian.AppendUint16(make([]byte, 0, 2+len(message)), uint16(len(message)))
	_, err := w.Write(append(b, message...))
	return err
}
