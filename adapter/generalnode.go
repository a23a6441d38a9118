package adapter

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cyphonic/cyphonic/adapter/access"
	"github.com/cyphonic/cyphonic/adapter/lan"
	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/internal/endpoint"
	"github.com/cyphonic/cyphonic/internal/identity"
	"github.com/cyphonic/cyphonic/internal/login"
)

// segment is what a general node needs of the LAN; *lan.Segment.
type segment interface {
	Port(lan.MAC) (string, error)
	PortUp(port string) bool
	SetNetwork(context.Context, lan.Network) error
	Admit(context.Context, lan.Binding) error
	Withdraw(context.Context, lan.Binding) error
}

// hosted is a local identity; *endpoint.Local.
type hosted interface {
	WaitRegistered(context.Context) error
	Close()
	FinalTraffic() (endpoint.Traffic, bool)
}

// surroundings are what all general nodes of an adapter share.
type surroundings struct {
	segment   segment
	host      func(endpoint.Identity) (hosted, error)
	login     func(ctx context.Context, name string, key *identity.DeviceKey, a identity.Assurance) (*login.Grant, error)
	network   func(lan.Network) // told when a grant names the network
	ready     func(lan.MAC, lan.Lease)
	report    func(name string, s api.GeneralNodeStatus)
	leases    *leases
	keys      string // directory of the device keys
	leaseTime time.Duration
	mtu       int
	log       *slog.Logger
}

// outcome is an event that an action has produced; results of abandoned attempts are dropped.
type outcome struct {
	attempt int
	event   event
}

// generalNode drives the life of one general node.
type generalNode struct {
	// Constant.
	name string
	mac  lan.MAC
	spec api.GeneralNodeSpec
	with *surroundings
	log  *slog.Logger

	mailbox    chan outcome
	state      atomic.Pointer[snapshot]
	generation atomic.Int64 // of the specification
	publishing sync.Mutex   // held from a change of state or generation to its report
	traffic    traffic

	// Owned by Run.
	machine *machine
	attempt int
	cancel  context.CancelFunc // of what is under way
	work    sync.WaitGroup
	key     *identity.DeviceKey
	grant   *login.Grant
	binding lan.Binding // zero while not admitted
	local   hosted
}

// snapshot is what others may read at any time.
type snapshot struct {
	phase  api.DevicePhase
	reason string
	port   string
	nodeID string
	id     identity.NodeID // the same; zero without a key
	grant  *login.Grant
	lease  lan.Lease // valid while admitted
	since  time.Time
}

// fromOutside marks events that belong to no attempt.
const fromOutside = -1

func newGeneralNode(resource api.GeneralNode, with *surroundings) (*generalNode, error) {
	mac, err := lan.ParseMAC(resource.Spec.Mac)
	if err != nil {
		return nil, err
	}
	name := resource.Metadata.Name
	g := &generalNode{
		name: name, mac: mac, spec: resource.Spec, with: with, log: with.log.With("generalNode", name),
		mailbox: make(chan outcome, mailboxSize), machine: newMachine(), cancel: func() {},
	}
	g.generation.Store(resource.Metadata.Generation)
	g.state.Store(&snapshot{phase: api.DevicePhaseAbsent, since: time.Now()})
	return g, nil
}

// tell hands over an event; a full mailbox drops it, and false is returned.
func (g *generalNode) tell(e event) bool {
	select {
	case g.mailbox <- outcome{attempt: fromOutside, event: e}:
		return true
	default:
		return false
	}
}

// lease returns the address if the device may have it now.
func (g *generalNode) lease() (lan.Lease, bool) {
	l := g.state.Load().lease
	return l, l.IPv4.IsValid()
}

// Run lives until ctx ends and then undoes everything.
func (g *generalNode) Run(ctx context.Context) {
	defer func() {
		g.close(context.WithoutCancel(ctx))
		if g.machine.phase != api.DevicePhaseDisabled {
			g.machine.phase, g.machine.reason = api.DevicePhaseDown, reasonStopped
			g.publish()
		}
	}()
	var err error
	if g.key, err = identity.LoadOrCreateDeviceKey(g.keyPath(), rand.Reader); err != nil {
		g.log.Error("no device key", "error", err)
		g.machine.phase, g.machine.reason = api.DevicePhaseFailed, reason("KeyFailed", err)
		g.publish()
		<-ctx.Done()
		return
	}
	if g.spec.Disabled {
		g.machine.phase = api.DevicePhaseDisabled
	}
	g.publish()
	if !g.spec.Disabled {
		g.resume(ctx)
	}
	alarm := time.NewTimer(time.Hour)
	defer alarm.Stop()
	for {
		if d := g.machine.deadline(); d.IsZero() {
			alarm.Stop()
		} else {
			alarm.Reset(max(0, time.Until(d)))
		}
		select {
		case <-ctx.Done():
			return
		case <-alarm.C:
			g.step(ctx, tick{})
		case o := <-g.mailbox:
			if o.attempt != fromOutside && o.attempt != g.attempt {
				continue
			}
			if p, ok := o.event.(portState); ok && p.up {
				g.step(ctx, o.event)
				g.resume(ctx)
				continue
			}
			g.step(ctx, o.event)
		}
	}
}

// resume goes on where a device has a lease that it will not ask for again for minutes: after a restart of the
// adapter, or when its port comes back.
func (g *generalNode) resume(ctx context.Context) {
	if remembered, ok := g.with.leases.get(g.name, g.mac, time.Now()); ok && g.with.segment.PortUp(remembered.Port) {
		g.step(ctx, resume{port: remembered.Port, until: remembered.Until})
	}
}

// step advances the machine and carries out what it says.
func (g *generalNode) step(ctx context.Context, e event) {
	if g.spec.Disabled {
		return
	}
	before := *g.machine
	if l, ok := e.(loggedIn); ok && l.err == nil {
		g.grant = l.grant
	}
	if l, ok := e.(leased); ok {
		g.with.leases.set(g.name, lease{MAC: g.mac, Port: g.machine.port, IPv4: g.binding.IPv4, Until: l.until})
	}
	if _, ok := e.(released); ok {
		g.with.leases.remove(g.name)
	}
	actions := g.machine.step(time.Now(), e)
	if before.phase != g.machine.phase || before.reason != g.machine.reason {
		g.log.Info("general node", "phase", g.machine.phase, "reason", g.machine.reason, "port", g.machine.port)
	}
	for _, a := range actions {
		g.do(ctx, a)
	}
	g.publish()
}

func (g *generalNode) do(ctx context.Context, a action) {
	switch a {
	case doLocate:
		port, err := g.with.segment.Port(g.mac)
		g.step(ctx, located{port: port, err: err})
	case doAuthenticate:
		device := access.Device{MAC: g.mac, Port: g.machine.port}
		g.start(ctx, func(ctx context.Context) event {
			a, err := access.Authenticate(ctx, g.spec, device)
			return authenticated{assurance: a, err: err}
		})
	case doLogin:
		assurance := g.machine.assurance
		g.start(ctx, func(ctx context.Context) event {
			grant, err := g.with.login(ctx, g.name, g.key, assurance)
			return loggedIn{grant: grant, err: err}
		})
	case doAdmit:
		g.step(ctx, admitted{err: g.admit(ctx)})
	case doRegister:
		g.register(ctx)
	case doClose:
		g.close(ctx)
	}
}

// start runs an action that may wait, without holding up the events.
func (g *generalNode) start(ctx context.Context, f func(context.Context) event) {
	g.cancel()
	ctx, g.cancel = context.WithCancel(ctx)
	attempt := g.attempt
	g.work.Go(func() {
		e := f(ctx)
		select {
		case g.mailbox <- outcome{attempt: attempt, event: e}:
		case <-ctx.Done():
		}
	})
}

// admit opens the LAN for the device and answers the DHCP question that has waited for it.
func (g *generalNode) admit(ctx context.Context) error {
	if !g.grant.VirtualIPv4.IsValid() {
		return fmt.Errorf("addressMode %s: the adapter gives IPv4 addresses only; set addressMode to ipv4 or dual", g.spec.AddressMode)
	}
	network, err := lan.NewNetwork(g.grant.IPv4Prefix, g.grant.Domain)
	if err != nil {
		return err
	}
	if err := g.with.segment.SetNetwork(ctx, network); err != nil {
		return err
	}
	g.with.network(network)
	binding := lan.Binding{Port: g.machine.port, MAC: g.mac, IPv4: g.grant.VirtualIPv4}
	if err := g.with.segment.Admit(ctx, binding); err != nil {
		return errors.Join(err, g.with.segment.Withdraw(context.WithoutCancel(ctx), binding))
	}
	g.binding = binding
	g.publish()
	l, _ := g.lease()
	g.with.ready(g.mac, l)
	return nil
}

// register hosts the identity and waits for the NMS in the background.
func (g *generalNode) register(ctx context.Context) {
	if !g.binding.IPv4.IsValid() {
		return // the admission failed
	}
	local, err := g.with.host(endpoint.Identity{Key: g.key, Grant: g.grant, Renew: g.renew})
	if err != nil {
		g.step(ctx, registered{err: err})
		return
	}
	g.local = local
	g.start(ctx, func(ctx context.Context) event {
		return registered{err: local.WaitRegistered(ctx)}
	})
}

// renew is called by the endpoint when the certificate has passed half of its life.
func (g *generalNode) renew(ctx context.Context) (*login.Grant, error) {
	grant, err := g.with.login(ctx, g.name, g.key, identity.AssuranceMAC)
	if err != nil {
		return nil, err
	}
	if old := g.state.Load().grant; old != nil && (old.VirtualIPv4 != grant.VirtualIPv4 ||
		old.VirtualIPv6 != grant.VirtualIPv6 || old.FQDN != grant.FQDN) {
		g.tell(renumbered{})
		return nil, errors.New("the operator has changed the general node's addresses or name")
	}
	return grant, nil
}

// close undoes admission and identity and abandons what is under way.
func (g *generalNode) close(ctx context.Context) {
	g.attempt++
	g.cancel()
	g.work.Wait()
	if g.binding.IPv4.IsValid() {
		if err := g.with.segment.Withdraw(ctx, g.binding); err != nil {
			g.log.Error("the LAN side was not closed", "error", err)
		}
		g.binding = lan.Binding{}
	}
	if g.local != nil {
		g.local.Close()
		if final, ok := g.local.FinalTraffic(); ok {
			g.traffic.keep(final)
		}
		g.local = nil
	}
	g.grant = nil
}

// publish makes the state visible to the others and reports it to the manager where it has changed.
func (g *generalNode) publish() {
	old := g.state.Load()
	s := &snapshot{phase: g.machine.phase, reason: g.machine.reason, port: g.machine.port, grant: g.grant, since: old.since}
	if g.key != nil {
		s.id = g.key.NodeID()
		s.nodeID = s.id.String()
	}
	if g.binding.IPv4.IsValid() {
		network, err := lan.NewNetwork(g.grant.IPv4Prefix, g.grant.Domain)
		if err == nil {
			s.lease = lan.Lease{IPv4: g.binding.IPv4, Network: network, Duration: g.with.leaseTime, MTU: g.with.mtu}
		}
	}
	if old.phase != s.phase {
		s.since = time.Now()
	}
	g.publishing.Lock()
	defer g.publishing.Unlock()
	g.state.Store(s)
	if old.phase != s.phase || old.reason != s.reason || old.nodeID != s.nodeID {
		g.with.report(g.name, g.status(s))
	}
}

// acknowledge takes a generation that leaves the specification as it is, and reports it.
func (g *generalNode) acknowledge(generation int64) {
	g.publishing.Lock()
	defer g.publishing.Unlock()
	if g.generation.Swap(generation) != generation {
		g.with.report(g.name, g.status(g.state.Load()))
	}
}

// status is what the manager is told.
func (g *generalNode) status(s *snapshot) api.GeneralNodeStatus {
	ready := api.Condition{Type: "Ready", Status: api.ConditionStatusFalse, Reason: string(s.phase), Message: s.reason, LastTransitionTime: s.since.UTC().Truncate(time.Second)}
	if s.phase == api.DevicePhaseUp {
		ready.Status = api.ConditionStatusTrue
	}
	generation := g.generation.Load()
	ready.ObservedGeneration = generation
	return api.GeneralNodeStatus{
		Phase: s.phase, Reason: s.reason, NodeID: s.nodeID, ObservedGeneration: generation, Conditions: []api.Condition{ready},
	}
}

func (g *generalNode) keyPath() string { return filepath.Join(g.with.keys, g.name+".key") }

// forget removes the key of a general node that has left the list: it may live behind another adapter now.
func (g *generalNode) forget() {
	g.with.leases.remove(g.name)
	if err := os.Remove(g.keyPath()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		g.log.Warn("the key of a removed general node stays on disk", "error", err)
	}
}
