package trs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cyphonic/cyphonic/internal/udp"
)

// Server moves datagrams between a socket and the core, in batches. It is what a replica's life cycle is made for:
// HandOver, Refuse and Residual lead its devices to another replica.
type Server struct {
	// constant
	core *Core
	conn udp.Conn
	now  func() time.Time
	log  *slog.Logger

	// atomic
	serving atomic.Bool
}

// NewServer returns a server that owns conn: Run closes it.
func NewServer(core *Core, conn udp.Conn, now func() time.Time, log *slog.Logger) *Server {
	return &Server{core: core, conn: conn, now: now, log: log}
}

// Run serves until ctx ends and returns nil then.
func (s *Server) Run(ctx context.Context) error {
	if err := s.updateOwn(); err != nil {
		_ = s.conn.Close()
		return err
	}
	s.serving.Store(true)
	defer s.serving.Store(false)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		<-ctx.Done()
		return s.conn.Close()
	})
	group.Go(func() error {
		err := s.serve()
		if ctx.Err() != nil && errors.Is(err, net.ErrClosed) {
			return nil
		}
		return fmt.Errorf("serve the TRS: %w", err)
	})
	group.Go(func() error { s.upkeep(ctx); return nil })
	group.Go(func() error { s.notify(ctx); return nil })
	return group.Wait()
}

// Ready returns nil if devices can bind now.
func (s *Server) Ready() error {
	if s.core.keys().Current.Key == ([32]byte{}) {
		return errors.New("no relay key yet")
	}
	if !s.serving.Load() {
		return errors.New("the socket is not served")
	}
	return nil
}

// HandOver tells all devices to move to another relay and waits until no session has traffic any more, or ctx ends.
// They are told on until Run ends.
func (s *Server) HandOver(ctx context.Context) error {
	s.core.Leave(s.now())
	ticker := time.NewTicker(noticeInterval)
	defer ticker.Stop()
	for {
		left, active := s.core.Left(s.now())
		if left {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d relayed sessions have not moved: %w", active, ctx.Err())
		case <-ticker.C:
		}
	}
}

// Refuse takes no new sessions from now on.
func (s *Server) Refuse() { s.core.Refuse() }

// Residual is the number of sessions with traffic in the last seconds.
func (s *Server) Residual() int { return s.core.Residual(s.now()) }

// serve forwards batch by batch: the buffers that were read are sent with
// their headers rewritten, before they are read into again.
func (s *Server) serve() error {
	in := make([]udp.Message, min(readBatch, s.conn.BatchSize()))
	for i := range in {
		in[i].Buf = make([]byte, udp.MaxMessage)
	}
	var out []Datagram
	var messages []udp.Message
	for {
		n, err := s.conn.ReadBatch(in)
		if err != nil {
			return err
		}
		now := s.now()
		out = out[:0]
		for i := range in[:n] {
			m := &in[i]
			for rest := m.Buf[:m.N]; len(rest) > 0; {
				var datagram []byte
				datagram, rest = m.Next(rest)
				out = s.core.HandleDatagram(now, m.Addr, datagram, out)
			}
		}
		messages = messages[:0]
		for _, d := range out {
			messages = append(messages, udp.Message{Buf: d.Data, N: len(d.Data), Addr: d.To})
		}
		if _, err := s.conn.WriteBatch(messages); err != nil {
			return err
		}
	}
}

// upkeep expires sessions and follows the addresses of this host.
func (s *Server) upkeep(ctx context.Context) {
	ticker := time.NewTicker(expireInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			s.core.Expire(s.now())
			if err := s.updateOwn(); err != nil {
				s.log.Warn("addresses of this host unknown, keeping the last ones", "error", err)
			}
		}
	}
}

// notify sends what the core has to say unasked.
func (s *Server) notify(ctx context.Context) {
	ticker := time.NewTicker(noticeInterval)
	defer ticker.Stop()
	var out []Datagram
	var messages []udp.Message
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			out = s.core.Notices(s.now(), out[:0])
			messages = messages[:0]
			for _, d := range out {
				messages = append(messages, udp.Message{Buf: d.Data, N: len(d.Data), Addr: d.To})
			}
			if len(messages) == 0 {
				continue
			}
			if _, err := s.conn.WriteBatch(messages); err != nil {
				return // the socket is closed, which ends Run
			}
		}
	}
}

func (s *Server) updateOwn() error {
	list, err := net.InterfaceAddrs()
	if err != nil {
		return fmt.Errorf("list the addresses of this host: %w", err)
	}
	var own []netip.Addr
	for _, a := range list {
		if prefix, err := netip.ParsePrefix(a.String()); err == nil {
			own = append(own, prefix.Addr())
		}
	}
	s.core.SetOwn(own)
	return nil
}
