package replica

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	connected   prometheus.Gauge
	revision    prometheus.Gauge
	subjects    prometheus.Gauge
	undecodable prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		connected: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "cyphonic_replica_connected", Help: "1 while the desired state is followed in etcd.",
		}),
		revision: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "cyphonic_replica_revision", Help: "etcd revision of the snapshot in use.",
		}),
		subjects: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "cyphonic_replica_subjects", Help: "Nodes, adapters and general nodes in the snapshot.",
		}),
		undecodable: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "cyphonic_replica_undecodable_total", Help: "Records of etcd left out because they could not be read.",
		}),
	}
	for _, c := range []prometheus.Collector{m.connected, m.revision, m.subjects, m.undecodable} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}
