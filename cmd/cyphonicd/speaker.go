// Listening sockets are of TCP, not of Multipath TCP, which has no MD5 signatures (RFC 2385).
//
//go:debug multipathtcp=0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/cyphonic/cyphonic/internal/cloudconfig"
	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/internal/program"
	"github.com/cyphonic/cyphonic/manager/store/etcd"
	"github.com/cyphonic/cyphonic/services/replica"
	"github.com/cyphonic/cyphonic/services/speaker"
	"github.com/cyphonic/cyphonic/services/speaker/bfd"
	"github.com/cyphonic/cyphonic/services/speaker/gobgp"
	"github.com/cyphonic/cyphonic/services/speaker/netfilter"
)

const (
	// speakerPeers is how many BGP sessions a speaker can have.
	speakerPeers = 16
	// speakerGrace bounds how long the speaker waits after its start for the replicas that an earlier one let traffic go
	// to. Replicas try to connect at least once a second.
	speakerGrace = 3 * time.Second
	// speakerTTL is how long the report of a speaker that was killed stays.
	speakerTTL = 5 * time.Second
	// etcdRetry is the wait between attempts to reach etcd at the start, and connectTimeout bounds one.
	etcdRetry      = time.Second
	connectTimeout = 5 * time.Second
)

func speakerCommand(f *flags, stderr io.Writer) *cobra.Command {
	command := &cobra.Command{
		Use: "speaker", Short: "Announce the services of this host to its routers by BGP", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			log, err := f.logging.New(stderr)
			if err != nil {
				return err
			}
			cfg, material, err := load(f, []string{cloudconfig.ServiceSpeaker})
			if err != nil {
				return err
			}
			if err := runSpeaker(cmd.Context(), cloudOptions{config: cfg, material: material, log: log}); err != nil {
				return program.Fail(err)
			}
			log.Info("stopped")
			return nil
		},
	}
	f.replica.add(command.Flags())
	return command
}

// runSpeaker runs the speaker until ctx ends and everything is withdrawn.
func runSpeaker(ctx context.Context, o cloudOptions) error {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m := o.material.Speaker
	listeners, err := openSpeakerListeners(o.config)
	if err != nil {
		return err
	}
	defer listeners.close()
	socket, err := listenSocket(o.config.Speaker.Socket, m)
	if err != nil {
		return err
	}
	defer func() { _ = socket.Close() }()
	filter, err := netfilter.New(netfilter.Options{Log: o.log.With("component", "netfilter"), Registerer: registry})
	if err != nil {
		return fmt.Errorf("packet filter: %w", err)
	}
	router, err := gobgp.New(gobgp.Options{
		RouterID: m.RouterID, Listen: m.Listen, ListenPort: m.ListenPort, MaxPeers: speakerPeers,
		Log: o.log.With("component", "bgp"), Now: time.Now,
	})
	if err != nil {
		return err
	}
	link := newEtcdLink(o)
	s, err := speaker.New(speaker.Options{
		Host: o.material.Replica.Host, Version: program.Version(), Listener: socket, Router: router, Balancer: filter,
		Detector: bfd.New(bfd.Options{Log: o.log.With("component", "bfd"), Registerer: registry}),
		Follow:   link.follow, Report: link.report, Addresses: m.Addresses,
		SecretsDirectory: o.config.Speaker.SecretsDirectory, StateFile: m.StateFile,
		GracefulShutdown: m.GracefulShutdown, RegistrationGrace: speakerGrace,
		Log: o.log.With("component", "speaker"), Registerer: registry, Now: time.Now,
	})
	if err != nil {
		router.Close()
		return err
	}
	o.log.Info("ready", "socket", o.config.Speaker.Socket, "routerID", m.RouterID.String(), "host", o.material.Replica.Host)
	return serveSpeaker(ctx, s, listeners, registry)
}

// speakerListeners are for the operator on this host and, if configured, for probes of others.
type speakerListeners struct{ metrics, health net.Listener }

func openSpeakerListeners(c cloudconfig.Config) (l speakerListeners, err error) {
	if l.metrics, err = net.Listen("tcp", c.Metrics.Listen); err != nil {
		return l, fmt.Errorf("metrics: %w", err)
	}
	if c.Health.Listen == "" {
		return l, nil
	}
	if l.health, err = net.Listen("tcp", c.Health.Listen); err != nil {
		_ = l.metrics.Close()
		return l, fmt.Errorf("health: %w", err)
	}
	return l, nil
}

func (l speakerListeners) close() {
	_ = l.metrics.Close()
	if l.health != nil {
		_ = l.health.Close()
	}
}

// serve offers metrics and probes, and profiles to this host, until ctx ends.
func (l speakerListeners) serve(ctx context.Context, registry *prometheus.Registry) error {
	group, ctx := errgroup.WithContext(ctx)
	mux := speakerProbes(registry)
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	group.Go(func() error { return serveHTTP(ctx, l.metrics, operatorServer(mux)) })
	if l.health != nil {
		group.Go(func() error { return serveHTTP(ctx, newBounded(l.health), healthServer(speakerProbes(registry))) })
	}
	return group.Wait()
}

func speakerProbes(registry *prometheus.Registry) *http.ServeMux {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{MaxRequestsInFlight: maxScrapes}))
	for _, path := range []string{"GET /livez", "GET /readyz"} {
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprintln(w, "ok") })
	}
	return mux
}

// serveSpeaker runs the speaker, with its metrics for as long as it runs.
func serveSpeaker(ctx context.Context, s *speaker.Speaker, listeners speakerListeners, registry *prometheus.Registry) error {
	inner, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	group, inner := errgroup.WithContext(inner)
	group.Go(func() error { return listeners.serve(inner, registry) })
	group.Go(func() error {
		defer cancel()
		end, stop := context.WithCancel(ctx)
		defer stop()
		defer context.AfterFunc(inner, stop)()
		return s.Run(end)
	})
	return group.Wait()
}

// listenSocket listens for replicas. What a speaker that was killed left there is removed.
func listenSocket(path string, m cloudconfig.SpeakerMaterial) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("socket of the speaker: %w", err)
	}
	if conn, err := net.Dial("unix", path); err == nil {
		_ = conn.Close()
		return nil, fmt.Errorf("socket of the speaker: another one runs at %s: end it, or configure another speaker.socket", path)
	} else if errors.Is(err, syscall.ECONNREFUSED) {
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("socket of the speaker: %w", err)
		}
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("socket of the speaker: %w", err)
	}
	if m.SocketGroup >= 0 {
		err = os.Chown(path, -1, m.SocketGroup)
	}
	if err := errors.Join(err, os.Chmod(path, m.SocketMode)); err != nil {
		_ = listener.Close()
		return nil, fmt.Errorf("socket of the speaker: %w", err)
	}
	return listener, nil
}

// etcdLink is the speaker's connection to etcd, which may come at any time.
type etcdLink struct {
	// constant
	options cloudOptions
	log     *slog.Logger
	reports chan []byte // of size 1: the last report
}

func newEtcdLink(o cloudOptions) *etcdLink {
	return &etcdLink{options: o, log: o.log.With("component", "etcd"), reports: make(chan []byte, 1)}
}

// report keeps the last report for etcd. It is called by one goroutine.
func (l *etcdLink) report(raw []byte) {
	select {
	case <-l.reports:
	default:
	}
	l.reports <- raw
}

// follow connects, however long that takes, then follows the keys and keeps the report written until ctx ends.
func (l *etcdLink) follow(ctx context.Context, prefixes []string, changed func(replica.Update), connected func(bool)) error {
	client := l.connect(ctx, connected)
	if client == nil {
		return nil
	}
	defer func() { _ = client.Close() }()
	record := replica.NewLeasedRecord(replica.LeasedRecordOptions{
		Client: client, Key: keyspace.Speaker(l.options.material.Replica.Host), TTL: speakerTTL, Log: l.log,
	})
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		return replica.Follow(ctx, replica.FollowOptions{Client: client, Prefixes: prefixes, Log: l.log, Connected: connected}, changed)
	})
	group.Go(func() error { return record.Run(ctx) })
	group.Go(func() error {
		for {
			select {
			case <-ctx.Done():
				return nil
			case raw := <-l.reports:
				record.Set(raw)
			}
		}
	})
	return group.Wait()
}

func (l *etcdLink) connect(ctx context.Context, connected func(bool)) *replica.Client {
	endpoints := endpointsOf(l.options.config)
	endpoints.Log = l.log
	for said := false; ctx.Err() == nil; {
		attempt, cancel := context.WithTimeout(ctx, connectTimeout)
		client, err := etcd.Connect(attempt, endpoints)
		cancel()
		if err == nil {
			return client
		}
		if !said && ctx.Err() == nil {
			l.log.Warn("etcd not reached: going on with the last known resources, trying again", "error", err)
			said = true
			connected(false)
		}
		select {
		case <-ctx.Done():
		case <-time.After(etcdRetry):
		}
	}
	return nil
}
