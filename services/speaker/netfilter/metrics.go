package netfilter

import (
	"context"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// collector reads the counters of the kernel when metrics are asked for; they go on counting while no process is there.
type collector struct{ b *Balancer }

func packets() *prometheus.Desc {
	return prometheus.NewDesc("cyphonic_balancer_packets_total",
		"UDP packets, and first packets of TCP connections, given to a local backend.", []string{"service", "backend"}, nil)
}

func drops() *prometheus.Desc {
	return prometheus.NewDesc("cyphonic_balancer_drops_total",
		"Packets to VIPs that were dropped or refused.", []string{"reason"}, nil)
}

func rescued() *prometheus.Desc {
	return prometheus.NewDesc("cyphonic_balancer_rescued_total",
		"TCP packets of connections of another host: shown to the others, and received from them.", []string{"direction"}, nil)
}

func slotsHeld() *prometheus.Desc {
	return prometheus.NewDesc("cyphonic_balancer_slots_ratio",
		"Part of the new flows of a service that a backend gets.", []string{"service", "backend", "family"}, nil)
}

// Describe implements prometheus.Collector.
func (c collector) Describe(to chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{packets(), drops(), rescued(), slotsHeld()} {
		to <- desc
	}
}

// Collect implements prometheus.Collector. A table that is not there has counted nothing.
func (c collector) Collect(to chan<- prometheus.Metric) {
	sums := map[string]uint64{}
	for _, name := range counterNames() {
		sums[name] = 0
	}
	for _, f := range []family{ipv4, ipv6} {
		counts, err := c.b.nft.readCounters(context.Background(), f, c.b.table)
		if err != nil {
			c.b.log.Debug("no counters", "family", f.name, "error", err)
			continue
		}
		for name, count := range counts {
			sums[name] += count
		}
	}
	for name, count := range sums {
		send := func(desc *prometheus.Desc, labels ...string) {
			to <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(count), labels...)
		}
		kind, rest, _ := strings.Cut(name, "/")
		switch kind {
		case "to":
			service, backend, _ := strings.Cut(rest, "/")
			send(packets(), service, backend)
		case "drop":
			send(drops(), rest)
		case "reset":
			send(drops(), "reset_"+rest)
		case "rescue":
			send(rescued(), rest)
		}
	}
	c.b.mu.Lock()
	defer c.b.mu.Unlock()
	for key, slots := range c.b.slots {
		held := map[string]int{}
		for _, owner := range slots.owners {
			held[owner]++
		}
		for owner, count := range held {
			to <- prometheus.MustNewConstMetric(slotsHeld(), prometheus.GaugeValue, float64(count)/slotCount, key.service, owner, key.family)
		}
	}
}
