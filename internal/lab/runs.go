package lab

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// runsDirectory holds one file per living run, so that later runs can find and remove what a dead one left.
const runsDirectory = "/run/cyphonic-lab"

// resolverDirectory is where `ip netns exec` looks for files to mount over /etc of a namespace.
const resolverDirectory = "/etc/netns"

// namespaceDirectory is where `ip netns` keeps the handles of named namespaces.
const namespaceDirectory = "/run/netns"

// Run is the record of a lab on this machine.
type Run struct {
	Name string `json:"name"`
	// Directory holds logs, captures and the state of the programs.
	Directory string `json:"directory"`
	// Temporary tells that Directory was made by the lab and goes with it.
	Temporary bool `json:"temporary"`
	// Persistent tells that the lab is meant to outlive its owner, until Remove.
	Persistent bool `json:"persistent"`
	// OwnerPID and OwnerStart (clock ticks since boot) identify the creating process beyond reuse of its pid.
	OwnerPID   int      `json:"ownerPid"`
	OwnerStart uint64   `json:"ownerStart"`
	Hosts      []string `json:"hosts"`
	// Notes are kept for the commands that use a lab left running, by key.
	Notes map[string]string `json:"notes,omitempty"`
}

// Namespace is the name of a host's namespace, as `ip netns exec` takes it.
func (r Run) Namespace(host string) string { return r.Name + "-" + host }

func (r Run) path() string { return filepath.Join(runsDirectory, r.Name+".json") }

// FindRun reads the record of a living run; fs.ErrNotExist if there is none of that name.
func FindRun(name string) (Run, error) {
	data, err := os.ReadFile(Run{Name: name}.path())
	if err != nil {
		return Run{}, err
	}
	var r Run
	if err := json.Unmarshal(data, &r); err != nil {
		return Run{}, fmt.Errorf("read the record of lab %s: %w", name, err)
	}
	return r, nil
}

func (r Run) save(flags int) error {
	if err := os.MkdirAll(runsDirectory, 0o755); err != nil {
		return err
	}
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	file, err := os.OpenFile(r.path(), os.O_WRONLY|flags, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("a lab named %s is running already: remove it first (make lab-down)", r.Name)
	}
	if err != nil {
		return err
	}
	_, err = file.Write(append(data, '\n'))
	return errors.Join(err, file.Close())
}

// Remove ends every process in the run's namespaces, then removes namespaces, files and the record. It is idempotent.
func (r Run) Remove() error {
	err := r.killAll()
	for _, host := range r.Hosts {
		name := r.Namespace(host)
		if _, statErr := os.Lstat(filepath.Join(namespaceDirectory, name)); statErr == nil {
			if out, delErr := exec.Command("ip", "netns", "del", name).CombinedOutput(); delErr != nil {
				err = errors.Join(err, fmt.Errorf("remove namespace %s: %w: %s", name, delErr, bytes.TrimSpace(out)))
			}
		}
		err = errors.Join(err, os.RemoveAll(filepath.Join(resolverDirectory, name)))
	}
	if r.Temporary && r.Directory != "" {
		err = errors.Join(err, os.RemoveAll(r.Directory))
	}
	if removeErr := os.Remove(r.path()); removeErr != nil && !errors.Is(removeErr, fs.ErrNotExist) {
		err = errors.Join(err, removeErr)
	}
	return err
}

// killAll kills whatever still runs in the namespaces of the run, and only there.
func (r Run) killAll() error {
	inodes := make(map[string]bool, len(r.Hosts))
	for _, host := range r.Hosts {
		if info, err := os.Stat(filepath.Join(namespaceDirectory, r.Namespace(host))); err == nil {
			if stat, ok := info.Sys().(*syscall.Stat_t); ok {
				inodes[fmt.Sprintf("net:[%d]", stat.Ino)] = true
			}
		}
	}
	if len(inodes) == 0 {
		return nil
	}
	links, err := filepath.Glob("/proc/[0-9]*/ns/net")
	if err != nil {
		return err
	}
	for _, link := range links {
		target, err := os.Readlink(link)
		if err != nil || !inodes[target] {
			continue
		}
		pid, err := strconv.Atoi(strings.Split(link, "/")[2])
		if err != nil || pid == os.Getpid() {
			continue
		}
		_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended meanwhile
	}
	return nil
}

// RemoveStale removes what dead runs left behind. Living and persistent runs are not touched.
func RemoveStale() error {
	files, err := filepath.Glob(filepath.Join(runsDirectory, "*.json"))
	if err != nil {
		return err
	}
	var failures error
	for _, file := range files {
		r, err := FindRun(strings.TrimSuffix(filepath.Base(file), ".json"))
		if err != nil || r.Persistent {
			continue // unreadable while another process writes it; or meant to stay
		}
		if start, err := processStart(r.OwnerPID); err == nil && start == r.OwnerStart {
			continue
		}
		failures = errors.Join(failures, r.Remove())
	}
	return failures
}

// processStart is the start time of a process in clock ticks since boot (proc(5), field 22 of stat).
func processStart(pid int) (uint64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	_, after, found := bytes.Cut(data, []byte(") "))
	for {
		_, rest, more := bytes.Cut(after, []byte(") "))
		if !more {
			break
		}
		after = rest
	}
	fields := strings.Fields(string(after))
	if !found || len(fields) < 20 {
		return 0, fmt.Errorf("unexpected /proc/%d/stat", pid)
	}
	return strconv.ParseUint(fields[19], 10, 64)
}

// watcherScript removes a run once its standard input ends, that is, once the owner has gone for whatever reason.
const watcherScript = `
trap '' INT TERM HUP QUIT
cat >/dev/null
record=$1 directory=$2; shift 2
for ns in "$@"; do ip netns pids "$ns" 2>/dev/null | while read -r pid; do kill -9 "$pid"; done; done
for ns in "$@"; do ip netns del "$ns" 2>/dev/null; rm -rf "/etc/netns/$ns"; done
[ -n "$directory" ] && rm -rf "$directory"
rm -f "$record"
`

// watcher is the process that cleans up after an owner that dies without Close.
type watcher struct {
	command *exec.Cmd
	stdin   interface{ Close() error }
}

func startWatcher(r Run) (*watcher, error) {
	directory := ""
	if r.Temporary {
		directory = r.Directory
	}
	args := []string{"-c", watcherScript, "cyphonic-lab-watcher", r.path(), directory}
	for _, host := range r.Hosts {
		args = append(args, r.Namespace(host))
	}
	command := exec.Command("sh", args...)
	command.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	stdin, err := command.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := command.Start(); err != nil {
		return nil, fmt.Errorf("start the watcher: %w", err)
	}
	return &watcher{command: command, stdin: stdin}, nil
}

// stop lets the watcher see the end of its input and waits for it.
func (w *watcher) stop() {
	_ = w.stdin.Close()
	_ = w.command.Wait()
}
