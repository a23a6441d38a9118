package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cyphonic/cyphonic/internal/lab"
	"github.com/cyphonic/cyphonic/internal/lab/overlay"
)

const (
	domain      = "e2e.cyphonic.internal"
	adapterName = "gateway"
)

// manifest is the desired state of the shared network. Everything with the label mesh talks to everything with it;
// mallory is a general node of the list without it.
const manifest = `
apiVersion: cyphonic/v1
kind: Network
metadata: {name: e2e}
spec: {ipv4Prefix: 100.96.0.0/16, ipv6Prefix: "fd96:c1f0::/64", domain: e2e.cyphonic.internal}
---
{apiVersion: cyphonic/v1, kind: CloudService, metadata: {name: manager}, spec: {service: manager, ipv4: 203.0.113.10, ipv6: "2001:db8:113::10", port: 7440}}
---
{apiVersion: cyphonic/v1, kind: CloudService, metadata: {name: as}, spec: {service: as, ipv4: 203.0.113.10, ipv6: "2001:db8:113::10", port: 7441}}
---
{apiVersion: cyphonic/v1, kind: CloudService, metadata: {name: nms}, spec: {service: nms, ipv4: 203.0.113.10, ipv6: "2001:db8:113::10", port: 7442}}
---
{apiVersion: cyphonic/v1, kind: CloudService, metadata: {name: trs}, spec: {service: trs, ipv4: 203.0.113.10, ipv6: "2001:db8:113::10", port: 7443}}
---
{apiVersion: cyphonic/v1, kind: Adapter, metadata: {name: gateway}, spec: {network: e2e}}
---
{apiVersion: cyphonic/v1, kind: GeneralNode, metadata: {name: cam1, labels: {mesh: "yes"}}, spec: {network: e2e, adapter: gateway, mac: "02:00:00:00:01:01", authentication: {method: mac}}}
---
{apiVersion: cyphonic/v1, kind: GeneralNode, metadata: {name: cam2, labels: {mesh: "yes"}}, spec: {network: e2e, adapter: gateway, mac: "02:00:00:00:01:02", authentication: {method: mac}}}
---
{apiVersion: cyphonic/v1, kind: GeneralNode, metadata: {name: mallory}, spec: {network: e2e, adapter: gateway, mac: "02:00:00:00:01:03", authentication: {method: mac}}}
---
apiVersion: cyphonic/v1
kind: AccessPolicy
metadata: {name: mesh}
spec:
  network: e2e
  from: [{matchLabels: {mesh: "yes"}}]
  to: [{matchLabels: {mesh: "yes"}}]
  rules: [{protocol: any}]
  minimumAssurance: mac
`

// newcomer is a general node that a test adds to the list while everything runs.
const newcomer = `
apiVersion: cyphonic/v1
kind: GeneralNode
metadata: {name: newcomer, labels: {mesh: "yes"}}
spec: {network: e2e, adapter: gateway, mac: "02:00:00:00:01:66", authentication: {method: mac}}
`

// nodes are the hosts that run cyphonic-node; six knows the cloud by IPv6 only.
func nodes() []string {
	return []string{"viewer", "desk", "alpha", "beta", "four", "six", "gamma", "delta"}
}

// topology is two translated sites with a camera LAN at one of them, two sites behind symmetric translation, two
// public hosts of both families, and one public host of each family alone.
func topology() lab.Topology {
	t := overlay.InternetTopology()
	overlay.AddSite(t, "nata", lab.NATPortPreserving, "198.51.100.2/25", "192.168.10.0/24", "adapter", "desk")
	overlay.AddSite(t, "natb", lab.NATPortPreserving, "198.51.100.130/25", "192.168.20.0/24", "viewer")
	overlay.AddSite(t, "natc", lab.NATSymmetric, "192.0.2.50/28", "192.168.30.0/24", "gamma")
	overlay.AddSite(t, "natd", lab.NATSymmetric, "192.0.2.66/28", "192.168.40.0/24", "delta")
	overlay.AddPublicHost(t, "alpha", "192.0.2.2/28", "2001:db8:a::2/64")
	overlay.AddPublicHost(t, "beta", "192.0.2.18/28", "2001:db8:b::2/64")
	overlay.AddPublicHost(t, "four", "192.0.2.34/28")
	overlay.AddPublicHost(t, "six", "2001:db8:6::2/64")
	overlay.AddLAN(t, "adapter", map[string]string{
		"cam1": "02:00:00:00:01:01", "cam2": "02:00:00:00:01:02", "mallory": "02:00:00:00:01:03", "intruder": "02:00:00:00:01:66",
	}, "cam1", "cam2", "mallory", "intruder")
	return *t
}

// system is the running network that all tests share.
type system struct {
	*overlay.Network
	lab     *lab.Lab
	agents  map[string]*overlay.Agent
	cameras map[string]*overlay.GeneralNode
	// lasting is open from before the first test until after the last, from four to beta, which no test disturbs.
	lasting *stream
}

// shared is set once by TestMain, before any test.
var shared *system

func TestMain(m *testing.M) {
	if os.Geteuid() != 0 {
		if os.Getenv("CYPHONIC_UNPRIVILEGED") == "1" {
			fmt.Println("SKIP: the end-to-end tests need root (network namespaces); CYPHONIC_UNPRIVILEGED=1 skips them")
			os.Exit(0)
		}
		fmt.Println("FAIL: the end-to-end tests need root (network namespaces); set CYPHONIC_UNPRIVILEGED=1 to skip them")
		os.Exit(1)
	}
	os.Exit(run(m))
}

// run is TestMain with defers.
func run(m *testing.M) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	started := time.Now()
	s, err := start(ctx)
	if s != nil {
		// An interrupted go test kills its test programs; until then this removes the lab in order.
		remove := sync.OnceFunc(func() {
			if err := s.lab.Close(); err != nil {
				fmt.Println("remove the lab:", err)
			}
		})
		defer remove()
		defer context.AfterFunc(ctx, func() { remove(); os.Exit(130) })()
	}
	if err != nil {
		fmt.Println("FAIL: start the network:", err)
		keep(s)
		return 1
	}
	fmt.Printf("the network of %d nodes and 3 general nodes runs after %.1f s\n", len(nodes()), time.Since(started).Seconds())
	shared = s
	closeLasting, err := s.openLasting(ctx)
	if err != nil {
		fmt.Println("FAIL: open the connection that lasts:", err)
		keep(s)
		return 1
	}
	defer closeLasting()
	code := m.Run()
	if code == 0 {
		if err := errors.Join(s.checkLasting(ctx), s.aftermath()); err != nil {
			fmt.Println("FAIL: after the tests:", err)
			code = 1
		}
	}
	if code != 0 {
		keep(s)
	}
	return code
}

// aftermath wants every program to run still, to end in order when asked to, and to have raced and panicked nowhere.
func (s *system) aftermath() error {
	processes := map[string]*lab.Process{"cloud": s.Cloud()}
	for name, agent := range s.agents {
		processes[name] = agent.Process
	}
	var failures error
	for name, process := range processes {
		if !process.Running() {
			failures = errors.Join(failures, fmt.Errorf("%s ended by itself: %w\n%s", name, process.Err(), process.LogTail(20)))
			continue
		}
		failures = errors.Join(failures, process.Stop())
		if err := process.Err(); err != nil {
			failures = errors.Join(failures, fmt.Errorf("%s, asked to end by SIGTERM: %w\n%s", name, err, process.LogTail(5)))
		}
		for _, bad := range []string{"DATA RACE", "panic:", "fatal error:"} {
			if strings.Contains(process.Log(), bad) {
				failures = errors.Join(failures, fmt.Errorf("the log of %s has a %s", name, bad))
			}
		}
	}
	return failures
}

// keep ends all programs with their goroutines in the logs, and keeps everything as evidence.
func keep(s *system) {
	if s == nil {
		return
	}
	s.lab.DumpGoroutines(overlay.GoPrograms()...)
	directory := filepath.Join(evidenceRoot(), "suite")
	fmt.Println("evidence of the whole suite:", directory, s.lab.KeepEvidence(directory))
}

// evidenceRoot is build/evidence at the top of the module.
func evidenceRoot() string {
	root, err := filepath.Abs("../../../build/evidence")
	if err != nil {
		panic(err)
	}
	return root
}

func programs(ctx context.Context, directory string) (overlay.Programs, error) {
	if built := os.Getenv("CYPHONIC_BIN"); built != "" {
		return overlay.FindPrograms(built)
	}
	var flags []string
	if os.Getenv("CYPHONIC_RACE") == "1" {
		flags = append(flags, "-race")
	}
	return overlay.BuildPrograms(ctx, directory, flags...)
}

// start builds the lab and brings up cloud, nodes, adapter and cameras.
func start(ctx context.Context) (*system, error) {
	l, err := lab.New(ctx, lab.Options{RealWire: true}, topology())
	if err != nil {
		return nil, err
	}
	s := &system{lab: l, agents: make(map[string]*overlay.Agent), cameras: make(map[string]*overlay.GeneralNode)}
	built, err := programs(ctx, filepath.Join(l.Directory(), "bin"))
	if err != nil {
		return s, err
	}
	if s.Network, err = overlay.New(l, built, false); err != nil {
		return s, err
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	if err := errors.Join(s.Init(ctx), s.StartCloud(ctx)); err != nil {
		return s, err
	}
	if err := s.Apply(ctx, manifest+nodeManifests()); err != nil {
		return s, err
	}
	return s, s.startDevices(ctx)
}

func nodeManifests() string {
	text := ""
	for _, name := range nodes() {
		text += fmt.Sprintf("---\n{apiVersion: cyphonic/v1, kind: Node, metadata: {name: %s, labels: {mesh: \"yes\"}}, spec: {network: e2e}}\n", name)
	}
	return text
}

func (s *system) startDevices(ctx context.Context) (err error) {
	for _, name := range nodes() {
		var options overlay.AgentOptions
		if name == "six" {
			options.Service = overlay.CloudIPv6
		}
		if s.agents[name], err = s.StartNode(ctx, s.lab.Host(name), options); err != nil {
			return err
		}
	}
	ports := []string{"lan1", "lan2", "lan3", "lan4"}
	s.agents["adapter"], err = s.StartAdapter(ctx, s.lab.Host("adapter"), ports, overlay.AgentOptions{Name: adapterName})
	if err != nil {
		return err
	}
	for _, name := range []string{"cam1", "cam2", "mallory"} {
		if s.cameras[name], err = s.StartGeneralNode(s.lab.Host(name)); err != nil {
			return err
		}
	}
	for _, name := range nodes() {
		if err := s.agents[name].WaitRegistered(ctx); err != nil {
			return err
		}
	}
	for _, camera := range s.cameras {
		if _, err := camera.WaitLease(ctx); err != nil {
			return err
		}
	}
	return nil
}
