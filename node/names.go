package node

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/cyphonic/cyphonic/internal/endpoint"
	"github.com/cyphonic/cyphonic/internal/login"
	"github.com/cyphonic/cyphonic/internal/resolver"
	"github.com/cyphonic/cyphonic/internal/resolver/reach"
	"github.com/cyphonic/cyphonic/node/hostdns"
)

// serveNames runs the resolver and tells the host about it, in this order, so that nobody asks in vain.
func (n *Node) serveNames(ctx context.Context, local *endpoint.Local, grant *login.Grant) error {
	integration, err := hostdns.New(hostdns.Options{
		Mode: n.config.Resolver.Integration, Resolver: n.resolver, Interface: n.config.Interface,
		Domains: domains(grant), ResolvConf: n.config.Resolver.ResolvConf, Log: n.log,
	})
	if err != nil {
		return err
	}
	server, err := resolver.New(resolver.Options{
		Listen:    []netip.AddrPort{n.resolver},
		Zone:      resolver.Zone{Domain: grant.Domain, IPv4: grant.IPv4Prefix, IPv6: grant.IPv6Prefix},
		Upstreams: n.upstreams(integration),
		Lookup: func(ctx context.Context, _ netip.Addr, t resolver.Target) (resolver.Peer, error) {
			if self, ok := itself(grant, t); ok {
				return self, nil
			}
			return reach.Peer(ctx, local, t)
		},
		Registerer: n.registry, Log: n.log,
	})
	if err != nil {
		return fmt.Errorf("%w (is another resolver on resolver.listen %s?)", err, n.resolver)
	}
	n.mu.Lock()
	n.dns = integration.Mode()
	n.mu.Unlock()
	n.log.Info("resolver answers", "domain", grant.Domain, "address", n.resolver, "integration", integration.Mode())
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return server.Run(ctx) })
	group.Go(func() error { return integration.Run(ctx) })
	return group.Wait()
}

// itself answers questions about this node without asking the NMS.
func itself(grant *login.Grant, t resolver.Target) (resolver.Peer, bool) {
	own := t.Name == strings.ToLower(grant.FQDN) && t.Name != ""
	if t.Address.IsValid() {
		own = t.Address == grant.VirtualIPv4 || t.Address == grant.VirtualIPv6
	}
	return resolver.Peer{Name: grant.FQDN, IPv4: grant.VirtualIPv4, IPv6: grant.VirtualIPv6}, own
}

// upstreams are the configured ones or the host's.
func (n *Node) upstreams(i *hostdns.Integration) func() []netip.AddrPort {
	if len(n.config.Resolver.Upstreams) == 0 {
		return i.Upstreams
	}
	var fixed []netip.AddrPort
	for _, u := range n.config.Resolver.Upstreams {
		if a, err := parseUpstream(u); err == nil && a != n.resolver {
			fixed = append(fixed, a)
		}
	}
	return func() []netip.AddrPort { return fixed }
}

// domains lists the overlay's domain and those reverse zones whose cut falls between two labels.
func domains(grant *login.Grant) []string {
	out := []string{strings.Trim(grant.Domain, ".")}
	if p := grant.IPv4Prefix; p.IsValid() && p.Bits() >= 8 {
		a := p.Masked().Addr().As4()
		zone := "in-addr.arpa"
		for i := range p.Bits() / 8 {
			zone = fmt.Sprintf("%d.%s", a[i], zone)
		}
		if p.Bits()%8 == 0 {
			out = append(out, zone)
		}
	}
	if p := grant.IPv6Prefix; p.IsValid() && p.Bits() >= 4 && p.Bits()%4 == 0 {
		a := p.Masked().Addr().As16()
		zone := "ip6.arpa"
		for i := range p.Bits() / 4 {
			zone = fmt.Sprintf("%x.%s", a[i/2]>>(4*(1-i%2))&0xf, zone)
		}
		out = append(out, zone)
	}
	return out
}
