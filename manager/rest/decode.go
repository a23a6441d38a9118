package rest

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"os"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/cyphonic/cyphonic/api"
)

// strictBinder reads request bodies: JSON only, no unknown field. limitBody has
// bounded them.
type strictBinder struct{}

// Bind decodes the body into v.
func (strictBinder) Bind(v any, c echo.Context) error {
	r := c.Request()
	mediaType, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if possible := mediaTypesOf(r.Method); err != nil || !slices.Contains(possible, mediaType) {
		return refuse(http.StatusUnsupportedMediaType, typeBlank, "the body must be %s; Content-Type is %q", strings.Join(possible, " or "), r.Header.Get("Content-Type"))
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return unread(err)
	}
	return api.Decode(body, v)
}

// mediaTypesOf lists what the bodies of a method may be.
func mediaTypesOf(method string) []string {
	if method == http.MethodPatch {
		return []string{mergePatchType, applyPatchType}
	}
	return []string{"application/json"}
}

// The media types of PATCH.
const (
	mergePatchType = "application/merge-patch+json"
	applyPatchType = "application/apply-patch+json"
)

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
