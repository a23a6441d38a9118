package client

import (
	"net/http"
	"strings"
	"time"
)

// Warning is what a manager says besides its answer (RFC 7234, section 5.5).
type Warning struct {
	Code       string    // 110: the answer is stale
	Text       string    // for people
	StaleSince time.Time // the answer is the state of this time; zero: it is not stale
}

func (c *Client) warn(header http.Header) {
	since, _ := time.Parse(time.RFC3339, header.Get("Cyphonic-Stale-Since"))
	values := header.Values("Warning")
	for _, value := range values[:min(len(values), maxWarnings)] {
		code, rest, _ := strings.Cut(value, " ")
		_, quoted, _ := strings.Cut(rest, " ") // between them is who warns
		w := Warning{Code: code, Text: unquote(quoted)}
		if code == "110" {
			w.StaleSince = since
		}
		c.onWarning(w)
	}
	if len(values) == 0 && !since.IsZero() {
		c.onWarning(Warning{Code: "110", Text: "this is the state of " + since.UTC().Format(time.RFC3339), StaleSince: since})
	}
}

// unquote reads a quoted-string (RFC 9110, section 5.6.4); what stands behind it is passed over. Control characters are dropped: the text goes to terminals.
func unquote(quoted string) string {
	var text strings.Builder
	escaped := false
	for _, r := range strings.TrimPrefix(quoted, `"`) {
		switch {
		case r < ' ' || r == 0x7f:
		case escaped:
			text.WriteRune(r)
			escaped = false
		case r == '\\':
			escaped = true
		case r == '"':
			return text.String()
		default:
			text.WriteRune(r)
		}
	}
	return text.String()
}
