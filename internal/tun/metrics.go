package tun

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics count what the device drops.
type metrics struct {
	tooBig    prometheus.Counter // in from the system, larger than the caller's buffer
	malformed prometheus.Counter // in from the system, with an offload header that makes no sense
	refused   prometheus.Counter // out to the system, which did not take it
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	drops := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "cyphonic_tun_drops_total",
		Help: "Packets dropped at the virtual interface; direction in is from the system.",
	}, []string{"direction", "reason"})
	if r != nil {
		var already prometheus.AlreadyRegisteredError
		err := r.Register(drops)
		if errors.As(err, &already) {
			if existing, ok := already.ExistingCollector.(*prometheus.CounterVec); ok {
				drops, err = existing, nil
			}
		}
		if err != nil {
			return nil, fmt.Errorf("tun: register metrics: %w", err)
		}
	}
	return &metrics{
		tooBig:    drops.WithLabelValues("in", "too_big"),
		malformed: drops.WithLabelValues("in", "malformed"),
		refused:   drops.WithLabelValues("out", "refused"),
	}, nil
}
