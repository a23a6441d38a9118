package adapter

import (
	"context"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/cyphonic/cyphonic/adapter/lan"
	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/api/client"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeLAN remembers the list.
type fakeLAN struct{ listed []lan.MAC }

func (f *fakeLAN) SetListed(_ context.Context, macs []lan.MAC) error { f.listed = macs; return nil }

func (f *fakeLAN) Port(lan.MAC) (string, error)                  { return "lan1", nil }
func (f *fakeLAN) PortUp(string) bool                            { return true }
func (f *fakeLAN) SetNetwork(context.Context, lan.Network) error { return nil }
func (f *fakeLAN) Admit(context.Context, lan.Binding) error      { return nil }
func (f *fakeLAN) Withdraw(context.Context, lan.Binding) error   { return nil }

func newTestNodes(t *testing.T) (*nodes, *fakeLAN) {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	f, r := &fakeLAN{}, newReporter("gate", new(atomic.Pointer[client.Client]), log)
	n := newNodes(f, r, &surroundings{
		segment: f, report: r.report, keys: t.TempDir(), log: log,
		leases: loadLeases(filepath.Join(t.TempDir(), "leases.json"), log),
	})
	t.Cleanup(n.stop)
	return n, f
}

func camera(name, mac string) api.GeneralNode {
	g := api.GeneralNode{Metadata: api.ObjectMeta{Name: name, Uid: "uid-" + name}, Spec: api.GeneralNodeSpec{Mac: mac}}
	g.Default()
	return g
}

func names(n *nodes) []string {
	var out []string
	for _, r := range n.all() {
		out = append(out, r.name)
	}
	return out
}

func TestOnlyWhatChangedIsTouched(t *testing.T) {
	n, f := newTestNodes(t)
	cam1, cam2 := camera("cam1", "02:00:00:00:00:01"), camera("cam2", "02:00:00:00:00:02")
	n.apply(context.Background(), []api.GeneralNode{cam1, cam2})
	first := n.byName["cam1"]
	cam2.Spec.Fqdn = "other.lab.example"
	second := n.byName["cam2"]
	n.apply(context.Background(), []api.GeneralNode{cam1, cam2})
	if n.byName["cam1"] != first {
		t.Error("cam1 was started anew though only cam2 has changed")
	}
	if n.byName["cam2"] == second {
		t.Error("cam2 goes on with the old specification")
	}
	n.apply(context.Background(), []api.GeneralNode{cam1})
	if got := names(n); !slices.Equal(got, []string{"cam1"}) || len(f.listed) != 1 {
		t.Errorf("nodes %v, guard %v", got, f.listed)
	}
}

func TestAnotherResourceOfTheSameNameIsAnotherDevice(t *testing.T) {
	n, _ := newTestNodes(t)
	g := camera("cam1", "02:00:00:00:00:01")
	n.apply(context.Background(), []api.GeneralNode{g})
	first := n.byName["cam1"]
	g.Metadata.Uid = "uid-2" // deleted and made again while the manager was not followed
	n.apply(context.Background(), []api.GeneralNode{g})
	if n.byName["cam1"] == first {
		t.Error("the old device goes on")
	}
}

func TestDisabledDevicesAreKnownButNotListed(t *testing.T) {
	n, f := newTestNodes(t)
	g := camera("cam1", "02:00:00:00:00:01")
	g.Spec.Disabled = true
	n.apply(context.Background(), []api.GeneralNode{g})
	if len(f.listed) != 0 || len(names(n)) != 1 {
		t.Errorf("listed %v", f.listed)
	}
	deadline := time.Now().Add(2 * time.Second)
	for n.byName["cam1"].state.Load().phase != api.DevicePhaseDisabled {
		if time.Now().After(deadline) {
			t.Fatalf("phase = %s", n.byName["cam1"].state.Load().phase)
		}
		time.Sleep(time.Millisecond)
	}
	if _, ok := n.ask(lan.MAC{2, 0, 0, 0, 0, 1}); ok {
		t.Error("it got a lease")
	}
	stranger := lan.Sighting{MAC: lan.MAC{2, 0, 0, 0, 0, 9}, Port: "lan1"}
	seen := []lan.Sighting{{MAC: lan.MAC{2, 0, 0, 0, 0, 1}, Port: "lan1"}, stranger}
	if got := n.strangers(seen); !slices.Equal(got, []lan.Sighting{stranger}) {
		t.Errorf("shown as not in the list: %v", got)
	}
}

func TestUnusableResourcesAreReportedAndDoNoHarm(t *testing.T) {
	n, f := newTestNodes(t)
	n.apply(context.Background(), []api.GeneralNode{
		camera("cam1", "02:00:00:00:00:01"), camera("cam2", "02:00:00:00:00:01"),
		camera("cam3", "ff:ff:ff:ff:ff:ff"), camera("../cam4", "02:00:00:00:00:04"),
	})
	if got := names(n); !slices.Equal(got, []string{"cam1"}) || len(f.listed) != 1 {
		t.Errorf("nodes %v, guard %v", got, f.listed)
	}
	n.reporter.mu.Lock()
	defer n.reporter.mu.Unlock()
	got := slices.Sorted(maps.Keys(n.reporter.waiting))
	if !slices.Contains(got, "cam2") || !slices.Contains(got, "cam3") || slices.Contains(got, "../cam4") {
		t.Errorf("reported %v", got)
	}
	if s := n.reporter.waiting["cam2"]; s.Phase != api.DevicePhaseFailed || !strings.HasPrefix(s.Reason, "MACInUse") {
		t.Errorf("cam2 = %+v", s)
	}
}

func TestLeasesAreOfOneDeviceAndEnd(t *testing.T) {
	log, path := slog.New(slog.DiscardHandler), filepath.Join(t.TempDir(), "leases.json")
	now, mac := time.Now(), lan.MAC{2, 0, 0, 0, 0, 1}
	l := loadLeases(path, log)
	l.set("cam1", lease{MAC: mac, Port: "lan1", Until: now.Add(time.Minute)})
	l.save()
	again := loadLeases(path, log)
	if got, ok := again.get("cam1", mac, now); !ok || got.Port != "lan1" {
		t.Errorf("got %v, %v", got, ok)
	}
	if _, ok := again.get("cam1", mac, now.Add(2*time.Minute)); ok {
		t.Error("an ended lease is valid")
	}
	if _, ok := again.get("cam1", lan.MAC{2, 0, 0, 0, 0, 2}, now); ok {
		t.Error("the lease is valid for another device")
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("file: %v, %v", info, err)
	}
}

func TestANewLeaseIsOnDiskAtOnceAndARenewalSoon(t *testing.T) {
	path := filepath.Join(t.TempDir(), "leases.json")
	synctest.Test(t, func(t *testing.T) {
		log := slog.New(slog.DiscardHandler)
		l := loadLeases(path, log)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- l.Run(ctx) }()
		mac := lan.MAC{2, 0, 0, 0, 0, 1}
		onDisk := func() time.Time {
			synctest.Wait()
			found, _ := loadLeases(path, log).get("cam1", mac, time.Now())
			return found.Until
		}
		first := time.Now().Add(time.Minute)
		l.set("cam1", lease{MAC: mac, Port: "lan1", Until: first})
		if got := onDisk(); !got.Equal(first) {
			t.Errorf("the lease on disk ends at %v, want %v", got, first)
		}
		renewed := time.Now().Add(time.Hour)
		l.set("cam1", lease{MAC: mac, Port: "lan1", Until: renewed})
		if got := onDisk(); !got.Equal(first) {
			t.Errorf("a renewal was written at once")
		}
		time.Sleep(saveDelay)
		if got := onDisk(); !got.Equal(renewed) {
			t.Errorf("the lease on disk ends at %v, want %v", got, renewed)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
