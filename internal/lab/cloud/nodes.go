package cloud

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/cyphonic/cyphonic/internal/lab"
	"github.com/cyphonic/cyphonic/internal/lab/overlay"
	"github.com/cyphonic/cyphonic/internal/lab/probe"
)

// Nodes are the hosts beside the devices that run cyphonic-node: two with IPv4 only, one with IPv6 only. Tunnels between
// the first two are direct, those to the third go through the TRS.
func Nodes() []string { return []string{"four", "vier", "six"} }

// nodeTopology puts the nodes on a router.
func nodeTopology(t *lab.Topology, first string) {
	for i, name := range Nodes() {
		gateway, address := fmt.Sprintf("192.0.2.%d/30", 33+4*i), fmt.Sprintf("192.0.2.%d/30", 34+4*i)
		if name == "six" {
			gateway, address = "2001:db8:6::1/64", "2001:db8:6::2/64"
		}
		via := netip.MustParsePrefix(gateway).Addr()
		t.Hosts = append(t.Hosts, lab.HostSpec{Name: name, Routes: lab.DefaultRoutes(via.String())})
		t.Links = append(t.Links, lab.LinkSpec{
			A: lab.End{Host: first, Interface: name, Addresses: lab.Prefixes(gateway)},
			B: lab.End{Host: name, Interface: "eth0", Addresses: lab.Prefixes(address)},
		})
	}
}

// nodePrefixes are those of the nodes, which the first router announces.
func nodePrefixes() (v4, v6 []string) {
	return []string{"192.0.2.32/30", "192.0.2.36/30"}, []string{"2001:db8:6::/64"}
}

// nodeManifests are the resources of the nodes: each may speak to each.
func nodeManifests() string {
	text := ""
	for _, name := range Nodes() {
		text += fmt.Sprintf("---\n{apiVersion: cyphonic/v1, kind: Node, metadata: {name: %s, labels: {mesh: \"yes\"}}, spec: {network: %s}}\n", name, networkName)
	}
	return text + fmt.Sprintf(`---
apiVersion: cyphonic/v1
kind: AccessPolicy
metadata: {name: mesh}
spec: {network: %s, from: [{matchLabels: {mesh: "yes"}}], to: [{matchLabels: {mesh: "yes"}}], rules: [{protocol: any}]}
`, networkName)
}

// Node is a running cyphonic-node.
type Node struct {
	Name    string
	Host    *lab.Host
	Process *lab.Process
	socket  string
}

// StartNodes enrols and starts all nodes and waits until they are registered.
func (c *Cloud) StartNodes(ctx context.Context) (map[string]*Node, error) {
	all := make(map[string]*Node)
	for _, name := range Nodes() {
		n, err := c.startNode(ctx, name)
		if err != nil {
			return nil, fmt.Errorf("node %s: %w", name, err)
		}
		all[name] = n
	}
	for name, n := range all {
		err := await(ctx, startTimeout, func() error {
			_, err := n.VirtualIPv4(ctx)
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("node %s: %w: %s", name, err, n.Process.LogTail(5))
		}
	}
	return all, nil
}

func (c *Cloud) startNode(ctx context.Context, name string) (*Node, error) {
	token, err := c.Ctl(ctx, "token", "create", "--node", name)
	if err != nil {
		return nil, err
	}
	n := &Node{Name: name, Host: c.Lab.Host(name), socket: c.path("run", name+".sock")}
	service := VIP4(AS)
	if name == "six" {
		service = VIP6(AS)
	}
	config, err := yaml.Marshal(map[string]any{
		"name": name, "interface": "cyphonic0", "resolver": map[string]any{"integration": "none"},
		"authenticationService": netip.AddrPortFrom(service, Port(AS)).String(), "trust": c.path("site", "trust.json"),
		"stateDirectory": c.path("run", "state-"+name), "statusSocket": n.socket, "enrollmentTokenFile": c.path("run", name+".token"),
	})
	if err != nil {
		return nil, err
	}
	for file, text := range map[string]string{name + ".token": token, name + ".yaml": string(config)} {
		if err := os.WriteFile(c.path("run", file), []byte(text), 0o600); err != nil {
			return nil, err
		}
	}
	n.Process, err = n.Host.Start(lab.Command{
		Name: "cyphonic-node", Args: []string{c.Plane.Program("cyphonic-node"), "run", "--config", c.path("run", name+".yaml")}, KeepRunning: c.options.Persistent,
	})
	return n, err
}

// Status asks the node.
func (n *Node) Status(ctx context.Context) (status overlay.Status, err error) {
	body, err := n.Host.Run(ctx, "curl", "-s", "-m", "5", "--unix-socket", n.socket, "http://node/status")
	if err != nil {
		return status, err
	}
	return status, json.Unmarshal([]byte(body), &status)
}

// VirtualIPv4 of the node, once it is registered.
func (n *Node) VirtualIPv4(ctx context.Context) (netip.Addr, error) {
	status, err := n.Status(ctx)
	if err != nil {
		return netip.Addr{}, err
	}
	for _, local := range status.Locals {
		if local.Registered && local.VirtualIPv4.IsValid() {
			return local.VirtualIPv4, nil
		}
	}
	return netip.Addr{}, errors.New("not registered")
}

// Stream is a TCP connection through a tunnel that is busy until Finish.
type Stream struct {
	cancel context.CancelFunc
	done   chan struct{}
	report probe.StreamReport
	err    error
}

// echoPort is where the far end of streams listens.
const echoPort = 9999

// OpenStream opens a TCP connection between two nodes by virtual address, and keeps it busy.
func OpenStream(ctx context.Context, from, to *Node) (*Stream, error) {
	virtual, err := to.VirtualIPv4(ctx)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	s := &Stream{cancel: cancel, done: make(chan struct{})}
	target := netip.AddrPortFrom(virtual, echoPort).String()
	listener, err := to.Host.ListenTCP(target)
	if err != nil {
		cancel()
		return nil, err
	}
	var conn net.Conn
	if conn, err = from.Host.Dial(ctx, "tcp", target); err != nil {
		cancel()
		return nil, errors.Join(err, listener.Close())
	}
	serving := make(chan struct{})
	go func() {
		defer close(serving)
		_ = probe.ServeEcho(ctx, listener) // the stream judges the connection
	}()
	go func() {
		defer close(s.done)
		s.report, s.err = probe.Stream(ctx, conn, 10*time.Millisecond, nil)
		cancel()
		<-serving
	}()
	return s, nil
}

// Finish ends the stream and returns what it has seen; the error is a reset, an end or a wrong byte.
func (s *Stream) Finish() (probe.StreamReport, error) {
	s.cancel()
	<-s.done
	return s.report, s.err
}
