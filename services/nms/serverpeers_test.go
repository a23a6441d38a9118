package nms

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/internal/udp"
	"github.com/cyphonic/cyphonic/internal/wire"
	"github.com/cyphonic/cyphonic/services/nms/peering"
	"github.com/cyphonic/cyphonic/services/replica"
)

// still is a membership that does not change.
type still struct{ m *replica.Membership }

func (s still) Membership() *replica.Membership    { return s.m }
func (s still) MembershipChanged() <-chan struct{} { return nil }

func (w *world) named(name string) *Core {
	w.t.Helper()
	core, err := NewCore(CoreOptions{
		Name: name, Snapshot: func() *replica.Snapshot { return w.snapshot }, Rand: rand.Reader,
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Registerer: prometheus.NewRegistry(),
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return core
}

// socket of a replica that must not be closed before its links: others would take for sent what it has acknowledged.
type socket struct {
	udp.Conn
	t    testing.TB
	core *Core
}

func (s socket) Close() error {
	s.core.mu.Lock()
	defer s.core.mu.Unlock()
	for _, p := range s.core.order {
		if p.link {
			s.t.Errorf("%s closes its socket before the link with %s", s.core.name, p.name)
		}
	}
	return s.Conn.Close()
}

// twoServers runs two replicas that are linked over loopback; near[i] is the devices' end of the socket of replica i.
func (w *world) twoServers(src netip.AddrPort) (servers [2]*Server, near [2]*udp.Fake) {
	w.t.Helper()
	var members []replica.Member
	var options [2]ServerOptions
	base := time.Now()
	clock := func() time.Time { return w.now.Add(time.Since(base)) } // links are not simulated
	for i := range options {
		identity, err := peering.NewIdentity(rand.Reader, time.Now())
		if err != nil {
			w.t.Fatal(err)
		}
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			w.t.Fatal(err)
		}
		name := fmt.Sprintf("nms-%d", i)
		var far *udp.Fake
		near[i], far = udp.NewFakePair(src, netip.MustParseAddrPort("203.0.113.1:7442"))
		core := w.named(name)
		options[i] = ServerOptions{
			Core: core, Conn: socket{far, w.t, core}, Now: clock, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
			Peering: &PeeringOptions{Listener: listener, Identity: identity, Program: "test", Registerer: prometheus.NewRegistry()},
		}
		members = append(members, replica.Member{ReplicaRecord: keyspace.ReplicaRecord{
			Name: name, Service: "nms", State: keyspace.ReplicaReady, Pin: identity.Pin,
			Peer: netip.MustParseAddrPort(listener.Addr().String()),
		}})
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 2)
	for i := range options {
		options[i].Members = still{replica.NewMembership(5, 1, members...)}
		s, err := NewServer(options[i])
		if err != nil {
			w.t.Fatal(err)
		}
		servers[i] = s
		go func() { done <- s.Run(ctx) }()
	}
	w.t.Cleanup(func() {
		cancel()
		for range options {
			if err := <-done; err != nil {
				w.t.Errorf("Run: %v", err)
			}
		}
	})
	return servers, near
}

func TestTwoServersAreOneNMS(t *testing.T) {
	w := newWorld(t)
	d := w.node("viewer", 2, "198.51.100.5:4000")
	servers, near := w.twoServers(d.src)
	for _, s := range servers {
		for range 1000 {
			if s.Ready() == nil {
				break
			}
			<-time.After(10 * time.Millisecond)
		}
		if err := s.Ready(); err != nil {
			t.Fatal(err)
		}
	}
	exchange := func(i int, body wire.SignalBody) wire.SignalBody {
		t.Helper()
		b := d.datagram(body)
		if _, err := near[i].WriteBatch([]udp.Message{{Buf: b, N: len(b)}}); err != nil {
			t.Fatal(err)
		}
		in := []udp.Message{{Buf: make([]byte, wire.MaxDatagram)}}
		if _, err := near[i].ReadBatch(in); err != nil {
			t.Fatal(err)
		}
		return w.open([]Datagram{{d.src, in[0].Buf[:in[0].N]}}, d)[0].body
	}
	challenge, ok := exchange(0, d.registration()).(wire.Challenge)
	if !ok {
		t.Fatal("a first registration is not challenged")
	}
	d.cookie = challenge.Cookie
	for i := range near { // whichever replica gets it, the answer comes from there
		if ack, ok := exchange(i, d.registration()).(wire.RegistrationAck); !ok || ack.Observed != d.src {
			t.Fatalf("acknowledgement %+v", ack)
		}
	}
	owned := func(i int) int { return len(servers[i].core.Locations(servers[i].now())) }
	owner := 0
	if owned(1) == 1 {
		owner = 1
	}
	if owned(owner) != 1 || owned(1-owner) != 0 {
		t.Fatalf("%d and %d replicas act", owned(0), owned(1))
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := servers[owner].HandOver(ctx); err != nil {
		t.Fatal(err)
	}
	if owned(owner) != 0 || owned(1-owner) != 1 {
		t.Error("the location was not given away")
	}
	servers[owner].Refuse()
	if _, ok := exchange(owner, d.registration()).(wire.RegistrationAck); !ok || servers[owner].Residual() > 1 {
		t.Error("a replica that leaves does not forward")
	}
}

func TestRelaysAreChosenAmongLiveReplicas(t *testing.T) {
	w := newWorld(t)
	m := replica.NewMembership(
		1, 1,
		replica.Member{ReplicaRecord: keyspace.ReplicaRecord{Name: "t1", Service: "trs", State: keyspace.ReplicaReady, Advertised: []netip.AddrPort{
			netip.MustParseAddrPort("192.0.2.1:7443"), netip.MustParseAddrPort("[2001:db8::1]:7443"),
		}}},
		replica.Member{ReplicaRecord: keyspace.ReplicaRecord{Name: "t2", Service: "trs", State: keyspace.ReplicaReady, Advertised: []netip.AddrPort{
			netip.MustParseAddrPort("192.0.2.2:7443"),
		}}},
		replica.Member{ReplicaRecord: keyspace.ReplicaRecord{Name: "t3", Service: "trs", State: keyspace.ReplicaLeaving, Advertised: []netip.AddrPort{
			netip.MustParseAddrPort("192.0.2.3:7443"),
		}}},
		replica.Member{ReplicaRecord: keyspace.ReplicaRecord{Name: "t4", Service: "trs", State: keyspace.ReplicaReady}},
	)
	s, err := NewServer(ServerOptions{Core: w.core, Now: func() time.Time { return w.now }, Members: still{m}, Log: w.core.log})
	if err != nil {
		t.Fatal(err)
	}
	s.takeMembers()
	counts := make(map[string]int)
	for i := range 200 {
		session := [16]byte{byte(i), byte(i >> 1)}
		first, ok := w.core.chooseRelay(w.snapshot, session, false)
		again, _ := w.core.chooseRelay(w.snapshot, session, false)
		other, _ := w.core.chooseRelay(w.snapshot, session, true)
		if !ok || first != again || first == other {
			t.Fatalf("chosen %v, %v, and %v instead", first, again, other)
		}
		counts[first.Name]++
	}
	if counts["t1"] < 50 || counts["t2"] < 50 || len(counts) != 2 {
		t.Errorf("chosen: %v", counts)
	}
	w.core.SetMembers(w.now, Members{Revision: 2})
	if r, ok := w.core.chooseRelay(w.snapshot, [16]byte{}, true); !ok || r.Name != "trs" {
		t.Errorf("without replicas %v is chosen", r)
	}
}

// BenchmarkForwardedKeepAlive is what a keep-alive costs both replicas together when it arrives at one and the other
// owns the location: twice the authentication, a forward, an answer to deliver, a mark and the acknowledgements.
func BenchmarkForwardedKeepAlive(b *testing.B) {
	w := newWorld(b)
	cores := map[string]*Core{"nms-0": w.named("nms-0"), "nms-1": w.named("nms-1")}
	members := Members{Revision: 1, Replicas: []Member{{Name: "nms-0", Ready: true}, {Name: "nms-1", Ready: true}}}
	var out []Datagram
	settle := func() {
		for moved := true; moved; {
			moved = false
			for name, core := range cores {
				for _, m := range core.Messages(nil) {
					moved = true
					for rest := m.Data; len(rest) > 0; {
						var message []byte
						message, rest, _ = NextLinkMessage(rest)
						out = cores[m.To].HandleMessage(w.now, name, message, out)
					}
				}
			}
		}
	}
	for name, core := range cores {
		core.SetMembers(w.now, members)
		for other := range cores {
			if other != name {
				core.LinkUp(w.now, other)
			}
		}
	}
	settle()
	d := w.node("viewer", 2, "198.51.100.5:4000")
	gateway := cores["nms-0"]
	if owner, _ := gateway.owner(d.subject.UID); owner == "nms-0" {
		gateway = cores["nms-1"]
	}
	send := func(body []byte) {
		d.counter++
		datagram := d.keys.SealSignal(nil, d.tag, d.counter, d.cookie, d.sealed, body)
		out = gateway.HandleDatagram(w.now, d.src, datagram, out[:0])
		settle()
		if len(out) != 1 {
			b.Fatal("no answer")
		}
	}
	send(d.registration().AppendBody(nil))
	d.cookie = w.open(out, d)[0].body.(wire.Challenge).Cookie
	body := d.registration().AppendBody(nil)
	b.ReportAllocs()
	for b.Loop() {
		send(body)
	}
}
