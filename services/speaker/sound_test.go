package speaker

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/internal/balancer"
	"github.com/cyphonic/cyphonic/internal/keyspace"
)

// One replica that says something wrong of itself gets nothing, and takes nothing from the others.
func TestAReplicaCannotTakeTheAddressesOfOthersAway(t *testing.T) {
	at := func(service, name, address string, port uint16, state keyspace.ReplicaState) balancer.Registration {
		return balancer.Registration{Service: service, Name: name, Port: port, State: state, Addresses: []netip.Addr{netip.MustParseAddr(address)}}
	}
	var crowd []balancer.Registration
	for i := range maxBackends {
		crowd = append(crowd, at("nms", fmt.Sprintf("crowd-%d", i), "192.0.2.9", 20000+uint16(i), keyspace.ReplicaReady))
	}
	for name, hostile := range map[string][]balancer.Registration{
		"at the address of a service":           {at("nms", "0", "203.0.113.10", 9999, keyspace.ReplicaReady)},
		"of another kind there":                 {at("as", "0", "203.0.113.10", 7442, keyspace.ReplicaReady)},
		"at that of a service that is not here": {at("nms", "0", "203.0.113.99", 9999, keyspace.ReplicaReady)},
		"at the address and port of another":    {at("nms", "0", "192.0.2.1", 10005, keyspace.ReplicaLeaving)},
		"the same, of another kind":             {at("trs", "0", "192.0.2.1", 10005, keyspace.ReplicaLeaving)},
		"too many":                              crowd,
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.put(keyspace.CloudServices, "aaa", &api.CloudService{Spec: api.CloudServiceSpec{Service: "as", Ipv4: "203.0.113.20"}})
			w.put(keyspace.CloudServices, "elsewhere", &api.CloudService{Spec: api.CloudServiceSpec{Service: "manager", Ipv4: "203.0.113.99"}})
			w.put(keyspace.BGPAdvertisements, "all", &api.BGPAdvertisement{Spec: api.BGPAdvertisementSpec{Services: []string{"nms", "aaa"}}})
			w.replica("right", keyspace.ReplicaReady)
			w.in.backends = append(w.in.backends, at("as", "as-1", "192.0.2.1", 7441, keyspace.ReplicaReady))
			w.in.backends = append(w.in.backends, hostile...)
			p := w.settle()
			w.announces(p, prefix4, netip.MustParsePrefix("203.0.113.20/32"), prefix6)
			if len(p.left) != 1 {
				t.Errorf("left out: %v", p.left)
			}
			if len(hostile) > 1 {
				return
			}
			if a, ok := w.core.answer(hostile[0], w.in, p); a.InService || !ok {
				t.Errorf("the replica is told %+v %v", a, ok)
			}
		})
	}
}

func TestAReplicaLeftOutDoesNotCountAsReady(t *testing.T) {
	w := newWorld(t)
	w.replica("wrong", keyspace.ReplicaReady)
	w.in.backends[0].Addresses = []netip.Addr{netip.MustParseAddr("203.0.113.10")}
	w.announces(w.settle())
}

// The packet filter drops what comes for an address of a service at other ports: with the host's own address the host
// would be out of reach, with that of a router so would the network.
func TestAnAddressThatIsNotForServicesIsRefused(t *testing.T) {
	for name, row := range map[string]struct {
		own, vip string
		say      string
	}{
		"of this host":  {"203.0.113.30", "203.0.113.30", "address of this host"},
		"of the router": {"192.0.2.1", "2001:db8::1", "router"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.in.own = []netip.Addr{netip.MustParseAddr(row.own)}
			spec := api.CloudServiceSpec{Service: "trs"}
			vip := netip.MustParseAddr(row.vip)
			if spec.Ipv4 = row.vip; vip.Is6() {
				spec.Ipv4, spec.Ipv6 = "", row.vip
			}
			w.put(keyspace.CloudServices, "bad", &api.CloudService{Spec: spec})
			w.replica("a", keyspace.ReplicaReady)
			p := w.settle()
			w.announces(p, prefix4, prefix6)
			for _, s := range p.filter.Services {
				if slices.Contains(s.VIP, vip) {
					t.Errorf("the packet filter is given %+v", s)
				}
			}
			if !slices.ContainsFunc(p.status, func(s keyspace.SpokenPrefix) bool {
				return s.Prefix.Addr() == vip && strings.Contains(s.Reason, row.say)
			}) {
				t.Errorf("status %+v", p.status)
			}
		})
	}
}

func TestAHostThatClaimsTheAddressOfAServiceIsLeftOut(t *testing.T) {
	w := newWorld(t)
	good := netip.MustParseAddr("192.0.2.77")
	w.in.hosts = []netip.Addr{good, prefix4.Addr()}
	w.replica("a", keyspace.ReplicaReady)
	p := w.settle()
	w.announces(p, prefix4, prefix6)
	if !slices.Equal(p.filter.Hosts, []netip.Addr{good}) {
		t.Errorf("hosts %v", p.filter.Hosts)
	}
}

func TestRecordsThatNobodyChecked(t *testing.T) {
	r := newResources()
	peer := `{"apiVersion":"cyphonic/v1","kind":"BGPPeer","metadata":{"name":"r"},"spec":{"peerAddress":"192.0.2.9","peerASN":64512,"localASN":64513%s}%s}`
	key := keyspace.Resource(keyspace.BGPPeers, "r")
	for _, spec := range []string{`,"bfd":{"enabled":true,"receiveIntervalMilliseconds":1}`, `,"peerPort":65537`, `,"maxReceivedPrefixes":-1`, `,"ebgpMultihop":257`} {
		if err := r.put(key, fmt.Appendf(nil, peer, spec, "")); err == nil || len(r.neighbours) > 0 {
			t.Errorf("%s is taken: %v", spec, err)
		}
	}
	if err := r.put(key, fmt.Appendf(nil, peer, "", `,"status":{"sessions":[{"host":"h","state":"OfALaterVersion"}]}`)); err != nil {
		t.Errorf("what others say about a session ends it: %v", err)
	}
	for i := range maxSpeakers + 1 {
		err := r.put(keyspace.Speaker(fmt.Sprintf("h%d", i)), []byte(`{"addresses":["192.0.2.1","192.0.2.2","192.0.2.3"]}`))
		if (err == nil) != (i < maxSpeakers) {
			t.Fatalf("host %d: %v", i, err)
		}
	}
	if len(r.speakers) != maxSpeakers || len(r.speakers["h0"]) != 2 {
		t.Errorf("%d hosts, the first with %v", len(r.speakers), r.speakers["h0"])
	}
}

// A line that an older connection had sent before it was replaced must not throw the newer one out.
func TestAReplacedConnectionDoesNotComeBack(t *testing.T) {
	r, _ := newTestRegistry(t)
	connections := make([]*member, 2)
	for i := range connections {
		near, far := net.Pipe()
		t.Cleanup(func() { _, _ = near.Close(), far.Close() })
		connections[i] = &member{conn: near, send: make(chan balancer.Answer, maxPending)}
		if err := r.register(connections[i], good()); err != nil {
			t.Fatal(err)
		}
	}
	late := good()
	late.State = keyspace.ReplicaLeaving
	if r.register(connections[0], late) == nil {
		t.Error("the older connection goes on")
	}
	if list := r.list(); connections[1].gone || len(list) != 1 || list[0].State != keyspace.ReplicaReady {
		t.Errorf("the newer connection has gone: %+v", list)
	}
}

// poor is a listener that has no file descriptor at first.
type poor struct {
	net.Listener
	failures int
}

func (p *poor) Accept() (net.Conn, error) {
	if p.failures > 0 {
		p.failures--
		return nil, &net.OpError{Op: "accept", Err: syscall.EMFILE}
	}
	return p.Listener.Accept()
}

func TestWithoutFileDescriptorsTheSpeakerGoesOn(t *testing.T) {
	r, _ := newTestRegistry(t)
	path := filepath.Join(t.TempDir(), "s")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- r.run(t.Context(), &poor{listener, 1}) }()
	say(t, path, good())
	members(t, r, 1)
	_ = listener.Close()
	if err := <-ended; !errors.Is(err, net.ErrClosed) {
		t.Errorf("the registry has ended with %v", err)
	}
}
