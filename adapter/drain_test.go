package adapter

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cyphonic/cyphonic/adapter/lan"
	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/api/client"
	"github.com/cyphonic/cyphonic/internal/endpoint"
	"github.com/cyphonic/cyphonic/internal/identity"
	"github.com/cyphonic/cyphonic/internal/login"
)

// diary remembers what was done, in order.
type diary struct {
	mu      sync.Mutex
	entries []string
	last    map[string]api.GeneralNodeStatus
}

func (d *diary) note(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.entries = append(d.entries, fmt.Sprintf(format, args...))
}

func (d *diary) report(name string, s api.GeneralNodeStatus) {
	d.note("%s reports %s", name, s.Phase)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.last[name] = s
}

func (d *diary) position(t *testing.T, entry string) int {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	i := slices.Index(d.entries, entry)
	if i < 0 {
		t.Fatalf("%q is not in %q", entry, d.entries)
	}
	return i
}

// drainedLAN notes whom it closes.
type drainedLAN struct {
	fakeLAN
	*diary
}

func (f *drainedLAN) Withdraw(_ context.Context, b lan.Binding) error {
	f.note("LAN closed for %s", b.IPv4)
	return nil
}

// drainedHost is a registered identity.
type drainedHost struct {
	name string
	*diary
}

func (h *drainedHost) WaitRegistered(context.Context) error { return nil }
func (h *drainedHost) Close()                               { h.note("%s logs out", h.name) }
func (h *drainedHost) FinalTraffic() (endpoint.Traffic, bool) {
	return endpoint.Traffic{TxBytes: 7}, true
}

func TestDevicesOfADrainedAdapterLeaveInOrderAndAreDisabled(t *testing.T) {
	keys := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		log := slog.New(slog.DiscardHandler)
		d := &diary{last: map[string]api.GeneralNodeStatus{}}
		f := &drainedLAN{diary: d}
		addresses := map[string]netip.Addr{"cam1": netip.MustParseAddr("10.77.0.11"), "cam2": netip.MustParseAddr("10.77.0.12")}
		n := newNodes(f, newReporter("gate", new(atomic.Pointer[client.Client]), log), &surroundings{
			segment: f, report: d.report, keys: keys, log: log, leaseTime: time.Hour,
			leases:  loadLeases(filepath.Join(keys, "leases.json"), log),
			network: func(lan.Network) {}, ready: func(lan.MAC, lan.Lease) {},
			host: func(i endpoint.Identity) (hosted, error) { return &drainedHost{i.Grant.FQDN, d}, nil },
			login: func(_ context.Context, name string, _ *identity.DeviceKey, _ identity.Assurance) (*login.Grant, error) {
				return &login.Grant{FQDN: name, Domain: "lab.example", VirtualIPv4: addresses[name], IPv4Prefix: netip.MustParsePrefix("10.77.0.0/24")}, nil
			},
		})
		defer n.stop()
		items := []api.GeneralNode{camera("cam1", "02:00:00:00:00:01"), camera("cam2", "02:00:00:00:00:02")}
		for i := range items {
			items[i].Metadata.Generation = 3
		}
		n.apply(t.Context(), items)
		for _, r := range n.all() {
			r.tell(seen{})
		}
		synctest.Wait()
		for name := range addresses {
			if s := d.last[name]; s.Phase != api.DevicePhaseUp || s.ObservedGeneration != 3 || s.Conditions[0].ObservedGeneration != 3 {
				t.Fatalf("%s: %+v", name, s)
			}
		}
		for i := range items {
			items[i].Spec.Disabled = true // as the manager shows them, without another generation
		}
		n.apply(t.Context(), items)
		synctest.Wait()
		for name, address := range addresses {
			closed, out, disabled := d.position(t, "LAN closed for "+address.String()), d.position(t, name+" logs out"), d.position(t, name+" reports Disabled")
			if closed > out || out > disabled {
				t.Errorf("%s: LAN closed at %d, logged out at %d, reported at %d in %q", name, closed, out, disabled, d.entries)
			}
			if s := d.last[name]; s.Phase != api.DevicePhaseDisabled || s.ObservedGeneration != 3 {
				t.Errorf("%s: %+v", name, s)
			}
		}
		if len(f.listed) != 0 {
			t.Errorf("the guard still lists %v", f.listed)
		}
		for i := range items {
			items[i].Metadata.Generation = 4 // changed and changed back while the manager was away
		}
		n.apply(t.Context(), items)
		synctest.Wait()
		if s := d.last["cam1"]; s.ObservedGeneration != 4 {
			t.Errorf("the generation is not acknowledged: %+v", s)
		}
	})
}
