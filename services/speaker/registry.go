package speaker

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cyphonic/cyphonic/internal/balancer"
	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/services/speaker/netfilter"
)

// registry is the unix socket at which replicas register. A replica is registered for as long as its connection is open.
type registry struct {
	// constant
	log     *slog.Logger
	metrics *metrics
	changed chan struct{} // of size 1; written to after a change

	mu      sync.Mutex
	members map[string]*member // by service and name
	open    int                // connections
}

// member is a connection of a replica.
type member struct {
	conn net.Conn
	send chan balancer.Answer // closed when the connection ends

	// under the registry's mu
	registration balancer.Registration
	answered     bool // the registration has been answered
	answer       balancer.Answer
	gone         bool
}

func newRegistry(log *slog.Logger, m *metrics) *registry {
	return &registry{log: log, metrics: m, changed: make(chan struct{}, 1), members: map[string]*member{}}
}

// run serves the listener until ctx ends, then cuts the connections.
func (r *registry) run(ctx context.Context, listener net.Listener) error {
	serving, cut := context.WithCancel(ctx)
	defer cut()
	group, inner := errgroup.WithContext(serving)
	stop := context.AfterFunc(inner, func() { _ = listener.Close() })
	defer stop()
	for {
		conn, err := listener.Accept()
		if err != nil && inner.Err() == nil && !errors.Is(err, net.ErrClosed) {
			r.log.Warn("replica not accepted, trying again", "error", err) // out of file descriptors, for example: it passes
			select {
			case <-inner.Done():
			case <-time.After(acceptRetry):
			}
			continue
		}
		if err != nil {
			cut()
			waited := group.Wait()
			if ctx.Err() != nil {
				return nil
			}
			return errors.Join(fmt.Errorf("accept replicas: %w", err), waited)
		}
		if !r.enter() {
			r.metrics.refused.WithLabelValues("full").Inc()
			_ = conn.Close()
			continue
		}
		group.Go(func() error {
			defer r.leave()
			r.serve(inner, conn)
			return nil
		})
	}
}

func (r *registry) enter() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.open >= maxReplicas {
		return false
	}
	r.open++
	return true
}

func (r *registry) leave() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.open--
}

// serve talks to one replica until its connection ends.
func (r *registry) serve(ctx context.Context, conn net.Conn) {
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	m := &member{conn: conn, send: make(chan balancer.Answer, maxPending)}
	var writer sync.WaitGroup
	writer.Go(func() { r.write(m) })
	err := r.read(m)
	r.remove(m)
	writer.Wait() // what the replica has done wrong is still said
	_ = conn.Close()
	if err != nil && !errors.Is(err, io.EOF) && ctx.Err() == nil {
		r.log.Debug("connection of a replica ended", "error", err)
	}
}

func (r *registry) read(m *member) error {
	if err := m.conn.SetReadDeadline(time.Now().Add(firstMessage)); err != nil {
		return err
	}
	lines := bufio.NewScanner(m.conn)
	lines.Buffer(make([]byte, 0, 1024), maxLine)
	for lines.Scan() {
		var g balancer.Registration
		err := json.Unmarshal(lines.Bytes(), &g)
		if err == nil {
			err = r.register(m, g)
		}
		if err != nil {
			r.metrics.refused.WithLabelValues("invalid").Inc()
			r.log.Warn("registration of a replica refused", "service", clip(g.Service), "name", clip(g.Name), "error", err)
			r.tell(m, balancer.Answer{Version: balancer.Version, State: g.State, Error: err.Error()})
			return err
		}
		if err := m.conn.SetReadDeadline(time.Time{}); err != nil {
			return err
		}
	}
	return lines.Err()
}

// clip shortens what a stranger wrote.
func clip(text string) string { return text[:min(len(text), 64)] }

// register takes over what a replica says of itself.
func (r *registry) register(m *member, g balancer.Registration) error {
	if err := check(&g); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	old := m.registration
	if old.Name != "" && (old.Name != g.Name || old.Service != g.Service || old.Port != g.Port || old.Direct != g.Direct || !slices.Equal(old.Addresses, g.Addresses)) {
		return errors.New("only the state may change on a connection: open another one")
	}
	if m.gone {
		return errors.New("another connection has registered this name")
	}
	key := g.Service + "/" + g.Name
	if other := r.members[key]; other != m && other != nil {
		r.log.Info("replica has registered again", "service", g.Service, "name", g.Name)
		other.gone = true
		close(other.send)
		_ = other.conn.Close()
	}
	if old.State != g.State {
		r.log.Info("replica", "service", g.Service, "name", g.Name, "state", string(g.State), "addresses", g.Addresses, "port", g.Port)
	}
	m.registration, m.answered = g, false
	r.members[key] = m
	r.poke()
	return nil
}

// check refuses what the packet filter could not spread to.
func check(g *balancer.Registration) error {
	services := []string{"as", "nms", "trs", "manager"}
	switch {
	case g.Version != balancer.Version:
		return fmt.Errorf("version %d of the messages: this speaker has version %d; run cyphonicd of one version on a host", g.Version, balancer.Version)
	case !slices.Contains(services, g.Service):
		return fmt.Errorf("service %q: want one of %v", clip(g.Service), services)
	case !slices.Contains([]keyspace.ReplicaState{keyspace.ReplicaStarting, keyspace.ReplicaReady, keyspace.ReplicaLeaving, keyspace.ReplicaFinishing}, g.State):
		return fmt.Errorf("state %q is none", clip(string(g.State)))
	case len(g.Addresses) > 2:
		return errors.New("at most one IPv4 and one IPv6 address")
	}
	for i, a := range g.Addresses {
		g.Addresses[i] = a.Unmap()
	}
	probe := netfilter.State{Services: []netfilter.Service{{
		Name: g.Service, Protocol: netfilter.UDP, VIP: []netip.Addr{netip.AddrFrom4([4]byte{240, 0, 0, 1})}, Port: 1,
		Backends: []netfilter.Backend{{Name: g.Name, Address: g.Addresses, Port: g.Port}},
	}}}
	if err := probe.Validate(); err != nil {
		return fmt.Errorf("%w: set replica.addresses to the addresses of the host, or --address", err)
	}
	return nil
}

func (r *registry) poke() {
	select {
	case r.changed <- struct{}{}:
	default:
	}
}

func (r *registry) remove(m *member) {
	r.mu.Lock()
	defer r.mu.Unlock()
	g := m.registration
	if key := g.Service + "/" + g.Name; r.members[key] == m {
		delete(r.members, key)
		r.log.Info("replica has gone", "service", g.Service, "name", g.Name, "state", string(g.State))
		r.poke()
	}
	if !m.gone {
		m.gone = true
		close(m.send)
	}
}

// tell queues an answer.
func (r *registry) tell(m *member, a balancer.Answer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.queue(m, a)
}

// queue needs mu. A replica that does not read its answers is cut off.
func (r *registry) queue(m *member, a balancer.Answer) {
	if m.gone {
		return
	}
	select {
	case m.send <- a:
	default:
		r.metrics.refused.WithLabelValues("slow").Inc()
		_ = m.conn.Close()
	}
}

func (r *registry) write(m *member) {
	encoder := json.NewEncoder(m.conn)
	for a := range m.send {
		if err := m.conn.SetWriteDeadline(time.Now().Add(answerTimeout)); err != nil || encoder.Encode(a) != nil {
			_ = m.conn.Close() // ends the reader, which ends this loop
		}
	}
}

// list is who is registered, by service and name.
func (r *registry) list() []balancer.Registration {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]balancer.Registration, 0, len(r.members))
	for _, m := range r.members {
		out = append(out, m.registration)
	}
	slices.SortFunc(out, func(a, b balancer.Registration) int {
		return cmp.Or(cmp.Compare(a.Service, b.Service), cmp.Compare(a.Name, b.Name))
	})
	return out
}

// answer tells each replica what holds for it now, if that is news. f is asked for registrations as they were listed.
func (r *registry) answer(f func(balancer.Registration) (balancer.Answer, bool), listed []balancer.Registration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, g := range listed {
		m := r.members[g.Service+"/"+g.Name]
		if m == nil || m.registration.State != g.State {
			continue // the next plan has the news
		}
		a, ok := f(g)
		if !ok || m.answered && m.answer.InService == a.InService && slices.Equal(m.answer.Announced, a.Announced) {
			continue
		}
		m.answered, m.answer = true, a
		r.queue(m, a)
	}
}
