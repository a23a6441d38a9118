// Package reach answers the resolver's questions by connecting a local identity to the peer: the bridge
// between the names of package resolver and the tunnels of package endpoint, for node and adapter alike.
package reach

import (
	"context"
	"errors"
	"fmt"

	"github.com/cyphonic/cyphonic/internal/endpoint"
	"github.com/cyphonic/cyphonic/internal/resolver"
	"github.com/cyphonic/cyphonic/internal/wire"
)

// Connector is an *endpoint.Local.
type Connector interface {
	Connect(ctx context.Context, target wire.Target) (endpoint.Peer, error)
}

// Peer reaches a target and returns its name and addresses, or one of package resolver's errors.
func Peer(ctx context.Context, local Connector, t resolver.Target) (resolver.Peer, error) {
	p, err := local.Connect(ctx, wire.Target{FQDN: t.Name, Addr: t.Address})
	if err != nil {
		return resolver.Peer{}, translate(err)
	}
	return resolver.Peer{Name: p.FQDN, IPv4: p.VirtualIPv4, IPv6: p.VirtualIPv6}, nil
}

func translate(err error) error {
	for _, pair := range []struct{ from, to error }{
		{endpoint.ErrUnknown, resolver.ErrUnknown},
		{endpoint.ErrDenied, resolver.ErrDenied},
		{endpoint.ErrOffline, resolver.ErrOffline},
		{endpoint.ErrTimeout, resolver.ErrTimeout},
		{context.DeadlineExceeded, resolver.ErrTimeout},
	} {
		if errors.Is(err, pair.from) {
			return fmt.Errorf("%w: %w", pair.to, err)
		}
	}
	return err
}
