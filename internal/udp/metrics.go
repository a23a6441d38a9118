package udp

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the counters of a Conn. Datagrams are counted per batch, not one by one.
type metrics struct {
	received, sent          prometheus.Counter
	truncated               prometheus.Counter
	receiveCalls, sendCalls prometheus.Counter
	offloadFallbacks        prometheus.Counter
	sendErrors              *prometheus.CounterVec
	receiveErrors           prometheus.Counter
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	datagrams := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "cyphonic_udp_datagrams_total",
		Help: "Datagrams received from and handed to the kernel.",
	}, []string{"direction"})
	calls := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "cyphonic_udp_batches_total",
		Help: "Batches in which datagrams were received and sent.",
	}, []string{"direction"})
	drops := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "cyphonic_udp_receive_drops_total",
		Help: "Messages dropped on receipt, by reason.",
	}, []string{"reason"})
	sendErrors := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "cyphonic_udp_send_errors_total",
		Help: "Datagrams that the kernel refused to send, by reason.",
	}, []string{"reason"})
	fallbacks := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "cyphonic_udp_offload_fallbacks_total",
		Help: "Runs of datagrams sent one by one because the kernel refused them as a run.",
	}, nil)
	for _, v := range []**prometheus.CounterVec{&datagrams, &calls, &drops, &sendErrors, &fallbacks} {
		if err := register(r, v); err != nil {
			return nil, err
		}
	}
	return &metrics{
		received:         datagrams.WithLabelValues("in"),
		sent:             datagrams.WithLabelValues("out"),
		receiveCalls:     calls.WithLabelValues("in"),
		sendCalls:        calls.WithLabelValues("out"),
		truncated:        drops.WithLabelValues("truncated"),
		receiveErrors:    drops.WithLabelValues("error"),
		sendErrors:       sendErrors,
		offloadFallbacks: fallbacks.WithLabelValues(),
	}, nil
}

// register puts *v on r, or replaces it with the equal vector that is there already.
func register(r prometheus.Registerer, v **prometheus.CounterVec) error {
	if r == nil {
		return nil
	}
	err := r.Register(*v)
	var already prometheus.AlreadyRegisteredError
	if errors.As(err, &already) {
		existing, ok := already.ExistingCollector.(*prometheus.CounterVec)
		if !ok {
			return fmt.Errorf("udp: register metrics: %w", err)
		}
		*v = existing
		return nil
	}
	if err != nil {
		return fmt.Errorf("udp: register metrics: %w", err)
	}
	return nil
}
