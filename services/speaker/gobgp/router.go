// Package gobgp speaks BGP for the speaker with the library GoBGP, one server for each neighbour: neighbours share no
// table, no policy and no queue, so that none can disturb the session with another, and each prefix has attributes of its
// own for each neighbour.
//
// Every server refuses every route that it receives and sends nothing but the prefixes that were announced to it: its
// policies say so for both directions, whatever else is in its table. The package must not decide what is announced.
package gobgp

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	api "github.com/osrg/gobgp/v3/api"
	"github.com/osrg/gobgp/v3/pkg/server"

	"github.com/cyphonic/cyphonic/services/speaker"
)

// Options of New.
type Options struct {
	// RouterID is the BGP identifier (RFC 6286): four bytes that no other speaker of the autonomous system has.
	RouterID netip.Addr
	// Listen are own addresses at which routers may open the session (passive peers); none: nothing listens.
	Listen []netip.Addr
	// ListenPort is the TCP port there.
	ListenPort uint16
	// MaxPeers is how many neighbours there can be at a time.
	MaxPeers int
	Log      *slog.Logger
	Now      func() time.Time
}

// Router implements speaker.Router.
type Router struct {
	// constant
	options Options
	changed chan struct{} // of size 1
	cancel  context.CancelFunc

	// owned by the caller's goroutine
	free  []*neighbour
	peers map[string]*neighbour
}

// placeholderASN stands for the autonomous system where GoBGP wants one for a whole server: each neighbour has its own.
// It is no real one (AS_TRANS, RFC 6793).
const placeholderASN = 23456

// New starts a server for each neighbour that there can be. GoBGP keeps settings of servers in package variables that it
// writes when one starts, so all of them start before any has a neighbour; and its servers never end, so they are used
// again for other neighbours.
func New(o Options) (*Router, error) {
	ctx, cancel := context.WithCancel(context.Background())
	r := &Router{options: o, changed: make(chan struct{}, 1), cancel: cancel, peers: map[string]*neighbour{}}
	if len(o.Listen) > o.MaxPeers {
		cancel()
		return nil, fmt.Errorf("%d addresses to listen at, at most %d", len(o.Listen), o.MaxPeers)
	}
	for i := range o.MaxPeers {
		n := newNeighbour(o, r.poke)
		if i < len(o.Listen) {
			n.listen = o.Listen[i]
		}
		if err := n.start(ctx, o); err != nil {
			cancel()
			for _, other := range r.free {
				other.server.Stop()
			}
			return nil, err
		}
		r.free = append(r.free, n)
	}
	return r, nil
}

func (r *Router) poke() {
	select {
	case r.changed <- struct{}{}:
	default:
	}
}

// Changed is written to after the state of a session has changed.
func (r *Router) Changed() <-chan struct{} { return r.changed }

// SetPeer begins or replaces the session of a peer.
func (r *Router) SetPeer(p speaker.Peer) error {
	n := r.peers[p.Name]
	if n != nil && !n.suits(p) {
		r.Forget(p.Name)
		n = nil
	}
	if n == nil {
		var err error
		if n, err = r.take(p); err != nil {
			return err
		}
		r.peers[p.Name] = n
	}
	n.end()
	return n.begin(p)
}

// take finds a server that is free.
func (r *Router) take(p speaker.Peer) (*neighbour, error) {
	// Those that listen are for those who need it.
	for i := len(r.free) - 1; i >= 0; i-- {
		if n := r.free[i]; n.suits(p) {
			r.free = append(r.free[:i], r.free[i+1:]...)
			return n, nil
		}
	}
	if p.Passive {
		return nil, fmt.Errorf("nothing listens for it: a passive peer needs a localAddress that is in speaker.listen of this host and that no other passive peer has")
	}
	return nil, fmt.Errorf("there are %d peers already", r.options.MaxPeers)
}

// RemovePeer ends the session.
func (r *Router) RemovePeer(name string) {
	if n := r.peers[name]; n != nil {
		n.end()
	}
}

// Forget removes all that was kept for a peer.
func (r *Router) Forget(name string) {
	n := r.peers[name]
	if n == nil {
		return
	}
	n.end()
	n.clear()
	delete(r.peers, name)
	r.free = append([]*neighbour{n}, r.free...)
}

// Announce announces a prefix to a peer, or changes its attributes.
func (r *Router) Announce(peer string, prefix netip.Prefix, a speaker.Attributes) error {
	n := r.peers[peer]
	if n == nil {
		return fmt.Errorf("peer %s is not set", peer)
	}
	return n.announce(prefix, a)
}

// Withdraw withdraws a prefix from a peer.
func (r *Router) Withdraw(peer string, prefix netip.Prefix) error {
	n := r.peers[peer]
	if n == nil {
		return nil
	}
	return n.withdraw(prefix)
}

// Sessions says how all sessions are.
func (r *Router) Sessions() map[string]speaker.Session {
	out := make(map[string]speaker.Session, len(r.peers))
	for name, n := range r.peers {
		if n.active {
			out[name] = n.look()
		}
	}
	return out
}

// Close ends all sessions: the neighbours are told so.
func (r *Router) Close() {
	for name := range r.peers {
		r.Forget(name)
	}
	for _, n := range r.free {
		n.server.Stop()
	}
	r.cancel()
}

// neighbour is one server and the one neighbour that it has.
type neighbour struct {
	// constant
	server *server.BgpServer
	log    *logger
	now    func() time.Time
	listen netip.Addr // zero: it does not listen

	// owned by the caller's goroutine
	active   bool
	peer     speaker.Peer
	prefixes map[netip.Prefix]bool
	session  speaker.Session
	looked   time.Time
	lost     bool // it was established, and has not been begun anew since

	// atomic
	dirty atomic.Bool
	flaps atomic.Uint64

	mu sync.Mutex
	up bool // as the events say
}

func newNeighbour(o Options, changed func()) *neighbour {
	n := &neighbour{now: o.Now, prefixes: map[netip.Prefix]bool{}}
	n.log = newLogger(o.Log)
	n.server = server.NewBgpServer(server.LoggerOption(n.log))
	n.log.changed = func() { n.dirty.Store(true); changed() }
	return n
}

// start starts the server, with policies that let nothing in and nothing out.
func (n *neighbour) start(ctx context.Context, o Options) error {
	go n.server.Serve()
	global := &api.Global{
		Asn: placeholderASN, RouterId: o.RouterID.String(), ListenPort: -1,
		Families: []uint32{familyIPv4, familyIPv6},
	}
	if n.listen.IsValid() {
		global.ListenPort, global.ListenAddresses = int32(o.ListenPort), []string{n.listen.String()}
	}
	if err := n.server.StartBgp(ctx, &api.StartBgpRequest{Global: global}); err != nil {
		return fmt.Errorf("start BGP: %w", err)
	}
	if err := n.restrict(ctx); err != nil {
		return fmt.Errorf("set the policies of BGP: %w", err)
	}
	watch := &api.WatchEventRequest{Peer: &api.WatchEventRequest_Peer{}}
	if err := n.server.WatchEvent(ctx, watch, n.event); err != nil {
		return fmt.Errorf("watch BGP: %w", err)
	}
	return nil
}

// suits tells whether the server can have the peer.
func (n *neighbour) suits(p speaker.Peer) bool {
	return !p.Passive || n.listen.IsValid() && n.listen == p.LocalAddress
}

// event notes that the state of the session has changed. GoBGP calls it from a goroutine of its own.
func (n *neighbour) event(r *api.WatchEventResponse) {
	e := r.GetPeer()
	if e == nil || e.GetPeer().GetState() == nil {
		return
	}
	up := e.Peer.State.SessionState == api.PeerState_ESTABLISHED
	n.mu.Lock()
	if n.up && !up {
		n.flaps.Add(1)
	}
	n.up = up
	n.mu.Unlock()
	n.log.quiet(up)
	n.log.changed()
}
