// Package resolver is the DNS server of an agent. It answers for the overlay's domain and the reverse zones
// of its virtual prefixes, and an answer is given only after the peer was reached (the question starts the
// direction request). Every other question goes to the upstream resolvers with its bytes unchanged except
// for the ID, and so does the answer on its way back. It must not know how peers are reached, nor how the
// host is told to ask here.
package resolver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/singleflight"
)

// What a Lookup returns, and what the one who asks gets (RFC 1035 RCODE, RFC 8914 extended error).
var (
	ErrUnknown = errors.New("resolver: no such peer")          // NXDOMAIN
	ErrDenied  = errors.New("resolver: the policy forbids it") // REFUSED, 18 Prohibited
	ErrOffline = errors.New("resolver: the peer is offline")   // SERVFAIL, 22 No Reachable Authority
	ErrTimeout = errors.New("resolver: no answer in time")     // SERVFAIL, 23 Network Error
)

// Target is what a question asks for: a name (lower case, without the final dot) or an address.
type Target struct {
	Name    string
	Address netip.Addr
}

// Peer is the answer of a Lookup. An address that a peer does not have is the zero value.
type Peer struct {
	Name string
	IPv4 netip.Addr
	IPv6 netip.Addr
}

// Zone is what the overlay answers for. Prefixes without a value are ignored.
type Zone struct {
	Domain string // without dots at the ends
	IPv4   netip.Prefix
	IPv6   netip.Prefix
}

// Options configure a Resolver.
type Options struct {
	Listen    []netip.AddrPort // each for UDP and TCP
	Zone      Zone
	Upstreams func() []netip.AddrPort // in order of preference, asked anew for every question
	// Lookup reaches a peer for the local identity that from belongs to, and returns one of the package's
	// errors or any other error (SERVFAIL). It is called at most once at a time per (from, target).
	Lookup     func(ctx context.Context, from netip.Addr, target Target) (Peer, error)
	Registerer prometheus.Registerer
	Log        *slog.Logger
}

// Resolver serves DNS on its addresses.
type Resolver struct {
	options Options
	udp     []*net.UDPConn
	tcp     []*net.TCPListener
	flights singleflight.Group
	work    *admission
	metrics *metrics
}

// New opens the sockets; Run serves them and closes them.
func New(o Options) (*Resolver, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	m, err := newMetrics(o.Registerer)
	if err != nil {
		return nil, err
	}
	o.Zone.Domain = strings.ToLower(strings.Trim(o.Zone.Domain, "."))
	r := &Resolver{options: o, work: newAdmission(), metrics: m}
	for _, a := range o.Listen {
		if err := r.listen(a); err != nil {
			r.close()
			m.unregister(o.Registerer)
			return nil, err
		}
	}
	return r, nil
}

func (o Options) validate() error {
	switch {
	case len(o.Listen) == 0:
		return errors.New("resolver: no address to listen on")
	case o.Lookup == nil, o.Upstreams == nil, o.Log == nil, o.Registerer == nil:
		return errors.New("resolver: Lookup, Upstreams, Log and Registerer are required")
	}
	if _, ok := dns.IsDomainName(o.Zone.Domain); !ok || strings.Trim(o.Zone.Domain, ".") == "" {
		return fmt.Errorf("resolver: %q is no domain", o.Zone.Domain)
	}
	return nil
}

func (r *Resolver) listen(a netip.AddrPort) error {
	u, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(a))
	if err != nil {
		return fmt.Errorf("resolver: listen on %s/udp: %w", a, err)
	}
	r.udp = append(r.udp, u)
	if a.Port() == 0 {
		a = netip.AddrPortFrom(a.Addr(), u.LocalAddr().(*net.UDPAddr).AddrPort().Port())
	}
	t, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(a))
	if err != nil {
		return fmt.Errorf("resolver: listen on %s/tcp: %w", a, err)
	}
	r.tcp = append(r.tcp, t)
	return nil
}

// Addresses returns the addresses that are served.
func (r *Resolver) Addresses() []netip.AddrPort {
	var out []netip.AddrPort
	for _, u := range r.udp {
		a := u.LocalAddr().(*net.UDPAddr).AddrPort()
		out = append(out, netip.AddrPortFrom(a.Addr().Unmap(), a.Port()))
	}
	return out
}

// Run serves until ctx ends, then lets the questions in work end.
func (r *Resolver) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	stop := context.AfterFunc(ctx, r.close)
	defer func() {
		cancel()
		if stop() {
			r.close()
		}
		wg.Wait()
		r.metrics.unregister(r.options.Registerer)
	}()
	for _, u := range r.udp {
		wg.Go(func() { r.serveUDP(ctx, u, &wg) })
	}
	for _, t := range r.tcp {
		wg.Go(func() { r.serveTCP(ctx, t, &wg) })
	}
	<-ctx.Done()
	return nil
}

func (r *Resolver) close() {
	for _, u := range r.udp {
		_ = u.Close()
	}
	for _, t := range r.tcp {
		_ = t.Close()
	}
}

// answer works on one question and returns the reply, nil for none.
func (r *Resolver) answer(ctx context.Context, from netip.Addr, query []byte, network string) []byte {
	start := time.Now()
	q, ok := parseQuestion(query)
	if !ok {
		r.metrics.count("malformed", "dropped")
		return nil
	}
	target, ours := r.options.Zone.match(q)
	if !ours {
		reply, result := r.forward(ctx, query, network)
		r.metrics.observe("upstream", result, time.Since(start))
		return reply
	}
	reply, result := r.overlay(ctx, from, query, q, target)
	r.metrics.observe("overlay", result, time.Since(start))
	return reply
}
