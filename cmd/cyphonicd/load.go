package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/cyphonic/cyphonic/internal/cloudconfig"
	"github.com/cyphonic/cyphonic/internal/keyspace"
)

// loadInterval is how often the load is measured and told to others.
const loadInterval = 5 * time.Second

// sampler measures what the process and each of its services have to do, from the process's own metrics. CPU and memory
// are those of the process: services in one process all show the same.
type sampler struct {
	// constant
	gatherer prometheus.Gatherer
	now      func() time.Time
	cores    prometheus.Gauge
	memory   prometheus.Gauge
	rate     *prometheus.GaugeVec // service
	sessions *prometheus.GaugeVec // service

	// before run
	sampled []*sampled

	// owned by run
	last    time.Time
	seconds float64 // of CPU, until last

	// under mu
	mu    sync.Mutex
	loads map[string]keyspace.Load
}

// sampled is one service.
type sampled struct {
	service  string
	sessions func() int          // nil: from its metrics
	tell     func(keyspace.Load) // nil: it asks
	requests float64             // until last
}

// requestCounters are the metrics that count what a service has been asked to do.
func requestCounters(service string) []string {
	return map[string][]string{
		cloudconfig.ServiceManager: {"cyphonic_manager_requests_total"},
		cloudconfig.ServiceAS:      {"cyphonic_as_logins_total"},
		cloudconfig.ServiceNMS:     {"cyphonic_nms_received_total"},
		cloudconfig.ServiceTRS:     {"cyphonic_trs_binds_total", "cyphonic_trs_forwarded_datagrams_total"},
	}[service]
}

func newSampler(registry *prometheus.Registry, now func() time.Time) (*sampler, error) {
	s := &sampler{
		gatherer: registry, now: now, loads: make(map[string]keyspace.Load),
		cores: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "cyphonic_replica_cpu_cores", Help: "Processor cores that the process used during the last five seconds.",
		}),
		memory: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "cyphonic_replica_memory_bytes", Help: "Resident memory of the process.",
		}),
		rate: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "cyphonic_replica_request_rate", Help: "Requests per second during the last five seconds: logins, messages, relayed datagrams, calls of the API.",
		}, []string{"service"}),
		sessions: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "cyphonic_replica_sessions", Help: "Sessions that the replica carries, as others see them.",
		}, []string{"service"}),
	}
	for _, c := range []prometheus.Collector{s.cores, s.memory, s.rate, s.sessions} {
		if err := registry.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics: %w", err)
		}
	}
	return s, nil
}

// add makes a service measured.
func (s *sampler) add(service string, sessions func() int, tell func(keyspace.Load)) {
	s.sampled = append(s.sampled, &sampled{service: service, sessions: sessions, tell: tell})
}

// load is the latest of a service.
func (s *sampler) load(service string) keyspace.Load {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.loads[service]
}

func (s *sampler) run(ctx context.Context) error {
	ticker := time.NewTicker(loadInterval)
	defer ticker.Stop()
	for {
		s.sample()
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// sample measures once. The first time there are no rates yet.
func (s *sampler) sample() {
	families, err := s.gatherer.Gather()
	if err != nil && len(families) == 0 {
		return // a metric that cannot be read is shown by /metrics
	}
	values := make(map[string]float64, len(families))
	for _, f := range families {
		values[f.GetName()] = total(f)
	}
	now := s.now()
	elapsed := now.Sub(s.last).Seconds()
	first := s.last.IsZero() || elapsed <= 0
	process := keyspace.Load{Memory: int64(values["process_resident_memory_bytes"])}
	if seconds := values["process_cpu_seconds_total"]; !first {
		process.CPU = max(0, seconds-s.seconds) / elapsed
	}
	s.last, s.seconds = now, values["process_cpu_seconds_total"]
	s.cores.Set(process.CPU)
	s.memory.Set(float64(process.Memory))
	for _, x := range s.sampled {
		s.sampleService(x, process, values, elapsed, first)
	}
}

func (s *sampler) sampleService(x *sampled, load keyspace.Load, values map[string]float64, elapsed float64, first bool) {
	requests := 0.0
	for _, name := range requestCounters(x.service) {
		requests += values[name]
	}
	if !first {
		load.Requests = max(0, requests-x.requests) / elapsed
	}
	x.requests = requests
	if x.sessions != nil {
		load.Sessions = x.sessions()
	} else {
		load.Sessions = int(values["cyphonic_"+x.service+"_watches"])
	}
	s.rate.WithLabelValues(x.service).Set(load.Requests)
	s.sessions.WithLabelValues(x.service).Set(float64(load.Sessions))
	s.mu.Lock()
	s.loads[x.service] = load
	s.mu.Unlock()
	if x.tell != nil {
		x.tell(load)
	}
}

// total is the sum over all labels of a counter or gauge.
func total(f *dto.MetricFamily) float64 {
	if !strings.HasPrefix(f.GetName(), "cyphonic_") && !strings.HasPrefix(f.GetName(), "process_") {
		return 0
	}
	sum := 0.0
	for _, m := range f.GetMetric() {
		sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
	}
	return sum
}
