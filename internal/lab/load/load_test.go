package load_test

import (
	"context"
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cyphonic/cyphonic/internal/lab"
	"github.com/cyphonic/cyphonic/internal/lab/load"
	"github.com/cyphonic/cyphonic/internal/lab/overlay"
)

const network = `
{apiVersion: cyphonic/v1, kind: Network, metadata: {name: fleet}, spec: {ipv4Prefix: 100.96.0.0/16, ipv6Prefix: "fd96:c1f0::/64", domain: fleet.cyphonic.internal}}
---
{apiVersion: cyphonic/v1, kind: CloudService, metadata: {name: manager}, spec: {service: manager, ipv4: 203.0.113.10, ipv6: "2001:db8:113::10", port: 7440}}
---
{apiVersion: cyphonic/v1, kind: CloudService, metadata: {name: as}, spec: {service: as, ipv4: 203.0.113.10, ipv6: "2001:db8:113::10", port: 7441}}
---
{apiVersion: cyphonic/v1, kind: CloudService, metadata: {name: nms}, spec: {service: nms, ipv4: 203.0.113.10, ipv6: "2001:db8:113::10", port: 7442}}
---
{apiVersion: cyphonic/v1, kind: CloudService, metadata: {name: trs}, spec: {service: trs, ipv4: 203.0.113.10, ipv6: "2001:db8:113::10", port: 7443}}
---
`

// site is a cloud in one process and a host with devices.
type site struct {
	*overlay.Network
	load *load.Remote
}

func newSite(t *testing.T, sources int) *site {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("CYPHONIC_UNPRIVILEGED") == "1" {
			t.Skip("needs root (network namespaces); CYPHONIC_UNPRIVILEGED=1 skips it")
		}
		t.Fatal("needs root: network namespaces")
	}
	topology := overlay.InternetTopology()
	overlay.AddPublicHost(topology, "devices", "192.0.2.2/24", "2001:db8:a::2/64")
	l, err := lab.New(t.Context(), lab.Options{NoEvidence: true}, *topology)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	s := &site{}
	if s.Network, err = overlay.New(l, programs(ctx, t), false); err != nil {
		t.Fatal(err)
	}
	devices := load.Fleet(addresses(t, l.Host("devices"), sources))
	for _, step := range []func() error{
		func() error { return s.Init(ctx) },
		func() error { return s.StartCloud(ctx) },
		func() error { return s.Apply(ctx, network+load.Manifests("fleet", "gateway", devices)) },
		func() error { return s.startLoad(ctx, devices) },
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func programs(ctx context.Context, t *testing.T) overlay.Programs {
	t.Helper()
	directory := os.Getenv("CYPHONIC_BIN")
	build := directory == ""
	if build {
		directory = t.TempDir()
		if _, err := overlay.BuildPrograms(ctx, directory); err != nil {
			t.Fatal(err)
		}
	}
	found, err := overlay.FindPrograms(directory)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// addresses gives the host further addresses of both families.
func addresses(t *testing.T, host *lab.Host, sources int) []netip.Addr {
	t.Helper()
	v4, v6 := netip.MustParseAddr("192.0.2.10"), netip.MustParseAddr("2001:db8:a::10")
	var all []netip.Addr
	for range sources {
		for _, a := range []netip.Addr{v4, v6} {
			if err := host.AddAddress("eth0", netip.PrefixFrom(a, a.BitLen())); err != nil {
				t.Fatal(err)
			}
			all = append(all, a)
		}
		v4, v6 = v4.Next(), v6.Next()
	}
	return all
}

func (s *site) startLoad(ctx context.Context, devices []load.Device) error {
	token, err := s.Ctl(ctx, "token", "create", "--adapter", "gateway")
	if err != nil {
		return err
	}
	path := func(name string) string { return filepath.Join(s.Lab.Directory(), name) }
	config, err := json.Marshal(load.Config{
		TrustFile: filepath.Join(s.Installation(), "trust.json"),
		ASIPv4:    netip.MustParseAddrPort("203.0.113.10:7441"), ASIPv6: netip.MustParseAddrPort("[2001:db8:113::10]:7441"),
		Adapter: "gateway", AdapterKeyFile: path("gateway.key"), TokenFile: path("token"), Devices: devices,
	})
	if err != nil {
		return err
	}
	for name, text := range map[string]string{"token": token, "load.json": string(config)} {
		if err := os.WriteFile(path(name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	process, err := s.Lab.Host("devices").Start(lab.Command{
		Args: []string{s.Programs.Path("cyphonic-lab"), "helper", "load", "--config", path("load.json"), "--socket", path("load.sock")},
	})
	if err != nil {
		return err
	}
	s.load = load.NewRemote(path("load.sock"))
	for !s.load.Listening() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-process.Done():
			return process.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
	return s.load.Enrol(ctx)
}

func TestLoadOnACloudInOneProcess(t *testing.T) {
	const sources = 40
	s := newSite(t, sources)
	if _, err := s.load.Load(t.Context(), load.Plan{Rate: 10, Count: 1}); err == nil {
		t.Error("a load before the devices are set up")
	}
	if err := s.load.Setup(t.Context(), 8); err != nil {
		t.Fatal(err)
	}
	before := s.observe(t, 2*sources)
	if err := s.load.Reopen(t.Context(), 8); err != nil {
		t.Fatal(err)
	}
	for i, o := range s.observe(t, 2*sources) {
		if o.Source == before[i].Source {
			t.Errorf("%s has not moved from %s", o.Device, o.Source)
		}
	}
	t.Run("everything is answered at the first try", s.everythingIsAnswered)
	t.Run("a load can be stopped", s.stops)
	t.Run("connections that stand together are all served", s.burst)
	t.Run("what is not answered is counted", s.countsErrors)
}

// observe wants every device to be seen where it is.
func (s *site) observe(t *testing.T, devices int) []load.Observation {
	t.Helper()
	seen, err := s.load.Observations(t.Context())
	if err != nil || len(seen) != devices {
		t.Fatalf("%d observations: %v", len(seen), err)
	}
	for _, o := range seen {
		if o.Observed != o.Source {
			t.Errorf("%s sends from %s, the NMS sees %s", o.Device, o.Source, o.Observed)
		}
	}
	return seen
}

func (s *site) everythingIsAnswered(t *testing.T) {
	begin := time.Now()
	report, err := s.load.Load(t.Context(), load.Plan{Rate: 200, Count: 600})
	if err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begin); took < 2900*time.Millisecond {
		t.Errorf("600 requests at 200 per second took only %s", took)
	}
	for _, kind := range load.Kinds() {
		if c := report.Counts[kind]; c.Sent != 200 || c.Failed != 0 || c.FirstTry+c.Retried != 200 || c.P50 == 0 {
			t.Errorf("%s: %+v", kind, c)
		}
	}
	if report.Total().FirstTryErrors() > 3 { // a busy machine may be late
		t.Errorf("not answered at the first try:\n%s%v", report, report.Faults)
	}
}

func (s *site) stops(t *testing.T) {
	done := make(chan *load.Report, 1)
	go func() {
		report, err := s.load.Load(t.Context(), load.Plan{Rate: 50})
		if err != nil {
			t.Error(err)
		}
		done <- report
	}()
	deadline := time.Now().Add(10 * time.Second)
	for s.load.Stop(t.Context()) != nil {
		if time.Now().After(deadline) {
			t.Fatal("the load does not begin")
		}
		time.Sleep(10 * time.Millisecond)
	}
	if report := <-done; report.Total().Failed != 0 {
		t.Errorf("a load that is stopped loses what is under way:\n%s", report)
	}
}

func (s *site) burst(t *testing.T) {
	report, err := s.load.Burst(t.Context(), 400, 30*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if report.Failed != 0 || report.Connected == 0 || report.Served < report.Connected {
		t.Errorf("%+v", report)
	}
}

func (s *site) countsErrors(t *testing.T) {
	s.Cloud().Kill()
	report, err := s.load.Load(t.Context(), load.Plan{Rate: 30, Count: 30})
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range load.Kinds() {
		if c := report.Counts[kind]; c.Failed != 10 || c.FirstTryErrors() != 10 {
			t.Errorf("%s without a cloud: %+v", kind, c)
		}
	}
	if len(report.Faults) != 30 {
		t.Fatalf("%d faults described, want 30", len(report.Faults))
	}
	for _, f := range report.Faults {
		if !f.Failed || f.Error == "" || f.Tries < 2 || f.Local.Port() == 0 || f.Remote.Port() == 0 || !strings.HasPrefix(f.Device, "device-") {
			t.Errorf("a fault is not described: %+v", f)
		}
	}
}
