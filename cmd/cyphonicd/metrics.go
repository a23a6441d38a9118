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
	metricsShutdownTimeout = 2 * time.Second
)

// openMetrics listens for the operator on this host.
func (c *cloud) openMetrics(o cloudOptions) error {
	listener, err := net.Listen("tcp", o.config.Metrics.Listen)
	if err != nil {
		return fmt.Errorf("metrics: %w", err)
	}
	c.closers = append(c.closers, func() { _ = listener.Close() })
	c.addresses["metrics"] = listener.Addr().String()
	c.metrics = listener
	return nil
}

// serveMetrics offers metrics, readiness, the location table and profiles.
func (c *cloud) serveMetrics(ctx context.Context) error {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(c.registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", c.readyz)
	if c.nms != nil {
		mux.HandleFunc("GET /debug/locations", c.locations)
	}
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: metricsHeaderTimeout}
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), metricsShutdownTimeout)
		defer cancel()
		if server.Shutdown(end) != nil {
			_ = server.Close()
		}
	})
	err := server.Serve(c.metrics)
	if stop() {
		return fmt.Errorf("serve metrics: %w", err)
	}
	<-stopped
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

func (c *cloud) readyz(w http.ResponseWriter, _ *http.Request) {
	if c.replica != nil {
		select {
		case <-c.replica.Ready():
		default:
			http.Error(w, "the desired state has not been read yet", http.StatusServiceUnavailable)
			return
		}
	}
	_, _ = fmt.Fprintln(w, "ok")
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
