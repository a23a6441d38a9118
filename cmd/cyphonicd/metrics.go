package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/cyphonic/cyphonic/services/nms"
)

const (
	metricsHeaderTimeout   = 5 * time.Second
	metricsIdleTimeout     = time.Minute
	metricsShutdownTimeout = 2 * time.Second
	metricsMaxHeaderBytes  = 16 << 10
	// healthTimeout bounds an answer to strangers, and healthIdleTimeout how long they may keep a connection without a
	// question.
	healthTimeout     = 10 * time.Second
	healthIdleTimeout = 15 * time.Second
	// maxHealthConnections bounds the connections of strangers, maxHealthConnectionsPerAddress those of one address: who
	// opens many leaves room for the probes of others. Further ones are closed at once.
	maxHealthConnections           = 256
	maxHealthConnectionsPerAddress = 16
	// maxScrapes bounds what strangers at the health listener can make the process do at once.
	maxScrapes = 4
)

// openListeners listens for the operator on this host and, if configured, for
// probes of others.
func (c *cloud) openListeners(o cloudOptions) (err error) {
	if c.metrics, err = c.listenTCP("metrics", o.config.Metrics.Listen); err != nil {
		return err
	}
	if o.config.Health.Listen != "" {
		c.health, err = c.listenTCP("health", o.config.Health.Listen)
	}
	return err
}

func (c *cloud) listenTCP(name, address string) (net.Listener, error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	c.closers = append(c.closers, func() { _ = listener.Close() })
	c.addresses[name] = listener.Addr().String()
	return listener, nil
}

// probes are what others may see too.
func (c *cloud) probes() *http.ServeMux {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(c.registry, promhttp.HandlerOpts{MaxRequestsInFlight: maxScrapes}))
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", c.readyz)
	return mux
}

// serveMetrics offers metrics, probes, the location table, profiles and the
// drain to this host.
func (c *cloud) serveMetrics(ctx context.Context) error {
	mux := c.probes()
	if c.nms != nil {
		mux.HandleFunc("GET /debug/locations", c.locations)
	}
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	mux.HandleFunc("GET /drain", c.handleDrain)
	mux.HandleFunc("POST /drain", c.handleDrain)
	return serveHTTP(ctx, c.metrics, operatorServer(mux))
}

// serveHealth offers probes and metrics to others, if configured.
func (c *cloud) serveHealth(ctx context.Context) error {
	if c.health == nil {
		return nil
	}
	return serveHTTP(ctx, newBounded(c.health), healthServer(c.probes()))
}

// operatorServer is for this host: profiles and drains take their time.
func operatorServer(handler http.Handler) *http.Server {
	return &http.Server{
		Handler: handler, ReadHeaderTimeout: metricsHeaderTimeout, IdleTimeout: metricsIdleTimeout, MaxHeaderBytes: metricsMaxHeaderBytes,
	}
}

// healthServer is for strangers.
func healthServer(handler http.Handler) *http.Server {
	return &http.Server{
		Handler: handler, ReadTimeout: metricsHeaderTimeout, WriteTimeout: healthTimeout, IdleTimeout: healthIdleTimeout,
		MaxHeaderBytes: metricsMaxHeaderBytes,
	}
}

func serveHTTP(ctx context.Context, listener net.Listener, server *http.Server) error {
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), metricsShutdownTimeout)
		defer cancel()
		if server.Shutdown(end) != nil {
			_ = server.Close()
		}
	})
	err := server.Serve(listener)
	if stop() {
		return fmt.Errorf("serve %s: %w", listener.Addr(), err)
	}
	<-stopped
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// readyz says whether all services of the process can serve.
func (c *cloud) readyz(w http.ResponseWriter, _ *http.Request) {
	if err := c.ready(); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	_, _ = fmt.Fprintln(w, "ok")
}

func (c *cloud) ready() error {
	if c.replica != nil {
		select {
		case <-c.replica.Ready():
		default:
			return errors.New("the desired state has not been read yet")
		}
	}
	var faults []error
	if c.manager != nil {
		faults = append(faults, c.managerReady())
	}
	for _, l := range c.lives {
		faults = append(faults, l.cycle.Ready())
	}
	return errors.Join(faults...)
}

// locations lists where the NMS sees each device: the operator's proof of the
// real source addresses.
func (c *cloud) locations(w http.ResponseWriter, _ *http.Request) {
	list := c.nms.Locations(time.Now())
	slices.SortFunc(list, func(a, b nms.Location) int {
		return cmp.Or(cmp.Compare(a.Network, b.Network), cmp.Compare(a.FQDN, b.FQDN))
	})
	w.Header().Set("Content-Type", "application/json")
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(struct {
		Locations []nms.Location `json:"locations"`
	}{list}); err != nil {
		c.log.Debug("locations not written", "error", err)
	}
}
