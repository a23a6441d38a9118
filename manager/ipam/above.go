package ipam

import (
	"context"
	"net/netip"
)

// lowestFreeAbove is lowestFree in a pool on another one. mu is held.
func (p *pool) lowestFreeAbove(ctx context.Context) (netip.Addr, error) {
	p.base.mu.Lock()
	defer p.base.mu.Unlock()
	if err := p.base.ready(ctx); err != nil {
		return netip.Addr{}, err
	}
	at, addr := p.search(position{}, p.freeAbove)
	if !addr.IsValid() {
		if err := p.base.reload(ctx); err != nil {
			return netip.Addr{}, err
		}
		at, addr = p.search(position{}, p.freeAbove)
	}
	if !addr.IsValid() {
		return netip.Addr{}, p.full(p.base.used.count + p.used.count - p.freed.count)
	}
	p.used.add(at)
	p.freed.remove(at)
	return addr, nil
}

// freeAbove returns the lowest place from one on that is free here: free in
// the real pool, or freed here. mu and base.mu are held.
func (p *pool) freeAbove(from position) position {
	at := from
	for {
		at = p.base.used.free(at)
		if !p.used.has(at) {
			break
		}
		at = p.used.free(at)
	}
	if freed, ok := p.freed.lowest(from); ok && freed.less(at) {
		return freed
	}
	return at
}
