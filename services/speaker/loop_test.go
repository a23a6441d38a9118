package speaker

import (
	"errors"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/internal/balancer"
	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/services/speaker/bfd"
	"github.com/cyphonic/cyphonic/services/speaker/netfilter"
)

// newTestLoop is a loop whose time stands still at *now.
func newTestLoop(t *testing.T, now *time.Time) *loop {
	t.Helper()
	m, err := newMetrics(prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	s := &Speaker{
		options: Options{Now: func() time.Time { return *now }, Log: slog.New(slog.DiscardHandler), RegistrationGrace: 3 * time.Second},
		metrics: m, jobs: make(chan netfilter.State, 1),
	}
	return &loop{Speaker: s, started: *now, resources: newResources(), bfdDown: map[netip.Addr]time.Time{}}
}

func registrations(names ...string) []balancer.Registration {
	var out []balancer.Registration
	for _, name := range names {
		out = append(out, balancer.Registration{Service: "nms", Name: name, State: keyspace.ReplicaReady})
	}
	return out
}

// What a speaker before this one has set up is changed only when the replicas that it leads to have come back.
func TestThePacketFilterWaitsForTheReplicasThatItLeadsTo(t *testing.T) {
	now := time.Unix(1000, 0)
	l := newTestLoop(t, &now)
	if l.begin(now, registrations("a", "b")) {
		t.Error("begun before it is known whom to wait for")
	}
	l.awaited, l.reminded = []string{"a", "b"}, true
	if l.begin(now.Add(time.Second), registrations("a", "c")) {
		t.Error("begun without b")
	}
	if !l.begin(now.Add(time.Second), registrations("a", "b")) || !l.begin(now.Add(time.Second), nil) {
		t.Error("not begun with all of them, or taken back when they go")
	}
	l = newTestLoop(t, &now)
	l.awaited, l.reminded = []string{"a", "b"}, true
	if l.begin(now.Add(3*time.Second-1), registrations("a")) || !l.begin(now.Add(3*time.Second), registrations("a")) {
		t.Error("a replica that does not come back is not waited for exactly as long as it may take")
	}
	l = newTestLoop(t, &now)
	l.reminded = true
	if !l.begin(now, nil) {
		t.Error("there were no rules before, and still it waits")
	}
}

// A change that failed may have been half made: the state of before is applied, too, should it be wanted again.
func TestAfterAFailureTheStateIsAppliedEvenIfItIsThatOfBefore(t *testing.T) {
	now := time.Unix(1000, 0)
	l := newTestLoop(t, &now)
	good := netfilter.State{Direct: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:7443")}}
	in, p := input{started: true}, plan{filter: good}
	l.resources.raw["x"] = nil
	applied := func() bool {
		t.Helper()
		l.filter(now, in, p)
		select {
		case <-l.jobs:
			return true
		default:
			return false
		}
	}
	if !applied() {
		t.Fatal("not applied at all")
	}
	l.finished(result{state: good})
	if applied() {
		t.Error("applied again without a reason")
	}
	p.filter = netfilter.State{}
	if !applied() {
		t.Error("sockets that are direct are no difference")
	}
	l.finished(result{state: p.filter, err: errors.New("made to fail")})
	p.filter = good
	if applied() {
		t.Error("applied again at once after a failure")
	}
	now = now.Add(applyRetryMin)
	if !applied() {
		t.Error("the state of before the failure is not applied again")
	}
	l.finished(result{state: good})
	now = now.Add(filterCheck)
	if !applied() {
		t.Error("nobody looks whether the rules are still there")
	}
}

func TestABFDSessionThatWasSwitchedOffEndsNothing(t *testing.T) {
	now := time.Unix(1000, 0)
	l := newTestLoop(t, &now)
	router := Peer{Address: netip.MustParseAddr("192.0.2.9")}
	for _, row := range []struct {
		event bfd.Event
		down  bool
	}{
		{bfd.Event{Address: router.Address, SwitchedOff: true, Diag: bfd.NeighborDown}, false},
		{bfd.Event{Address: router.Address, Diag: bfd.DetectionTimeExpired}, true},
		{bfd.Event{Address: router.Address, SwitchedOff: true, Diag: bfd.NeighborDown}, false},
		{bfd.Event{Address: router.Address, Diag: bfd.DetectionTimeExpired}, true},
		{bfd.Event{Address: router.Address, Up: true}, false},
	} {
		if l.detected(row.event); l.isDown(router) != row.down {
			t.Errorf("after %+v: down is %v", row.event, !row.down)
		}
	}
}

// Sockets that no address of a service leads to are kept out of connection tracking.
func TestDirectSockets(t *testing.T) {
	w := newWorld(t)
	w.replica("a", keyspace.ReplicaReady)
	at := netip.MustParseAddrPort
	relay := balancer.Registration{Service: "trs", Name: "t", Port: 7443, State: keyspace.ReplicaReady, Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8:1::1")}}
	w.in.backends = append(w.in.backends, relay, balancer.Registration{Service: "as", Name: "s", Port: 7441, State: keyspace.ReplicaReady, Addresses: relay.Addresses})
	want := []netip.AddrPort{at("192.0.2.1:7443"), at("[2001:db8:1::1]:7443")}
	p := w.settle()
	if got := p.filter.Direct; len(got) != 2 || got[0] != want[0] || got[1] != want[1] {
		t.Errorf("without a CloudService of it: %v, want %v", got, want)
	}
	if a, ok := w.core.answer(relay, w.in, p); !ok || a.InService {
		t.Errorf("it is told %+v %v", a, ok)
	}
	w.put(keyspace.CloudServices, "trs", &api.CloudService{Spec: api.CloudServiceSpec{Service: "trs", Ipv4: "203.0.113.40"}})
	if got := w.settle().filter; len(got.Direct) != 0 || len(got.Services) != 2 {
		t.Errorf("behind an address of its service: %+v", got)
	}
	w.in.backends[1].Direct = true
	if got := w.settle().filter; len(got.Direct) != 2 || len(got.Services) != 2 || len(got.Services[1].Backends) != 0 {
		t.Errorf("as it says of itself that it is direct: %+v", got)
	}
	for i := range maxDirect {
		relay.Name, relay.Port = "t"+string(rune('A'+i)), 20000+uint16(i)
		w.in.backends = append(w.in.backends, relay)
	}
	if got := w.settle().filter; len(got.Direct) != maxDirect || got.Validate() != nil {
		t.Errorf("%d sockets: %v", len(got.Direct), got.Validate())
	}
}
