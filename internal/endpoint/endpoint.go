// Package endpoint is the heart of a node and of an adapter: it hosts local
// identities (one for a node, one per general node for an adapter) over one UDP
// socket and one virtual interface, registers them at the NMS, connects them to
// their peers, and keeps every tunnel on a working path.
//
// One goroutine, the control goroutine, owns all state: identities, peers,
// handshakes, relays and timers. The data plane's goroutines hand it what they
// cannot decide through bounded queues; the methods of Endpoint and Local hand it
// functions. Public-key work of handshakes happens there too, bounded per second.
// Only logins, which wait for a TLS server, run in goroutines of their own.
//
// The package decides nothing about access: the NMS names peers and rules, and a
// handshake is accepted only from a peer that the NMS has named. It must not
// touch the operating system; sockets, interfaces and addresses are given to it.
//
// A peer that has lost a session (because it restarted) cannot say so in a way
// that could be believed. This end notices by itself: no probe is answered, so it
// asks the NMS for a direction; a changed receiver tag in the answer, or no
// authenticated datagram on any path for path.RestartAfter, begins a handshake.
//
// Two identities of the same endpoint reach each other like any two peers: each
// has the host's own socket address among its candidates, and the datagrams go
// through the host's own network stack.
package endpoint

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cyphonic/cyphonic/internal/dataplane"
	"github.com/cyphonic/cyphonic/internal/identity"
	"github.com/cyphonic/cyphonic/internal/path"
	"github.com/cyphonic/cyphonic/internal/tun"
	"github.com/cyphonic/cyphonic/internal/tunnel"
	"github.com/cyphonic/cyphonic/internal/udp"
)

// Options are what an Endpoint needs.
type Options struct {
	UDP udp.Conn   // closed by Run
	Tun tun.Device // closed by Run
	// Workers is the number of workers per direction of the data plane; 0 lets it choose.
	Workers int
	Trust   identity.Trust
	// Candidates gives the host's present addresses with the port of UDP, the
	// preferred first. It is called by the control goroutine and must be quick.
	Candidates func() []netip.AddrPort
	Registerer prometheus.Registerer // nil: metrics are counted and not shown
	Log        *slog.Logger          // nil: slog.Default
	Rand       io.Reader             // nil: crypto/rand
	Now        func() time.Time      // nil: time.Now
}

// Errors of Connect and Add.
var (
	ErrUnknown = errors.New("endpoint: no such peer in the network")
	ErrDenied  = errors.New("endpoint: no access policy allows the connection; ask the operator of the network")
	ErrOffline = errors.New("endpoint: peer is not registered at the moment")
	ErrTimeout = errors.New("endpoint: no answer in time; check the network between this host and the peer")
	ErrBusy    = errors.New("endpoint: a bound is reached; try later")
	ErrClosed  = errors.New("endpoint: identity or endpoint is closed")
	ErrExists  = errors.New("endpoint: virtual IP is in use by another identity")
)

// Endpoint hosts local identities. Make one with New and start it with Run.
type Endpoint struct {
	// Constant.
	o       Options
	log     *slog.Logger
	plane   *dataplane.Plane
	metrics *metrics
	guard   *tunnel.CookieGuard
	inbox   *inbox
	jobs    chan renewal // to the renewal workers
	renewed chan renewed // from them
	wake    chan struct{}
	done    chan struct{} // closed when Run returns

	// Under mu.
	mu       sync.Mutex
	started  bool
	ended    bool
	commands []func(now time.Time)
	byAddr   map[netip.Addr]*Local // by virtual IP
	locals   int

	// Of the control goroutine.
	timers        timers
	own           []netip.AddrPort // the host's addresses
	families      path.Families
	byTag         map[uint32]*Local
	byAssociation map[*dataplane.Association]*peer
	indices       map[uint32]bool // receiver indices in use
	initiations   map[uint32]*initiation
	responses     map[uint32]*response
	answered      map[[32]byte]*response       // by the initiator's ephemeral key
	bindings      map[uint64]*binding          // by nonce
	leaving       map[netip.AddrPort]time.Time // TRSs that have said so: until when it counts
	peers         int
	heldBytes     int
	handshakes    rate      // of strangers
	hastened      time.Time // until when registrations are not hastened again
}

// New checks the options and makes an Endpoint without identities.
func New(o Options) (*Endpoint, error) {
	if o.UDP == nil || o.Tun == nil || o.Candidates == nil {
		return nil, errors.New("endpoint: UDP, Tun and Candidates are needed")
	}
	if len(o.Trust.Roots) == 0 {
		return nil, errors.New("endpoint: the trust has no root key")
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Rand == nil {
		o.Rand = rand.Reader
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	e := &Endpoint{
		o: o, log: o.Log.With("component", "endpoint"),
		jobs:          make(chan renewal, MaxLocals),
		renewed:       make(chan renewed),
		wake:          make(chan struct{}, 1),
		done:          make(chan struct{}),
		byAddr:        make(map[netip.Addr]*Local),
		byTag:         make(map[uint32]*Local),
		byAssociation: make(map[*dataplane.Association]*peer),
		indices:       make(map[uint32]bool),
		initiations:   make(map[uint32]*initiation),
		responses:     make(map[uint32]*response),
		answered:      make(map[[32]byte]*response),
		bindings:      make(map[uint64]*binding),
		leaving:       make(map[netip.AddrPort]time.Time),
	}
	var err error
	if e.guard, err = tunnel.NewCookieGuard(o.Rand); err != nil {
		return nil, fmt.Errorf("endpoint: %w", err)
	}
	if e.metrics, err = newMetrics(o.Registerer); err != nil {
		return nil, err
	}
	e.inbox = newInbox(e.metrics)
	e.plane, err = dataplane.New(dataplane.Options{
		Tun: o.Tun, UDP: o.UDP, Workers: o.Workers, Handler: e.inbox,
		Registerer: o.Registerer, Now: o.Now, Log: o.Log,
	})
	if err != nil {
		return nil, fmt.Errorf("endpoint: %w", err)
	}
	return e, nil
}

// Run works until ctx ends or the data plane fails, then tells NMS and peers
// that the identities leave. It waits for everything that it has started.
func (e *Endpoint) Run(ctx context.Context) error {
	e.mu.Lock()
	if e.started {
		e.mu.Unlock()
		return errors.New("endpoint: Run was called before")
	}
	e.started = true
	e.mu.Unlock()

	planeCtx, stopPlane := context.WithCancel(context.Background())
	defer stopPlane()
	controlCtx, stopControl := context.WithCancel(ctx)
	defer stopControl()

	var wait sync.WaitGroup
	planeErr := make(chan error, 1)
	wait.Go(func() {
		planeErr <- e.plane.Run(planeCtx)
		stopControl()
	})
	for range renewWorkers {
		wait.Go(func() { e.renewLoop(controlCtx) })
	}
	e.control(controlCtx)
	stopPlane()
	wait.Wait()
	e.end()
	if err := <-planeErr; err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("endpoint: %w", err)
	}
	return nil
}

// end refuses further commands and releases everybody who waits.
func (e *Endpoint) end() {
	e.mu.Lock()
	e.ended = true
	e.commands = nil
	e.mu.Unlock()
	close(e.done)
}

// post hands f to the control goroutine. Before Run it waits there.
func (e *Endpoint) post(f func(now time.Time)) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.postLocked(f)
}

func (e *Endpoint) postLocked(f func(now time.Time)) error {
	switch {
	case e.ended:
		return ErrClosed
	case len(e.commands) >= maxCommands:
		return ErrBusy
	}
	e.commands = append(e.commands, f)
	select {
	case e.wake <- struct{}{}:
	default:
	}
	return nil
}

func (e *Endpoint) takeCommands() []func(now time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	commands := e.commands
	e.commands = nil
	return commands
}

// Local finds the identity that has the virtual IP.
func (e *Endpoint) Local(src netip.Addr) (*Local, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	l, ok := e.byAddr[src]
	return l, ok
}

// AddressesChanged says that Candidates gives something else now, or that the
// host's way to the network has changed: everything registers anew and every
// path is checked.
func (e *Endpoint) AddressesChanged() { _ = e.post(e.addressesChanged) }

func (e *Endpoint) addressesChanged(now time.Time) {
	e.readAddresses()
	for _, l := range e.byTag {
		l.client.Moved(now, l.candidates(), l.servers())
		l.pump(now)
		for _, p := range l.peers {
			p.moved(now)
		}
	}
}

func (e *Endpoint) readAddresses() {
	e.own = path.Usable(e.o.Candidates(), path.Families{IPv4: true, IPv6: true}, nil)
	e.families = path.FamiliesOf(e.own)
}

// random gives a random number. The source is the operating system's or a
// test's; the one cannot fail and the other must not.
func (e *Endpoint) random() uint64 {
	var b [8]byte
	if _, err := io.ReadFull(e.o.Rand, b[:]); err != nil {
		panic("endpoint: random source: " + err.Error())
	}
	var v uint64
	for _, x := range b {
		v = v<<8 | uint64(x)
	}
	return v
}

// newIndex reserves a receiver index that nothing uses.
func (e *Endpoint) newIndex() uint32 {
	for {
		index := uint32(e.random())
		if index != 0 && !e.indices[index] {
			e.indices[index] = true
			return index
		}
	}
}
