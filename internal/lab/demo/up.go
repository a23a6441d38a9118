package demo

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/cyphonic/cyphonic/internal/lab"
	"github.com/cyphonic/cyphonic/internal/lab/overlay"
)

// runningName is the name of the network that Up leaves running; there is one per machine.
const runningName = "cyphonic"

// runningDirectory holds its keys, configuration and logs.
const runningDirectory = "/run/cyphonic-lab/cyphonic"

// Up starts the demo's network, leaves it running and prints how to use it.
func Up(ctx context.Context, options Options) error {
	if _, err := lab.FindRun(runningName); err == nil {
		return errors.New("the lab is running already: remove it with make lab-down")
	}
	if err := os.RemoveAll(runningDirectory); err != nil {
		return err
	}
	if err := os.MkdirAll(runningDirectory, 0o700); err != nil {
		return err
	}
	fmt.Fprint(options.Out, picture, "\n")
	s, err := prepare(ctx, options, lab.Options{
		Name: runningName, Directory: runningDirectory, Persistent: true, RealWire: true, NoEvidence: true,
	})
	if err != nil {
		return err
	}
	notes := map[string]string{"programs": options.Programs, "domain": s.domain}
	if err := s.Lab.SetNotes(notes); err != nil {
		return errors.Join(err, s.Lab.Abandon())
	}
	s.instructions()
	return s.Lab.Close() // leaves everything running
}

func (s *site) instructions() {
	path := s.Programs.Path
	enter := func(host string) string { return "ip netns exec " + s.Lab.Host(host).Namespace() }
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("\nThe network is running. As root:")
	line("\n  Enter a host (%s):", strings.Join(s.Lab.Record().Hosts, ", "))
	line("    %s bash", enter("viewer"))
	line("    %s exec viewer ping %s", path("cyphonic-lab"), s.fqdn("cam1"))
	line("    %s exec viewer curl http://%s/", path("cyphonic-lab"), s.fqdn("cam1"))
	line("    %s exec cam2 curl http://%s/", path("cyphonic-lab"), s.fqdn("viewer"))
	line("\n  Keep one TCP connection busy, block the direct path, watch it go on, unblock:")
	line("    %s exec viewer %s helper stream %s:80", path("cyphonic-lab"), path("cyphonic-lab"), s.fqdn("cam1"))
	line("    %s block", path("cyphonic-lab"))
	line("    %s unblock", path("cyphonic-lab"))
	line("\n  Capture what the internet sees (nothing readable) and what the camera sends:")
	line("    %s tcpdump -ni natb -X udp", enter("inet"))
	line("    %s tcpdump -ni eth0", enter("cam1"))
	line("\n  Status and metrics:")
	line("    %s status --socket %s", path("cyphonic-node"), s.viewer.Socket)
	line("    %s status --socket %s", path("cyphonic-adapter"), s.adapter.Socket)
	line("    curl --unix-socket %s http://agent/metrics", s.viewer.Socket)
	line("    %s curl -s http://127.0.0.1:7490/metrics", enter("cloud"))
	line("\n  The operator's command line:")
	line("    %s %s --config %s get generalnodes", enter("cloud"), path("cyphonicctl"), filepath.Join(s.Installation(), "config.yaml"))
	line("    %s %s --config %s watch generalnodes", enter("cloud"), path("cyphonicctl"), filepath.Join(s.Installation(), "config.yaml"))
	line("\n  Logs: %s/logs/     Remove everything: make lab-down", s.Lab.Directory())
	fmt.Fprint(s.options.Out, b.String())
}

// Down removes the network that Up left running.
func Down(options Options) error {
	if os.Geteuid() != 0 {
		return errors.New("removing the lab needs root")
	}
	run, err := lab.FindRun(runningName)
	if errors.Is(err, fs.ErrNotExist) {
		fmt.Fprintln(options.Out, "No lab is running.")
		return nil
	}
	if err != nil {
		return err
	}
	if err := errors.Join(run.Remove(), os.RemoveAll(run.Directory)); err != nil {
		return err
	}
	fmt.Fprintln(options.Out, "The lab is removed.")
	return nil
}

// Block drops UDP between the two translators of the running network, or lets it through again.
func Block(ctx context.Context, options Options, blocked bool) error {
	run, err := running()
	if err != nil {
		return err
	}
	if !blocked {
		err = run.Unblock(ctx, overlay.Internet)
		fmt.Fprintln(options.Out, "The direct path is open.")
		return err
	}
	err = run.Block(ctx, overlay.Internet, overlay.BetweenSites())
	fmt.Fprintln(options.Out, "UDP between NAPT A and NAPT B is dropped: tunnels go through the TRS. Undo with unblock.")
	return err
}

// running finds the network that Up left running.
func running() (lab.Run, error) {
	run, err := lab.FindRun(runningName)
	if errors.Is(err, fs.ErrNotExist) {
		return lab.Run{}, errors.New("no lab is running: start it with make lab")
	}
	return run, err
}

// Exec replaces this process by a command in a host of the running network.
func Exec(host string, args []string) error {
	run, err := running()
	if err != nil {
		return err
	}
	path, err := exec.LookPath("ip")
	if err != nil {
		return err
	}
	return syscall.Exec(path, append([]string{"ip", "netns", "exec", run.Namespace(host)}, args...), os.Environ())
}
