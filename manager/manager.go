// Package manager is the cloud manager: the REST API over TLS 1.3 on a store,
// and the creation of the keys that the replicas of the services share.
//
// The parts are in folders: rest (the API), ipam (virtual addresses), store
// (the database). The package itself only puts them together; it must not know
// resources or etcd.
package manager

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/net/netutil"
	"golang.org/x/sync/errgroup"

	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/manager/rest"
	"github.com/cyphonic/cyphonic/manager/store"
)

// Options is what a Manager needs.
type Options struct {
	Store   store.Store
	Listen  string // TCP address as in ":7440"
	TLSCert string // file with the certificate chain (PEM)
	TLSKey  string // file with its key (PEM)
	// AdminTokenHash is the lower-case hex SHA-256 of the administrator's
	// token, as `cyphonicctl init` writes it. An empty one, a placeholder or
	// that of a sample token is refused.
	AdminTokenHash string
	Registerer     prometheus.Registerer
	// Gatherer is shown at /metrics. If it is nil the Registerer is, where it
	// is a registry.
	Gatherer prometheus.Gatherer
	Log      *slog.Logger
	Rand     io.Reader        // nil: crypto/rand
	Now      func() time.Time // nil: time.Now
}

// Manager serves the REST API.
type Manager struct {
	options  Options
	listener net.Listener
	handler  http.Handler
	cert     tls.Certificate
}

// New checks the options and opens the listener. Run or Close closes it.
func New(o Options) (*Manager, error) {
	if o.Rand == nil {
		o.Rand = rand.Reader
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if g, ok := o.Registerer.(prometheus.Gatherer); ok && o.Gatherer == nil {
		o.Gatherer = g
	}
	if o.Store == nil || o.Registerer == nil || o.Gatherer == nil || o.Log == nil {
		return nil, errors.New("manager: Store, Registerer, Gatherer and Log are required")
	}
	cert, err := tls.LoadX509KeyPair(o.TLSCert, o.TLSKey)
	if err != nil {
		return nil, fmt.Errorf("manager: read the TLS certificate (`cyphonicctl init` makes one): %w", err)
	}
	server, err := rest.New(rest.Options{
		Store: o.Store, AdminTokenHash: o.AdminTokenHash, Registerer: o.Registerer, Gatherer: o.Gatherer,
		Log: o.Log, Rand: o.Rand, Now: o.Now,
	})
	if err != nil {
		return nil, fmt.Errorf("manager: %w", err)
	}
	listener, err := net.Listen("tcp", o.Listen)
	if err != nil {
		return nil, fmt.Errorf("manager: %w", err)
	}
	return &Manager{options: o, listener: listener, handler: server.Handler(), cert: cert}, nil
}

// Addr is the address that the manager listens on.
func (m *Manager) Addr() net.Addr { return m.listener.Addr() }

// Close closes the listener of a manager that was never run.
func (m *Manager) Close() error { return m.listener.Close() }

// Run creates the shared keys that do not exist yet and serves until ctx ends.
// Then it ends the watches, lets other requests finish and returns nil.
func (m *Manager) Run(ctx context.Context) error {
	server := &http.Server{
		Handler:           m.handler,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ReadHeaderTimeout: readHeaderTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(m.options.Log.Handler(), slog.LevelDebug),
		TLSConfig:         &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{m.cert}},
	}
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() error {
		err := server.ServeTLS(netutil.LimitListener(m.listener, maxConnections), "", "")
		if errors.Is(err, http.ErrServerClosed) {
			return nil
		}
		return fmt.Errorf("manager: serve: %w", err)
	})
	group.Go(func() error { return m.bootstrap(groupCtx) })
	group.Go(func() error {
		<-groupCtx.Done()
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
		defer cancel()
		if err := server.Shutdown(end); err != nil {
			m.options.Log.Warn("requests were cut off", "err", err)
			return server.Close()
		}
		return nil
	})
	m.options.Log.Info("manager is listening", "address", m.listener.Addr().String())
	return group.Wait()
}

// bootstrap creates the shared keys. It tries until it succeeds or ctx ends;
// /readyz says that something is missing until then.
func (m *Manager) bootstrap(ctx context.Context) error {
	for {
		err := ensureKeys(ctx, m.options.Store, m.options.Rand, m.options.Now)
		if err == nil || ctx.Err() != nil {
			return nil
		}
		if !errors.Is(err, store.ErrUnavailable) {
			return fmt.Errorf("manager: %w", err)
		}
		m.options.Log.Warn("the shared keys cannot be created yet", "err", err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(bootstrapInterval):
		}
	}
}

// ensureKeys creates a key for every purpose that has none. Any number of
// managers may do so at once: exactly one succeeds per purpose.
func ensureKeys(ctx context.Context, s store.Store, random io.Reader, now func() time.Time) error {
	for _, purpose := range keyspace.Purposes() {
		prefix := keyspace.KeyPrefix(purpose)
		n, err := s.Count(ctx, prefix)
		if err != nil {
			return fmt.Errorf("look for the %s key: %w", purpose, err)
		}
		if n > 0 {
			continue
		}
		record, err := keyspace.NewKeyRecord(random, now())
		if err != nil {
			return fmt.Errorf("make the %s key: %w", purpose, err)
		}
		_, err = s.Commit(ctx, store.Transaction{
			Conditions: []store.Condition{store.AbsentBelow(prefix)},
			Writes:     []store.Write{store.Put(keyspace.Key(purpose, record.ID), keyspace.Encode(record))},
		})
		if err != nil && !errors.Is(err, store.ErrExists) {
			return fmt.Errorf("create the %s key: %w", purpose, err)
		}
	}
	return nil
}
