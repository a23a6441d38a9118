// Package node is the agent of an end device: it logs in, brings up the virtual interface, hosts one local
// identity in an endpoint, runs the resolver and tells the host about it, and undoes all that on exit. It
// holds no protocol of its own: signalling, tunnels and paths are package endpoint's.
package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"

	"github.com/cyphonic/cyphonic/internal/endpoint"
	"github.com/cyphonic/cyphonic/internal/enrolment"
	"github.com/cyphonic/cyphonic/internal/identity"
	"github.com/cyphonic/cyphonic/internal/login"
	"github.com/cyphonic/cyphonic/internal/netconf"
	"github.com/cyphonic/cyphonic/internal/resolver"
	"github.com/cyphonic/cyphonic/internal/statusapi"
	"github.com/cyphonic/cyphonic/internal/tun"
	"github.com/cyphonic/cyphonic/internal/udp"
	"github.com/cyphonic/cyphonic/internal/wire"
	"github.com/cyphonic/cyphonic/node/hostdns"
)

// errNewAddresses ends a run whose grant was replaced by one with other addresses or names.
var errNewAddresses = errors.New("node: the grant has other addresses")

// Node is one agent.
type Node struct {
	config   Config
	version  string
	log      *slog.Logger
	registry *prometheus.Registry
	trust    identity.Trust
	device   *enrolment.Device
	resolver netip.AddrPort

	login sync.Mutex // one login at a time: the device is for one goroutine

	mu     sync.Mutex
	phase  string
	reason string
	grant  *login.Grant
	engine *endpoint.Endpoint
	local  *endpoint.Local
	dns    string // integration mode in use
}

// Phases of the agent, as in the status.
const (
	PhaseLoggingIn   = "LoggingIn"
	PhaseRegistering = "Registering"
	PhaseUp          = "Up"
)

// New loads trust and device key. It opens nothing on the network.
func New(c Config, version string, log *slog.Logger) (*Node, error) {
	trust, err := identity.LoadTrust(c.Trust)
	if err != nil {
		return nil, err
	}
	device, err := enrolment.Open(enrolment.Options{
		Subject:        wire.Subject{Kind: wire.SubjectNode, Name: c.Name},
		StateDirectory: c.StateDirectory, TokenFile: c.EnrollmentTokenFile, PasswordFile: c.PasswordFile,
		Server: login.Options{Address: c.AuthenticationService, Trust: trust},
		Log:    log,
	})
	if err != nil {
		return nil, err
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector())
	registry.MustRegister(collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return &Node{
		config: c, version: version, log: log, registry: registry, trust: trust, device: device,
		resolver: netip.MustParseAddrPort(c.Resolver.Listen), phase: PhaseLoggingIn,
	}, nil
}

// Run serves until ctx ends and leaves the host as it was.
func (n *Node) Run(ctx context.Context) error {
	// A killed predecessor may have left a name server that answers nobody.
	if err := hostdns.Recover(n.config.Resolver.ResolvConf, n.resolver); err != nil {
		n.log.Warn("cannot restore the resolv.conf of an earlier run", "error", err)
	}
	status, err := statusapi.Listen(statusapi.Options{
		Socket: n.config.StatusSocket, MetricsListen: n.config.MetricsListen, Gatherer: n.registry,
		Status: func() any { return n.Status() }, Connect: n.connect, Log: n.log,
	})
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return status.Run(ctx) })
	group.Go(func() error { return n.work(ctx) })
	return group.Wait()
}

// work logs in and serves; a renewed grant with other addresses starts it over without a new login.
func (n *Node) work(ctx context.Context) error {
	grant, err := n.device.LoginUntil(ctx, func(err error) { n.setPhase(PhaseLoggingIn, err.Error()) })
	if err != nil {
		return nil // ctx ended
	}
	engine, monitor, err := n.open(grant)
	if err != nil {
		return err
	}
	n.mu.Lock()
	n.engine = engine
	n.mu.Unlock()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return engine.Run(ctx) })
	group.Go(func() error { return monitor.Run(ctx) })
	group.Go(func() error {
		for {
			err := n.serve(ctx, engine, grant)
			if !errors.Is(err, errNewAddresses) {
				return err
			}
			n.log.Warn("the operator has given this node other addresses or another name; starting over with them")
			n.mu.Lock()
			grant = n.grant
			n.mu.Unlock()
		}
	})
	return group.Wait()
}

// open opens socket and virtual interface and builds the engine around them.
func (n *Node) open(grant *login.Grant) (*endpoint.Endpoint, *netconf.Monitor, error) {
	socket, err := udp.Listen(udp.Options{Port: n.config.ListenPort, Registerer: n.registry})
	if err != nil {
		return nil, nil, fmt.Errorf("UDP socket (listenPort %d): %w", n.config.ListenPort, err)
	}
	virtual, err := tun.Open(tun.Options{Name: n.config.Interface, MTU: n.config.MTU, Backend: n.config.TunBackend, Registerer: n.registry})
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("virtual interface %s (needs CAP_NET_ADMIN and /dev/net/tun): %w", n.config.Interface, err), socket.Close())
	}
	n.mu.Lock()
	n.config.Interface = virtual.Name() // macOS has numbered it
	n.mu.Unlock()
	var engine *endpoint.Endpoint
	monitor, err := netconf.NewMonitor(netconf.MonitorOptions{
		ExcludeInterfaces: []string{virtual.Name()},
		ExcludePrefixes:   func() []netip.Prefix { return prefixes(grant) },
		Changed:           func([]netip.Addr) { engine.AddressesChanged() },
		Log:               n.log,
	})
	if err == nil {
		engine, err = endpoint.New(endpoint.Options{
			UDP: socket, Tun: virtual, Workers: n.config.Workers, Trust: n.trust,
			Candidates: func() []netip.AddrPort { return withPort(monitor.Addresses(), socket.LocalPort()) },
			Registerer: n.registry, Log: n.log,
		})
	}
	if err != nil {
		return nil, nil, errors.Join(err, virtual.Close(), socket.Close())
	}
	return engine, monitor, nil
}

// serve hosts the identity of one grant until ctx ends or the grant is replaced by a different one.
func (n *Node) serve(ctx context.Context, engine *endpoint.Endpoint, grant *login.Grant) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if err := n.configure(grant); err != nil {
		return err
	}
	n.mu.Lock()
	n.grant = grant
	n.mu.Unlock()
	local, err := engine.Add(endpoint.Identity{
		Key: n.device.Key(), Grant: grant,
		Renew: func(ctx context.Context) (*login.Grant, error) { return n.renew(ctx, cancel) },
	})
	if err != nil {
		return err
	}
	defer local.Close()
	n.setLocal(local)
	defer n.setLocal(nil)
	n.log.Info("logged in", "fqdn", grant.FQDN, "virtualIPv4", grant.VirtualIPv4, "virtualIPv6", grant.VirtualIPv6,
		"nodeID", n.device.Key().Public().NodeID().Short())
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() error { return n.awaitRegistration(groupCtx, local) })
	group.Go(func() error { return n.serveNames(groupCtx, local, grant) })
	err = group.Wait()
	if cause := context.Cause(ctx); errors.Is(cause, errNewAddresses) {
		return cause
	}
	return err
}

// configure gives the virtual interface the addresses and routes of a grant.
func (n *Node) configure(grant *login.Grant) error {
	want := netconf.Interface{Name: n.config.Interface, MTU: n.config.MTU, Routes: prefixes(grant)}
	for _, a := range []netip.Addr{grant.VirtualIPv4, grant.VirtualIPv6} {
		if a.IsValid() {
			want.Addresses = append(want.Addresses, netip.PrefixFrom(a, a.BitLen()))
		}
	}
	return netconf.Configure(want)
}

// renew logs in again with the device key. A grant that does not fit the configuration of this run ends it.
func (n *Node) renew(ctx context.Context, restart context.CancelCauseFunc) (*login.Grant, error) {
	n.login.Lock()
	defer n.login.Unlock()
	grant, err := n.device.Login(ctx)
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	old := n.grant
	n.grant = grant
	n.mu.Unlock()
	if old.VirtualIPv4 != grant.VirtualIPv4 || old.VirtualIPv6 != grant.VirtualIPv6 || old.FQDN != grant.FQDN ||
		old.Domain != grant.Domain || old.IPv4Prefix != grant.IPv4Prefix || old.IPv6Prefix != grant.IPv6Prefix {
		restart(errNewAddresses)
		return nil, errNewAddresses
	}
	return grant, nil
}

// awaitRegistration keeps the phase.
func (n *Node) awaitRegistration(ctx context.Context, local *endpoint.Local) error {
	n.setPhase(PhaseRegistering, "")
	if err := local.WaitRegistered(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	n.setPhase(PhaseUp, "")
	n.log.Info("registered at the node management service")
	return nil
}

// connect serves the verb of the same name.
func (n *Node) connect(ctx context.Context, name string) (any, error) {
	n.mu.Lock()
	local, grant := n.local, n.grant
	n.mu.Unlock()
	if local == nil {
		return nil, errors.New("not logged in yet; see \"cyphonic-node status\"")
	}
	target := wire.Target{}
	if a, err := netip.ParseAddr(name); err == nil {
		target.Addr = a
	} else {
		name = qualified(name, grant.Domain)
		target.FQDN = name
	}
	if _, own := itself(grant, resolver.Target{Name: target.FQDN, Address: target.Addr}); own {
		return nil, fmt.Errorf("%s is this node itself", name)
	}
	peer, err := local.Connect(ctx, target)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return Connected{
		FQDN: peer.FQDN, VirtualIPv4: peer.VirtualIPv4, VirtualIPv6: peer.VirtualIPv6,
		NodeID: peer.NodeID.String(), Relayed: peer.Relayed,
	}, nil
}

// qualified completes a short name with the overlay's domain.
func qualified(name, domain string) string {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	if strings.Contains(name, ".") {
		return name
	}
	return name + "." + domain
}

func (n *Node) setPhase(phase, reason string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.phase, n.reason = phase, reason
}

func (n *Node) setLocal(l *endpoint.Local) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.local = l
}

// prefixes returns the virtual prefixes of a grant that exist.
func prefixes(grant *login.Grant) []netip.Prefix {
	return slices.DeleteFunc([]netip.Prefix{grant.IPv4Prefix, grant.IPv6Prefix}, func(p netip.Prefix) bool { return !p.IsValid() })
}

func withPort(addresses []netip.Addr, port uint16) []netip.AddrPort {
	out := make([]netip.AddrPort, 0, len(addresses))
	for _, a := range addresses {
		out = append(out, netip.AddrPortFrom(a, port))
	}
	return out
}
