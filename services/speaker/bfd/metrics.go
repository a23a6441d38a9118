package bfd

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	received, sent prometheus.Counter
	drops, changes *prometheus.CounterVec
}

func newMetrics() *metrics {
	return &metrics{
		received: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "cyphonic_bfd_received_total", Help: "BFD packets that a session has taken.",
		}),
		sent: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "cyphonic_bfd_sent_total", Help: "BFD packets sent.",
		}),
		drops: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "cyphonic_bfd_drops_total", Help: "BFD packets that were not taken or could not be sent.",
		}, []string{"reason"}),
		changes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "cyphonic_bfd_changes_total", Help: "BFD sessions that went up, or were up no longer.",
		}, []string{"state"}),
	}
}

// upCollector shows the sessions of the moment.
type upCollector struct{ m *Manager }

func sessionUp() *prometheus.Desc {
	return prometheus.NewDesc("cyphonic_bfd_up", "1 while the BFD session with the neighbour is up.", []string{"peer"}, nil)
}

// Describe implements prometheus.Collector.
func (c upCollector) Describe(to chan<- *prometheus.Desc) { to <- sessionUp() }

// Collect implements prometheus.Collector.
func (c upCollector) Collect(to chan<- prometheus.Metric) {
	c.m.mu.Lock()
	defer c.m.mu.Unlock()
	for address, l := range c.m.sessions {
		value := 0.0
		if l.session.state == Up {
			value = 1
		}
		to <- prometheus.MustNewConstMetric(sessionUp(), prometheus.GaugeValue, value, address.String())
	}
}
