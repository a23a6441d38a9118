package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/cyphonic/cyphonic/internal/lab"
	"github.com/cyphonic/cyphonic/internal/lab/overlay"
)

const (
	// setUps is the number of tunnels whose set-up is timed.
	setUps = 100
	// restartPause keeps the restarts below what the NMS follows of one device: four logins with tickets of one second.
	restartPause = 300 * time.Millisecond
	// loadSeconds is the length of each throughput measurement.
	loadSeconds = 5
)

// figuresManifest adds two nodes with public addresses to the examples and lets every device talk to every other.
const figuresManifest = `
apiVersion: cyphonic/v1
kind: Node
metadata: {name: alpha}
spec: {network: factory}
---
apiVersion: cyphonic/v1
kind: Node
metadata: {name: beta}
spec: {network: factory}
---
apiVersion: cyphonic/v1
kind: AccessPolicy
metadata: {name: figures}
spec:
  network: factory
  from: [{kinds: [Node, GeneralNode]}]
  to: [{kinds: [Node, GeneralNode]}]
  rules: [{protocol: any}]
  minimumAssurance: mac
`

// Figures measures set-up time, RTT and throughput and prints them as tables.
func Figures(ctx context.Context, options Options) (err error) {
	topology := overlay.DemoTopology()
	overlay.AddPublicHost(&topology, "alpha", "192.0.2.2/28", "2001:db8:a::2/64")
	overlay.AddPublicHost(&topology, "beta", "192.0.2.18/28", "2001:db8:b::2/64")
	labOptions := lab.Options{Name: fmt.Sprintf("cyfig-%d", time.Now().UnixNano()%1e6), RealWire: true, NoEvidence: true}
	s, err := prepareOn(ctx, options, labOptions, topology)
	if err != nil {
		return err
	}
	defer func() {
		s.keepEvidence(err)
		err = errors.Join(err, s.Lab.Close())
	}()
	f := &figures{site: s}
	return inOrder(
		func() error { return f.startNodes(ctx) },
		func() error { return f.firstPing(ctx) },
		func() error { return f.paths(ctx) },
		func() error { return f.tunnels(ctx) },
		func() error { f.print(); return nil },
	)
}

// figures collects the rows while it measures.
type figures struct {
	*site
	alpha, beta *overlay.Agent
	rows        [][]string
	first       time.Duration
	set         []time.Duration
}

func (f *figures) startNodes(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	return f.story.step("two nodes with public addresses", func() (string, error) {
		if err := f.Apply(ctx, figuresManifest); err != nil {
			return "", err
		}
		var err error
		for name, agent := range map[string]**overlay.Agent{"alpha": &f.alpha, "beta": &f.beta} {
			if *agent, err = f.StartNode(ctx, f.Lab.Host(name), overlay.AgentOptions{}); err != nil {
				return "", err
			}
			if err := (*agent).WaitRegistered(ctx); err != nil {
				return "", err
			}
		}
		for _, name := range []string{"beta", "cam1"} {
			if _, err := f.Lab.Host(name).Start(lab.Command{Args: []string{"iperf3", "-s"}}); err != nil {
				return "", err
			}
		}
		return "", nil
	})
}

func (f *figures) firstPing(ctx context.Context) error {
	begin := time.Now()
	return f.story.step("first ping from viewer to cam1, with its tunnel", func() (string, error) {
		_, err := f.Lab.Host("viewer").Run(ctx, "ping", "-c", "1", "-W", "10", f.fqdn("cam1"))
		f.first = time.Since(begin)
		return f.first.Round(time.Millisecond).String(), err
	})
}

// paths measures each pair on each path.
func (f *figures) paths(ctx context.Context) error {
	between := lab.BlockRule{
		Protocol: "udp", BothWays: true, From: lab.Prefixes("192.0.2.2/32")[0], To: lab.Prefixes("192.0.2.18/32")[0],
	}
	between6 := lab.BlockRule{
		Protocol: "udp", BothWays: true, From: lab.Prefixes("2001:db8:a::2/128")[0], To: lab.Prefixes("2001:db8:b::2/128")[0],
	}
	alpha, viewer := f.Lab.Host("alpha"), f.Lab.Host("viewer")
	return inOrder(
		func() error { return f.measure(ctx, "alpha → beta, plain (no CYPHONIC)", alpha, "192.0.2.18") },
		func() error { return f.measure(ctx, "alpha → beta, direct", alpha, f.fqdn("beta")) },
		func() error {
			return f.whileBlocked(ctx, f.alpha, "beta", func() error {
				return f.measure(ctx, "alpha → beta, relayed", alpha, f.fqdn("beta"))
			}, between, between6)
		},
		func() error { return f.measure(ctx, "viewer → cam1, punched", viewer, f.fqdn("cam1")) },
		func() error {
			return f.whileBlocked(ctx, f.viewer, "cam1", func() error {
				return f.measure(ctx, "viewer → cam1, relayed", viewer, f.fqdn("cam1"))
			}, overlay.BetweenSites())
		},
	)
}

// whileBlocked runs a measurement while the direct path is blocked and the tunnel is relayed.
func (f *figures) whileBlocked(ctx context.Context, agent *overlay.Agent, peer string, run func() error, rules ...lab.BlockRule) error {
	blocking, err := f.Lab.Host(overlay.Internet).Block(ctx, rules...)
	if err != nil {
		return err
	}
	traffic, stop := context.WithCancel(ctx)
	pinging := make(chan struct{})
	go func() {
		defer close(pinging)
		_, _ = agent.Host.Run(traffic, "ping", "-i", "0.2", f.fqdn(peer)) // makes the loss of the path noticeable
	}()
	err = agent.Await(ctx, func(status overlay.Status) error {
		found, err := status.Peer(f.fqdn(agent.Name), f.fqdn(peer))
		if err == nil && found.Path != "relayed" {
			err = fmt.Errorf("still %s", found.Path)
		}
		return err
	})
	stop()
	<-pinging
	if err == nil {
		err = run()
	}
	return errors.Join(err, blocking.Undo(ctx))
}

func (f *figures) measure(ctx context.Context, name string, from *lab.Host, to string) error {
	return f.story.step(name, func() (string, error) {
		out, err := from.Run(ctx, "ping", "-c", "50", "-i", "0.02", "-q", to)
		if err != nil {
			return strings.TrimSpace(out), err
		}
		rtt := pingAverage.FindStringSubmatch(out)
		if rtt == nil {
			return "", fmt.Errorf("unexpected output of ping: %s", out)
		}
		forward, err := iperf(ctx, from, to)
		if err != nil {
			return "", err
		}
		reverse, err := iperf(ctx, from, to, "-R")
		if err != nil {
			return "", err
		}
		f.rows = append(f.rows, []string{name, rtt[1] + " ms", megabits(forward), megabits(reverse)})
		return megabits(forward), nil
	})
}

// iperf measures TCP throughput in bit/s.
func iperf(ctx context.Context, from *lab.Host, to string, flags ...string) (float64, error) {
	args := append([]string{"iperf3", "-c", to, "-t", fmt.Sprint(loadSeconds), "-J"}, flags...)
	out, err := from.Run(ctx, args...)
	var report struct {
		Error string `json:"error"`
		End   struct {
			Received struct {
				BitsPerSecond float64 `json:"bits_per_second"`
			} `json:"sum_received"`
		} `json:"end"`
	}
	if jsonErr := json.Unmarshal([]byte(out), &report); jsonErr == nil && report.Error != "" {
		return 0, fmt.Errorf("iperf3 to %s: %s", to, report.Error)
	}
	return report.End.Received.BitsPerSecond, err
}

// tunnels times question to answer for a name whose tunnel does not exist yet: the answer is released when it does.
func (f *figures) tunnels(ctx context.Context) error {
	return f.story.step(fmt.Sprintf("set-up of %d tunnels from alpha to beta", setUps), func() (string, error) {
		for range setUps {
			if err := f.alpha.Process.Stop(); err != nil {
				return "", err
			}
			time.Sleep(restartPause)
			if err := f.alpha.Start(); err != nil {
				return "", err
			}
			limited, cancel := context.WithTimeout(ctx, startTimeout)
			err := f.alpha.WaitRegistered(limited)
			if err == nil {
				var answer overlay.Answer
				answer, err = overlay.Ask(limited, f.alpha.Host, f.fqdn("beta"), dns.TypeA)
				if err == nil && len(answer.Addresses) == 0 {
					err = fmt.Errorf("no address for beta: %s", dns.RcodeToString[answer.Code])
				}
				f.set = append(f.set, answer.Took)
			}
			cancel()
			if err != nil {
				return "", err
			}
		}
		return "", nil
	})
}

func (f *figures) print() {
	f.story.section("RTT and TCP throughput")
	f.story.table(append([][]string{{"path", "RTT", "TCP", "TCP reverse"}}, f.rows...))
	f.story.section("set-up")
	slices.Sort(f.set)
	at := func(percent int) string { return milliseconds(f.set[min(len(f.set)-1, len(f.set)*percent/100)]) }
	f.story.table([][]string{
		{"what", "time"},
		{"first ping through a new tunnel, name included", f.first.Round(time.Millisecond).String()},
		{fmt.Sprintf("tunnel, p50 of %d", len(f.set)), at(50)},
		{fmt.Sprintf("tunnel, p99 of %d", len(f.set)), at(99)},
	})
	f.story.section("programs, memory after all of the above")
	f.story.table(f.programs())
}

// programs lists size on disk and resident memory of each program.
func (f *figures) programs() [][]string {
	rows := [][]string{{"program", "size", "RSS"}}
	mebibytes := func(bytes int64) string { return fmt.Sprintf("%.1f MiB", float64(bytes)/(1<<20)) }
	for _, program := range []struct {
		name    string
		process *lab.Process
	}{{"cyphonicd", f.Cloud()}, {"cyphonic-node", f.beta.Process}, {"cyphonic-adapter", f.adapter.Process}, {"cyphonicctl", nil}} {
		size, rss := "–", "–"
		if info, err := os.Stat(f.Programs.Path(program.name)); err == nil {
			size = mebibytes(info.Size())
		}
		if program.process != nil {
			if bytes, err := program.process.ResidentBytes(); err == nil {
				rss = mebibytes(bytes)
			}
		}
		rows = append(rows, []string{program.name, size, rss})
	}
	return rows
}
