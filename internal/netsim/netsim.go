// Package netsim is a simulated network for tests in virtual time: hosts with
// UDP sockets, NATs of the usual behaviours, delay, loss, a largest datagram,
// blocking rules and changes of address.
//
// It moves datagrams only and models the network layer as far as hole punching
// and path changes notice it. Time is the time package's, so that a test under
// testing/synctest decides how fast it runs. It must not be used by a program.
//
// A datagram travels like this:
//
//	socket → (NAT of the sender: translate) → core: blocks, loss, size, delay
//	       → (NAT of the receiver: filter, translate) → socket
//
// What a NAT lets in is decided when the datagram arrives, not when it is sent.
package netsim

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"
)

// DefaultDelay is the one-way delay through the core; within a LAN it is LANDelay.
const (
	DefaultDelay = 10 * time.Millisecond
	LANDelay     = 200 * time.Microsecond
	// DefaultMTU is the largest IP packet in bytes; a larger datagram is lost.
	DefaultMTU = 1500
	// maxInFlight bounds the datagrams under way; more are lost.
	maxInFlight = 1 << 16
)

// Packet is a datagram as the core of the network sees it: after the sender's
// NAT and before the receiver's.
type Packet struct {
	From, To netip.AddrPort
	Payload  []byte
}

// Network is the core to which hosts and NATs are attached.
type Network struct {
	mu      sync.Mutex
	random  *rand.Rand
	delay   time.Duration
	loss    float64
	mtu     int
	hosts   map[netip.Addr]*Host // by public address
	nats    map[netip.Addr]*NAT  // by public address
	blocks  map[int]func(Packet) bool
	watches []func(Packet)
	nextID  int
	flight  flight
	pump    *time.Timer
}

// New makes an empty network. The seed decides which datagrams are lost.
func New(seed uint64) *Network {
	return &Network{
		random: rand.New(rand.NewPCG(seed, 0)),
		delay:  DefaultDelay,
		mtu:    DefaultMTU,
		hosts:  make(map[netip.Addr]*Host),
		nats:   make(map[netip.Addr]*NAT),
		blocks: make(map[int]func(Packet) bool),
	}
}

// SetDelay changes the one-way delay through the core for later datagrams.
func (n *Network) SetDelay(d time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.delay = d
}

// SetLoss makes the core lose this share (0 to 1) of the datagrams.
func (n *Network) SetLoss(share float64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.loss = share
}

// SetMTU changes the size in bytes of the largest IP packet.
func (n *Network) SetMTU(mtu int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.mtu = mtu
}

// Block makes the core lose what rule matches until unblock is called. The rule
// must not call the network nor keep the payload.
func (n *Network) Block(rule func(Packet) bool) (unblock func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	id := n.nextID
	n.nextID++
	n.blocks[id] = rule
	return func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		delete(n.blocks, id)
	}
}

// BlockPair blocks everything between two public addresses, both ways.
func (n *Network) BlockPair(a, b netip.Addr) (unblock func()) {
	return n.Block(func(p Packet) bool {
		from, to := p.From.Addr(), p.To.Addr()
		return from == a && to == b || from == b && to == a
	})
}

// Watch calls f with every datagram that enters the core, lost ones included.
// It must not call the network; it may keep the payload but not change it.
func (n *Network) Watch(f func(Packet)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.watches = append(n.watches, f)
}

// Inject puts a datagram into the core as if it had come from p.From: what an
// attacker who can forge source addresses does.
func (n *Network) Inject(p Packet) {
	n.mu.Lock()
	defer n.mu.Unlock()
	p.Payload = append([]byte(nil), p.Payload...)
	n.enter(p)
}

// enter takes a datagram into the core.
func (n *Network) enter(p Packet) {
	for _, watch := range n.watches {
		watch(p)
	}
	for _, rule := range n.blocks {
		if rule(p) {
			return
		}
	}
	header := 28
	if p.To.Addr().Is6() {
		header = 48
	}
	if len(p.Payload)+header > n.mtu || n.loss > 0 && n.random.Float64() < n.loss {
		return
	}
	n.schedule(n.delay, func() { n.arrive(p) })
}

// arrive hands a datagram to who owns the destination address now.
func (n *Network) arrive(p Packet) {
	if h := n.hosts[p.To.Addr()]; h != nil {
		h.receive(p)
		return
	}
	if nat := n.nats[p.To.Addr()]; nat != nil {
		nat.inbound(p)
	}
}

// schedule runs f with the network locked after d, in the order of time and call.
func (n *Network) schedule(d time.Duration, f func()) {
	if len(n.flight) >= maxInFlight {
		return
	}
	n.nextID++
	heap.Push(&n.flight, event{at: time.Now().Add(d), order: n.nextID, run: f})
	n.arm()
}

func (n *Network) arm() {
	if n.pump != nil {
		n.pump.Stop()
	}
	if len(n.flight) > 0 {
		// At least 1 ns: with timers that were due at once the runtime has crashed in synctest under the race detector (Go 1.26.8).
		n.pump = time.AfterFunc(max(time.Until(n.flight[0].at), 1), n.deliver)
	}
}

func (n *Network) deliver() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for now := time.Now(); len(n.flight) > 0 && !n.flight[0].at.After(now); {
		heap.Pop(&n.flight).(event).run()
	}
	n.arm()
}

type event struct {
	at    time.Time
	order int
	run   func()
}

// flight is a heap of the datagrams under way.
type flight []event

func (f flight) Len() int      { return len(f) }
func (f flight) Swap(i, j int) { f[i], f[j] = f[j], f[i] }
func (f flight) Less(i, j int) bool {
	if !f[i].at.Equal(f[j].at) {
		return f[i].at.Before(f[j].at)
	}
	return f[i].order < f[j].order
}
func (f *flight) Push(x any) { *f = append(*f, x.(event)) }
func (f *flight) Pop() any {
	last := len(*f) - 1
	e := (*f)[last]
	*f = (*f)[:last]
	return e
}

func mustUnmapped(a netip.Addr) {
	if !a.IsValid() || a.Is4In6() {
		panic(fmt.Sprintf("netsim: address %v", a))
	}
}
