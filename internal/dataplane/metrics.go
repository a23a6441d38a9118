package dataplane

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// dropReason is a bounded label value.
type dropReason uint8

const (
	dropNone           dropReason = iota
	dropMalformed                 // not exactly one well-formed packet or datagram
	dropVersion                   // unknown wire version
	dropNotUnicast                // outbound multicast, broadcast or link-local
	dropPolicy                    // no rule and no flow
	dropFragment                  // later fragment whose first one was not seen
	dropTooBig                    // longer than the MTU
	dropExhausted                 // no send counter left
	dropErased                    // the session ended meanwhile
	dropNoPath                    // the association has no path
	dropAuthentication            // the tag does not match
	dropReplay                    // counter seen before, or too old
	dropSource                    // inner addresses are not the two ends'
	dropOverflow                  // more datagrams at once than a batch holds
	dropReasons                   // number of reasons
)

func (r dropReason) String() string {
	return [dropReasons]string{
		"none", "malformed", "version", "not_unicast", "policy", "fragment", "too_big", "exhausted", "erased",
		"no_path", "authentication", "replay", "source", "overflow",
	}[r]
}

// outboundReasons and inboundReasons are the reasons that occur in each direction.
func outboundReasons() []dropReason {
	return []dropReason{dropMalformed, dropNotUnicast, dropPolicy, dropFragment, dropTooBig, dropExhausted, dropErased, dropNoPath}
}

func inboundReasons() []dropReason {
	return []dropReason{dropMalformed, dropVersion, dropPolicy, dropFragment, dropErased, dropAuthentication, dropReplay, dropSource, dropOverflow}
}

// directionMetrics are the counters of one direction, resolved once: no label look-up and no
// formatting happens per packet.
type directionMetrics struct {
	packets, bytes prometheus.Counter
	drops          [dropReasons]prometheus.Counter
}

type metrics struct {
	out, in directionMetrics
}

// newMetrics registers the counters, and gauges of how many batches each direction has in work.
func newMetrics(r prometheus.Registerer, outInWork, inInWork func() float64) (*metrics, error) {
	packets := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "cyphonic_dataplane_packets_total",
		Help: "IP packets that went through the tunnels; direction out is from the virtual interface.",
	}, []string{"direction"})
	bytes := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "cyphonic_dataplane_bytes_total",
		Help: "Bytes of the IP packets that went through the tunnels.",
	}, []string{"direction"})
	drops := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "cyphonic_dataplane_drops_total",
		Help: "Packets and datagrams dropped by the data plane, by reason.",
	}, []string{"direction", "reason"})
	collectors := []prometheus.Collector{packets, bytes, drops}
	for direction, inWork := range map[string]func() float64{"out": outInWork, "in": inInWork} {
		collectors = append(collectors, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name:        "cyphonic_dataplane_batches_in_work",
			Help:        "Batches between reading and release: the depth of the pipeline's queue.",
			ConstLabels: prometheus.Labels{"direction": direction},
		}, inWork))
	}
	if r != nil {
		for _, c := range collectors {
			if err := r.Register(c); err != nil {
				var already prometheus.AlreadyRegisteredError
				if errors.As(err, &already) {
					return nil, errors.New("dataplane: register metrics: another data plane uses this registry")
				}
				return nil, fmt.Errorf("dataplane: register metrics: %w", err)
			}
		}
	}
	m := &metrics{}
	m.out.resolve("out", packets, bytes, drops, outboundReasons())
	m.in.resolve("in", packets, bytes, drops, inboundReasons())
	return m, nil
}

func (d *directionMetrics) resolve(direction string, packets, bytes, drops *prometheus.CounterVec, reasons []dropReason) {
	d.packets, d.bytes = packets.WithLabelValues(direction), bytes.WithLabelValues(direction)
	for _, r := range reasons {
		d.drops[r] = drops.WithLabelValues(direction, r.String())
	}
}

// drop counts one dropped packet.
func (d *directionMetrics) drop(r dropReason) { d.drops[r].Inc() }
