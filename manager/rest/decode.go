package rest

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"os"

	"github.com/labstack/echo/v4"

	"github.com/cyphonic/cyphonic/api"
)

// strictBinder reads request bodies: JSON only, bounded, no unknown field.
type strictBinder struct{}

// Bind decodes the body into v.
func (strictBinder) Bind(v any, c echo.Context) error {
	r := c.Request()
	mediaType, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || mediaType != "application/json" {
		return refuse(http.StatusUnsupportedMediaType, typeBlank, "the body must be application/json; Content-Type is %q", r.Header.Get("Content-Type"))
	}
	body, err := io.ReadAll(http.MaxBytesReader(c.Response(), r.Body, maxBodyBytes))
	if err != nil {
		return unread(err)
	}
	return api.Decode(body, v)
}

// unread says why a body was not read; whatever it is, the manager is not at
// fault.
func unread(err error) *problem {
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return refuse(http.StatusRequestEntityTooLarge, typeBlank, "the body is larger than %d bytes", tooLarge.Limit)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return refuse(http.StatusRequestTimeout, typeBlank, "the body did not arrive within %s; send it again", requestTimeout)
	}
	return refuse(http.StatusBadRequest, typeBlank, "the body did not arrive whole: %v", err)
}
