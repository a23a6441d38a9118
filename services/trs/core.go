// Package trs is the Tunnel Relay Service: it carries datagrams between two
// peers that have no direct path.
//
// It forwards only between the two addresses that relay tokens and challenges
// have bound, and never to any other. It sees tunnel datagrams as they are on
// the wire and has no key to look inside: it must not import the tunnel
// package. The core has no socket, clock or goroutine.
package trs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cyphonic/cyphonic/internal/identity"
	"github.com/cyphonic/cyphonic/internal/wire"
)

// Datagram is one datagram to send. Data may be the datagram that came in,
// changed in place.
type Datagram struct {
	To   netip.AddrPort
	Data []byte
}

// CoreOptions are what a Core needs. All fields are required unless stated.
type CoreOptions struct {
	Keys       func() identity.Keyring // opens relay tokens
	Rand       io.Reader
	Log        *slog.Logger
	Registerer prometheus.Registerer
	// NetworkBytesPerSecond is the quota of one network; 0 means
	// DefaultNetworkBytesPerSecond.
	NetworkBytesPerSecond int64
	// AllowLocal lets clients bind loopback addresses and addresses of this
	// host, as needed when everything runs on one machine.
	AllowLocal bool
}

// Core is the TRS without input and output. Its methods are safe for
// concurrent use.
type Core struct {
	// constant
	keys         func() identity.Keyring
	rand         io.Reader
	log          *slog.Logger
	metrics      *metrics
	cookies      cookies
	networkQuota float64
	allowLocal   bool

	// under mu
	mu       sync.Mutex
	own      map[netip.Addr]bool
	sessions map[[16]byte]*session
	channels map[uint32]*side
	networks map[string]*network
	leaving  time.Time  // since when; zero: not
	refusing bool       // takes no new sessions
	untold   []*session // of a TRS that leaves, those to be told next first; each session is in it once
}

// NewCore returns a core without sessions.
func NewCore(o CoreOptions) (*Core, error) {
	m, err := newMetrics(o.Registerer)
	if err != nil {
		return nil, fmt.Errorf("register metrics: %w", err)
	}
	c := &Core{
		keys: o.Keys, rand: o.Rand, log: o.Log, metrics: m, allowLocal: o.AllowLocal,
		networkQuota: DefaultNetworkBytesPerSecond,
		sessions:     make(map[[16]byte]*session),
		channels:     make(map[uint32]*side),
		networks:     make(map[string]*network),
	}
	if o.NetworkBytesPerSecond > 0 {
		c.networkQuota = float64(o.NetworkBytesPerSecond)
	}
	if _, err := io.ReadFull(o.Rand, c.cookies.secret[:]); err != nil {
		return nil, fmt.Errorf("read the cookie secret: %w", err)
	}
	return c, nil
}

// HandleDatagram takes one datagram that came from src and appends what to
// send to out. A forwarded datagram is b itself with its channel rewritten: it
// must be sent before b is used again. Forwarding does not allocate when out
// has room.
func (c *Core) HandleDatagram(now time.Time, src netip.AddrPort, b []byte, out []Datagram) []Datagram {
	kind, err := wire.PeekType(b)
	reason := dropNone
	switch {
	case errors.Is(err, wire.ErrVersion):
		reason = dropVersion
	case err != nil && !errors.Is(err, wire.ErrType):
		reason = dropMalformed
	case kind == wire.TypeRelayData:
		out, reason = c.forward(now, src, b, out)
	case kind == wire.TypeRelayBind:
		out, reason = c.bind(now, netip.AddrPortFrom(src.Addr().Unmap(), src.Port()), b, out)
	default:
		reason = dropType
	}
	if reason != dropNone {
		c.metrics.drops[reason].Inc()
	}
	return out
}

// forward passes a peer's datagram to the other side if it came from exactly
// the bound address and the quotas allow.
func (c *Core) forward(now time.Time, src netip.AddrPort, b []byte, out []Datagram) ([]Datagram, drop) {
	m, err := wire.ParseRelayData(b)
	if err != nil {
		return out, dropMalformed
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	from := c.channels[m.Channel]
	if from == nil {
		return out, dropChannel
	}
	if from.addr != src {
		return out, dropAddress
	}
	if !from.bound(now) {
		return out, dropExpired
	}
	from.lastSeen = now
	to := from.peer()
	if !to.bound(now) {
		return out, dropPeerUnbound
	}
	size := float64(len(b))
	if !from.quota.take(now, size) {
		return out, dropQuotaToken
	}
	if !from.session.network.quota.take(now, size) {
		return out, dropQuotaNetwork
	}
	binary.BigEndian.PutUint32(b[4:wire.RelayHeaderSize], to.channel)
	c.metrics.packets.Inc()
	c.metrics.bytes.Add(size)
	return append(out, Datagram{to.addr, b}), dropNone
}

// Expire ends what has been silent for too long or whose token has ended.
func (c *Core) Expire(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.sessions {
		for i := range s.sides {
			if side := &s.sides[i]; side.addr.IsValid() && !side.bound(now) {
				side.addr = netip.AddrPort{}
			}
		}
		if !s.sides[0].addr.IsValid() && !s.sides[1].addr.IsValid() {
			c.remove(s)
		}
	}
	bound := 0
	for _, side := range c.channels {
		if side.addr.IsValid() {
			bound++
		}
	}
	c.metrics.sessions.Set(float64(len(c.sessions)))
	c.metrics.bound.Set(float64(bound))
	c.metrics.active.Set(float64(c.residual(now)))
}

func (c *Core) remove(s *session) {
	delete(c.sessions, s.id)
	for i := range s.sides {
		delete(c.channels, s.sides[i].channel)
	}
	if s.network.sessions--; s.network.sessions == 0 {
		delete(c.networks, s.network.name)
	}
}

// SetOwn replaces the addresses of this host, which clients must not bind.
func (c *Core) SetOwn(addrs []netip.Addr) {
	own := make(map[netip.Addr]bool, len(addrs))
	for _, a := range addrs {
		own[a.Unmap().WithZone("")] = true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.own = own
}

// forbidden reports whether datagrams must not be relayed to an address.
func (c *Core) forbidden(a netip.Addr) bool {
	if a.IsUnspecified() || a.IsMulticast() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
		return true
	}
	return !c.allowLocal && (a.IsLoopback() || c.own[a.WithZone("")])
}
