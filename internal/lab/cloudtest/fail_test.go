package cloudtest

import (
	"context"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/cyphonic/cyphonic/internal/lab/cloud"
)

// hostBound is how long the router may go on sending to a host that is cut off, with BFD.
const hostBound = time.Second

// holdSlack is how much earlier or later than the hold time says the router's kernel may have other routes.
const holdSlack = 500 * time.Millisecond

// A replica that is killed costs repetitions at most: clients succeed within three.
func TestClientsSurviveTheKillOfAReplica(t *testing.T) {
	for _, s := range []cloud.Service{cloud.AS, cloud.NMS} {
		t.Run(string(s), func(t *testing.T) {
			c, ctx := use(t, 2*time.Minute)
			r := c.On(0, s)[1]
			retriesSuffice(t, under(ctx, t, c, func() {
				r.Kill()
				wait(ctx, 8*time.Second) // its lease ends meanwhile
			}))
			must(t, r.Return(ctx))
		})
	}
}

// A relay that is killed interrupts the tunnels through it for a short time; no connection breaks.
func TestRelayedTunnelsSurviveTheKillOfTheirRelay(t *testing.T) {
	c, ctx := use(t, 3*time.Minute)
	streams := openStreams(ctx, t, c)
	relay := busiestRelay(ctx, t, c)
	t.Logf("the tunnel goes through %s", relay.Name)
	relay.Kill()
	wait(ctx, 6*time.Second)
	finishStreams(t, streams, relayBound)
	must(t, relay.Return(ctx))
}

// busiestRelay forwards most at present.
func busiestRelay(ctx context.Context, t *testing.T, c *cloud.Cloud) *cloud.Replica {
	t.Helper()
	count := counting(ctx, t, c, cloud.TRS, "cyphonic_trs_forwarded_datagrams_total", "")
	wait(ctx, time.Second)
	var busiest *cloud.Replica
	most := 0.0
	for r, n := range count() {
		if n > most {
			busiest, most = r, n
		}
	}
	if busiest == nil {
		t.Fatal("no relay forwards anything")
	}
	return busiest
}

// The router takes a host that is cut off out within the time that BFD needs, and clients succeed.
func TestAHostThatIsCutOffIsLeftOut(t *testing.T) {
	c, ctx := use(t, 3*time.Minute)
	retriesSuffice(t, under(ctx, t, c, func() {
		must(t, c.CutHost(2, true))
		took := untilGone(ctx, t, c, 2)
		t.Logf("the router sends nothing to it after %s", took.Round(time.Millisecond))
		if took > hostBound {
			t.Errorf("the router sent to a dead host for %s, want at most %s", took, hostBound)
		}
		wait(ctx, 8*time.Second)
		must(t, c.CutHost(2, false))
		for _, s := range cloud.Announced() {
			must(t, c.AwaitHosts(ctx, s, 3))
		}
	}))
}

// Without BFD the hold time decides for how long the router goes on sending to a host that is cut off. The repetitions of
// clients last longer than that.
func TestAHostThatIsCutOffIsLeftOutByTheHoldTimeWithoutBFD(t *testing.T) {
	const holdTime = 3 * time.Second
	c, ctx := use(t, 3*time.Minute)
	must(t, c.SetPeers(ctx, int(holdTime.Seconds()), false))
	whole(ctx, t, c)
	report := under(ctx, t, c, func() {
		must(t, c.CutHost(2, true))
		took := untilGone(ctx, t, c, 2)
		must(t, c.CutHost(2, false))
		t.Logf("the router sends nothing to it after %s", took.Round(time.Millisecond))
		// The last keepalive came up to a third of the hold time before.
		if took < holdTime*2/3-holdSlack || took > holdTime+holdSlack {
			t.Errorf("the router sent to a dead host for %s, want what is left of a hold time of %s", took, holdTime)
		}
	})
	if total := report.Total(); total.Failed > 0 {
		t.Errorf("%d of %d requests failed:%s", total.Failed, total.Sent, firstFaults(report))
	}
	must(t, c.SetPeers(ctx, c.Options().HoldTime, true))
}

// untilGone waits until the router sends no service's traffic to a host.
func untilGone(ctx context.Context, t *testing.T, c *cloud.Cloud, host int) time.Duration {
	t.Helper()
	begin := time.Now()
	for {
		left := 0
		for _, s := range cloud.Announced() {
			for _, vip := range []netip.Addr{cloud.VIP4(s), cloud.VIP6(s)} {
				hops, err := c.NextHops(vip)
				must(t, err)
				if slices.Contains(hops, cloud.HostAddress4(host)) || slices.Contains(hops, cloud.HostAddress6(host)) {
					left++
				}
			}
		}
		if left == 0 {
			return time.Since(begin)
		}
		if ctx.Err() != nil {
			t.Fatalf("the router still sends %d services to host %d: %v", left, host+1, ctx.Err())
		}
		wait(ctx, 2*time.Millisecond)
	}
}

// A speaker that is killed takes its host out; its replicas go on and what was under way ends well. When it is back, so
// is the host.
func TestServicesGoOnWithoutTheirSpeaker(t *testing.T) {
	c, ctx := use(t, 3*time.Minute)
	retriesSuffice(t, under(ctx, t, c, func() {
		c.Speakers[1].Kill()
		t.Logf("the router sends nothing to the host after %s", untilGone(ctx, t, c, 1).Round(time.Millisecond))
		for _, r := range c.On(1, "") {
			if !r.Running() || r.Ready(ctx) != nil {
				t.Errorf("replica %s suffers from the end of the speaker", r.Name)
			}
		}
		wait(ctx, calm)
		must(t, c.Speakers[1].Start())
		for _, s := range cloud.Announced() {
			must(t, c.AwaitHosts(ctx, s, 3))
		}
	}))
}

// A router that is switched off and on loses everything that it knew. Nothing reaches the cloud meanwhile; afterwards
// everything is as before without anybody doing anything.
func TestARouterThatRestartsLearnsEverythingAgain(t *testing.T) {
	c, ctx := use(t, 3*time.Minute)
	begin := time.Now()
	must(t, c.Routers[cloud.Router].Restart(ctx))
	for _, s := range cloud.Announced() {
		must(t, c.AwaitHosts(ctx, s, 3))
	}
	t.Logf("all hosts take their share %s after the restart", time.Since(begin).Round(10*time.Millisecond))
	nobodyNotices(t, under(ctx, t, c, func() {}))
}

// The desired state's store may lose its leader without anybody noticing.
func TestNobodyNoticesThatTheLeaderOfEtcdDies(t *testing.T) {
	c, ctx := use(t, 2*time.Minute)
	leader := awaitLeader(ctx, t, c)
	nobodyNotices(t, under(ctx, t, c, func() {
		c.Plane.Members[leader].Kill()
		wait(ctx, 6*time.Second)
		must(t, c.Plane.Members[leader].Start())
		awaitLeader(ctx, t, c)
	}))
}

// Without its store the cloud serves on from what it knows: logins, registrations and directions all succeed. Ten
// minutes are tested with CYPHONIC_QUORUM_SECONDS=600.
func TestTheCloudServesOnWithoutEtcd(t *testing.T) {
	away := seconds(t, "CYPHONIC_QUORUM_SECONDS", 15)
	c, ctx := use(t, 2*time.Minute+away)
	nobodyNotices(t, under(ctx, t, c, func() {
		for _, member := range c.Plane.Members[1:] {
			member.Kill()
		}
		wait(ctx, away)
		for _, s := range cloud.Announced() {
			must(t, c.AwaitHosts(ctx, s, 3))
		}
		for _, member := range c.Plane.Members[1:] {
			must(t, member.Start())
		}
		awaitLeader(ctx, t, c)
		wait(ctx, 8*time.Second) // leases are taken anew meanwhile
	}))
}

// awaitLeader waits until a member of etcd leads and returns which.
func awaitLeader(ctx context.Context, t *testing.T, c *cloud.Cloud) int {
	t.Helper()
	for {
		if leader := c.Plane.Leader(ctx); leader >= 0 {
			return leader
		}
		if ctx.Err() != nil {
			t.Fatal("etcd finds no leader")
		}
		wait(ctx, 50*time.Millisecond)
	}
}
