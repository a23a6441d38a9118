// Package manager is the cloud manager: the REST API over TLS 1.3 on a store,
// the work that one of all managers does for all, and the creation of the keys
// that the replicas of the services share.
//
// The parts are in folders: rest (the API), cache (all resources in memory),
// access, audit, events, telemetry, ipam (virtual addresses), reconcile and
// gitsync (the leader's work), fence, store (the database). The package itself
// only puts them together; it must not know resources or etcd.
package manager

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/manager/access"
	"github.com/cyphonic/cyphonic/manager/audit"
	"github.com/cyphonic/cyphonic/manager/cache"
	"github.com/cyphonic/cyphonic/manager/events"
	"github.com/cyphonic/cyphonic/manager/reconcile"
	"github.com/cyphonic/cyphonic/manager/replicas"
	"github.com/cyphonic/cyphonic/manager/rest"
	"github.com/cyphonic/cyphonic/manager/schema"
	"github.com/cyphonic/cyphonic/manager/store"
	"github.com/cyphonic/cyphonic/manager/telemetry"
)

// Options is what a Manager needs.
type Options struct {
	Store   store.Store
	Listen  string // TCP address as in ":7440"
	TLSCert string // file with the certificate chain (PEM)
	TLSKey  string // file with its key (PEM)
	// ClientCA is a file with the certificates (PEM) that those of machines
	// descend from. Empty: machines have none.
	ClientCA string
	// AdminTokenHash is the lower-case hex SHA-256 of the administrator's
	// token, as `cyphonicctl init` writes it. An empty one, a placeholder or
	// that of a sample token is refused.
	AdminTokenHash string
	OIDC           *access.OIDC // nil: people have no login but the administrator's
	AuditLimits    audit.Limits
	// SecretsDirectory has a folder of credentials for each secretName of a
	// GitSource.
	SecretsDirectory string
	// Advertise is host:port at which Prometheus and clients reach this very
	// manager. Empty: the address that it listens on, with the name of the host
	// if it listens on all addresses.
	Advertise string
	// ShutdownDelay is how long everything is served after /readyz has begun to
	// fail, so that load balancers notice. Zero is right if nobody else serves.
	ShutdownDelay time.Duration
	Replica       Replica
	Registerer    prometheus.Registerer
	// Gatherer is shown at /metrics. If it is nil the Registerer is, where it
	// is a registry.
	Gatherer prometheus.Gatherer
	Log      *slog.Logger
	Rand     io.Reader        // nil: crypto/rand
	Now      func() time.Time // nil: time.Now
}

// Replica is what a manager says of itself as one of the live replicas. The zero value is right.
type Replica struct {
	Name      string       // unique among all replicas; empty: manager-<16 hex digits>
	Host      string       // empty: as the system calls itself
	Version   string       // of the program
	Addresses []netip.Addr // at which others reach it: at most one IPv4 and one IPv6
	// Load says what it has to do; nil: nobody knows.
	Load func() keyspace.Load
	// OnState is told of every new state, one after the other, and must not wait; nil: nobody is.
	OnState func(keyspace.ReplicaState)
}

// Manager serves the REST API.
type Manager struct {
	options  Options
	listener net.Listener
	tls      *tlsSource
	parts
}

// parts is what a manager consists of.
type parts struct {
	holder    string      // who this manager is, for people
	store     store.Store // fenced
	cache     *cache.Cache
	audit     *audit.Log
	events    *events.Recorder
	telemetry *telemetry.Telemetry
	presence  *telemetry.Presence
	own       *replicas.Own
	rest      *rest.Server
	handler   http.Handler
	gate      *gate // in front of handler
	office    *reconcile.Office
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
	certificates, err := newTLSSource(tlsFiles{o.TLSCert, o.TLSKey, o.ClientCA}, o.Log, o.Now)
	if err != nil {
		return nil, fmt.Errorf("manager: read the TLS certificate (`cyphonicctl init` makes one): %w", err)
	}
	if err := access.CheckAdminTokenHash(o.AdminTokenHash); err != nil {
		return nil, fmt.Errorf("manager: %w", err)
	}
	listener, err := net.Listen("tcp", o.Listen)
	if err != nil {
		return nil, fmt.Errorf("manager: %w", err)
	}
	m := &Manager{options: o, listener: listener, tls: certificates}
	if m.parts, err = assemble(o, advertised(o.Advertise, listener.Addr())); err != nil {
		_ = listener.Close()
		return nil, fmt.Errorf("manager: %w", err)
	}
	return m, nil
}

// advertised is where others reach this manager.
func advertised(configured string, listening net.Addr) string {
	if configured != "" {
		return configured
	}
	host, port, err := net.SplitHostPort(listening.String())
	if ip := net.ParseIP(host); err == nil && ip != nil && !ip.IsUnspecified() {
		return listening.String()
	}
	if host, err = os.Hostname(); err != nil {
		host = "localhost"
	}
	return net.JoinHostPort(host, port)
}

// DrainRequested is closed when somebody asks this manager to drain. Whoever runs it ends the context of Run then.
func (m *Manager) DrainRequested() <-chan struct{} { return m.own.DrainRequested() }

// Addr is the address that the manager listens on.
func (m *Manager) Addr() net.Addr { return m.listener.Addr() }

// Close closes the listener of a manager that was never run.
func (m *Manager) Close() error { return m.listener.Close() }

// bootstrap migrates the database and creates the shared keys. It tries until
// it succeeds or ctx ends; until then /readyz fails.
func (m *Manager) bootstrap(ctx context.Context) error {
	err := schema.Ensure(ctx, schema.Options{Store: m.options.Store, Holder: m.holder, Rand: m.options.Rand, Now: m.options.Now, Log: m.options.Log})
	if ctx.Err() != nil {
		return nil
	}
	if err != nil {
		return fmt.Errorf("manager: %w", err)
	}
	m.gate.open.Store(true)
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
