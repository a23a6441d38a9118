// Package netfilter spreads the traffic of VIPs over the replicas of one host, in the kernel: UDP without any state, by
// changing the addresses of each packet, and TCP by connection tracking. It owns two nftables tables (IPv4 and IPv6) and
// the VIPs on the loopback interface. Everything stays in force while the process is away, and the next process goes on
// from what it finds there. Addresses of clients stay as they are.
//
// The package must not decide which backends there are or what is announced, and it leaves every other table alone.
package netfilter

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// Options of New.
type Options struct {
	Log *slog.Logger
	// Registerer of the metrics; nil registers none.
	Registerer prometheus.Registerer
	// Table is the name of the nftables tables, one for IPv4 and one for IPv6; empty: "cyphonic". Every name is for one
	// balancer of the host.
	Table string
}

// Balancer owns the tables. Its methods may be used concurrently.
type Balancer struct {
	// constant
	log   *slog.Logger
	table string
	nft   program
	host  host

	mu       sync.Mutex
	tables   map[string]content // what the kernel has, by family; nil: not known
	handles  map[string]uint64  // of the tables
	wanted   map[string]content // what the last Apply asked for; nil: there was none
	slots    map[slotKey]slots
	seed     uint32
	vips     []netip.Addr // on lo
	far      []netip.Addr // other hosts that are not on a link
	recalled bool         // what the process before has left is known
}

// New checks that the host can do what is needed. It changes nothing yet.
func New(options Options) (*Balancer, error) {
	if options.Table == "" {
		options.Table = "cyphonic"
	}
	if !validTable.MatchString(options.Table) {
		return nil, fmt.Errorf("table %q: a name has a letter and then at most 31 letters, digits or '_'", options.Table)
	}
	if options.Log == nil {
		options.Log = slog.New(slog.DiscardHandler)
	}
	found, err := findProgram("/usr/sbin", "/sbin", "/usr/bin", "/usr/local/sbin")
	if err != nil {
		return nil, err
	}
	opened, err := openHost()
	if err != nil {
		return nil, err
	}
	options.Log.Info("the packet filter is changed by a program", "path", string(found))
	b := &Balancer{log: options.Log, table: options.Table, nft: found, host: opened, slots: map[slotKey]slots{}}
	if options.Registerer != nil {
		if err := options.Registerer.Register(collector{b}); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// Recall gives the names of the replicas that the rules of the process before lead to, sorted; none if there are no
// rules. It changes nothing.
func (b *Balancer) Recall(ctx context.Context) ([]string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.recall(ctx); err != nil {
		return nil, err
	}
	var names []string
	for _, table := range b.tables {
		for chain := range table.chains {
			if parts := strings.Split(chain, "/"); len(parts) == 3 && parts[0] == "to" {
				names = append(names, parts[2])
			}
		}
	}
	return sorted(names), nil
}

// Apply makes the host do what the state says: the rules of both families change in one transaction, atomically for
// every packet. An equal state changes nothing. On an error the rules of before stay in force (VIPs may be missing on
// lo), and Apply is to be repeated. What nothing leads to any more stays until Clean.
func (b *Balancer) Apply(ctx context.Context, state State) error {
	if err := state.Validate(); err != nil {
		return err
	}
	state = state.normal()
	b.mu.Lock()
	defer b.mu.Unlock()
	fresh := b.tables == nil
	p, err := b.change(ctx, state)
	if err != nil && !fresh && ctx.Err() == nil { // somebody else may have changed the rules: look again
		b.log.Warn("the rules are read back from the kernel", "because", err)
		b.tables = nil
		p, err = b.change(ctx, state)
	}
	if err != nil {
		b.tables, b.wanted = nil, nil // what there is now is not sure
		return err
	}
	return b.setVIPs(p.served())
}

// change makes the rules those of the state.
func (b *Balancer) change(ctx context.Context, state State) (p plan, err error) {
	if err := b.recall(ctx); err != nil {
		return p, err
	}
	p = plan{State: state, seed: b.seed, slots: map[slotKey]slots{}, tracked: map[string]bool{}}
	if p.local, err = b.host.addresses(); err != nil {
		return p, err
	}
	b.chooseHosts(&p)
	b.checkForwarding(p)
	for _, f := range []family{ipv4, ipv6} {
		_, p.tracked[f.name] = b.tables[f.name].chains[guardChain]
		for _, service := range p.Services {
			key := slotKey{service.Name, f.name}
			p.slots[key] = b.slots[key].next(f.takers(service))
		}
	}
	if err := b.install(ctx, p); err != nil {
		return p, fmt.Errorf("change the rules: %w", err)
	}
	return p, nil
}

// install changes the rules to those of the plan; what is left over stays.
func (b *Balancer) install(ctx context.Context, p plan) error {
	var changes string
	wanted, after := map[string]content{}, map[string]content{}
	for _, f := range []family{ipv4, ipv6} {
		rules := p.rules(f)
		changes += rules.change(f, b.table, b.tables[f.name])
		wanted[f.name] = rules.content()
		after[f.name] = b.tables[f.name].with(wanted[f.name])
	}
	if changes != "" {
		if err := b.nft.change(ctx, changes); err != nil {
			return err
		}
	}
	b.slots, b.tables, b.wanted = p.slots, after, wanted
	return b.noteHandles()
}

// noteHandles learns which tables these are.
func (b *Balancer) noteHandles() error {
	b.handles = map[string]uint64{}
	for _, f := range []family{ipv4, ipv6} {
		handle, err := tableHandle(f, b.table)
		if err != nil {
			return err
		}
		b.handles[f.name] = handle
	}
	return nil
}

// Clean takes away what nothing has led to since the last Apply. It is for some time later, when no packet of before
// is under way any more and nobody waits.
func (b *Balancer) Clean(ctx context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.wanted == nil {
		return nil
	}
	if err := b.recall(ctx); err != nil {
		return err
	}
	var commands string
	for _, f := range []family{ipv4, ipv6} {
		commands += stale(f.name+" "+b.table, b.tables[f.name], b.wanted[f.name])
	}
	if commands == "" {
		return nil
	}
	if err := b.nft.change(ctx, commands); err != nil {
		b.tables, b.wanted = nil, nil
		return fmt.Errorf("remove what is left over of earlier rules: %w", err)
	}
	for _, f := range []family{ipv4, ipv6} {
		b.tables[f.name] = b.tables[f.name].without(b.wanted[f.name])
	}
	return nil
}

// served are the VIPs with at least one backend on this host; only these answer to pings.
func (p plan) served() []netip.Addr {
	var vips []netip.Addr
	for _, service := range p.Services {
		for _, f := range []family{ipv4, ipv6} {
			if len(p.slots[slotKey{service.Name, f.name}].owners) > 0 {
				vips = append(vips, f.only(service.VIP)...)
			}
		}
	}
	slices.SortFunc(vips, netip.Addr.Compare)
	return slices.Compact(vips)
}

func (b *Balancer) setVIPs(wanted []netip.Addr) error {
	if err := b.host.setVIPs(b.vips, wanted); err != nil {
		b.vips = append(b.vips, wanted...) // all that may be on lo
		return err
	}
	b.vips = wanted
	return nil
}

// recall learns what the kernel has: at the start what the process before has left, later only whether it is still there.
func (b *Balancer) recall(ctx context.Context) error {
	there := map[string]uint64{}
	for _, f := range []family{ipv4, ipv6} {
		handle, err := tableHandle(f, b.table)
		if err != nil {
			return fmt.Errorf("see which rules there are: %w", err)
		}
		there[f.name] = handle
	}
	if b.tables != nil && maps.Equal(there, b.handles) {
		return nil
	}
	if b.tables != nil {
		b.log.Warn("the rules were removed by somebody else and are installed again")
	}
	contents := map[string]content{}
	for _, f := range []family{ipv4, ipv6} {
		if there[f.name] == 0 {
			continue
		}
		old, err := b.nft.list(ctx, f, b.table)
		if err != nil {
			return fmt.Errorf("see which rules there are: %w", err)
		}
		contents[f.name] = old.content
		if !b.recalled {
			b.remember(f, old)
		}
	}
	if b.seed == 0 {
		b.seed = newSeed()
	}
	b.tables, b.handles, b.recalled = contents, there, true
	return nil
}

// remember takes over the slots of the process before, so that every flow stays with its backend.
func (b *Balancer) remember(f family, there *found) {
	for service, owned := range there.slots {
		b.slots[slotKey{service, f.name}] = owned
	}
	if b.seed == 0 {
		b.seed = there.seed
	}
	for _, text := range there.sets["vips"] {
		if vip, err := netip.ParseAddr(text); err == nil {
			b.vips = append(b.vips, vip)
		}
	}
}

// newSeed makes the seed of the hash: nobody outside can choose the backend by choosing his port.
func newSeed() uint32 {
	var random [4]byte
	_, _ = rand.Read(random[:]) // never fails since Go 1.24
	return max(binary.NativeEndian.Uint32(random[:]), 1)
}

// chooseHosts leaves the other hosts that are on a link.
func (b *Balancer) chooseHosts(p *plan) {
	near, far := b.host.onLink(p.Hosts)
	p.Hosts = near
	if !slices.Equal(far, b.far) && len(far) > 0 {
		b.log.Warn("other hosts are not on a link of this one: they cannot be shown TCP packets of connections that this host does not know", "hosts", far)
	}
	b.far = far
}

// checkForwarding warns of backends that no packet would reach.
func (b *Balancer) checkForwarding(p plan) {
	for _, f := range []family{ipv4, ipv6} {
		if e := p.elements(f); len(e.forwarded) > 0 && !forwards(f) {
			b.log.Warn("backends are not on this host and it does not forward", "family", f.name, "backends", e.forwarded)
		}
	}
}

// Remove takes everything away: VIPs, rules and counters.
func (b *Balancer) Remove(ctx context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.recall(ctx); err != nil {
		return err
	}
	err := b.setVIPs(nil)
	var commands string
	for _, f := range []family{ipv4, ipv6} {
		commands += fmt.Sprintf("add table %s %s\ndelete table %s %s\n", f.name, b.table, f.name, b.table)
	}
	err = errors.Join(err, b.nft.change(ctx, commands))
	b.tables, b.wanted, b.slots = nil, nil, map[slotKey]slots{}
	return err
}
