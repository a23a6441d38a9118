package control

import (
	"context"
	"net/netip"

	"github.com/cyphonic/cyphonic/internal/lab"
)

// Isolate cuts host i off from the other members and managers. Clients still reach it.
func (p *Plane) Isolate(ctx context.Context, i int) (*lab.Blocking, error) {
	var rules []lab.BlockRule
	for j := range max(p.options.Members, p.options.Managers) {
		if j != i {
			rules = append(rules, lab.BlockRule{From: netip.PrefixFrom(p.hosts[j].Address, 32), To: netip.PrefixFrom(p.hosts[i].Address, 32), BothWays: true})
		}
	}
	return p.lab.Host(p.hosts[i].Name).Block(ctx, rules...)
}

// CutStore cuts manager i off from every etcd member, its own host's included.
func (p *Plane) CutStore(ctx context.Context, i int) (*lab.Blocking, error) {
	return p.lab.Host(p.hosts[i].Name).Block(ctx, lab.BlockRule{Protocol: "tcp", From: netip.PrefixFrom(p.hosts[i].Address, 32), Port: etcdClientPort, BothWays: true})
}
