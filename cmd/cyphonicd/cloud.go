package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"

	"github.com/cyphonic/cyphonic/internal/cloudconfig"
	"github.com/cyphonic/cyphonic/internal/identity"
	"github.com/cyphonic/cyphonic/internal/udp"
	"github.com/cyphonic/cyphonic/manager"
	"github.com/cyphonic/cyphonic/manager/access"
	"github.com/cyphonic/cyphonic/manager/store/etcd"
	"github.com/cyphonic/cyphonic/services/as"
	"github.com/cyphonic/cyphonic/services/nms"
	"github.com/cyphonic/cyphonic/services/replica"
	"github.com/cyphonic/cyphonic/services/trs"
)

// cloudOptions say what one process runs.
type cloudOptions struct {
	config   cloudconfig.Config
	material *cloudconfig.Material
	services []string
	log      *slog.Logger
}

// cloud is the services of one process, put together and listening. It is
// complete after newCloud; run serves and releases everything.
type cloud struct {
	log      *slog.Logger
	registry *prometheus.Registry
	closers  []func() // in the order of opening; closed in reverse
	stopped  <-chan struct{}
	replica  *replica.Replica // nil if the manager runs alone
	nms      *nms.Core        // nil without the NMS
	metrics  net.Listener

	early     []func(context.Context) error // run at once
	late      []func(context.Context) error // run when the replica is ready
	addresses map[string]string             // listening addresses by service
}

// runner is what every service offers.
type runner interface {
	Run(ctx context.Context) error
}

// newCloud opens etcd and all listeners. ctx bounds the start only.
func newCloud(ctx context.Context, o cloudOptions) (*cloud, error) {
	c := &cloud{log: o.log, registry: prometheus.NewRegistry(), addresses: make(map[string]string)}
	if err := c.open(ctx, o); err != nil {
		c.close()
		if errors.Is(err, syscall.EADDRINUSE) {
			err = fmt.Errorf("%w: end the process that has the port (ss -lntup shows it) or configure another listen address", err)
		}
		return nil, err
	}
	return c, nil
}

func (c *cloud) open(ctx context.Context, o cloudOptions) error {
	c.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	client, err := c.openEtcd(ctx, o)
	if err != nil {
		return err
	}
	if slices.Contains(o.services, cloudconfig.ServiceManager) {
		if err := c.openManager(o, etcd.NewStore(client)); err != nil {
			return err
		}
	}
	if len(o.services) > 1 || o.services[0] != cloudconfig.ServiceManager {
		c.replica, err = replica.New(replica.Options{
			Client: client, Log: o.log.With("component", "replica"), Registerer: c.registry, Rand: rand.Reader, Now: time.Now,
		})
		if err != nil {
			return fmt.Errorf("replica: %w", err)
		}
		c.early = append(c.early, c.replica.Run)
	}
	openers := map[string]func(cloudOptions) (runner, error){
		cloudconfig.ServiceAS: c.openAS, cloudconfig.ServiceNMS: c.openNMS, cloudconfig.ServiceTRS: c.openTRS,
	}
	for _, service := range o.services {
		open := openers[service]
		if open == nil {
			continue
		}
		r, err := open(o)
		if err != nil {
			return fmt.Errorf("%s: %w", service, err)
		}
		c.late = append(c.late, r.Run)
	}
	return c.openMetrics(o)
}

// openEtcd connects to the cluster of the configuration or starts an embedded server.
func (c *cloud) openEtcd(ctx context.Context, o cloudOptions) (*replica.Client, error) {
	log := o.log.With("component", "etcd")
	if len(o.config.Etcd.Endpoints) > 0 {
		endpoints := endpointsOf(o.config)
		endpoints.Log = log
		client, err := etcd.Connect(ctx, endpoints)
		if err != nil {
			return nil, err
		}
		c.closers = append(c.closers, func() { _ = client.Close() })
		return client, nil
	}
	embedded, err := etcd.EmbeddedOptions{
		Directory: o.config.DataDirectory, QuotaBytes: o.config.Etcd.QuotaBytes, Retention: o.config.Etcd.RetentionTime(), Log: log,
	}.Start(ctx)
	if err != nil {
		return nil, err
	}
	c.closers = append(c.closers, embedded.Close)
	c.stopped = embedded.Stopped()
	return embedded.Client(), nil
}

func (c *cloud) openManager(o cloudOptions, store *etcd.Store) error {
	config := o.config.Manager
	m, err := manager.New(manager.Options{
		Store: store, Listen: config.Listen, TLSCert: config.CertificateFile, TLSKey: config.KeyFile, ClientCA: config.ClientCAFile,
		AdminTokenHash: o.material.AdminTokenHash, OIDC: oidcOf(o), SecretsDirectory: config.SecretsDirectory,
		Advertise: config.Advertise, ShutdownDelay: o.material.ShutdownDelay,
		Registerer: c.registry, Log: o.log.With("component", "manager"),
	})
	if err != nil {
		return err
	}
	c.closers = append(c.closers, func() { _ = m.Close() })
	c.addresses[cloudconfig.ServiceManager] = m.Addr().String()
	c.early = append(c.early, m.Run)
	return nil
}

// oidcOf is where people log in; nil: nowhere.
func oidcOf(o cloudOptions) *access.OIDC {
	config := o.config.Manager.OIDC
	if config.Issuer == "" {
		return nil
	}
	return &access.OIDC{
		Issuer: config.Issuer, ClientID: config.ClientID, UsernameClaim: config.UsernameClaim, GroupsClaim: config.GroupsClaim,
		UsernamePrefix: config.UsernamePrefix, Roots: o.material.OIDCRoots,
	}
}

func (c *cloud) openAS(o cloudOptions) (runner, error) {
	log := o.log.With("component", "as")
	core, err := as.NewCore(as.CoreOptions{
		Directory: c.replica, Issuer: o.material.Issuer, Rand: rand.Reader, Log: log, Registerer: c.registry,
	})
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", o.config.AS.Listen)
	if err != nil {
		return nil, err
	}
	c.closers = append(c.closers, func() { _ = listener.Close() })
	c.addresses[cloudconfig.ServiceAS] = listener.Addr().String()
	return as.NewServer(core, listener, o.material.ASTLS, time.Now, log), nil
}

func (c *cloud) openNMS(o cloudOptions) (runner, error) {
	log := o.log.With("component", "nms")
	core, err := nms.NewCore(nms.CoreOptions{
		Snapshot: c.replica.Snapshot, Rand: rand.Reader, Log: log, Registerer: c.registry,
	})
	if err != nil {
		return nil, err
	}
	conn, err := c.listenUDP(cloudconfig.ServiceNMS, o.config.NMS.Listen)
	if err != nil {
		return nil, err
	}
	c.nms = core
	return nms.NewServer(core, conn, time.Now, log), nil
}

func (c *cloud) openTRS(o cloudOptions) (runner, error) {
	log := o.log.With("component", "trs")
	core, err := trs.NewCore(trs.CoreOptions{
		Keys: func() identity.Keyring { return c.replica.Snapshot().RelayKeys() }, Rand: rand.Reader, Log: log, Registerer: c.registry,
		NetworkBytesPerSecond: o.config.TRS.NetworkBytesPerSecond, AllowLocal: o.config.TRS.AllowLocalClients,
	})
	if err != nil {
		return nil, err
	}
	conn, err := c.listenUDP(cloudconfig.ServiceTRS, o.config.TRS.Listen)
	if err != nil {
		return nil, err
	}
	return trs.NewServer(core, conn, time.Now, log), nil
}

// listenUDP opens the socket of a service: both address families, or the one
// of the address in the configuration.
func (c *cloud) listenUDP(service, address string) (udp.Conn, error) {
	options, err := udpOptions(address)
	if err != nil {
		return nil, err
	}
	options.Registerer = prometheus.WrapRegistererWith(prometheus.Labels{"service": service}, c.registry)
	conn, err := udp.Listen(options)
	if err != nil {
		return nil, err
	}
	c.closers = append(c.closers, func() { _ = conn.Close() })
	host, _, _ := net.SplitHostPort(address)
	c.addresses[service] = net.JoinHostPort(host, fmt.Sprint(conn.LocalPort()))
	return conn, nil
}

func udpOptions(address string) (udp.Options, error) {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return udp.Options{}, err
	}
	port, err := net.LookupPort("udp", text)
	if err != nil {
		return udp.Options{}, err
	}
	options := udp.Options{Port: uint16(port)}
	if host == "" {
		return options, nil
	}
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return udp.Options{}, err
	}
	if addr = addr.Unmap(); addr.Is4() {
		options.IPv4, options.IPv4Address = true, addr
	} else {
		options.IPv6, options.IPv6Address = true, addr
	}
	return options, nil
}

// run serves until ctx ends or a service fails, stops everything in the
// reverse order of dependence and returns nil if ctx ended.
func (c *cloud) run(ctx context.Context) error {
	defer c.close()
	group, ctx := errgroup.WithContext(ctx)
	for _, run := range c.early {
		group.Go(func() error { return run(ctx) })
	}
	group.Go(func() error { return c.serveMetrics(ctx) })
	group.Go(func() error { return c.runLate(ctx, group) })
	if c.stopped != nil {
		group.Go(func() error {
			select {
			case <-ctx.Done():
				return nil
			case <-c.stopped:
				return errors.New("the embedded etcd has stopped: see the log above (disk full or failing?)")
			}
		})
	}
	return group.Wait()
}

// runLate starts the services that need the desired state.
func (c *cloud) runLate(ctx context.Context, group *errgroup.Group) error {
	if c.replica != nil {
		select {
		case <-ctx.Done():
			return nil
		case <-c.replica.Ready():
		}
	}
	for _, run := range c.late {
		group.Go(func() error { return run(ctx) })
	}
	c.log.Info("ready", "addresses", c.addresses)
	return nil
}

func (c *cloud) close() {
	for _, f := range slices.Backward(c.closers) {
		f()
	}
	c.closers = nil
}
