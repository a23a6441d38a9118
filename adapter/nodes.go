package adapter

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/cyphonic/cyphonic/adapter/lan"
	"github.com/cyphonic/cyphonic/api"
)

// nodes are the general nodes of the list, found by name and by MAC address; by virtual IP the endpoint finds
// them. A change of one touches no other.
type nodes struct {
	guard    guard
	reporter *reporter
	with     *surroundings

	mu     sync.Mutex
	byName map[string]*running
	byMAC  map[lan.MAC]*running
	closed bool
}

// guard is the part of the segment that knows the list.
type guard interface {
	SetListed(context.Context, []lan.MAC) error
}

// running is a general node with its goroutine.
type running struct {
	*generalNode
	resource api.GeneralNode
	stop     context.CancelFunc
	done     chan struct{}
}

func newNodes(g guard, r *reporter, with *surroundings) *nodes {
	return &nodes{guard: g, reporter: r, with: with, byName: make(map[string]*running), byMAC: make(map[lan.MAC]*running)}
}

// apply makes the general nodes those of the list: who left or was changed is stopped, guard first, then the
// others are started. It returns when the guard has the list and the stopped ones are gone.
func (n *nodes) apply(ctx context.Context, items []api.GeneralNode) {
	wanted := n.admissible(items)
	leaving := n.leaving(wanted)
	var listed []lan.MAC
	for mac, g := range wanted {
		if !g.Spec.Disabled {
			listed = append(listed, mac)
		}
	}
	// The end of the watch that brought the list must not leave half of it in effect.
	if err := n.guard.SetListed(context.WithoutCancel(ctx), listed); err != nil {
		n.with.log.Error("the guard does not have the new list", "error", err)
	}
	names := make(map[string]bool, len(wanted))
	for _, g := range wanted {
		names[g.Metadata.Name] = true
	}
	for _, r := range leaving {
		r.stop()
	}
	for _, r := range leaving {
		<-r.done
		if !names[r.name] {
			r.forget()
			n.reporter.drop(r.name)
		}
	}
	for mac, g := range wanted {
		n.start(ctx, mac, g)
	}
}

// admissible keys the list by MAC and says of each resource that cannot be carried why.
func (n *nodes) admissible(items []api.GeneralNode) map[lan.MAC]api.GeneralNode {
	wanted := make(map[lan.MAC]api.GeneralNode, len(items))
	refuse := func(g api.GeneralNode, why string) {
		n.with.log.Warn("general node is not carried", "generalNode", g.Metadata.Name, "reason", why)
		n.reporter.report(g.Metadata.Name, api.GeneralNodeStatus{
			Phase: api.DevicePhaseFailed, Reason: why, ObservedGeneration: g.Metadata.Generation,
		})
	}
	for _, g := range items {
		mac, err := lan.ParseMAC(g.Spec.Mac)
		switch {
		case !resourceName.MatchString(g.Metadata.Name):
			n.with.log.Warn("the list has a general node without a usable name", "name", g.Metadata.Name)
		case err != nil:
			refuse(g, err.Error())
		case wanted[mac].Metadata.Name != "":
			refuse(g, "MACInUse: by general node "+wanted[mac].Metadata.Name)
		case len(wanted) >= maxGeneralNodes:
			refuse(g, "AdapterFull: it carries no more general nodes")
		default:
			wanted[mac] = g
		}
	}
	return wanted
}

// leaving takes those out of the indexes that are not wanted as they are.
func (n *nodes) leaving(wanted map[lan.MAC]api.GeneralNode) []*running {
	n.mu.Lock()
	defer n.mu.Unlock()
	var out []*running
	for mac, r := range n.byMAC {
		g, stays := wanted[mac]
		if stays && g.Metadata.Name == r.name && g.Metadata.Uid == r.resource.Metadata.Uid && g.Spec == r.resource.Spec {
			r.acknowledge(g.Metadata.Generation)
			continue
		}
		delete(n.byMAC, mac)
		delete(n.byName, r.name)
		out = append(out, r)
	}
	return out
}

// start starts a general node unless it runs.
func (n *nodes) start(ctx context.Context, mac lan.MAC, resource api.GeneralNode) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed || n.byMAC[mac] != nil {
		return
	}
	g, err := newGeneralNode(resource, n.with)
	if err != nil {
		n.with.log.Error("general node is not carried", "generalNode", resource.Metadata.Name, "error", err)
		return
	}
	// Its end is stop's, not that of the watch which brought it.
	runCtx, stop := context.WithCancel(context.WithoutCancel(ctx))
	r := &running{generalNode: g, resource: resource, stop: stop, done: make(chan struct{})}
	n.byMAC[mac], n.byName[r.name] = r, r
	go func() {
		defer close(r.done)
		r.Run(runCtx)
	}()
}

// stop ends all general nodes and waits for them.
func (n *nodes) stop() {
	n.mu.Lock()
	n.closed = true
	all := slices.Collect(maps.Values(n.byName))
	n.mu.Unlock()
	for _, r := range all {
		r.stop()
	}
	for _, r := range all {
		<-r.done
	}
}

// find returns a general node by MAC, nil for none.
func (n *nodes) find(mac lan.MAC) *running {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.byMAC[mac]
}

// strangers leaves out of what the guard has not let ask those devices that are in the list all the same: disabled ones,
// and ones that were put there since. It never returns nil.
func (n *nodes) strangers(seen []lan.Sighting) []lan.Sighting {
	n.mu.Lock()
	defer n.mu.Unlock()
	out := make([]lan.Sighting, 0, len(seen))
	for _, s := range seen {
		if n.byMAC[s.MAC] == nil {
			out = append(out, s)
		}
	}
	return out
}

// all returns the general nodes in the order of their names.
func (n *nodes) all() []*running {
	n.mu.Lock()
	defer n.mu.Unlock()
	var out []*running
	for _, name := range slices.Sorted(maps.Keys(n.byName)) {
		out = append(out, n.byName[name])
	}
	return out
}

// ask serves a DHCP question.
func (n *nodes) ask(mac lan.MAC) (lan.Lease, bool) {
	r := n.find(mac)
	if r == nil || r.spec.Disabled {
		return lan.Lease{}, false
	}
	if l, ok := r.lease(); ok {
		return l, true
	}
	r.tell(seen{})
	return lan.Lease{}, false
}

// dhcpEvent hands on what a DHCP message said.
func (n *nodes) dhcpEvent(mac lan.MAC, e lan.Event, leaseTime time.Duration) {
	r := n.find(mac)
	if r == nil {
		return
	}
	told := true
	switch e {
	case lan.EventLeased:
		told = r.tell(leased{until: time.Now().Add(leaseTime)})
	case lan.EventReleased:
		told = r.tell(released{})
	case lan.EventDeclined:
		n.with.log.Warn("a device says that somebody else uses its address", "generalNode", r.name)
		told = r.tell(declined{})
	}
	if !told {
		n.with.log.Warn("event dropped, too many wait", "generalNode", r.name)
	}
}

// reachable tells all that the AS answers again: after a long outage nobody sits out the rest of a back-off. Logins
// wait their turn all the same.
func (n *nodes) reachable() {
	for _, r := range n.all() {
		r.tell(reachable{})
	}
}

// portChanged tells the general nodes of a port. When a carrier comes, those are told too that were on it
// before: a device with a valid lease does not ask again.
func (n *nodes) portChanged(port string, up bool) {
	for _, r := range n.all() {
		remembered, _ := n.with.leases.get(r.name, r.mac, time.Now())
		if r.state.Load().port == port || remembered.Port == port {
			r.tell(portState{up: up})
		}
	}
}
