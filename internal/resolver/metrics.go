package resolver

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics count the questions by whose they were and how they ended.
type metrics struct {
	questions *prometheus.CounterVec
	duration  *prometheus.HistogramVec
}

func newMetrics(registerer prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		questions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "cyphonic_resolver_questions_total",
			Help: "DNS questions by zone (overlay, upstream) and result.",
		}, []string{"zone", "result"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "cyphonic_resolver_answer_seconds",
			Help:    "Time from question to answer by zone; for the overlay it contains reaching the peer.",
			Buckets: []float64{.0005, .002, .01, .05, .2, 1, 5},
		}, []string{"zone"}),
	}
	for _, c := range []prometheus.Collector{m.questions, m.duration} {
		if err := registerer.Register(c); err != nil {
			return nil, fmt.Errorf("resolver: register metrics: %w", err)
		}
	}
	return m, nil
}

func (m *metrics) count(zone, result string) {
	m.questions.WithLabelValues(zone, result).Inc()
}

func (m *metrics) observe(zone, result string, d time.Duration) {
	m.count(zone, result)
	m.duration.WithLabelValues(zone).Observe(d.Seconds())
}

func (m *metrics) unregister(registerer prometheus.Registerer) {
	registerer.Unregister(m.questions)
	registerer.Unregister(m.duration)
}
