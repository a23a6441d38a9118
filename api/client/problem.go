package client

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/cyphonic/cyphonic/api"
)

// ProblemError is what the manager answered instead of what was asked for.
type ProblemError struct {
	Problem    api.Problem
	RetryAfter time.Duration // how long it asked to wait before the request is sent again; 0: it did not
}

// Error has the detail and every field at fault that the detail does not speak of.
func (e *ProblemError) Error() string {
	text := e.Problem.Detail
	if text == "" {
		text = e.Problem.Title
	}
	separator := ": "
	for _, field := range e.Problem.Errors {
		if !strings.Contains(text, field.Detail) {
			text += separator + field.String()
			separator = "; "
		}
	}
	return fmt.Sprintf("%s (HTTP %d)", text, e.Problem.Status)
}

// UnreachableError says that no answer came.
type UnreachableError struct {
	Err  error
	Hint string // what to do
}

func (e *UnreachableError) Error() string {
	return fmt.Sprintf("manager not reachable: %v: %s", e.Err, e.Hint)
}
func (e *UnreachableError) Unwrap() error { return e.Err }

// UncertainError is a refusal of a request that was sent more than once: an earlier attempt got no answer, and may have brought about what the refusal is because of.
type UncertainError struct{ Err error }

func (e *UncertainError) Error() string {
	return e.Err.Error() + "; it was sent again because there was no answer, and may have been carried out the first time"
}
func (e *UncertainError) Unwrap() error { return e.Err }

// StatusOf returns the HTTP status of a *ProblemError in the chain of err, else 0.
func StatusOf(err error) int {
	var problem *ProblemError
	if errors.As(err, &problem) {
		return problem.Problem.Status
	}
	return 0
}

// IsNotFound tells whether the manager said that there is no such resource.
func IsNotFound(err error) bool { return StatusOf(err) == http.StatusNotFound }

// IsGone tells whether a watch asked for changes that the store no longer has: list again.
func IsGone(err error) bool { return StatusOf(err) == http.StatusGone }

// IsFieldConflict tells whether another field manager decides about a field; the errors of the problem name the fields and the managers.
func IsFieldConflict(err error) bool {
	var problem *ProblemError
	return errors.As(err, &problem) && problem.Problem.Type == "urn:cyphonic:problem:field-conflict"
}

func problemOf(response *http.Response) error {
	problem := api.Problem{Title: http.StatusText(response.StatusCode), Type: "about:blank"}
	data, err := readBounded(response.Body, maxProblem)
	mediaType, _, _ := mime.ParseMediaType(response.Header.Get("Content-Type"))
	if err != nil || mediaType != "application/problem+json" || json.Unmarshal(data, &problem) != nil {
		problem.Detail = strings.ToLower(problem.Title) + ": the answer does not come from a manager"
	}
	problem.Status = response.StatusCode
	return &ProblemError{problem, retryAfter(response.Header)}
}

func unreachable(err error) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	var (
		authority x509.UnknownAuthorityError
		hostname  x509.HostnameError
		dns       *net.DNSError
	)
	hint := "check the server URL and that the manager runs"
	switch {
	case errors.As(err, &authority):
		hint = "its certificate is not from the trusted authority; use the trust.json of this installation"
	case errors.As(err, &hostname):
		hint = "its certificate is not for this address; use an address that was given to `cyphonicctl init --address`"
	case errors.As(err, &dns):
		hint = "the name of the server cannot be resolved; check the server URL"
	}
	return &UnreachableError{err, hint}
}
