package ipam

import (
	"context"
	"fmt"
	"net/netip"
	"sync"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/manager/store"
)

// poolKey names a pool. The prefix is part of it: a network that was deleted
// and created again may have another.
type poolKey struct {
	network string
	prefix  netip.Prefix
}

// pools holds one pool per network and family, at most maxPools.
type pools struct {
	mu  sync.Mutex
	all map[poolKey]*pool // under mu
}

func (s *pools) get(network string, prefix netip.Prefix) *pool {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := poolKey{network, prefix}
	if p, ok := s.all[k]; ok {
		return p
	}
	if len(s.all) >= maxPools { // a forgotten pool is read again when needed
		for old := range s.all {
			delete(s.all, old)
			break
		}
	}
	p := &pool{network: network, prefix: prefix.Masked()}
	s.all[k] = p
	return p
}

// pool remembers the addresses of one prefix that are in use.
type pool struct {
	network string       // constant
	prefix  netip.Prefix // constant

	mu     sync.Mutex
	loaded bool                    // under mu: used was read from the store
	used   map[netip.Addr]struct{} // under mu: in use or about to be
	next   netip.Addr              // under mu: every assignable address below it is in used
}

// lowestFree marks the lowest address that is not known to be used and
// returns it. Before it gives up it reads the store again: another manager
// may have freed addresses.
func (p *pool) lowestFree(ctx context.Context, s store.Store) (netip.Addr, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.prefix.IsValid() {
		return netip.Addr{}, &Error{Reason: ErrFull, Detail: "network " + p.network + " has no prefix of this family"}
	}
	for attempt := range 2 {
		if !p.loaded || attempt > 0 {
			if err := p.load(ctx, s); err != nil {
				return netip.Addr{}, err
			}
		}
		for addr := p.next; addr.IsValid() && p.prefix.Contains(addr); addr = addr.Next() {
			if _, ok := p.used[addr]; ok || !api.Assignable(p.prefix, addr) {
				continue
			}
			p.used[addr] = struct{}{}
			p.next = addr.Next()
			return addr, nil
		}
	}
	return netip.Addr{}, &Error{IPv6: p.prefix.Addr().Is6(), Reason: ErrFull, Detail: fmt.Sprintf(
		"all %d assignable addresses of %s, the prefix of network %s, are in use; delete devices that are gone, or create a network with a larger prefix",
		len(p.used), p.prefix, p.network)}
}

// load reads the addresses in use. Addresses about to be used stay marked only
// if they are in the store; the store's condition catches the rest.
func (p *pool) load(ctx context.Context, s store.Store) error {
	l, err := s.List(ctx, keyspace.IPAMPrefix(p.network, p.prefix.Addr().Is6()), store.ListOptions{KeysOnly: true})
	if err != nil {
		return fmt.Errorf("read the addresses of network %s: %w", p.network, err)
	}
	p.used = make(map[netip.Addr]struct{}, len(l.Entries))
	for _, e := range l.Entries {
		if _, addr, ok := keyspace.ParseIPAMAddress(e.Key); ok && p.prefix.Contains(addr) {
			p.used[addr] = struct{}{}
		}
	}
	p.loaded, p.next = true, p.prefix.Addr()
	return nil
}

// reserve marks a fixed address and says whether it was free.
func (p *pool) reserve(addr netip.Addr) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.loaded {
		return false
	}
	if _, ok := p.used[addr]; ok {
		return false
	}
	p.used[addr] = struct{}{}
	return true
}

func (p *pool) mark(addr netip.Addr) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.loaded {
		p.used[addr] = struct{}{}
	}
}

func (p *pool) release(addr netip.Addr) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.loaded {
		return
	}
	delete(p.used, addr)
	if addr.Less(p.next) {
		p.next = addr
	}
}

func (p *pool) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.loaded, p.used = false, nil
}

// keep ends a hold whose commit succeeded.
func (h *hold) keep() {
	if h.pool != nil && h.fresh {
		h.pool.mark(h.addr)
	}
	if h.pool != nil && h.free.IsValid() {
		h.pool.release(h.free)
	}
}

// giveBack ends a hold whose commit certainly did not happen.
func (h *hold) giveBack() {
	if h.pool != nil && h.reserved {
		h.pool.release(h.addr)
	}
}

// markUsed ends a hold whose address another manager holds.
func (h *hold) markUsed() {
	if h.pool != nil {
		h.pool.mark(h.addr)
	}
}

// forget ends a hold whose fate is unknown: the pool is read again.
func (h *hold) forget() {
	if h.pool != nil {
		h.pool.forget()
	}
}
