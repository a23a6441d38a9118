package rest

import (
	"fmt"
	"io"
	"mime"
	"net/http"

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
		return fmt.Errorf("read the body: %w", err)
	}
	return api.Decode(body, v)
}
