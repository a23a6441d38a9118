package speaker

import (
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/internal/balancer"
	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/services/speaker/netfilter"
)

var (
	prefix4 = netip.MustParsePrefix("203.0.113.10/32")
	prefix6 = netip.MustParsePrefix("2001:db8:113::10/128")
)

// world is a core with all that it is told.
type world struct {
	t    *testing.T
	core *core
	in   input
	now  time.Time
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, core: newCore(time.Second), now: time.Unix(1000, 0)}
	w.in = input{host: "h1", resources: newResources(), established: map[string]bool{"r": true}, started: true}
	w.put(keyspace.CloudServices, "nms", &api.CloudService{Spec: api.CloudServiceSpec{Service: "nms", Ipv4: "203.0.113.10", Ipv6: "2001:db8:113::10"}})
	w.put(keyspace.BGPPeers, "r", &api.BGPPeer{Spec: api.BGPPeerSpec{PeerAddress: "2001:db8::1", PeerASN: 64512, LocalASN: 64512, ExtendedNextHop: true}})
	w.put(keyspace.BGPAdvertisements, "all", &api.BGPAdvertisement{})
	return w
}

func (w *world) put(plural, name string, o api.Object) {
	w.t.Helper()
	o.SetType()
	o.Meta().Name = name
	o.Default()
	raw, err := json.Marshal(o)
	if err == nil {
		err = w.in.resources.put(keyspace.Resource(plural, name), raw)
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// replica registers, changes or (with an empty state) removes a replica.
func (w *world) replica(name string, state keyspace.ReplicaState) {
	w.in.backends = slices.DeleteFunc(slices.Clone(w.in.backends), func(r balancer.Registration) bool { return r.Name == name })
	if state != "" {
		w.in.backends = append(w.in.backends, balancer.Registration{
			Service: "nms", Name: name, Port: 10000 + uint16(len(name)), State: state,
			Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8:1::1")},
		})
	}
}

// settle plans until the packet filter does what the plan says.
func (w *world) settle() plan {
	p := w.core.plan(w.now, w.in)
	for range 3 {
		w.in.applied = p.filter
		p = w.core.plan(w.now, w.in)
	}
	return p
}

func (w *world) announces(p plan, want ...netip.Prefix) {
	w.t.Helper()
	var got []netip.Prefix
	for prefix := range p.routes["r"] {
		got = append(got, prefix)
	}
	slices.SortFunc(got, func(a, b netip.Prefix) int { return a.Addr().Compare(b.Addr()) })
	if !slices.Equal(got, want) {
		w.t.Helper()
		w.t.Fatalf("announced: %v, want %v; status %+v", got, want, p.status)
	}
}

func TestAnAddressIsAnnouncedOnlyWhenItIsServed(t *testing.T) {
	w := newWorld(t)
	w.announces(w.settle())
	w.replica("a", keyspace.ReplicaStarting)
	w.announces(w.settle())
	w.replica("a", keyspace.ReplicaReady)
	p := w.core.plan(w.now, w.in) // the packet filter is not there yet
	w.announces(p)
	w.in.applied = p.filter
	w.announces(w.core.plan(w.now, w.in), prefix4, prefix6)
	if a, ok := w.core.answer(w.in.backends[0], w.in, w.settle()); !ok || !a.InService || len(a.Announced) != 2 {
		t.Errorf("answer %+v %v", a, ok)
	}
	w.in.started = false
	w2 := newWorld(t)
	w2.in.started = false
	w2.replica("a", keyspace.ReplicaReady)
	w2.announces(w2.settle())
}

func TestWithdrawal(t *testing.T) {
	for name, row := range map[string]struct {
		change   func(*world)
		graceful bool
	}{
		"the replica leaves":                 {func(w *world) { w.replica("a", keyspace.ReplicaLeaving) }, true},
		"the speaker ends":                   {func(w *world) { w.in.stopping = true }, true},
		"no advertisement any more":          {func(w *world) { w.in.resources.remove(keyspace.Resource(keyspace.BGPAdvertisements, "all")) }, true},
		"no service any more":                {func(w *world) { w.in.resources.remove(keyspace.Resource(keyspace.CloudServices, "nms")) }, true},
		"no peer any more":                   {func(w *world) { w.in.resources.remove(keyspace.Resource(keyspace.BGPPeers, "r")) }, true},
		"the replica has died":               {func(w *world) { w.replica("a", "") }, false},
		"the replica leaves, nobody listens": {func(w *world) { w.replica("a", keyspace.ReplicaLeaving); w.in.established = nil }, false},
		"the replica finishes":               {func(w *world) { w.replica("a", keyspace.ReplicaFinishing) }, false},
		"the packet filter lost it": {func(w *world) {
			w.in.failed, w.in.applied = true, netfilter.State{}
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.replica("a", keyspace.ReplicaReady)
			w.announces(w.settle(), prefix4, prefix6)
			row.change(w)
			p := w.core.plan(w.now, w.in)
			if !row.graceful {
				w.announces(p)
				return
			}
			w.announces(p, prefix4, prefix6)
			for prefix, a := range p.routes["r"] {
				if !slices.Contains(a.Communities, GracefulShutdown) || a.LocalPreference != 0 {
					t.Errorf("%v leaves with %+v", prefix, a)
				}
			}
			if !p.next.Equal(w.now.Add(time.Second)) || p.peers["r"].Name == "" || len(p.filter.Services) != 1 || p.filter.Services[0].Backends[0].Draining {
				t.Errorf("while it leaves: next %v, peers %v, filter %+v", p.next, p.peers, p.filter)
			}
			w.now = w.now.Add(time.Second)
			w.announces(w.core.plan(w.now, w.in))
		})
	}
}

func TestALeavingReplicaWithAnotherOneMovesNoRoute(t *testing.T) {
	w := newWorld(t)
	w.replica("a", keyspace.ReplicaReady)
	w.replica("bb", keyspace.ReplicaReady)
	w.settle()
	w.replica("a", keyspace.ReplicaLeaving)
	p := w.core.plan(w.now, w.in)
	w.announces(p, prefix4, prefix6)
	if _, ok := w.core.answer(w.in.backends[1], w.in, p); ok {
		t.Error("answered before the packet filter was changed")
	}
	p = w.settle()
	leaving := w.in.backends[slices.IndexFunc(w.in.backends, func(r balancer.Registration) bool { return r.Name == "a" })]
	if a, ok := w.core.answer(leaving, w.in, p); !ok || a.InService {
		t.Errorf("answer to the one that leaves: %+v %v", a, ok)
	}
	for _, b := range p.filter.Services[0].Backends {
		if b.Draining != (b.Name == "a") {
			t.Errorf("backend %+v", b)
		}
	}
	if len(p.routes["r"][prefix4].Communities) > 0 {
		t.Error("announced as leaving")
	}
	// One that dies beside another moves no route either, unless the packet filter still sends there.
	w.replica("a", "")
	w.announces(w.core.plan(w.now, w.in), prefix4, prefix6)
	w.in.failed = true
	w.announces(w.core.plan(w.now, w.in), prefix4, prefix6) // it was draining: nothing goes there
}

func TestADeadReplicaInAStuckPacketFilterWithdraws(t *testing.T) {
	w := newWorld(t)
	w.replica("a", keyspace.ReplicaReady)
	w.replica("bb", keyspace.ReplicaReady)
	w.settle()
	w.replica("a", "")
	w.announces(w.core.plan(w.now, w.in), prefix4, prefix6) // the packet filter is about to be changed
	w.in.failed = true
	w.announces(w.core.plan(w.now, w.in))
}

func TestAReplicaThatComesBackWhileItsRouteLeaves(t *testing.T) {
	w := newWorld(t)
	w.replica("a", keyspace.ReplicaReady)
	w.settle()
	w.replica("a", keyspace.ReplicaLeaving)
	w.settle()
	w.replica("a", keyspace.ReplicaReady)
	p := w.settle()
	w.announces(p, prefix4, prefix6)
	if len(p.routes["r"][prefix4].Communities) > 0 || !p.next.IsZero() {
		t.Errorf("%+v, next %v", p.routes["r"][prefix4], p.next)
	}
}

func TestAChangedPeerLeavesBeforeItsSessionEnds(t *testing.T) {
	w := newWorld(t)
	w.replica("a", keyspace.ReplicaReady)
	old := w.settle().peers["r"]
	w.put(keyspace.BGPPeers, "r", &api.BGPPeer{Spec: api.BGPPeerSpec{PeerAddress: "2001:db8::1", PeerASN: 64512, LocalASN: 64512, HoldTimeSeconds: 30}})
	p := w.core.plan(w.now, w.in)
	if p.peers["r"] != old || !slices.Contains(p.routes["r"][prefix4].Communities, GracefulShutdown) {
		t.Errorf("at once: %+v, %+v", p.peers["r"], p.routes["r"])
	}
	w.now = w.now.Add(time.Second)
	p = w.core.plan(w.now, w.in)
	if p.peers["r"].HoldTime != 30*time.Second {
		t.Errorf("then: %+v", p.peers["r"])
	}
	w.announces(p, prefix6) // the new one carries IPv6 only
}

func TestServicesOfOneAddressAreAnnouncedTogether(t *testing.T) {
	w := newWorld(t)
	w.put(keyspace.CloudServices, "as", &api.CloudService{Spec: api.CloudServiceSpec{Service: "as", Ipv4: "203.0.113.10"}})
	w.replica("a", keyspace.ReplicaReady)
	p := w.settle()
	w.announces(p, prefix6)
	if s := p.status[0]; s.Announced || !strings.Contains(s.Reason, "no replica of as") || len(s.Services) != 2 {
		t.Errorf("status %+v", s)
	}
}

func TestOtherHostsAndPeersAreNotMeant(t *testing.T) {
	w := newWorld(t)
	w.replica("a", keyspace.ReplicaReady)
	w.put(keyspace.BGPAdvertisements, "all", &api.BGPAdvertisement{Spec: api.BGPAdvertisementSpec{Hosts: []string{"h2"}}})
	w.announces(w.settle())
	w.put(keyspace.BGPAdvertisements, "all", &api.BGPAdvertisement{Spec: api.BGPAdvertisementSpec{Peers: []string{"other"}}})
	w.announces(w.settle())
	w.put(keyspace.BGPAdvertisements, "all", &api.BGPAdvertisement{Spec: api.BGPAdvertisementSpec{Services: []string{"as"}}})
	w.announces(w.settle())
	w.put(keyspace.BGPAdvertisements, "all", &api.BGPAdvertisement{Spec: api.BGPAdvertisementSpec{Communities: []string{"64512:2", "64512:1"}, Med: 3}})
	w.put(keyspace.BGPAdvertisements, "more", &api.BGPAdvertisement{Spec: api.BGPAdvertisementSpec{Communities: []string{"64512:1", "no-export"}, Med: 4, LocalPreference: 50}})
	a := w.settle().routes["r"][prefix4]
	want := Attributes{Communities: []uint32{64512<<16 | 1, 64512<<16 | 2, 0xffffff01}, MED: 3, LocalPreference: 50}
	if !a.Equal(want) {
		t.Errorf("attributes %+v, want %+v", a, want)
	}
	w.put(keyspace.BGPPeers, "r", &api.BGPPeer{Spec: api.BGPPeerSpec{PeerAddress: "2001:db8::1", PeerASN: 1, LocalASN: 2, Hosts: []string{"h2"}}})
	w.now = w.now.Add(time.Minute)
	w.settle()
	w.now = w.now.Add(time.Minute)
	if p := w.settle(); len(p.peers) != 0 {
		t.Errorf("peers %+v", p.peers)
	}
}
