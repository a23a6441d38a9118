package cache

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/cyphonic/cyphonic/internal/keyspace"
)

// metrics are the instruments of a cache.
type metrics struct {
	relists, overruns, undecodable prometheus.Counter
	fresh                          prometheus.Histogram
}

func newMetrics(r prometheus.Registerer, c *Cache) (*metrics, error) {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "cyphonic_manager_cache_" + name, Help: help})
	}
	gauge := func(name, help string, labels prometheus.Labels, f func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "cyphonic_manager_cache_" + name, Help: help, ConstLabels: labels}, func() float64 {
			c.mu.RLock()
			defer c.mu.RUnlock()
			return f()
		})
	}
	m := &metrics{
		relists:     counter("relists_total", "Times that all resources were read again because the watch could not go on."),
		overruns:    counter("overruns_total", "Subscriptions that fell too far behind and were cut off."),
		undecodable: counter("undecodable_total", "Stored resources that could not be decoded."),
		fresh: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "cyphonic_manager_cache_fresh_seconds", Help: "How long a read waited until the cache was known to be current.",
			Buckets: []float64{.0005, .001, .002, .005, .01, .02, .05, .1, .25, .5, 1, 2},
		}),
	}
	all := []prometheus.Collector{
		m.relists, m.overruns, m.undecodable, m.fresh,
		gauge("revision", "Revision of the store that the cache shows.", nil, func() float64 { return float64(c.revision) }),
		gauge("current_timestamp_seconds", "When the cache was last known to show all that the store has.", nil, func() float64 {
			if c.currentAt.IsZero() {
				return 0
			}
			return float64(c.currentAt.UnixMilli()) / 1000
		}),
		gauge("subscriptions", "Open subscriptions.", nil, func() float64 { return float64(c.subscribed) }),
		gauge("history_changes", "Remembered changes.", nil, func() float64 { return float64(c.history.next - c.history.first) }),
		gauge("history_bytes", "Memory of the remembered changes, about.", nil, func() float64 { return float64(c.history.bytes) }),
	}
	for _, plural := range keyspace.Plurals() {
		kind := prometheus.Labels{"kind": plural}
		all = append(all,
			gauge("resources", "Resources in the cache.", kind, func() float64 {
				if t := c.tables[plural]; t != nil {
					return float64(t.items.Len())
				}
				return 0
			}),
			gauge("resource_bytes", "Bytes of the names and values of the resources in the cache.", kind, func() float64 {
				if t := c.tables[plural]; t != nil {
					return float64(t.bytes)
				}
				return 0
			}))
	}
	for _, each := range all {
		if err := r.Register(each); err != nil {
			return nil, err
		}
	}
	return m, nil
}
