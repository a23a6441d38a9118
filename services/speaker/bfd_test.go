package speaker_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/internal/keyspace"
)

// A link that carries nothing any more ends the session within the detection time, long before the hold time; the
// session with the other router stays.
func TestALostLinkEndsTheSessionAtOnce(t *testing.T) {
	t.Parallel()
	n, a, _ := two(t)
	a.vtysh("configure terminal", "router bgp 64999", "neighbor 198.51.100.2 bfd")
	n.put(peer("a", routerIP4, 64999, func(s *api.BGPPeerSpec) { s.HoldTimeSeconds, s.Bfd.Enabled = 90, true }))
	n.start()
	n.register("nms-1", keyspace.ReplicaReady)
	n.awaitRoutes("a", 15*time.Second, vip4)
	n.awaitRoutes("b", 15*time.Second, vip4)
	n.await("BFD", 15*time.Second, func() (string, bool) { s := n.session("a"); return fmt.Sprintf("%+v", s), s.BFD == "Up" })
	since := n.session("b").Since
	cut := func(block bool) {
		t.Helper()
		rules := "flush ruleset"
		if block {
			rules = "table inet cut { chain c { type filter hook prerouting priority -400; iifname eth0 drop; }; }"
		}
		if _, err := n.lab.Host("a").RunInput(t.Context(), strings.NewReader(rules), "nft", "-f", "-"); err != nil {
			t.Fatal(err)
		}
	}
	start := time.Now()
	cut(true)
	n.await("the end of the session", 5*time.Second, func() (string, bool) {
		s := n.session("a")
		return fmt.Sprintf("%+v", s), s.State == "Idle" && strings.Contains(s.Reason, "BFD")
	})
	took := time.Since(start)
	n.awaitRoutes("a", 3*time.Second)
	t.Logf("session ended after %v, route gone after %v", took.Round(time.Millisecond), time.Since(start).Round(time.Millisecond))
	if took > 2*time.Second {
		t.Errorf("session ended after %v", took)
	}
	time.Sleep(time.Second)
	if s := n.session("a"); s.State != "Idle" {
		t.Errorf("begun anew without BFD: %+v", s)
	}
	cut(false)
	n.awaitRoutes("a", 15*time.Second, vip4)
	n.sameSession("b", since)
}

// A router whose administrator switches BFD off keeps its session (RFC 5882, section 4.2).
func TestBFDThatTheRouterSwitchesOffEndsNoSession(t *testing.T) {
	t.Parallel()
	n, a, _ := two(t)
	a.vtysh("configure terminal", "router bgp 64999", "neighbor 198.51.100.2 bfd")
	n.put(peer("a", routerIP4, 64999, func(s *api.BGPPeerSpec) { s.HoldTimeSeconds, s.Bfd.Enabled = 90, true }))
	n.start()
	n.register("nms-1", keyspace.ReplicaReady)
	n.awaitRoutes("a", 15*time.Second, vip4)
	bfdIs := func(state string) {
		t.Helper()
		n.await("BFD "+state, 15*time.Second, func() (string, bool) {
			s := n.session("a")
			return fmt.Sprintf("%+v", s), s.BFD == state
		})
	}
	bfdIs("Up")
	since := n.session("a").Since
	a.vtysh("configure terminal", "bfd", "peer 198.51.100.2 local-address 198.51.100.1 interface eth0", "shutdown")
	bfdIs("Down")
	time.Sleep(2 * time.Second)
	n.sameSession("a", since)
	n.awaitRoutes("a", time.Second, vip4)
}
