package peering

import "github.com/prometheus/client_golang/prometheus"

// metrics count what the links do.
type metrics struct {
	links    prometheus.Gauge
	refused  *prometheus.CounterVec // reason
	closed   *prometheus.CounterVec // reason
	sent     prometheus.Counter
	received prometheus.Counter
	writes   prometheus.Counter
	lost     prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		links: prometheus.NewGauge(prometheus.GaugeOpts{Name: "cyphonic_nms_links", Help: "Open links to other replicas."}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "cyphonic_nms_links_refused_total", Help: "Links to other replicas that did not come about, by reason.",
		}, []string{"reason"}),
		closed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "cyphonic_nms_links_closed_total", Help: "Links to other replicas that ended, by reason.",
		}, []string{"reason"}),
		sent:     prometheus.NewCounter(prometheus.CounterOpts{Name: "cyphonic_nms_links_sent_bytes_total", Help: "Bytes sent to other replicas."}),
		received: prometheus.NewCounter(prometheus.CounterOpts{Name: "cyphonic_nms_links_received_bytes_total", Help: "Bytes received from other replicas."}),
		writes:   prometheus.NewCounter(prometheus.CounterOpts{Name: "cyphonic_nms_links_batches_total", Help: "Batches of messages sent to other replicas."}),
		lost:     prometheus.NewCounter(prometheus.CounterOpts{Name: "cyphonic_nms_links_lost_bytes_total", Help: "Bytes not sent because a link was not there or did not keep up."}),
	}
	for _, reason := range []refusal{refusedPin, refusedVersion, refusedHello, refusedBusy, refusedConnect} {
		m.refused.WithLabelValues(string(reason))
	}
	for _, reason := range []ending{endedByPeer, endedSilent, endedSlow, endedMalformed, endedReplaced, endedGone, endedStop} {
		m.closed.WithLabelValues(string(reason))
	}
	for _, c := range []prometheus.Collector{m.links, m.refused, m.closed, m.sent, m.received, m.writes, m.lost} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// refusal says why a link did not come about; it is a metric label.
type refusal string

const (
	refusedPin     refusal = "unknown_certificate"
	refusedVersion refusal = "version"
	refusedHello   refusal = "hello"
	refusedBusy    refusal = "too_many"
	refusedConnect refusal = "not_reached"
)

// ending says why a link has ended; it is a metric label.
type ending string

const (
	endedByPeer    ending = "closed_by_peer"
	endedSilent    ending = "silent"
	endedSlow      ending = "does_not_keep_up"
	endedMalformed ending = "malformed"
	endedReplaced  ending = "replaced"
	endedGone      ending = "no_member"
	endedStop      ending = "stopped"
)
