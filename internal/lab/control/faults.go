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
			rules = append(rules, lab.BlockRule{From: netip.PrefixFrom(Address(j), 32), To: netip.PrefixFrom(Address(i), 32), BothWays: true})
		}
	}
	return p.lab.Host(hostName(i)).Block(ctx, rules...)
}

// CutStore cuts manager i off from every etcd member, its own host's included.
func (p *Plane) CutStore(ctx context.Context, i int) (*lab.Blocking, error) {
	return p.lab.Host(hostName(i)).Block(ctx, lab.BlockRule{Protocol: "tcp", From: netip.PrefixFrom(Address(i), 32), Port: etcdClientPort, BothWays: true})
}
