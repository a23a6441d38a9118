package etcd

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/cyphonic/cyphonic/manager/store"
	"github.com/cyphonic/cyphonic/manager/store/storetest"
)

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

func startEmbedded(t *testing.T, dir string) *Embedded {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	e, err := StartEmbedded(ctx, dir, quiet())
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func harness(client *clientv3.Client) storetest.Harness {
	return storetest.Harness{
		Store: NewStore(client),
		Compact: func(ctx context.Context, revision int64) error {
			_, err := client.Compact(ctx, revision)
			return err
		},
	}
}

func TestEmbeddedConforms(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T) storetest.Harness {
		e := startEmbedded(t, t.TempDir())
		t.Cleanup(e.Close)
		return harness(e.Client())
	})
}

func TestDebianServerConforms(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T) storetest.Harness {
		url, _ := startServer(t)
		client, err := Connect(context.Background(), Endpoints{URLs: []string{url}, Log: quiet()})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = client.Close() })
		return harness(client)
	})
}

func TestStoppedServerIsUnavailable(t *testing.T) {
	t.Parallel()
	url, stop := startServer(t)
	client, err := Connect(context.Background(), Endpoints{URLs: []string{url}, Log: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	stop()
	s := NewStore(client)
	s.timeout = 500 * time.Millisecond
	storetest.RunUnavailable(t, s)
}

func TestClosedEmbeddedServerIsUnavailable(t *testing.T) {
	t.Parallel()
	e := startEmbedded(t, t.TempDir())
	s := NewStore(e.Client())
	s.timeout = 500 * time.Millisecond
	e.Close()
	storetest.RunUnavailable(t, s)
}

func TestEmbeddedKeepsDataAndOpensNoSocket(t *testing.T) {
	dir := t.TempDir()
	before := sockets(t)
	e := startEmbedded(t, dir)
	if after := sockets(t); after != before {
		t.Errorf("the server opened sockets: %d before, %d after", before, after)
	}
	info, err := os.Stat(dir)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("data directory: %v, %v", info.Mode(), err)
	}
	rev, err := NewStore(e.Client()).Create(context.Background(), "/a", []byte("kept"))
	if err != nil {
		t.Fatal(err)
	}
	e.Close()
	select {
	case <-e.Stopped():
	default:
		t.Error("Stopped is not closed after Close")
	}
	e = startEmbedded(t, dir)
	defer e.Close()
	got, err := NewStore(e.Client()).Get(context.Background(), "/a")
	if err != nil || string(got.Value) != "kept" || got.Revision != rev {
		t.Fatalf("after a restart: %+v, %v", got, err)
	}
}

// sockets counts the sockets of this process.
func sockets(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, e := range entries {
		if link, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && strings.HasPrefix(link, "socket:") {
			n++
		}
	}
	return n
}

func TestConnectRefusesUnsafeEndpoints(t *testing.T) {
	for name, urls := range map[string][]string{
		"none":          nil,
		"no scheme":     {"127.0.0.1:2379"},
		"no host":       {"https://"},
		"mixed":         {"https://127.0.0.1:1", "http://127.0.0.1:2"},
		"plain by name": {"http://localhost:2379"},
	} {
		if _, err := Connect(context.Background(), Endpoints{URLs: urls, Log: quiet()}); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
	_, err := Connect(context.Background(), Endpoints{URLs: []string{"http://192.0.2.1:2379"}, Log: quiet()})
	if !errors.Is(err, ErrPlaintext) {
		t.Errorf("plain text to another machine: %v", err)
	}
	_, err = Connect(context.Background(), Endpoints{URLs: []string{"https://127.0.0.1:1"}, CAFile: "/nonexistent", Log: quiet()})
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("absent CA file: %v", err)
	}
}

func TestStoreErrorsAreNotBlamedOnTheCaller(t *testing.T) {
	err := classify(context.Background(), "get", context.DeadlineExceeded)
	if !errors.Is(err, store.ErrUnavailable) {
		t.Error(err)
	}
}

// startServer runs Debian's etcd on loopback until the test ends.
func startServer(t *testing.T, extra ...string) (url string, stop func()) {
	t.Helper()
	binary, err := exec.LookPath("etcd")
	if err != nil {
		t.Fatal("the program etcd is missing; install it with: apt-get install -y etcd-server")
	}
	dir := memory(t)
	scheme := "http"
	if len(extra) > 0 {
		scheme = "https"
	}
	url = scheme + "://" + freePort(t)
	peer := "http://" + freePort(t)
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary, append([]string{
		"--data-dir", filepath.Join(dir, "data"), "--name", "t",
		"--listen-client-urls", url, "--advertise-client-urls", url,
		"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", "t=" + peer,
	}, extra...)...)
	cmd.Env = append(os.Environ(), "ETCD_UNSUPPORTED_ARCH=")
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stopped := false
	stop = func() {
		if !stopped {
			stopped = true
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
			_ = log.Close()
		}
	}
	t.Cleanup(stop)
	waitForPort(t, url, filepath.Join(dir, "log"))
	return url, stop
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

func waitForPort(t *testing.T, url, log string) {
	t.Helper()
	_, address, _ := strings.Cut(url, "://")
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); {
		c, err := net.DialTimeout("tcp", address, time.Second)
		if err == nil {
			_ = c.Close()
			return
		}
		time.Sleep(20 * time.Millisecond) // another program's start has no event to wait for
	}
	b, _ := os.ReadFile(log)
	t.Fatalf("etcd does not listen on %s:\n%s", url, b)
}
