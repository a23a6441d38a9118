package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/cyphonic/cyphonic/internal/lab"
	"github.com/cyphonic/cyphonic/internal/lab/overlay"
)

// Options of every command.
type Options struct {
	// Programs is the directory of the built programs.
	Programs string
	// Manifests is the directory with the resources to apply.
	Manifests string
	// Out is where the story is told.
	Out io.Writer
}

// site is the demo's network while it runs.
type site struct {
	*overlay.Network
	story   *story
	options Options

	viewer, adapter *overlay.Agent
	cameras         []*overlay.GeneralNode
	domain          string
}

// adapterName is the name of the adapter in the manifests.
const adapterName = "gateway-a"

const picture = `
    cam1 ─┐
          ├─ adapter ── NAPT A ─┐          ┌─ NAPT B ── viewer
    cam2 ─┘                     └─ internet┘
                                      └─ cloud: manager, AS, NMS, TRS
`

// prepare builds the demo's lab and starts everything on it.
func prepare(ctx context.Context, options Options, labOptions lab.Options) (*site, error) {
	return prepareOn(ctx, options, labOptions, overlay.DemoTopology())
}

// prepareOn is prepare on a topology that contains the demo's. On error, what was built is removed.
func prepareOn(ctx context.Context, options Options, labOptions lab.Options, topology lab.Topology) (*site, error) {
	programs, err := overlay.FindPrograms(options.Programs)
	if err != nil {
		return nil, err
	}
	if options.Manifests, err = filepath.Abs(options.Manifests); err != nil {
		return nil, err
	}
	if _, err := os.Stat(options.Manifests); err != nil {
		return nil, fmt.Errorf("the manifests: %w: run from the top of the repository or give --manifests", err)
	}
	s := &site{story: newStory(options.Out), options: options}
	var l *lab.Lab
	err = s.story.step("hosts, routers and links in network namespaces", func() (string, error) {
		l, err = lab.New(ctx, labOptions, topology)
		if err != nil {
			return "", err
		}
		return l.Name() + "-*", nil
	})
	if err != nil {
		return nil, err
	}
	if s.Network, err = overlay.New(l, programs, labOptions.Persistent); err == nil {
		err = s.start(ctx)
	}
	if err != nil {
		if s.Network != nil {
			s.keepEvidence(err)
		}
		return nil, errors.Join(err, l.Abandon())
	}
	return s, nil
}

// start brings up cloud, node, adapter and cameras.
func (s *site) start(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	return inOrder(
		func() error {
			return s.story.step("keys, trust and configuration (cyphonicctl init)", func() (string, error) { return "", s.Init(ctx) })
		},
		func() error {
			return s.story.step("cloud ready (cyphonicd all: manager, AS, NMS, TRS, etcd)", func() (string, error) { return "", s.StartCloud(ctx) })
		},
		func() error {
			return s.story.step("resources applied (cyphonicctl apply -f manifests/examples/)", func() (string, error) {
				return "", s.Apply(ctx, s.options.Manifests)
			})
		},
		func() error { return s.startDevices(ctx) },
		func() error { return s.awaitDevices(ctx) },
	)
}

func (s *site) startDevices(ctx context.Context) error {
	return s.story.step("tokens made, node, adapter and cameras started", func() (string, error) {
		var err error
		if s.domain, err = s.findDomain(ctx); err != nil {
			return "", err
		}
		if s.viewer, err = s.StartNode(ctx, s.Lab.Host("viewer"), overlay.AgentOptions{}); err != nil {
			return "", err
		}
		s.adapter, err = s.StartAdapter(ctx, s.Lab.Host("adapter"), []string{"lan1", "lan2"}, overlay.AgentOptions{Name: adapterName})
		if err != nil {
			return "", err
		}
		for _, name := range []string{"cam1", "cam2"} {
			camera, err := s.StartGeneralNode(s.Lab.Host(name))
			if err != nil {
				return "", err
			}
			s.cameras = append(s.cameras, camera)
		}
		for _, name := range []string{"cam1", "cam2", "viewer"} {
			if err := s.startServices(name); err != nil {
				return "", err
			}
		}
		return "", nil
	})
}

// startServices gives a host a web server, as any camera has.
func (s *site) startServices(host string) error {
	_, err := s.Lab.Host(host).Start(lab.Command{
		Name: "web", Args: []string{s.Programs.Path("cyphonic-lab"), "helper", "web", "--name", host},
		KeepRunning: s.Lab.Record().Persistent,
	})
	return err
}

// findDomain asks the manager for the domain of the only network.
func (s *site) findDomain(ctx context.Context) (string, error) {
	out, err := s.Ctl(ctx, "get", "networks", "-o", "yaml")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(out) {
		if _, domain, found := strings.Cut(line, "domain:"); found {
			return strings.Trim(strings.TrimSpace(domain), `".`), nil
		}
	}
	return "", errors.New("no network with a domain was applied")
}

func (s *site) awaitDevices(ctx context.Context) error {
	err := s.story.step("viewer logged in and registered", func() (string, error) {
		return "", s.viewer.WaitRegistered(ctx)
	})
	for _, camera := range s.cameras {
		if err != nil {
			return err
		}
		err = s.story.step(camera.Name+" authenticated by its MAC address, has its virtual address by DHCP", func() (string, error) {
			var addr netip.Addr
			addr, err := camera.WaitLease(ctx)
			return addr.String(), err
		})
	}
	return err
}

// inOrder runs steps until one fails.
func inOrder(steps ...func() error) error {
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
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
			return fmt.Errorf("not within %s: %w", limit, err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}
