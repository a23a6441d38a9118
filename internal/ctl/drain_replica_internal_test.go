package ctl

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/api/client"
)

type transportFunc func(*http.Request) (*http.Response, error)

func (f transportFunc) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// silentFor is a manager that answers with a status, or with 0 not at all, until the time is over; then no replica is there any more.
func silentFor(t *testing.T, d time.Duration, status int) *client.Client {
	t.Helper()
	start := time.Now()
	manager, err := client.New(client.Options{Servers: []string{"https://manager"}, Transport: transportFunc(func(*http.Request) (*http.Response, error) {
		answer := func(status int, body string) (*http.Response, error) {
			return &http.Response{StatusCode: status, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(body))}, nil
		}
		switch {
		case time.Since(start) > d:
			return answer(http.StatusOK, `{"apiVersion":"cyphonic/v1","kind":"ReplicaList","metadata":{"resourceVersion":"1"},"items":[]}`)
		case status == 0:
			return nil, io.ErrUnexpectedEOF
		}
		return answer(status, fmt.Sprintf(`{"status":%d,"title":"x"}`, status))
	})})
	if err != nil {
		t.Fatal(err)
	}
	return manager
}

// A host that drains takes its own manager along, and the database may change its leader: the replicas go on draining.
func TestADrainIsWaitedForWhileNoManagerAnswers(t *testing.T) {
	for name, row := range map[string]struct {
		silent time.Duration
		status int
		want   string // of the error; "" for none
	}{
		"answers at once":      {0, 0, ""},
		"unreachable a while":  {20 * time.Second, 0, ""},
		"no database a while":  {20 * time.Second, http.StatusServiceUnavailable, ""},
		"unreachable for good": {time.Hour, 0, "no manager says any more how far it is (last: replica/nms-a Ready, 3 sessions)"},
		"not allowed":          {time.Hour, http.StatusForbidden, "403"},
	} {
		synctest.Test(t, func(t *testing.T) {
			var out bytes.Buffer
			c := &command{Environment: Environment{Stdout: &out, Stderr: &out, Now: time.Now}}
			r := &api.Replica{Spec: api.ReplicaSpec{Service: "nms"}, Status: api.ReplicaStatus{State: api.ReplicaStateReady, Load: api.ReplicaLoad{Sessions: 3}}}
			r.SetType()
			r.Metadata.Name = "nms-a"
			d := &replicaDrain{
				c: c, manager: silentFor(t, row.silent, row.status), what: "host/host-a", flags: drainFlags{timeout: time.Minute}, last: map[string]*api.Replica{"nms-a": r},
			}
			err := d.wait(t.Context())
			switch {
			case row.want == "" && (err != nil || !strings.Contains(out.String(), "host/host-a is drained")):
				t.Errorf("%s: %v\n%s", name, err, out.String())
			case row.want != "" && (err == nil || !strings.Contains(err.Error(), row.want)):
				t.Errorf("%s: %v, want %q", name, err, row.want)
			}
		})
	}
}
