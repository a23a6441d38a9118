package control

import (
	"context"
	"syscall"

	"github.com/cyphonic/cyphonic/internal/lab"
)

// Process is an etcd member, a manager or another program. It can be ended and started again.
type Process struct {
	host    *lab.Host
	command lab.Command
	current *lab.Process
}

// NewProcess is a process that has not been started.
func NewProcess(host *lab.Host, command lab.Command) *Process {
	return &Process{host: host, command: command}
}

// Start starts the process, which must not be running.
func (p *Process) Start() error {
	started, err := p.host.Start(p.command)
	if err != nil {
		return err
	}
	p.current = started
	return nil
}

// Kill ends it at once (SIGKILL) and waits until it is gone.
func (p *Process) Kill() {
	p.current.Kill()
	<-p.current.Done()
}

// Terminate asks it to end (SIGTERM) and waits until it has.
func (p *Process) Terminate(ctx context.Context) error {
	if err := p.current.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-p.current.Done():
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Pause stops it where it is (SIGSTOP).
func (p *Process) Pause() error { return p.current.Signal(syscall.SIGSTOP) }

// Resume lets it go on.
func (p *Process) Resume() error { return p.current.Signal(syscall.SIGCONT) }

// Running tells whether it is.
func (p *Process) Running() bool { return p.current != nil && p.current.Running() }

// LogTail is the end of what it wrote since its last start.
func (p *Process) LogTail(lines int) string { return p.current.LogTail(lines) }

// Log is what it wrote since its last start.
func (p *Process) Log() string { return p.current.Log() }

// ResidentBytes is the memory that it holds.
func (p *Process) ResidentBytes() (int64, error) { return p.current.ResidentBytes() }

// PID is that of the process since its last start.
func (p *Process) PID() int { return p.current.PID }

// SetArgs changes the program and its arguments from the next start on.
func (p *Process) SetArgs(args ...string) { p.command.Args = args }

// UseProgram changes the program from the next start on; its arguments stay.
func (p *Process) UseProgram(path string) {
	p.command.Args = append([]string{path}, p.command.Args[1:]...)
}

// Done is closed when the process has ended since its last start.
func (p *Process) Done() <-chan struct{} { return p.current.Done() }

// Err is how it ended, nil for success; valid after Done is closed.
func (p *Process) Err() error { return p.current.Err() }
