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

	owned, peers, ring           prometheus.Gauge
	forwarded, delivered, hedged prometheus.Counter
	fetches, unanswered, given   prometheus.Counter
	unknown, pauses              prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	counter := func(name, help, label string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{label})
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
	}
	plain := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	m := &metrics{
		owned:      gauge("cyphonic_nms_owned_locations", "Devices for which this replica acts."),
		peers:      gauge("cyphonic_nms_peers", "Other replicas that answer."),
		ring:       gauge("cyphonic_nms_owners", "Replicas that may own locations, as this one sees it."),
		forwarded:  plain("cyphonic_nms_forwarded_total", "Datagrams of devices given to the replica that owns the location."),
		delivered:  plain("cyphonic_nms_delivered_total", "Datagrams for devices given to the replica at which the device's arrive."),
		hedged:     plain("cyphonic_nms_hedged_total", "Datagrams given to somebody else because a replica did not acknowledge them."),
		fetches:    plain("cyphonic_nms_fetches_total", "Questions to other replicas about a location."),
		unanswered: plain("cyphonic_nms_fetches_unanswered_total", "Questions that were not answered in time by all."),
		given:      plain("cyphonic_nms_given_total", "Locations given to another owner."),
		unknown:    plain("cyphonic_nms_link_unknown_total", "Messages of other replicas of a kind that this program does not know."),
		pauses:     plain("cyphonic_nms_pauses_total", "Times this process stood still so long that others may have acted for it."),
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
	for _, c := range []prometheus.Collector{
		m.received, m.sent, m.drops, m.directions, m.truncated, m.withdrawn, m.locations, m.pending,
		m.owned, m.peers, m.ring, m.forwarded, m.delivered, m.hedged, m.fetches, m.unanswered, m.given, m.unknown, m.pauses,
	} {
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
	dropNoOwner        dropReason = "no_owner"     // none of the owners answers
	dropWaiting        dropReason = "waiting"      // too much waits for other replicas, or they do not answer
	dropChallenged     dropReason = "challenged"   // the device has just been asked to show where it is
	dropFinishing      dropReason = "finishing"    // this replica takes nothing new any more
	dropLinkMessage    dropReason = "link_message" // malformed, of another replica
)

// dropReasons lists all reasons, so that their counters exist from the start.
func dropReasons() []dropReason {
	return []dropReason{
		dropMalformed, dropVersion, dropType, dropTicket, dropAuthentication, dropBody, dropUnknownSubject, dropDisabled,
		dropMismatch, dropAssurance, dropAdapter, dropSuperseded, dropReplay, dropCertificate, dropTableFull, dropUnexpected,
		dropNoDirection, dropNotRegistered, dropAmplification, dropNoOwner, dropWaiting, dropChallenged, dropFinishing, dropLinkMessage,
	}
}
