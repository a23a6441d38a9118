package speaker_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/internal/lab"
)

// write writes a file and returns its path.
func (n *net1) write(name, text string) string {
	n.t.Helper()
	path := filepath.Join(n.directory, name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		n.t.Fatal(err)
	}
	return path
}

// query runs a command in a router until its output has all texts.
func (n *net1) query(router string, args []string, wants ...string) {
	n.t.Helper()
	n.await(fmt.Sprintf("%v: %q", args, wants), 10*time.Second, func() (string, bool) {
		ctx, cancel := context.WithTimeout(n.t.Context(), 5*time.Second)
		defer cancel()
		out, err := n.lab.Host(router).Run(ctx, args...)
		if err != nil {
			return err.Error(), false
		}
		for _, want := range wants {
			if !strings.Contains(out, want) {
				return out, false
			}
		}
		return out, true
	})
}

const birdConfig = `log stderr all;
router id 192.0.2.1;
protocol device {}
protocol kernel { ipv4 { export all; }; }
protocol kernel { ipv6 { export all; }; }
protocol static { ipv4; route 192.0.2.0/24 unreachable; }
protocol bgp four {
  local as 64999; neighbor 198.51.100.2 as 64512;
  password "secret"; ttl security on; connect retry time 1; connect delay time 1; error wait time 1, 2;
  ipv4 { import all; export where source = RTS_STATIC; };
}
protocol bgp six {
  local as 64999; neighbor 2001:db8:51::2 as 64512;
  password "secret"; connect retry time 1; connect delay time 1; error wait time 1, 2;
  ipv6 { import all; export none; };
}
`

func TestBIRD(t *testing.T) {
	t.Parallel()
	n := newNet(t, "bird")
	socket := filepath.Join(n.directory, "bird.ctl")
	config := n.write("bird.conf", birdConfig)
	start := func() *lab.Process {
		p, err := n.lab.Host("bird").Start(lab.Command{Name: "bird", Args: []string{"/usr/sbin/bird", "-f", "-c", config, "-s", socket}})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	bird := start()
	n.secret("md5", "secret")
	n.put(service("nms"), advertisement("all", func(s *api.BGPAdvertisementSpec) {
		s.Communities, s.LargeCommunities, s.Med, s.AsPathPrepend = []string{"64512:100"}, []string{"64512:1:2"}, 7, 1
	}),
		peer("four", routerIP4, 64999, func(s *api.BGPPeerSpec) { s.PasswordSecret, s.TtlSecurity = "md5", true }),
		peer("six", routerIP6, 64999, func(s *api.BGPPeerSpec) { s.PasswordSecret = "md5" }))
	n.start()
	m := n.register("nms-1", keyspace.ReplicaReady)
	n.awaitRoutes("bird", 15*time.Second, vip4, vip6)
	birdc := func(command ...string) []string { return append([]string{"birdc", "-s", socket}, command...) }
	n.query("bird", birdc("show", "route", vip4+"/32", "all"), "64512 64512", "(64512,100)", "(64512, 1, 2)", "BGP.med: 7", "BGP.next_hop: "+hostIP4)
	n.query("bird", birdc("show", "route", vip6+"/128", "all"), "64512 64512", "(64512,100)", hostIP6)
	n.await("received", 5*time.Second, func() (string, bool) { s := n.session("four"); return fmt.Sprint(s), s.Received == 1 })

	n.query("bird", birdc("reload", "in", "four"), "reloading") // route refresh
	n.query("bird", birdc("show", "protocols", "all", "four"), "Established")
	n.awaitRoutes("bird", 3*time.Second, vip4, vip6)

	bird.Kill()
	n.await("the loss", 15*time.Second, func() (string, bool) {
		s := n.session("four")
		return fmt.Sprint(s), s.State != "Established"
	})
	_ = os.Remove(socket)
	again := time.Now()
	start()
	n.awaitRoutes("bird", 15*time.Second, vip4, vip6)
	t.Logf("routes back %v after the restart", time.Since(again).Round(10*time.Millisecond))
	m.say(keyspace.ReplicaLeaving)
	n.awaitRoutes("bird", 3*time.Second)
}

func TestGoBGPAsNeighbour(t *testing.T) {
	t.Parallel()
	n := newNet(t, "gobgp")
	config := n.write("gobgpd.toml", `[global.config]
  as = 64512
  router-id = "192.0.2.1"
[[neighbors]]
  [neighbors.config]
    neighbor-address = "198.51.100.2"
    peer-as = 64512
    auth-password = "secret"
  [neighbors.transport.config]
    passive-mode = true
[[neighbors]]
  [neighbors.config]
    neighbor-address = "2001:db8:51::2"
    peer-as = 64512
  [neighbors.timers.config]
    connect-retry = 1
  [[neighbors.afi-safis]]
    [neighbors.afi-safis.config]
      afi-safi-name = "ipv6-unicast"
`)
	start := func() *lab.Process {
		p, err := n.lab.Host("gobgp").Start(lab.Command{
			Name: "gobgpd", Args: []string{"gobgpd", "-f", config, "--api-hosts", "127.0.0.1:50051", "--pprof-disable"},
			Env: []string{"GODEBUG=multipathtcp=0"},
		})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	gobgpd := start()
	n.query("gobgp", []string{"gobgp", "global"}, "64512") // the link is up by then
	n.secret("md5", "secret")
	n.settings.Listen = addresses(hostIP6)
	n.put(service("nms"), advertisement("all", func(s *api.BGPAdvertisementSpec) { s.Communities, s.LocalPreference = []string{"64512:100"}, 77 }),
		peer("four", routerIP4, 64512, func(s *api.BGPPeerSpec) { s.PasswordSecret = "md5" }),
		peer("six", routerIP6, 64512, func(s *api.BGPPeerSpec) { s.Passive, s.LocalAddress = true, hostIP6 }))
	n.start()
	m := n.register("nms-1", keyspace.ReplicaReady)
	n.awaitState("four", "Established", 15*time.Second)
	n.awaitState("six", "Established", 15*time.Second)
	rib4, rib6 := []string{"gobgp", "global", "rib", "-a", "ipv4"}, []string{"gobgp", "global", "rib", "-a", "ipv6"}
	n.query("gobgp", rib4, vip4+"/32", hostIP4, "64512:100", "LocalPref: 77")
	n.query("gobgp", rib6, vip6+"/128", hostIP6, "64512:100")
	n.query("gobgp", []string{"gobgp", "neighbor", hostIP4, "softresetin"})
	n.query("gobgp", rib4, vip4+"/32")
	gobgpd.Kill()
	n.await("the loss", 15*time.Second, func() (string, bool) { s := n.session("four"); return fmt.Sprint(s), s.State != "Established" })
	start()
	n.query("gobgp", rib4, vip4+"/32")
	m.say(keyspace.ReplicaLeaving)
	n.query("gobgp", rib4, "not in table")
	n.query("gobgp", rib6, "not in table")
}
