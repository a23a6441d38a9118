package as

import "github.com/prometheus/client_golang/prometheus"

// metrics count logins and connections. Label values come from the code.
type metrics struct {
	logins      *prometheus.CounterVec // kind, credential, outcome
	seconds     prometheus.Histogram
	connections prometheus.Gauge
	refused     *prometheus.CounterVec // reason
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		logins: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "cyphonic_as_logins_total", Help: "Logins by kind of device, credential and outcome.",
		}, []string{"kind", "credential", "outcome"}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "cyphonic_as_login_seconds", Help: "Time from a request to its answer.", Buckets: prometheus.DefBuckets,
		}),
		connections: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "cyphonic_as_connections", Help: "Open connections.",
		}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "cyphonic_as_drops_total", Help: "Connections ended by the AS, by reason.",
		}, []string{"reason"}),
	}
	for _, c := range []prometheus.Collector{m.logins, m.seconds, m.connections, m.refused} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}
