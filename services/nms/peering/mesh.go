// Package peering links the replicas of the NMS with one another: one TLS
// connection between each two, over which each sends the other messages in order.
//
// Both ends show certificates that live as long as their process, and take only
// one whose SHA-256 stands in the other's record in etcd: whoever can write that
// record is a replica, and nobody else is. What is queued while a write is under
// way goes out with the next one, so that load makes batches and no timer does.
//
// It knows nothing of devices, locations or the meaning of messages, and must not:
// those are the core's, which takes links as it takes datagrams. A message is
// never repeated over another link; the core is told that a link has ended.
package peering

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
)

// Peer is another replica.
type Peer struct {
	Name string
	Addr netip.AddrPort
	Pin  string // hex SHA-256 of its certificate
}

// Cut cuts the first message off a stream: nil if it is not complete, an error if
// it can be none.
type Cut func(b []byte) (message, rest []byte, err error)

// Handler hears of links. For one replica its methods are called one after the
// other: LinkUp, Messages any number of times, LinkDown. Messages must not keep
// what it is given.
type Handler interface {
	LinkUp(name string)
	Messages(name string, messages [][]byte)
	LinkDown(name string)
}

// Options are what a Mesh needs. All are required but Dial.
type Options struct {
	Name       string // of this replica
	Program    string // version of the program, for the log
	Identity   Identity
	Listener   net.Listener // closed by Run
	Versions   Versions
	Cut        Cut
	Handler    Handler
	Log        *slog.Logger
	Registerer prometheus.Registerer
	// Dial connects to a peer; nil: by TCP.
	Dial func(ctx context.Context, addr netip.AddrPort) (net.Conn, error)
}

// Mesh is all links of one replica. Of two replicas the one with the lower name
// connects.
type Mesh struct {
	Options
	metrics *metrics
	changed chan struct{} // of size 1: the peers have changed

	mu      sync.Mutex
	peers   map[string]Peer
	gone    map[string]time.Time // since when a linked replica is no peer
	links   map[string]*link
	dialers map[string]context.CancelFunc
	warned  map[string]string // what has been logged about a peer
}

// New returns a Mesh without peers.
func New(o Options) (*Mesh, error) {
	m, err := newMetrics(o.Registerer)
	if err != nil {
		return nil, fmt.Errorf("register metrics: %w", err)
	}
	if o.Dial == nil {
		o.Dial = func(ctx context.Context, addr netip.AddrPort) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", addr.String())
		}
	}
	return &Mesh{
		Options: o, metrics: m, changed: make(chan struct{}, 1),
		peers: make(map[string]Peer), gone: make(map[string]time.Time), links: make(map[string]*link),
		dialers: make(map[string]context.CancelFunc), warned: make(map[string]string),
	}, nil
}

// SetPeers says who the other replicas are. The link with one that is no peer any
// more stays for a while; one with another certificate ends at once.
func (m *Mesh) SetPeers(peers []Peer) {
	m.mu.Lock()
	clear(m.peers)
	for _, p := range peers {
		if p.Name != m.Name && p.Addr.IsValid() && p.Pin != "" && len(m.peers) < maxPeers {
			m.peers[p.Name] = p
		}
	}
	m.mu.Unlock()
	select {
	case m.changed <- struct{}{}:
	default:
	}
}

// Send queues messages for a replica. Without a link to it they are lost.
func (m *Mesh) Send(to string, messages []byte) {
	m.mu.Lock()
	l := m.links[to]
	m.mu.Unlock()
	if l == nil {
		m.metrics.lost.Add(float64(len(messages)))
		return
	}
	l.send(messages)
}

// Run keeps links until ctx ends and returns nil then.
func (m *Mesh) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		<-ctx.Done()
		return ignoreClosed(m.Listener.Close())
	})
	group.Go(func() error {
		err := m.accept(ctx, group)
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("accept replicas of the NMS: %w", err)
	})
	group.Go(func() error {
		ticker := time.NewTicker(checkInterval)
		defer ticker.Stop()
		for {
			m.check(ctx, group, time.Now())
			select {
			case <-ctx.Done():
				return nil
			case <-m.changed:
			case <-ticker.C:
			}
		}
	})
	return group.Wait()
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// check holds links and dialers against the peers.
func (m *Mesh) check(ctx context.Context, group *errgroup.Group, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for name, l := range m.links {
		p, ok := m.peers[name]
		switch {
		case ok && p.Pin == l.peer.Pin:
			delete(m.gone, name)
		case ok:
			l.end(endedGone)
		case m.gone[name].IsZero():
			m.gone[name] = now
		case now.Sub(m.gone[name]) >= linger:
			l.end(endedGone)
		}
	}
	for name := range m.gone {
		if m.links[name] == nil {
			delete(m.gone, name)
		}
	}
	for name := range m.warned {
		if _, ok := m.peers[name]; !ok {
			delete(m.warned, name)
		}
	}
	for name := range m.peers {
		if m.Name < name && m.dialers[name] == nil {
			dialing, cancel := context.WithCancel(ctx)
			m.dialers[name] = cancel
			group.Go(func() error { m.keep(dialing, name); return nil })
		}
	}
	for name, cancel := range m.dialers {
		if _, ok := m.peers[name]; !ok && m.links[name] == nil {
			cancel()
			delete(m.dialers, name)
		}
	}
}
