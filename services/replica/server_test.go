package replica

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
)

// server is an etcd of one member, a process that can be killed and started again.
type server struct {
	t    *testing.T
	addr string
	peer string
	data string
	cmd  *exec.Cmd
}

// startServer runs Debian's etcd until the test ends.
func startServer(t *testing.T) *server {
	t.Helper()
	if _, err := exec.LookPath("etcd"); err != nil {
		t.Fatal("the program etcd is missing; install it with: apt-get install -y etcd-server")
	}
	s := &server{t: t, addr: freeAddr(t), peer: freeAddr(t), data: filepath.Join(t.TempDir(), "data")}
	s.start()
	t.Cleanup(s.kill)
	return s
}

// serveEtcd serves parts of etcd's API that a test makes up, until the test ends.
func serveEtcd(t *testing.T, register func(*grpc.Server)) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	register(s)
	background(t, func(ctx context.Context) error {
		defer context.AfterFunc(ctx, s.Stop)()
		return s.Serve(l)
	})
	return l.Addr().String()
}

func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

func (s *server) start() {
	s.t.Helper()
	url, peer := "http://"+s.addr, "http://"+s.peer
	s.cmd = exec.Command("etcd", "--name", "m", "--data-dir", s.data, "--listen-client-urls", url, "--advertise-client-urls", url,
		"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", "m="+peer,
		"--heartbeat-interval", "50", "--election-timeout", "500", "--unsafe-no-fsync")
	s.cmd.Env = append(os.Environ(), "ETCD_UNSUPPORTED_ARCH=")
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	eventually(s.t, 10*time.Second, "etcd answers", func() bool {
		c, err := net.DialTimeout("tcp", s.addr, time.Second)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
}

// kill ends etcd as the loss of its machine would.
func (s *server) kill() {
	if s.cmd != nil {
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
		s.cmd = nil
	}
}

// forget lets etcd start anew without anything.
func (s *server) forget() {
	if err := os.RemoveAll(s.data); err != nil {
		s.t.Fatal(err)
	}
}

// client connects to the server, or through addresses that lead to it.
func (s *server) client(through ...string) *clientv3.Client {
	s.t.Helper()
	if len(through) == 0 {
		through = []string{s.addr}
	}
	c, err := clientv3.New(clientv3.Config{
		Endpoints: through, DialTimeout: 5 * time.Second, Logger: zap.NewNop(),
		DialOptions: []grpc.DialOption{grpc.WithConnectParams(grpc.ConnectParams{
			Backoff: backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.5, MaxDelay: 500 * time.Millisecond}, MinConnectTimeout: time.Second,
		})},
	})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = c.Close() })
	return c
}

// eventually fails the test if the condition does not come true in time.
func eventually(t *testing.T, limit time.Duration, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(limit); !condition(); {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", limit, what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// background runs f until the test ends or stop is called, which waits for it.
func background(t *testing.T, f func(context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				t.Errorf("Run: %v", err)
			}
		})
	}
	t.Cleanup(stop)
	return stop
}

// hose is a way to the server that can be pinched: connections stay and nothing comes through.
type hose struct {
	addr string
	mu   sync.Mutex
	open chan struct{} // closed while data goes through
	cut  bool          // connections are refused
	ends []net.Conn
}

func (s *server) hose() *hose {
	s.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	h := &hose{addr: l.Addr().String(), open: make(chan struct{})}
	close(h.open)
	var group sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	group.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", s.addr)
			if err != nil || !h.connect(in, out) {
				_ = in.Close()
				continue
			}
			group.Go(func() { h.pump(ctx, in, out) })
			group.Go(func() { h.pump(ctx, out, in) })
		}
	})
	s.t.Cleanup(func() { cancel(); _ = l.Close(); h.release(); group.Wait() })
	return h
}

func (h *hose) pump(ctx context.Context, from, to net.Conn) {
	defer func() { _, _ = from.Close(), to.Close() }()
	stop := context.AfterFunc(ctx, func() { _, _ = from.Close(), to.Close() })
	defer stop()
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		h.mu.Lock()
		open := h.open
		h.mu.Unlock()
		<-open
		if _, failed := to.Write(buffer[:n]); err != nil || failed != nil {
			return
		}
	}
}

func (h *hose) pinch() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.open = make(chan struct{})
}

func (h *hose) release() {
	h.mu.Lock()
	defer h.mu.Unlock()
	select {
	case <-h.open:
	default:
		close(h.open)
	}
}

func keyValue(key, value string, revision int64) *mvccpb.KeyValue {
	return &mvccpb.KeyValue{Key: []byte(key), Value: []byte(value), ModRevision: revision}
}

// connect takes note of a connection, or refuses it.
func (h *hose) connect(ends ...net.Conn) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.cut {
		for _, end := range ends {
			_ = end.Close()
		}
		return false
	}
	h.ends = append(h.ends, ends...)
	return true
}

// sever ends all connections and lets no new ones come about until mend is called.
func (h *hose) sever() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.cut = true
	for _, end := range h.ends {
		_ = end.Close()
	}
	h.ends = nil
}

func (h *hose) mend() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.cut = false
}
