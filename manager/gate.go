package manager

import (
	"net/http"
	"sync/atomic"
)

// gate lets requests in when the database has the layout of this program. Until
// then only /livez is answered.
type gate struct {
	inner http.Handler
	open  atomic.Bool
}

func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if g.open.Load() || r.URL.Path == "/livez" {
		g.inner.ServeHTTP(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.Header().Set("Retry-After", "1")
	w.WriteHeader(http.StatusServiceUnavailable)
	_, _ = w.Write([]byte(`{"type":"about:blank","title":"Service Unavailable","status":503,` +
		`"detail":"the manager is starting: the database does not answer yet, or is being migrated; try again"}` + "\n")) // a client that is gone misses nothing
}
