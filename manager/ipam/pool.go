package ipam

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
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
	store store.Store // constant: what the pools are read from
	base  *pools      // constant: the pools that these are on, or nil

	mu  sync.Mutex
	all map[poolKey]*pool // under mu
}

func newPools(s store.Store, base *pools) *pools {
	return &pools{store: s, base: base, all: map[poolKey]*pool{}}
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
	p := &pool{network: network, prefix: prefix.Masked(), store: s.store, used: newSet(), freed: newSet()}
	if s.base != nil {
		p.base = s.base.get(network, prefix)
	}
	s.all[k] = p
	return p
}

// pool remembers the addresses of one prefix that are in use.
type pool struct {
	network string       // constant
	prefix  netip.Prefix // constant
	store   store.Store  // constant
	base    *pool        // constant: the real pool that this one is on; nil: this is one

	mu       sync.Mutex
	loaded   bool         // under mu: used was read from the store
	used     *set         // under mu: in use or about to be
	freed    *set         // under mu: in use in base, but not here
	doubtful []netip.Addr // under mu: in used, perhaps wrongly
	// next is where the search begins. Below it no assignable address is known
	// to be free, except where others allocated faster.
	next position // under mu
}

// position and address translate between an address and its place.
func (p *pool) position(a netip.Addr) position {
	b, first := a.As16(), p.prefix.Addr().As16()
	lo, borrow := binary.BigEndian.Uint64(b[8:])-binary.BigEndian.Uint64(first[8:]), uint64(0)
	if binary.BigEndian.Uint64(b[8:]) < binary.BigEndian.Uint64(first[8:]) {
		borrow = 1
	}
	return position{binary.BigEndian.Uint64(b[:8]) - binary.BigEndian.Uint64(first[:8]) - borrow, lo}
}

// address is not valid if the place is outside of the prefix.
func (p *pool) address(at position) netip.Addr {
	b := p.prefix.Addr().As16()
	lo := binary.BigEndian.Uint64(b[8:]) + at.lo
	carry := uint64(0)
	if lo < at.lo {
		carry = 1
	}
	binary.BigEndian.PutUint64(b[8:], lo)
	binary.BigEndian.PutUint64(b[:8], binary.BigEndian.Uint64(b[:8])+at.hi+carry)
	a := netip.AddrFrom16(b)
	if p.prefix.Addr().Is4() {
		if a = a.Unmap(); !a.Is4() {
			return netip.Addr{}
		}
	}
	if !p.prefix.Contains(a) {
		return netip.Addr{}
	}
	return a
}

// lowestFree marks the lowest address that is not known to be used and returns
// it. After losses to other managers it looks further up, twice as far each
// time: where one address was taken by a faster one, many may be. Before it
// gives up it reads the store again: others may have freed addresses.
func (p *pool) lowestFree(ctx context.Context, losses int) (netip.Addr, error) {
	if !p.prefix.IsValid() {
		return netip.Addr{}, &Error{Reason: ErrFull, Detail: "network " + p.network + " has no prefix of this family"}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.base != nil {
		return p.lowestFreeAbove(ctx)
	}
	if err := p.ready(ctx); err != nil {
		return netip.Addr{}, err
	}
	from := p.next
	if losses > freeLosses {
		if jumped, wrapped := from.plus(1 << min(losses-freeLosses, maxJump)); !wrapped {
			from = jumped
		}
	}
	at, addr := p.search(from, p.used.free)
	if !addr.IsValid() && losses > freeLosses { // many addresses are taken of which nothing is known here
		if err := p.load(ctx); err != nil {
			return netip.Addr{}, err
		}
	}
	if !addr.IsValid() {
		at, addr = p.search(position{}, p.used.free)
	}
	if !addr.IsValid() {
		if err := p.reload(ctx); err != nil {
			return netip.Addr{}, err
		}
		at, addr = p.search(position{}, p.used.free)
	}
	if !addr.IsValid() {
		return netip.Addr{}, p.full(p.used.count)
	}
	p.used.add(at)
	p.next = at.next()
	return addr, nil
}

// search returns the first place from one on that is free and assignable.
func (p *pool) search(from position, free func(position) position) (position, netip.Addr) {
	for {
		at := free(from)
		addr := p.address(at)
		if !addr.IsValid() || api.Assignable(p.prefix, addr) {
			return at, addr
		}
		from = at.next() // reserved: three at most
	}
}

func (p *pool) full(used int) *Error {
	return &Error{IPv6: p.prefix.Addr().Is6(), Reason: ErrFull, Detail: fmt.Sprintf(
		"all %d assignable addresses of %s, the prefix of network %s, are in use; delete devices that are gone, or create a network with a larger prefix",
		used, p.prefix, p.network)}
}

// ready makes the pool know what is in use. mu is held.
func (p *pool) ready(ctx context.Context) error {
	if !p.loaded {
		return p.load(ctx)
	}
	return p.settleDoubts(ctx)
}

// settleDoubts asks the store about addresses whose commit may or may not have
// happened. mu is held.
func (p *pool) settleDoubts(ctx context.Context) error {
	for len(p.doubtful) > 0 {
		addr := p.doubtful[0]
		_, err := p.store.Get(ctx, keyspace.IPAMAddress(p.network, addr))
		switch {
		case errors.Is(err, store.ErrNotFound):
			p.vacate(addr)
		case err != nil:
			return fmt.Errorf("look for the address %s of network %s: %w", addr, p.network, err)
		}
		p.doubtful = p.doubtful[1:]
	}
	return nil
}

// reload reads the pool again unless nothing can have become free: the store
// has as many addresses as are known. mu is held.
func (p *pool) reload(ctx context.Context) error {
	n, err := p.store.Count(ctx, keyspace.IPAMPrefix(p.network, p.prefix.Addr().Is6()))
	if err != nil {
		return fmt.Errorf("count the addresses of network %s: %w", p.network, err)
	}
	if n >= int64(p.used.count) {
		return nil
	}
	return p.load(ctx)
}

// load reads the addresses in use, page by page. Addresses about to be used
// stay marked only if they are in the store; the store's condition catches the
// rest. mu is held.
func (p *pool) load(ctx context.Context) error {
	used := newSet()
	o := store.ListOptions{KeysOnly: true, Limit: loadPage}
	for more := true; more; {
		l, err := p.store.List(ctx, keyspace.IPAMPrefix(p.network, p.prefix.Addr().Is6()), o)
		if err != nil {
			return fmt.Errorf("read the addresses of network %s: %w", p.network, err)
		}
		for _, e := range l.Entries {
			if _, addr, ok := keyspace.ParseIPAMAddress(e.Key); ok && p.prefix.Contains(addr) {
				used.add(p.position(addr))
			}
			o.After = e.Key
		}
		more = l.More
	}
	p.used, p.loaded, p.next, p.doubtful = used, true, position{}, nil
	return nil
}

// reserve marks a fixed address and says whether it was free.
func (p *pool) reserve(addr netip.Addr) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.loaded && p.base == nil {
		return false
	}
	p.freed.remove(p.position(addr))
	return p.used.add(p.position(addr))
}

func (p *pool) mark(addr netip.Addr) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.loaded || p.base != nil {
		p.used.add(p.position(addr))
		p.freed.remove(p.position(addr))
	}
}

func (p *pool) release(addr netip.Addr) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.loaded || p.base != nil {
		p.vacate(addr)
	}
}

// vacate marks an address as free. mu is held.
func (p *pool) vacate(addr netip.Addr) {
	if !p.prefix.Contains(addr) {
		return
	}
	at := p.position(addr)
	p.used.remove(at)
	if p.base != nil {
		p.freed.add(at)
	}
	if at.less(p.next) {
		p.next = at
	}
}

// doubt keeps an address marked until the store has been asked.
func (p *pool) doubt(addrs ...netip.Addr) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, addr := range addrs {
		if addr.IsValid() && p.prefix.Contains(addr) && !slices.Contains(p.doubtful, addr) {
			p.used.add(p.position(addr))
			p.doubtful = append(p.doubtful, addr)
		}
	}
	if len(p.doubtful) > maxDoubtful {
		p.loaded, p.doubtful = false, nil
	}
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

// forget ends a hold whose fate is unknown: the store is asked when the pool is
// used next.
func (h *hold) forget() {
	if h.pool == nil {
		return
	}
	if h.fresh {
		h.pool.doubt(h.addr)
	}
	h.pool.doubt(h.free)
}
