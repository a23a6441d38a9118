package cloudtest

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/cyphonic/cyphonic/internal/lab/cloud"
)

// hashFlows is the number of flows that the router is asked about: as many that chance hardly blurs a share.
const hashFlows = 12000

// How the kernel of a router spreads flows over three hosts, and which flows change their host when one leaves: with a
// multipath route as routing software installs it, and with a resilient group of next hops.
func TestHashOfTheRouter(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	c, err := cloud.StartNetwork(ctx, cloud.Options{Programs: shared.programs, Sources: 1})
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	must(t, err)
	text := "| family | routes | worst share, from even | surviving flows that change their host when one of three leaves |\n|---|---|---|---|\n"
	for _, family := range []int{4, 6} {
		for _, way := range []string{"multipath", "resilient"} {
			spread, moved := hash(ctx, t, c, family, way == "resilient")
			text += fmt.Sprintf("| IPv%d | %s | %.1f %% | %.1f %% |\n", family, way, 100*spread, 100*moved)
			if spread > even {
				t.Errorf("IPv%d, %s: a share is %.1f %% from even", family, way, 100*spread)
			}
			switch {
			case way == "resilient" && moved > 0:
				t.Errorf("IPv%d: %.1f %% of the surviving flows of a resilient group move", family, 100*moved)
			case way == "multipath" && moved == 0:
				t.Errorf("IPv%d: no surviving flow of a multipath route moves: the question is asked wrongly", family)
			}
		}
	}
	results(t, "cloud-hash.md", text)
}

// hash sends flows to the NMS over three hosts and then over the first two.
func hash(ctx context.Context, t *testing.T, c *cloud.Cloud, family int, resilient bool) (spread, moved float64) {
	t.Helper()
	flows := make([]cloud.Flow, hashFlows)
	for i := range flows {
		from, to := netip.AddrFrom4([4]byte{198, 18, byte(1 + i/250%40), byte(1 + i%250)}), cloud.VIP4(cloud.NMS)
		if family == 6 {
			from, to = netip.MustParseAddr(fmt.Sprintf("2001:db8:c000:%x::1", 1+i%4000)), cloud.VIP6(cloud.NMS)
		}
		flows[i] = cloud.Flow{Protocol: "udp", From: netip.AddrPortFrom(from, uint16(20000+i)), To: netip.AddrPortFrom(to, cloud.Port(cloud.NMS))}
	}
	must(t, route(ctx, c, family, resilient, 3))
	before, err := c.Spread(ctx, flows)
	must(t, err)
	must(t, route(ctx, c, family, resilient, 2))
	after, err := c.Spread(ctx, flows)
	must(t, err)
	shares := map[string]float64{"h1": 0, "h2": 0, "h3": 0}
	changed, survivors := 0, 0
	for i := range flows {
		if before[i] < 0 || after[i] < 0 {
			t.Fatalf("flow %+v goes to no host", flows[i])
		}
		shares[cloud.HostName(before[i])]++
		if before[i] == 2 {
			continue
		}
		if survivors++; after[i] != before[i] {
			changed++
		}
	}
	_, spread = deviation(shares)
	must(t, unroute(ctx, c, family))
	return spread, float64(changed) / float64(survivors)
}

// resilientGroup is the identifier of the group; those of its members are above.
const resilientGroup = 500

// route sends the NMS's traffic to the first hosts.
func route(ctx context.Context, c *cloud.Cloud, family int, resilient bool, hosts int) error {
	vip, address := cloud.VIP4(cloud.NMS), cloud.HostAddress4
	if family == 6 {
		vip, address = cloud.VIP6(cloud.NMS), cloud.HostAddress6
	}
	var batch strings.Builder
	if !resilient {
		fmt.Fprintf(&batch, "route replace %s", vip)
		for i := range hosts {
			fmt.Fprintf(&batch, " nexthop via %s dev hosts", address(i))
		}
	} else {
		var members []string
		for i := range hosts {
			fmt.Fprintf(&batch, "nexthop replace id %d via %s dev hosts\n", resilientGroup+1+i, address(i))
			members = append(members, fmt.Sprint(resilientGroup+1+i))
		}
		fmt.Fprintf(&batch, "nexthop replace id %d group %s type resilient buckets 512 idle_timer 60\n", resilientGroup, strings.Join(members, "/"))
		fmt.Fprintf(&batch, "route replace %s nhid %d", vip, resilientGroup)
	}
	_, err := c.Lab.Host(cloud.Router).RunInput(ctx, strings.NewReader(batch.String()+"\n"), "ip", "-batch", "-")
	return err
}

func unroute(ctx context.Context, c *cloud.Cloud, family int) error {
	router := c.Lab.Host(cloud.Router)
	vip := cloud.VIP4(cloud.NMS)
	if family == 6 {
		vip = cloud.VIP6(cloud.NMS)
	}
	if _, err := router.Run(ctx, "ip", fmt.Sprintf("-%d", family), "route", "del", vip.String()); err != nil {
		return err
	}
	_, err := router.Run(ctx, "ip", "nexthop", "flush")
	return err
}
