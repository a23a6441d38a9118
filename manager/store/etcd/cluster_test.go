package etcd

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// cluster is three members of Debian's etcd on loopback, which demand client
// certificates, and users once they are protected.
type cluster struct {
	t       *testing.T
	ca      *authority
	members []*member
}

type member struct {
	name, url string
	args      []string
	log       string
	cmd       *exec.Cmd
}

// memory is a directory in RAM until the test ends: nobody asks how fast the
// disk is while several servers wait for it.
func memory(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "cyphonic-etcd-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func startCluster(t *testing.T) *cluster {
	t.Helper()
	if _, err := exec.LookPath("etcd"); err != nil {
		t.Fatal("the program etcd is missing; install it with: apt-get install -y etcd-server")
	}
	c := &cluster{t: t, ca: newAuthority(t)}
	ca := filepath.Join(c.ca.dir, "ca.crt")
	var peers []string
	for i := range 3 {
		m := &member{name: fmt.Sprintf("m%d", i), url: "https://" + freePort(t), log: filepath.Join(t.TempDir(), "log")}
		peer := "https://" + freePort(t)
		peers = append(peers, m.name+"="+peer)
		cert, key := c.ca.issue(m.name)
		m.args = []string{
			"--name", m.name, "--data-dir", filepath.Join(memory(t), "data"),
			"--listen-client-urls", m.url, "--advertise-client-urls", m.url, "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
			"--client-cert-auth", "--trusted-ca-file", ca, "--cert-file", cert, "--key-file", key,
			"--peer-client-cert-auth", "--peer-trusted-ca-file", ca, "--peer-cert-file", cert, "--peer-key-file", key,
			"--heartbeat-interval", "50", "--election-timeout", "500", "--initial-cluster-state", "new",
		}
		c.members = append(c.members, m)
	}
	for _, m := range c.members {
		m.args = append(m.args, "--initial-cluster", strings.Join(peers, ","))
		c.start(m)
	}
	t.Cleanup(func() {
		for _, m := range c.members {
			c.kill(m)
		}
	})
	for _, m := range c.members {
		waitForPort(t, m.url, m.log)
	}
	return c
}

func (c *cluster) start(m *member) {
	c.t.Helper()
	log, err := os.OpenFile(m.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		c.t.Fatal(err)
	}
	defer func() { _ = log.Close() }()
	m.cmd = exec.Command("etcd", m.args...)
	m.cmd.Env = append(os.Environ(), "ETCD_UNSUPPORTED_ARCH=")
	m.cmd.Stdout, m.cmd.Stderr = log, log
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := m.cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
}

// kill ends a member as the loss of its machine would.
func (c *cluster) kill(m *member) {
	if m.cmd != nil {
		_ = m.cmd.Process.Kill()
		_ = m.cmd.Wait()
		m.cmd = nil
	}
}

func (c *cluster) urls() (urls []string) {
	for _, m := range c.members {
		urls = append(urls, m.url)
	}
	return urls
}

func (c *cluster) endpoints(user, password string) Endpoints {
	c.t.Helper()
	cert, key := c.ca.issue("client")
	e := Endpoints{URLs: c.urls(), CAFile: filepath.Join(c.ca.dir, "ca.crt"), CertificateFile: cert, KeyFile: key, Log: quiet()}
	if user != "" {
		e.Username, e.PasswordFile = user, filepath.Join(c.t.TempDir(), "password")
		if err := os.WriteFile(e.PasswordFile, []byte(password+"\n"), 0o600); err != nil {
			c.t.Fatal(err)
		}
	}
	return e
}

func (c *cluster) connect(e Endpoints) *clientv3.Client {
	c.t.Helper()
	client, err := Connect(c.t.Context(), e)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { _ = client.Close() })
	return client
}

// protect makes users: root, and cyphonic, who may use the given prefixes only.
func (c *cluster) protect(prefixes ...string) {
	c.t.Helper()
	client := c.connect(c.endpoints("", ""))
	ctx, cancel := context.WithTimeout(c.t.Context(), 20*time.Second)
	defer cancel()
	must := func(_ any, err error) {
		if err != nil {
			c.t.Fatal(err)
		}
	}
	must(client.RoleAdd(ctx, "root"))
	must(client.RoleAdd(ctx, "cyphonic"))
	for _, p := range prefixes {
		must(client.RoleGrantPermission(ctx, "cyphonic", p, clientv3.GetPrefixRangeEnd(p), clientv3.PermissionType(clientv3.PermReadWrite)))
	}
	must(client.UserAdd(ctx, "root", "root's password"))
	must(client.UserGrantRole(ctx, "root", "root"))
	must(client.UserAdd(ctx, "cyphonic", "our password"))
	must(client.UserGrantRole(ctx, "cyphonic", "cyphonic"))
	must(client.AuthEnable(ctx))
}

// leader is the member that leads.
func (c *cluster) leader(client *clientv3.Client) *member {
	c.t.Helper()
	for _, m := range c.members {
		ctx, cancel := context.WithTimeout(c.t.Context(), 5*time.Second)
		r, err := client.Status(ctx, m.url)
		cancel()
		if err == nil && r.Header.MemberId == r.Leader {
			return m
		}
	}
	c.t.Fatal("nobody leads")
	return nil
}

// frozen is a network path to an address that can be made to stand still, so
// that a client behind it is as good as suspended.
type frozen struct {
	listener net.Listener
	target   string

	mu    sync.Mutex
	still chan struct{} // under mu: closed while the path is open
}

func freezable(t *testing.T, url string) (*frozen, string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &frozen{listener: l, target: strings.TrimPrefix(url, "https://"), still: make(chan struct{})}
	close(f.still)
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { f.forward(ctx, c) })
		}
	})
	t.Cleanup(func() {
		cancel()
		_ = l.Close()
		wg.Wait()
	})
	return f, "https://" + l.Addr().String()
}

func (f *frozen) forward(ctx context.Context, in net.Conn) {
	out, err := net.Dial("tcp", f.target)
	if err != nil {
		_ = in.Close()
		return
	}
	stop := context.AfterFunc(ctx, func() { _, _ = in.Close(), out.Close() })
	defer stop()
	var wg sync.WaitGroup
	for _, pair := range [][2]net.Conn{{in, out}, {out, in}} {
		wg.Go(func() {
			defer func() { _, _ = in.Close(), out.Close() }()
			buffer := make([]byte, 32<<10)
			for {
				n, err := pair[0].Read(buffer)
				f.pass(ctx)
				if _, writeErr := pair[1].Write(buffer[:n]); err != nil || writeErr != nil {
					return
				}
			}
		})
	}
	wg.Wait()
}

// pass waits while the path stands still.
func (f *frozen) pass(ctx context.Context) {
	f.mu.Lock()
	still := f.still
	f.mu.Unlock()
	select {
	case <-still:
	case <-ctx.Done():
	}
}

func (f *frozen) freeze() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.still = make(chan struct{})
}

func (f *frozen) thaw() {
	f.mu.Lock()
	defer f.mu.Unlock()
	close(f.still)
}
