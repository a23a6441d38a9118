package netconf

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"
)

// poll is how often macOS is asked for its addresses.
const poll = 2 * time.Second

// scan reads the addresses of all interfaces that are up.
func (m *Monitor) scan() (state, error) {
	interfaces, err := net.Interfaces()
	if err != nil {
		return state{}, fmt.Errorf("netconf: list interfaces: %w", err)
	}
	var s state
	for _, i := range interfaces {
		if i.Flags&net.FlagUp == 0 || m.excluded(i.Name) {
			continue
		}
		addresses, err := i.Addrs()
		if err != nil {
			continue
		}
		for _, a := range addresses {
			p, err := netip.ParsePrefix(a.String())
			if err == nil && m.real(p.Addr().Unmap()) {
				s.addresses = append(s.addresses, p.Addr().Unmap())
			}
		}
	}
	slices.SortFunc(s.addresses, netip.Addr.Compare)
	s.addresses = slices.Compact(s.addresses)
	return s, nil
}

// subscribe wakes the monitor periodically.
func (m *Monitor) subscribe(ctx context.Context, wake chan<- struct{}) {
	ticker := time.NewTicker(poll)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			select {
			case wake <- struct{}{}:
			default:
			}
		}
	}
}
