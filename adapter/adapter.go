// Package adapter is the gateway that makes devices which cannot be changed members of the overlay. It follows
// its general-node list at the manager and drives the life of each general node: authenticate it on the LAN
// (access), log it in, open the LAN for it (lan), host its identity in one endpoint. It forwards no packet
// itself: the kernel routes between bridge and virtual interface, the endpoint between that and the tunnels.
package adapter

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"

	"github.com/cyphonic/cyphonic/adapter/lan"
	"github.com/cyphonic/cyphonic/api/client"
	"github.com/cyphonic/cyphonic/internal/endpoint"
	"github.com/cyphonic/cyphonic/internal/enrolment"
	"github.com/cyphonic/cyphonic/internal/identity"
	"github.com/cyphonic/cyphonic/internal/login"
	"github.com/cyphonic/cyphonic/internal/netconf"
	"github.com/cyphonic/cyphonic/internal/statusapi"
	"github.com/cyphonic/cyphonic/internal/tun"
	"github.com/cyphonic/cyphonic/internal/udp"
	"github.com/cyphonic/cyphonic/internal/wire"
)

var errNoManager = errors.New("not logged in at the manager yet")

// Adapter is one gateway.
type Adapter struct {
	config   Config
	version  string
	log      *slog.Logger
	registry *prometheus.Registry
	metrics  *metrics
	trust    identity.Trust
	device   *enrolment.Device
	manager  atomic.Pointer[client.Client]
	reporter *reporter
	pusher   *pusher
	leases   *leases
	listFile *listFile
	logins   chan struct{} // one token per login under way
	cutOff   atomic.Bool   // the AS did not answer the latest login of a general node
	// listConfirmed is when the manager last confirmed the list in effect, in Unix seconds; 0: never.
	listConfirmed atomic.Int64

	// Set by open, before anything that uses them runs.
	segment *lan.Segment
	dhcp    *lan.DHCPServer
	engine  *endpoint.Endpoint
	nodes   *nodes

	mu           sync.Mutex
	network      lan.Network
	networkKnown chan struct{} // closed when network is set
	opened       bool          // segment, dhcp, engine and nodes are set
	phase        string        // of the adapter's own login
	reason       string
}

// New loads trust, keys and what is remembered. It opens nothing on the network.
func New(c Config, version string, log *slog.Logger) (*Adapter, error) {
	trust, err := identity.LoadTrust(c.Trust)
	if err != nil {
		return nil, err
	}
	device, err := enrolment.Open(enrolment.Options{
		Subject:        wire.Subject{Kind: wire.SubjectAdapter, Name: c.Name},
		StateDirectory: c.StateDirectory, TokenFile: c.EnrollmentTokenFile, PasswordFile: c.PasswordFile,
		Server: login.Options{Address: c.AuthenticationService, Trust: trust},
		Log:    log,
	})
	if err != nil {
		return nil, err
	}
	a := &Adapter{
		config: c, version: version, log: log, registry: prometheus.NewRegistry(), trust: trust, device: device,
		leases: loadLeases(filepath.Join(c.StateDirectory, "leases.json"), log),
		logins: make(chan struct{}, maxLogins), networkKnown: make(chan struct{}), phase: phaseLoggingIn,
	}
	a.reporter = newReporter(c.Name, &a.manager, log)
	a.registry.MustRegister(collectors.NewGoCollector())
	a.registry.MustRegister(collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	if a.metrics, err = newMetrics(a.registry, a); err != nil {
		return nil, err
	}
	if a.listFile, err = newListFile(c.StateDirectory, c.Name, device.Key()); err != nil {
		return nil, err
	}
	a.pusher = newPusher(c.Name, &a.manager, a.registry, a.metrics, log)
	return a, nil
}

// Run serves until ctx ends. The guard is the first thing that stands and the last that goes.
func (a *Adapter) Run(ctx context.Context) error {
	status, err := statusapi.Listen(statusapi.Options{
		Socket: a.config.StatusSocket, MetricsListen: a.config.MetricsListen, Gatherer: a.registry,
		Status: func() any { return a.Status() }, Log: a.log,
	})
	if err != nil {
		return err
	}
	// The status is there from the beginning, and ends last.
	statusCtx, stopStatus := context.WithCancel(context.WithoutCancel(ctx))
	served := make(chan error, 1)
	go func() { served <- status.Run(statusCtx) }()
	defer func() {
		stopStatus()
		<-served
	}()
	monitor, err := a.open(ctx)
	if err != nil {
		return err
	}
	defer a.segment.Close(context.WithoutCancel(ctx))
	group, ctx := errgroup.WithContext(ctx)
	// Engine and reporter outlive the general nodes, which tell NMS and manager that they leave.
	lastCtx, stopLast := context.WithCancel(context.WithoutCancel(ctx))
	defer stopLast()
	group.Go(func() error { return a.engine.Run(lastCtx) })
	group.Go(func() error { return a.reporter.Run(lastCtx) })
	group.Go(func() error { return a.pusher.Run(lastCtx) })
	group.Go(func() error { return monitor.Run(ctx) })
	group.Go(func() error { return a.segment.Run(ctx) })
	group.Go(func() error { return a.dhcp.Run(ctx) })
	group.Go(func() error { return a.leases.Run(ctx) })
	group.Go(func() error { return a.serveNames(ctx) })
	group.Go(func() error {
		defer stopLast()
		a.follow(ctx)
		return nil
	})
	return group.Wait()
}

// open opens the virtual interface, the LAN and the socket, and builds the engine.
func (a *Adapter) open(ctx context.Context) (*netconf.Monitor, error) {
	keys := filepath.Join(a.config.StateDirectory, "generalnodes")
	if err := os.MkdirAll(keys, 0o700); err != nil {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	socket, err := udp.Listen(udp.Options{Port: a.config.ListenPort, Registerer: a.registry})
	if err != nil {
		return nil, fmt.Errorf("UDP socket (listenPort %d): %w", a.config.ListenPort, err)
	}
	virtual, err := tun.Open(tun.Options{Name: a.config.Tun, MTU: a.config.MTU, Backend: a.config.TunBackend, Registerer: a.registry})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("virtual interface %s (needs CAP_NET_ADMIN and /dev/net/tun): %w", a.config.Tun, err), socket.Close())
	}
	monitor, err := a.openLAN(ctx)
	if err == nil {
		a.engine, err = endpoint.New(endpoint.Options{
			UDP: socket, Tun: virtual, Workers: a.config.Workers, Trust: a.trust,
			Candidates: func() []netip.AddrPort { return withPort(monitor.Addresses(), socket.LocalPort()) },
			Registerer: a.registry, Log: a.log,
		})
	}
	if err != nil {
		if a.segment != nil {
			a.segment.Close(context.WithoutCancel(ctx))
		}
		return nil, errors.Join(err, virtual.Close(), socket.Close())
	}
	a.nodes = newNodes(a.segment, a.reporter, &surroundings{
		segment: a.segment,
		host:    func(i endpoint.Identity) (hosted, error) { return a.engine.Add(i) },
		login:   a.loginGeneralNode, network: a.setNetwork, ready: a.dhcp.Ready, report: a.reporter.report,
		leases: a.leases, keys: keys, leaseTime: a.config.LeaseTime(), mtu: a.config.MTU, log: a.log,
	})
	a.mu.Lock()
	a.opened = true
	a.mu.Unlock()
	return monitor, nil
}

func (a *Adapter) openLAN(ctx context.Context) (*netconf.Monitor, error) {
	if err := netconf.Configure(netconf.Interface{Name: a.config.Tun, MTU: a.config.MTU}); err != nil {
		return nil, err
	}
	var err error
	a.segment, err = lan.Open(ctx, lan.Options{
		Bridge: a.config.LAN.Interface, Ports: a.config.LAN.Ports, Tun: a.config.Tun, Log: a.log,
		PortChanged: func(port string, up bool) {
			if a.nodes != nil { // not during Open
				a.nodes.portChanged(port, up)
			}
		},
	})
	if err != nil {
		return nil, err
	}
	a.dhcp, err = a.segment.ListenDHCP(lan.DHCPOptions{
		Ask:   func(m lan.MAC) (lan.Lease, bool) { return a.nodes.ask(m) },
		Event: func(m lan.MAC, e lan.Event) { a.nodes.dhcpEvent(m, e, a.config.LeaseTime()) },
		Log:   a.log,
	})
	if err != nil {
		return nil, err
	}
	return netconf.NewMonitor(netconf.MonitorOptions{
		ExcludeInterfaces: append([]string{a.config.Tun, a.config.LAN.Interface}, a.config.LAN.Ports...),
		ExcludePrefixes:   a.prefixes,
		Changed:           func([]netip.Addr) { a.engine.AddressesChanged() },
		Log:               a.log,
	})
}

// loginGeneralNode logs a general node in on its behalf, at most maxLogins at once.
func (a *Adapter) loginGeneralNode(ctx context.Context, name string, key *identity.DeviceKey, assurance identity.Assurance) (*login.Grant, error) {
	select {
	case a.logins <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-a.logins }()
	c, err := login.Dial(ctx, login.Options{Address: a.config.AuthenticationService, Trust: a.trust})
	if err != nil {
		a.metrics.logins.WithLabelValues(loginUnreachable).Inc()
		a.cutOff.Store(true)
		return nil, err
	}
	defer c.Close()
	a.answered()
	grant, err := c.LoginGeneralNode(ctx, name, key, a.config.Name, a.device.Key(), assurance)
	var denied *login.DeniedError
	switch {
	case err == nil:
		a.metrics.logins.WithLabelValues(loginOK).Inc()
	case errors.As(err, &denied):
		a.metrics.logins.WithLabelValues(loginDenied).Inc()
	default:
		a.metrics.logins.WithLabelValues(loginFailed).Inc()
	}
	return grant, err
}

// answered is called when the AS has answered.
func (a *Adapter) answered() {
	if a.cutOff.Swap(false) {
		a.nodes.reachable()
	}
}

// setNetwork tells the resolver for which network it answers.
func (a *Adapter) setNetwork(n lan.Network) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.network.Prefix.IsValid() {
		a.network = n
		close(a.networkKnown)
	}
}

// prefixes are the virtual prefixes as far as they are known.
func (a *Adapter) prefixes() []netip.Prefix {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.network.Prefix.IsValid() {
		return nil
	}
	return []netip.Prefix{a.network.Prefix}
}

func withPort(addresses []netip.Addr, port uint16) []netip.AddrPort {
	out := make([]netip.AddrPort, 0, len(addresses))
	for _, x := range addresses {
		out = append(out, netip.AddrPortFrom(x, port))
	}
	return out
}
