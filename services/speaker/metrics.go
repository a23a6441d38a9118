package speaker

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	connected  prometheus.Gauge
	sessions   *prometheus.GaugeVec
	flaps      *prometheus.GaugeVec
	advertised *prometheus.GaugeVec
	received   *prometheus.GaugeVec
	announced  *prometheus.GaugeVec
	backends   *prometheus.GaugeVec
	refused    *prometheus.CounterVec
	applies    *prometheus.CounterVec
	applyTime  prometheus.Histogram
	left       prometheus.Counter
	routerErrs prometheus.Counter
	bfdDowns   prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		connected: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "cyphonic_speaker_connected", Help: "1 while the desired state is followed in etcd; else the last one stays in force.",
		}),
		sessions: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "cyphonic_speaker_session_established", Help: "1 if the session with the BGPPeer is established.",
		}, []string{"peer"}),
		flaps: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "cyphonic_speaker_session_flaps", Help: "How often the session with the BGPPeer was lost since it was configured.",
		}, []string{"peer"}),
		advertised: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "cyphonic_speaker_advertised_prefixes", Help: "Prefixes that are announced to the BGPPeer.",
		}, []string{"peer"}),
		received: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "cyphonic_speaker_received_prefixes", Help: "Prefixes that the BGPPeer announces; all are refused.",
		}, []string{"peer"}),
		announced: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "cyphonic_speaker_prefix_announced", Help: "1 if the address of a service is announced by this host over some session.",
		}, []string{"prefix"}),
		backends: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "cyphonic_speaker_backends", Help: "Registered replicas of this host.",
		}, []string{"service", "state"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "cyphonic_speaker_registrations_refused_total", Help: "Registrations of replicas that were refused or cut off.",
		}, []string{"reason"}),
		applies: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "cyphonic_speaker_filter_changes_total", Help: "Changes of the packet filter.",
		}, []string{"result"}),
		applyTime: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "cyphonic_speaker_filter_change_seconds", Help: "How long a change of the packet filter takes.",
			Buckets: []float64{0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 5},
		}),
		left: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "cyphonic_speaker_left_out_total", Help: "Resources that were left out because they could not be read.",
		}),
		routerErrs: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "cyphonic_speaker_router_errors_total", Help: "Sessions and routes that could not be set up; they are tried again.",
		}),
		bfdDowns: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "cyphonic_speaker_bfd_losses_total", Help: "Sessions with a BGPPeer that were ended because BFD went down.",
		}),
	}
	for _, c := range []prometheus.Collector{
		m.connected, m.sessions, m.flaps, m.advertised, m.received, m.announced, m.backends, m.refused, m.applies, m.applyTime,
		m.left, m.routerErrs, m.bfdDowns,
	} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}
