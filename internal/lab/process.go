package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Command is a program to start in a host.
type Command struct {
	// Name names the log file; default is the base name of Args[0].
	Name string
	// Args is the program and its arguments.
	Args []string
	// Env is added to the environment of this process.
	Env []string
	// Stdin is read to its end if given.
	Stdin io.Reader
	// KeepRunning lets the process outlive its creator (for a lab that stays up).
	KeepRunning bool
}

// Process is a program running in a host. Its process group is its own, so Kill takes all it started.
type Process struct {
	// constant
	Host    string
	Name    string
	PID     int
	LogPath string

	done chan struct{} // closed after err is set
	err  error
}

// spawner starts all processes of a lab from one operating-system thread that lives as long as the lab: a parent-death
// signal (prctl(2), PR_SET_PDEATHSIG) fires when the creating thread ends, not when the process does.
type spawner struct {
	requests chan spawnRequest
	stopped  sync.WaitGroup
}

type spawnRequest struct {
	command *exec.Cmd
	result  chan error
}

func startSpawner() *spawner {
	s := &spawner{requests: make(chan spawnRequest)}
	s.stopped.Go(func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		for request := range s.requests {
			request.result <- request.command.Start()
		}
	})
	return s
}

func (s *spawner) start(command *exec.Cmd) error {
	request := spawnRequest{command: command, result: make(chan error, 1)}
	s.requests <- request
	return <-request.result
}

func (s *spawner) stop() {
	close(s.requests)
	s.stopped.Wait()
}

// command prepares a program to run inside the host with the host's own /etc/resolv.conf.
func (h *Host) command(args []string, env []string, keep bool) *exec.Cmd {
	command := exec.Command("ip", append([]string{"netns", "exec", h.namespace}, args...)...)
	command.Env = append(os.Environ(), env...)
	command.Dir = h.lab.run.Directory
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if keep {
		command.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	}
	return command
}

// Start starts a program in the host; its output goes to a log file under the lab's directory.
func (h *Host) Start(c Command) (*Process, error) {
	if c.Name == "" {
		c.Name = filepath.Base(c.Args[0])
	}
	logPath := filepath.Join(h.lab.run.Directory, "logs", h.Name+"-"+c.Name+".log")
	log, err := os.OpenFile(logPath, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close() // the child has its own descriptor
	command := h.command(c.Args, c.Env, c.KeepRunning)
	command.Stdout, command.Stderr, command.Stdin = log, log, c.Stdin
	if err := h.lab.spawn.start(command); err != nil {
		return nil, fmt.Errorf("start %s in %s: %w", c.Name, h.Name, err)
	}
	p := &Process{Host: h.Name, Name: c.Name, PID: command.Process.Pid, LogPath: logPath, done: make(chan struct{})}
	h.lab.track(p)
	h.lab.waits.Go(func() {
		p.err = command.Wait()
		close(p.done)
	})
	return p, nil
}

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err is how the process ended, nil for success; valid after Done is closed.
func (p *Process) Err() error { return p.err }

// Running tells whether the process has not ended yet.
func (p *Process) Running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// Signal sends a signal to the process alone.
func (p *Process) Signal(signal syscall.Signal) error {
	if !p.Running() {
		return os.ErrProcessDone
	}
	return syscall.Kill(p.PID, signal)
}

// Kill kills the process and all of its group and waits for it.
func (p *Process) Kill() {
	if p.Running() {
		_ = syscall.Kill(-p.PID, syscall.SIGKILL)
		<-p.done
	}
}

// Stop asks the process to end by SIGTERM and kills it after a grace time; it reports a process that had to be killed.
func (p *Process) Stop() error {
	if err := p.Signal(syscall.SIGTERM); errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	select {
	case <-p.done:
		return nil
	case <-time.After(terminateGrace):
		p.Kill()
		return fmt.Errorf("%s in %s ignored SIGTERM for %s and was killed", p.Name, p.Host, terminateGrace)
	}
}

// Log is the output of the process so far.
func (p *Process) Log() string {
	data, err := os.ReadFile(p.LogPath)
	if err != nil {
		return err.Error()
	}
	return string(data)
}

// LogTail is the last n lines of the output.
func (p *Process) LogTail(n int) string {
	lines := strings.Split(strings.TrimRight(p.Log(), "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// ResidentBytes is the memory of the process that is in RAM now (proc(5), VmRSS).
func (p *Process) ResidentBytes() (int64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(data)) {
		if value, found := strings.CutPrefix(line, "VmRSS:"); found {
			kilobytes, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			return kilobytes << 10, err
		}
	}
	return 0, fmt.Errorf("no VmRSS of process %d", p.PID)
}

// Run runs a program in the host to its end and returns its standard output. The error holds the standard error.
// When ctx ends, the program's whole group is killed.
func (h *Host) Run(ctx context.Context, args ...string) (string, error) {
	return h.RunInput(ctx, nil, args...)
}

// RunInput is Run with a standard input.
func (h *Host) RunInput(ctx context.Context, stdin io.Reader, args ...string) (string, error) {
	var stdout, stderr bytes.Buffer
	command := h.command(args, nil, false)
	command.Stdin, command.Stdout, command.Stderr = stdin, &stdout, &stderr
	command.WaitDelay = outputDrain
	if err := h.lab.spawn.start(command); err != nil {
		return "", fmt.Errorf("%s: run %s: %w", h.Name, args[0], err)
	}
	stop := context.AfterFunc(ctx, func() { _ = syscall.Kill(-command.Process.Pid, syscall.SIGKILL) })
	err := command.Wait()
	stop()
	if ctx.Err() != nil && err != nil {
		err = ctx.Err()
	}
	if err != nil {
		return stdout.String(), fmt.Errorf("%s: %s: %w: %s", h.Name, strings.Join(args, " "), err,
			strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}
