package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"

	"github.com/cyphonic/cyphonic/internal/cloudconfig"
	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/manager"
	"github.com/cyphonic/cyphonic/manager/store/etcd"
	"github.com/cyphonic/cyphonic/services/nms"
	"github.com/cyphonic/cyphonic/services/replica"
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
	// constant after newCloud
	log        *slog.Logger
	registry   *prometheus.Registry
	closers    []func() // in the order of opening; closed in reverse
	stopped    <-chan struct{}
	replica    *replica.Replica // nil if the manager runs alone
	manager    *manager.Manager // nil without the manager
	nms        *nms.Core        // nil without the NMS
	metrics    net.Listener
	health     net.Listener // nil if not configured
	lives      []*life
	lifeCounts *replica.LifecycleMetrics
	inService  *prometheus.GaugeVec // service
	sampler    *sampler

	below     []func(context.Context) error // what services need: run until the last of them has left
	addresses map[string]string             // listening addresses by service

	leaveOnce sync.Once
	leave     chan struct{} // closed to drain everything
	left      chan struct{} // closed when everything has left

	// atomic
	managerState atomic.Pointer[keyspace.ReplicaState]
}

// newCloud opens etcd and all listeners. ctx bounds the start only.
func newCloud(ctx context.Context, o cloudOptions) (*cloud, error) {
	c := &cloud{
		log: o.log, registry: prometheus.NewRegistry(), addresses: make(map[string]string),
		leave: make(chan struct{}), left: make(chan struct{}),
	}
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
	if err := c.openCounters(); err != nil {
		return err
	}
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
		c.below = append(c.below, c.replica.Run)
	}
	openers := map[string]func(cloudOptions) error{
		cloudconfig.ServiceAS: c.openAS, cloudconfig.ServiceNMS: c.openNMS, cloudconfig.ServiceTRS: c.openTRS,
	}
	for _, service := range o.services {
		if open := openers[service]; open != nil {
			if err := open(o); err != nil {
				return fmt.Errorf("%s: %w", service, err)
			}
		}
	}
	return c.openListeners(o)
}

// openCounters makes what all services of the process have in common.
func (c *cloud) openCounters() (err error) {
	if c.lifeCounts, err = replica.NewLifecycleMetrics(c.registry); err != nil {
		return err
	}
	c.inService = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "cyphonic_replica_in_service", Help: "1 while the speaker of the host sends new flows to the replica.",
	}, []string{"service"})
	if err := c.registry.Register(c.inService); err != nil {
		return fmt.Errorf("register metrics: %w", err)
	}
	if c.sampler, err = newSampler(c.registry, time.Now); err != nil {
		return err
	}
	c.below = append(c.below, c.sampler.run)
	return nil
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

// run serves until ctx ends, somebody asks to drain or a service fails. Then everything leaves, what the services need
// ends after them, and etcd last. It returns nil if nothing has failed.
func (c *cloud) run(ctx context.Context) error {
	defer c.close()
	below, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	group, below := errgroup.WithContext(below)
	ctx, leave := context.WithCancel(ctx)
	defer leave()
	defer context.AfterFunc(below, leave)() // one that fails takes the others along
	for _, run := range append(c.below, c.serveMetrics, c.serveHealth, c.watchEtcd) {
		group.Go(func() error { return run(below) })
	}
	group.Go(func() error {
		select {
		case <-c.leave:
			leave()
		case <-below.Done():
		}
		return nil
	})
	group.Go(func() error {
		defer stop()
		defer close(c.left)
		return c.serve(ctx)
	})
	return group.Wait()
}

// serve runs the manager and the services until the last one has left: the services first, then the manager. One that
// leaves because it was asked to does not take the others along; one that fails does.
func (c *cloud) serve(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	managing, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	gone := make(chan struct{}) // closed when there is no manager any more
	group.Go(func() error {
		defer close(gone)
		if c.manager == nil {
			return nil
		}
		return c.runManager(managing)
	})
	group.Go(func() error {
		defer end()
		err := c.runServices(ctx)
		if err == nil {
			select {
			case <-ctx.Done():
			case <-gone:
			}
		}
		return err
	})
	return group.Wait()
}

// runServices serves from when the desired state has been read until all services have left.
func (c *cloud) runServices(ctx context.Context) error {
	if c.replica != nil {
		select {
		case <-ctx.Done():
			return nil
		case <-c.replica.Ready():
		}
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, l := range c.lives {
		group.Go(func() error { return l.run(ctx) })
	}
	c.tellReady(ctx)
	return group.Wait()
}

// runManager ends by ctx, and by a request in etcd.
func (c *cloud) runManager(ctx context.Context) error {
	ctx, leave := context.WithCancel(ctx)
	defer leave()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		select {
		case <-ctx.Done():
		case <-c.manager.DrainRequested():
			c.log.Info("drain requested in etcd", "component", "manager")
			leave()
		}
		return nil
	})
	group.Go(func() error {
		defer leave()
		return c.manager.Run(ctx)
	})
	return group.Wait()
}

// tellReady logs once that all services serve. It gives up when one of them has left before.
func (c *cloud) tellReady(ctx context.Context) {
	ticker := time.NewTicker(readyInterval)
	defer ticker.Stop()
	for _, l := range c.lives {
		for l.cycle.Ready() != nil {
			select {
			case <-ctx.Done():
				return
			case <-l.cycle.Drained():
				return
			case <-ticker.C:
			}
		}
	}
	c.log.Info("ready", "addresses", c.addresses)
}

// watchEtcd fails when the embedded etcd has stopped.
func (c *cloud) watchEtcd(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-c.stopped: // never, with a cluster
		return errors.New("the embedded etcd has stopped: see the log above (disk full or failing?)")
	}
}

// drain makes everything leave.
func (c *cloud) drain() { c.leaveOnce.Do(func() { close(c.leave) }) }

func (c *cloud) close() {
	for _, f := range slices.Backward(c.closers) {
		f()
	}
	c.closers = nil
}
