package cloud

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/cyphonic/cyphonic/internal/lab"
	"github.com/cyphonic/cyphonic/internal/lab/control"
	"github.com/cyphonic/cyphonic/internal/lab/load"
)

// Cloud is a running cloud in a lab. It is for one test at a time.
type Cloud struct {
	Lab      *lab.Lab
	Plane    *control.Plane
	Routers  map[string]*Routing // by host name
	Speakers []*control.Process  // by host
	Replicas []*Replica
	Load     *load.Remote // nil before StartLoad
	Devices  []load.Device

	options Options
	client  *control.Process // the load generator
}

// The one network of the lab, and the adapter that vouches for all devices.
const (
	networkName = "fleet"
	adapterName = "gateway"
)

// Start brings everything up and waits until every host takes its share of every service. Close must be called whatever
// Start returns.
func Start(ctx context.Context, o Options) (*Cloud, error) {
	c := &Cloud{options: o, Routers: make(map[string]*Routing)}
	if err := c.options.complete(); err != nil {
		return c, err
	}
	for _, step := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"network", c.buildNetwork},
		{"routers", c.startRouters},
		{"control plane", c.startPlane},
		{"speakers", c.startSpeakers},
		{"replicas", c.startReplicas},
		{"resources", c.applyResources},
		{"routes", c.awaitRoutes},
	} {
		if err := step.do(ctx); err != nil {
			return c, fmt.Errorf("%s: %w", step.name, err)
		}
	}
	return c, nil
}

// StartNetwork builds hosts, links and the addresses of devices, but starts no program: for questions to the kernel.
func StartNetwork(ctx context.Context, o Options) (*Cloud, error) {
	c := &Cloud{options: o, Routers: make(map[string]*Routing)}
	if err := c.options.complete(); err != nil {
		return c, err
	}
	if err := c.buildNetwork(ctx); err != nil {
		return c, err
	}
	return c, hashLayer4(c.Lab.Host(Router))
}

// Close ends everything and removes it, unless the cloud is persistent.
func (c *Cloud) Close() error {
	if c.Lab == nil {
		return nil
	}
	return c.Lab.Close()
}

// Options are those of Start, completed.
func (c *Cloud) Options() Options { return c.options }

func (c *Cloud) path(elements ...string) string {
	return filepath.Join(append([]string{c.Lab.Directory()}, elements...)...)
}

func (c *Cloud) buildNetwork(ctx context.Context) (err error) {
	o := c.options
	c.Lab, err = lab.New(ctx, lab.Options{Name: o.Name, Directory: o.Directory, Persistent: o.Persistent, NoEvidence: true, InMemory: true}, topology(o))
	if err != nil {
		return err
	}
	// Routing daemons run as a user of their own and must get to their folder.
	if err := os.Chmod(c.Lab.Directory(), 0o711); err != nil {
		return err
	}
	if err := os.Mkdir(c.path("run"), 0o755); err != nil {
		return err
	}
	var batch strings.Builder
	for _, source := range Sources(o.Sources) {
		fmt.Fprintf(&batch, "address add %s dev lo\n", netip.PrefixFrom(source, source.BitLen()))
	}
	_, err = c.Lab.Host(Clients).RunInput(ctx, strings.NewReader(batch.String()), "ip", "-batch", "-")
	return err
}

func (c *Cloud) startRouters(ctx context.Context) error {
	for name, config := range routers(c.options) {
		host := c.Lab.Host(name)
		if err := hashLayer4(host); err != nil {
			return err
		}
		routing, err := newRouting(host, c.options.Software, c.path("run", name), config, c.options.Persistent)
		if err != nil {
			return err
		}
		c.Routers[name] = routing
		if err := routing.Start(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (c *Cloud) startPlane(ctx context.Context) (err error) {
	o := c.options
	site := control.Site{Lab: c.Lab, Client: Router, KeepRunning: o.Persistent}
	for i := range o.Hosts {
		site.Hosts = append(site.Hosts, control.Host{Name: HostName(i), Address: HostAddress4(i)})
		site.Names = append(site.Names, HostAddress6(i).String())
	}
	for _, s := range append(Announced(), "manager") {
		site.Names = append(site.Names, VIP4(s).String(), VIP6(s).String())
	}
	c.Plane, err = control.Start(ctx, control.Options{
		Programs: o.Programs, Members: o.Hosts, Managers: o.Hosts, Site: site,
		// Thirty clients that log in to etcd at once on two cores must not wait for the hashes of their password.
		EtcdFlags: append([]string{"--bcrypt-cost", "4"}, o.EtcdFlags...),
		ConfigOf: func(i int) map[string]map[string]any {
			return map[string]map[string]any{"replica": c.replicaSection(i, fmt.Sprintf("manager-%s", HostName(i)))}
		},
	})
	return err
}

// Ctl runs cyphonicctl on the router with the administrator's configuration.
func (c *Cloud) Ctl(ctx context.Context, args ...string) (string, error) {
	return c.Plane.Run(ctx, append([]string{c.Plane.Program("cyphonicctl"), "--config", c.Plane.ConfigPath()}, args...)...)
}

// CtlAt is Ctl with another manager than the first.
func (c *Cloud) CtlAt(ctx context.Context, manager int, args ...string) (string, error) {
	content, err := os.ReadFile(c.Plane.ConfigPath())
	if err != nil {
		return "", err
	}
	path := filepath.Join(filepath.Dir(c.Plane.ConfigPath()), fmt.Sprintf("config-%d.yaml", manager+1))
	if err := os.WriteFile(path, bytes.ReplaceAll(content, []byte(c.Plane.ServerURL(0)), []byte(c.Plane.ServerURL(manager))), 0o600); err != nil {
		return "", err
	}
	return c.Plane.Run(ctx, append([]string{c.Plane.Program("cyphonicctl"), "--config", path}, args...)...)
}

// Apply applies the text of a manifest.
func (c *Cloud) Apply(ctx context.Context, manifest string) error {
	path := c.path("run", "manifest.yaml")
	if err := os.WriteFile(path, []byte(manifest), 0o600); err != nil {
		return err
	}
	_, err := c.Ctl(ctx, "apply", "--yes", "-f", path)
	return err
}

func (c *Cloud) applyResources(ctx context.Context) error {
	c.Devices = load.Fleet(Sources(c.options.Sources))
	return c.Apply(ctx, c.manifests()+nodeManifests()+"---\n"+load.Manifests(networkName, adapterName, c.Devices))
}

// manifests say where the services are and to whom they are announced.
func (c *Cloud) manifests() string {
	var b strings.Builder
	fmt.Fprintf(&b, "{apiVersion: cyphonic/v1, kind: Network, metadata: {name: %s}, spec: {ipv4Prefix: 100.96.0.0/16, ipv6Prefix: \"fd96:c1f0::/64\", domain: fleet.cyphonic.internal}}\n", networkName)
	for _, s := range append(Announced(), "manager") {
		port := Port(s)
		if port == 0 {
			port = 7440
		}
		fmt.Fprintf(&b, "---\n{apiVersion: cyphonic/v1, kind: CloudService, metadata: {name: %[1]s}, spec: {service: %[1]s, ipv4: %[2]s, ipv6: %[3]q, port: %[4]d}}\n", s, VIP4(s), VIP6(s), port)
	}
	b.WriteString(peerManifests(c.options.HoldTime, !c.options.NoBFD))
	b.WriteString("---\n{apiVersion: cyphonic/v1, kind: BGPAdvertisement, metadata: {name: services}, spec: {}}\n")
	return b.String()
}

// peerManifests are the sessions of all speakers with the router.
func peerManifests(holdTime int, bfd bool) string {
	text := ""
	for _, peer := range []struct{ name, address string }{{"router-v4", routerAddress4}, {"router-v6", routerAddress6}} {
		text += fmt.Sprintf("---\n{apiVersion: cyphonic/v1, kind: BGPPeer, metadata: {name: %s}, spec: {peerAddress: %q, peerASN: %d, localASN: %d, holdTimeSeconds: %d, connectRetrySeconds: 1, bfd: {enabled: %t}}}\n",
			peer.name, peer.address, cloudASN, cloudASN, holdTime, bfd)
	}
	return text
}

// SetPeers changes hold time (in seconds) and BFD of the speakers' sessions with the router, which runs FRR, and waits until
// all of them stand anew with that hold time.
func (c *Cloud) SetPeers(ctx context.Context, holdTime int, bfd bool) error {
	if err := c.Apply(ctx, peerManifests(holdTime, bfd)); err != nil {
		return err
	}
	return await(ctx, startTimeout, func() error {
		answer, err := c.Routers[Router].Show(ctx, "show bgp neighbors json")
		if err != nil {
			return err
		}
		var neighbors map[string]struct {
			BGPState              string
			BGPTimerHoldTimeMsecs int
		}
		if err := json.Unmarshal([]byte(answer), &neighbors); err != nil {
			return err
		}
		standing := 0
		for _, n := range neighbors {
			if n.BGPState == "Established" && n.BGPTimerHoldTimeMsecs == 1000*holdTime {
				standing++
			}
		}
		if want := 2 * c.options.Hosts; standing != want {
			return fmt.Errorf("%d sessions of %d have a hold time of %d s", standing, want, holdTime)
		}
		return nil
	})
}

func (c *Cloud) awaitRoutes(ctx context.Context) error {
	for _, s := range Announced() {
		if err := c.AwaitHosts(ctx, s, c.options.Hosts); err != nil {
			return err
		}
	}
	return nil
}

// AwaitHosts waits until the router sends a service's traffic to that many hosts, in both families.
func (c *Cloud) AwaitHosts(ctx context.Context, s Service, hosts int) error {
	return await(ctx, startTimeout, func() error {
		for _, vip := range []netip.Addr{VIP4(s), VIP6(s)} {
			found, err := c.NextHops(vip)
			if err != nil {
				return err
			}
			if len(found) != hosts {
				return fmt.Errorf("the router sends %s (%s) to %v, want %d hosts%s", s, vip, found, hosts, c.ended())
			}
		}
		return nil
	})
}

// ended names the processes that are gone.
func (c *Cloud) ended() string {
	var b strings.Builder
	for _, p := range c.Lab.Processes() {
		if !p.Running() {
			fmt.Fprintf(&b, "\n%s on %s has ended: %v: %s", p.Name, p.Host, p.Err(), p.LogTail(5))
		}
	}
	return b.String()
}

// await polls a condition until it holds or the time is over.
func await(ctx context.Context, limit time.Duration, condition func() error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		err := condition()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not within %s: %w", limit, errors.Join(err, context.Cause(ctx)))
		case <-time.After(poll):
		}
	}
}
