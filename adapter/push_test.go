package adapter

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/encoding/protodelim"

	"github.com/cyphonic/cyphonic/api/client"
	"github.com/cyphonic/cyphonic/internal/endpoint"
	"github.com/cyphonic/cyphonic/internal/identity"
)

// pushedTo is a manager that keeps what is pushed to it; the zero value knows nothing.
type pushedTo struct {
	mu       sync.Mutex
	away     bool
	status   int // instead of taking a push
	boot     string
	sequence int64
	families map[string]*dto.MetricFamily
	bodies   []int // bytes of each
	full     int
}

// RoundTrip answers in the process.
func (m *pushedTo) RoundTrip(r *http.Request) (*http.Response, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.away {
		return nil, errors.New("connection refused")
	}
	w := httptest.NewRecorder()
	if status := m.take(r); status != 0 {
		if status != http.StatusConflict {
			w.Header().Set("Retry-After", "60")
		}
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(status)
		_, _ = fmt.Fprintf(w, `{"type":"about:blank","title":"no","status":%d}`, status)
	} else {
		w.WriteHeader(http.StatusNoContent)
	}
	return w.Result(), nil
}

func (m *pushedTo) take(r *http.Request) (refusal int) {
	number := func(name string) int64 {
		n, _ := strconv.ParseInt(r.Header.Get(name), 10, 64)
		return n
	}
	body, _ := io.ReadAll(r.Body)
	m.bodies = append(m.bodies, len(body))
	if m.status != 0 {
		return m.status
	}
	boot, sequence, base := r.Header.Get("Cyphonic-Metrics-Boot"), number("Cyphonic-Metrics-Sequence"), number("Cyphonic-Metrics-Base")
	if base != 0 && (boot != m.boot || base != m.sequence) {
		return http.StatusConflict
	}
	if base == 0 {
		m.families, m.full = map[string]*dto.MetricFamily{}, m.full+1
	}
	z, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil || r.Header.Get("Content-Encoding") != "gzip" {
		return http.StatusBadRequest
	}
	for reader := bufio.NewReader(z); ; {
		var f dto.MetricFamily
		if err := protodelim.UnmarshalFrom(reader, &f); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return http.StatusBadRequest
		}
		if len(f.GetMetric()) == 0 {
			delete(m.families, f.GetName())
		} else {
			m.families[f.GetName()] = &f
		}
	}
	m.boot, m.sequence = boot, sequence
	return 0
}

func (m *pushedTo) value(name string) float64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	if f := m.families[name]; f != nil {
		return f.GetMetric()[0].GetCounter().GetValue() + f.GetMetric()[0].GetGauge().GetValue()
	}
	return -1
}

type pushing struct {
	*pusher
	registry *prometheus.Registry
	current  atomic.Pointer[client.Client]
	counted  prometheus.Counter
}

func newPushing(t testing.TB) *pushing {
	t.Helper()
	p := &pushing{registry: prometheus.NewRegistry(), counted: prometheus.NewCounter(prometheus.CounterOpts{Name: "cyphonic_test_counted_total", Help: "h"})}
	still := prometheus.NewGauge(prometheus.GaugeOpts{Name: "cyphonic_test_still", Help: "h"})
	p.registry.MustRegister(p.counted, still)
	m, err := newMetrics(prometheus.NewRegistry(), &Adapter{})
	if err != nil {
		t.Fatal(err)
	}
	p.pusher = newPusher("gate", &p.current, p.registry, m, slog.New(slog.DiscardHandler))
	return p
}

func (p *pushing) use(t testing.TB, m *pushedTo) {
	t.Helper()
	c, err := client.New(client.Options{Server: "https://manager.test", Transport: m})
	if err != nil {
		t.Fatal(err)
	}
	p.current.Store(c)
}

func TestLaterPushesHaveOnlyWhatChanged(t *testing.T) {
	p, m := newPushing(t), &pushedTo{}
	p.use(t, m)
	extra := prometheus.NewGauge(prometheus.GaugeOpts{Name: "cyphonic_test_extra", Help: "h"})
	p.registry.MustRegister(extra)
	for range 5 {
		p.counted.Inc()
		if err := p.push(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if m.full != 1 || m.value("cyphonic_test_counted_total") != 5 || m.value("cyphonic_test_still") != 0 {
		t.Errorf("%d full pushes; counted %v, still %v", m.full, m.value("cyphonic_test_counted_total"), m.value("cyphonic_test_still"))
	}
	if m.bodies[1] >= m.bodies[0] {
		t.Errorf("bytes of the pushes: %v", m.bodies)
	}
	p.registry.Unregister(extra)
	if err := p.push(t.Context()); err != nil || m.value("cyphonic_test_extra") != -1 {
		t.Errorf("a metric that is gone stays: %v", err)
	}
	p.leave(t.Context())
	if len(m.families) != 0 {
		t.Errorf("after the end the manager has %d families", len(m.families))
	}
}

// TestLosingTheManagerLosesNoCounters kills the manager while the adapter counts, lets another one take its place, and compares.
func TestLosingTheManagerLosesNoCounters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, first, second := newPushing(t), &pushedTo{}, &pushedTo{}
		p.use(t, first)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- p.Run(ctx) }()
		total := 0.0
		count := func(seconds int) {
			for range seconds {
				p.counted.Inc()
				total++
				time.Sleep(time.Second)
			}
		}
		count(60)
		if got := first.value("cyphonic_test_counted_total"); got < total-2*pushInterval.Seconds() {
			t.Errorf("the first manager has %v of %v", got, total)
		}
		first.mu.Lock()
		first.away = true
		first.mu.Unlock()
		count(600)
		synctest.Wait()
		if kept := len(p.acknowledged); kept > 2 {
			t.Errorf("%d entries are kept while the manager is away", kept)
		}
		p.use(t, second)
		count(60)
		synctest.Wait()
		if got := second.value("cyphonic_test_counted_total"); got < total-2*pushInterval.Seconds() || got > total {
			t.Errorf("the second manager has %v of %v", got, total)
		}
		if second.full != 1 {
			t.Errorf("%d full pushes to the second manager", second.full)
		}
		// What the manager keeps must be right too after it has lost everything.
		second.mu.Lock()
		second.boot, second.families = "", nil
		second.mu.Unlock()
		count(30)
		if got := second.value("cyphonic_test_counted_total"); got < total-2*pushInterval.Seconds() {
			t.Errorf("the manager without memory has %v of %v", got, total)
		}
		cancel()
		if err := <-done; err != nil || len(second.families) != 0 {
			t.Errorf("%v, %d families after the end", err, len(second.families))
		}
	})
}

func TestAManagerThatAsksForPatienceGetsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, m := newPushing(t), &pushedTo{status: http.StatusTooManyRequests}
		p.use(t, m)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- p.Run(ctx) }()
		time.Sleep(5*time.Minute + pushStart)
		synctest.Wait()
		if n := len(m.bodies); n < 4 || n > 6 {
			t.Errorf("%d pushes in five minutes to a manager that asks for a minute each time", n)
		}
		cancel()
		<-done
	})
}

// devicesOf makes general nodes with identities that have traffic.
func devicesOf(n int) ([]*running, func() map[identity.NodeID]endpoint.Usage) {
	var all []*running
	usage := make(map[identity.NodeID]endpoint.Usage, n)
	for i := range n {
		g := &generalNode{name: fmt.Sprintf("camera-%04d", i)}
		s := &snapshot{phase: "Up"}
		s.id[0], s.id[1] = byte(i), byte(i>>8)
		g.state.Store(s)
		all = append(all, &running{generalNode: g})
		usage[s.id] = endpoint.Usage{Traffic: endpoint.Traffic{TxBytes: uint64(i) * 12345678, TxPackets: uint64(i) * 1234, RxBytes: uint64(i), RxPackets: 1}, Tunnels: 2, RTT: time.Duration(i) * 1234567}
	}
	return all, func() map[identity.NodeID]endpoint.Usage { return usage }
}

// deviceCollector shows general nodes.
type deviceCollector struct {
	deviceMetrics
	all   []*running
	usage func() map[identity.NodeID]endpoint.Usage
}

func (c deviceCollector) Describe(out chan<- *prometheus.Desc) { c.describe(out) }
func (c deviceCollector) Collect(out chan<- prometheus.Metric) { c.collect(out, c.all, c.usage) }

func TestSeriesOverTheManagersBoundAreLeftOutByDevice(t *testing.T) {
	p, m := newPushing(t), &pushedTo{}
	p.use(t, m)
	all, usage := devicesOf(300)
	p.registry.MustRegister(deviceCollector{newDeviceMetrics(), all, usage})
	if err := p.push(t.Context()); err != nil {
		t.Fatal(err)
	}
	series, devices := 0, map[string]int{}
	for _, f := range m.families {
		for _, metric := range f.GetMetric() {
			series += seriesOf(metric)
			if device, ok := deviceOf(metric); ok {
				devices[device]++
			}
		}
	}
	if series > maxPushSeries || series < maxPushSeries-8 || len(devices) != (maxPushSeries-2)/8 {
		t.Errorf("%d series of %d devices", series, len(devices))
	}
	for device, n := range devices {
		if n != 8 {
			t.Errorf("%s has %d series", device, n)
		}
	}
	if devices["camera-0000"] == 0 || devices["camera-0299"] != 0 {
		t.Error("it is not the last ones that are left out")
	}
}

func TestTrafficOfADeviceNeverGoesBack(t *testing.T) {
	var tr traffic
	show := func(past, now uint64) uint64 {
		return tr.show(endpoint.Traffic{TxBytes: past}, endpoint.Traffic{TxBytes: now}).TxBytes
	}
	if got := show(tr.before().TxBytes, 100); got != 100 {
		t.Errorf("%d", got)
	}
	past := tr.before()
	tr.keep(endpoint.Traffic{TxBytes: 120}) // the login ends between the two readings
	if got := tr.show(past, endpoint.Traffic{}).TxBytes; got != 100 {
		t.Errorf("%d", got)
	}
	if got := show(tr.before().TxBytes, 5); got != 125 {
		t.Errorf("%d", got)
	}
}

// BenchmarkPush gathers and pushes what an adapter has, without the about 300 series of its endpoint, everything or what changes in 15 s of traffic of all its
// general nodes.
func BenchmarkPush(b *testing.B) {
	for _, row := range []struct {
		full         bool
		generalNodes int
	}{{true, 0}, {false, 0}, {true, 50}, {false, 50}} {
		full := row.full
		b.Run(fmt.Sprintf("full=%v/%d", full, row.generalNodes), func(b *testing.B) {
			p, m := newPushing(b), &pushedTo{}
			p.use(b, m)
			all, usage := devicesOf(row.generalNodes)
			p.registry.MustRegister(deviceCollector{newDeviceMetrics(), all, usage}, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
			for b.Loop() {
				for id, u := range usage() {
					u.TxBytes += 7_654_321 + uint64(id[0])*1000
					u.RxBytes += 123_456 + uint64(id[0])
					u.TxPackets += 6_543 + uint64(id[0])
					u.RxPackets += 1_234
					usage()[id] = u
				}
				if full {
					p.base = 0
				}
				if err := p.push(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
			sent := 0
			for _, n := range m.bodies[1:] {
				sent += n
			}
			b.ReportMetric(float64(sent)/float64(len(m.bodies)-1), "B/push")
		})
	}
}

func BenchmarkCollectionOf50GeneralNodes(b *testing.B) {
	all, usage := devicesOf(50)
	registry := prometheus.NewRegistry()
	registry.MustRegister(deviceCollector{newDeviceMetrics(), all, usage})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := registry.Gather(); err != nil {
			b.Fatal(err)
		}
	}
}
