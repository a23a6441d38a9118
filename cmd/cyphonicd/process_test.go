package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cyphonic/cyphonic/internal/ctl"
	"github.com/cyphonic/cyphonic/internal/identity"
)

// childVariable makes this test binary run as cyphonicd.
const childVariable = "CYPHONICD_TEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) != "" {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		context.AfterFunc(ctx, stop)
		os.Exit(execute(ctx, os.Args[1:], os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

// site is an installation as cyphonicctl init writes it, on loopback.
type site struct {
	t         *testing.T
	directory string
	trust     identity.Trust
	addresses map[string]string // by service, of the running cloud
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{t: t, directory: filepath.Join(t.TempDir(), "site")}
	s.mustRunCtl("init", "--directory", s.directory, "--address", "127.0.0.1", "--data-directory", filepath.Join(s.directory, "data"))
	var err error
	if s.trust, err = identity.LoadTrust(filepath.Join(s.directory, "trust.json")); err != nil {
		t.Fatal(err)
	}
	s.edit("cloud/cyphonicd.yaml", `":7440"`, `"127.0.0.1:0"`, `":7441"`, `"127.0.0.1:0"`, `":7442"`, `"127.0.0.1:0"`,
		`trs: {listen: ":7443"`, `trs: {allowLocalClients: true, listen: "127.0.0.1:0"`, `"127.0.0.1:7490"`, `"127.0.0.1:0"`)
	return s
}

// edit replaces texts in a file of the installation; each must be there.
func (s *site) edit(name string, pairs ...string) {
	s.t.Helper()
	path := filepath.Join(s.directory, name)
	b, err := os.ReadFile(path)
	if err != nil {
		s.t.Fatal(err)
	}
	text := string(b)
	for i := 0; i < len(pairs); i += 2 {
		if !strings.Contains(text, pairs[i]) {
			s.t.Fatalf("%s does not contain %s:\n%s", name, pairs[i], text)
		}
		text = strings.Replace(text, pairs[i], pairs[i+1], 1)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) configPath() string { return filepath.Join(s.directory, "cloud", "cyphonicd.yaml") }

// runCtl runs one command line of cyphonicctl.
func (s *site) runCtl(args ...string) (stdout string, err error) {
	var out, errOut bytes.Buffer
	env := ctl.Environment{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errOut, Getenv: func(string) string { return "" }, Now: time.Now, Rand: rand.Reader}
	if code := ctl.Run(context.Background(), args, env); code != 0 {
		return "", fmt.Errorf("cyphonicctl %s: exit code %d: %s", strings.Join(args, " "), code, errOut.String())
	}
	return out.String(), nil
}

func (s *site) mustRunCtl(args ...string) string {
	s.t.Helper()
	out, err := s.runCtl(args...)
	if err != nil {
		s.t.Fatal(err)
	}
	return out
}

// ctl runs cyphonicctl as the operator of the installation.
func (s *site) ctl(args ...string) string {
	s.t.Helper()
	return s.mustRunCtl(append([]string{"--config", filepath.Join(s.directory, "config.yaml")}, args...)...)
}

func (s *site) apply(manifest string) {
	s.t.Helper()
	path := filepath.Join(s.t.TempDir(), "manifest.yaml")
	if err := os.WriteFile(path, []byte(manifest), 0o600); err != nil {
		s.t.Fatal(err)
	}
	s.ctl("apply", "-f", path)
}

// process is a running cyphonicd.
type process struct {
	t       *testing.T
	command *exec.Cmd
	exited  chan struct{}
	mu      sync.Mutex
	log     bytes.Buffer
}

// start starts `cyphonicd all` as a process and waits until it is ready. The
// ports of its first start are kept in the configuration.
func (s *site) start() *process {
	s.t.Helper()
	p := &process{t: s.t, exited: make(chan struct{})}
	p.command = exec.Command(os.Args[0], "all", "--config", s.configPath(), "--log-format", "json", "--log-level", "debug")
	p.command.Env = append(os.Environ(), childVariable+"=1")
	stderr, err := p.command.StderrPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := p.command.Start(); err != nil {
		s.t.Fatal(err)
	}
	ready := make(chan map[string]string, 1)
	go p.follow(stderr, ready)
	s.t.Cleanup(func() {
		p.kill()
		if s.t.Failed() {
			p.mu.Lock()
			defer p.mu.Unlock()
			s.t.Logf("log of cyphonicd:\n%s", p.log.String())
		}
	})
	select {
	case addresses := <-ready:
		s.keep(addresses)
	case <-p.exited:
		p.mu.Lock()
		defer p.mu.Unlock()
		s.t.Fatalf("cyphonicd ended:\n%s", p.log.String())
	case <-time.After(30 * time.Second):
		s.t.Fatal("cyphonicd is not ready after 30 s")
	}
	return p
}

// follow reads the log until the process ends.
func (p *process) follow(stderr io.Reader, ready chan<- map[string]string) {
	defer close(p.exited)
	lines := bufio.NewScanner(stderr)
	for lines.Scan() {
		p.mu.Lock()
		p.log.Write(append(lines.Bytes(), '\n'))
		p.mu.Unlock()
		var line struct {
			Message   string            `json:"msg"`
			Addresses map[string]string `json:"addresses"`
		}
		if json.Unmarshal(lines.Bytes(), &line) == nil && line.Message == "ready" {
			ready <- line.Addresses
		}
	}
	_ = p.command.Wait()
}

// keep remembers the addresses; after the first start they are written down.
func (s *site) keep(addresses map[string]string) {
	s.t.Helper()
	if s.addresses != nil {
		for service, a := range s.addresses {
			if addresses[service] != a {
				s.t.Fatalf("%s listens on %s after a restart, not %s", service, addresses[service], a)
			}
		}
		return
	}
	s.addresses = addresses
	s.edit("config.yaml", "127.0.0.1:7440", addresses["manager"])
	s.edit("cloud/cyphonicd.yaml",
		`manager: {listen: "127.0.0.1:0"`, `manager: {listen: "`+addresses["manager"]+`"`,
		`as: {listen: "127.0.0.1:0"`, `as: {listen: "`+addresses["as"]+`"`,
		`nms: {listen: "127.0.0.1:0"`, `nms: {listen: "`+addresses["nms"]+`"`,
		`listen: "127.0.0.1:0"}`, `listen: "`+addresses["trs"]+`"}`,
		`metrics: {listen: "127.0.0.1:0"`, `metrics: {listen: "`+addresses["metrics"]+`"`)
}

// kill ends the process as kill -9 does.
func (p *process) kill() {
	_ = p.command.Process.Kill()
	<-p.exited
}

// terminate sends SIGTERM and returns the exit code.
func (p *process) terminate() int {
	p.t.Helper()
	if err := p.command.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Fatal(err)
	}
	select {
	case <-p.exited:
	case <-time.After(15 * time.Second):
		p.t.Fatal("cyphonicd runs on 15 s after SIGTERM")
	}
	return p.command.ProcessState.ExitCode()
}

// getText reads from the metrics listener.
func (s *site) getText(path string) string {
	s.t.Helper()
	response, err := http.Get("http://" + s.addresses["metrics"] + path)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	b, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		s.t.Fatalf("GET %s: %s %v", path, response.Status, err)
	}
	return string(b)
}
