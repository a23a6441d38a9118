package rest

import (
	"compress/gzip"
	"context"
	"errors"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/manager/telemetry"
)

// typeMetricsBase is the problem of a push that builds on one that this manager does not have.
const typeMetricsBase = "urn:cyphonic:problem:metrics-base"

// bootPattern is that of the identifier of a run of an adapter.
var bootPattern = regexp.MustCompile(`^[-A-Za-z0-9]{8,64}$`)

// PushAdapterMetrics takes the metrics of an adapter.
func (s *Server) PushAdapterMetrics(ctx context.Context, r PushAdapterMetricsRequestObject) (PushAdapterMetricsResponseObject, error) {
	p := r.Params
	switch {
	case s.telemetry == nil:
		return nil, errNoTelemetry()
	case !bootPattern.MatchString(p.CyphonicMetricsBoot):
		return nil, refuse(http.StatusBadRequest, typeInvalid, "header Cyphonic-Metrics-Boot must be 8 to 64 letters, digits and dashes")
	case p.CyphonicMetricsSequence < 1 || p.CyphonicMetricsBase < 0 || p.CyphonicMetricsBase >= p.CyphonicMetricsSequence:
		return nil, refuse(http.StatusBadRequest, typeInvalid, "header Cyphonic-Metrics-Sequence must be at least 1, Cyphonic-Metrics-Base at least 0 and less than that")
	}
	err := s.telemetry.Push(ctx, telemetry.Push{
		Adapter: r.Name, Boot: p.CyphonicMetricsBoot, Sequence: uint64(p.CyphonicMetricsSequence), Base: uint64(p.CyphonicMetricsBase),
	}, r.Body)
	if err != nil {
		return nil, refusedPush(err)
	}
	return &answer{stream: func(w http.ResponseWriter) error {
		w.WriteHeader(http.StatusNoContent)
		return nil
	}}, nil
}

// VisitPushAdapterMetricsResponse writes the answer.
func (a *answer) VisitPushAdapterMetricsResponse(w http.ResponseWriter) error { return a.write(w) }

// refusedPush turns what package telemetry says into an answer.
func refusedPush(err error) error {
	status, typ, again := http.StatusBadRequest, typeInvalid, time.Duration(0)
	var tooLong *http.MaxBytesError
	switch {
	case errors.Is(err, telemetry.ErrBase), errors.Is(err, telemetry.ErrOlder):
		status, typ = http.StatusConflict, typeMetricsBase
	case errors.Is(err, telemetry.ErrTooLarge), errors.As(err, &tooLong):
		status, typ = http.StatusRequestEntityTooLarge, typeBlank
	case errors.Is(err, telemetry.ErrTooOften):
		status, typ, again = http.StatusTooManyRequests, typeBlank, telemetry.PushInterval
	case errors.Is(err, telemetry.ErrFull):
		status, typ, again = http.StatusServiceUnavailable, typeBlank, 4*telemetry.PushInterval
	case errors.Is(err, telemetry.ErrGone):
		status, typ = http.StatusNotFound, typeBlank
	case errors.Is(err, telemetry.ErrMalformed):
	default:
		return err
	}
	p := refuse(status, typ, "%s", err)
	p.retryAfter = int(again.Seconds())
	return p
}

func errNoTelemetry() error {
	p := refuse(http.StatusServiceUnavailable, typeBlank, "this manager keeps no metrics of adapters")
	p.retryAfter = int((4 * telemetry.PushInterval).Seconds())
	return p
}

// GetTelemetryMetrics shows the metrics of the adapters that push to this manager.
func (s *Server) GetTelemetryMetrics(ctx context.Context, r GetTelemetryMetricsRequestObject) (GetTelemetryMetricsResponseObject, error) {
	shard, shards := r.Params.Shard, max(1, r.Params.Shards)
	if s.telemetry == nil {
		return nil, errNoTelemetry()
	}
	if err := telemetry.CheckShard(shard, shards); err != nil {
		return nil, refuse(http.StatusBadRequest, typeInvalid, "%s", err)
	}
	return &answer{stream: func(w http.ResponseWriter) error {
		w.Header().Set("Content-Type", telemetry.ContentType)
		w.Header().Add("Vary", "Accept-Encoding")
		if !acceptsGzip(ctx) {
			return s.telemetry.Write(w, shard, shards)
		}
		w.Header().Set("Content-Encoding", "gzip")
		z, err := gzip.NewWriterLevel(w, gzip.BestSpeed)
		if err != nil {
			return err
		}
		return errors.Join(s.telemetry.Write(z, shard, shards), z.Close())
	}}, nil
}

// VisitGetTelemetryMetricsResponse writes the answer.
func (a *answer) VisitGetTelemetryMetricsResponse(w http.ResponseWriter) error { return a.write(w) }

// GetTelemetryTargets lists what Prometheus has to scrape.
func (s *Server) GetTelemetryTargets(context.Context, GetTelemetryTargetsRequestObject) (GetTelemetryTargetsResponseObject, error) {
	if s.telemetry == nil {
		return nil, errNoTelemetry()
	}
	groups := []api.TargetGroup{}
	for _, t := range s.telemetry.Targets() {
		groups = append(groups, api.TargetGroup{Targets: append([]string{}, t.Addresses...), Labels: t.Labels})
	}
	return answerJSON(groups)
}

// VisitGetTelemetryTargetsResponse writes the answer.
func (a *answer) VisitGetTelemetryTargetsResponse(w http.ResponseWriter) error { return a.write(w) }

type acceptsGzipKey struct{}

func acceptsGzip(ctx context.Context) bool {
	accepts, _ := ctx.Value(acceptsGzipKey{}).(bool)
	return accepts
}

// noteEncoding remembers whether the client takes gzip, for the handlers that see no headers.
func noteEncoding(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		r := c.Request()
		for part := range strings.SplitSeq(r.Header.Get("Accept-Encoding"), ",") {
			name, weight, _ := strings.Cut(strings.TrimSpace(part), ";")
			if name == "gzip" && strings.ReplaceAll(weight, " ", "") != "q=0" {
				c.SetRequest(r.WithContext(context.WithValue(r.Context(), acceptsGzipKey{}, true)))
			}
		}
		return next(c)
	}
}
