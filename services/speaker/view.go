package speaker

import (
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"

	"github.com/cyphonic/cyphonic/internal/balancer"
	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/services/speaker/netfilter"
)

// front is an entry of the packet filter: the local replicas of one kind, and the addresses at which they are reached.
type front struct {
	netfilter.Service
	kind  string
	names []string // of CloudServices
	fault string   // why it is not in the packet filter
}

// view is what the host can serve.
type view struct {
	in     input
	left   []string // replicas that were left out
	fronts map[netip.Addr][]*front
	state  netfilter.State
}

// newView collects the services that an advertisement of this host names, and those whose addresses are still announced.
func newView(in input, held map[netip.Addr][]service) *view {
	v := &view{fronts: map[netip.Addr][]*front{}}
	in.backends, v.left = sound(in.backends, in.resources, held)
	v.in = in
	var fronts []*front
	add := func(s service, vips []netip.Addr) {
		i := slices.IndexFunc(fronts, func(f *front) bool { return f.kind == s.kind && f.fault == "" })
		fault := v.taken(vips)
		if fault == "" && i >= 0 && fronts[i].Port != s.port {
			fault = fmt.Sprintf("the replicas of %s are already behind port %d of CloudService %s: give all CloudServices of %s the same port", s.kind, fronts[i].Port, fronts[i].Name, s.kind)
		}
		if fault != "" {
			fronts = append(fronts, &front{kind: s.kind, fault: fault})
			i = len(fronts) - 1
		}
		if i < 0 {
			f := &front{kind: s.kind, Service: netfilter.Service{Name: s.name, Protocol: s.protocol, Port: s.port}}
			f.Backends = backendsOf(s.kind, in.backends)
			fronts = append(fronts, f)
			i = len(fronts) - 1
		}
		f := fronts[i]
		f.names = append(f.names, s.name)
		for _, vip := range vips {
			if !slices.Contains(f.VIP, vip) {
				f.VIP = append(f.VIP, vip)
				v.fronts[vip] = append(v.fronts[vip], f)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(in.resources.services)) {
		for _, a := range in.resources.advertisements {
			if a.covers(a.hosts, in.host) && a.covers(a.services, name) {
				add(in.resources.services[name], in.resources.services[name].vips)
				break
			}
		}
	}
	for _, vip := range slices.SortedFunc(maps.Keys(held), netip.Addr.Compare) {
		for _, s := range held[vip] {
			add(s, []netip.Addr{vip})
		}
	}
	v.build(fronts)
	v.state.Direct = v.direct()
	return v
}

// taken says why addresses cannot be those of a service. What comes for one that no port of a service has is dropped:
// with an address of the host itself nobody would reach the host any more.
func (v *view) taken(vips []netip.Addr) string {
	for _, vip := range vips {
		if slices.Contains(v.in.own, vip) {
			return fmt.Sprintf("%s is an address of this host: give the CloudService an address that no host has, or name other services in the BGPAdvertisement", vip)
		}
		for name, n := range v.in.resources.neighbours {
			if n.Address == vip {
				return fmt.Sprintf("%s is the address of the router of BGPPeer %s: give the CloudService another one", vip, name)
			}
		}
	}
	return ""
}

// sound leaves out replicas that the packet filter could not have together with the others: at the address of a
// service, at an address and port that another replica has, and more than fit in. It refuses its whole state
// otherwise, so that one replica could take the addresses of all others from the host.
func sound(registered []balancer.Registration, r *resources, held map[netip.Addr][]service) (out []balancer.Registration, left []string) {
	vips := map[netip.Addr]bool{}
	for _, s := range r.services {
		for _, vip := range s.vips {
			vips[vip] = true
		}
	}
	for vip := range held {
		vips[vip] = true
	}
	type end struct {
		protocol netfilter.Protocol
		at       netip.AddrPort
	}
	taken, count, keep := map[end]bool{}, map[string]int{}, make([]bool, len(registered))
	for _, state := range []keyspace.ReplicaState{keyspace.ReplicaReady, keyspace.ReplicaLeaving, keyspace.ReplicaFinishing, keyspace.ReplicaStarting} {
		for i, g := range registered {
			bad := func(a netip.Addr) bool {
				return vips[a] || taken[end{protocolOf(g.Service), netip.AddrPortFrom(a, g.Port)}]
			}
			if g.State != state || count[g.Service] >= maxBackends || slices.ContainsFunc(g.Addresses, bad) {
				continue
			}
			keep[i] = true
			count[g.Service]++
			for _, a := range g.Addresses {
				taken[end{protocolOf(g.Service), netip.AddrPortFrom(a, g.Port)}] = true
			}
		}
	}
	for i, g := range registered {
		if keep[i] {
			out = append(out, g)
		} else {
			left = append(left, g.Service+"/"+g.Name)
		}
	}
	return out, left
}

// build makes the state of the packet filter out of the fronts that fit into it.
func (v *view) build(fronts []*front) {
	v.state.Hosts = slices.DeleteFunc(slices.Clone(v.in.hosts), func(a netip.Addr) bool { return len(v.fronts[a]) > 0 })
	if err := v.state.Validate(); err != nil {
		v.state.Hosts = nil
	}
	for _, f := range fronts {
		slices.Sort(f.names)
		f.names = slices.Compact(f.names)
		if f.fault != "" {
			continue
		}
		slices.SortFunc(f.VIP, netip.Addr.Compare)
		next := v.state
		next.Services = append(slices.Clip(v.state.Services), f.Service)
		if err := next.Validate(); err != nil {
			f.fault = fmt.Sprintf("the packet filter cannot do it: %v", err)
			continue
		}
		v.state = next
	}
}

// direct are the UDP sockets of replicas that are reached past every address of a service.
func (v *view) direct() []netip.AddrPort {
	var out []netip.AddrPort
	if len(v.in.resources.raw) == 0 {
		return nil // nothing is known yet
	}
	for _, r := range v.in.backends {
		spread := slices.ContainsFunc(v.state.Services, func(s netfilter.Service) bool {
			return s.Protocol == netfilter.UDP && slices.ContainsFunc(s.Backends, func(b netfilter.Backend) bool { return b.Name == r.Name && b.Port == r.Port })
		})
		if spread || protocolOf(r.Service) != netfilter.UDP || len(out)+len(r.Addresses) > maxDirect {
			continue
		}
		for _, a := range r.Addresses {
			out = append(out, netip.AddrPortFrom(a, r.Port))
		}
	}
	slices.SortFunc(out, netip.AddrPort.Compare)
	return out
}

// backendsOf are the replicas of a kind that traffic may go to. Leaving ones get nothing new as soon as a ready one can
// take their place; the last one keeps it until the routes have gone.
func backendsOf(kind string, registered []balancer.Registration) []netfilter.Backend {
	var out []netfilter.Backend
	ready := map[bool]bool{} // by: is IPv4
	for _, r := range registered {
		if r.Service == kind && !r.Direct && r.State == keyspace.ReplicaReady {
			for _, a := range r.Addresses {
				ready[a.Is4()] = true
			}
		}
	}
	for _, r := range registered {
		if r.Service != kind || r.Direct || r.State == keyspace.ReplicaStarting {
			continue
		}
		b := netfilter.Backend{Name: r.Name, Address: r.Addresses, Port: r.Port, Draining: r.State == keyspace.ReplicaFinishing}
		if r.State == keyspace.ReplicaLeaving {
			b.Draining = !slices.ContainsFunc(r.Addresses, func(a netip.Addr) bool { return !ready[a.Is4()] })
		}
		out = append(out, b)
	}
	return out
}

// fault says why an address is not served by replicas in one of the states; empty if it is. All services of the address
// must be: a route says where an address is, not a port. kept addresses are served already; for them a packet filter
// that is about to be changed will do.
func (v *view) fault(vip netip.Addr, kept bool, states ...keyspace.ReplicaState) string {
	if len(v.fronts[vip]) == 0 {
		return "no CloudService has it"
	}
	for _, f := range v.fronts[vip] {
		if f.fault != "" {
			return f.fault
		}
		if !slices.ContainsFunc(v.in.backends, func(r balancer.Registration) bool {
			return r.Service == f.kind && !r.Direct && slices.Contains(states, r.State) && hasFamily(r.Addresses, vip)
		}) {
			return fmt.Sprintf("no replica of %s is ready on this host", f.kind)
		}
		if kept && !v.in.failed {
			continue
		}
		if !v.programmed(f, vip) {
			return "the packet filter does not spread it (yet): the log says why"
		}
	}
	return ""
}

// programmed tells whether the packet filter spreads the address to replicas that live.
func (v *view) programmed(f *front, vip netip.Addr) bool {
	for _, s := range v.in.applied.Services {
		if s.Protocol != f.Protocol || s.Port != f.Port || !slices.Contains(s.VIP, vip) {
			continue
		}
		found := false
		for _, b := range s.Backends {
			if b.Draining || !hasFamily(b.Address, vip) {
				continue
			}
			if !slices.ContainsFunc(f.Backends, func(o netfilter.Backend) bool {
				return o.Name == b.Name && o.Port == b.Port && slices.Equal(o.Address, b.Address)
			}) {
				return false // it has gone
			}
			found = true
		}
		return found
	}
	return false
}

func hasFamily(addresses []netip.Addr, like netip.Addr) bool {
	return slices.ContainsFunc(addresses, func(a netip.Addr) bool { return a.Is4() == like.Is4() })
}

// equalStates compares states as views make them, in their one order.
func equalStates(a, b netfilter.State) bool {
	same := len(a.Services) == 0 && len(b.Services) == 0 || reflect.DeepEqual(a.Services, b.Services)
	return same && slices.Equal(a.Hosts, b.Hosts) && slices.Equal(a.Direct, b.Direct) && a.BFD == b.BFD
}
