package rest

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

// deadlineRecorder remembers the last read deadline, as a connection would.
type deadlineRecorder struct {
	*httptest.ResponseRecorder
	set  bool
	read time.Time
}

func (d *deadlineRecorder) SetReadDeadline(t time.Time) error { d.set, d.read = true, t; return nil }
func (d *deadlineRecorder) SetWriteDeadline(time.Time) error  { return nil }

// The HTTP server reads the body of a refused request to its end: without a
// deadline anybody could hold connections for ever with a byte now and then.
func TestARefusedRequestHasADeadline(t *testing.T) {
	w := newWorld(t)
	for _, target := range []string{"POST /api/v1/nodes", "GET /api/v1/nodes?watch=true", "POST /livez", "POST /nothing"} {
		method, path, _ := strings.Cut(target, " ")
		d := &deadlineRecorder{ResponseRecorder: httptest.NewRecorder()}
		w.server.Handler().ServeHTTP(d, httptest.NewRequest(method, path, strings.NewReader(" ")))
		if d.Code < 400 {
			t.Errorf("%s without a token: %d", target, d.Code)
		}
		if left := time.Until(d.read); !d.set || left <= 0 || left > requestTimeout {
			t.Errorf("%s: the connection is read for another %v", target, left)
		}
	}
}

// A body that does not arrive is the client's fault, not the manager's.
func TestABodyThatDoesNotArrive(t *testing.T) {
	w := newWorld(t)
	for name, row := range map[string]struct {
		fault error
		want  int
		text  string
	}{
		"slow":    {os.ErrDeadlineExceeded, http.StatusRequestTimeout, "did not arrive within 30s; send it again"},
		"cut off": {io.ErrUnexpectedEOF, http.StatusBadRequest, "did not arrive whole"},
		"broken":  {errors.New("stream reset"), http.StatusBadRequest, "did not arrive whole"},
	} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest("POST", "/api/v1/nodes", io.MultiReader(strings.NewReader("{"), iotest.ErrReader(row.fault)))
			r.Header.Set("Content-Type", "application/json")
			r.Header.Set("Authorization", "Bearer "+w.admin)
			answer := httptest.NewRecorder()
			w.server.Handler().ServeHTTP(answer, r)
			if answer.Code != row.want || !strings.Contains(answer.Body.String(), row.text) {
				t.Errorf("%d %s", answer.Code, answer.Body)
			}
		})
	}
	if strings.Contains(w.log.String(), "level=ERROR") {
		t.Errorf("the log calls it a failure of the manager:\n%s", w.log)
	}
}

func TestAWatchParameterThatIsNoBoolean(t *testing.T) {
	w := newWorld(t)
	r := w.do("GET", "/api/v1/nodes?watch=maybe", w.admin, "")
	if r.code != http.StatusBadRequest || r.body["detail"] != `query parameter "watch" must be true or false` {
		t.Errorf("%d %s", r.code, r.body)
	}
}
