package replica

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cyphonic/cyphonic/internal/keyspace"
)

const pinOfTests = "abababababababababababababababababababababababababababababababab"

func identityOf(name string) Identity {
	return Identity{
		Name: name, Service: "nms", Host: "h1", Version: "test", Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.1")},
		Peer: netip.MustParseAddrPort("192.0.2.1:7444"), Pin: pinOfTests,
	}
}

func TestRecordsOfReplicasAreChecked(t *testing.T) {
	good := keyspace.ReplicaRecord{
		Name: "a", Service: "nms", State: keyspace.ReplicaReady, Addresses: []netip.Addr{netip.MustParseAddr("::ffff:192.0.2.1"), netip.MustParseAddr("2001:db8::1")},
		Peer: netip.MustParseAddrPort("[::ffff:192.0.2.1]:7444"), Pin: pinOfTests, Advertised: []netip.AddrPort{netip.MustParseAddrPort("[2001:db8::1]:7443")},
	}
	for _, tt := range []struct {
		name   string
		change func(*keyspace.ReplicaRecord)
		fine   bool
	}{
		{"complete", func(*keyspace.ReplicaRecord) {}, true},
		{"nobody talks to it", func(r *keyspace.ReplicaRecord) { r.Peer, r.Pin = netip.AddrPort{}, "" }, true},
		{"state of a later version", func(r *keyspace.ReplicaRecord) { r.State = "Dreaming" }, true},
		{"no state", func(r *keyspace.ReplicaRecord) { r.State = "" }, false},
		{"another name", func(r *keyspace.ReplicaRecord) { r.Name = "b" }, false},
		{"a host that is no name", func(r *keyspace.ReplicaRecord) { r.Host = strings.Repeat("h", maxRecordText+1) }, false},
		{"another service", func(r *keyspace.ReplicaRecord) { r.Service = "trs" }, false},
		{"two IPv4 addresses", func(r *keyspace.ReplicaRecord) { r.Addresses[1] = netip.MustParseAddr("192.0.2.2") }, false},
		{"unspecified address", func(r *keyspace.ReplicaRecord) { r.Addresses[1] = netip.IPv6Unspecified() }, false},
		{"multicast address", func(r *keyspace.ReplicaRecord) { r.Addresses[0] = netip.MustParseAddr("224.0.0.1") }, false},
		{"peer without pin", func(r *keyspace.ReplicaRecord) { r.Pin = "" }, false},
		{"pin without peer", func(r *keyspace.ReplicaRecord) { r.Peer = netip.AddrPort{} }, false},
		{"short pin", func(r *keyspace.ReplicaRecord) { r.Pin = "abab" }, false},
		{"pin that is not hex", func(r *keyspace.ReplicaRecord) { r.Pin = strings.Repeat("x", 64) }, false},
		{"advertised without port", func(r *keyspace.ReplicaRecord) {
			r.Advertised[0] = netip.AddrPortFrom(r.Advertised[0].Addr(), 0)
		}, false},
	} {
		r := good
		r.Addresses, r.Advertised = slices.Clone(good.Addresses), slices.Clone(good.Advertised)
		tt.change(&r)
		value, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		m, err := decodeMember("nms", "a", value)
		if (err == nil) != tt.fine {
			t.Errorf("%s: %v", tt.name, err)
		}
		if err == nil && (m.Addresses[0].Is4In6() || m.Ready() != (r.State == keyspace.ReplicaReady) || m.Peer.IsValid() && m.Peer.Addr().Is4In6()) {
			t.Errorf("%s: %+v", tt.name, m)
		}
	}
	for _, value := range []string{"", "{", "[]", `{"name":"a","service":"nms","state":"Ready","addresses":["x"]}`} {
		if _, err := decodeMember("nms", "a", []byte(value)); err == nil {
			t.Errorf("%q is a record", value)
		}
	}
}

func FuzzDecodeMember(f *testing.F) {
	f.Add([]byte(`{"name":"a","service":"nms","state":"Ready","addresses":["192.0.2.1"],"peer":"192.0.2.1:1","pin":"ab"}`))
	f.Fuzz(func(t *testing.T, value []byte) {
		m, err := decodeMember("nms", "a", value)
		if err != nil {
			return
		}
		again, err := json.Marshal(m.ReplicaRecord)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := decodeMember("nms", "a", again); err != nil {
			t.Errorf("%s: %v", again, err)
		}
	})
}

func TestMembersAreFoundByServiceAndName(t *testing.T) {
	member := func(service, name string, state keyspace.ReplicaState) Member {
		return Member{keyspace.ReplicaRecord{Service: service, Name: name, State: state}}
	}
	m := NewMembership(7, 1, member("nms", "b", keyspace.ReplicaReady), member("trs", "a", keyspace.ReplicaReady), member("nms", "a", keyspace.ReplicaLeaving))
	if list := m.Of("nms"); len(list) != 2 || list[0].Name != "a" || !slices.Equal(m.Names("nms"), []string{"b"}) || len(m.Of("as")) != 0 {
		t.Errorf("%+v", list)
	}
	if _, ok := m.Find("trs", "b"); ok {
		t.Error("a replica of another service is found")
	}
	if x, ok := m.Find("nms", "b"); !ok || x.Name != "b" {
		t.Errorf("%+v %v", x, ok)
	}
	if none := new(Membership); len(none.Of("nms")) != 0 || len(none.Names("nms")) != 0 {
		t.Error("the zero membership has members")
	}
}

// awaitMembers waits until the membership is as the condition says, by its channel.
func awaitMembers(t *testing.T, r *Replica, what string, condition func(*Membership) bool) {
	t.Helper()
	limit := time.After(15 * time.Second)
	for {
		changed := r.MembershipChanged()
		if condition(r.Membership()) {
			return
		}
		select {
		case <-changed:
		case <-limit:
			t.Fatalf("not within 15 s: %s: %+v", what, r.Membership())
		}
	}
}

func hasState(name string, state keyspace.ReplicaState) func(*Membership) bool {
	return func(m *Membership) bool {
		x, ok := m.Find("nms", name)
		return ok && x.State == state
	}
}

func TestReplicasKnowOneAnother(t *testing.T) {
	server := startEtcd(t, t.TempDir())
	defer server.Close()
	one, two := startReplica(t, server.Client()), startReplica(t, server.Client())
	a, b := one.Register(identityOf("a")), two.Register(identityOf("b"))
	for _, r := range []*Replica{one, two} {
		awaitMembers(t, r, "both start", func(m *Membership) bool {
			return hasState("a", keyspace.ReplicaStarting)(m) && hasState("b", keyspace.ReplicaStarting)(m)
		})
	}
	a.SetState(keyspace.ReplicaReady)
	awaitMembers(t, two, "a is ready", hasState("a", keyspace.ReplicaReady))
	if got, _ := two.Membership().Find("nms", "a"); got.Host != "h1" || got.Pin != pinOfTests || got.Peer.Port() != 7444 || got.Since.Before(got.Started) {
		t.Errorf("%+v", got)
	}
	structure := two.Membership().Structure
	a.SetLoad(keyspace.Load{CPU: math.NaN(), Sessions: 7})
	awaitMembers(t, two, "the load of a", func(m *Membership) bool { x, _ := m.Find("nms", "a"); return x.Load.Sessions == 7 })
	if two.Membership().Structure != structure {
		t.Error("a load changed the structure")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	a.SetState(keyspace.ReplicaLeaving)
	if err := a.Withdrawn(ctx); err != nil {
		t.Fatal(err)
	}
	awaitMembers(t, two, "a leaves", hasState("a", keyspace.ReplicaLeaving))
	if two.Membership().Structure == structure {
		t.Error("a state did not change the structure")
	}
	if err := a.Withdraw(ctx); err != nil {
		t.Fatal(err)
	}
	awaitMembers(t, two, "a is gone", func(m *Membership) bool { _, ok := m.Find("nms", "a"); return !ok && len(m.Of("nms")) == 1 })
	if b.State() != keyspace.ReplicaStarting {
		t.Error("b has another state")
	}
	put(t, server.Client(), keyspace.Live("nms", "b"), []byte(`{"name":"b"}`))
	awaitMembers(t, one, "b cannot be read", func(m *Membership) bool { return len(m.Of("nms")) == 0 })
}

func TestAReplicaIsAskedToDrain(t *testing.T) {
	server := startEtcd(t, t.TempDir())
	defer server.Close()
	client := server.Client()
	ask := func(name string) {
		put(t, client, keyspace.Drain("nms", name), keyspace.DrainRecord{Requested: time.Now(), By: "somebody"})
	}
	ask("a") // of an earlier replica of that name
	r := startReplica(t, client)
	a, b := r.Register(identityOf("a")), r.Register(identityOf("b"))
	awaitMembers(t, r, "both are there", func(m *Membership) bool { return len(m.Of("nms")) == 2 })
	ask("b")
	select {
	case <-b.DrainRequested():
	case <-time.After(10 * time.Second):
		t.Fatal("b is not asked")
	}
	select {
	case <-a.DrainRequested():
		t.Fatal("a is asked by a request to an earlier replica")
	default:
	}
	ask("a")
	select {
	case <-a.DrainRequested():
	case <-time.After(10 * time.Second):
		t.Fatal("a is not asked")
	}
	ask("b") // twice is no harm
	b.SetState(keyspace.ReplicaLeaving)
	awaitMembers(t, r, "b leaves", hasState("b", keyspace.ReplicaLeaving))
}

func TestMembersStayWhileEtcdIsAway(t *testing.T) {
	t.Parallel()
	server := startServer(t)
	one, two := startReplica(t, server.client()), startReplica(t, server.client())
	a := one.Register(identityOf("a"))
	awaitMembers(t, two, "a is there", hasState("a", keyspace.ReplicaStarting))
	server.kill()
	a.SetState(keyspace.ReplicaReady)
	structure := two.Membership().Structure
	time.Sleep(registrationTTL + 2*time.Second)
	if m := two.Membership(); m.Structure != structure || len(m.Of("nms")) != 1 {
		t.Fatalf("the members changed without etcd: %+v", m)
	}
	gone := false
	server.start()
	awaitMembers(t, two, "a is ready after the outage", func(m *Membership) bool {
		gone = gone || len(m.Of("nms")) == 0
		return hasState("a", keyspace.ReplicaReady)(m)
	})
	if gone {
		t.Error("a was gone in between")
	}
}

func TestIdentitiesAreChecked(t *testing.T) {
	if err := identityOf("a").Check(); err != nil {
		t.Error(err)
	}
	for what, change := range map[string]func(*Identity){
		"slash":   func(i *Identity) { i.Name = "a/b" },
		"service": func(i *Identity) { i.Service = "" },
		"pin":     func(i *Identity) { i.Pin = "" },
		"address": func(i *Identity) { i.Addresses = []netip.Addr{{}} },
	} {
		i := identityOf("a")
		change(&i)
		if i.Check() == nil {
			t.Errorf("%s: accepted", what)
		}
	}
	server := startEtcd(t, t.TempDir())
	defer server.Close()
	r := startReplica(t, server.Client())
	seen := make(map[string]bool)
	for range 100 {
		name, err := r.NewName("nms")
		if err != nil || len(name) != len("nms-")+16 || seen[name] {
			t.Fatalf("%q %v", name, err)
		}
		seen[name] = true
	}
}

func TestThereIsABoundOfMembers(t *testing.T) {
	server := startEtcd(t, t.TempDir())
	defer server.Close()
	r := startReplica(t, server.Client())
	value := func(i int) Item {
		name := fmt.Sprint(i)
		b, err := json.Marshal(keyspace.ReplicaRecord{Name: name, Service: name, State: keyspace.ReplicaReady})
		if err != nil {
			t.Fatal(err)
		}
		return Item{Key: keyspace.Live(name, name), Value: b, Revision: 1}
	}
	m := &Membership{services: make(map[string][]Member)}
	for i := range maxMembers {
		m.services[fmt.Sprint(i)] = []Member{{}}
	}
	r.putMember(m, value(maxMembers))
	if n := m.size(); n != maxMembers {
		t.Errorf("%d members", n)
	}
}
