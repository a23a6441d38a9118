package nms

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/cyphonic/cyphonic/internal/udp"
	"github.com/cyphonic/cyphonic/internal/wire"
	"github.com/cyphonic/cyphonic/services/nms/peering"
	"github.com/cyphonic/cyphonic/services/replica"
)

// ServerOptions are what a Server needs.
type ServerOptions struct {
	Core *Core
	Conn udp.Conn // closed by Run
	Now  func() time.Time
	Log  *slog.Logger

	// Members tells who the other replicas are; nil: there are none, neither of the NMS nor of the TRS. A replica of
	// the NMS must be registered under the name of its core.
	Members Membership
	// Peering is how replicas of the NMS reach each other; nil: they do not, and this one is alone.
	Peering *PeeringOptions
}

// Membership tells which replicas live, as *replica.Replica does.
type Membership interface {
	Membership() *replica.Membership
	MembershipChanged() <-chan struct{}
}

// PeeringOptions are what is needed to link with the other replicas. All fields are required.
type PeeringOptions struct {
	Listener   net.Listener     // at the Peer address of the replica's record; closed by Run
	Identity   peering.Identity // with the Pin of the replica's record
	Program    string           // version of the program
	Registerer prometheus.Registerer
}

// Server moves datagrams between a socket and the core, and messages between the core and other replicas.
type Server struct {
	core    *Core
	conn    udp.Conn
	now     func() time.Time
	log     *slog.Logger
	members Membership
	mesh    *peering.Mesh // nil: alone

	// order is held from taking messages out of the core until they are queued at the links, so that they keep their
	// order.
	order   sync.Mutex
	scratch []Message // under order

	serving atomic.Bool
	begun   atomic.Int64 // unix nanoseconds; 0: Run has not begun
}

// NewServer returns a Server. Run closes what it is given.
func NewServer(o ServerOptions) (*Server, error) {
	s := &Server{core: o.Core, conn: o.Conn, now: o.Now, log: o.Log, members: o.Members}
	if o.Peering == nil {
		return s, nil
	}
	if o.Members == nil || o.Core.name == "" {
		return nil, errors.New("nms: a replica that links with others needs a name and their membership")
	}
	mesh, err := peering.New(peering.Options{
		Name: o.Core.name, Program: o.Peering.Program, Identity: o.Peering.Identity, Listener: o.Peering.Listener,
		Versions: peering.Versions{Min: LinkVersionMin, Max: LinkVersion}, Cut: NextLinkMessage,
		Handler: links{s}, Log: o.Log, Registerer: o.Peering.Registerer,
	})
	if err != nil {
		return nil, fmt.Errorf("links of the NMS: %w", err)
	}
	s.mesh = mesh
	return s, nil
}

// Run serves until ctx ends and returns nil then.
func (s *Server) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	s.begun.Store(s.now().UnixNano())
	unlinked := make(chan struct{}) // no link is left
	group.Go(func() error {
		// What a replica has acknowledged to others must have left the socket.
		<-ctx.Done()
		<-unlinked
		return s.conn.Close()
	})
	if s.members != nil {
		s.takeMembers()
		group.Go(func() error { s.follow(ctx); return nil })
	}
	if s.mesh == nil {
		close(unlinked)
	} else {
		group.Go(func() error { defer close(unlinked); return s.mesh.Run(ctx) })
		group.Go(func() error { return s.ended(ctx, s.every(ctx, tickInterval, s.tick)) })
	}
	group.Go(func() error { return s.ended(ctx, s.serve()) })
	group.Go(func() error { return s.ended(ctx, s.every(ctx, announceInterval, s.announce)) })
	group.Go(func() error {
		return s.ended(ctx, s.every(ctx, expireInterval, func() error { s.core.Expire(s.now()); return nil }))
	})
	s.serving.Store(true)
	return group.Wait()
}

// ended tells an error from the end of ctx.
func (s *Server) ended(ctx context.Context, err error) error {
	if ctx.Err() != nil || err == nil {
		return nil
	}
	return fmt.Errorf("serve the NMS: %w", err)
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
		s.flush()
	}
}

// write sends datagrams. messages is memory to use again.
func (s *Server) write(out []Datagram, messages []udp.Message) ([]udp.Message, error) {
	messages = messages[:0]
	if len(out) == 0 {
		return messages, nil
	}
	for _, d := range out {
		messages = append(messages, udp.Message{Buf: d.Data, N: len(d.Data), Addr: d.To})
	}
	_, err := s.conn.WriteBatch(messages)
	return messages, err
}

// flush queues at the links what the core has for other replicas.
func (s *Server) flush() {
	if s.mesh == nil {
		return
	}
	s.order.Lock()
	defer s.order.Unlock()
	s.scratch = s.core.Messages(s.scratch[:0])
	for _, m := range s.scratch {
		s.mesh.Send(m.To, m.Data)
	}
}

// every calls f until ctx ends or f fails.
func (s *Server) every(ctx context.Context, interval time.Duration, f func() error) error {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		if err := f(); err != nil {
			return err
		}
	}
}

// announce tells devices of changed policy versions.
func (s *Server) announce() error {
	_, err := s.write(s.core.PolicyChanged(s.now(), nil), nil)
	s.flush()
	return err
}

func (s *Server) tick() error {
	_, err := s.write(s.core.Tick(s.now(), nil), nil)
	s.flush()
	return err
}
