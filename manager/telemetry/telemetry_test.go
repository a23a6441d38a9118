package telemetry

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"google.golang.org/protobuf/encoding/protodelim"
)

// site is a manager with adapters, a clock and fellow managers.
type site struct {
	*Telemetry
	now       time.Time
	adapters  map[string]int64
	replicas  []string
	registry  *prometheus.Registry
	sequences map[string]uint64
}

func newSite(t testing.TB, adapters ...string) *site {
	t.Helper()
	s := &site{
		now: time.Unix(1_800_000_000, 0), adapters: map[string]int64{}, replicas: []string{"m1:7440"}, registry: prometheus.NewRegistry(),
		sequences: map[string]uint64{},
	}
	for _, a := range adapters {
		s.adapters[a] = 1
	}
	var err error
	s.Telemetry, err = New(Options{
		Incarnation: func(a string) (int64, bool) { i, ok := s.adapters[a]; return i, ok },
		Replicas:    func() []string { return s.replicas },
		Adapters:    func() int { return len(s.adapters) },
		Log:         slog.New(slog.DiscardHandler), Registerer: s.registry, Now: func() time.Time { return s.now },
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func counter(name string, value float64, labels ...string) *dto.MetricFamily {
	m := &dto.Metric{Counter: &dto.Counter{Value: &value}}
	for i := 0; i < len(labels); i += 2 {
		m.Label = append(m.Label, &dto.LabelPair{Name: &labels[i], Value: &labels[i+1]})
	}
	help := "Help of " + name + "."
	return &dto.MetricFamily{Name: &name, Help: &help, Type: dto.MetricType_COUNTER.Enum(), Metric: []*dto.Metric{m}}
}

func gzipped(t testing.TB, plain []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(plain); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func body(t testing.TB, families ...*dto.MetricFamily) io.Reader {
	t.Helper()
	var b bytes.Buffer
	for _, f := range families {
		if _, err := protodelim.MarshalTo(&b, f); err != nil {
			t.Fatal(err)
		}
	}
	return bytes.NewReader(gzipped(t, b.Bytes()))
}

// full pushes everything; it fails the test if that is refused.
func (s *site) full(t testing.TB, adapter string, families ...*dto.MetricFamily) {
	t.Helper()
	s.sequences[adapter]++
	if err := s.Push(context.Background(), Push{Adapter: adapter, Boot: "boot-one", Sequence: s.sequences[adapter]}, body(t, families...)); err != nil {
		t.Fatal(err)
	}
}

func (s *site) page(t testing.TB) string {
	t.Helper()
	var b strings.Builder
	if err := s.Write(&b, 0, 1); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func (s *site) want(t *testing.T, texts ...string) {
	t.Helper()
	page := s.page(t)
	for _, text := range texts {
		if !strings.Contains(page, text+"\n") {
			t.Errorf("the page lacks %q:\n%s", text, page)
		}
	}
}

func TestAPageIsWhatPrometheusParsesWithEveryTypeAndSorted(t *testing.T) {
	s := newSite(t, "a", "b")
	registry := prometheus.NewRegistry()
	h := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "cyphonic_x_seconds", Help: "A \\ and\na line.", Buckets: []float64{.1, 1}})
	q := prometheus.NewSummary(prometheus.SummaryOpts{Name: "cyphonic_y_seconds", Help: "y", Objectives: map[float64]float64{.5: .1}})
	g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "cyphonic_z_devices", Help: "z"}, []string{"name"})
	registry.MustRegister(h, q, g)
	h.Observe(.5)
	h.Observe(7)
	q.Observe(3)
	g.WithLabelValues("q\"u\\o\nte").Set(-1.5)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	s.full(t, "b", families...)
	s.full(t, "a", families...)
	page := s.page(t)
	parser := expfmt.NewTextParser(model.UTF8Validation)
	parsed, err := parser.TextToMetricFamilies(strings.NewReader(page))
	if err != nil {
		t.Fatalf("%v in\n%s", err, page)
	}
	for name, n := range map[string]int{"cyphonic_x_seconds": 2, "cyphonic_y_seconds": 2, "cyphonic_z_devices": 2, "cyphonic_manager_telemetry_push_age_seconds": 2} {
		if got := len(parsed[name].GetMetric()); got != n {
			t.Errorf("%s has %d metrics, want %d in\n%s", name, got, n, page)
		}
	}
	x := parsed["cyphonic_x_seconds"].GetMetric()[0]
	if x.GetLabel()[0].GetValue() != "a" || x.GetHistogram().GetSampleCount() != 2 || len(x.GetHistogram().GetBucket()) != 3 || parsed["cyphonic_x_seconds"].GetHelp() != "A \\ and\na line." {
		t.Errorf("histogram %v, help %q", x, parsed["cyphonic_x_seconds"].GetHelp())
	}
	if l := parsed["cyphonic_z_devices"].GetMetric()[0].GetLabel(); l[1].GetValue() != "q\"u\\o\nte" {
		t.Errorf("labels %v", l)
	}
	if i, j := strings.Index(page, "cyphonic_x_seconds_sum"), strings.Index(page, "cyphonic_y_seconds_sum"); i > j {
		t.Error("the page is not sorted")
	}
}

func TestADeltaReplacesWhatItNamesAndRemovesWhatIsEmpty(t *testing.T) {
	s := newSite(t, "a")
	s.full(t, "a", counter("cyphonic_one_total", 1), counter("cyphonic_two_total", 2), counter("cyphonic_three_total", 3))
	gone := "cyphonic_two_total"
	empty := &dto.MetricFamily{Name: &gone, Type: dto.MetricType_COUNTER.Enum()}
	if err := s.Push(context.Background(), Push{"a", "boot-one", 2, 1}, body(t, counter("cyphonic_three_total", 30), empty, counter("cyphonic_four_total", 4))); err != nil {
		t.Fatal(err)
	}
	s.want(t, `cyphonic_one_total{adapter="a"} 1`, `cyphonic_three_total{adapter="a"} 30`, `cyphonic_four_total{adapter="a"} 4`)
	if page := s.page(t); strings.Contains(page, "cyphonic_two_total") {
		t.Errorf("what is gone is shown:\n%s", page)
	}
}

func TestNumbersOfPushes(t *testing.T) {
	for _, row := range []struct {
		name string
		push Push
		want error
	}{
		{"the next delta", Push{"a", "boot-one", 6, 5}, nil},
		{"the same again", Push{"a", "boot-one", 5, 4}, nil},
		{"everything again", Push{"a", "boot-one", 7, 0}, nil},
		{"another run, everything", Push{"a", "boot-two", 1, 0}, nil},
		{"another run, a delta", Push{"a", "boot-two", 6, 5}, ErrBase},
		{"a base before the present one: its answer was lost", Push{"a", "boot-one", 6, 4}, ErrBase},
		{"a base that another manager has", Push{"a", "boot-one", 9, 8}, ErrBase},
		{"an older one, late", Push{"a", "boot-one", 4, 0}, ErrOlder},
		{"an adapter that does not exist", Push{"nobody", "boot-one", 1, 0}, ErrGone},
		{"a delta of an adapter that is new here", Push{"b", "boot-one", 6, 5}, ErrBase},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := newSite(t, "a", "b")
			s.sequences["a"] = 4
			s.full(t, "a", counter("cyphonic_one_total", 1))
			if err := s.Push(context.Background(), row.push, body(t, counter("cyphonic_one_total", 2))); !errors.Is(err, row.want) {
				t.Errorf("%v, want %v", err, row.want)
			}
		})
	}
}

func TestWhatIsStaleDeletedOrAnotherIsNotShown(t *testing.T) {
	s := newSite(t, "a")
	s.full(t, "a", counter("cyphonic_one_total", 1))
	s.now = s.now.Add(staleAfter - time.Second)
	s.want(t, `cyphonic_one_total{adapter="a"} 1`, `cyphonic_manager_telemetry_push_age_seconds{adapter="a"} 36.5`)
	s.now = s.now.Add(time.Second)
	if page := s.page(t); page != "" {
		t.Errorf("stale and shown:\n%s", page)
	}
	s.sweep()
	if _, _, series, bytes := s.usage(); series != 0 || bytes != 0 {
		t.Errorf("%d series and %d bytes are kept of nobody", series, bytes)
	}
	for name, change := range map[string]func(){
		"deleted":           func() { delete(s.adapters, "a") },
		"made again":        func() { s.adapters["a"]++ },
		"said that it goes": func() { s.full(t, "a") },
	} {
		s.adapters["a"] = 1
		s.full(t, "a", counter("cyphonic_one_total", 1))
		s.want(t, `cyphonic_one_total{adapter="a"} 1`)
		change()
		if page := s.page(t); page != "" {
			t.Errorf("%s and shown:\n%s", name, page)
		}
		s.now = s.now.Add(time.Minute)
	}
}

// TestTwoManagersNeverShowOneAdapter moves an adapter between two managers in every order of pushes of a minute and looks at every second.
func TestTwoManagersNeverShowOneAdapter(t *testing.T) {
	shown := 0
	for pattern := range 1 << 6 {
		one, two := newSite(t, "a"), newSite(t, "a")
		one.replicas, two.replicas = []string{"m1:7440", "m2:7440"}, []string{"m1:7440", "m2:7440"}
		sequence, acknowledged := uint64(0), uint64(0)
		for second := range 6*15 + 60 {
			one.now, two.now = one.now.Add(time.Second), two.now.Add(time.Second)
			if second%15 == 0 && second < 6*15 {
				to := one
				if pattern>>(second/15)&1 == 1 {
					to = two
				}
				sequence++
				err := to.Push(context.Background(), Push{"a", "boot-one", sequence, acknowledged}, body(t, counter("cyphonic_one_total", float64(second))))
				if errors.Is(err, ErrBase) {
					sequence++
					err = to.Push(context.Background(), Push{"a", "boot-one", sequence, 0}, body(t, counter("cyphonic_one_total", float64(second))))
				}
				if err != nil {
					t.Fatal(err)
				}
				acknowledged = sequence
			}
			a, b := one.page(t) != "", two.page(t) != ""
			if a && b {
				t.Fatalf("pattern %06b: both show it in second %d", pattern, second)
			}
			if a || b {
				shown++
			}
		}
	}
	if shown == 0 {
		t.Fatal("nobody ever showed it")
	}
}

func TestAManagerAloneShowsAtOnce(t *testing.T) {
	s := newSite(t, "a", "b")
	s.full(t, "a", counter("cyphonic_one_total", 1))
	s.want(t, `cyphonic_one_total{adapter="a"} 1`)
	s.replicas = nil // not known yet
	s.full(t, "b", counter("cyphonic_one_total", 2))
	if page := s.page(t); strings.Contains(page, `{adapter="b"}`) {
		t.Error("shown although another manager may show it")
	}
	if got := testutil.ToFloat64(gaugeOf(s.registry, "cyphonic_manager_telemetry_adapters", "held")); got != 1 {
		t.Errorf("%v adapters are held back", got)
	}
}

// gaugeOf makes a collector of one value of a registry.
func gaugeOf(r *prometheus.Registry, name, label string) prometheus.Collector {
	g := prometheus.NewGauge(prometheus.GaugeOpts{Name: "found"})
	families, _ := r.Gather()
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name && (label == "" || m.GetLabel()[0].GetValue() == label) {
				g.Set(m.GetGauge().GetValue() + m.GetCounter().GetValue())
			}
		}
	}
	return g
}

func TestShardsHaveEveryAdapterOnce(t *testing.T) {
	s := newSite(t)
	for i := range 40 {
		name := fmt.Sprintf("hall-%d", i)
		s.adapters[name] = 1
		s.full(t, name, counter("cyphonic_one_total", 1))
	}
	seen := map[string]int{}
	for shard := range 4 {
		var b strings.Builder
		if err := s.Write(&b, shard, 4); err != nil {
			t.Fatal(err)
		}
		for name := range s.adapters {
			seen[name] += strings.Count(b.String(), `cyphonic_one_total{adapter="`+name+`"}`)
		}
	}
	for name, n := range seen {
		if n != 1 {
			t.Errorf("%s is on %d pages", name, n)
		}
	}
	for _, wrong := range [][2]int{{4, 4}, {-1, 4}, {0, 0}, {0, maxShards + 1}} {
		if err := s.Write(io.Discard, wrong[0], wrong[1]); err == nil {
			t.Errorf("shard %v is there", wrong)
		}
	}
}

func TestTargetsAreEveryShardOfEveryManager(t *testing.T) {
	s := newSite(t)
	for i := range shardAdapters + 1 {
		s.adapters[fmt.Sprint("a", i)] = 1
	}
	s.replicas = []string{"m2:7440", "m1:7440"}
	targets := s.Targets()
	if len(targets) != 3 || targets[0].Labels[KindLabel] != KindManager || targets[0].Labels["__metrics_path__"] != "/metrics" {
		t.Fatalf("%v", targets)
	}
	last := targets[2]
	if len(last.Addresses) != 2 || last.Addresses[0] != "m1:7440" || last.Labels["__param_shard"] != "1" || last.Labels["__param_shards"] != "2" || last.Labels[KindLabel] != KindAdapter {
		t.Errorf("%v", last)
	}
	for adapters, want := range map[int]int{0: 1, shardAdapters: 1, shardAdapters + 1: 2, 10000: 64, 1 << 30: maxShards} {
		if got := shards(adapters); got != want {
			t.Errorf("%d shards for %d adapters, want %d", got, adapters, want)
		}
	}
}
