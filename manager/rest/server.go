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
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/cyphonic/cyphonic/manager/access"
	"github.com/cyphonic/cyphonic/manager/audit"
	"github.com/cyphonic/cyphonic/manager/cache"
	"github.com/cyphonic/cyphonic/manager/events"
	"github.com/cyphonic/cyphonic/manager/ipam"
	"github.com/cyphonic/cyphonic/manager/store"
	"github.com/cyphonic/cyphonic/manager/telemetry"
)

// Options is what a Server needs; all fields are required.
type Options struct {
	Store store.Store
	Cache *cache.Cache // of the same store; somebody else runs it
	// Events records what happens to resources; somebody else runs it. Nil: nobody does.
	Events *events.Recorder
	// Access says who may do what. Nil: one that is made of Cache, Store and AdminTokenHash.
	Access *access.Access
	// AdminTokenHash is the lower-case hex SHA-256 of the administrator's token; for a nil Access.
	AdminTokenHash string
	// Audit is the log that changes are recorded in; somebody else runs it. Nil: one that only the changes themselves get into.
	Audit *audit.Log
	// Telemetry keeps the metrics of adapters; somebody else runs it. Nil: pushes are refused.
	Telemetry  *telemetry.Telemetry
	Registerer prometheus.Registerer // gets the manager's metrics
	Gatherer   prometheus.Gatherer   // shown at /metrics
	Log        *slog.Logger
	Rand       io.Reader // cryptographically secure
	Now        func() time.Time
}

// Server is the REST API. It is safe for concurrent use and keeps no state
// that another Server on the same store would need.
type Server struct {
	store  store.Store
	cache  *cache.Cache
	outage *outage
	ipam   *ipam.Allocator
	access *access.Access
	audit  *audit.Log
	// telemetry may be nil.
	telemetry *telemetry.Telemetry
	routes    map[string]route // by method and route as Echo writes it
	gatherer  prometheus.Gatherer
	metrics   *metrics
	watches   *watchSlots
	subjects  *subjects
	drain     *drain
	events    *events.Recorder // may be nil
	inFlight  *inFlight
	rotation  *rotation
	planning  chan struct{} // a place for each plan that is being made
	// rehearsal says that the store is an overlay: writes are for show.
	rehearsal   bool
	log         *slog.Logger
	rand        io.Reader
	now         func() time.Time
	document    *document
	reference   func() (*fixed, error) // made when it is asked for first
	description func() (*fixed, error) // the specification; the same
	// heartbeat is heartbeatInterval; tests shorten it.
	heartbeat time.Duration
}

// New returns a server, or an error if the hash of the administrator's token
// is missing or that of a sample.
func New(o Options) (*Server, error) {
	var err error
	if o.Access == nil {
		o.Access, err = access.New(access.Options{
			Cache: o.Cache, Store: o.Store, AdminTokenHash: o.AdminTokenHash, Log: o.Log, Registerer: o.Registerer, Now: o.Now,
		})
		if err != nil {
			return nil, err
		}
	}
	if o.Audit == nil {
		if o.Audit, err = audit.New(audit.Options{Store: o.Store, Log: o.Log, Registerer: o.Registerer, Now: o.Now}); err != nil {
			return nil, err
		}
	}
	d, err := readDocument()
	if err != nil {
		return nil, err
	}
	routes, err := readRoutes(d)
	if err != nil {
		return nil, err
	}
	m, err := newMetrics(o.Registerer)
	if err != nil {
		return nil, fmt.Errorf("register the metrics of the manager: %w", err)
	}
	return &Server{
		store: o.Store, cache: o.Cache, outage: &outage{now: o.Now}, ipam: ipam.New(o.Store),
		access: o.Access, audit: o.Audit, telemetry: o.Telemetry, routes: routes,
		gatherer: o.Gatherer, metrics: m, watches: &watchSlots{bySubject: map[string]int{}},
		subjects: &subjects{busy: map[string]int{}}, drain: newDrain(),
		events: o.Events, inFlight: &inFlight{keys: map[string]bool{}}, rotation: &rotation{}, planning: make(chan struct{}, maxPlans),
		log: o.Log, rand: o.Rand, now: o.Now, document: d, heartbeat: heartbeatInterval,
		reference:   sync.OnceValues(func() (*fixed, error) { return renderReference(d) }),
		description: sync.OnceValues(func() (*fixed, error) { return newFixed("application/json", d.json, nil) }),
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
	e.Use(s.observe, s.turnAway, s.recoverPanic, limitTime, s.authorise, liftDeadlines, s.limitSubject, limitBody, noteEncoding, s.document.knownQuery)
	RegisterHandlers(e, NewStrictHandler(s, nil))
	return answerHead(e)
}

// answerHead answers HEAD as GET; the HTTP server leaves the body out.
func answerHead(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodHead {
			get := *r
			get.Method = http.MethodGet
			r = get.WithContext(context.WithValue(r.Context(), headKey{}, true))
		}
		next.ServeHTTP(w, r)
	})
}

type headKey struct{}

func isHead(ctx context.Context) bool {
	head, _ := ctx.Value(headKey{}).(bool)
	return head
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
		ctx := context.WithValue(r.Context(), requestIDKey{}, id)
		ctx = withWish(ctx, r.Header)
		c.SetRequest(r.WithContext(ctx))
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
			r := recover()
			if r == http.ErrAbortHandler { // an answer that has begun is cut off on purpose
				panic(r)
			}
			if r != nil {
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
		ctx, cancel := context.WithTimeout(context.WithoutCancel(c.Request().Context()), timeoutOf(c))
		defer cancel()
		c.SetRequest(c.Request().WithContext(ctx))
		return next(c)
	}
}

// liftDeadlines lets an authorised watch go on, and gives an authorised long
// request the time that it needs.
func liftDeadlines(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		end := time.Now().Add(timeoutOf(c))
		if isWatch(c) {
			end = time.Time{}
		}
		if err := setDeadlines(c, end); err != nil {
			return fmt.Errorf("lift the deadlines of a request: %w", err)
		}
		return next(c)
	}
}

// timeoutOf is how long a request may take once it is authorised.
func timeoutOf(c echo.Context) time.Duration {
	switch c.Request().Method + " " + c.Path() {
	case "GET /api/v1/backup", "POST /api/v1/restore":
		return transferTimeout
	}
	return requestTimeout
}

// limitBody bounds the body of each operation.
func limitBody(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		r := c.Request()
		if r.Body != nil && r.Body != http.NoBody {
			r.Body = http.MaxBytesReader(c.Response(), r.Body, bodyLimit(r.Method+" "+c.Path()))
		}
		return next(c)
	}
}

func bodyLimit(operation string) int64 {
	switch operation {
	case "POST /api/v1/plans":
		return maxPlanBytes
	case "POST /api/v1/restore":
		return maxRestoreBytes
	case "POST /api/v1/adapters/:name/metrics":
		return maxPushBytes
	}
	return maxBodyBytes
}

func isWatch(c echo.Context) bool {
	watch, _ := strconv.ParseBool(c.QueryParam("watch")) // what is not a boolean is refused later
	return watch && c.Request().Method == http.MethodGet && strings.HasPrefix(c.Path(), "/api/")
}

func setDeadlines(c echo.Context, end time.Time) error {
	control := http.NewResponseController(c.Response())
	err := errors.Join(control.SetReadDeadline(end), control.SetWriteDeadline(end))
	if errors.Is(err, http.ErrNotSupported) {
		return nil
	}
	return err
}
