// Package bfd detects within less than a second that a neighbour on the link is gone: Bidirectional Forwarding Detection
// in asynchronous mode over a single hop, for IPv4 and IPv6, without authentication and without echo (RFC 5880, RFC
// 5881). What is detected is the path and the host of the neighbour, while BGP would wait for its hold time.
//
// core.go is the state machine of a session, without sockets and clock; the Manager gives it both. The package must not
// know BGP: whoever receives the events decides.
package bfd

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Options of New.
type Options struct {
	Log *slog.Logger
	// Registerer of the metrics; nil registers none.
	Registerer prometheus.Registerer
}

// Peer is a neighbour on the link.
type Peer struct {
	Address netip.Addr // with a zone if it is link-local
	// LocalAddress from which packets are sent; the zero value lets the system choose.
	LocalAddress netip.Addr
	// Interface at which packets of the neighbour must arrive, and by which they leave; empty: any.
	Interface string
	// RxInterval and TxInterval are the required minimum receive and the desired minimum transmit interval, 10 ms to 1
	// min; zero: 300 ms.
	RxInterval, TxInterval time.Duration
	// Multiplier of the detection time at the neighbour; zero: 3.
	Multiplier uint8
}

// Event is a session that went up, or that is up no longer.
type Event struct {
	Address netip.Addr
	Up      bool
	Diag    Diagnostic
	// SwitchedOff: the session went down because the neighbour ended it on purpose (AdminDown). It is no sign that the
	// neighbour is gone (RFC 5882, section 4.2): BGP is to go on without BFD.
	SwitchedOff bool
}

// Manager holds the sessions with all peers. Its methods may be used concurrently.
type Manager struct {
	// constant
	log     *slog.Logger
	metrics *metrics
	events  chan Event
	wake    chan struct{} // something is due earlier than the loop thinks

	mu       sync.Mutex
	sessions map[netip.Addr]*link
	pending  []Event
	running  bool
}

// New makes a manager without peers.
func New(options Options) *Manager {
	if options.Log == nil {
		options.Log = slog.New(slog.DiscardHandler)
	}
	m := &Manager{
		log: options.Log, metrics: newMetrics(), events: make(chan Event), wake: make(chan struct{}, 1),
		sessions: map[netip.Addr]*link{},
	}
	if options.Registerer != nil {
		options.Registerer.MustRegister(m.metrics.received, m.metrics.sent, m.metrics.drops, m.metrics.changes, upCollector{m})
	}
	return m
}

// validate completes a peer.
func (p *Peer) validate() error {
	p.RxInterval = cmp.Or(p.RxInterval, defaultInterval)
	p.TxInterval = cmp.Or(p.TxInterval, defaultInterval)
	p.Multiplier = cmp.Or(p.Multiplier, defaultMultiplier)
	switch a := p.Address; {
	case !a.IsValid() || a.IsUnspecified() || a.IsMulticast() || a.Is4In6():
		return fmt.Errorf("peer %s: not the address of a neighbour", a)
	case a.Is6() && a.IsLinkLocalUnicast() && a.Zone() == "":
		return fmt.Errorf("peer %s: a link-local address needs a zone (%s%%eth0)", a, a)
	case p.LocalAddress.IsValid() && p.LocalAddress.Is4() != a.Is4():
		return fmt.Errorf("peer %s: the local address %s is of the other family", a, p.LocalAddress)
	case min(p.RxInterval, p.TxInterval) < minInterval || max(p.RxInterval, p.TxInterval) > maxInterval:
		return fmt.Errorf("peer %s: intervals are %s to %s", a, minInterval, maxInterval)
	}
	return nil
}

// Set replaces the peers. Sessions of peers that stay go on, and changed intervals are negotiated without an interruption;
// with another local address or interface a session begins anew. It may be called before and during Run. On an error
// nothing changes.
func (m *Manager) Set(peers []Peer) error {
	if len(peers) > maxPeers {
		return fmt.Errorf("%d peers, at most %d", len(peers), maxPeers)
	}
	wanted := make(map[netip.Addr]Peer, len(peers))
	for _, p := range peers {
		if err := p.validate(); err != nil {
			return err
		}
		if _, twice := wanted[p.Address]; twice {
			return fmt.Errorf("peer %s is there twice", p.Address)
		}
		wanted[p.Address] = p
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	for address, l := range m.sessions {
		p, stays := wanted[address]
		if stays && p.LocalAddress == l.peer.LocalAddress && p.Interface == l.peer.Interface {
			l.peer = p
			l.session.configure(p.TxInterval, p.RxInterval, p.Multiplier, now)
			continue
		}
		m.endSession(l)
		delete(m.sessions, address)
	}
	for address, p := range wanted {
		if m.sessions[address] == nil {
			m.sessions[address] = &link{peer: p, session: newSession(m.discriminator(), p.TxInterval, p.RxInterval, p.Multiplier, now)}
		}
	}
	m.wakeUp()
	return nil
}

// discriminator is one that no session has. It is random, so that packets cannot be forged from afar even without TTL.
func (m *Manager) discriminator() uint32 {
	for {
		var random [4]byte
		_, _ = rand.Read(random[:]) // never fails since Go 1.24
		d := binary.BigEndian.Uint32(random[:])
		if d != 0 && m.byDiscriminator(d) == nil {
			return d
		}
	}
}

func (m *Manager) byDiscriminator(d uint32) *link {
	for _, l := range m.sessions {
		if l.session.local == d {
			return l
		}
	}
	return nil
}

// Events tells what happened, in order. For one receiver; the channel is never closed.
func (m *Manager) Events() <-chan Event { return m.events }

// State of the session with a peer; false if there is no such peer.
func (m *Manager) State(address netip.Addr) (State, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	l := m.sessions[address]
	if l == nil {
		return AdminDown, false
	}
	return l.session.state, true
}

func (m *Manager) wakeUp() {
	select {
	case m.wake <- struct{}{}:
	default: // it is about to look anyway
	}
}

// Run opens the sockets and runs the sessions until its context ends; then the neighbours are told that BFD was switched off. An
// error means that the ports of BFD (3784/udp) cannot be had, or that reading from them failed.
func (m *Manager) Run(parent context.Context) error {
	receivers, err := openReceivers()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	var readers sync.WaitGroup
	for _, r := range receivers {
		readers.Go(func() {
			if err := m.read(r); ctx.Err() == nil {
				cancel(fmt.Errorf("read from the BFD port: %w", err))
			}
		})
	}
	m.mu.Lock()
	m.running = true
	m.mu.Unlock()
	m.loop(ctx)
	m.mu.Lock()
	m.running = false
	for _, l := range m.sessions {
		m.endSession(l)
		l.session = newSession(l.session.local, l.peer.TxInterval, l.peer.RxInterval, l.peer.Multiplier, time.Now())
	}
	m.mu.Unlock()
	for _, r := range receivers {
		_ = r.Close()
	}
	readers.Wait()
	if parent.Err() != nil {
		return nil
	}
	return context.Cause(ctx)
}

// loop does what is due and hands out events.
func (m *Manager) loop(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		next, event := m.due()
		timer.Reset(time.Until(next))
		var out chan Event
		if event != nil {
			out = m.events
		} else {
			event = new(Event)
		}
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-m.wake:
		case out <- *event:
			m.mu.Lock()
			if len(m.pending) > 0 && m.pending[0] == *event { // unless it had to make room meanwhile
				m.pending = slices.Delete(m.pending, 0, 1)
			}
			m.mu.Unlock()
		}
	}
}

// due lets every session do what is due, and says when the next one has to, and the oldest event that waits.
func (m *Manager) due() (next time.Time, event *Event) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	next = now.Add(maxInterval)
	for _, l := range m.sessions {
		if l.answer {
			m.send(l, l.session.packet(true), now)
		}
		c, send := l.session.tick(now, mathrand.Float64())
		if c.event {
			m.record(l)
		}
		if send || l.speak {
			m.send(l, l.session.packet(false), now)
		}
		l.answer, l.speak = false, false
		next = earlier(next, l.session.deadline())
	}
	if len(m.pending) > 0 {
		oldest := m.pending[0]
		event = &oldest
	}
	return next, event
}

// record notes that a session went up or down.
func (m *Manager) record(l *link) {
	s := l.session
	event := Event{Address: l.peer.Address, Up: s.state == Up, Diag: s.diagnostic}
	event.SwitchedOff = !event.Up && s.diagnostic == NeighborDown && s.remoteState == AdminDown
	m.log.Info("BFD session changed", "peer", event.Address, "up", event.Up, "diagnostic", event.Diag, "switchedOff", event.SwitchedOff)
	m.metrics.changes.WithLabelValues(s.state.String()).Inc()
	if len(m.pending) == maxEvents {
		m.pending = slices.Delete(m.pending, 0, 1)
	}
	m.pending = append(m.pending, event)
}

// endSession tells the neighbour that the session was switched off. Whoever removes a peer knows, so there is no event.
func (m *Manager) endSession(l *link) {
	if m.running || l.conn != nil {
		farewell := l.session.end()
		for range farewells {
			m.send(l, farewell, time.Now())
		}
	}
	l.close()
}
