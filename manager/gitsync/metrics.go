package gitsync

import (
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics of all sources together: names of sources are no labels.
type metrics struct {
	rounds   *prometheus.CounterVec
	duration prometheus.Histogram
	sources  *prometheus.GaugeVec
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		rounds: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "cyphonic_manager_git_rounds_total", Help: "Looks at git repositories, by outcome: in_sync, out_of_sync, failed (repeated soon).",
		}, []string{"outcome"}),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "cyphonic_manager_git_round_seconds", Help: "Time from the look at a git repository to its status.", Buckets: prometheus.ExponentialBuckets(0.05, 3, 9),
		}),
		sources: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "cyphonic_manager_git_sources", Help: "Git sources that this manager follows, by state: in_sync, out_of_sync, failing, suspended.",
		}, []string{"state"}),
	}
	for _, state := range []string{stateInSync, stateOutOfSync, stateFailing, stateSuspended} {
		m.sources.WithLabelValues(state)
	}
	if err := errors.Join(r.Register(m.rounds), r.Register(m.duration), r.Register(m.sources)); err != nil {
		return nil, fmt.Errorf("register the metrics of git sync: %w", err)
	}
	return m, nil
}

func (m *metrics) round(ok, inSync bool, took time.Duration) {
	outcome := "failed"
	switch {
	case ok && inSync:
		outcome = "in_sync"
	case ok:
		outcome = "out_of_sync"
	}
	m.rounds.WithLabelValues(outcome).Inc()
	m.duration.Observe(took.Seconds())
}

func (m *metrics) move(from, to string) {
	if from != "" {
		m.sources.WithLabelValues(from).Dec()
	}
	if to != "" {
		m.sources.WithLabelValues(to).Inc()
	}
}
