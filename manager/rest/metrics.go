package rest

import (
	"bytes"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// metrics are the manager's own. Labels take their values from the routes.
type metrics struct {
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	watches  prometheus.Gauge
	events   prometheus.Counter
	denied   *prometheus.CounterVec
	pages    *prometheus.CounterVec
	scanned  prometheus.Counter
	stale    prometheus.Counter
	ended    *prometheus.CounterVec
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "cyphonic_manager_requests_total", Help: "Requests by method, path pattern and HTTP status.",
		}, []string{"method", "path", "status"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "cyphonic_manager_request_duration_seconds", Help: "Duration of requests by method and path pattern; watches count until they end.",
			Buckets: prometheus.ExponentialBuckets(0.001, 4, 8),
		}, []string{"method", "path"}),
		watches: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "cyphonic_manager_watches", Help: "Open watches.",
		}),
		events: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "cyphonic_manager_watch_events_total", Help: "Events sent on watches, bookmarks included.",
		}),
		denied: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "cyphonic_manager_denied_total", Help: "Requests refused by authorisation, by reason.",
		}, []string{"reason"}),
		pages: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "cyphonic_manager_list_pages_total", Help: "Pages of lists by where they are from: the cache, or the store because this manager had not kept the revision.",
		}, []string{"source"}),
		scanned: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "cyphonic_manager_list_scanned_total", Help: "Resources that lists looked at, whether they were shown or not.",
		}),
		stale: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "cyphonic_manager_stale_reads_total", Help: "Reads answered from the cache because the database did not answer.",
		}),
		ended: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "cyphonic_manager_watches_ended_total", Help: "Watches that ended, by reason: client, slow, compacted, forbidden, shutdown, failed.",
		}, []string{"reason"}),
	}
	var errs []error
	for _, c := range []prometheus.Collector{m.requests, m.duration, m.watches, m.events, m.denied, m.pages, m.scanned, m.stale, m.ended} {
		errs = append(errs, r.Register(c))
	}
	return m, errors.Join(errs...)
}

func (m *metrics) request(method, path string, status int, d time.Duration) {
	switch method {
	case http.MethodGet, http.MethodPut, http.MethodPost, http.MethodPatch, http.MethodDelete:
	default:
		method = "other"
	}
	if path == "" {
		path = "none"
	}
	m.requests.WithLabelValues(method, path, strconv.Itoa(status)).Inc()
	m.duration.WithLabelValues(method, path).Observe(d.Seconds())
}

// metricsPage shows the registry to Prometheus.
func (s *Server) metricsPage() (*answer, error) {
	handler := promhttp.HandlerFor(s.gatherer, promhttp.HandlerOpts{DisableCompression: true})
	return &answer{stream: func(w http.ResponseWriter) error {
		r, err := http.NewRequest(http.MethodGet, "/metrics", bytes.NewReader(nil))
		if err != nil {
			return err
		}
		handler.ServeHTTP(w, r)
		return nil
	}}, nil
}
