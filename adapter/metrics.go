package adapter

import (
	"context"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cyphonic/cyphonic/api"
)

// Results of logins of general nodes; the values of the label "result".
const (
	loginOK          = "ok"
	loginDenied      = "denied"
	loginFailed      = "failed"
	loginUnreachable = "unreachable"
)

// metrics of the adapter; those of tunnels and packets are the endpoint's.
type metrics struct {
	adapter   *Adapter
	logins    *prometheus.CounterVec
	following prometheus.Gauge
	phases    *prometheus.Desc
	drops     *prometheus.Desc
	unlisted  *prometheus.Desc
	listAge   *prometheus.Desc
	devices   deviceMetrics
	pushes    *prometheus.CounterVec
	pushBytes prometheus.Counter
	leftOut   prometheus.Gauge
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
		listAge:  prometheus.NewDesc("cyphonic_adapter_list_age_seconds", "Time since the manager last confirmed the general-node list in use.", nil, nil),
		devices:  newDeviceMetrics(),
		pushes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "cyphonic_adapter_telemetry_pushes_total", Help: "Pushes of metrics to the manager by result (ok, base, refused, unreachable).",
		}, []string{"result"}),
		pushBytes: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "cyphonic_adapter_telemetry_pushed_bytes_total", Help: "Compressed bytes of the pushes of metrics.",
		}),
		leftOut: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "cyphonic_adapter_telemetry_left_out_series", Help: "Series that pushes leave out because the manager takes no more; the status socket shows them.",
		}),
	}
	for _, result := range pushResults() {
		m.pushes.WithLabelValues(result)
	}
	for _, result := range []string{loginOK, loginDenied, loginFailed, loginUnreachable} {
		m.logins.WithLabelValues(result)
	}
	for _, c := range []prometheus.Collector{m.logins, m.following, m.pushes, m.pushBytes, m.leftOut, m} {
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
	descriptions <- m.listAge
	m.devices.describe(descriptions)
}

// phases are those of general nodes, in the order of their lives.
func phases() []api.DevicePhase {
	return []api.DevicePhase{
		api.DevicePhaseAbsent, api.DevicePhaseConnecting, api.DevicePhaseAuthenticating, api.DevicePhaseLoggingIn, api.DevicePhaseRegistering,
		api.DevicePhaseUp, api.DevicePhaseDown, api.DevicePhaseFailed, api.DevicePhaseDisabled,
	}
}

// Collect reads the guard's counters from the kernel.
func (m *metrics) Collect(out chan<- prometheus.Metric) {
	m.adapter.mu.Lock()
	opened := m.adapter.opened
	m.adapter.mu.Unlock()
	if !opened {
		return
	}
	if confirmed := m.adapter.listConfirmed.Load(); confirmed != 0 {
		out <- prometheus.MustNewConstMetric(m.listAge, prometheus.GaugeValue, max(0, time.Since(time.Unix(confirmed, 0)).Seconds()))
	}
	all := m.adapter.nodes.all()
	count := make(map[api.DevicePhase]int)
	for _, phase := range phases() {
		count[phase] = 0
	}
	for _, r := range all {
		count[r.state.Load().phase]++
	}
	m.devices.collect(out, all, m.adapter.engine.Usage)
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
