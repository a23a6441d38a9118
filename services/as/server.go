package as

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/cyphonic/cyphonic/internal/login"
	"github.com/cyphonic/cyphonic/internal/wire"
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
	open      map[net.Conn]struct{}
	byAddress map[netip.Addr]int
	closed    bool
}

// NewServer returns a server that owns listener: Run closes it.
func NewServer(core *Core, listener net.Listener, certificate tls.Certificate, now func() time.Time, log *slog.Logger) *Server {
	return &Server{
		core: core, listener: listener, config: login.ServerTLS(certificate), now: now, log: log,
		handshakes: make(chan struct{}, maxHandshakes),
		open:       make(map[net.Conn]struct{}), byAddress: make(map[netip.Addr]int),
	}
}

// Run serves until ctx ends, waits for the connections and returns nil then.
func (s *Server) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var connections sync.WaitGroup
	stop := context.AfterFunc(ctx, s.closeAll)
	err := s.accept(ctx, &connections)
	cancel()
	if stop() {
		s.closeAll()
	}
	connections.Wait()
	return err
}

func (s *Server) accept(ctx context.Context, connections *sync.WaitGroup) error {
	delay := time.Duration(0)
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			if errors.Is(err, net.ErrClosed) {
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
	case s.byAddress[addr] >= maxConnectionsPerAddress:
		return "connections_per_address"
	}
	s.open[conn] = struct{}{}
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

// serve answers the logins of one connection. It returns why the AS ended it,
// or nothing if the device did.
func (s *Server) serve(ctx context.Context, raw net.Conn) (reason string) {
	end := s.now().Add(connectionTimeout)
	conn, exporter, err := s.handshake(ctx, raw)
	if err != nil {
		s.log.Debug("TLS handshake failed", "source", raw.RemoteAddr(), "error", err)
		return "handshake"
	}
	defer func() { _ = conn.Close() }()
	refusals := 0
	for range maxLogins {
		if !s.now().Before(end) {
			return "lifetime"
		}
		// Deadlines are of the operating system's clock, whatever s.now is.
		_ = conn.SetDeadline(time.Now().Add(idleTimeout))
		message, err := login.ReadFrame(conn)
		if err != nil {
			return readReason(ctx, err)
		}
		code, err := s.answer(ctx, conn, message, exporter)
		if err != nil {
			return "write"
		}
		if code == wire.LoginInvalid {
			return "invalid"
		}
		if code != wire.LoginOK {
			if refusals++; refusals >= maxRefusals {
				return "refusals"
			}
		}
	}
	return "logins"
}

func readReason(ctx context.Context, err error) string {
	var timeout net.Error
	switch {
	case ctx.Err() != nil:
		return "shutdown"
	case errors.Is(err, io.EOF):
		return ""
	case errors.As(err, &timeout) && timeout.Timeout():
		return "idle"
	}
	return "read"
}

func (s *Server) handshake(ctx context.Context, raw net.Conn) (*tls.Conn, []byte, error) {
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	select {
	case s.handshakes <- struct{}{}:
		// One that is slow gives its place back: those who say nothing must not
		// keep the others out.
		release := sync.OnceFunc(func() { <-s.handshakes })
		defer time.AfterFunc(handshakeSlot, release).Stop()
		defer release()
	case <-ctx.Done():
		return nil, nil, errors.New("too many handshakes at once")
	}
	conn := tls.Server(raw, s.config)
	if err := conn.HandshakeContext(ctx); err != nil {
		return nil, nil, err
	}
	state := conn.ConnectionState()
	if state.NegotiatedProtocol != login.ALPN {
		_ = conn.Close()
		return nil, nil, fmt.Errorf("the client does not speak %s", login.ALPN)
	}
	exporter, err := login.Exporter(state)
	if err != nil {
		_ = conn.Close()
		return nil, nil, err
	}
	return conn, exporter, nil
}

// answer handles one message. The error is that of writing the answer.
func (s *Server) answer(ctx context.Context, conn *tls.Conn, message, exporter []byte) (wire.LoginCode, error) {
	ctx, cancel := context.WithTimeout(ctx, loginTimeout)
	defer cancel()
	_ = conn.SetDeadline(time.Now().Add(loginTimeout))
	start := s.now()
	request, err := wire.ParseLoginRequest(message)
	response := wire.LoginResponse{
		Code: wire.LoginInvalid, Message: "the login request is malformed or of another version: update the device",
	}
	if err == nil {
		response = s.core.Login(ctx, start, request, exporter)
	}
	s.core.metrics.seconds.Observe(s.now().Sub(start).Seconds())
	return response.Code, login.WriteFrame(conn, response.Append(nil))
}
