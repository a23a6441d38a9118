package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Front is a balancer of TCP connections as stands in front of managers: it asks each whether it is ready and gives a
// connection to one that is. It knows nothing of what the connections carry.
type Front struct {
	plane    *Plane
	listener net.Listener
	ready    []atomic.Bool
	next     atomic.Uint64
}

// frontAddress is where the front listens, on the host that requests come from.
const frontAddress = frontHost + ":7440"

// NewFront listens; Run serves.
func (p *Plane) NewFront() (*Front, error) {
	listener, err := p.lab.Host(p.client).ListenTCP(frontAddress)
	if err != nil {
		return nil, err
	}
	return &Front{plane: p, listener: listener, ready: make([]atomic.Bool, len(p.Managers))}, nil
}

// Address is where the front listens.
func (f *Front) Address() string { return f.listener.Addr().String() }

// Run serves until ctx ends.
func (f *Front) Run(ctx context.Context) error {
	var all sync.WaitGroup
	defer all.Wait()
	stop := context.AfterFunc(ctx, func() { _ = f.listener.Close() })
	defer stop()
	for i := range f.ready {
		all.Go(func() { f.look(ctx, i) })
	}
	for {
		conn, err := f.listener.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("front: %w", err)
		}
		all.Go(func() { f.serve(ctx, conn) })
	}
}

func (f *Front) look(ctx context.Context, i int) {
	for ctx.Err() == nil {
		transport := f.plane.Transport()
		client := &http.Client{Transport: transport, Timeout: dialTimeout}
		f.ready[i].Store(ready(ctx, client, f.plane.ServerURL(i)) == nil)
		transport.CloseIdleConnections()
		select {
		case <-ctx.Done():
		case <-time.After(readinessInterval):
		}
	}
}

// connect tries the ready managers in turn.
func (f *Front) connect(ctx context.Context) (net.Conn, error) {
	first := f.next.Add(1)
	for k := range len(f.ready) {
		i := int((first + uint64(k)) % uint64(len(f.ready)))
		if !f.ready[i].Load() {
			continue
		}
		dialCtx, cancel := context.WithTimeout(ctx, dialTimeout)
		conn, err := f.plane.Dial(dialCtx, "tcp", fmt.Sprintf("%s:%d", f.plane.hosts[i].Address, managerPort))
		cancel()
		if err == nil {
			return conn, nil
		}
	}
	return nil, errors.New("no manager is ready")
}

func (f *Front) serve(ctx context.Context, client net.Conn) {
	defer client.Close()
	server, err := f.connect(ctx)
	if err != nil {
		return
	}
	defer server.Close()
	stop := context.AfterFunc(ctx, func() { _ = client.Close(); _ = server.Close() })
	defer stop()
	var both sync.WaitGroup
	pass := func(to, from net.Conn) {
		_, _ = io.Copy(to, from) // the other end closes, or the connection breaks: both end it
		if half, ok := to.(*net.TCPConn); ok {
			_ = half.CloseWrite()
		}
	}
	both.Go(func() { pass(server, client) })
	both.Go(func() { pass(client, server) })
	both.Wait()
}
