package rest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/cyphonic/cyphonic/manager/ipam"
	"github.com/cyphonic/cyphonic/manager/store"
)

// Options is what a Server needs; all fields are required.
type Options struct {
	Store store.Store
	// AdminTokenHash is the lower-case hex SHA-256 of the administrator's token.
	AdminTokenHash string
	Registerer     prometheus.Registerer // gets the manager's metrics
	Gatherer       prometheus.Gatherer   // shown at /metrics
	Log            *slog.Logger
	Rand           io.Reader // cryptographically secure
	Now            func() time.Time
}

// Server is the REST API. It is safe for concurrent use and keeps no state
// that another Server on the same store would need.
type Server struct {
	store    store.Store
	ipam     *ipam.Allocator
	admin    []byte // hash of the administrator's token
	access   *accessKeys
	gatherer prometheus.Gatherer
	metrics  *metrics
	watches  *watchSlots
	log      *slog.Logger
	rand     io.Reader
	now      func() time.Time
	spec     []byte // the specification as JSON
	// heartbeat is heartbeatInterval; tests shorten it.
	heartbeat time.Duration
}

// New returns a server, or an error if the hash of the administrator's token
// is missing or that of a sample.
func New(o Options) (*Server, error) {
	if err := CheckAdminTokenHash(o.AdminTokenHash); err != nil {
		return nil, err
	}
	spec, err := GetSpecJSON()
	if err != nil {
		return nil, fmt.Errorf("read the embedded specification: %w", err)
	}
	m, err := newMetrics(o.Registerer)
	if err != nil {
		return nil, fmt.Errorf("register the metrics of the manager: %w", err)
	}
	return &Server{
		store: o.Store, ipam: ipam.New(o.Store), admin: []byte(o.AdminTokenHash),
		access:   &accessKeys{store: o.Store, now: o.Now},
		gatherer: o.Gatherer, metrics: m, watches: &watchSlots{perAdapter: map[string]int{}},
		log: o.Log, rand: o.Rand, now: o.Now, spec: spec, heartbeat: heartbeatInterval,
	}, nil
}

// Handler returns the HTTP handler. The context of a request, which the HTTP
// server derives from its base context, ends watches; other requests are
// carried through whatever happens to the connection, within requestTimeout.
func (s *Server) Handler() http.Handler {
	e := echo.New()
	e.HideBanner, e.HidePort = true, true
	e.IPExtractor = echo.ExtractIPDirect()
	e.Binder = strictBinder{}
	e.HTTPErrorHandler = s.handleError
	e.Use(s.observe, s.recoverPanic, limitTime, s.authorise, liftDeadlines, knownQuery)
	RegisterHandlers(e, NewStrictHandler(s, nil))
	return e
}

type requestIDKey struct{}

func requestIDOf(ctx context.Context) string {
	id, _ := ctx.Value(requestIDKey{}).(string)
	return id
}

// observe gives the request its identifier, counts it and logs it.
func (s *Server) observe(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		start := s.now()
		id := uuid.NewString()
		r := c.Request()
		c.SetRequest(r.WithContext(context.WithValue(r.Context(), requestIDKey{}, id)))
		c.Response().Header().Set("X-Request-Id", id)
		if err := next(c); err != nil {
			c.Error(err)
		}
		duration := s.now().Sub(start)
		s.metrics.request(r.Method, c.Path(), c.Response().Status, duration)
		level := slog.LevelDebug
		if r.Method != http.MethodGet {
			level = slog.LevelInfo
		}
		s.log.Log(r.Context(), level, "request", "requestId", id, "method", r.Method, "path", r.URL.Path,
			"status", c.Response().Status, "duration", duration, "subject", principalOf(c.Request().Context()).String(), "remote", c.RealIP())
		return nil
	}
}

// recoverPanic turns a fault of the program into a 500 and a log entry.
func (s *Server) recoverPanic(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) (err error) {
		defer func() {
			if r := recover(); r != nil {
				err = fmt.Errorf("panic: %v\n%s", r, debug.Stack())
			}
		}()
		return next(c)
	}
}

// limitTime bounds everything: also a request that is refused, whose body the
// HTTP server reads to its end before the connection is used again.
func limitTime(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if err := setDeadlines(c, time.Now().Add(requestTimeout)); err != nil {
			return fmt.Errorf("set the deadlines of a request: %w", err)
		}
		if isWatch(c) {
			return next(c)
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(c.Request().Context()), requestTimeout)
		defer cancel()
		c.SetRequest(c.Request().WithContext(ctx))
		return next(c)
	}
}

// liftDeadlines lets an authorised watch go on.
func liftDeadlines(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if isWatch(c) {
			if err := setDeadlines(c, time.Time{}); err != nil {
				return fmt.Errorf("lift the deadlines of a watch: %w", err)
			}
		}
		return next(c)
	}
}

func isWatch(c echo.Context) bool {
	watch, _ := strconv.ParseBool(c.QueryParam("watch")) // what is not a boolean is refused later
	return watch && c.Request().Method == http.MethodGet
}

func setDeadlines(c echo.Context, end time.Time) error {
	control := http.NewResponseController(c.Response())
	err := errors.Join(control.SetReadDeadline(end), control.SetWriteDeadline(end))
	if errors.Is(err, http.ErrNotSupported) {
		return nil
	}
	return err
}

// knownQuery refuses misspelt parameters, which would otherwise be ignored.
func knownQuery(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		for name, values := range c.QueryParams() {
			if (name != "watch" && name != "resourceVersion") || len(values) != 1 {
				return refuse(http.StatusBadRequest, typeInvalid, "query parameter %q is unknown or given twice; there are watch and resourceVersion", name)
			}
		}
		return next(c)
	}
}
