package speaker

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/cyphonic/cyphonic/internal/balancer"
	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/services/speaker/bfd"
	"github.com/cyphonic/cyphonic/services/speaker/netfilter"
)

// input is all that a plan depends on, besides what the core remembers and the time.
type input struct {
	host      string
	resources *resources
	backends  []balancer.Registration // registered replicas, by service and name
	hosts     []netip.Addr            // of other speakers, on a link of this host
	own       []netip.Addr            // of this host, but for those of loopback interfaces

	applied     netfilter.State // what the packet filter does
	failed      bool            // the last attempt to change it failed
	established map[string]bool // sessions, by peer
	connected   time.Time       // since when the desired state is followed in etcd
	lost        bool            // it was followed, and is not now

	started  bool // replicas that were there before the speaker have had time to register
	stopping bool // the speaker ends
}

// plan is what shall be.
type plan struct {
	filter netfilter.State
	left   []string // replicas that get no traffic because of what they say of themselves
	peers  map[string]Peer
	faults map[string]string // peers that can have no session, and why
	bfd    []bfd.Peer
	routes map[string]map[netip.Prefix]Attributes
	status []keyspace.SpokenPrefix
	next   time.Time // a new plan is due; zero: only after a change
}

// core makes plans. It remembers what it let be announced, because what was announced is withdrawn in two steps if the
// host can still serve it: first with the community of graceful shutdown, after some time not at all.
type core struct {
	graceful time.Duration // between the two steps
	peers    map[string]Peer
	routes   map[string]map[netip.Prefix]held
	cut      map[string]time.Time // peers whose session was down while etcd was away; since when it stands again, zero: it does not
}

// held is an announced route.
type held struct {
	attributes Attributes
	services   []service // that have the address
	until      time.Time // when it is withdrawn; zero: it stays
}

func newCore(graceful time.Duration) *core {
	return &core{graceful: graceful, peers: map[string]Peer{}, routes: map[string]map[netip.Prefix]held{}, cut: map[string]time.Time{}}
}

// plan says what shall be at the time now.
func (c *core) plan(now time.Time, in input) plan {
	p := plan{peers: map[string]Peer{}, faults: map[string]string{}, routes: map[string]map[netip.Prefix]Attributes{}}
	wanted := c.wantedPeers(in, &p)
	v := newView(in, c.heldServices())
	names := slices.AppendSeq(slices.Collect(maps.Keys(wanted)), maps.Keys(c.peers))
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		peer, want := wanted[name]
		if old, there := c.peers[name]; there && (!want || old != peer) {
			c.announce(now, in, v, name, nil)
			if len(c.routes[name]) > 0 { // the old session ends when nothing is announced over it any more
				p.peers[name] = old
				continue
			}
			delete(c.peers, name)
			delete(c.cut, name)
		}
		if want {
			c.peers[name], p.peers[name] = peer, peer
			routes := c.wantedRoutes(in, peer)
			if c.returning(now, in, name, &p) {
				routes = nil
			}
			c.announce(now, in, v, name, routes)
		}
	}
	for name, routes := range c.routes {
		if _, there := c.peers[name]; !there {
			delete(c.routes, name)
			continue
		}
		p.routes[name] = map[netip.Prefix]Attributes{}
		for prefix, h := range routes {
			p.routes[name][prefix] = h.attributes
			if !h.until.IsZero() {
				p.routes[name][prefix] = h.attributes.leaving()
				if p.next.IsZero() || h.until.Before(p.next) {
					p.next = h.until
				}
			}
		}
	}
	v = newView(in, c.heldServices())
	p.filter, p.left = v.state, v.left
	p.filter.BFD = len(p.bfd) > 0
	p.status = c.status(in, v)
	return p
}

// wantedPeers are the sessions that this host shall have.
func (c *core) wantedPeers(in input, p *plan) map[string]Peer {
	wanted := map[string]Peer{}
	addresses := map[netip.Addr]string{}
	for _, name := range slices.Sorted(maps.Keys(in.resources.neighbours)) {
		n := in.resources.neighbours[name]
		if len(n.hosts) > 0 && !slices.Contains(n.hosts, in.host) {
			continue
		}
		other, taken := addresses[n.Address]
		switch {
		case n.suspended:
			p.faults[name] = "suspended"
			continue
		case taken:
			n.fault = fmt.Sprintf("BGPPeer %s has the same peerAddress: remove one of them", other)
		case n.fault == "" && len(wanted) >= maxPeers:
			n.fault = fmt.Sprintf("a speaker has at most %d sessions", maxPeers)
		}
		if n.fault != "" {
			p.faults[name] = n.fault
			continue
		}
		addresses[n.Address] = name
		wanted[name] = n.Peer
		if n.bfd != nil {
			p.bfd = append(p.bfd, bfd.Peer{
				Address: n.Address, LocalAddress: n.LocalAddress,
				RxInterval: n.bfd.receive, TxInterval: n.bfd.transmit, Multiplier: n.bfd.multiplier,
			})
		}
	}
	return wanted
}

// returning tells whether the host comes back after it was cut off from the peer and from etcd alike. Then the replicas were cut
// off from the others too, who have decided without them since: before traffic comes, they need the time to hear of it.
func (c *core) returning(now time.Time, in input, peer string, p *plan) bool {
	since, cut := c.cut[peer]
	if !in.established[peer] {
		if cut = cut || in.lost; cut {
			c.cut[peer] = time.Time{}
		}
		return cut
	}
	if !cut {
		return false
	}
	if since.IsZero() {
		since = now
		c.cut[peer] = since
	}
	until := since.Add(returnLimit)
	if t := in.connected.Add(returnGrace); !in.lost && t.Before(until) {
		until = t
	}
	if !now.Before(until) {
		delete(c.cut, peer)
		return false
	}
	if p.next.IsZero() || until.Before(p.next) {
		p.next = until
	}
	return true
}

// wantedRoutes are the prefixes that advertisements give to a peer, whether or not the host can serve them now.
func (c *core) wantedRoutes(in input, peer Peer) map[netip.Prefix]held {
	routes := map[netip.Prefix]held{}
	for _, name := range slices.Sorted(maps.Keys(in.resources.advertisements)) {
		a := in.resources.advertisements[name]
		if !a.covers(a.hosts, in.host) || !a.covers(a.peers, peer.Name) {
			continue
		}
		for _, sname := range slices.Sorted(maps.Keys(in.resources.services)) {
			s := in.resources.services[sname]
			if !a.covers(a.services, sname) {
				continue
			}
			for _, vip := range s.vips {
				prefix := netip.PrefixFrom(vip, vip.BitLen())
				h, there := routes[prefix]
				if !peer.carries(vip) || !there && len(routes) >= maxPrefixes {
					continue
				}
				if !slices.ContainsFunc(h.services, func(o service) bool { return o.name == s.name }) {
					h.services = append(h.services, s)
				}
				h.attributes = merge(h.attributes, a.attributes)
				routes[prefix] = h
			}
		}
	}
	for prefix, h := range routes {
		h.attributes.LocalPreference = cmp.Or(h.attributes.LocalPreference, DefaultLocalPreference)
		routes[prefix] = h
	}
	return routes
}

// merge joins the attributes of two advertisements: all communities; of single values the first one that was given.
func merge(a, b Attributes) Attributes {
	a.Communities = slices.Concat(a.Communities, b.Communities)
	slices.Sort(a.Communities)
	a.Communities = slices.Compact(a.Communities)
	a.LargeCommunities = slices.Concat(a.LargeCommunities, b.LargeCommunities)
	slices.SortFunc(a.LargeCommunities, func(x, y LargeCommunity) int { return slices.Compare(x[:], y[:]) })
	a.LargeCommunities = slices.Compact(a.LargeCommunities)
	a.LocalPreference = cmp.Or(a.LocalPreference, b.LocalPreference)
	a.MED, a.Prepend = cmp.Or(a.MED, b.MED), cmp.Or(a.Prepend, b.Prepend)
	return a
}

// announce changes what is announced to a peer towards what is wanted and can be served.
func (c *core) announce(now time.Time, in input, v *view, peer string, wanted map[netip.Prefix]held) {
	have := c.routes[peer]
	if have == nil {
		have = map[netip.Prefix]held{}
		c.routes[peer] = have
	}
	for prefix, want := range wanted {
		_, there := have[prefix]
		if in.started && !in.stopping && v.fault(prefix.Addr(), there, keyspace.ReplicaReady) == "" {
			have[prefix] = want
		}
	}
	for prefix, h := range have {
		if _, want := wanted[prefix]; want && !in.stopping && v.fault(prefix.Addr(), true, keyspace.ReplicaReady) == "" {
			continue
		}
		// Without anybody who serves or who listens there is nothing to wait for.
		if !in.established[peer] || v.fault(prefix.Addr(), true, keyspace.ReplicaReady, keyspace.ReplicaLeaving) != "" {
			delete(have, prefix)
			continue
		}
		if h.until.IsZero() {
			h.until = now.Add(c.graceful)
			have[prefix] = h
		}
		if !now.Before(h.until) {
			delete(have, prefix)
		}
	}
}

// heldServices are the services whose addresses are announced, by address.
func (c *core) heldServices() map[netip.Addr][]service {
	all := map[netip.Addr][]service{}
	for _, routes := range c.routes {
		for prefix, h := range routes {
			all[prefix.Addr()] = h.services
		}
	}
	return all
}

// announced lists the prefixes that are announced over an established session and stay.
func (c *core) announced(in input, a netip.Addr) (announced, leaving bool) {
	prefix := netip.PrefixFrom(a, a.BitLen())
	for peer, routes := range c.routes {
		if h, there := routes[prefix]; there && in.established[peer] {
			announced = announced || h.until.IsZero()
			leaving = true
		}
	}
	return announced, leaving && !announced
}

// status says of each address of a service of this host whether it is announced, and why not.
func (c *core) status(in input, v *view) []keyspace.SpokenPrefix {
	var out []keyspace.SpokenPrefix
	for _, vip := range slices.SortedFunc(maps.Keys(v.fronts), netip.Addr.Compare) {
		s := keyspace.SpokenPrefix{Prefix: netip.PrefixFrom(vip, vip.BitLen())}
		for _, f := range v.fronts[vip] {
			s.Services = append(s.Services, f.names...)
		}
		slices.Sort(s.Services)
		s.Services = slices.Compact(s.Services)
		announced, leaving := c.announced(in, vip)
		s.Announced = announced
		switch fault := v.fault(vip, false, keyspace.ReplicaReady); {
		case announced:
		case leaving:
			s.Reason = "it is being withdrawn"
		case fault != "":
			s.Reason = fault
		case !in.started:
			s.Reason = "the speaker has just started"
		case len(c.cut) > 0:
			s.Reason = "the host was cut off, and the replicas are given time to hear of the others"
		default:
			s.Reason = "no session with a BGPPeer that it is for is established"
		}
		out = append(out, s)
	}
	return out
}

// answer is what a replica is told; false as long as what it asked for has not taken effect.
func (c *core) answer(b balancer.Registration, in input, p plan) (balancer.Answer, bool) {
	a := balancer.Answer{Version: balancer.Version, State: b.State}
	if !in.started || !in.failed && !equalStates(p.filter, in.applied) {
		return a, false
	}
	held := false
	for _, s := range p.filter.Services {
		if !slices.ContainsFunc(s.Backends, func(o netfilter.Backend) bool { return o.Name == b.Name && o.Port == b.Port }) {
			continue
		}
		for _, vip := range s.VIP {
			announced, leaving := c.announced(in, vip)
			held = held || announced || leaving
			if announced {
				a.Announced = append(a.Announced, netip.PrefixFrom(vip, vip.BitLen()))
			}
		}
	}
	for _, s := range in.applied.Services {
		a.InService = a.InService || slices.ContainsFunc(s.Backends, func(o netfilter.Backend) bool {
			return o.Name == b.Name && o.Port == b.Port && !o.Draining
		})
	}
	if b.State == keyspace.ReplicaLeaving || b.State == keyspace.ReplicaFinishing {
		a.InService = a.InService && held // the last replica of the host keeps its place until nothing comes any more
		return a, !a.InService
	}
	return a, true
}
