package as

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/cyphonic/cyphonic/internal/login"
	"github.com/cyphonic/cyphonic/internal/wire"
)

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
	for n := range maxLogins {
		if !s.now().Before(end) {
			return "lifetime"
		}
		if !s.await(raw, n > 0, idleTimeout) {
			return "drain"
		}
		message, err := login.ReadFrame(conn)
		if err != nil {
			return s.readReason(ctx, err)
		}
		s.begin(raw, loginTimeout)
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

func (s *Server) readReason(ctx context.Context, err error) string {
	var timeout net.Error
	switch {
	case ctx.Err() != nil:
		return "shutdown"
	case errors.Is(err, io.EOF):
		return ""
	case s.isRefusing():
		return "drain"
	case errors.As(err, &timeout) && timeout.Timeout():
		return "idle"
	}
	return "read"
}

// handshake waits for the device to begin, then for its turn, and then does the work.
func (s *Server) handshake(ctx context.Context, raw net.Conn) (*tls.Conn, []byte, error) {
	begun := &opened{Conn: raw}
	s.await(raw, false, handshakeTimeout)
	if err := begun.wait(); err != nil {
		return nil, nil, err
	}
	s.begin(raw, handshakeQueue+handshakeTimeout)
	release, err := s.turn(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer release()
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	conn := tls.Server(begun, s.config)
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

// turn waits for a place among the handshakes, first come, first served. A handshake that is slow gives its place back:
// those who stop in the middle must not keep the others out.
func (s *Server) turn(ctx context.Context) (release func(), err error) {
	queue, cancel := context.WithTimeout(ctx, handshakeQueue)
	defer cancel()
	select {
	case s.handshakes <- struct{}{}:
	case <-queue.Done():
		return nil, errors.New("too many handshakes at once")
	}
	once := sync.OnceFunc(func() { <-s.handshakes })
	timer := time.AfterFunc(handshakeSlot, once)
	return func() { timer.Stop(); once() }, nil
}

// opened is a connection whose first byte has been waited for: who says nothing takes no place among the handshakes.
type opened struct {
	net.Conn
	first [1]byte
	held  bool
}

func (o *opened) wait() error {
	_, err := io.ReadFull(o.Conn, o.first[:])
	o.held = err == nil
	return err
}

func (o *opened) Read(b []byte) (int, error) {
	if o.held && len(b) > 0 {
		b[0], o.held = o.first[0], false
		return 1, nil
	}
	return o.Conn.Read(b)
}

// answer handles one message. The error is that of writing the answer.
func (s *Server) answer(ctx context.Context, conn *tls.Conn, message, exporter []byte) (wire.LoginCode, error) {
	ctx, cancel := context.WithTimeout(ctx, loginTimeout)
	defer cancel()
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
