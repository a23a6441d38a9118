package replica

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	connected   prometheus.Gauge
	revision    prometheus.Gauge
	subjects    prometheus.Gauge
	undecodable prometheus.Counter
	publish     prometheus.Histogram
	members     *prometheus.GaugeVec
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
		publish: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "cyphonic_replica_publish_seconds", Help: "Time to make a snapshot of what has changed.",
			Buckets: prometheus.ExponentialBuckets(1e-6, 4, 12),
		}),
		members: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "cyphonic_replica_members", Help: "Live replicas of all services that this one knows.",
		}, []string{"service"}),
	}
	for _, c := range []prometheus.Collector{m.connected, m.revision, m.subjects, m.undecodable, m.publish, m.members} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// connect shows whether etcd answers.
func (m *metrics) connect(up bool) {
	if up {
		m.connected.Set(1)
		return
	}
	m.connected.Set(0)
}

// count shows how many replicas there are, under the services that have any.
func (m *metrics) count(members *Membership) {
	counts := make(map[string]int)
	for _, service := range memberServices() {
		counts[service] = 0
	}
	for service, list := range members.services {
		if _, known := counts[service]; !known {
			service = "other"
		}
		counts[service] += len(list)
	}
	for service, n := range counts {
		m.members.WithLabelValues(service).Set(float64(n))
	}
}

func memberServices() []string { return []string{"as", "manager", "nms", "trs"} }
