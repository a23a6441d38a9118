package adapter

import (
	"context"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cyphonic/cyphonic/api"
)

// metrics of the adapter; those of tunnels and packets are the endpoint's.
type metrics struct {
	adapter   *Adapter
	logins    *prometheus.CounterVec
	following prometheus.Gauge
	phases    *prometheus.Desc
	drops     *prometheus.Desc
	unlisted  *prometheus.Desc
}

func newMetrics(registerer prometheus.Registerer, a *Adapter) (*metrics, error) {
	m := &metrics{
		adapter: a,
		logins: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "cyphonic_adapter_logins_total", Help: "Logins of general nodes by result (ok, denied, failed, unreachable).",
		}, []string{"result"}),
		following: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "cyphonic_adapter_list_followed", Help: "1 while the general-node list is followed at the manager.",
		}),
		phases:   prometheus.NewDesc("cyphonic_adapter_general_nodes", "General nodes by phase.", []string{"phase"}, nil),
		drops:    prometheus.NewDesc("cyphonic_adapter_guard_drops_total", "Frames and packets dropped by the source guard.", []string{"reason"}, nil),
		unlisted: prometheus.NewDesc("cyphonic_adapter_unlisted_devices", "Devices on the LAN that are not in the list, seen within the last minutes.", nil, nil),
	}
	for _, c := range []prometheus.Collector{m.logins, m.following, m} {
		if err := registerer.Register(c); err != nil {
			return nil, fmt.Errorf("adapter: register metrics: %w", err)
		}
	}
	return m, nil
}

// Describe is part of prometheus.Collector.
func (m *metrics) Describe(descriptions chan<- *prometheus.Desc) {
	descriptions <- m.phases
	descriptions <- m.drops
	descriptions <- m.unlisted
}

// Collect reads the guard's counters from the kernel.
func (m *metrics) Collect(out chan<- prometheus.Metric) {
	m.adapter.mu.Lock()
	opened := m.adapter.opened
	m.adapter.mu.Unlock()
	if !opened {
		return
	}
	count := make(map[api.DevicePhase]int)
	for _, r := range m.adapter.nodes.all() {
		count[r.state.Load().phase]++
	}
	for phase, n := range count {
		out <- prometheus.MustNewConstMetric(m.phases, prometheus.GaugeValue, float64(n), string(phase))
	}
	ctx, cancel := context.WithTimeout(context.Background(), statusTimeout)
	defer cancel()
	if drops, err := m.adapter.segment.Counters(ctx); err == nil {
		for reason, n := range drops {
			out <- prometheus.MustNewConstMetric(m.drops, prometheus.CounterValue, float64(n), reason)
		}
	}
	if seen, err := m.adapter.segment.Unlisted(ctx); err == nil {
		out <- prometheus.MustNewConstMetric(m.unlisted, prometheus.GaugeValue, float64(len(m.adapter.nodes.strangers(seen))))
	}
}
