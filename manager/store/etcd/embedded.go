package etcd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"

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

// StartEmbedded starts a server on the data directory dir, which it creates
// with mode 0700, and waits until it serves. ctx bounds the start only. A
// write that the server has acknowledged is on disk (fsync).
func StartEmbedded(ctx context.Context, dir string, log *slog.Logger) (*Embedded, error) {
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
	server, err := startMember(ctx, dir, log)
	if err != nil {
		_ = lock.Close() // the error of the server is the one to report
		return nil, fmt.Errorf("start the embedded etcd in %s: %w", dir, err)
	}
	return &Embedded{server: server, client: v3client.New(server.Server), lock: lock}, nil
}

func startMember(ctx context.Context, dir string, log *slog.Logger) (*embed.Etcd, error) {
	server, err := embed.StartEtcd(embeddedConfig(dir, log))
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

// embeddedConfig describes a cluster of one member without listeners. The
// advertised address is a name that etcd demands; nobody ever connects to it.
func embeddedConfig(dir string, log *slog.Logger) *embed.Config {
	c := embed.NewConfig()
	c.Name = "cyphonic"
	c.Dir = filepath.Join(dir, "etcd")
	c.ListenPeerUrls = nil
	c.ListenClientUrls = nil
	c.AdvertisePeerUrls = []url.URL{{Scheme: "http", Host: "localhost:0"}}
	c.AdvertiseClientUrls = []url.URL{{Scheme: "http", Host: "localhost:0"}}
	c.InitialCluster = c.InitialClusterFromName(c.Name)
	c.TickMs, c.ElectionMs = 50, 500
	c.AutoCompactionMode, c.AutoCompactionRetention = embed.CompactorModePeriodic, retention
	c.QuotaBackendBytes = quotaBytes
	c.MaxRequestBytes = maxValueBytes
	c.EnableGRPCGateway = false
	c.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.New(slogCore{log: log}))
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
