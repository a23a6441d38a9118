package netfilter

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// timeoutName names the timeouts of TCP connections in the table.
const timeoutName = "connections"

// rescueMark is the DSCP that says "shown by another speaker": one of those for local use (RFC 2474, section 6, pool
// 2). Who sets it himself only gives up being rescued.
const rescueMark = 0x2f

// plan is what rules are made from: a normal state and what is known of the host.
type plan struct {
	State
	seed  uint32
	slots map[slotKey]slots
	local map[netip.Addr]bool // addresses of this host; other backends are in another namespace
	// tracked are the families whose connections are tracked already.
	tracked map[string]bool
}

// slots of a service in a family.
type slots struct {
	owners []string // names of backends
	// version is that of the map in the kernel; another one for every change.
	version int
}

// next are the slots for other backends.
func (s slots) next(backends []string) slots {
	n := slots{owners: assign(s.owners, backends), version: s.version}
	if !slices.Equal(n.owners, s.owners) {
		n.version = (s.version + 1) % slotVersions
	}
	return n
}

// slotKey names the slots of a service in a family.
type slotKey struct {
	service string
	family  string
}

// of tells whether an address is of the family.
func (f family) of(a netip.Addr) bool { return a.Is4() == (f.name == ipv4.name) }

// addresses of the family among some.
func (f family) only(addresses []netip.Addr) []netip.Addr {
	return slices.DeleteFunc(slices.Clone(addresses), func(a netip.Addr) bool { return !f.of(a) })
}

// end of a backend in the family: address and port; false if it has none.
func (f family) end(b Backend) (netip.AddrPort, bool) {
	addresses := f.only(b.Address)
	if len(addresses) == 0 {
		return netip.AddrPort{}, false
	}
	return netip.AddrPortFrom(addresses[0], b.Port), true
}

// takers are the backends that get new flows: those that are not draining; if all are, these, for what still comes.
func (f family) takers(s Service) []string {
	var ready, draining []string
	for _, backend := range s.Backends {
		if _, ok := f.end(backend); !ok {
			continue
		}
		if backend.Draining {
			draining = append(draining, backend.Name)
		} else {
			ready = append(ready, backend.Name)
		}
	}
	if len(ready) == 0 {
		return draining
	}
	return ready
}

// rules makes the content of the table of a family.
//
// A packet of a UDP service passes: prerouting (VIP → slot → backend, not tracked) → routing → socket → output (backend
// → VIP, not tracked). To and from another namespace it is forwarded, and postrouting does what output does. A packet of
// a TCP service passes: prerouting → connection tracking → guard (is the connection known?) → nat_prerouting (VIP →
// slot → backend, for the first packet; the kernel does the rest).
func (p plan) rules(f family) ruleset {
	r := ruleset{counters: counterNames(), timeout: timeouts(f)}
	var vips, fronts, replies, direct []string
	for _, service := range p.Services {
		for _, vip := range f.only(service.VIP) {
			vips = append(vips, vip.String())
			if service.Protocol == TCP {
				fronts = append(fronts, fmt.Sprintf("%s . %d", vip, service.Port))
			}
		}
		for _, backend := range service.Backends {
			if end, ok := f.end(backend); ok && service.Protocol == TCP {
				replies = append(replies, end.Addr().String())
			} else if ok {
				direct = append(direct, fmt.Sprintf("%s . %d", end.Addr(), end.Port()))
			}
		}
	}
	for _, socket := range p.Direct {
		if f.of(socket.Addr()) {
			direct = append(direct, fmt.Sprintf("%s . %d", socket.Addr(), socket.Port()))
		}
	}
	single, socket := declare("set", f.address), declare("set", f.address+" . inet_service")
	r.sets = []set{
		{name: "vips", declaration: single, elements: sorted(vips)},
		{name: "fronts", declaration: socket, elements: sorted(fronts)},
		{name: "replies", declaration: single, elements: sorted(replies)},
		{name: "direct", declaration: socket, elements: sorted(direct)},
	}
	r.sets = append(r.sets, p.maps(f)...)
	if p.tracks(f) {
		r.sets = append(r.sets, p.sourceSets(f)...)
	}
	for _, service := range p.Services {
		chains, counters := p.serviceChains(f, service)
		r.chains, r.counters = append(r.chains, chains...), append(r.counters, counters...)
		if slots := p.slotMap(f, service); slots != nil {
			r.sets = append(r.sets, *slots)
		}
	}
	r.chains = append(r.chains, p.strangers(f))
	if p.tracks(f) {
		r.chains = append(r.chains, p.rescue(f))
	}
	r.chains = append(r.chains, p.baseChains(f)...)
	return r
}

func sorted(texts []string) []string {
	slices.Sort(texts)
	return slices.Compact(texts)
}

func timeouts(f family) string {
	return fmt.Sprintf("{ protocol tcp; l3proto %s; policy = { syn_sent : %d, syn_recv : %d, established : %d }; }",
		f.name, halfOpenSeconds, halfOpenSeconds, establishedSeconds)
}

// serviceChains are the chain that chooses a backend, one chain per backend, and the way back of UDP.
func (p plan) serviceChains(f family, s Service) (chains []chain, counters []string) {
	vips := f.only(s.VIP)
	if len(vips) == 0 {
		return nil, nil
	}
	chains = append(chains, chain{name: spreadChain(s), rules: []string{p.choice(f, s)}})
	for _, backend := range s.Backends {
		end, ok := f.end(backend)
		if !ok {
			continue
		}
		name := backendChain(s, backend)
		counters = append(counters, name)
		chains = append(chains, chain{name: name, rules: backendRules(f, s, end, name)})
	}
	if s.Protocol == UDP {
		chains = append(chains, chain{name: returnChain(s), rules: back(f, s)})
	}
	return chains, counters
}

// back are the rules for an answer over UDP: it leaves from the VIP.
func back(f family, s Service) []string {
	port := ""
	if slices.ContainsFunc(s.Backends, func(b Backend) bool { return b.Port != s.Port }) {
		port = fmt.Sprintf(" udp sport set %d", s.Port)
	}
	return unchecked(f, fmt.Sprintf("%s saddr set %s", f.name, f.only(s.VIP)[0]), port, "notrack accept")
}

// choice is the rule that finds the backend of a flow.
func (p plan) choice(f family, s Service) string {
	owners := p.slots[slotKey{s.Name, f.name}].owners
	switch m := p.slotMap(f, s); {
	case len(owners) == 0:
		return drop(noBackend)
	case m == nil:
		return "goto " + backendChain(s, Backend{Name: owners[0]})
	default:
		return fmt.Sprintf("jhash %s saddr . %s sport mod %d seed 0x%x vmap @%s", f.name, s.Protocol, slotCount, p.seed, m.name)
	}
}

// slotMap leads from slots to backends; nil if there is no choice.
func (p plan) slotMap(f family, s Service) *set {
	slots := p.slots[slotKey{s.Name, f.name}]
	if len(f.only(s.VIP)) == 0 || !slices.ContainsFunc(slots.owners, func(owner string) bool { return owner != slots.owners[0] }) {
		return nil
	}
	m := &set{name: fmt.Sprintf("slots/%s/%d", s.Name, slots.version), declaration: fmt.Sprintf("map { typeof numgen inc mod %d : verdict; size %d; }", slotCount, slotCount)}
	for i, owner := range slots.owners {
		m.elements = append(m.elements, fmt.Sprintf("%d : goto %s", i, backendChain(s, Backend{Name: owner})))
	}
	return m
}

// declare declares a set or map. A size that is known makes the kernel take a faster kind of table.
func declare(kind, of string) string {
	return fmt.Sprintf("%s { type %s; size %d; }", kind, of, maxElements)
}

func backendRules(f family, s Service, end netip.AddrPort, counter string) []string {
	if s.Protocol == TCP {
		return []string{fmt.Sprintf("meta l4proto tcp counter name %q dnat to %s", counter, end)}
	}
	port := ""
	if end.Port() != s.Port {
		port = fmt.Sprintf(" udp dport set %d", end.Port())
	}
	return unchecked(f, fmt.Sprintf("%s daddr set %s", f.name, end.Addr()), port, fmt.Sprintf("notrack counter name %q accept", counter))
}

// unchecked are the rules for a change of an address and perhaps of a UDP port. Over IPv4 a datagram may come without a
// checksum (RFC 768); with another port the kernel updates the field without looking, so it is made zero again. The usual
// datagram has one: its rule comes first.
func unchecked(f family, address, port, then string) []string {
	if f.name == ipv6.name || port == "" {
		return []string{address + port + " " + then}
	}
	return []string{"@th,48,16 != 0 " + address + port + " " + then, address + port + " udp checksum set 0 " + then}
}

// strangers is what becomes of packets to a VIP that no service of the host takes: none of them is tracked.
func (p plan) strangers(f family) chain {
	return chain{name: "strangers", rules: []string{
		`iifname "lo" accept`, // answers to programs of this host that use a service: their address is the VIP
		f.icmp + " type echo-request notrack accept",
		"meta l4proto " + icmpProtocol(f) + " accept", // errors; tracking only relates them, and has to translate them
		drop(noService),
	}}
}

func icmpProtocol(f family) string {
	if f.name == ipv4.name {
		return "icmp"
	}
	return "ipv6-icmp"
}

// rescue is what becomes of a TCP packet whose connection is not known here: the routers may have chosen another host
// for it since, so that one of the others knows it. Each drops it in silence if it does not. A packet costs one for each
// of the other hosts, so the limits are divided by their number.
func (p plan) rescue(f family) chain {
	mark := fmt.Sprintf("%s dscp", f.name)
	c := chain{name: "rescue", rules: []string{fmt.Sprintf("%s 0x%x %s", mark, rescueMark, drop(unknownConnection))}}
	hosts := f.only(p.Hosts)
	copies := p.copies(f)
	c.rules = append(c.rules,
		f.perSource(p.rescuedSet(f), sourceRescuesPerSecond/copies, sourceRescuesBurst/copies)+drop(rescueLimit),
		over(rescuesPerSecond/copies, rescuesBurst/copies)+drop(rescueLimit))
	if len(hosts) == 0 {
		c.rules = append(c.rules, fmt.Sprintf("counter name %q reject with tcp reset", resetUnknown))
		return c
	}
	var shows strings.Builder
	for _, host := range hosts {
		fmt.Fprintf(&shows, " dup to %s", host)
	}
	c.rules = append(c.rules, fmt.Sprintf("%s set 0x%x%s counter name %q drop", mark, rescueMark, shows.String(), rescueSent))
	return c
}
