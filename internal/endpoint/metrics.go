package endpoint

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// Reasons of drops; the values of the label "reason".
const (
	dropQueue        = "queue_full"
	dropMalformed    = "malformed"
	dropType         = "unexpected_type"
	dropPunch        = "punch" // has done its work when it was sent
	dropRelayed      = "relayed_service_message"
	dropSession      = "unknown_session"
	dropTag          = "unknown_receiver_tag"
	dropIndex        = "unknown_handshake"
	dropMAC          = "handshake_mac"
	dropLoad         = "handshake_load"
	dropCookie       = "handshake_cookie"
	dropHandshake    = "handshake_authentication"
	dropUnauthorised = "unauthorised_peer"
	dropUnsettled    = "unsettled_peer" // waits for the NMS after a change of policy
	dropSimultaneous = "simultaneous_handshake"
	dropDuplicate    = "duplicate"
	dropAuth         = "signal_authentication"
	dropReplay       = "signal_replay"
	dropUnasked      = "signal_unasked"
	dropCertificate  = "certificate"
	dropNonce        = "unknown_relay_nonce"
	dropRelayMAC     = "relay_mac"
	dropProbe        = "unknown_probe"
	dropPeer         = "unknown_peer"
	dropLocal        = "unknown_source"
	dropDestination  = "no_route"
	dropRefused      = "peer_refused"
	dropHeld         = "held_full"
	dropTimeout      = "connect_failed"
	dropTable        = "table_full"
	dropUnproven     = "unproven_address" // not sent: the peer has not answered there
)

type metrics struct {
	registrations    *prometheus.CounterVec
	directions       *prometheus.CounterVec
	handshakes       *prometheus.CounterVec
	handshakeSeconds prometheus.Histogram
	pathChanges      *prometheus.CounterVec
	drops            *prometheus.CounterVec
	peers            *prometheus.GaugeVec
	locals           prometheus.Gauge
	renewals         *prometheus.CounterVec
	relays           *prometheus.CounterVec
	searches         *prometheus.CounterVec
	rekeys           prometheus.Counter
	revocations      *prometheus.CounterVec
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "cyphonic", Subsystem: "endpoint", Name: name, Help: help}, labels)
	}
	m := &metrics{
		registrations: counter("registrations_total", "Changes of the registration at the NMS.", "result"),
		directions:    counter("directions_total", "Route directions, by this end's role and their result.", "role", "result"),
		handshakes:    counter("handshakes_total", "Ended tunnel handshakes, by this end's role and their result.", "role", "result"),
		handshakeSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: "cyphonic", Subsystem: "endpoint", Name: "handshake_seconds",
			Help:    "Time from the beginning of a handshake to its session, at the end that began it.",
			Buckets: []float64{.002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5},
		}),
		pathChanges: counter("path_changes_total", "Changes of the path of an established session, by the new path.", "path"),
		drops:       counter("drops_total", "Packets and datagrams dropped on the control side, by reason.", "reason"),
		peers: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: "cyphonic", Subsystem: "endpoint", Name: "peers", Help: "Peers with a session, by path.",
		}, []string{"path"}),
		locals: prometheus.NewGauge(prometheus.GaugeOpts{
			Namespace: "cyphonic", Subsystem: "endpoint", Name: "locals", Help: "Identities hosted by the endpoint.",
		}),
		renewals:    counter("renewals_total", "Renewals of tickets and certificates.", "result"),
		revocations: counter("revocations_total", "Peers forgotten because the NMS does not allow them any more, by reason.", "reason"),
		relays:      counter("relay_bindings_total", "Relay bindings, by result.", "result"),
		searches:    counter("relay_searches_total", "Sessions that needed another relay, by reason: the TRS leaves or is silent.", "reason"),
		rekeys: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: "cyphonic", Subsystem: "endpoint", Name: "rekeys_total", Help: "Sessions that replaced one of the same pair.",
		}),
	}
	for _, result := range []string{"ok", "lost"} {
		m.registrations.WithLabelValues(result)
	}
	for _, reason := range []string{searchLeaving, searchSilent} {
		m.searches.WithLabelValues(reason)
	}
	if r == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{
		m.registrations, m.directions, m.handshakes, m.handshakeSeconds, m.pathChanges, m.drops, m.peers, m.locals, m.renewals, m.relays, m.searches, m.rekeys, m.revocations,
	} {
		if err := r.Register(c); err != nil {
			return nil, errors.Join(errors.New("endpoint: register metrics"), err)
		}
	}
	return m, nil
}

func (m *metrics) drop(reason string) { m.drops.WithLabelValues(reason).Inc() }
