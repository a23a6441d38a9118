// Package ipam allocates the virtual addresses of a network. An address
// belongs to whoever's key for it is in the store; the key is written in the
// same transaction as everything else that depends on it, so that no address
// is ever held twice, by any number of managers.
//
// The package must not know resources: callers hand it prefixes, owners and
// the rest of the transaction.
package ipam

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/manager/store"
)

// Reasons for which an address cannot be had; Error wraps one of them.
var (
	ErrFull    = errors.New("no address is free")
	ErrTaken   = errors.New("address is taken")
	ErrOutside = errors.New("address cannot be assigned")
	ErrBusy    = errors.New("too many allocations at once")
)

// Error says which address could not be had and why.
type Error struct {
	IPv6   bool       // the family
	Addr   netip.Addr // the fixed address, if one was wanted
	Reason error      // one of the errors above
	Detail string     // a sentence for people
}

// Error returns the sentence.
func (e *Error) Error() string { return e.Detail }

// Unwrap returns the reason.
func (e *Error) Unwrap() error { return e.Reason }

// Network is where addresses come from. The first host address of a prefix is
// the gateway and never allocated.
type Network struct {
	Name       string
	IPv4, IPv6 netip.Prefix
}

// Want is what an owner wants of one family.
type Want struct {
	Needed  bool       // false: no address; Current is freed
	Fixed   netip.Addr // this one and no other, if valid
	Current netip.Addr // held already, if valid; kept unless Fixed is another
}

// Change is what an owner wants.
type Change struct {
	Network    Network
	Owner      keyspace.Owner
	IPv4, IPv6 Want
}

// Allocator allocates addresses. It is safe for concurrent use. It remembers
// which addresses it has seen in use, as a hint only: the store decides.
type Allocator struct {
	store store.Store
	pools *pools
}

// New returns an allocator on a store.
func New(s store.Store) *Allocator {
	return &Allocator{store: s, pools: newPools(s, nil)}
}

// On returns an allocator for a store that lies above that of a, which sees
// the addresses in use without reading them again and keeps to itself what it
// allocates and frees.
func (a *Allocator) On(s store.Store) *Allocator {
	return &Allocator{store: s, pools: newPools(s, a.pools)}
}

// Commit picks addresses, adds their keys to the transaction that build
// returns for them, and commits. build is called again when another manager
// was faster. Errors are those of build and of store.Store.Commit, where keys
// of the caller are concerned, and *Error.
func (a *Allocator) Commit(ctx context.Context, c Change, build func(ipv4, ipv6 netip.Addr) (store.Transaction, error)) (int64, error) {
	for losses := range maxAttempts {
		revision, err := a.attempt(ctx, c, losses, build)
		if !errors.Is(err, errLost) {
			return revision, err
		}
	}
	return 0, &Error{Reason: ErrBusy, Detail: "addresses of network " + c.Network.Name + " are allocated by many at once; try again"}
}

// errLost says that another manager took the address; the attempt is repeated.
var errLost = errors.New("address was lost to another manager")

// attempt is one round: choose, build, commit, learn.
func (a *Allocator) attempt(ctx context.Context, c Change, losses int, build func(ipv4, ipv6 netip.Addr) (store.Transaction, error)) (int64, error) {
	four, err := a.choose(ctx, c, c.Network.IPv4, c.IPv4, losses)
	if err != nil {
		return 0, err
	}
	six, err := a.choose(ctx, c, c.Network.IPv6, c.IPv6, losses)
	if err != nil {
		four.giveBack()
		return 0, err
	}
	tx, err := build(four.addr, six.addr)
	if err != nil {
		four.giveBack()
		six.giveBack()
		return 0, err
	}
	for _, h := range []*hold{four, six} {
		h.addTo(&tx, c)
	}
	revision, err := a.store.Commit(ctx, tx)
	if err == nil {
		four.keep()
		six.keep()
		return revision, nil
	}
	return 0, settle(err, c, four, six)
}

// settle puts what a failed commit taught into the pools and returns the error
// for the caller.
func settle(err error, c Change, holds ...*hold) error {
	var failed *store.ConditionError
	conditional := errors.As(err, &failed)
	for _, h := range holds {
		switch {
		case conditional && h.fresh && failed.Condition.Key == keyspace.IPAMAddress(c.Network.Name, h.addr):
			h.markUsed()
			if !h.fixed {
				err = errLost
				continue
			}
			err = taken(h, c, failed.Current)
		case conditional:
			h.giveBack()
		default: // the commit may have happened
			h.forget()
		}
	}
	return err
}

func taken(h *hold, c Change, current store.Entry) *Error {
	by := "something else"
	if owner, err := keyspace.Decode[keyspace.Owner](current.Value); err == nil {
		by = owner.String()
	}
	return &Error{IPv6: h.addr.Is6(), Addr: h.addr, Reason: ErrTaken, Detail: fmt.Sprintf(
		"%s is used by %s in network %s; choose another address or leave the field out", h.addr, by, c.Network.Name)}
}

// choose decides about one family.
func (a *Allocator) choose(ctx context.Context, c Change, prefix netip.Prefix, w Want, losses int) (*hold, error) {
	if w.Needed && w.Current.IsValid() && (!w.Fixed.IsValid() || w.Fixed == w.Current) {
		return &hold{addr: w.Current}, nil
	}
	if !w.Needed && !w.Current.IsValid() {
		return &hold{}, nil
	}
	p := a.pools.get(c.Network.Name, prefix)
	h := &hold{pool: p, free: w.Current}
	if !w.Needed {
		return h, nil
	}
	if w.Fixed.IsValid() {
		if !prefix.IsValid() || !api.Assignable(prefix, w.Fixed) {
			return nil, &Error{IPv6: w.Fixed.Is6(), Addr: w.Fixed, Reason: ErrOutside, Detail: fmt.Sprintf(
				"%s is not an assignable address of %s, the prefix of network %s", w.Fixed, prefix, c.Network.Name)}
		}
		h.addr, h.fixed, h.fresh = w.Fixed, true, true
		h.reserved = p.reserve(w.Fixed)
		return h, nil
	}
	addr, err := p.lowestFree(ctx, losses)
	if err != nil {
		return nil, err
	}
	h.addr, h.fresh, h.reserved = addr, true, true
	return h, nil
}

// hold is an address between choice and commit.
type hold struct {
	pool     *pool
	addr     netip.Addr // the address that the owner will have; zero: none
	free     netip.Addr // the address that the owner gives up; zero: none
	fresh    bool       // addr is not the owner's yet
	fixed    bool       // no other address will do
	reserved bool       // this hold marked addr as used
}

// addTo adds the keys of the addresses to a transaction.
func (h *hold) addTo(tx *store.Transaction, c Change) {
	if h.fresh {
		key := keyspace.IPAMAddress(c.Network.Name, h.addr)
		tx.Conditions = append(tx.Conditions, store.Absent(key))
		tx.Writes = append(tx.Writes, store.Put(key, keyspace.Encode(c.Owner)))
	}
	if h.free.IsValid() {
		tx.Writes = append(tx.Writes, store.Remove(keyspace.IPAMAddress(c.Network.Name, h.free)))
	}
}
