package telemetry

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

func TestFamiliesThatBreakARuleAreLeftOutAndCounted(t *testing.T) {
	native := counter("cyphonic_native_seconds", 1)
	native.Type, native.Metric[0].Counter = dto.MetricType_HISTOGRAM.Enum(), nil
	native.Metric[0].Histogram = &dto.Histogram{Schema: new(int32)}
	other := counter("cyphonic_other_total", 1)
	other.Metric[0].Counter, other.Metric[0].Gauge = nil, &dto.Gauge{}
	twice := counter("cyphonic_twice_total", 1)
	twice.Metric = append(twice.Metric, twice.Metric[0])
	unknown := counter("cyphonic_unknown_total", 1)
	unknown.Type = dto.MetricType_GAUGE_HISTOGRAM.Enum()
	help := counter("cyphonic_help_total", 1)
	help.Help = new(strings.Repeat("h", maxHelp+1))
	many := counter("cyphonic_many_total", 1)
	for i := range maxSeries + 1 {
		many.Metric = append(many.Metric, counter("x", 1, "n", fmt.Sprint(i)).Metric[0])
	}
	labels := []string{}
	for i := range maxLabels + 1 {
		labels = append(labels, fmt.Sprint("l", i), "v")
	}
	for _, row := range []struct {
		name, reason string
		family       *dto.MetricFamily
	}{
		{"name of somebody else", refusedName, counter("node_cpu_seconds_total", 1)},
		{"name of the manager's own", refusedName, counter("cyphonic_manager_telemetry_push_age_seconds", 1)},
		{"name of a service", refusedName, counter("cyphonic_nms_drops_total", 1)},
		{"name that breaks the line", refusedName, counter("cyphonic_x{} 1\ncyphonic_y", 1)},
		{"colon of a recording rule", refusedName, counter("cyphonic_x:rate", 1)},
		{"long name", refusedName, counter("cyphonic_"+strings.Repeat("x", maxName), 1)},
		{"native histogram", refusedType, native},
		{"unknown type", refusedType, unknown},
		{"long help", refusedHelp, help},
		{"the label adapter", refusedReserved, counter("cyphonic_x_total", 1, "adapter", "victim")},
		{"the label instance", refusedReserved, counter("cyphonic_x_total", 1, "instance", "victim")},
		{"a hidden label", refusedReserved, counter("cyphonic_x_total", 1, "__name__", "up")},
		{"label that breaks the line", refusedLabel, counter("cyphonic_x_total", 1, `a="b"} 1 #`, "v")},
		{"empty label", refusedLabel, counter("cyphonic_x_total", 1, "", "v")},
		{"label twice", refusedLabel, counter("cyphonic_x_total", 1, "a", "v", "a", "w")},
		{"long value", refusedLabel, counter("cyphonic_x_total", 1, "a", strings.Repeat("v", maxValue+1))},
		{"too many labels", refusedLabel, counter("cyphonic_x_total", 1, labels...)},
		{"another value than the type", refusedValue, other},
		{"the same series twice", refusedDuplicate, twice},
		{"too many series", refusedSeries, many},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := newSite(t, "a")
			s.full(t, "a", row.family, counter("cyphonic_good_total", 1))
			s.want(t, `cyphonic_good_total{adapter="a"} 1`)
			if page := s.page(t); strings.Count(page, "# TYPE") != 2 || strings.Contains(page, "victim") {
				t.Errorf("the page has more than the good metric and the age:\n%s", page)
			}
			if got := testutil.ToFloat64(s.metrics.refused.WithLabelValues(row.reason)); got != 1 {
				t.Errorf("counted %v times under %s", got, row.reason)
			}
		})
	}
}

func TestSeriesOfAllFamiliesTogetherAreBounded(t *testing.T) {
	s := newSite(t, "a")
	var families []*dto.MetricFamily
	for i := range maxFamilies + 10 {
		families = append(families, counter(fmt.Sprintf("cyphonic_f%04d_total", i), 1))
	}
	s.full(t, "a", families...)
	if _, _, series, _ := s.usage(); series != maxFamilies {
		t.Errorf("%d series are kept, want %d", series, maxFamilies)
	}
	if got := testutil.ToFloat64(s.metrics.refused.WithLabelValues(refusedSeries)); got != 10 {
		t.Errorf("%v families counted as refused", got)
	}
	wide := func(name string) *dto.MetricFamily {
		f := counter(name, 1, "n", "x")
		for i := range maxSeries - 2 {
			f.Metric = append(f.Metric, counter("x", 1, "n", fmt.Sprint(i)).Metric[0])
		}
		return f
	}
	s.full(t, "a", wide("cyphonic_a_total"), wide("cyphonic_b_total"))
	if _, _, series, _ := s.usage(); series > maxSeries {
		t.Errorf("%d series are kept, at most %d may be", series, maxSeries)
	}
}

func TestBodiesThatAreNoPushAreRefusedAsAWhole(t *testing.T) {
	good, _ := io.ReadAll(body(t, counter("cyphonic_one_total", 1)))
	bomb := gzipped(t, bytes.Repeat([]byte{0}, maxExpanded+1))
	for _, row := range []struct {
		name string
		body []byte
		want error
	}{
		{"empty", nil, ErrMalformed},
		{"not compressed", []byte("cyphonic_one_total 1\n"), ErrMalformed},
		{"cut", good[:len(good)-12], ErrMalformed},
		{"no messages", gzipped(t, []byte("cyphonic_one_total 1\n")), ErrMalformed},
		{"a bomb", bomb, ErrTooLarge},
		{"a message that says that it is huge", gzipped(t, []byte{0xff, 0xff, 0xff, 0xff, 0x0f}), ErrTooLarge},
		{"too many families", manyFamilies(t), ErrTooLarge},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := newSite(t, "a")
			s.full(t, "a", counter("cyphonic_one_total", 1))
			err := s.Push(context.Background(), Push{"a", "boot-one", 2, 0}, bytes.NewReader(row.body))
			if !errors.Is(err, row.want) {
				t.Errorf("%v, want %v", err, row.want)
			}
			s.want(t, `cyphonic_one_total{adapter="a"} 1`)
		})
	}
	s := newSite(t, "a")
	noise := make([]byte, maxCompressed+1024)
	for i := range noise {
		noise[i] = byte(i * i >> 3)
	}
	if err := s.Push(context.Background(), Push{"a", "boot-one", 1, 0}, io.MultiReader(bytes.NewReader(good[:10]), bytes.NewReader(noise))); err == nil {
		t.Error("noise was taken")
	}
}

func manyFamilies(t *testing.T) []byte {
	t.Helper()
	var families []*dto.MetricFamily
	for i := range 2*maxFamilies + 1 {
		families = append(families, counter(fmt.Sprintf("cyphonic_f%04d_total", i), 1))
	}
	b, err := io.ReadAll(body(t, families...))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestWhoPushesTooOftenIsRefusedAndRecovers(t *testing.T) {
	s := newSite(t, "a")
	refused := 0
	for range 3 * pushBurst {
		s.sequences["a"]++
		if err := s.Push(context.Background(), Push{"a", "boot-one", s.sequences["a"], 0}, body(t)); errors.Is(err, ErrTooOften) {
			refused++
		}
	}
	if refused != 2*pushBurst {
		t.Errorf("%d of %d pushes were refused", refused, 3*pushBurst)
	}
	s.now = s.now.Add(PushInterval)
	s.full(t, "a", counter("cyphonic_one_total", 1))
}

func TestMemoryIsBounded(t *testing.T) {
	s := newSite(t)
	s.o.MaxBytes = 10 * recordOverhead
	full := 0
	for i := range 40 {
		name := fmt.Sprint("a", i)
		s.adapters[name] = 1
		if err := s.Push(context.Background(), Push{name, "boot-one", 1, 0}, body(t, counter("cyphonic_one_total", 1))); errors.Is(err, ErrFull) {
			full++
		} else if err != nil {
			t.Fatal(err)
		}
	}
	_, _, _, kept := s.usage()
	if kept > s.o.MaxBytes || full == 0 || full == 40 {
		t.Errorf("%d bytes of %d, %d refused", kept, s.o.MaxBytes, full)
	}
	s.now = s.now.Add(time.Minute)
	s.sweep()
	s.adapters["late"] = 1
	s.full(t, "late", counter("cyphonic_one_total", 1))
}

// TestOneAdapterCannotTakeAMetricFromTheOthers: the type of a metric on a page is that of most adapters.
func TestOneAdapterCannotTakeAMetricFromTheOthers(t *testing.T) {
	s := newSite(t, "a", "b", "c")
	liar := counter("cyphonic_one_total", 666)
	liar.Type, liar.Metric[0].Gauge = dto.MetricType_GAUGE.Enum(), &dto.Gauge{Value: new(666.0)}
	s.full(t, "a", liar)
	s.full(t, "b", counter("cyphonic_one_total", 1))
	s.full(t, "c", counter("cyphonic_one_total", 2))
	s.want(t, "# TYPE cyphonic_one_total counter", `cyphonic_one_total{adapter="b"} 1`, `cyphonic_one_total{adapter="c"} 2`)
	if page := s.page(t); strings.Contains(page, "666") {
		t.Errorf("the liar is shown:\n%s", page)
	}
}

// FuzzPush wants every page that any body leads to to be one that Prometheus parses, with no label adapter but the true one.
func FuzzPush(f *testing.F) {
	for _, families := range [][]*dto.MetricFamily{
		{counter("cyphonic_one_total", 1, "a", "b")}, {counter("go_x", 1), counter("process_y", 2)}, {},
	} {
		compressed, err := gzip.NewReader(body(f, families...))
		if err != nil {
			f.Fatal(err)
		}
		plain, _ := io.ReadAll(compressed)
		f.Add(plain)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s := newSite(t, "a")
		if s.Push(context.Background(), Push{"a", "boot-one", 1, 0}, bytes.NewReader(gzipped(t, b))) != nil {
			return
		}
		parser := expfmt.NewTextParser(model.UTF8Validation)
		parsed, err := parser.TextToMetricFamilies(strings.NewReader(s.page(t)))
		if err != nil {
			t.Fatalf("%v in\n%s", err, s.page(t))
		}
		for _, family := range parsed {
			for _, m := range family.GetMetric() {
				n := 0
				for _, l := range m.GetLabel() {
					if l.GetName() == "adapter" && l.GetValue() == "a" {
						n++
					}
				}
				if n != 1 {
					t.Fatalf("%v", m)
				}
			}
		}
	})
}
