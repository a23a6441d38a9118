package replica

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cyphonic/cyphonic/internal/keyspace"
)

// Steps of leaving, as labels.
const (
	stepLeave    = "leave"
	stepHandOver = "hand_over"
	stepFinish   = "finish"
)

// lifecycleStates are the values of the label state.
func lifecycleStates() []keyspace.ReplicaState {
	return []keyspace.ReplicaState{
		keyspace.ReplicaStarting, keyspace.ReplicaReady, keyspace.ReplicaLeaving, keyspace.ReplicaFinishing,
	}
}

// LifecycleMetrics are of all lifecycles of a process; the label service tells them apart.
type LifecycleMetrics struct {
	state    *prometheus.GaugeVec // service, state
	residual *prometheus.GaugeVec // service
	seconds  *prometheus.GaugeVec // service, step
	failures *prometheus.CounterVec
}

// NewLifecycleMetrics registers them.
func NewLifecycleMetrics(reg prometheus.Registerer) (*LifecycleMetrics, error) {
	m := &LifecycleMetrics{
		state: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "cyphonic_replica_state", Help: "1 for the state in which the replica is.",
		}, []string{"service", "state"}),
		residual: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "cyphonic_replica_residual_sessions", Help: "Sessions that would be lost if the process ended now.",
		}, []string{"service"}),
		seconds: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "cyphonic_replica_drain_seconds", Help: "How long a step of leaving took: leave, hand_over, finish.",
		}, []string{"service", "step"}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "cyphonic_replica_drain_failures_total", Help: "Steps of leaving that were given up when their time was over.",
		}, []string{"service", "step"}),
	}
	for _, c := range []prometheus.Collector{m.state, m.residual, m.seconds, m.failures} {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics: %w", err)
		}
	}
	return m, nil
}

// Enter counts the state of a service that has a life of its own.
func (m *LifecycleMetrics) Enter(service string, state keyspace.ReplicaState) {
	for _, s := range lifecycleStates() {
		value := 0.0
		if s == state {
			value = 1
		}
		m.state.WithLabelValues(service, string(s)).Set(value)
	}
}

func (m *LifecycleMetrics) step(service, step string, took time.Duration) {
	m.seconds.WithLabelValues(service, step).Set(took.Seconds())
}

func (m *LifecycleMetrics) failed(service, step string) {
	m.failures.WithLabelValues(service, step).Inc()
}
