//go:debug multipathtcp=0

package speaker_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cyphonic/cyphonic/services/replica"
	"github.com/cyphonic/cyphonic/services/speaker"
	"github.com/cyphonic/cyphonic/services/speaker/bfd"
	"github.com/cyphonic/cyphonic/services/speaker/gobgp"
	"github.com/cyphonic/cyphonic/services/speaker/netfilter"
)

// A test that needs a speaker in a namespace starts its own binary there, with these settings.
const settingsVariable = "CYPHONIC_SPEAKER_TEST_SETTINGS"

// settings of a speaker process. Its directory has resources.json (key to value), and filter.fails while the packet
// filter shall fail; the process writes report.json.
type settings struct {
	Host, Directory, RouterID string
	Listen                    []netip.Addr
	Graceful, Grace           time.Duration
	Netfilter                 bool // the real one
	StateFile                 string
}

func TestMain(m *testing.M) {
	text := os.Getenv(settingsVariable)
	if text == "" {
		os.Exit(m.Run())
	}
	var s settings
	err := json.Unmarshal([]byte(text), &s)
	if err == nil {
		err = s.run()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func (s settings) run() error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	router, err := gobgp.New(gobgp.Options{
		RouterID: netip.MustParseAddr(s.RouterID), Listen: s.Listen, ListenPort: 179, MaxPeers: 16, Log: log, Now: time.Now,
	})
	if err != nil {
		return err
	}
	listener, err := net.Listen("unix", filepath.Join(s.Directory, "speaker.sock"))
	if err != nil {
		return err
	}
	var filter speaker.Balancer = &fakeFilter{directory: s.Directory}
	if s.Netfilter {
		if filter, err = netfilter.New(netfilter.Options{Log: log}); err != nil {
			return err
		}
	}
	one, err := speaker.New(speaker.Options{
		Host: s.Host, Version: "test", Listener: listener, Router: router, Balancer: filter, Detector: bfd.New(bfd.Options{Log: log}),
		Follow: s.follow, Report: s.report, SecretsDirectory: s.Directory, StateFile: s.StateFile,
		GracefulShutdown: s.Graceful, RegistrationGrace: s.Grace,
		Log: log, Registerer: prometheus.NewRegistry(), Now: time.Now,
	})
	if err != nil {
		return err
	}
	return one.Run(ctx)
}

func (s settings) report(raw []byte) {
	path := filepath.Join(s.Directory, "report.json")
	if os.WriteFile(path+".new", raw, 0o600) == nil {
		_ = os.Rename(path+".new", path)
	}
}

// follow stands for etcd: a file with all resources.
func (s settings) follow(ctx context.Context, _ []string, changed func(replica.Update), connected func(bool)) error {
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	have := map[string]json.RawMessage{}
	for first := true; ; {
		raw, err := os.ReadFile(filepath.Join(s.Directory, "resources.json"))
		want := map[string]json.RawMessage{}
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return err
		case json.Unmarshal(raw, &want) != nil:
			return errors.New("resources.json cannot be read")
		case first || !maps.EqualFunc(want, have, func(a, b json.RawMessage) bool { return string(a) == string(b) }):
			u := replica.Update{List: first}
			for key, value := range want {
				if first || string(have[key]) != string(value) {
					u.Puts = append(u.Puts, replica.Item{Key: key, Value: value})
				}
			}
			for key := range have {
				if _, stays := want[key]; !stays {
					u.Deletes = append(u.Deletes, key)
				}
			}
			connected(true)
			changed(u)
			have, first = want, false
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// fakeFilter is a packet filter that only says that it does what it is told, or fails.
type fakeFilter struct{ directory string }

func (f *fakeFilter) Recall(context.Context) ([]string, error) { return nil, nil }

func (f *fakeFilter) Clean(context.Context) error { return nil }

func (f *fakeFilter) Apply(_ context.Context, state netfilter.State) error {
	if _, err := os.Stat(filepath.Join(f.directory, "filter.fails")); err == nil {
		return errors.New("made to fail")
	}
	if err := state.Validate(); err != nil {
		return err
	}
	var names []string
	for _, s := range state.Services {
		for _, b := range s.Backends {
			names = append(names, fmt.Sprintf("%s/%s/%v", s.Name, b.Name, b.Draining))
		}
	}
	slices.Sort(names)
	return os.WriteFile(filepath.Join(f.directory, "filter.state"), []byte(fmt.Sprint(names)), 0o600)
}
