package netsim

import (
	"net/netip"
	"time"
)

// Dependence says what a NAT's mapping or filter depends on (RFC 4787,
// sections 4.1 and 5).
type Dependence uint8

// The three dependences.
const (
	EndpointIndependent Dependence = iota
	AddressDependent
	AddressAndPortDependent
)

// Behaviour of a NAT. Its mappings end after Timeout without an outbound
// datagram; 0 stands for two minutes.
type Behaviour struct {
	Mapping   Dependence
	Filtering Dependence
	Hairpin   bool
	Timeout   time.Duration
}

// The usual NATs.
var (
	FullCone       = Behaviour{Mapping: EndpointIndependent, Filtering: EndpointIndependent}
	Restricted     = Behaviour{Mapping: EndpointIndependent, Filtering: AddressDependent}
	PortRestricted = Behaviour{Mapping: EndpointIndependent, Filtering: AddressAndPortDependent}
	Symmetric      = Behaviour{Mapping: AddressAndPortDependent, Filtering: AddressAndPortDependent}
)

const (
	defaultTimeout = 2 * time.Minute
	firstNATPort   = 20000
)

// NAT translates IPv4 between a LAN and one public address. IPv6 hosts of the
// LAN are reached without it.
type NAT struct {
	network   *Network
	public    netip.Addr
	behaviour Behaviour

	// under network.mu
	hosts    map[netip.Addr]*Host
	mappings map[mappingKey]*mapping
	byPort   map[uint16]*mapping
	nextPort uint16
}

type mappingKey struct {
	inside netip.AddrPort
	to     netip.AddrPort // what of the destination the mapping depends on
}

type mapping struct {
	key     mappingKey
	port    uint16
	expires time.Time
	allowed map[netip.AddrPort]bool // what of the sources the filter depends on
}

// NAT attaches a NAT with a public IPv4 address.
func (n *Network) NAT(public netip.Addr, behaviour Behaviour) *NAT {
	n.mu.Lock()
	defer n.mu.Unlock()
	mustUnmapped(public)
	if behaviour.Timeout == 0 {
		behaviour.Timeout = defaultTimeout
	}
	nat := &NAT{network: n, public: public, behaviour: behaviour, hosts: make(map[netip.Addr]*Host), nextPort: firstNATPort}
	nat.forget()
	n.nats[public] = nat
	return nat
}

// Host attaches a host to the NAT's LAN.
func (t *NAT) Host(addrs ...netip.Addr) *Host {
	t.network.mu.Lock()
	defer t.network.mu.Unlock()
	h := &Host{network: t.network, nat: t, sockets: make(map[uint16]*Conn)}
	h.attach(addrs)
	return h
}

// Forget drops all mappings, as a reboot does; new ones get new ports.
func (t *NAT) Forget() {
	t.network.mu.Lock()
	defer t.network.mu.Unlock()
	t.forget()
}

func (t *NAT) forget() {
	t.mappings = make(map[mappingKey]*mapping)
	t.byPort = make(map[uint16]*mapping)
}

// outbound takes a datagram of the LAN; the network is locked.
func (t *NAT) outbound(p Packet) {
	if h := t.hosts[p.To.Addr()]; h != nil {
		t.network.schedule(LANDelay, func() { h.receive(p) })
		return
	}
	if p.To.Addr().IsPrivate() {
		return // no such host in this LAN, and nobody else's to reach
	}
	if p.To.Addr() == t.public && !t.behaviour.Hairpin {
		return
	}
	m := t.mapping(p.From, p.To)
	m.expires = time.Now().Add(t.behaviour.Timeout)
	m.allowed[reduce(p.To, t.behaviour.Filtering)] = true
	p.From = netip.AddrPortFrom(t.public, m.port)
	if p.To.Addr() == t.public {
		t.network.schedule(LANDelay, func() { t.inbound(p) })
		return
	}
	t.network.enter(p)
}

func (t *NAT) mapping(inside, to netip.AddrPort) *mapping {
	key := mappingKey{inside: inside, to: reduce(to, t.behaviour.Mapping)}
	m := t.mappings[key]
	if m != nil && !time.Now().After(m.expires) {
		return m
	}
	if m != nil {
		delete(t.byPort, m.port)
	}
	m = &mapping{key: key, port: t.nextPort, allowed: make(map[netip.AddrPort]bool)}
	t.nextPort++
	t.mappings[key] = m
	t.byPort[m.port] = m
	return m
}

// inbound takes a datagram for the public address; the network is locked.
func (t *NAT) inbound(p Packet) {
	m := t.byPort[p.To.Port()]
	if m == nil || time.Now().After(m.expires) {
		return
	}
	if t.behaviour.Filtering != EndpointIndependent && !m.allowed[reduce(p.From, t.behaviour.Filtering)] {
		return
	}
	p.To = m.key.inside
	if h := t.hosts[p.To.Addr()]; h != nil {
		t.network.schedule(LANDelay, func() { h.receive(p) })
	}
}

// reduce keeps of an endpoint what d depends on.
func reduce(a netip.AddrPort, d Dependence) netip.AddrPort {
	switch d {
	case EndpointIndependent:
		return netip.AddrPort{}
	case AddressDependent:
		return netip.AddrPortFrom(a.Addr(), 0)
	}
	return a
}
