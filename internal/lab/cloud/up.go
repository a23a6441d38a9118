package cloud

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/cyphonic/cyphonic/internal/lab"
)

// runningName is the name of the cloud that Up leaves running; there is one per machine.
const runningName = "cloud"

// runningDirectory holds its keys, configuration and logs.
const runningDirectory = "/run/cyphonic-lab/cloud"

const picture = `
  private:  devices ── router ──┬── h1: etcd, manager, speaker, AS, NMS, TRS
                       (iBGP)   ├── h2: the same
                                └── h3: the same

  public:   devices ── peer ── router ──┬── h1, h2, h3
                  (eBGP)       (iBGP)
`

// Up starts a cloud, leaves it running and prints how to use it.
func Up(ctx context.Context, out io.Writer, o Options) error {
	if _, err := lab.FindRun(runningName); err == nil {
		return errors.New("the cloud is running already: remove it with make lab-cloud-down")
	}
	if err := os.RemoveAll(runningDirectory); err != nil {
		return err
	}
	if err := os.MkdirAll(runningDirectory, 0o711); err != nil {
		return err
	}
	var err error
	if o.Programs, err = filepath.Abs(o.Programs); err != nil {
		return err
	}
	o.Name, o.Directory, o.Persistent = runningName, runningDirectory, true
	fmt.Fprint(out, picture, "\n")
	begin := time.Now()
	c, err := Start(ctx, o)
	if err == nil {
		fmt.Fprintf(out, "Every host takes its share of every service after %.1f s.\n", time.Since(begin).Seconds())
		err = c.StartDevices(ctx)
	}
	if err != nil {
		if c.Lab != nil {
			err = errors.Join(err, c.Lab.Abandon())
		}
		return err
	}
	fmt.Fprintf(out, "%d devices are logged in and registered after %.1f s.\n", len(c.Devices), time.Since(begin).Seconds())
	c.instructions(out)
	return c.Close() // leaves everything running
}

func (c *Cloud) instructions(out io.Writer) {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	enter := func(host string) string { return "ip netns exec " + c.Lab.Host(host).Namespace() }
	ctl := fmt.Sprintf("%s %s --config %s", enter(Router), c.Plane.Program("cyphonicctl"), c.Plane.ConfigPath())
	line("\nAs root:")
	line("\n  What the router knows and where its kernel sends the services (as %s, nms %s):", VIP4(AS), VIP4(NMS))
	if c.options.Software == FRR {
		line("    %s vtysh --vty_socket %s -c 'show bgp summary' -c 'show bfd peers brief'", enter(Router), c.path("run", Router))
	} else {
		line("    %s birdc -s %s show protocols", enter(Router), c.path("run", Router, "bird.ctl"))
	}
	line("    %s ip route; %s ip -6 route", enter(Router), enter(Router))
	line("\n  Replicas, sessions with the router, services:")
	for _, kind := range []string{"replicas", "bgppeers", "cloudservices"} {
		line("    %s get %s", ctl, kind)
	}
	line("\n  Let a replica leave, and watch its host vanish from the router:")
	line("    %s drain replica/nms-h1-1", ctl)
	line("\n  Let the devices log in, register and ask for directions, 300 requests per second for 20 s:")
	line("    %s cloud load --rate 300 --count 6000", c.Plane.Program("cyphonic-lab"))
	line("\n  How a host spreads over its replicas, and its metrics:")
	line("    %s nft list ruleset", enter(HostName(0)))
	line("    %s curl -s http://127.0.0.1:%d/metrics", enter(HostName(0)), c.Replicas[0].metricsPort())
	line("\n  Logs: %s/     Remove everything: make lab-cloud-down", c.path("logs"))
	fmt.Fprint(out, b.String())
}

// Down removes the cloud that Up left running.
func Down(out io.Writer) error {
	if os.Geteuid() != 0 {
		return errors.New("removing the cloud needs root")
	}
	run, err := lab.FindRun(runningName)
	if errors.Is(err, fs.ErrNotExist) {
		fmt.Fprintln(out, "No cloud is running.")
		return nil
	}
	if err != nil {
		return err
	}
	if err := errors.Join(run.Remove(), os.RemoveAll(run.Directory)); err != nil {
		return err
	}
	fmt.Fprintln(out, "The cloud is removed.")
	return nil
}

// RunningSocket is where the devices of the running cloud take orders.
func RunningSocket() (string, error) {
	run, err := lab.FindRun(runningName)
	if errors.Is(err, fs.ErrNotExist) {
		return "", errors.New("no cloud is running: start it with make lab-cloud")
	}
	return filepath.Join(run.Directory, "run", "load.sock"), err
}
