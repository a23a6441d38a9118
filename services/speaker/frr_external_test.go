package speaker_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/internal/keyspace"
)

func (n *net1) secret(name, text string) {
	n.t.Helper()
	if err := os.WriteFile(filepath.Join(n.directory, name), []byte(text+"\n"), 0o600); err != nil {
		n.t.Fatal(err)
	}
}

// External sessions with password and TTL security; prepending; graceful shutdown seen before the withdrawal.
func TestFRRExternal(t *testing.T) {
	t.Parallel()
	n := newNet(t, "router")
	f := n.startFRR("router", frrConfig(64999, frrBoth, " neighbor 198.51.100.2 password correct-horse", " neighbor 198.51.100.2 ttl-security hops 1",
		" neighbor 2001:db8:51::2 password correct-horse", " neighbor 2001:db8:51::2 ttl-security hops 1"))
	n.settings.Graceful = 3 * time.Second
	n.secret("router.md5", "battery-staple")
	n.put(both(64999, func(s *api.BGPPeerSpec) { s.PasswordSecret, s.TtlSecurity = "router.md5", true })...)
	n.put(service("nms"), advertisement("all", func(s *api.BGPAdvertisementSpec) {
		s.AsPathPrepend, s.Med, s.Communities = 2, 5, []string{"no-export"}
	}))
	n.start()
	m := n.register("nms-1", keyspace.ReplicaReady)
	n.await("the reason of the wrong password", 10*time.Second, func() (string, bool) {
		s := n.session("r4")
		return s.Reason, strings.Contains(s.Reason, "cannot connect")
	})
	if n.session("r4").State == "Established" {
		t.Error("a wrong password is good enough")
	}
	n.secret("router.md5", "correct-horse")
	n.put(both(64999, func(s *api.BGPPeerSpec) { // any change has the file read again
		s.PasswordSecret, s.TtlSecurity, s.HoldTimeSeconds = "router.md5", true, 6
	})...)
	n.awaitState("r4", "Established", 15*time.Second)
	n.awaitState("r6", "Established", 15*time.Second)
	n.awaitRoutes("router", 5*time.Second, vip4, vip6)
	f.awaitShow("show bgp ipv4 unicast "+vip4+"/32", "64512 64512 64512", "no-export", "metric 5", "external")
	f.awaitShow("show bgp neighbors 198.51.100.2", "Hold time is 6", "Peer Authentication Enabled")

	m.say(keyspace.ReplicaLeaving)
	f.awaitShow("show bgp ipv4 unicast "+vip4+"/32", "graceful-shutdown", "localpref 0")
	f.awaitShow("show bgp ipv6 unicast "+vip6+"/128", "graceful-shutdown", "localpref 0")
	n.awaitRoutes("router", 6*time.Second)
}

// A service whose IPv4 address is announced with an IPv6 next hop (RFC 8950), and one whose IPv6 address is announced over IPv4.
func TestFRRNextHopsOfTheOtherFamily(t *testing.T) {
	t.Parallel()
	n := newNet(t, "six", "four")
	six := n.startFRR("six", frrConfig(64999, ` neighbor 2001:db8:51::2 remote-as 64512
 neighbor 2001:db8:51::2 timers connect 1
 neighbor 2001:db8:51::2 capability extended-nexthop
 address-family ipv4 unicast
  neighbor 2001:db8:51::2 activate
 exit-address-family
 address-family ipv6 unicast
  neighbor 2001:db8:51::2 activate
 exit-address-family
`))
	four := n.startFRR("four", frrConfig(64998, ` neighbor 198.51.100.6 remote-as 64512
 neighbor 198.51.100.6 timers connect 1
 address-family ipv4 unicast
  neighbor 198.51.100.6 activate
 exit-address-family
 address-family ipv6 unicast
  neighbor 198.51.100.6 activate
 exit-address-family
`))
	n.put(service("nms"), advertisement("all", nil),
		peer("six", routerIP6, 64999, func(s *api.BGPPeerSpec) { s.ExtendedNextHop = true }),
		peer("four", "198.51.100.5", 64998, func(s *api.BGPPeerSpec) { s.AddressFamilies = []api.AddressFamily{"ipv4", "ipv6"} }))
	n.start()
	n.register("nms-1", keyspace.ReplicaReady)
	n.awaitState("six", "Established", 15*time.Second)
	n.awaitState("four", "Established", 15*time.Second)
	n.awaitRoutes("six", 5*time.Second, vip4, vip6)
	n.awaitRoutes("four", 5*time.Second, vip4, vip6)
	if route := n.routes("six")[vip4]; !strings.Contains(route, "via inet6") {
		t.Errorf("IPv4 by IPv6: %s", route)
	}
	if route := n.routes("four")[vip6]; !strings.Contains(route, "via 2001:db8:52::2") && !strings.Contains(route, "via fe80") {
		t.Errorf("IPv6 by IPv4: %s", route)
	}
	six.awaitShow("show bgp ipv4 unicast "+vip4+"/32", "2001:db8:51::2")
	four.awaitShow("show bgp ipv6 unicast "+vip6+"/128", "2001:db8:52::2")
}

// A router that is two hops away; a session that the router opens.
func TestFRRMultihopAndPassive(t *testing.T) {
	t.Parallel()
	n := newNet(t, "near")
	n.startFRR("near", frrConfig(64999, ` neighbor 198.51.100.2 remote-as 64512
 neighbor 198.51.100.2 timers connect 1
 neighbor 198.51.100.2 ebgp-multihop 5
 neighbor 198.51.100.2 update-source 192.0.2.77
 neighbor 2001:db8:51::2 remote-as 64512
 neighbor 2001:db8:51::2 timers connect 1
 neighbor 2001:db8:51::2 password waiting
 address-family ipv4 unicast
  neighbor 198.51.100.2 activate
 exit-address-family
 address-family ipv6 unicast
  neighbor 2001:db8:51::2 activate
 exit-address-family
`))
	for host, args := range map[string][]string{
		"near": {"ip", "address", "add", "192.0.2.77/32", "dev", "lo"}, "host": {"ip", "route", "add", "192.0.2.77/32", "via", routerIP4},
	} {
		if _, err := n.lab.Host(host).Run(t.Context(), args...); err != nil {
			t.Fatal(err)
		}
	}
	n.secret("waiting", "waiting")
	n.settings.Listen = addresses(hostIP6)
	n.put(service("nms"), advertisement("all", nil),
		peer("far", "192.0.2.77", 64999, func(s *api.BGPPeerSpec) { s.EbgpMultihop = 5 }),
		peer("waiting", routerIP6, 64999, func(s *api.BGPPeerSpec) { s.Passive, s.LocalAddress, s.PasswordSecret = true, hostIP6, "waiting" }),
		peer("z-nowhere", "2001:db8:51::99", 64999, func(s *api.BGPPeerSpec) { s.Passive, s.LocalAddress = true, hostIP6 }))
	n.start()
	n.register("nms-1", keyspace.ReplicaReady)
	n.awaitState("far", "Established", 15*time.Second)
	n.awaitState("waiting", "Established", 15*time.Second)
	n.awaitRoutes("near", 5*time.Second, vip4, vip6)
	states := map[string]string{"waiting": n.session("waiting").State, "z-nowhere": n.session("z-nowhere").State}
	if states["waiting"] != "Established" || states["z-nowhere"] == "Established" || !strings.Contains(n.session("z-nowhere").Reason, "speaker.listen") {
		t.Errorf("passive peers: %+v, %+v", n.session("waiting"), n.session("z-nowhere"))
	}
}
