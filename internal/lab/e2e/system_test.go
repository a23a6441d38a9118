package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/cyphonic/cyphonic/internal/lab"
	"github.com/cyphonic/cyphonic/internal/lab/overlay"
	"github.com/cyphonic/cyphonic/internal/lab/probe"
)

// use gives a test the shared network, bounds it in time and keeps evidence if it fails.
func use(t *testing.T, limit time.Duration) (*system, context.Context) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	t.Cleanup(func() { // runs after the cleanup of OnFailure, which makes the directory
		if t.Failed() {
			shared.keepStatuses(filepath.Join(evidenceRoot(), strings.ReplaceAll(t.Name(), "/", "_")))
		}
	})
	shared.lab.OnFailure(t, evidenceRoot())
	return shared, ctx
}

// keepStatuses writes status and metrics of every agent beside the other evidence; an agent that does not answer is one.
func (s *system) keepStatuses(directory string) {
	for name, agent := range s.agents {
		for _, path := range []string{"/status", "/metrics"} {
			body, err := agent.Get(context.Background(), path)
			if err != nil {
				body = []byte(err.Error())
			}
			_ = os.WriteFile(filepath.Join(directory, name+strings.ReplaceAll(path, "/", "-")), body, 0o644)
		}
	}
}

func fqdn(name string) string { return name + "." + domain }

// agentOf is the agent that carries a device.
func (s *system) agentOf(device string) *overlay.Agent {
	if agent, ok := s.agents[device]; ok {
		return agent
	}
	return s.agents["adapter"]
}

// local is the identity of a device.
func (s *system) local(t *testing.T, ctx context.Context, device string) overlay.Local {
	t.Helper()
	status, err := s.agentOf(device).Status(ctx)
	if err != nil {
		t.Fatal(err)
	}
	local, err := status.Local(fqdn(device))
	if err != nil {
		t.Fatal(err)
	}
	return local
}

// lookup asks the device's resolver for another device by name.
func (s *system) lookup(ctx context.Context, from, to string, kind uint16) (netip.Addr, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	answer, err := overlay.Ask(ctx, s.lab.Host(from), fqdn(to), kind)
	if err == nil && len(answer.Addresses) != 1 {
		err = fmt.Errorf("%s asked for %s: %s with addresses %v", from, to, dns.RcodeToString[answer.Code], answer.Addresses)
	}
	if err != nil {
		return netip.Addr{}, err
	}
	return answer.Addresses[0], nil
}

// ping sends echo requests and wants most answered.
func (s *system) ping(ctx context.Context, from, to string) error {
	_, err := s.lab.Host(from).Run(ctx, "ping", "-n", "-c", "3", "-i", "0.2", "-W", "5", to)
	return err
}

// awaitPath waits until from's tunnel to a device has one of the paths.
func (s *system) awaitPath(ctx context.Context, from, to string, paths ...string) error {
	return s.agentOf(from).Await(ctx, func(status overlay.Status) error {
		peer, err := status.Peer(fqdn(from), fqdn(to))
		if err != nil {
			return err
		}
		for _, path := range paths {
			if peer.Path == path {
				return nil
			}
		}
		return fmt.Errorf("the path from %s to %s is %s, not %v", from, to, peer.Path, paths)
	})
}

// echo runs TCP and UDP echoes in a host until the test ends.
func (s *system) echo(t *testing.T, host string, port uint16) {
	t.Helper()
	for _, any := range []string{"0.0.0.0", "::"} {
		address := net.JoinHostPort(any, strconv.Itoa(int(port)))
		if any == "::" && s.v4Only(host) {
			continue
		}
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error, 2)
		listener, err := s.listen(host, any, address)
		if err != nil {
			t.Fatal(err)
		}
		go func() { ended <- probe.ServeEcho(ctx, listener.tcp) }()
		go func() { ended <- probe.ServeEchoUDP(ctx, listener.udp) }()
		t.Cleanup(func() {
			cancel()
			if err := errors.Join(<-ended, <-ended); err != nil {
				t.Errorf("echo on %s: %v", host, err)
			}
		})
	}
}

// v4Only tells that a device has no virtual IPv6 address: cameras in IPv4 mode.
func (s *system) v4Only(device string) bool { return s.agents[device] == nil }

type listeners struct {
	tcp net.Listener
	udp *net.UDPConn
}

func (s *system) listen(host, any, address string) (listeners, error) {
	var l listeners
	err := s.lab.Host(host).Do(func() (err error) {
		suffix := "4"
		if any == "::" {
			suffix = "6"
		}
		if l.tcp, err = net.Listen("tcp"+suffix, address); err != nil {
			return err
		}
		conn, err := net.ListenPacket("udp"+suffix, address)
		if err == nil {
			l.udp = conn.(*net.UDPConn)
		}
		return err
	})
	return l, err
}

// exchange sends data by TCP to an echo and wants the same back.
func (s *system) exchangeTCP(ctx context.Context, from string, to netip.AddrPort, size int64) error {
	conn, err := s.lab.Host(from).Dial(ctx, "tcp", to.String())
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	sent := make(chan error, 1)
	go func() {
		_, err := io.Copy(conn, probe.Content(size))
		sent <- errors.Join(err, conn.(*net.TCPConn).CloseWrite())
	}()
	sum, n, err := probe.Sum(conn)
	if err = errors.Join(err, <-sent); err != nil {
		return err
	}
	if n != size || sum != probe.ContentSum(size) {
		return fmt.Errorf("%d of %d bytes came back by TCP, checksum %s", n, size, sum)
	}
	return nil
}

// exchangeUDP sends datagrams of several sizes to an echo and wants each back.
func (s *system) exchangeUDP(ctx context.Context, from string, to netip.AddrPort) error {
	conn, err := s.lab.Host(from).Dial(ctx, "udp", to.String())
	if err != nil {
		return err
	}
	defer conn.Close()
	buf := make([]byte, 4096)
	for _, size := range []int{1, 100, 1200, 3000} { // the last one travels in fragments
		datagram := []byte(strings.Repeat("u", size))
		answered := false
		for range 5 {
			if _, err := conn.Write(datagram); err != nil {
				return err
			}
			_ = conn.SetReadDeadline(time.Now().Add(time.Second))
			if n, err := conn.Read(buf); err == nil && n == size {
				answered = true
				break
			}
		}
		if !answered {
			return fmt.Errorf("a datagram of %d bytes to %s came back in none of 5 attempts", size, to)
		}
	}
	return nil
}

// stream is a TCP connection that is kept busy while the network changes under it.
type stream struct {
	opened time.Time
	report atomic.Pointer[probe.StreamReport]
	cancel context.CancelFunc
	ended  chan error
}

// openStream opens a TCP connection to an echo and keeps it busy until finish.
func (s *system) openStream(t *testing.T, ctx context.Context, from string, to netip.AddrPort) *stream {
	t.Helper()
	conn, err := s.lab.Host(from).Dial(ctx, "tcp", to.String())
	if err != nil {
		t.Fatal(err)
	}
	st := newStream(ctx, conn, 5*time.Millisecond)
	t.Cleanup(st.cancel)
	if err := st.progress(ctx, 20); err != nil {
		t.Fatal(err)
	}
	return st
}

func newStream(ctx context.Context, conn net.Conn, interval time.Duration) *stream {
	st := &stream{opened: time.Now(), ended: make(chan error, 1)}
	st.report.Store(&probe.StreamReport{})
	ctx, st.cancel = context.WithCancel(ctx)
	go func() {
		_, err := probe.Stream(ctx, conn, interval, func(r probe.StreamReport) { st.report.Store(&r) })
		st.ended <- err
	}()
	return st
}

func (st *stream) age() time.Duration { return time.Since(st.opened) }

// progress waits until so many more records have come back.
func (st *stream) progress(ctx context.Context, records uint64) error {
	want := st.report.Load().Records + records
	for st.report.Load().Records < want {
		select {
		case err := <-st.ended:
			st.ended <- err
			return fmt.Errorf("the connection ended: %w", err)
		case <-ctx.Done():
			return fmt.Errorf("the connection makes no progress after %d records: %w", st.report.Load().Records, ctx.Err())
		case <-time.After(10 * time.Millisecond):
		}
	}
	return nil
}

// finish ends the stream and reports a reset, a wrong byte or a pause that was too long.
func (st *stream) finish(longestGap time.Duration) error {
	st.cancel()
	if err := <-st.ended; err != nil {
		return err
	}
	if gap := st.report.Load().LongestGap; gap > longestGap {
		return fmt.Errorf("the connection paused for %v, more than %v", gap, longestGap)
	}
	return nil
}

// block makes a router drop packets until the test ends or the returned function is called.
func (s *system) block(t *testing.T, ctx context.Context, rules ...lab.BlockRule) (undo func()) {
	t.Helper()
	blocking, err := s.lab.Host(overlay.Internet).Block(ctx, rules...)
	if err != nil {
		t.Fatal(err)
	}
	undo = func() {
		if err := blocking.Undo(context.Background()); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(undo)
	return undo
}

func lines(text string) []string { return strings.Split(strings.TrimSpace(text), "\n") }
