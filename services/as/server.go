package as

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/cyphonic/cyphonic/internal/login"
)

// Server speaks TLS 1.3 with devices and asks the core.
type Server struct {
	// constant
	core       *Core
	listener   net.Listener
	config     *tls.Config
	now        func() time.Time
	log        *slog.Logger
	handshakes chan struct{} // one element for each that runs

	// under mu
	mu        sync.Mutex
	open      map[net.Conn]*activity
	byAddress map[netip.Addr]int
	refusing  bool // by Refuse
	closed    bool
}

// NewServer returns a server that owns listener: Run closes it.
func NewServer(core *Core, listener net.Listener, certificate tls.Certificate, now func() time.Time, log *slog.Logger) *Server {
	return &Server{
		core: core, listener: listener, config: login.ServerTLS(certificate), now: now, log: log,
		handshakes: make(chan struct{}, maxHandshakes),
		open:       make(map[net.Conn]*activity), byAddress: make(map[netip.Addr]int),
	}
}

// Run serves until ctx ends, waits for the connections and returns nil then.
func (s *Server) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var connections sync.WaitGroup
	stop := context.AfterFunc(ctx, s.closeAll)
	err := s.accept(ctx, &connections)
	if err == nil {
		<-ctx.Done() // refusing, while what is under way goes on
	}
	cancel()
	if stop() {
		s.closeAll()
	}
	connections.Wait()
	return err
}

// accept takes connections until ctx ends or, after Refuse, none is left to take.
func (s *Server) accept(ctx context.Context, connections *sync.WaitGroup) error {
	delay := time.Duration(0)
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			var timeout net.Error
			switch {
			case ctx.Err() != nil:
				return nil
			case s.isRefusing() && errors.As(err, &timeout) && timeout.Timeout():
				_ = s.listener.Close()
				return nil
			case s.isRefusing() && errors.Is(err, net.ErrClosed):
				return nil
			case errors.Is(err, net.ErrClosed):
				return fmt.Errorf("serve the AS: %w", err)
			}
			// Out of file descriptors, for example: it passes.
			delay = min(max(5*time.Millisecond, 2*delay), time.Second)
			s.log.Warn("connection not accepted", "error", err, "delay", delay)
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(delay):
			}
			continue
		}
		delay = 0
		if reason := s.add(conn); reason != "" {
			s.core.metrics.refused.WithLabelValues(reason).Inc()
			_ = conn.Close()
			continue
		}
		connections.Add(1)
		go func() {
			defer connections.Done()
			defer s.remove(conn)
			if reason := s.serve(ctx, conn); reason != "" {
				s.core.metrics.refused.WithLabelValues(reason).Inc()
			}
		}()
	}
}

// add counts a connection in, or says which bound stands against it.
func (s *Server) add(conn net.Conn) (reason string) {
	addr := source(conn)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return "shutdown"
	case len(s.open) >= maxConnections:
		return "connections"
	case s.byAddress[addr] >= max(connectionsPerAddress, maxConnections-len(s.open)):
		return "connections_per_address"
	}
	s.open[conn] = new(activity)
	s.byAddress[addr]++
	s.core.metrics.connections.Set(float64(len(s.open)))
	return ""
}

func (s *Server) remove(conn net.Conn) {
	_ = conn.Close()
	addr := source(conn)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, conn)
	if s.byAddress[addr]--; s.byAddress[addr] <= 0 {
		delete(s.byAddress, addr)
	}
	s.core.metrics.connections.Set(float64(len(s.open)))
}

func (s *Server) closeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	_ = s.listener.Close()
	for conn := range s.open {
		_ = conn.Close()
	}
}

// source is whom a connection counts for: its address, or the first of its /64
// for IPv6, where a host has as many addresses as it likes.
func source(conn net.Conn) netip.Addr {
	a, ok := conn.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	return block(a.AddrPort().Addr().Unmap())
}

func block(a netip.Addr) netip.Addr {
	if a.Is4() {
		return a
	}
	return netip.PrefixFrom(a.WithZone(""), 64).Masked().Addr()
}
