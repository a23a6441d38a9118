package peering

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"golang.org/x/sync/errgroup"
)

var errPin = errors.New("peering: the other side shows a certificate that no replica has in etcd")

// keep connects to a peer again and again until ctx ends.
func (m *Mesh) keep(ctx context.Context, name string) {
	pause := redialMin
	for ctx.Err() == nil {
		m.mu.Lock()
		peer, ok := m.peers[name]
		m.mu.Unlock()
		if ok {
			begun := time.Now()
			if err := m.dial(ctx, peer); err != nil && ctx.Err() == nil {
				m.warn(name, err)
			}
			if time.Since(begun) > redialMax {
				pause = redialMin // it was there for a while
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		pause = min(2*pause, redialMax)
	}
}

// warn logs what has not been logged about a peer since it was linked last.
func (m *Mesh) warn(name string, err error) {
	m.mu.Lock()
	again := m.warned[name] == err.Error()
	m.warned[name] = err.Error()
	m.mu.Unlock()
	if !again {
		m.Log.Warn("no link to another replica of the NMS", "replica", name, "error", err)
	}
}

// dial connects to a peer and keeps the link while it lasts.
func (m *Mesh) dial(ctx context.Context, peer Peer) error {
	dialing, cancel := context.WithTimeout(ctx, dialTimeout)
	raw, err := m.Dial(dialing, peer.Addr)
	cancel()
	if err != nil {
		m.refuse(refusedConnect)
		return err
	}
	conn := tls.Client(raw, m.Identity.tlsConfig(func(pin string) error {
		if pin != peer.Pin {
			return errPin
		}
		return nil
	}))
	h, version, err := m.greet(ctx, conn)
	if err == nil && h.name != peer.Name {
		m.refuse(refusedHello)
		err = fmt.Errorf("%w: it says that its name is %q", errHello, h.name)
	}
	if err != nil {
		_ = raw.Close()
		return err
	}
	m.keepLink(ctx, newLink(peer, version, conn, m.metrics), h)
	return nil
}

// accept takes incoming connections until the listener is closed.
func (m *Mesh) accept(ctx context.Context, group *errgroup.Group) error {
	known, strangers := make(chan struct{}, maxHandshakes), make(chan struct{}, maxStrangers)
	for {
		raw, err := m.Listener.Accept()
		if err != nil {
			var temporary interface{ Temporary() bool }
			if errors.As(err, &temporary) && temporary.Temporary() && ctx.Err() == nil {
				time.Sleep(redialMin) // no file descriptors, for example
				continue
			}
			return err
		}
		slots := strangers // a replica that comes from an address it has not named can still be let in
		if m.knows(raw.RemoteAddr()) {
			slots = known
		}
		select {
		case slots <- struct{}{}:
		default:
			m.refuse(refusedBusy)
			_ = raw.Close()
			continue
		}
		group.Go(func() error {
			l, h, err := m.welcome(ctx, raw)
			<-slots
			if err != nil {
				_ = raw.Close()
				m.Log.Debug("an incoming link was refused", "from", raw.RemoteAddr(), "error", err)
				return nil
			}
			m.keepLink(ctx, l, h)
			return nil
		})
	}
}

// knows reports whether a peer is at the address, so that strangers who say nothing cannot keep replicas out.
func (m *Mesh) knows(from net.Addr) bool {
	tcp, ok := from.(*net.TCPAddr)
	if !ok {
		return false
	}
	addr := tcp.AddrPort().Addr().Unmap()
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range m.peers {
		if p.Addr.Addr().Unmap() == addr {
			return true
		}
	}
	return false
}

// welcome finds out who has connected.
func (m *Mesh) welcome(ctx context.Context, raw net.Conn) (*link, hello, error) {
	var peer Peer
	conn := tls.Server(raw, m.Identity.tlsConfig(func(pin string) error {
		var ok bool
		if peer, ok = m.peerOfPin(pin); !ok {
			return errPin
		}
		return nil
	}))
	h, version, err := m.greet(ctx, conn)
	if err != nil {
		if peer.Name != "" {
			m.warn(peer.Name, err)
		}
		return nil, h, err
	}
	if h.name != peer.Name || h.name >= m.Name {
		m.refuse(refusedHello)
		return nil, h, fmt.Errorf("%w: %q connects with the certificate of %q", errHello, h.name, peer.Name)
	}
	return newLink(peer, version, conn, m.metrics), h, nil
}

func (m *Mesh) peerOfPin(pin string) (Peer, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range m.peers {
		if p.Pin == pin {
			return p, true
		}
	}
	return Peer{}, false
}

// greet does the TLS handshake, exchanges hellos and agrees on a version.
func (m *Mesh) greet(ctx context.Context, conn *tls.Conn) (hello, uint8, error) {
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	if err := conn.HandshakeContext(ctx); err != nil {
		if errors.Is(err, errPin) {
			m.refuse(refusedPin)
		} else {
			m.refuse(refusedHello)
		}
		return hello{}, 0, fmt.Errorf("TLS handshake: %w", err)
	}
	if err := conn.SetDeadline(time.Now().Add(handshakeTimeout)); err != nil {
		return hello{}, 0, err
	}
	own := hello{versions: m.Versions, name: m.Name, program: m.Program}
	_, err := conn.Write(own.append(nil))
	h := hello{}
	if err == nil {
		h, err = readHello(conn)
	}
	if err != nil {
		m.refuse(refusedHello)
		return h, 0, err
	}
	version, ok := own.versions.agree(h.versions)
	if !ok {
		m.refuse(refusedVersion)
		return h, 0, fmt.Errorf("replica %s (program %s) speaks versions %d to %d, this one %d to %d: upgrade one version at a time",
			h.name, h.program, h.versions.Min, h.versions.Max, own.versions.Min, own.versions.Max)
	}
	return h, version, conn.SetDeadline(time.Time{})
}

func (m *Mesh) refuse(reason refusal) { m.metrics.refused.WithLabelValues(string(reason)).Inc() }

// keepLink puts a link in the place of an earlier one with the same replica and
// moves its messages until it ends.
func (m *Mesh) keepLink(ctx context.Context, l *link, h hello) {
	if !m.install(ctx, l) {
		_ = l.conn.Close()
		return
	}
	name := l.peer.Name
	m.metrics.links.Inc()
	m.Log.Info("linked with another replica of the NMS", "replica", name, "address", l.conn.RemoteAddr(), "version", l.version, "program", h.program)
	m.Handler.LinkUp(name)
	reason := l.run(ctx, m.Cut, func(messages [][]byte) { m.Handler.Messages(name, messages) })
	m.Handler.LinkDown(name)
	m.mu.Lock()
	delete(m.links, name)
	delete(m.warned, name)
	m.mu.Unlock()
	close(l.done)
	m.metrics.links.Dec()
	m.metrics.closed.WithLabelValues(string(reason)).Inc()
	m.Log.Info("the link with another replica of the NMS has ended", "replica", name, "reason", string(reason))
}

// install makes l the link of its replica when the earlier one has ended. It
// fails if the replica is no peer any more, or ctx ends.
func (m *Mesh) install(ctx context.Context, l *link) bool {
	for {
		m.mu.Lock()
		if m.peers[l.peer.Name].Pin != l.peer.Pin {
			m.mu.Unlock()
			return false
		}
		old := m.links[l.peer.Name]
		if old == nil {
			m.links[l.peer.Name] = l
			m.mu.Unlock()
			return true
		}
		m.mu.Unlock()
		old.end(endedReplaced)
		select {
		case <-ctx.Done():
			return false
		case <-old.done:
		}
	}
}
