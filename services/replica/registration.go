package replica

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cyphonic/cyphonic/internal/keyspace"
)

// Identity is what stays the same about a replica while it lives.
type Identity struct {
	Name, Service, Host, Version string
	Addresses                    []netip.Addr     // at most one of each family
	Peer                         netip.AddrPort   // the zero AddrPort: no other replica talks to it
	Pin                          string           // hex SHA-256 of the certificate shown at Peer
	Advertised                   []netip.AddrPort // where devices reach this very replica; at most one of each family
}

// Registration is what this process says of one replica in it. Its methods are safe for concurrent use.
type Registration struct {
	// constant
	identity Identity
	started  time.Time
	now      func() time.Time
	record   *LeasedRecord
	drain    chan struct{} // closed when somebody asks the replica to drain
	gone     chan struct{} // closed when the record is no longer written

	mu       sync.Mutex
	state    keyspace.ReplicaState
	since    time.Time
	load     keyspace.Load
	told     time.Time // when a load was written
	draining bool
}

// NewName returns a name for a replica of the service that no other has: <service>-<16 hex digits>.
func (r *Replica) NewName(service string) (string, error) {
	var b [8]byte
	if _, err := r.rand.Read(b[:]); err != nil {
		return "", fmt.Errorf("read random bytes for a name: %w", err)
	}
	return fmt.Sprintf("%s-%x", service, b), nil
}

// Check tells whether others would accept the record of such a replica.
func (i Identity) Check() error {
	service, name, ok := keyspace.ParseLive(keyspace.Live(i.Service, i.Name))
	if !ok {
		return fmt.Errorf("%q is no name for a replica of %q", i.Name, i.Service)
	}
	g := Registration{identity: i, state: keyspace.ReplicaStarting}
	if _, err := decodeMember(service, name, g.encode()); err != nil {
		return fmt.Errorf("replica %s: %w", i.Name, err)
	}
	return nil
}

// Register makes a replica of this process known to everybody, in the state Starting, as soon as Run runs, and until
// Withdraw is called, Run ends or the process is killed (then five seconds later). It may be called while Run runs. The
// identity must have passed Check.
func (r *Replica) Register(i Identity) *Registration {
	now := r.now()
	g := &Registration{
		identity: i, started: now.UTC(), now: r.now, drain: make(chan struct{}), gone: make(chan struct{}),
		state: keyspace.ReplicaStarting, since: now.UTC(),
	}
	g.record = NewLeasedRecord(LeasedRecordOptions{
		Client: r.client, Key: keyspace.Live(i.Service, i.Name), TTL: registrationTTL, Log: r.log,
	})
	g.record.Set(g.encode())
	r.registering.Lock()
	r.registrations = append(r.registrations, g)
	r.registering.Unlock()
	select {
	case r.registered <- struct{}{}:
	default:
	}
	return g
}

// encode must be called with mu held, or before anybody else has g.
func (g *Registration) encode() []byte {
	record := keyspace.ReplicaRecord{
		Name: g.identity.Name, Service: g.identity.Service, Host: g.identity.Host, Version: g.identity.Version,
		State: g.state, Since: g.since, Started: g.started, Addresses: g.identity.Addresses,
		Peer: g.identity.Peer, Pin: g.identity.Pin, Advertised: g.identity.Advertised, Load: g.load,
	}
	b, err := json.Marshal(record)
	if err != nil { // the record holds only strings, addresses, times and numbers, of which SetLoad took the finite ones
		panic(fmt.Sprintf("encode the record of a replica: %v", err))
	}
	return b
}

// Identity returns what was registered.
func (g *Registration) Identity() Identity { return g.identity }

// State returns the state that was set last.
func (g *Registration) State() keyspace.ReplicaState {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.state
}

// SetState makes a new state known at once. It does not wait for etcd: Flush does.
func (g *Registration) SetState(state keyspace.ReplicaState) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if state == g.state {
		return
	}
	g.state, g.since = state, g.now().UTC()
	g.record.Set(g.encode())
}

// SetLoad makes a new load known. Loads that follow each other within a second, or that did not change, are not
// written; numbers that are none count as 0.
func (g *Registration) SetLoad(load keyspace.Load) {
	load.CPU, load.Requests = finite(load.CPU), finite(load.Requests)
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.now()
	if load == g.load {
		return
	}
	g.load = load
	if since := now.Sub(g.told); since >= 0 && since < loadInterval {
		return // it goes with the next one
	}
	g.told = now
	g.record.Set(g.encode())
}

func finite(x float64) float64 {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return 0
	}
	return x
}

// DrainRequested is closed when somebody has asked this replica, and not an earlier one of its name, to drain.
func (g *Registration) DrainRequested() <-chan struct{} { return g.drain }

// Flush waits until etcd has the state and load that were set last.
func (g *Registration) Flush(ctx context.Context) error { return g.record.Flush(ctx) }

// Withdrawn waits until etcd has the state that was set last: who follows the members gives a replica that is not Ready
// nothing new.
func (g *Registration) Withdrawn(ctx context.Context) error { return g.record.Flush(ctx) }

// Withdraw removes the record and waits until it is gone or ctx ends. Run must run, or have ended.
func (g *Registration) Withdraw(ctx context.Context) error {
	g.record.Withdraw()
	select {
	case <-g.gone:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// keepRegistrations writes the records of all registrations until ctx ends, and removes them then.
func (r *Replica) keepRegistrations(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for kept := 0; ctx.Err() == nil; {
		r.registering.Lock()
		list := r.registrations
		r.registering.Unlock()
		for ; kept < len(list); kept++ {
			g := list[kept]
			group.Go(func() error { return r.keepRegistration(ctx, g) })
		}
		select {
		case <-ctx.Done():
		case <-r.registered:
		}
	}
	return group.Wait()
}

func (r *Replica) keepRegistration(ctx context.Context, g *Registration) error {
	defer close(g.gone)
	return g.record.Run(ctx)
}

// noteDrains remembers who has been asked to drain.
func (r *Replica) noteDrains(u Update) {
	if u.List {
		clear(r.drains)
	}
	for _, key := range u.Deletes {
		delete(r.drains, key)
	}
	for _, item := range u.Puts {
		if _, _, ok := keyspace.ParseDrain(item.Key); !ok {
			continue
		}
		if _, known := r.drains[item.Key]; !known && len(r.drains) >= maxDrains {
			r.metrics.undecodable.Inc()
			r.log.Error("request to drain left out", "key", item.Key, "error", fmt.Sprintf("there are more than %d of them", maxDrains))
			continue
		}
		r.drains[item.Key] = item.Revision
	}
	r.registering.Lock()
	defer r.registering.Unlock()
	for _, g := range r.registrations {
		g.heed(r.drains[keyspace.Drain(g.identity.Service, g.identity.Name)])
	}
}

// heed closes DrainRequested if the request of that revision (0: none) was made after this replica had registered. The
// clocks of the two do not matter.
func (g *Registration) heed(revision int64) {
	first := g.record.Written()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.draining || first == 0 || revision <= first {
		return
	}
	g.draining = true
	close(g.drain)
}
