package nms

import "github.com/prometheus/client_golang/prometheus"

// metrics count what the core does. Label values are bounded: kinds of
// messages, reasons and outcomes from the code, nothing from the network.
type metrics struct {
	received   *prometheus.CounterVec // message
	sent       *prometheus.CounterVec // message
	drops      *prometheus.CounterVec // reason
	directions *prometheus.CounterVec // outcome
	truncated  prometheus.Counter
	withdrawn  prometheus.Counter
	locations  prometheus.Gauge
	pending    prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	counter := func(name, help, label string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{label})
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
	}
	m := &metrics{
		received:   counter("cyphonic_nms_received_total", "Authenticated messages by kind.", "message"),
		sent:       counter("cyphonic_nms_sent_total", "Messages sent by kind.", "message"),
		drops:      counter("cyphonic_nms_drops_total", "Datagrams dropped by reason.", "reason"),
		directions: counter("cyphonic_nms_directions_total", "Directions by outcome.", "outcome"),
		truncated: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "cyphonic_nms_rules_truncated_total",
			Help: "Directions for which access policies gave more rules than fit; the rest is denied.",
		}),
		withdrawn: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "cyphonic_nms_withdrawn_total",
			Help: "Locations dropped because the desired state does not admit their device any more.",
		}),
		locations: gauge("cyphonic_nms_locations", "Devices in the location table."),
		pending:   gauge("cyphonic_nms_pending_directions", "Directions under way or remembered for retransmissions."),
	}
	for _, reason := range dropReasons() {
		m.drops.WithLabelValues(string(reason))
	}
	for _, c := range []prometheus.Collector{m.received, m.sent, m.drops, m.directions, m.truncated, m.withdrawn, m.locations, m.pending} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// dropReason says why a datagram was dropped; it is a metric label.
type dropReason string

const (
	dropNone           dropReason = ""
	dropMalformed      dropReason = "malformed"
	dropVersion        dropReason = "version"
	dropType           dropReason = "type"
	dropTicket         dropReason = "ticket"
	dropAuthentication dropReason = "authentication"
	dropBody           dropReason = "body"
	dropUnknownSubject dropReason = "unknown_subject"
	dropDisabled       dropReason = "disabled"
	dropMismatch       dropReason = "address_mismatch"
	dropAssurance      dropReason = "assurance"
	dropAdapter        dropReason = "foreign_adapter"
	dropSuperseded     dropReason = "superseded_login"
	dropReplay         dropReason = "replay"
	dropCertificate    dropReason = "certificate"
	dropTableFull      dropReason = "table_full"
	dropUnexpected     dropReason = "unexpected_message"
	dropNoDirection    dropReason = "unknown_direction"
	dropNotRegistered  dropReason = "not_registered"
	dropAmplification  dropReason = "answer_larger_than_request"
)

// dropReasons lists all reasons, so that their counters exist from the start.
func dropReasons() []dropReason {
	return []dropReason{
		dropMalformed, dropVersion, dropType, dropTicket, dropAuthentication, dropBody, dropUnknownSubject, dropDisabled,
		dropMismatch, dropAssurance, dropAdapter, dropSuperseded, dropReplay, dropCertificate, dropTableFull, dropUnexpected,
		dropNoDirection, dropNotRegistered, dropAmplification,
	}
}
