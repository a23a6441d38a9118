package adapter

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/api/client"
)

// reportedTo is a manager that takes states, after it has asked for patience a number of times.
type reportedTo struct {
	mu       sync.Mutex
	refuse   int
	status   int
	wait     string
	asked    []time.Time // of refused requests
	states   map[string]api.GeneralNodeStatus
	open     atomic.Int32
	together int32
}

func (m *reportedTo) RoundTrip(r *http.Request) (*http.Response, error) {
	n := m.open.Add(1)
	defer m.open.Add(-1)
	time.Sleep(5 * time.Millisecond)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.together = max(m.together, n)
	w := httptest.NewRecorder()
	if m.refuse > 0 {
		m.refuse--
		m.asked = append(m.asked, time.Now())
		if m.status == 0 {
			return nil, errors.New("connection refused")
		}
		w.Header().Set("Retry-After", m.wait)
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(m.status)
		_, _ = fmt.Fprintf(w, `{"type":"about:blank","title":"later","status":%d}`, m.status)
		return w.Result(), nil
	}
	var g api.GeneralNode
	if err := json.NewDecoder(r.Body).Decode(&g); err != nil {
		return nil, err
	}
	m.states[path.Base(path.Dir(r.URL.Path))] = g.Status
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(g)
	return w.Result(), nil
}

func (m *reportedTo) known() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.states)
}

func startReporter(t *testing.T, m *reportedTo) (r *reporter, stop func()) {
	t.Helper()
	c, err := client.New(client.Options{Server: "https://manager.test", Transport: m})
	if err != nil {
		t.Fatal(err)
	}
	var current atomic.Pointer[client.Client]
	current.Store(c)
	r = newReporter("gate", &current, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	return r, func() {
		cancel()
		<-done
	}
}

func TestFiveHundredDevicesReportAtOnceAfterAStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &reportedTo{states: map[string]api.GeneralNodeStatus{}}
		r, stop := startReporter(t, m)
		defer stop()
		for i := range 500 {
			r.report(fmt.Sprintf("cam%d", i), api.GeneralNodeStatus{Phase: api.DevicePhaseRegistering})
			r.report(fmt.Sprintf("cam%d", i), api.GeneralNodeStatus{Phase: api.DevicePhaseUp, ObservedGeneration: 3})
		}
		time.Sleep(reportInterval + time.Second)
		synctest.Wait()
		if m.known() != 500 || m.together > maxReports {
			t.Errorf("%d states are known, %d requests were open at once", m.known(), m.together)
		}
		if s := m.states["cam7"]; s.Phase != api.DevicePhaseUp || s.ObservedGeneration != 3 {
			t.Errorf("%+v", s)
		}
	})
}

// refusals are more than the client repeats by itself in two rounds.
const refusals = 40

func TestReportsBackOffAsLongAsTheManagerAsksFor(t *testing.T) {
	for _, row := range []struct {
		name   string
		status int
		least  time.Duration
	}{
		{"too many requests", http.StatusTooManyRequests, 30 * time.Second},
		{"not available", http.StatusServiceUnavailable, 30 * time.Second},
		{"not reachable", 0, 400 * time.Millisecond},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := &reportedTo{states: map[string]api.GeneralNodeStatus{}, refuse: refusals, status: row.status, wait: "30"}
				r, stop := startReporter(t, m)
				defer stop()
				for i := range 200 {
					r.report(fmt.Sprintf("cam%d", i), api.GeneralNodeStatus{Phase: api.DevicePhaseUp})
				}
				time.Sleep(10 * time.Minute)
				synctest.Wait()
				if m.known() != 200 {
					t.Errorf("%d states are known in the end", m.known())
				}
				var pauses int
				for i := 1; i < len(m.asked); i++ {
					if m.asked[i].Sub(m.asked[i-1]) >= row.least {
						pauses++
					}
				}
				if len(m.asked) != refusals || pauses < 1 {
					t.Errorf("%d refusals with %d pauses: %v", len(m.asked), pauses, m.asked)
				}
			})
		})
	}
}

func TestAStateThatTheManagerDoesNotWantIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &reportedTo{states: map[string]api.GeneralNodeStatus{}, refuse: 1, status: http.StatusBadRequest}
		r, stop := startReporter(t, m)
		defer stop()
		r.report("cam1", api.GeneralNodeStatus{Phase: api.DevicePhaseUp})
		time.Sleep(time.Minute)
		synctest.Wait()
		if m.known() != 0 || len(r.waiting) != 0 {
			t.Errorf("%d known, %d waiting", m.known(), len(r.waiting))
		}
	})
}

// A reason that quotes an error can be of any length; the manager refuses what is too long.
func TestLongReasonsAreCut(t *testing.T) {
	r := newReporter("a", new(atomic.Pointer[client.Client]), slog.New(slog.DiscardHandler))
	long := strings.Repeat("ä", 2000)
	r.report("cam1", api.GeneralNodeStatus{
		Phase: api.DevicePhaseFailed, Reason: long,
		Conditions: []api.Condition{{Type: "Ready", Status: api.ConditionStatusFalse, Message: long}},
	})
	g := &api.GeneralNode{Metadata: api.ObjectMeta{Name: "cam1"}, Spec: api.GeneralNodeSpec{Network: "n", Adapter: "a", Mac: "02:00:00:00:00:01"}, Status: r.waiting["cam1"]}
	g.SetType()
	g.Default()
	if faults := g.Validate(); faults != nil {
		t.Errorf("the manager would refuse the report: %v", faults)
	}
	if s := r.waiting["cam1"].Reason; !strings.HasPrefix(s, "ää") || !strings.HasSuffix(s, "…") || len(s) < 200 {
		t.Errorf("the reason is %q", s)
	}
}
