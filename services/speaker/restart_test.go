package speaker_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/internal/balancer"
	"github.com/cyphonic/cyphonic/internal/keyspace"
)

const frrFour = ` neighbor 198.51.100.2 remote-as 64512
 neighbor 198.51.100.2 timers connect 1
 address-family ipv4 unicast
  neighbor 198.51.100.2 activate
 exit-address-family
`

// two is a host with two routers a and b.
func two(t *testing.T) (n *net1, a, b *frr) {
	t.Helper()
	n = newNet(t, "a", "b")
	a = n.startFRR("a", frrConfig(64999, frrFour))
	b = n.startFRR("b", frrConfig(64998, strings.ReplaceAll(frrFour, "198.51.100.2", "198.51.100.6")))
	n.put(service("nms"), advertisement("all", nil), peer("a", routerIP4, 64999, nil), peer("b", "198.51.100.5", 64998, nil))
	return n, a, b
}

// established demands that a session is the very one that it was.
func (n *net1) sameSession(peer string, since time.Time) {
	n.t.Helper()
	if s := n.session(peer); s.State != "Established" || !s.Since.Equal(since) {
		n.t.Errorf("session with %s was established %v, is now %+v", peer, since, s)
	}
}

func TestARestartedRouterComesBackAndDisturbsNoOther(t *testing.T) {
	t.Parallel()
	n, a, _ := two(t)
	n.start()
	n.register("nms-1", keyspace.ReplicaReady)
	n.awaitRoutes("a", 15*time.Second, vip4)
	n.awaitRoutes("b", 15*time.Second, vip4)
	n.awaitState("b", "Established", time.Second)
	since := n.session("b").Since
	a.kill("bgpd")
	n.await("the loss", 5*time.Second, func() (string, bool) {
		s := n.session("a")
		return fmt.Sprint(s), s.State != "Established" && s.Reason != ""
	})
	start := time.Now()
	a.run("bgpd")
	n.awaitRoutes("a", 10*time.Second, vip4)
	t.Logf("route back %v after the start of the router", time.Since(start).Round(10*time.Millisecond))
	n.sameSession("b", since)
}

func TestChangedResourcesTouchOnlyWhatTheyAreAbout(t *testing.T) {
	t.Parallel()
	n, a, b := two(t)
	n.start()
	m := n.register("nms-1", keyspace.ReplicaReady)
	n.awaitRoutes("a", 15*time.Second, vip4)
	n.awaitRoutes("b", 15*time.Second, vip4)
	sinceA, sinceB := n.session("a").Since, n.session("b").Since

	n.put(advertisement("all", func(s *api.BGPAdvertisementSpec) { s.Communities = []string{"64512:7"} }))
	a.awaitShow("show bgp ipv4 unicast "+vip4+"/32", "64512:7")
	n.put(advertisement("all", func(s *api.BGPAdvertisementSpec) { s.Peers = []string{"a"} }))
	n.awaitRoutes("b", 2*time.Second)
	n.awaitRoutes("a", time.Second, vip4)
	n.put(advertisement("other", func(s *api.BGPAdvertisementSpec) { s.Hosts = []string{"elsewhere"} }), advertisement("all", nil))
	n.awaitRoutes("b", 2*time.Second, vip4)
	n.sameSession("a", sinceA)
	n.sameSession("b", sinceB)

	n.put(peer("b", "198.51.100.5", 64998, func(s *api.BGPPeerSpec) { s.Suspended = true }))
	n.awaitRoutes("b", 2*time.Second)
	n.await("suspended", 2*time.Second, func() (string, bool) { s := n.session("b"); return fmt.Sprint(s), s.Reason == "suspended" })
	n.put(peer("b", "198.51.100.5", 64998, func(s *api.BGPPeerSpec) { s.HoldTimeSeconds = 6 }))
	n.awaitRoutes("b", 5*time.Second, vip4)
	b.awaitShow("show bgp neighbors 198.51.100.6", "Hold time is 6")
	n.remove(peer("b", "198.51.100.5", 64998, nil))
	n.awaitRoutes("b", 2*time.Second)
	n.sameSession("a", sinceA)

	// The address of the service changes; then there is no advertisement any more.
	n.put(&api.CloudService{Metadata: api.ObjectMeta{Name: "nms"}, Spec: api.CloudServiceSpec{Service: "nms", Ipv4: "203.0.113.99"}})
	a.awaitShow("show bgp ipv4 unicast", "203.0.113.99/32", "!"+vip4)
	m.hear("the new address", func(a balancer.Answer) bool {
		return len(a.Announced) == 1 && a.Announced[0].String() == "203.0.113.99/32"
	})
	n.remove(advertisement("all", nil))
	a.awaitShow("show bgp ipv4 unicast", "!203.0.113.99")
	n.sameSession("a", sinceA)
}

func TestNothingIsAnnouncedWithoutThePacketFilter(t *testing.T) {
	t.Parallel()
	n, _, _ := two(t)
	fails := filepath.Join(n.directory, "filter.fails")
	if err := os.WriteFile(fails, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	n.start()
	m := n.register("nms-1", keyspace.ReplicaReady)
	n.awaitState("a", "Established", 15*time.Second)
	m.hear("not in service", func(a balancer.Answer) bool { return a.State == keyspace.ReplicaReady && !a.InService })
	n.await("the reason", 2*time.Second, func() (string, bool) {
		p := n.report().Prefixes
		return fmt.Sprint(p), len(p) == 2 && !p[0].Announced && strings.Contains(p[0].Reason, "packet filter")
	})
	n.awaitRoutes("a", time.Second)
	if err := os.Remove(fails); err != nil {
		t.Fatal(err)
	}
	n.awaitRoutes("a", 7*time.Second, vip4)
	m.hear("in service", func(a balancer.Answer) bool { return a.InService })

	// A second replica dies and the filter cannot be changed: part of the traffic would go nowhere.
	second := n.registerAt("nms-2", 17443, keyspace.ReplicaReady)
	second.hear("in service", func(a balancer.Answer) bool { return a.InService })
	if err := os.WriteFile(fails, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_ = second.conn.Close()
	n.awaitRoutes("a", 2*time.Second)
	if err := os.Remove(fails); err != nil {
		t.Fatal(err)
	}
	n.awaitRoutes("a", 7*time.Second, vip4)
}

// The order of start does not matter; a speaker without etcd goes on with what it knew; its end withdraws everything.
func TestStartInAnyOrder(t *testing.T) {
	t.Parallel()
	n := newNet(t, "a")
	n.settings.StateFile = filepath.Join(n.directory, "state.json")
	n.start() // without resources, router or replica
	m := n.register("nms-1", keyspace.ReplicaReady)
	m.hear("no service yet", func(a balancer.Answer) bool { return !a.InService })
	n.put(peer("a", routerIP4, 64999, nil))
	n.startFRR("a", frrConfig(64999, frrFour))
	n.put(service("nms"))
	n.awaitState("a", "Established", 15*time.Second)
	n.awaitRoutes("a", time.Second)
	n.put(advertisement("all", nil))
	n.awaitRoutes("a", 2*time.Second, vip4)

	if err := n.speaker.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-n.speaker.Done()
	if err := n.speaker.Err(); err != nil {
		t.Errorf("the speaker ended with %v", err)
	}
	n.awaitRoutes("a", time.Second)

	// etcd is away now: there is nothing but the file.
	if err := os.Remove(filepath.Join(n.directory, "resources.json")); err != nil {
		t.Fatal(err)
	}
	n.start()
	n.register("nms-1", keyspace.ReplicaReady)
	n.awaitRoutes("a", 10*time.Second, vip4)

	n.speaker.Kill() // a crash withdraws at once, too
	n.awaitRoutes("a", 2*time.Second)
	n.start()
	n.register("nms-1", keyspace.ReplicaReady)
	n.awaitRoutes("a", 10*time.Second, vip4)
}

// With the real packet filter: a datagram to the address arrives at the replica, which sees who sent it.
func TestADatagramArrivesThroughTheAnnouncedAddress(t *testing.T) {
	t.Parallel()
	n := newNet(t, "a")
	n.settings.Netfilter = true
	n.startFRR("a", frrConfig(64999, frrFour))
	n.put(service("nms"), advertisement("all", nil), peer("a", routerIP4, 64999, nil))
	socket, err := n.lab.Host("host").ListenUDP(hostIP4 + ":17442")
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	n.start()
	m := n.register("nms-1", keyspace.ReplicaReady)
	m.hear("in service", func(a balancer.Answer) bool { return a.InService })
	n.awaitRoutes("a", 15*time.Second, vip4)
	client, err := n.lab.Host("a").Dial(t.Context(), "udp", vip4+":7442")
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := client.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	buffer := make([]byte, 64)
	_ = socket.SetReadDeadline(time.Now().Add(3 * time.Second))
	_, from, err := socket.ReadFrom(buffer)
	if err != nil || from.String() != client.LocalAddr().String() {
		t.Fatalf("from %v: %v", from, err)
	}
	if _, err := socket.WriteTo([]byte("welcome"), from); err != nil {
		t.Fatal(err)
	}
	_ = client.SetReadDeadline(time.Now().Add(3 * time.Second))
	if count, err := client.Read(buffer); err != nil || string(buffer[:count]) != "welcome" {
		t.Fatalf("answer %q: %v", buffer[:count], err)
	}
}
