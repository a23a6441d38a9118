package balancer

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cyphonic/cyphonic/internal/keyspace"
)

// speaker is the other side, by hand.
type speaker struct {
	t        *testing.T
	listener net.Listener
}

func newSpeaker(t *testing.T, path string) *speaker {
	t.Helper()
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	return &speaker{t, listener}
}

type session struct {
	t     *testing.T
	conn  net.Conn
	lines *bufio.Reader
}

func (s *speaker) accept() *session {
	s.t.Helper()
	_ = s.listener.(*net.UnixListener).SetDeadline(time.Now().Add(10 * time.Second))
	conn, err := s.listener.Accept()
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	return &session{s.t, conn, bufio.NewReader(conn)}
}

// expect reads registrations until one has the state.
func (s *session) expect(state keyspace.ReplicaState) Registration {
	s.t.Helper()
	for {
		line, err := s.lines.ReadBytes('\n')
		if err != nil {
			s.t.Fatalf("waiting for %s: %v", state, err)
		}
		var r Registration
		if err := json.Unmarshal(line, &r); err != nil {
			s.t.Fatal(err)
		}
		if r.State == state {
			return r
		}
	}
}

func (s *session) say(text string) {
	s.t.Helper()
	if _, err := io.WriteString(s.conn, text+"\n"); err != nil {
		s.t.Fatal(err)
	}
}

func (s *session) answer(state keyspace.ReplicaState, inService bool) {
	s.t.Helper()
	b, err := json.Marshal(Answer{Version: Version, State: state, InService: inService})
	if err != nil {
		s.t.Fatal(err)
	}
	s.say(string(b))
}

func startClient(t *testing.T, path string) (c *Client, inService *atomic.Bool, stop func() error) {
	t.Helper()
	inService = new(atomic.Bool)
	c = NewClient(ClientOptions{
		Socket: path, Log: slog.New(slog.DiscardHandler), Changed: inService.Store,
		Registration: Registration{Service: "as", Name: "as-1", Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.1")}, Port: 7441},
	})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	return c, inService, func() error { cancel(); return <-ended }
}

func until(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not after 10 s", what)
		}
	}
}

func TestAReplicaRegistersAndLeaves(t *testing.T) {
	path := filepath.Join(t.TempDir(), "speaker.sock")
	s := newSpeaker(t, path)
	c, inService, stop := startClient(t, path)
	link := s.accept()
	if r := link.expect(keyspace.ReplicaStarting); r.Version != Version || r.Service != "as" || r.Name != "as-1" || r.Port != 7441 || len(r.Addresses) != 1 {
		t.Errorf("registration: %+v", r)
	}
	link.answer(keyspace.ReplicaStarting, false)
	c.SetState(keyspace.ReplicaReady)
	link.expect(keyspace.ReplicaReady)
	joined := make(chan error, 1)
	go func() { joined <- c.Joined(t.Context()) }()
	select {
	case err := <-joined:
		t.Fatalf("joined before the speaker has answered: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	link.answer(keyspace.ReplicaReady, true)
	if err := <-joined; err != nil {
		t.Error(err)
	}
	until(t, "in service", inService.Load)

	c.SetState(keyspace.ReplicaLeaving)
	link.expect(keyspace.ReplicaLeaving)
	withdrawn := make(chan error, 1)
	go func() { withdrawn <- c.Withdrawn(t.Context()) }()
	link.answer(keyspace.ReplicaLeaving, true) // known, not done yet
	select {
	case err := <-withdrawn:
		t.Fatalf("withdrawn before the speaker has confirmed it: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	link.answer(keyspace.ReplicaLeaving, false)
	if err := <-withdrawn; err != nil || inService.Load() {
		t.Errorf("%v, in service %v", err, inService.Load())
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	if _, err := link.lines.ReadByte(); !errors.Is(err, io.EOF) {
		t.Errorf("the connection is not closed: %v", err)
	}
}

// Nothing reaches a direct replica by the speaker, so it need not wait for one that is away when it leaves.
func TestADirectReplicaLeavesWithoutTheSpeaker(t *testing.T) {
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for direct, want := range map[bool]error{true: nil, false: context.Canceled} {
		c := NewClient(ClientOptions{Registration: Registration{Service: "trs", Direct: direct}, Changed: func(bool) {}})
		c.change(func() { c.joined = true })
		c.SetState(keyspace.ReplicaLeaving)
		if err := c.Withdrawn(ended); !errors.Is(err, want) {
			t.Errorf("direct %v: %v, want %v", direct, err, want)
		}
	}
}

func TestAReplicaComesBackToARestartedSpeaker(t *testing.T) {
	path := filepath.Join(t.TempDir(), "speaker.sock")
	c, inService, stop := startClient(t, path)
	c.SetState(keyspace.ReplicaReady)
	if err := c.Withdrawn(t.Context()); err != nil {
		t.Errorf("withdrawn from a speaker that never was there: %v", err)
	}
	s := newSpeaker(t, path)
	link := s.accept()
	link.expect(keyspace.ReplicaReady)
	link.answer(keyspace.ReplicaReady, true)
	until(t, "in service", inService.Load)
	_ = link.conn.Close()
	until(t, "out of service when the speaker is gone", func() bool { return !inService.Load() })

	// Away, but its rules may still send packets here.
	c.SetState(keyspace.ReplicaLeaving)
	short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := c.Withdrawn(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("withdrawn from a speaker that is away: %v", err)
	}
	link = s.accept()
	link.expect(keyspace.ReplicaLeaving)
	link.answer(keyspace.ReplicaLeaving, false)
	if err := c.Withdrawn(t.Context()); err != nil {
		t.Error(err)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

func TestAnswersThatEndTheConnection(t *testing.T) {
	for name, text := range map[string]string{
		"refused":       `{"version":1,"error":"the socket is not for you"}`,
		"other version": `{"version":2,"state":"Starting","inService":true}`,
		"no JSON":       `in service`,
		"too long":      `{"version":1,"state":"` + strings.Repeat("x", MaxMessage) + `"}`,
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "speaker.sock")
			s := newSpeaker(t, path)
			_, inService, stop := startClient(t, path)
			link := s.accept()
			link.expect(keyspace.ReplicaStarting)
			go func() { _, _ = io.WriteString(link.conn, text+"\n") }()
			if _, err := link.lines.ReadByte(); err == nil {
				t.Error("the connection goes on")
			}
			if inService.Load() {
				t.Error("in service")
			}
			if err := stop(); err != nil {
				t.Error(err)
			}
		})
	}
}
