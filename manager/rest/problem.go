package rest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/manager/store"
)

// Types of problems, for programs. They are URNs because there is no page
// behind them.
const (
	typeBlank       = "about:blank"
	typeInvalid     = "urn:cyphonic:problem:invalid"
	typeExists      = "urn:cyphonic:problem:exists"
	typeConflict    = "urn:cyphonic:problem:conflict"
	typeReferenced  = "urn:cyphonic:problem:referenced"
	typeTaken       = "urn:cyphonic:problem:taken"
	typePrefixFull  = "urn:cyphonic:problem:prefix-full"
	typeCompacted   = "urn:cyphonic:problem:revision-gone"
	typeUnavailable = "urn:cyphonic:problem:store-unavailable"

	typeFieldConflict       = "urn:cyphonic:problem:field-conflict"
	typeDeleting            = "urn:cyphonic:problem:deleting"
	typeIdempotencyMismatch = "urn:cyphonic:problem:idempotency-mismatch"
)

// problem is an error that is an answer (RFC 9457).
type problem struct {
	status int
	typ    string
	detail string
	errors []api.FieldError
	cause  error // logged, not shown
	// retryAfter is after how many seconds the request may be repeated; 429 and
	// 503 say so always, and at least one.
	retryAfter int
	header     http.Header // further headers of the answer; may be nil
}

// Error returns the detail.
func (p *problem) Error() string { return p.detail }

// Unwrap returns what caused the problem.
func (p *problem) Unwrap() error { return p.cause }

func refuse(status int, typ, format string, args ...any) *problem {
	return &problem{status: status, typ: typ, detail: fmt.Sprintf(format, args...)}
}

// refuseField is refuse with the field at fault.
func refuseField(status int, typ, pointer, format string, args ...any) *problem {
	p := refuse(status, typ, format, args...)
	p.errors = []api.FieldError{{Pointer: pointer, Detail: p.detail}}
	return p
}

// invalid answers faults of a body.
func invalid(faults api.FieldErrors) *problem {
	p := refuse(http.StatusBadRequest, typeInvalid, "the body is not valid: %s", faults[0].String())
	if len(faults) > 1 {
		p.detail += fmt.Sprintf(" (and %d more, see errors)", len(faults)-1)
	}
	p.errors = faults[:min(len(faults), maxErrorDetails)]
	return p
}

// asProblem turns any error of a handler into a problem.
func asProblem(err error) *problem {
	var p *problem
	var faults api.FieldErrors
	var httpError *echo.HTTPError
	switch {
	case errors.As(err, &p):
		return p
	case errors.As(err, &faults) && len(faults) > 0:
		return invalid(faults)
	case errors.Is(err, store.ErrUnavailable), errors.Is(err, context.DeadlineExceeded):
		return &problem{status: http.StatusServiceUnavailable, typ: typeUnavailable, cause: err, detail: "the database (etcd) did not answer in time; " +
			"if this was a write it may or may not have happened: read the resource or repeat the request; " +
			"if it lasts, look at /readyz, at the logs of the manager and at etcd"}
	case errors.Is(err, store.ErrCompacted):
		return refuse(http.StatusGone, typeCompacted, "that resourceVersion is no longer kept: list again and watch from the resourceVersion of the list")
	case errors.Is(err, context.Canceled):
		return &problem{status: http.StatusServiceUnavailable, typ: typeBlank, cause: err, detail: "the request was cancelled; repeat it"}
	case errors.As(err, &httpError):
		return fromEcho(httpError)
	}
	return &problem{
		status: http.StatusInternalServerError, typ: typeBlank, cause: err,
		detail: "the manager failed; the log has the reason under this requestId",
	}
}

// fromEcho translates errors of the router and of the generated parameter
// parsing.
func fromEcho(e *echo.HTTPError) *problem {
	p := &problem{status: e.Code, typ: typeBlank, cause: e.Internal, detail: fmt.Sprint(e.Message)}
	switch e.Code {
	case http.StatusNotFound:
		p.detail = "there is nothing at this path; see /openapi.json for the paths there are"
	case http.StatusBadRequest: // parameters that the generated code could not read
		p.typ = typeInvalid
	case http.StatusMethodNotAllowed:
		p.detail = "this method is not possible at this path; see /openapi.json"
	}
	return p
}

// writeProblem sends a problem.
func (p *problem) encode(instance, requestID string) api.Problem {
	return api.Problem{
		Type: p.typ, Title: http.StatusText(p.status), Status: p.status, Detail: p.detail,
		Instance: instance, RequestId: requestID, Errors: p.errors,
	}
}

// handleError is Echo's error handler: everything that goes wrong ends here.
func (s *Server) handleError(err error, c echo.Context) {
	p := asProblem(err)
	id := requestIDOf(c.Request().Context())
	if p.cause != nil && p.status >= http.StatusInternalServerError {
		s.log.Error("request failed", "requestId", id, "method", c.Request().Method, "path", c.Request().URL.Path, "err", p.cause)
	}
	if c.Response().Committed {
		return
	}
	h := c.Response().Header()
	maps.Copy(h, p.header)
	switch p.status {
	case http.StatusUnauthorized:
		h.Set("WWW-Authenticate", `Bearer realm="cyphonic"`)
	case http.StatusServiceUnavailable, http.StatusTooManyRequests:
		if h.Get("Retry-After") == "" {
			h.Set("Retry-After", strconv.Itoa(max(1, p.retryAfter)))
		}
	default:
		if p.retryAfter > 0 {
			h.Set("Retry-After", strconv.Itoa(p.retryAfter))
		}
	}
	if allow := h.Get("Allow"); p.status == http.StatusMethodNotAllowed && strings.Contains(allow, http.MethodGet) {
		h.Set("Allow", allow+", "+http.MethodHead) // see answerHead
	}
	body, err := encodeLine(p.encode(c.Request().URL.Path, id))
	if err != nil {
		s.log.Error("encode a problem", "requestId", id, "err", err)
		return
	}
	h.Set("Content-Type", "application/problem+json")
	h.Set("Cache-Control", "no-store") // as answer.write: what is not there may be there for another subject
	h.Set("X-Content-Type-Options", "nosniff")
	c.Response().WriteHeader(p.status)
	if _, err := c.Response().Write(body); err != nil {
		s.log.Debug("write an answer", "requestId", id, "err", err)
	}
}
