package lab

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"sync/atomic"
	"syscall"
)

// Options of New.
type Options struct {
	// Name of the run and prefix of its namespaces; empty: "cyt-" and six random hex digits.
	Name string
	// Directory for logs, captures and program state; empty: a new one under the temporary directory, removed by Close.
	Directory string
	// InMemory puts a new directory into RAM, for programs that wait for disks when nobody asks how fast those are.
	InMemory bool
	// Persistent keeps the lab after this process has ended; Close then leaves everything, Run.Remove removes it.
	Persistent bool
	// RealWire switches the offloads of WAN links off, so that they carry only packets that a real wire could carry.
	RealWire bool
	// NoEvidence starts no packet rings on the WAN links.
	NoEvidence bool
}

// Lab is a running topology.
type Lab struct {
	// constant
	run      Run
	options  Options
	topology Topology
	hosts    map[string]*Host
	spawn    *spawner
	watch    *watcher // nil if persistent

	waits   sync.WaitGroup
	counter atomic.Uint64 // numbers rules and captures

	mu        sync.Mutex
	processes []*Process
	rings     []*Capture
	closed    bool
}

// New checks that it can work, removes what dead runs left, and builds the topology. On error nothing is left behind.
func New(ctx context.Context, options Options, topology Topology) (*Lab, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("a lab needs root: network namespaces, interfaces and packet filters are created")
	}
	if err := topology.Validate(); err != nil {
		return nil, err
	}
	if err := RemoveStale(); err != nil {
		return nil, fmt.Errorf("remove what dead labs left: %w", err)
	}
	run, err := newRun(options, topology)
	if err != nil {
		return nil, err
	}
	l := &Lab{run: run, options: options, topology: topology, hosts: make(map[string]*Host), spawn: startSpawner()}
	if !options.Persistent {
		if l.watch, err = startWatcher(run); err != nil {
			return nil, errors.Join(err, l.tearDown())
		}
	}
	if err := l.build(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("build lab %s: %w", run.Name, err), l.tearDown())
	}
	return l, nil
}

// memoryDirectory is a file system in RAM that every Linux has.
const memoryDirectory = "/dev/shm"

var validName = regexp.MustCompile(`^[a-z][a-z0-9-]*$`)

func newRun(options Options, topology Topology) (Run, error) {
	name := options.Name
	if name == "" {
		var random [3]byte
		_, _ = rand.Read(random[:]) // never fails since Go 1.24
		name = "cyt-" + hex.EncodeToString(random[:])
	}
	if !validName.MatchString(name) || len(name) > maxNameLength {
		return Run{}, fmt.Errorf("lab name %q: want a letter, then at most %d letters, digits or dashes", name, maxNameLength-1)
	}
	start, err := processStart(os.Getpid())
	if err != nil {
		return Run{}, err
	}
	run := Run{
		Name: name, Directory: options.Directory, Persistent: options.Persistent,
		OwnerPID: os.Getpid(), OwnerStart: start,
	}
	for _, host := range topology.Hosts {
		run.Hosts = append(run.Hosts, host.Name)
	}
	if run.Directory == "" {
		run.Temporary = true
		parent := ""
		if options.InMemory {
			parent = memoryDirectory
		}
		if run.Directory, err = os.MkdirTemp(parent, "cyphonic-lab-"); err != nil {
			return Run{}, err
		}
	}
	err = run.save(os.O_CREATE | os.O_EXCL)
	if err == nil {
		err = errors.Join(
			os.MkdirAll(filepath.Join(run.Directory, "logs"), 0o755),
			os.MkdirAll(filepath.Join(run.Directory, "captures"), 0o755))
	} else if run.Temporary {
		_ = os.RemoveAll(run.Directory)
	}
	return run, err
}

// Record is the lab's record on this machine.
func (l *Lab) Record() Run { return l.run }

// SetNotes keeps values in the record, for commands that use the running lab later.
func (l *Lab) SetNotes(notes map[string]string) error {
	l.run.Notes = notes
	return l.run.save(os.O_TRUNC)
}

// Name is the name of the run.
func (l *Lab) Name() string { return l.run.Name }

// Directory holds logs, captures and program state.
func (l *Lab) Directory() string { return l.run.Directory }

// Host finds a host of the topology; asking for one that is not in it is a programming error and panics.
func (l *Lab) Host(name string) *Host {
	h, ok := l.hosts[name]
	if !ok {
		panic("lab: no host " + name + " in the topology")
	}
	return h
}

// Close ends all processes and removes everything the lab created; a persistent lab is left as it is. It is idempotent.
func (l *Lab) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	l.closed = true
	l.mu.Unlock()
	if l.options.Persistent {
		return nil
	}
	return l.tearDown()
}

// Abandon removes also a persistent lab, after its construction failed half-way.
func (l *Lab) Abandon() error {
	l.options.Persistent = false
	return l.Close()
}

func (l *Lab) tearDown() error {
	l.mu.Lock()
	processes := l.processes
	l.mu.Unlock()
	for _, p := range processes {
		_ = p.Signal(syscall.SIGKILL)
	}
	for _, h := range l.hosts {
		h.closeHandles()
	}
	err := l.run.Remove()
	l.waits.Wait()
	l.spawn.stop()
	if l.watch != nil {
		l.watch.stop()
	}
	return err
}

func (l *Lab) track(p *Process) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.processes = append(l.processes, p)
}

// Processes are all processes started so far, ended ones included.
func (l *Lab) Processes() []*Process {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]*Process(nil), l.processes...)
}
