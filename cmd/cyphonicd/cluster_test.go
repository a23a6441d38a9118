package main

import (
	"context"
	"errors"
	"net"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	"golang.org/x/sync/errgroup"

	"github.com/cyphonic/cyphonic/internal/identity"
	"github.com/cyphonic/cyphonic/internal/login"
	"github.com/cyphonic/cyphonic/internal/wire"
)

// cluster is an etcd with a client port, and one process per replica.
type cluster struct {
	*site
	etcd  string
	ports map[string]map[string]string // listening addresses by name of the replica
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	config := embed.NewConfig()
	config.Dir = t.TempDir()
	config.LogLevel, config.LogOutputs = "error", []string{os.DevNull}
	client, peer := freeURL(t), freeURL(t)
	config.ListenClientUrls, config.AdvertiseClientUrls = []url.URL{client}, []url.URL{client}
	config.ListenPeerUrls, config.AdvertisePeerUrls = []url.URL{peer}, []url.URL{peer}
	config.InitialCluster = config.InitialClusterFromName(config.Name)
	server, err := embed.StartEtcd(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	<-server.Server.ReadyNotify()
	c := &cluster{site: newSite(t), etcd: client.String(), ports: make(map[string]map[string]string)}
	c.edit("cloud/cyphonicd.yaml", "metrics: {", "replica: {host: host-1, drain: {wait: 1s}}\nmetrics: {",
		`nms: {listen: "127.0.0.1:0"`, `nms: {peerListen: "127.0.0.1:0", listen: "127.0.0.1:0"`)
	return c
}

func freeURL(t *testing.T) url.URL {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	return url.URL{Scheme: "http", Host: listener.Addr().String()}
}

// run starts one replica and waits until it is ready.
func (c *cluster) run(service, name string) *process {
	c.t.Helper()
	p := &process{t: c.t, exited: make(chan struct{})}
	p.command = exec.Command(os.Args[0], service, "--name", name, "--config", c.configPath(), "--etcd-endpoints", c.etcd, "--log-format", "json")
	p.command.Env = append(os.Environ(), childVariable+"=1")
	stderr, err := p.command.StderrPipe()
	if err != nil {
		c.t.Fatal(err)
	}
	if err := p.command.Start(); err != nil {
		c.t.Fatal(err)
	}
	ready := make(chan map[string]string, 1)
	go p.follow(stderr, ready)
	c.t.Cleanup(func() {
		p.kill()
		if c.t.Failed() {
			p.mu.Lock()
			defer p.mu.Unlock()
			c.t.Logf("log of %s:\n%s", name, p.log.String())
		}
	})
	select {
	case c.ports[name] = <-ready:
	case <-p.exited:
		c.t.Fatalf("%s has ended", name)
	case <-time.After(30 * time.Second):
		c.t.Fatalf("%s is not ready after 30 s", name)
	}
	return p
}

// said tells whether the process has logged the text.
func (p *process) said(text string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Contains(p.log.String(), text)
}

// crowd is devices that log in again and again, each connection at the replica whose turn it is for that device.
type crowd struct {
	granted, retried atomic.Int64
	stop             context.CancelFunc
	group            *errgroup.Group
}

func (c *cluster) startCrowd(key *identity.DeviceKey, addresses ...string) *crowd {
	ctx, stop := context.WithCancel(c.t.Context())
	group, ctx := errgroup.WithContext(ctx)
	w := &crowd{stop: stop, group: group}
	for turn := range 4 {
		options := login.Options{
			Address: addresses[0], Trust: c.trust, Repeated: func(error) { w.retried.Add(1) },
			Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
				turn++
				return new(net.Dialer).DialContext(ctx, network, addresses[turn%len(addresses)])
			},
		}
		group.Go(func() error {
			for ctx.Err() == nil {
				err := w.once(ctx, options, key)
				if err != nil && ctx.Err() == nil {
					return err
				}
			}
			return nil
		})
	}
	return w
}

func (w *crowd) once(ctx context.Context, o login.Options, key *identity.DeviceKey) error {
	client, err := login.Dial(ctx, o)
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }()
	if _, err = client.Login(ctx, viewerSubject(), key, wire.CredentialDeviceKey{}); err == nil {
		w.granted.Add(1)
	}
	return err
}

func (w *crowd) end() error {
	w.stop()
	err := w.group.Wait()
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// TestReplicasComeAndGo runs each service as processes of its own, drains one AS, kills another one and kills one NMS
// while it leaves. Devices go on logging in: nobody fails.
func TestReplicasComeAndGo(t *testing.T) {
	c := newCluster(t)
	c.run("manager", "m1")
	c.addresses = map[string]string{"manager": c.ports["m1"]["manager"], "metrics": c.ports["m1"]["metrics"]}
	c.edit("config.yaml", "127.0.0.1:7440", c.addresses["manager"])
	as1, as2 := c.run("as", "as-1"), c.run("as", "as-2")
	nms1 := c.run("nms", "nms-1")
	c.run("nms", "nms-2")
	c.run("trs", "trs-1")
	c.addresses["as"], c.addresses["nms"], c.addresses["trs"] = c.ports["as-1"]["as"], c.ports["nms-1"]["nms"], c.ports["trs-1"]["trs"]
	c.apply(resources + services(c.site))
	for _, name := range []string{"m1", "as-1", "as-2", "nms-1", "nms-2", "trs-1"} {
		await(t, name+" to be seen", func() bool { return strings.Contains(c.ctl("get", "replicas"), name) })
	}
	key := newDeviceKey(t)
	if _, err := c.dial().Login(t.Context(), viewerSubject(), key, wire.CredentialToken{Token: c.token("--node", "viewer")}); err != nil {
		t.Fatal(err)
	}
	load := c.startCrowd(key, c.ports["as-1"]["as"], c.ports["as-2"]["as"])
	pause(t, 300*time.Millisecond)

	c.ctl("drain", "replica/as-1") // returns when it has gone
	if code := as1.waitForExit(10 * time.Second); code != 0 {
		t.Errorf("the drained AS ends with %d", code)
	}
	if strings.Contains(c.ctl("get", "replicas"), "as-1") {
		t.Error("the drained AS is still seen")
	}
	port := c.ports["as-1"]["as"]
	c.edit("cloud/cyphonicd.yaml", `as: {listen: "127.0.0.1:0"`, `as: {listen: "`+port+`"`)
	c.run("as", "as-1") // of the same name: the request to drain was the other's
	before := load.granted.Load()
	as2.kill()
	pause(t, 500*time.Millisecond)
	if err := load.end(); err != nil {
		t.Errorf("a device has failed: %v", err)
	}
	t.Logf("%d logins, %d repeated on another connection", load.granted.Load(), load.retried.Load())
	if load.granted.Load() == before || load.retried.Load() == 0 {
		t.Error("the load was not there when replicas went")
	}
	await(t, "the killed AS to be forgotten", func() bool { return !strings.Contains(c.ctl("get", "replicas"), "as-2") })

	// Killed while it leaves, started again under the same name, and then left alone.
	for _, kill := range []bool{true, false} {
		if err := nms1.command.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if kill {
			await(t, "the NMS to leave", func() bool { return nms1.said(`"state":"Leaving"`) })
			nms1.kill()
			nms1 = c.run("nms", "nms-1")
		}
	}
	if code := nms1.waitForExit(20 * time.Second); code != 0 {
		t.Errorf("the NMS ends with %d", code)
	}
}

// The configuration of one replica of the NMS gives everything that the others need to link with it.
func TestReplicasOfTheNMSLink(t *testing.T) {
	c := newCluster(t)
	c.run("nms", "nms-1")
	c.run("nms", "nms-2")
	for _, name := range []string{"nms-1", "nms-2"} {
		c.addresses = c.ports[name]
		await(t, name+" to link", func() bool { return strings.Contains(c.getText("/metrics"), "\ncyphonic_nms_links 1\n") })
	}
}

// pause lets the load go on for a while.
func pause(t *testing.T, d time.Duration) {
	t.Helper()
	select {
	case <-time.After(d):
	case <-t.Context().Done():
	}
}
