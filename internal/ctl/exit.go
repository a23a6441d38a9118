package ctl

import (
	"errors"
	"net/http"
	"strconv"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/api/client"
)

// Exit codes of cyphonicctl; a script may rely on them.
const (
	exitOK          = 0
	exitFailure     = 1
	exitUsage       = 2
	exitInvalid     = 3
	exitNotFound    = 4
	exitConflict    = 5
	exitDenied      = 6
	exitUnreachable = 7
)

const exitHelp = `
Exit codes:
  0  done; get -w and watch: interrupted
  1  another failure than those below
  2  wrong arguments, or no usable configuration file
  3  a manifest or a request is invalid; nothing of it was applied
  4  no such resource
  5  conflict: it exists, is referred to, was changed meanwhile, or an address, name or MAC is taken
  6  the token is missing, wrong or not good for this
  7  the manager cannot be reached or cannot reach its store`

// usageError is a fault of the command line or of the configuration file.
type usageError struct{ error }

func (e *usageError) Unwrap() error { return e.error }

// invalidError is a fault of a manifest.
type invalidError struct{ error }

func (e *invalidError) Unwrap() error { return e.error }

// deniedError says that there is no credential that is still good.
type deniedError struct{ error }

func (e *deniedError) Unwrap() error { return e.error }

// notFoundError says that nothing is selected.
type notFoundError struct{ error }

func (e *notFoundError) Unwrap() error { return e.error }

// conflictError says that something is there already.
type conflictError struct{ error }

func (e *conflictError) Unwrap() error { return e.error }

// exitStatus is an answer that is given by the exit code alone; nothing is reported.
type exitStatus int

func (e exitStatus) Error() string { return "exit code " + strconv.Itoa(int(e)) }

func exitCode(err error) int {
	var (
		usage       *usageError
		invalid     *invalidError
		fields      api.FieldErrors
		unreachable *client.UnreachableError
		denied      *deniedError
		notFound    *notFoundError
		conflict    *conflictError
	)
	switch {
	case errors.As(err, &usage):
		return exitUsage
	case errors.As(err, &invalid), errors.As(err, &fields):
		return exitInvalid
	case errors.As(err, &unreachable):
		return exitUnreachable
	case errors.As(err, &denied):
		return exitDenied
	case errors.As(err, &notFound):
		return exitNotFound
	case errors.As(err, &conflict):
		return exitConflict
	}
	switch client.StatusOf(err) {
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnprocessableEntity:
		return exitInvalid
	case http.StatusNotFound:
		return exitNotFound
	case http.StatusConflict, http.StatusPreconditionFailed:
		return exitConflict
	case http.StatusUnauthorized, http.StatusForbidden:
		return exitDenied
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return exitUnreachable
	}
	return exitFailure
}
