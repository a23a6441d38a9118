package trs

import "github.com/prometheus/client_golang/prometheus"

// drop says why a datagram was dropped; its name is a metric label.
type drop uint8

const (
	dropNone drop = iota
	dropMalformed
	dropVersion
	dropType
	dropToken
	dropMAC
	dropReplay
	dropMoves
	dropRefused
	dropChannel
	dropAddress
	dropPeerUnbound
	dropExpired
	dropQuotaToken
	dropQuotaNetwork
	dropCount // number of reasons
)

func (d drop) String() string {
	switch d {
	case dropMalformed:
		return "malformed"
	case dropVersion:
		return "version"
	case dropType:
		return "type"
	case dropToken:
		return "token"
	case dropMAC:
		return "mac"
	case dropReplay:
		return "replay"
	case dropMoves:
		return "moves_too_often"
	case dropRefused:
		return "bind_refused"
	case dropChannel:
		return "unknown_channel"
	case dropAddress:
		return "unbound_address"
	case dropPeerUnbound:
		return "peer_unbound"
	case dropExpired:
		return "expired"
	case dropQuotaToken:
		return "quota_token"
	case dropQuotaNetwork:
		return "quota_network"
	}
	return ""
}

// metrics count what the core does. The counters of the forwarding path are
// resolved beforehand, so that counting does not allocate.
type metrics struct {
	drops    [dropCount]prometheus.Counter
	binds    *prometheus.CounterVec // outcome
	packets  prometheus.Counter
	bytes    prometheus.Counter
	notices  prometheus.Counter
	sessions prometheus.Gauge
	active   prometheus.Gauge
	bound    prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	drops := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "cyphonic_trs_drops_total", Help: "Datagrams dropped by reason.",
	}, []string{"reason"})
	m := &metrics{
		binds: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "cyphonic_trs_binds_total", Help: "RelayBind messages with a valid token by outcome.",
		}, []string{"outcome"}),
		packets: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "cyphonic_trs_forwarded_datagrams_total", Help: "Datagrams forwarded.",
		}),
		bytes: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "cyphonic_trs_forwarded_bytes_total", Help: "Bytes of UDP payload forwarded.",
		}),
		notices: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "cyphonic_trs_leaving_notices_total", Help: "RelayError messages that tell a device to move to another relay.",
		}),
		active: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "cyphonic_trs_active_sessions", Help: "Relay sessions that have forwarded something in the last seconds.",
		}),
		sessions: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "cyphonic_trs_sessions", Help: "Relay sessions with at least one bound side.",
		}),
		bound: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "cyphonic_trs_bound_sides", Help: "Bound sides of relay sessions.",
		}),
	}
	for d := dropNone + 1; d < dropCount; d++ {
		m.drops[d] = drops.WithLabelValues(d.String())
	}
	for _, c := range []prometheus.Collector{drops, m.binds, m.packets, m.bytes, m.notices, m.sessions, m.active, m.bound} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}
