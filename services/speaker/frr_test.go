package speaker_test

import (
	"testing"
	"time"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/internal/balancer"
	"github.com/cyphonic/cyphonic/internal/keyspace"
)

const frrBoth = ` neighbor 198.51.100.2 remote-as 64512
 neighbor 198.51.100.2 timers connect 1
 neighbor 2001:db8:51::2 remote-as 64512
 neighbor 2001:db8:51::2 timers connect 1
 address-family ipv4 unicast
  network 192.0.2.0/24
  neighbor 198.51.100.2 activate
 exit-address-family
 address-family ipv6 unicast
  network 2001:db8:77::/48
  neighbor 2001:db8:51::2 activate
 exit-address-family
`

// both are sessions over IPv4 and IPv6 with the router of newNet.
func both(asn int64, change func(*api.BGPPeerSpec)) []api.Object {
	return []api.Object{peer("r4", routerIP4, asn, change), peer("r6", routerIP6, asn, change)}
}

func TestFRRInternal(t *testing.T) {
	t.Parallel()
	n := newNet(t, "router")
	f := n.startFRR("router", frrConfig(64512, frrBoth))
	n.put(both(64512, nil)...)
	n.put(service("nms"), advertisement("all", func(s *api.BGPAdvertisementSpec) {
		s.Communities, s.LargeCommunities, s.LocalPreference, s.Med = []string{"64512:100"}, []string{"64512:1:2"}, 222, 33
	}))
	n.start()
	n.awaitState("r4", "Established", 15*time.Second)
	n.awaitState("r6", "Established", 15*time.Second)
	if found := n.routes("router"); len(found) > 0 {
		t.Errorf("announced without a replica: %v", found)
	}

	m := n.register("nms-1", keyspace.ReplicaStarting)
	m.hear("starting", func(a balancer.Answer) bool { return !a.InService && a.State == keyspace.ReplicaStarting })
	m.say(keyspace.ReplicaReady)
	a := m.hear("ready", func(a balancer.Answer) bool { return a.InService && len(a.Announced) == 2 })
	t.Logf("answer: %+v", a)
	n.awaitRoutes("router", 5*time.Second, vip4, vip6)
	f.awaitShow("show bgp ipv4 unicast "+vip4+"/32", "64512:100", "Large Community: 64512:1:2", "localpref 222", "metric 33", hostIP4, "Local")
	f.awaitShow("show bgp ipv6 unicast "+vip6+"/128", "64512:100", "localpref 222", hostIP6)

	// What the router announces is counted and refused.
	n.await("received prefixes", 5*time.Second, func() (string, bool) {
		r := n.report()
		return "", n.session("r4").Received == 1 && n.session("r6").Received == 1 && len(r.Prefixes) == 2
	})

	// Route refresh gives the same again.
	f.vtysh("clear bgp ipv4 unicast * soft in")
	f.awaitShow("show bgp neighbors 198.51.100.2", "Route Refresh: 1 0", "1 accepted prefixes")

	m.say(keyspace.ReplicaLeaving)
	m.hear("left", func(a balancer.Answer) bool { return !a.InService && a.State == keyspace.ReplicaLeaving })
	n.awaitRoutes("router", 2*time.Second)
	m.say(keyspace.ReplicaReady)
	n.awaitRoutes("router", 2*time.Second, vip4, vip6)
	_ = m.conn.Close() // as a killed process does
	n.awaitRoutes("router", 2*time.Second)
	if s := n.session("r4"); s.State != "Established" {
		t.Errorf("session: %+v", s)
	}
}
