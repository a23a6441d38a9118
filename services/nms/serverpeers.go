package nms

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cyphonic/cyphonic/internal/identity"
	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/services/nms/peering"
	"github.com/cyphonic/cyphonic/services/replica"
)

// The names of the services whose members matter here.
const (
	serviceNMS = "nms"
	serviceTRS = "trs"
)

var _ replica.LifecycleService = (*Server)(nil)

// follow passes each membership on until ctx ends.
func (s *Server) follow(ctx context.Context) {
	for {
		changed := s.members.MembershipChanged()
		s.takeMembers()
		select {
		case <-ctx.Done():
			return
		case <-changed:
		}
	}
}

// takeMembers tells core and links who lives.
func (s *Server) takeMembers() {
	m := s.members.Membership()
	s.core.SetMembers(s.now(), s.membersOf(m))
	if s.mesh != nil {
		s.mesh.SetPeers(peersOf(m))
	}
	s.flush()
}

// membersOf is what the core must know of a membership. Without links other
// replicas of the NMS do not count.
func (s *Server) membersOf(m *replica.Membership) Members {
	members := Members{Revision: m.Revision}
	for _, x := range m.Of(serviceNMS) {
		if s.mesh == nil || x.Name != s.core.name && (!x.Peer.IsValid() || x.Pin == "") {
			continue
		}
		members.Replicas = append(members.Replicas, Member{
			Name: x.Name, Host: x.Host, Ready: x.Ready(),
			Leaving: x.State == keyspace.ReplicaLeaving || x.State == keyspace.ReplicaFinishing,
		})
	}
	for _, x := range m.Of(serviceTRS) {
		if relay, ok := relayOf(x); ok {
			members.Relays = append(members.Relays, relay)
		}
	}
	return members
}

// relayOf is where devices reach a replica of the TRS that takes new sessions.
func relayOf(x replica.Member) (Relay, bool) {
	relay := Relay{Name: x.Name}
	for _, a := range x.Advertised {
		if a.Addr().Is4() {
			relay.IPv4 = a
		} else {
			relay.IPv6 = a
		}
	}
	return relay, x.Ready() && len(x.Advertised) > 0
}

func peersOf(m *replica.Membership) []peering.Peer {
	var peers []peering.Peer
	for _, x := range m.Of(serviceNMS) {
		peers = append(peers, peering.Peer{Name: x.Name, Addr: x.Peer, Pin: x.Pin})
	}
	return peers
}

// links is the Server as the links see it.
type links struct{ *Server }

// LinkUp tells the core, which then has messages for the replica.
func (l links) LinkUp(name string) {
	l.order.Lock()
	l.core.LinkUp(l.now(), name)
	l.order.Unlock()
	l.flush()
}

// LinkDown tells the core, which gives what was under way to somebody else.
func (l links) LinkDown(name string) {
	l.order.Lock()
	out := l.core.LinkDown(l.now(), name, nil)
	l.order.Unlock()
	l.send(out)
}

// Messages passes messages of a replica to the core.
func (l links) Messages(name string, messages [][]byte) {
	now := l.now()
	var out []Datagram
	for _, b := range messages {
		out = l.core.HandleMessage(now, name, b, out)
	}
	l.send(out)
}

// send sends what the core has. If the socket is closed, Run ends.
func (l links) send(out []Datagram) {
	if _, err := l.write(out, nil); err != nil {
		l.log.Debug("datagrams not sent", "error", err)
	}
	l.flush()
}

// Ready returns nil if the replica can serve: Run has begun, tickets can be opened, the members are known, and it can
// reach those that are ready or has tried for a while.
func (s *Server) Ready() error {
	switch {
	case !s.serving.Load():
		return errors.New("the NMS does not serve yet")
	case s.core.snapshot().TicketKeys().Current == identity.SealingKey{}:
		return errors.New("the shared keys have not been read yet")
	case s.mesh == nil:
		return nil
	case s.members.Membership().Revision == 0:
		return errors.New("the other replicas are not known yet: etcd has not been read")
	}
	if err := s.core.Ready(); err != nil {
		return err
	}
	now := s.now()
	if !s.core.Linked(now) && now.Sub(time.Unix(0, s.begun.Load())) < linkPatience {
		return errors.New("not all other replicas of the NMS can be reached yet")
	}
	return nil
}

// HandOver gives all locations to the other replicas and returns when they have them.
func (s *Server) HandOver(ctx context.Context) error {
	s.core.Leave(s.now())
	s.flush()
	ticker := time.NewTicker(tickInterval)
	defer ticker.Stop()
	for !s.core.HandedOver(s.now()) {
		select {
		case <-ctx.Done():
			return fmt.Errorf("not all locations were given to other replicas: %w", ctx.Err())
		case <-ticker.C:
		}
	}
	return nil
}

// Refuse takes no new registrations and directions. Those for which other replicas decide are forwarded still.
func (s *Server) Refuse() { s.core.Refuse() }

// Residual is the number of directions and forwarded datagrams under way.
func (s *Server) Residual() int { return s.core.Residual(s.now()) }
