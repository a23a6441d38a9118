package etcd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
	"go.uber.org/zap"
)

// Embedded is an etcd server of one member inside the process. It opens no
// socket at all: its client calls it directly.
type Embedded struct {
	server *embed.Etcd
	client *clientv3.Client
	lock   *os.File
}

// EmbeddedOptions describes a server inside the process. Only Directory and
// Log are required.
type EmbeddedOptions struct {
	Directory  string
	QuotaBytes int64         // bound of the database file; 0: quotaBytes
	Retention  time.Duration // how long old revisions are kept; 0: an hour
	Log        *slog.Logger
}

// StartEmbedded starts a server with the usual bounds.
func StartEmbedded(ctx context.Context, dir string, log *slog.Logger) (*Embedded, error) {
	return EmbeddedOptions{Directory: dir, Log: log}.Start(ctx)
}

// Start starts a server on the directory, which it creates with mode 0700, and
// waits until it serves. ctx bounds the start only. A write that the server has
// acknowledged is on disk (fsync).
func (o EmbeddedOptions) Start(ctx context.Context) (*Embedded, error) {
	if o.QuotaBytes == 0 {
		o.QuotaBytes = quotaBytes
	}
	if o.Retention == 0 {
		o.Retention = retention
	}
	dir := o.Directory
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("create the data directory: %w", err)
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return nil, fmt.Errorf("protect the data directory: %w", err)
	}
	lock, err := lockDirectory(dir)
	if err != nil {
		return nil, err
	}
	server, err := o.startMember(ctx)
	if err != nil {
		_ = lock.Close() // the error of the server is the one to report
		return nil, fmt.Errorf("start the embedded etcd in %s: %w", dir, err)
	}
	return &Embedded{server: server, client: v3client.New(server.Server), lock: lock}, nil
}

func (o EmbeddedOptions) startMember(ctx context.Context) (*embed.Etcd, error) {
	server, err := embed.StartEtcd(o.config())
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	select {
	case <-server.Server.ReadyNotify():
		return server, nil
	case <-server.Server.StopNotify():
		err = errors.New("the server stopped")
	case <-ctx.Done():
		err = ctx.Err()
	}
	server.Close()
	return nil, err
}

// config describes a cluster of one member without listeners. The
// advertised address is a name that etcd demands; nobody ever connects to it.
func (o EmbeddedOptions) config() *embed.Config {
	c := embed.NewConfig()
	c.Name = "cyphonic"
	c.Dir = filepath.Join(o.Directory, "etcd")
	c.ListenPeerUrls = nil
	c.ListenClientUrls = nil
	c.AdvertisePeerUrls = []url.URL{{Scheme: "http", Host: "localhost:0"}}
	c.AdvertiseClientUrls = []url.URL{{Scheme: "http", Host: "localhost:0"}}
	c.InitialCluster = c.InitialClusterFromName(c.Name)
	c.TickMs, c.ElectionMs = tickMs, electionMs
	c.AutoCompactionMode, c.AutoCompactionRetention = embed.CompactorModePeriodic, o.Retention.String()
	c.QuotaBackendBytes = o.QuotaBytes
	c.MaxRequestBytes = maxValueBytes
	c.SnapshotCount, c.SnapshotCatchUpEntries = logEntries, logKept
	c.EnableGRPCGateway = false
	c.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.New(slogCore{log: o.Log}))
	return c
}

// Client returns the client of the server, valid until Close.
func (e *Embedded) Client() *clientv3.Client { return e.client }

// Stopped is closed when the server has stopped, by Close or because it cannot
// go on (for example when the disk fails).
func (e *Embedded) Stopped() <-chan struct{} { return e.server.Server.StopNotify() }

// Close stops the client and the server, waits for both and frees the data
// directory.
func (e *Embedded) Close() {
	_ = e.client.Close() // nothing is left to do about a failure
	e.server.Close()
	_ = e.lock.Close()
}
