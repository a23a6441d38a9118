package netfilter

import (
	"fmt"
	"slices"
	"time"
)

// Names of chains. The slash keeps them apart from words of the language and from names without one.

func spreadChain(s Service) string             { return "spread/" + s.Name }
func backendChain(s Service, b Backend) string { return "to/" + s.Name + "/" + b.Name }

// guardChain is there if connections are tracked.
const guardChain = "guard"

func returnChain(s Service) string { return "from/" + s.Name }
func drop(reason string) string    { return fmt.Sprintf("counter name %q drop", reason) }

// Counters of the table, apart from those of backends.
const (
	noService         = "drop/no_service"
	noBackend         = "drop/no_backend"
	unknownConnection = "drop/unknown_connection"
	rescueLimit       = "drop/rescue_limit"
	connectionLimit   = "drop/connection_limit"
	sourceLimit       = "drop/source_limit"
	bfdTTL            = "drop/bfd_ttl"
	resetGone         = "reset/backend_gone"
	resetUnknown      = "reset/unknown_connection"
	rescueSent        = "rescue/sent"
	rescueReceived    = "rescue/received"
)

func counterNames() []string {
	return []string{
		noService, noBackend, unknownConnection, rescueLimit, connectionLimit, sourceLimit, bfdTTL,
		resetGone, resetUnknown, rescueSent, rescueReceived,
	}
}

// elements of the verdict maps of a family's base chains.
type elements struct {
	arriving   []string // VIP . protocol . port → service
	leaving    []string // backend of this host . port → way back
	forwarded  []string // backend in another namespace . protocol . port → untracked
	returning  []string // backend in another namespace . port → way back
	connecting []string // VIP . port → TCP service
	local      []string // VIP . port → UDP service, for programs of this host

	// rules for the first of arriving and leaving: they say the same as the maps, faster
	fastArriving, fastLeaving []string
}

func (p plan) elements(f family) elements {
	var e elements
	for _, s := range p.Services {
		vips := f.only(s.VIP)
		for _, vip := range vips {
			switch {
			case s.Protocol == UDP:
				e.arriving = append(e.arriving, fmt.Sprintf("%s . 17 . %d : goto %s", vip, s.Port, spreadChain(s)))
				e.local = append(e.local, fmt.Sprintf("%s . %d : goto %s", vip, s.Port, spreadChain(s)))
				if len(e.fastArriving) < fastFronts {
					e.fastArriving = append(e.fastArriving, fmt.Sprintf("%s daddr %s udp dport %d %s", f.name, vip, s.Port, p.choice(f, s)))
				}
			case p.tracks(f):
				e.arriving = append(e.arriving, fmt.Sprintf("%s . 6 . %d : accept", vip, s.Port))
				e.connecting = append(e.connecting, fmt.Sprintf("%s . %d : goto %s", vip, s.Port, spreadChain(s)))
			default: // it has no backend: dropped and counted there
				e.arriving = append(e.arriving, fmt.Sprintf("%s . 6 . %d : goto %s", vip, s.Port, spreadChain(s)))
			}
		}
		for _, backend := range s.Backends {
			end, ok := f.end(backend)
			if !ok || len(vips) == 0 {
				continue
			}
			returns := fmt.Sprintf("%s . %d : goto %s", end.Addr(), end.Port(), returnChain(s))
			switch here := p.local[end.Addr()]; {
			case s.Protocol == UDP && here:
				e.leaving = append(e.leaving, returns)
				if len(e.fastLeaving) < fastBackends { // the usual datagram; others go on to the map
					e.fastLeaving = append(e.fastLeaving, fmt.Sprintf("udp sport %d %s saddr %s %s", end.Port(), f.name, end.Addr(), back(f, s)[0]))
				}
			case s.Protocol == UDP:
				e.returning = append(e.returning, returns)
				e.forwarded = append(e.forwarded, fmt.Sprintf("%s . 17 . %d : goto untracked", end.Addr(), end.Port()))
			case !here:
				e.forwarded = append(e.forwarded, fmt.Sprintf("%s . 6 . %d : accept", end.Addr(), end.Port()))
			}
		}
	}
	for _, socket := range p.Direct {
		if f.of(socket.Addr()) && !p.local[socket.Addr()] {
			e.forwarded = append(e.forwarded, fmt.Sprintf("%s . 17 . %d : goto untracked", socket.Addr(), socket.Port()))
		}
	}
	return e
}

// tracks tells whether connections of the family are tracked. That costs every packet of the host something, so it begins
// with the first backend for TCP; it goes on without one, so that the connections of those that have gone are refused.
func (p plan) tracks(f family) bool {
	return slices.ContainsFunc(p.Services, func(s Service) bool {
		return s.Protocol == TCP && len(f.only(s.VIP)) > 0 && (p.tracked[f.name] || len(f.takers(s)) > 0)
	})
}

// baseChains are the ones that the kernel calls. Those that only backends in other namespaces need are there only with
// such a backend: every packet of the host would pay for them.
func (p plan) baseChains(f family) []chain {
	e := p.elements(f)
	source := func(protocol string) string { return f.name + " saddr . " + protocol + " sport" }
	target := func(protocol string) string { return f.name + " daddr . " + protocol + " dport" }
	base := func(name, kind, hook string, priority int, rules ...string) chain {
		return chain{name: name, base: fmt.Sprintf("{ type %s hook %s priority %d; policy accept; }", kind, hook, priority), rules: rules}
	}
	prerouting := append(e.fastArriving, f.name+" daddr . meta l4proto . th dport vmap @arriving")
	if len(e.forwarded) > 0 {
		prerouting = append(prerouting, f.name+" saddr . meta l4proto . th sport vmap @forwarded")
	}
	prerouting = append(prerouting, f.name+" daddr @vips goto strangers", target("udp")+" @direct notrack")
	if p.BFD { // what was sent on this link comes with the greatest TTL (RFC 5881, section 5)
		prerouting = append(prerouting, fmt.Sprintf("udp dport %d %s != 255 fib daddr type local %s", bfdPort, f.ttl, drop(bfdTTL)))
	}
	chains := []chain{
		base("prerouting", "filter", "prerouting", -300, prerouting...),
		base("output", "filter", "output", -300, append(e.fastLeaving, source("udp")+" vmap @leaving", source("udp")+" @direct notrack")...),
	}
	if p.tracks(f) {
		chains = append(chains,
			base("nat_prerouting", "nat", "prerouting", -100, target("tcp")+" vmap @connecting"),
			base("nat_output", "nat", "output", -100, target("tcp")+" vmap @connecting"),
			base(guardChain, "filter", "prerouting", -150, p.guard(f)...),
		)
	}
	if len(e.forwarded) == 0 {
		return chains
	}
	return append(
		chains, chain{name: "untracked", rules: []string{"notrack accept"}},
		base("postrouting", "filter", "postrouting", 150, source("udp")+" vmap @returning"),
		base("input", "filter", "input", -300, f.name+" daddr @vips "+source("udp")+" vmap @returning"),
		base("reroute", "route", "output", -300, target("udp")+" vmap @local"),
	)
}

// maps are the verdict maps of the base chains.
func (p plan) maps(f family) []set {
	e := p.elements(f)
	short := declare("map", f.address+" . inet_service : verdict")
	long := declare("map", f.address+" . inet_proto . inet_service : verdict")
	of := func(name, declaration string, elements []string) set {
		return set{name: name, declaration: declaration, elements: sorted(elements)}
	}
	maps := []set{of("arriving", long, e.arriving), of("leaving", short, e.leaving), of("connecting", short, e.connecting)}
	if len(e.forwarded) == 0 {
		return maps
	}
	return append(maps, of("forwarded", long, e.forwarded), of("returning", short, e.returning), of("local", short, e.local))
}

// guard stands between connection tracking and translation. Tracking would take a packet from the middle of a connection
// for the first one of a new connection (nf_conntrack_tcp_loose); what is dropped here leaves no entry.
func (p plan) guard(f family) []string {
	return []string{
		"meta l4proto != tcp accept",
		f.name + " daddr . tcp dport != @fronts accept",
		"ct state new,invalid,untracked tcp flags & (fin|syn|rst|ack) != syn goto rescue",
		fmt.Sprintf("ct status dnat ct reply %s saddr != @replies counter name %q reject with tcp reset", f.name, resetGone),
		fmt.Sprintf("%s dscp 0x%x counter name %q", f.name, rescueMark, rescueReceived),
		fmt.Sprintf("ct status assured %s != @%s add @%s { %s }", f.source, knownSet, knownSet, f.source),
		"ct state != new accept",
		f.perSource(connectingSet, sourceConnectionsPerSecond, sourceConnectionsBurst) + drop(sourceLimit),
		fmt.Sprintf("%s != @%s %s%s", f.source, knownSet, over(connectionsPerSecond, connectionsBurst), drop(connectionLimit)),
		fmt.Sprintf("%s @%s %s%s", f.source, knownSet, over(connectionsPerSecond, connectionsBurst), drop(connectionLimit)),
		fmt.Sprintf("ct timeout set %q", timeoutName),
	}
}

// Sets that the kernel fills. One that is full takes no more: then only the limits for all sources together hold.
const (
	knownSet      = "known" // sources that have completed a handshake, so that they are no inventions
	connectingSet = "connecting_sources"
)

// rescuedSet has another name for other limits: the kernel would keep those of the sources that are in it.
func (p plan) rescuedSet(f family) string { return fmt.Sprintf("rescued_sources/%d", p.copies(f)) }

// copies is what a TCP packet of an unknown connection costs: one for each of the other hosts, or a reset.
func (p plan) copies(f family) int { return max(len(f.only(p.Hosts)), 1) }

// sourceSets are there if connections are tracked.
func (p plan) sourceSets(f family) []set {
	of := func(name string, kept time.Duration) set {
		return set{name: name, dynamic: true, declaration: fmt.Sprintf("set { type %s; size %d; flags dynamic,timeout; timeout %ds; }", f.address, maxSources, int(kept.Seconds()))}
	}
	return []set{of(knownSet, knownFor), of(connectingSet, sourceIdle), of(p.rescuedSet(f), sourceIdle)}
}

// perSource matches what a source sends beyond a limit.
func (f family) perSource(set string, rate, burst int) string {
	return fmt.Sprintf("update @%s { %s %s} ", set, f.source, over(rate, burst))
}

// over matches what comes beyond a limit.
func over(rate, burst int) string {
	return fmt.Sprintf("limit rate over %d/second burst %d packets ", rate, burst)
}
