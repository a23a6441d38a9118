package ctl_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rogpeppe/go-internal/testscript"
	"sigs.k8s.io/yaml"

	"github.com/cyphonic/cyphonic/internal/ctl"
	"github.com/cyphonic/cyphonic/manager"
	"github.com/cyphonic/cyphonic/manager/store/etcd"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"cyphonicctl": func() { os.Exit(ctl.Run(context.Background(), os.Args[1:], ctl.OperatingSystem())) },
		"browser":     func() { os.Exit(browse(os.Args[1:])) },
	})
}

// Scripts in testdata/script need no manager; those in testdata/online have one of their own, whose configuration file is $CYPHONIC_CONFIG.
func TestOffline(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata/script", Cmds: commands(), Setup: setup, RequireExplicitExec: true})
}

func TestOnline(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/online", Cmds: commands(), RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			config, err := startManagerWith(env.T().(testing.TB), filepath.Join(env.WorkDir, ".site"), func(o *manager.Options) {
				o.Replica = manager.Replica{Name: "manager-here", Host: "host-m"}
				env.Values[storeKey{}] = o.Store
			})
			if err != nil {
				return err
			}
			env.Setenv("CYPHONIC_CONFIG", config)
			env.Values[contextKey{}] = env.T()
			return setup(env)
		},
	})
}

func setup(env *testscript.Env) error {
	examples, err := filepath.Abs("../../manifests/examples")
	if err != nil {
		return err
	}
	env.Setenv("EXAMPLES", examples)
	return nil
}

func commands() map[string]func(*testscript.TestScript, bool, []string) {
	return map[string]func(*testscript.TestScript, bool, []string){"exits": exits, "mode": mode, "replica": replica, "speaker": speaker, "sealed": sealed, "phase": phase, "setstatus": setstatus, "eventually": eventually}
}

// exits CODE ARGS… runs cyphonicctl, which must end with the exit code.
func exits(ts *testscript.TestScript, _ bool, args []string) {
	err := ts.Exec("cyphonicctl", args[1:]...)
	code := 0
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		code = exit.ExitCode()
	case err != nil:
		ts.Fatalf("%v", err)
	}
	if strconv.Itoa(code) != args[0] {
		ts.Fatalf("exit code %d, want %s\n%s", code, args[0], ts.ReadFile("stderr"))
	}
}

// mode MODE FILE… checks permissions.
func mode(ts *testscript.TestScript, _ bool, args []string) {
	for _, name := range args[1:] {
		info, err := os.Stat(ts.MkAbs(name))
		ts.Check(err)
		if got := strconv.FormatUint(uint64(info.Mode().Perm()), 8); got != args[0] {
			ts.Fatalf("%s has mode %s, want %s", name, got, args[0])
		}
	}
}

// startManager starts a manager on an embedded etcd, both made from the files that init writes below directory, and returns the configuration file of its operator.
func startManager(t testing.TB, directory string) (string, error) {
	return startManagerWith(t, directory, func(*manager.Options) {})
}

func startManagerWith(t testing.TB, directory string, change func(*manager.Options)) (string, error) {
	code := ctl.Run(t.Context(), []string{"init", "--directory", directory, "--address", "127.0.0.1"}, environment(io.Discard))
	if code != 0 {
		return "", errors.New("init failed")
	}
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	server, err := etcd.StartEmbedded(t.Context(), filepath.Join(directory, "data"), log)
	if err != nil {
		return "", err
	}
	t.Cleanup(server.Close)
	hash, err := os.ReadFile(filepath.Join(directory, "cloud", "admin-token.sha256"))
	if err != nil {
		return "", err
	}
	options := manager.Options{
		Store: etcd.NewStore(server.Client()), Listen: "127.0.0.1:0", AdminTokenHash: strings.TrimSpace(string(hash)),
		TLSCert: filepath.Join(directory, "cloud", "tls.crt"), TLSKey: filepath.Join(directory, "cloud", "tls.key"),
		Registerer: prometheus.NewRegistry(), Log: log,
	}
	change(&options)
	m, err := manager.New(options)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	config := filepath.Join(directory, "config.yaml")
	return config, setServer(config, m.Addr())
}

// setServer writes the port that the manager got into the configuration file.
func setServer(config string, address net.Addr) error {
	content, err := os.ReadFile(config)
	if err != nil {
		return err
	}
	var fields map[string]any
	if err := yaml.Unmarshal(content, &fields); err != nil {
		return err
	}
	fields["contexts"].([]any)[0].(map[string]any)["server"] = "https://" + address.String()
	if content, err = yaml.Marshal(fields); err != nil {
		return err
	}
	return os.WriteFile(config, content, 0o600)
}

func environment(out io.Writer) ctl.Environment {
	env := ctl.OperatingSystem()
	env.Stdin, env.Stdout, env.Stderr = strings.NewReader(""), out, io.Discard
	env.Now = time.Now
	return env
}
