package nms

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cyphonic/cyphonic/internal/udp"
	"github.com/cyphonic/cyphonic/internal/wire"
)

// Server moves datagrams between a socket and the core.
type Server struct {
	core *Core
	conn udp.Conn
	now  func() time.Time
	log  *slog.Logger
}

// NewServer returns a server that owns conn: Run closes it.
func NewServer(core *Core, conn udp.Conn, now func() time.Time, log *slog.Logger) *Server {
	return &Server{core: core, conn: conn, now: now, log: log}
}

// Run serves until ctx ends and returns nil then.
func (s *Server) Run(ctx context.Context) error {
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
		return fmt.Errorf("serve the NMS: %w", err)
	})
	group.Go(func() error { s.expire(ctx); return nil })
	group.Go(func() error {
		if err := s.announce(ctx); err != nil && ctx.Err() == nil {
			return fmt.Errorf("announce policy versions: %w", err)
		}
		return nil
	})
	return group.Wait()
}

func (s *Server) serve() error {
	in := make([]udp.Message, s.conn.BatchSize())
	for i := range in {
		// Larger than any valid datagram, so that a longer one is seen as such.
		in[i].Buf = make([]byte, wire.MaxDatagram+1)
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
		if messages, err = s.write(out, messages); err != nil {
			return err
		}
	}
}

// write sends datagrams. messages is memory to use again.
func (s *Server) write(out []Datagram, messages []udp.Message) ([]udp.Message, error) {
	messages = messages[:0]
	for _, d := range out {
		messages = append(messages, udp.Message{Buf: d.Data, N: len(d.Data), Addr: d.To})
	}
	_, err := s.conn.WriteBatch(messages)
	return messages, err
}

// announce tells devices of changed policy versions.
func (s *Server) announce(ctx context.Context) error {
	ticker := time.NewTicker(announceInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		out := s.core.PolicyChanged(s.now(), nil)
		if len(out) == 0 {
			continue
		}
		if _, err := s.write(out, nil); err != nil {
			return err
		}
	}
}

func (s *Server) expire(ctx context.Context) {
	ticker := time.NewTicker(expireInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			s.core.Expire(s.now())
		}
	}
}
