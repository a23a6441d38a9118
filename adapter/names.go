package adapter

import (
	"context"
	"net/netip"
	"time"

	"github.com/cyphonic/cyphonic/internal/resolver"
	"github.com/cyphonic/cyphonic/internal/resolver/reach"
)

const (
	dnsPort    = 53
	resolvConf = "/etc/resolv.conf"
)

// serveNames answers the general nodes' DNS questions on the gateway address, once the network is known. Who
// asks is told by the source address, which the guard has checked.
func (a *Adapter) serveNames(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-a.networkKnown:
	}
	a.mu.Lock()
	network := a.network
	a.mu.Unlock()
	upstreams := a.upstreams()
	for ctx.Err() == nil {
		server, err := resolver.New(resolver.Options{
			Listen:     []netip.AddrPort{netip.AddrPortFrom(network.Gateway, dnsPort)},
			Zone:       resolver.Zone{Domain: network.Domain, IPv4: network.Prefix},
			Upstreams:  upstreams,
			Lookup:     a.lookup,
			Registerer: a.registry, Log: a.log,
		})
		if err == nil {
			err = server.Run(ctx)
		}
		if err != nil {
			a.log.Error("the general nodes have no resolver", "error", err)
			select {
			case <-ctx.Done():
			case <-time.After(namesRetry):
			}
		}
	}
	return nil
}

// lookup reaches a peer as the general node that asks.
func (a *Adapter) lookup(ctx context.Context, from netip.Addr, t resolver.Target) (resolver.Peer, error) {
	local, ok := a.engine.Local(from)
	if !ok {
		return resolver.Peer{}, resolver.ErrDenied
	}
	return reach.Peer(ctx, local, t)
}

func (a *Adapter) upstreams() func() []netip.AddrPort {
	if len(a.config.Upstreams) == 0 {
		return func() []netip.AddrPort { return hostUpstreams(resolvConf) }
	}
	var fixed []netip.AddrPort
	for _, u := range a.config.Upstreams {
		if x, err := parseUpstream(u); err == nil {
			fixed = append(fixed, x)
		}
	}
	return func() []netip.AddrPort { return fixed }
}
