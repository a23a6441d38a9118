package overlay

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/cyphonic/cyphonic/internal/lab"
)

// Names of the processes, for Lab.DumpGoroutines and for finding logs.
const (
	cloudProcess   = "cyphonicd"
	nodeProcess    = "cyphonic-node"
	adapterProcess = "cyphonic-adapter"
)

// GoPrograms are the names of the processes that print their goroutines on SIGQUIT.
func GoPrograms() []string { return []string{cloudProcess, nodeProcess, adapterProcess} }

// poll is the interval at which a state is asked for.
const poll = 50 * time.Millisecond

// Network is a CYPHONIC network on a lab.
type Network struct {
	Lab      *lab.Lab
	Programs Programs

	directory string
	persist   bool
	cloud     *lab.Process
}

// New prepares a network on a running lab; nothing runs yet. persist keeps what it starts running after this process.
func New(l *lab.Lab, programs Programs, persist bool) (*Network, error) {
	n := &Network{Lab: l, Programs: programs, directory: l.Directory(), persist: persist}
	for _, name := range []string{"state", "run", "tokens", "config"} {
		if err := os.MkdirAll(filepath.Join(n.directory, name), 0o700); err != nil {
			return nil, err
		}
	}
	return n, nil
}

// Installation is the directory that `cyphonicctl init` made.
func (n *Network) Installation() string { return filepath.Join(n.directory, "installation") }

// Init makes keys, trust and configuration of the installation with cyphonicctl.
func (n *Network) Init(ctx context.Context) error {
	_, err := n.Lab.Host(Cloud).Run(ctx, n.Programs.Path("cyphonicctl"), "init", "--directory", n.Installation(),
		"--address", CloudIPv4, "--address", CloudIPv6, "--data-directory", filepath.Join(n.directory, "data"))
	return err
}

// CloudConfig is the path of cyphonicd's configuration.
func (n *Network) CloudConfig() string {
	return filepath.Join(n.Installation(), "cloud", "cyphonicd.yaml")
}

// StartCloud starts `cyphonicd all` and waits until it is ready to serve.
func (n *Network) StartCloud(ctx context.Context) error {
	process, err := n.Lab.Host(Cloud).Start(lab.Command{
		Name: cloudProcess, Args: []string{n.Programs.Path("cyphonicd"), "all", "--config", n.CloudConfig()}, KeepRunning: n.persist,
	})
	if err != nil {
		return err
	}
	n.cloud = process
	return n.WaitCloud(ctx)
}

// WaitCloud waits until the manager answers.
func (n *Network) WaitCloud(ctx context.Context) error {
	return n.wait(ctx, n.cloud, func() error {
		_, err := n.Ctl(ctx, "get", "networks")
		return err
	})
}

// Cloud is the process of `cyphonicd all`.
func (n *Network) Cloud() *lab.Process { return n.cloud }

// Ctl runs cyphonicctl on the cloud host with the administrator's configuration.
func (n *Network) Ctl(ctx context.Context, args ...string) (string, error) {
	full := append([]string{n.Programs.Path("cyphonicctl"), "--config", filepath.Join(n.Installation(), "config.yaml")}, args...)
	return n.Lab.Host(Cloud).Run(ctx, full...)
}

// Apply applies manifests, each a file, a directory or the text of a manifest.
func (n *Network) Apply(ctx context.Context, manifests ...string) error {
	for _, manifest := range manifests {
		if strings.Contains(manifest, "\n") {
			path := filepath.Join(n.directory, "config", "manifest.yaml")
			if err := os.WriteFile(path, []byte(manifest), 0o600); err != nil {
				return err
			}
			manifest = path
		}
		if _, err := n.Ctl(ctx, "apply", "-f", manifest); err != nil {
			return err
		}
	}
	return nil
}

// token creates a one-time enrolment token for a node or an adapter and returns the path of a file with its secret.
func (n *Network) token(ctx context.Context, kind, name string) (string, error) {
	secret, err := n.Ctl(ctx, "token", "create", "--"+strings.ToLower(kind), name)
	if err != nil {
		return "", err
	}
	if strings.TrimSpace(secret) == "" {
		return "", errors.New("cyphonicctl token create printed no token")
	}
	path := filepath.Join(n.directory, "tokens", kind+"-"+name)
	return path, os.WriteFile(path, []byte(secret), 0o600)
}

// wait asks again and again until done succeeds, the process ends or ctx ends; the error says what was last wrong.
func (n *Network) wait(ctx context.Context, process *lab.Process, done func() error) error {
	ticker := time.NewTicker(poll)
	defer ticker.Stop()
	for {
		err := done()
		if err == nil {
			return nil
		}
		select {
		case <-ticker.C:
		case <-process.Done():
			return fmt.Errorf("%s on %s ended (%w); its last output:\n%s", process.Name, process.Host, endOf(process), process.LogTail(15))
		case <-ctx.Done():
			return fmt.Errorf("%s on %s: %w; last answer: %w; its last output:\n%s", process.Name, process.Host, ctx.Err(), err, process.LogTail(15))
		}
	}
}

func endOf(process *lab.Process) error {
	if err := process.Err(); err != nil {
		return err
	}
	return errors.New("exit status 0")
}
