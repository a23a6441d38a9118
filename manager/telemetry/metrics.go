package telemetry

import (
	"context"
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics of the package itself.
type metrics struct {
	pushes  *prometheus.CounterVec
	refused *prometheus.CounterVec
	records *prometheus.Desc
	series  *prometheus.Desc
	bytes   *prometheus.Desc
	of      *Telemetry
}

func newMetrics(r prometheus.Registerer, t *Telemetry) (*metrics, error) {
	m := &metrics{
		of: t,
		pushes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "cyphonic_manager_telemetry_pushes_total", Help: "Pushes of adapters by result: ok, or why the whole push was refused.",
		}, []string{"result"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "cyphonic_manager_telemetry_refused_total", Help: "Metric families of adapters that were left out, by reason.",
		}, []string{"reason"}),
		records: prometheus.NewDesc("cyphonic_manager_telemetry_adapters", "Adapters that push to this manager: shown, or held back because another manager may show them still.", []string{"state"}, nil),
		series:  prometheus.NewDesc("cyphonic_manager_telemetry_series", "Series of adapters that this manager keeps.", nil, nil),
		bytes:   prometheus.NewDesc("cyphonic_manager_telemetry_memory_bytes", "Memory for what adapters have pushed.", nil, nil),
	}
	for _, result := range results() {
		m.pushes.WithLabelValues(result)
	}
	for _, reason := range refusals() {
		m.refused.WithLabelValues(reason)
	}
	var errs []error
	for _, c := range []prometheus.Collector{m.pushes, m.refused, m} {
		errs = append(errs, r.Register(c))
	}
	return m, errors.Join(errs...)
}

// results are the values of the label "result".
func results() []string {
	return []string{"ok", "base", "older", "malformed", "too_large", "too_often", "full", "gone", "cancelled"}
}

func (m *metrics) pushed(err error) {
	result := "ok"
	switch {
	case err == nil:
	case errors.Is(err, ErrBase):
		result = "base"
	case errors.Is(err, ErrOlder):
		result = "older"
	case errors.Is(err, ErrTooLarge):
		result = "too_large"
	case errors.Is(err, ErrTooOften):
		result = "too_often"
	case errors.Is(err, ErrFull):
		result = "full"
	case errors.Is(err, ErrGone):
		result = "gone"
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		result = "cancelled"
	default:
		result = "malformed"
	}
	m.pushes.WithLabelValues(result).Inc()
}

// Describe is part of prometheus.Collector.
func (m *metrics) Describe(out chan<- *prometheus.Desc) {
	out <- m.records
	out <- m.series
	out <- m.bytes
}

// Collect is part of prometheus.Collector.
func (m *metrics) Collect(out chan<- prometheus.Metric) {
	shown, held, series, bytes := m.of.usage()
	out <- prometheus.MustNewConstMetric(m.records, prometheus.GaugeValue, float64(shown), "shown")
	out <- prometheus.MustNewConstMetric(m.records, prometheus.GaugeValue, float64(held), "held")
	out <- prometheus.MustNewConstMetric(m.series, prometheus.GaugeValue, float64(series))
	out <- prometheus.MustNewConstMetric(m.bytes, prometheus.GaugeValue, float64(bytes))
}
