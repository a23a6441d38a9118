package adapter

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cyphonic/cyphonic/internal/endpoint"
	"github.com/cyphonic/cyphonic/internal/identity"
)

// traffic adds up what a general node has sent and received over its logins. What is shown never goes back.
type traffic struct {
	mu    sync.Mutex
	past  endpoint.Traffic // of logins that have ended
	shown endpoint.Traffic
}

// keep takes the traffic of a login that has ended.
func (t *traffic) keep(final endpoint.Traffic) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.past = sum(t.past, final)
}

func (t *traffic) before() endpoint.Traffic {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.past
}

// show returns the whole. past must have been read before present was: a login that ends in between is then missing for this once, instead of being
// counted twice.
func (t *traffic) show(past, present endpoint.Traffic) endpoint.Traffic {
	t.mu.Lock()
	defer t.mu.Unlock()
	whole := sum(past, present)
	t.shown = endpoint.Traffic{
		TxPackets: max(t.shown.TxPackets, whole.TxPackets), TxBytes: max(t.shown.TxBytes, whole.TxBytes),
		RxPackets: max(t.shown.RxPackets, whole.RxPackets), RxBytes: max(t.shown.RxBytes, whole.RxBytes),
	}
	return t.shown
}

func sum(a, b endpoint.Traffic) endpoint.Traffic {
	return endpoint.Traffic{
		TxPackets: a.TxPackets + b.TxPackets, TxBytes: a.TxBytes + b.TxBytes,
		RxPackets: a.RxPackets + b.RxPackets, RxBytes: a.RxBytes + b.RxBytes,
	}
}

// deviceMetrics are those of each general node: 8 series, at most for maxGeneralNodes of them. A collection costs about 8 µs for each.
type deviceMetrics struct {
	phase, bytes, packets, tunnels, relayed, rtt *prometheus.Desc
}

func newDeviceMetrics() deviceMetrics {
	return deviceMetrics{
		phase:   prometheus.NewDesc("cyphonic_adapter_general_node_phase", "1 for the phase that the general node is in.", []string{"general_node", "phase"}, nil),
		bytes:   prometheus.NewDesc("cyphonic_adapter_general_node_bytes_total", "Bytes of the IP packets between the general node and its peers; direction out is from the general node.", []string{"general_node", "direction"}, nil),
		packets: prometheus.NewDesc("cyphonic_adapter_general_node_packets_total", "IP packets between the general node and its peers; direction out is from the general node.", []string{"general_node", "direction"}, nil),
		tunnels: prometheus.NewDesc("cyphonic_adapter_general_node_tunnels", "Peers with which the general node has a tunnel.", []string{"general_node"}, nil),
		relayed: prometheus.NewDesc("cyphonic_adapter_general_node_relayed_tunnels", "Those of the tunnels of the general node that go through a TRS.", []string{"general_node"}, nil),
		rtt:     prometheus.NewDesc("cyphonic_adapter_general_node_rtt_seconds", "Longest round-trip time of the working tunnels of the general node; 0 if none has been measured.", []string{"general_node"}, nil),
	}
}

func (d deviceMetrics) describe(out chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{d.phase, d.bytes, d.packets, d.tunnels, d.relayed, d.rtt} {
		out <- desc
	}
}

// collect shows the general nodes; usage is asked for what their identities do now.
func (d deviceMetrics) collect(out chan<- prometheus.Metric, all []*running, usage func() map[identity.NodeID]endpoint.Usage) {
	past := make([]endpoint.Traffic, len(all))
	for i, r := range all {
		past[i] = r.traffic.before()
	}
	present := usage()
	for i, r := range all {
		state := r.state.Load()
		now := present[state.id]
		whole := r.traffic.show(past[i], now.Traffic)
		counter := func(desc *prometheus.Desc, n uint64, direction string) {
			out <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(n), r.name, direction)
		}
		gauge := func(desc *prometheus.Desc, v float64) {
			out <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, v, r.name)
		}
		out <- prometheus.MustNewConstMetric(d.phase, prometheus.GaugeValue, 1, r.name, string(state.phase))
		counter(d.bytes, whole.TxBytes, "out")
		counter(d.bytes, whole.RxBytes, "in")
		counter(d.packets, whole.TxPackets, "out")
		counter(d.packets, whole.RxPackets, "in")
		gauge(d.tunnels, float64(now.Tunnels))
		gauge(d.relayed, float64(now.Relayed))
		gauge(d.rtt, now.RTT.Seconds())
	}
}
