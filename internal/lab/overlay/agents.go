package overlay

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/cyphonic/cyphonic/internal/lab"
)

// Agent is a running node or adapter.
type Agent struct {
	Name    string
	Host    *lab.Host
	Config  string // path of its configuration
	Socket  string // path of its status socket
	Process *lab.Process

	network *Network
	program string
	client  *http.Client
}

// AgentOptions of StartNode and StartAdapter.
type AgentOptions struct {
	// Name of the resource; default is the host's name.
	Name string
	// Service is the address of the AS; default is the cloud's IPv4 address.
	Service string
	// Settings are added to the configuration file as they are.
	Settings map[string]any
}

// asPort is the default port of the authentication service.
const asPort = "7441"

// StartNode enrols a node with a fresh token, writes its node.yaml and starts it.
func (n *Network) StartNode(ctx context.Context, host *lab.Host, options AgentOptions) (*Agent, error) {
	settings := map[string]any{
		"interface": "cyphonic0",
		"resolver":  map[string]any{"integration": "resolvconf"},
	}
	return n.startAgent(ctx, host, options, "Node", nodeProcess, settings)
}

// StartAdapter enrols an adapter, writes its adapter.yaml for the bridge br-lan with the given ports and starts it.
func (n *Network) StartAdapter(ctx context.Context, host *lab.Host, ports []string, options AgentOptions) (*Agent, error) {
	settings := map[string]any{
		"lan": map[string]any{"interface": LANBridge, "ports": ports},
	}
	return n.startAgent(ctx, host, options, "Adapter", adapterProcess, settings)
}

func (n *Network) startAgent(ctx context.Context, host *lab.Host, options AgentOptions, kind, program string, settings map[string]any) (*Agent, error) {
	if options.Name == "" {
		options.Name = host.Name
	}
	if options.Service == "" {
		options.Service = CloudIPv4
	}
	token, err := n.token(ctx, kind, options.Name)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", kind, options.Name, err)
	}
	a := &Agent{
		Name: options.Name, Host: host, network: n, program: program,
		Config: filepath.Join(n.directory, "config", options.Name+".yaml"),
		Socket: filepath.Join(n.directory, "run", options.Name+".sock"),
	}
	a.client = &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var dialer net.Dialer
			return dialer.DialContext(ctx, "unix", a.Socket)
		},
	}}
	settings["name"] = options.Name
	settings["authenticationService"] = net.JoinHostPort(options.Service, asPort)
	settings["trust"] = filepath.Join(n.Installation(), "trust.json")
	settings["stateDirectory"] = filepath.Join(n.directory, "state", options.Name)
	settings["statusSocket"] = a.Socket
	settings["enrollmentTokenFile"] = token
	for key, value := range options.Settings {
		settings[key] = value
	}
	text, err := yaml.Marshal(settings)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(a.Config, text, 0o600); err != nil {
		return nil, err
	}
	return a, a.Start()
}

// Start starts the agent's program, for instance again after Kill.
func (a *Agent) Start() (err error) {
	a.Process, err = a.Host.Start(lab.Command{
		Name: a.program, Args: []string{a.network.Programs.Path(a.program), "run", "--config", a.Config}, KeepRunning: a.network.persist,
	})
	return err
}

// Status asks the agent.
func (a *Agent) Status(ctx context.Context) (Status, error) {
	var status Status
	body, err := a.Get(ctx, "/status")
	if err != nil {
		return status, err
	}
	return status, json.Unmarshal(body, &status)
}

// Metrics are the agent's counters in Prometheus' text format.
func (a *Agent) Metrics(ctx context.Context) (string, error) {
	body, err := a.Get(ctx, "/metrics")
	return string(body), err
}

// Get is the body of the agent's answer to GET path on its status socket.
func (a *Agent) Get(ctx context.Context, path string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://agent"+path, nil)
	if err != nil {
		return nil, err
	}
	response, err := a.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s answers %s", a.Name, path, response.Status)
	}
	return io.ReadAll(response.Body)
}

// WaitRegistered waits until the identities of the agent are registered at the NMS: the node itself, or the named
// general nodes of an adapter.
func (a *Agent) WaitRegistered(ctx context.Context, generalNodes ...string) error {
	return a.network.wait(ctx, a.Process, func() error {
		status, err := a.Status(ctx)
		if err != nil {
			return err
		}
		return status.registered(max(1, len(generalNodes)))
	})
}

// Await waits until the status of the agent is as wanted; the error holds the last reason that check gave.
func (a *Agent) Await(ctx context.Context, check func(Status) error) error {
	return a.network.wait(ctx, a.Process, func() error {
		status, err := a.Status(ctx)
		if err != nil {
			return err
		}
		return check(status)
	})
}
