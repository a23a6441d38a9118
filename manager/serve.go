package manager

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"golang.org/x/net/netutil"
	"golang.org/x/sync/errgroup"

	"github.com/cyphonic/cyphonic/internal/keyspace"
)

// Run brings the database to the layout of this program, creates the shared
// keys that do not exist yet and serves until ctx ends.
// Then it stops in order, so that another manager can take over without a
// failed request: the lead is given up, /readyz fails, for the delay of the
// options everything is served on, the watches end, the listener closes,
// requests in progress finish, and what was noted is written. It returns nil.
func (m *Manager) Run(ctx context.Context) error {
	// What requests need lives until they have finished.
	below, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	group, below := errgroup.WithContext(below)
	for _, run := range []func(context.Context) error{m.cache.Run, m.audit.Run, m.events.Run, m.telemetry.Run, m.presence.Run, m.own.Run} {
		group.Go(func() error { return run(below) })
	}
	group.Go(func() error {
		defer stop()
		above, end := context.WithCancel(below)
		defer context.AfterFunc(ctx, end)()
		defer end()
		return m.run(above, below)
	})
	err := group.Wait()
	m.options.Log.Info("manager has stopped")
	return err
}

// run does everything that ends with above, on what ends with below.
func (m *Manager) run(above, below context.Context) error {
	group, above := errgroup.WithContext(above)
	group.Go(func() error { return m.serve(above, below) })
	group.Go(func() error {
		if err := m.bootstrap(above); err != nil || above.Err() != nil {
			return err
		}
		group.Go(func() error {
			select {
			case <-above.Done():
			case <-m.cache.Ready():
				m.own.SetState(keyspace.ReplicaReady)
			}
			return nil
		})
		return m.office.Run(above)
	})
	return group.Wait()
}

// serve answers requests until above ends and those in progress have finished.
func (m *Manager) serve(above, below context.Context) error {
	server := &http.Server{
		Handler:           m.gate,
		BaseContext:       func(net.Listener) context.Context { return below },
		ReadHeaderTimeout: readHeaderTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(m.options.Log.Handler(), slog.LevelDebug),
		TLSConfig:         m.tls.server(),
	}
	group, above := errgroup.WithContext(above)
	group.Go(func() error {
		err := server.ServeTLS(netutil.LimitListener(m.listener, maxConnections), "", "")
		if errors.Is(err, http.ErrServerClosed) {
			return nil
		}
		return fmt.Errorf("manager: serve: %w", err)
	})
	group.Go(func() error {
		<-above.Done()
		m.drain(below, server)
		return nil
	})
	m.options.Log.Info("manager is listening", "address", m.listener.Addr().String())
	return group.Wait()
}

// drain ends the server in order.
func (m *Manager) drain(below context.Context, server *http.Server) {
	delay := m.options.ShutdownDelay
	watches, cancel := context.WithTimeout(below, delay+drainTimeout)
	defer cancel()
	m.own.SetState(keyspace.ReplicaLeaving)
	m.rest.Drain(watches, delay)
	m.own.SetState(keyspace.ReplicaFinishing)
	requests, cancel := context.WithTimeout(context.WithoutCancel(below), shutdownTimeout)
	defer cancel()
	start := time.Now()
	if err := server.Shutdown(requests); err != nil {
		m.options.Log.Warn("requests were cut off", "err", err, "after", time.Since(start))
		_ = server.Close() // what is left is cut off, which is said above
	}
}
