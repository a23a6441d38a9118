package telemetry

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	dto "github.com/prometheus/client_model/go"
)

// renderer writes families as lines of the text format of Prometheus (version 0.0.4) with the label adapter.
type renderer struct {
	adapter string
	buffer  []byte
	series  int
	labels  []byte // adapter and the metric's own labels, without braces
}

// family checks and renders one; an error is a refusal.
func (r *renderer) family(m *dto.MetricFamily) (family, error) {
	about, err := describe(m)
	if err != nil {
		return family{}, err
	}
	r.buffer, r.series = r.buffer[:0], 0
	seen := make(map[string]bool, len(m.GetMetric()))
	for _, metric := range m.GetMetric() {
		if err := r.setLabels(metric.GetLabel()); err != nil {
			return family{}, err
		}
		if seen[string(r.labels)] {
			return family{}, refusal(refusedDuplicate)
		}
		seen[string(r.labels)] = true
		if err := r.metric(about.Value().name, m.GetType(), metric); err != nil {
			return family{}, err
		}
		if r.series > maxSeries {
			return family{}, refusal(refusedSeries)
		}
	}
	return family{about: about, series: r.series, text: append(make([]byte, 0, len(r.buffer)), r.buffer...)}, nil
}

// setLabels renders the labels of a metric in the order of their names.
func (r *renderer) setLabels(pairs []*dto.LabelPair) error {
	if len(pairs) > maxLabels {
		return refusal(refusedLabel)
	}
	slices.SortFunc(pairs, func(a, b *dto.LabelPair) int { return strings.Compare(a.GetName(), b.GetName()) })
	r.labels = append(r.labels[:0], `adapter="`...)
	r.labels = append(appendEscaped(r.labels, r.adapter), '"')
	for i, p := range pairs {
		name, value := p.GetName(), p.GetValue()
		switch {
		case reserved(name):
			return refusal(refusedReserved)
		case len(name) > maxName || !wellFormed(name) || len(value) > maxValue || !utf8.ValidString(value):
			return refusal(refusedLabel)
		case i > 0 && pairs[i-1].GetName() == name:
			return refusal(refusedLabel)
		}
		r.labels = append(append(append(r.labels, ','), name...), `="`...)
		r.labels = append(appendEscaped(r.labels, value), '"')
	}
	return nil
}

func (r *renderer) metric(name string, kind dto.MetricType, m *dto.Metric) error {
	switch {
	case kind == dto.MetricType_COUNTER && m.Counter != nil:
		r.line(name, "", "", m.Counter.GetValue())
	case kind == dto.MetricType_GAUGE && m.Gauge != nil:
		r.line(name, "", "", m.Gauge.GetValue())
	case kind == dto.MetricType_UNTYPED && m.Untyped != nil:
		r.line(name, "", "", m.Untyped.GetValue())
	case kind == dto.MetricType_HISTOGRAM && m.Histogram != nil:
		return r.histogram(name, m.Histogram)
	case kind == dto.MetricType_SUMMARY && m.Summary != nil:
		return r.summary(name, m.Summary)
	default:
		return refusal(refusedValue)
	}
	return nil
}

func (r *renderer) histogram(name string, h *dto.Histogram) error {
	if h.Schema != nil || len(h.GetBucket()) > maxBuckets {
		return refusal(refusedType)
	}
	infinite := false
	for _, b := range h.GetBucket() {
		infinite = math.IsInf(b.GetUpperBound(), 1)
		r.line(name, "_bucket", number("le", b.GetUpperBound()), float64(b.GetCumulativeCount()))
	}
	if !infinite {
		r.line(name, "_bucket", number("le", math.Inf(1)), float64(h.GetSampleCount()))
	}
	r.line(name, "_sum", "", h.GetSampleSum())
	r.line(name, "_count", "", float64(h.GetSampleCount()))
	return nil
}

func (r *renderer) summary(name string, s *dto.Summary) error {
	if len(s.GetQuantile()) > maxBuckets {
		return refusal(refusedValue)
	}
	for _, q := range s.GetQuantile() {
		r.line(name, "", number("quantile", q.GetQuantile()), q.GetValue())
	}
	r.line(name, "_sum", "", s.GetSampleSum())
	r.line(name, "_count", "", float64(s.GetSampleCount()))
	return nil
}

// line writes one sample; extra is one more label.
func (r *renderer) line(name, suffix, extra string, value float64) {
	b := append(append(append(r.buffer, name...), suffix...), '{')
	b = append(b, r.labels...)
	if extra != "" {
		b = append(append(b, ','), extra...)
	}
	b = append(b, "} "...)
	r.buffer = append(appendNumber(b, value), '\n')
	r.series++
}

func number(label string, v float64) string {
	return label + `="` + string(appendNumber(nil, v)) + `"`
}

func appendNumber(b []byte, v float64) []byte {
	switch {
	case math.IsInf(v, 1):
		return append(b, "+Inf"...)
	case math.IsInf(v, -1):
		return append(b, "-Inf"...)
	case math.IsNaN(v):
		return append(b, "NaN"...)
	case v == math.Trunc(v) && math.Abs(v) < 1<<53:
		return strconv.AppendInt(b, int64(v), 10)
	}
	return strconv.AppendFloat(b, v, 'g', -1, 64)
}

// appendEscaped escapes the value of a label.
func appendEscaped(b []byte, text string) []byte {
	for i := range len(text) {
		switch c := text[i]; c {
		case '\\':
			b = append(b, `\\`...)
		case '"':
			b = append(b, `\"`...)
		case '\n':
			b = append(b, `\n`...)
		default:
			b = append(b, c)
		}
	}
	return b
}

// appendHelp escapes a help text, in which quotes stand for themselves.
func appendHelp(b []byte, text string) []byte {
	return append(b, strings.NewReplacer(`\`, `\\`, "\n", `\n`).Replace(text)...)
}
