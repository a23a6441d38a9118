package control

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/cyphonic/cyphonic/internal/identity"
	"github.com/cyphonic/cyphonic/internal/lab"
	"sigs.k8s.io/yaml"
)

// Options of Start.
type Options struct {
	Programs string // directory of the built programs
	// Members is the number of etcd processes, each on a host of its own; 0: the one manager embeds etcd.
	Members int
	// Managers is the number of manager processes; manager i runs on the host of member i.
	Managers int
	// EtcdFlags are added to the command line of etcd.
	EtcdFlags []string
	// Config is added to the configuration of each manager, by section as in cyphonicd.yaml.
	Config map[string]map[string]any
	// ConfigOf is added to that of manager i, after Config. May be nil.
	ConfigOf func(i int) map[string]map[string]any
	// Site puts the plane into a lab that exists. The zero value makes one.
	Site Site
}

// Site is where a plane runs in a lab that somebody else made and will close.
type Site struct {
	Lab *lab.Lab
	// Hosts carry the members and managers, in order.
	Hosts []Host
	// Client is the host that requests come from.
	Client string
	// Names are further addresses under which the cloud is reached, for its certificate.
	Names []string
	// KeepRunning lets the processes outlive this one.
	KeepRunning bool
}

// Host carries a member and a manager.
type Host struct {
	Name    string
	Address netip.Addr
}

// Plane is a running control plane. It is for one test at a time.
type Plane struct {
	options   Options
	lab       *lab.Lab
	authority *authority
	trust     identity.Trust
	hosts     []Host
	client    string // name of the host that requests come from
	token     string // of the administrator
	password  string // of the managers at etcd

	Members  []*Process
	Managers []*Process
}

// Client is the host that requests come from.
const clientHost = "operator"

// hostName of member and manager i.
func hostName(i int) string { return fmt.Sprintf("m%d", i+1) }

// Address of the host of member and manager i.
func Address(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 77, 0, byte(i + 1)}) }

const (
	managerPort    = 7440
	etcdClientPort = 2379
	etcdPeerPort   = 2380
	frontHost      = "10.77.0.100"
)

func topology(hosts int) lab.Topology {
	t := lab.Topology{Hosts: []lab.HostSpec{
		{Name: "switch", Bridges: []lab.BridgeSpec{{Name: "br0"}}},
		{Name: clientHost},
	}}
	join := func(host, address string) {
		t.Links = append(t.Links, lab.LinkSpec{
			A: lab.End{Host: host, Interface: "eth0", Addresses: lab.Prefixes(address)},
			B: lab.End{Host: "switch", Interface: "to-" + host, Bridge: "br0"},
		})
	}
	join(clientHost, frontHost+"/24")
	for i := range hosts {
		t.Hosts = append(t.Hosts, lab.HostSpec{Name: hostName(i)})
		join(hostName(i), Address(i).String()+"/24")
	}
	return t
}

// Start brings up etcd and the managers and waits until every manager is ready. Close must be called whatever Start returns.
func Start(ctx context.Context, o Options) (*Plane, error) {
	p := &Plane{options: o}
	if o.Managers < 1 || o.Managers > 9 || o.Members > 9 || (o.Members == 0 && o.Managers != 1) {
		return p, fmt.Errorf("%d managers on %d etcd members are not possible", o.Managers, o.Members)
	}
	if err := p.settle(ctx); err != nil {
		return p, err
	}
	if err := p.startMembers(ctx); err != nil {
		return p, err
	}
	return p, p.startManagers(ctx)
}

// settle finds the place: the lab of the options or one of its own.
func (p *Plane) settle(ctx context.Context) (err error) {
	n := max(p.options.Members, p.options.Managers)
	if p.lab = p.options.Site.Lab; p.lab != nil {
		if len(p.options.Site.Hosts) < n {
			return fmt.Errorf("%d hosts are too few", len(p.options.Site.Hosts))
		}
		p.hosts, p.client = p.options.Site.Hosts, p.options.Site.Client
		return nil
	}
	for i := range n {
		p.hosts = append(p.hosts, Host{Name: hostName(i), Address: Address(i)})
	}
	p.client = clientHost
	p.lab, err = lab.New(ctx, lab.Options{NoEvidence: true}, topology(n))
	return err
}

// Close ends everything and removes it, unless it is the lab of somebody else.
func (p *Plane) Close() error {
	if p.lab == nil || p.options.Site.Lab != nil {
		return nil
	}
	return p.lab.Close()
}

// Directory holds logs and data of the run.
func (p *Plane) Directory() string { return p.lab.Directory() }

// Lab is the lab that the plane runs in.
func (p *Plane) Lab() *lab.Lab { return p.lab }

// Token is the administrator's bearer token.
func (p *Plane) Token() string { return p.token }

// TrustedCertificates (PEM) are those that the managers' certificates descend from.
func (p *Plane) TrustedCertificates() []byte { return p.trust.TLSCA }

// ConfigPath is the configuration file for cyphonicctl; its server is the first manager.
func (p *Plane) ConfigPath() string { return filepath.Join(p.lab.Directory(), "site", "config.yaml") }

// Program is the path of a built program.
func (p *Plane) Program(name string) string { return filepath.Join(p.options.Programs, name) }

// Run runs a command on the host that requests come from and returns its output.
func (p *Plane) Run(ctx context.Context, args ...string) (string, error) {
	return p.lab.Host(p.client).Run(ctx, args...)
}

// Dial connects from the host that requests come from.
func (p *Plane) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	return p.lab.Host(p.client).Dial(ctx, network, address)
}

// ServerURL of manager i.
func (p *Plane) ServerURL(i int) string {
	return fmt.Sprintf("https://%s:%d", p.hosts[i].Address, managerPort)
}

// Transport speaks to the managers from the host that requests come from.
func (p *Plane) Transport() *http.Transport {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(p.trust.TLSCA)
	return &http.Transport{
		DialContext: p.Dial, ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 64,
		TLSClientConfig:     &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13},
		TLSHandshakeTimeout: 5 * time.Second,
	}
}

func (p *Plane) startManagers(ctx context.Context) error {
	site := filepath.Join(p.lab.Directory(), "site")
	args := []string{"init", "--directory", site, "--data-directory", filepath.Join(p.lab.Directory(), "data")}
	for i := range p.options.Managers {
		args = append(args, "--address", p.hosts[i].Address.String())
	}
	for _, name := range append([]string{frontHost}, p.options.Site.Names...) {
		args = append(args, "--address", name)
	}
	if out, err := exec.CommandContext(ctx, p.Program("cyphonicctl"), args...).CombinedOutput(); err != nil {
		return fmt.Errorf("cyphonicctl init: %w: %s", err, out)
	}
	if err := p.readSite(site); err != nil {
		return err
	}
	for i := range p.options.Managers {
		sections := []map[string]map[string]any{p.options.Config}
		if p.options.ConfigOf != nil {
			sections = append(sections, p.options.ConfigOf(i))
		}
		name := fmt.Sprintf("manager-%d", i+1)
		config, err := p.WriteConfig(name, sections...)
		if err != nil {
			return err
		}
		manager := p.process(i, name, p.Program("cyphonicd"), "manager", "--config", config)
		p.Managers = append(p.Managers, manager)
		if err := manager.Start(); err != nil {
			return err
		}
	}
	for i := range p.Managers {
		if err := p.WaitReady(ctx, i); err != nil {
			return err
		}
	}
	return nil
}

func (p *Plane) readSite(site string) error {
	var err error
	if p.trust, err = identity.LoadTrust(filepath.Join(site, "trust.json")); err != nil {
		return err
	}
	content, err := os.ReadFile(filepath.Join(site, "config.yaml"))
	if err != nil {
		return err
	}
	var config struct {
		Contexts []struct{ Token string }
	}
	if err := yaml.Unmarshal(content, &config); err != nil || len(config.Contexts) != 1 {
		return errors.Join(err, errors.New("cyphonicctl init wrote no context"))
	}
	p.token = config.Contexts[0].Token
	return nil
}

// process on host i; it is not started.
func (p *Plane) process(i int, name string, args ...string) *Process {
	return NewProcess(p.lab.Host(p.hosts[i].Name), lab.Command{Name: name, Args: args, KeepRunning: p.options.Site.KeepRunning})
}

// WriteConfig derives a configuration file of cyphonicd from the one that cyphonicctl init wrote, with the etcd cluster of
// the plane and further sections, and returns its path.
func (p *Plane) WriteConfig(name string, sections ...map[string]map[string]any) (string, error) {
	cloud := filepath.Join(p.lab.Directory(), "site", "cloud")
	content, err := os.ReadFile(filepath.Join(cloud, "cyphonicd.yaml"))
	if err != nil {
		return "", err
	}
	var config map[string]any
	if err := yaml.Unmarshal(content, &config); err != nil {
		return "", err
	}
	if p.options.Members > 0 {
		config["etcd"] = p.etcdConfig()
	}
	for _, added := range sections {
		for name, fields := range added {
			section, _ := config[name].(map[string]any)
			if section == nil {
				section = map[string]any{}
			}
			maps.Copy(section, fields)
			config[name] = section
		}
	}
	content, err = yaml.Marshal(config)
	if err != nil {
		return "", err
	}
	path := filepath.Join(cloud, name+".yaml")
	return path, os.WriteFile(path, content, 0o600)
}

// WaitReady waits until manager i says that it is ready.
func (p *Plane) WaitReady(ctx context.Context, i int) error {
	transport := p.Transport()
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: dialTimeout}
	last := errors.New("not asked")
	err := wait(ctx, func() bool {
		if !p.Managers[i].Running() {
			last = errors.New("it has ended: " + p.Managers[i].LogTail(10))
			return false
		}
		last = ready(ctx, client, p.ServerURL(i))
		return last == nil
	})
	if err != nil {
		return fmt.Errorf("manager %d: %w: %w", i+1, err, last)
	}
	return nil
}

func ready(ctx context.Context, client *http.Client, server string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, server+"/readyz", nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return errors.New(response.Status)
	}
	return nil
}

// wait asks again and again until it is done or startTimeout has passed.
func wait(ctx context.Context, done func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for !done() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("not ready: %w", ctx.Err())
		case <-time.After(pollInterval):
		}
	}
	return nil
}
