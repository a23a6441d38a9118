package cloud

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
)

// NextHops are the hosts to which the kernel of the router sends what is for an address, by their own addresses.
func (c *Cloud) NextHops(vip netip.Addr) ([]netip.Addr, error) {
	return c.Lab.Host(Router).Gateways(netip.PrefixFrom(vip, vip.BitLen()))
}

// Flow is a stream of packets with the same addresses and ports.
type Flow struct {
	Protocol string // tcp or udp
	From, To netip.AddrPort
}

// Snapshot keeps how the router spreads at a moment, so that one can ask later where a flow went then. It is a routing
// table of the router that only marked questions see; packets do not.
type Snapshot struct {
	cloud *Cloud
	table int
}

// firstTable of those of snapshots.
const firstTable = 1000

// Snapshot copies the routes to all services into a table of its own; number tells snapshots apart.
func (c *Cloud) Snapshot(ctx context.Context, number int) (*Snapshot, error) {
	s := &Snapshot{cloud: c, table: firstTable + number}
	for _, family := range []string{"-4", "-6"} {
		var batch strings.Builder
		fmt.Fprintf(&batch, "rule add fwmark %[1]d lookup %[1]d pref %[1]d\n", s.table)
		for _, service := range Announced() {
			vip := VIP4(service)
			if family == "-6" {
				vip = VIP6(service)
			}
			hops, err := c.NextHops(vip)
			if err != nil {
				return nil, err
			}
			if len(hops) == 0 {
				continue
			}
			fmt.Fprintf(&batch, "route replace %s table %d", vip, s.table)
			for _, hop := range hops {
				fmt.Fprintf(&batch, " nexthop via %s", hop)
			}
			batch.WriteString("\n")
		}
		if _, err := c.Lab.Host(Router).RunInput(ctx, strings.NewReader(batch.String()), "ip", family, "-batch", "-"); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// Hosts tells for each flow to which host the router sent it, -1 if to none of them.
func (s *Snapshot) Hosts(ctx context.Context, flows []Flow) ([]int, error) {
	return s.cloud.spread(ctx, flows, fmt.Sprintf(" mark %d", s.table))
}

// Spread tells for each flow to which host the router sends it now, -1 if to none of them.
func (c *Cloud) Spread(ctx context.Context, flows []Flow) ([]int, error) {
	return c.spread(ctx, flows, "")
}

func (c *Cloud) spread(ctx context.Context, flows []Flow, mark string) ([]int, error) {
	hosts := make([]int, len(flows))
	for _, family := range []string{"-4", "-6"} {
		var batch strings.Builder
		var asked []int
		for i, f := range flows {
			if f.To.Addr().Is6() != (family == "-6") {
				continue
			}
			asked = append(asked, i)
			fmt.Fprintf(&batch, "route get %s from %s iif %s ipproto %s sport %d dport %d%s\n",
				f.To.Addr(), f.From.Addr(), c.inside(), f.Protocol, f.From.Port(), f.To.Port(), mark)
		}
		if len(asked) == 0 {
			continue
		}
		out, err := c.Lab.Host(Router).RunInput(ctx, strings.NewReader(batch.String()), "ip", family, "-json", "-batch", "-")
		if err != nil {
			return nil, err
		}
		answers, err := parseRoutes(out)
		if err != nil {
			return nil, err
		}
		if len(answers) != len(asked) {
			return nil, fmt.Errorf("%d routes for %d flows", len(answers), len(asked))
		}
		for n, i := range asked {
			hosts[i] = c.hostOf(answers[n])
		}
	}
	return hosts, nil
}

// inside is the interface of the router through which devices come.
func (c *Cloud) inside() string {
	if c.options.Design == Public {
		return "peer"
	}
	return "clients"
}

// parseRoutes reads the gateways out of a sequence of JSON lists of one route each.
func parseRoutes(text string) ([]netip.Addr, error) {
	var all []netip.Addr
	for decoder := json.NewDecoder(strings.NewReader(text)); decoder.More(); {
		var routes []struct{ Gateway string }
		if err := decoder.Decode(&routes); err != nil {
			return nil, fmt.Errorf("read the answers of ip route get: %w", err)
		}
		for _, route := range routes {
			gateway, err := netip.ParseAddr(route.Gateway)
			if err != nil {
				gateway = netip.Addr{}
			}
			all = append(all, gateway)
		}
	}
	return all, nil
}

func (c *Cloud) hostOf(gateway netip.Addr) int {
	for i := range c.options.Hosts {
		if gateway == HostAddress4(i) || gateway == HostAddress6(i) {
			return i
		}
	}
	return -1
}
