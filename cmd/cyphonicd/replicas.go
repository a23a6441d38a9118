package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cyphonic/cyphonic/internal/balancer"
	"github.com/cyphonic/cyphonic/internal/cloudconfig"
	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/internal/program"
	"github.com/cyphonic/cyphonic/services/replica"
)

const (
	// readyInterval is how often it is looked whether everything serves, until it does.
	readyInterval = 20 * time.Millisecond
	// withdrawTimeout bounds the removal of a record at the end; without it the record goes with its lease.
	withdrawTimeout = 2 * time.Second
	// routeTimeout bounds the look-up of the name of an etcd endpoint.
	routeTimeout = 5 * time.Second
)

// life is one service of the process with what tells others about it.
type life struct {
	cycle        *replica.Lifecycle
	registration *replica.Registration
	speaker      *balancer.Client // nil: none
	log          *slog.Logger
}

// run serves until the service has left: at the end of ctx, by a request in etcd, or by a failure.
func (l *life) run(ctx context.Context) error {
	below, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	group, below := errgroup.WithContext(below)
	if l.speaker != nil {
		group.Go(func() error { return l.speaker.Run(below) })
	}
	group.Go(func() error {
		defer stop()
		err := l.cycle.Run(ctx)
		end, cancel := context.WithTimeout(below, withdrawTimeout)
		defer cancel()
		if e := l.registration.Withdraw(end); e != nil {
			l.log.Debug("the record of the replica goes with its lease", "error", e)
		}
		return err
	})
	return group.Wait()
}

// announcer is the record in etcd as a balancer: other replicas send nothing new to one whose record says that it
// leaves.
type announcer struct{ *replica.Registration }

// Joined does not wait: without etcd the replica serves all the same.
func (a announcer) Joined(context.Context) error { return nil }

func (a announcer) Withdrawn(ctx context.Context) error { return a.Flush(ctx) }

// join makes a listening service one of the replicas.
func (c *cloud) join(o cloudOptions, identity replica.Identity, port uint16, server replica.LifecycleService) error {
	if err := identity.Check(); err != nil {
		return err
	}
	log := o.log.With("component", identity.Service)
	m := o.material.Replica
	l := &life{registration: c.replica.Register(identity), log: log}
	balancers := []replica.Balancer{announcer{l.registration}}
	if l.speaker = c.speakerFor(o, identity.Service, identity.Name, identity.Addresses, port); l.speaker != nil {
		balancers = append(balancers, l.speaker)
	}
	l.cycle = replica.NewLifecycle(replica.LifecycleOptions{
		Name: identity.Service, Service: server, Balancers: balancers, Requested: l.registration.DrainRequested(),
		Drain: replica.Drain{Wait: m.Wait, HandOver: m.HandOver, Finish: m.Finish}, Metrics: c.lifeCounts, Log: log, Now: time.Now,
	})
	c.sampler.add(identity.Service, l.cycle.Residual, l.registration.SetLoad)
	c.lives = append(c.lives, l)
	return nil
}

// speakerFor returns the connection to the speaker of the host; nil: none is configured.
func (c *cloud) speakerFor(o cloudOptions, service, name string, addresses []netip.Addr, port uint16) *balancer.Client {
	socket := o.config.Replica.SpeakerSocket
	if socket == "" {
		return nil
	}
	// Devices come to such a TRS at its own address. Behind the speaker its answers would leave from the service's.
	direct := service == cloudconfig.ServiceTRS && len(o.config.TRS.Advertise) > 0
	changed := func(bool) {} // it is never in service, and need not be
	if !direct {
		gauge := c.inService.WithLabelValues(service)
		changed = func(inService bool) {
			gauge.Set(0)
			if inService {
				gauge.Set(1)
			}
		}
	}
	return balancer.NewClient(balancer.ClientOptions{
		Socket: socket, Log: o.log.With("component", service), Changed: changed,
		Registration: balancer.Registration{Service: service, Name: name, Addresses: addresses, Port: port, Direct: direct},
	})
}

// identify says who the replica of a service is that listens at the address.
func identify(o cloudOptions, service, listen string) (replica.Identity, error) {
	name := o.material.Replica.Name
	switch {
	case name == "":
		var random [8]byte
		if _, err := rand.Read(random[:]); err != nil {
			return replica.Identity{}, fmt.Errorf("read random bytes for a name: %w", err)
		}
		name = service + "-" + hex.EncodeToString(random[:])
	case len(o.services) > 1:
		name = service + "-" + name
	}
	addresses, err := addressesOf(o, listen)
	if err != nil {
		return replica.Identity{}, fmt.Errorf("%w: set replica.addresses", err)
	}
	return replica.Identity{
		Name: name, Service: service, Host: o.material.Replica.Host, Version: program.Version(), Addresses: addresses,
	}, nil
}

// addressesOf are those of the configuration, the one that the service listens on, or the one that leads to etcd.
func addressesOf(o cloudOptions, listen string) ([]netip.Addr, error) {
	if list := o.material.Replica.Addresses; len(list) > 0 {
		return list, nil
	}
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return nil, err
	}
	if addr, err := netip.ParseAddr(host); err == nil && !addr.IsUnspecified() {
		return []netip.Addr{addr.Unmap().WithZone("")}, nil
	}
	if len(o.config.Etcd.Endpoints) == 0 {
		return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
	}
	var faults []error
	for _, endpoint := range o.config.Etcd.Endpoints {
		addr, err := localAddress(endpoint)
		if err == nil {
			return []netip.Addr{addr}, nil
		}
		faults = append(faults, err)
	}
	return nil, fmt.Errorf("the address of this host is not known: %w", errors.Join(faults...))
}

// localAddress is the one from which packets to the endpoint leave. Nothing is sent.
func localAddress(endpoint string) (netip.Addr, error) {
	u, err := url.Parse(endpoint)
	if err != nil {
		return netip.Addr{}, err
	}
	conn, err := net.DialTimeout("udp", net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), "2379")), routeTimeout)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("no way to etcd: %w", err)
	}
	defer func() { _ = conn.Close() }()
	local, ok := conn.LocalAddr().(*net.UDPAddr)
	if !ok {
		return netip.Addr{}, fmt.Errorf("the way to %s has no address", endpoint)
	}
	return local.AddrPort().Addr().Unmap().WithZone(""), nil
}

// portOf is the port of a listening address.
func portOf(address string) (uint16, error) {
	_, text, err := net.SplitHostPort(address)
	if err != nil {
		return 0, err
	}
	port, err := net.LookupPort("ip", text)
	return uint16(port), err
}

// managerReady returns nil if the manager serves.
func (c *cloud) managerReady() error {
	switch state := *c.managerState.Load(); state {
	case keyspace.ReplicaReady:
		return nil
	case keyspace.ReplicaStarting:
		return errors.New(cloudconfig.ServiceManager + ": the resources have not been read yet")
	default:
		return fmt.Errorf("%s: draining (%s)", cloudconfig.ServiceManager, state)
	}
}
