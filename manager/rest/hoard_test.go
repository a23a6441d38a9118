package rest

import (
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"
)

// A plan is up to 16 MiB: a subject that begins many and sends them slowly must
// not fill the memory, nor keep others from planning.
func TestFewPlansOfASubjectArriveAtATime(t *testing.T) {
	m := newMatrixWorld(t)
	hannah, eddy := m.column("hall-editor").token, m.column("editor").token
	var bodies []*io.PipeWriter
	answered := make(chan error)
	for range maxPlans + 3 {
		body, end := io.Pipe()
		bodies = append(bodies, end)
		r, err := http.NewRequest("POST", m.url+"/api/v1/plans", body)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Authorization", "Bearer "+hannah)
		go func() {
			a, err := m.client.Do(r)
			if err == nil {
				err = a.Body.Close()
			}
			answered <- err
		}()
	}
	arriving := func() int {
		m.server.subjects.mu.Lock()
		defer m.server.subjects.mu.Unlock()
		return m.server.subjects.busy["token/hannah plans"]
	}
	for end := time.Now().Add(5 * time.Second); arriving() < maxPlans; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d plans arrive", arriving())
		}
	}
	if r := m.do("POST", "/api/v1/plans", hannah, `{"items":[]}`); r.code != 429 || r.header.Get("Retry-After") == "" {
		t.Errorf("one more: %d %s", r.code, r.raw)
	}
	if r := m.do("POST", "/api/v1/plans", eddy, `{"items":[]}`); r.code != 200 {
		t.Errorf("another subject: %d %s", r.code, r.raw)
	}
	if r := m.do("GET", "/api/v1/whoami", hannah, ""); r.code != 200 {
		t.Errorf("another request of the subject: %d %s", r.code, r.raw)
	}
	for _, end := range bodies {
		_ = end.Close()
		<-answered
	}
	if r := m.do("POST", "/api/v1/plans", hannah, `{"items":[]}`); r.code != 200 || arriving() != 0 {
		t.Errorf("after they have arrived: %d %s", r.code, r.raw)
	}
}

// A restoration holds up to 512 MiB until all of it has been verified.
func TestOneRestorationOfASubjectAtATime(t *testing.T) {
	m := newMatrixWorld(t)
	if !m.server.subjects.begin("admin restorations", 1) {
		t.Fatal("it has begun")
	}
	restore := func() reply {
		return m.do("POST", "/api/v1/restore?replace=true", m.admin, "no backup", with{"Content-Type", "application/octet-stream"})
	}
	if r := restore(); r.code != 429 || r.header.Get("Retry-After") == "" || r.header.Get("X-Content-Type-Options") != "nosniff" || r.header.Get("Cache-Control") != "no-store" {
		t.Errorf("while another is under way: %d %s %v", r.code, r.raw, r.header)
	}
	m.server.subjects.end("admin restorations")
	if r := restore(); r.code != 400 {
		t.Errorf("afterwards: %d %s", r.code, r.raw)
	}
}

func TestNobodyTakesAllWatchesOfEvents(t *testing.T) {
	w := &watchSlots{bySubject: map[string]int{}}
	var held []slot
	for {
		s, ok := w.take("token/greedy", maxWatchesPerSubject, true)
		if !ok {
			break
		}
		held = append(held, s)
	}
	if len(held) != maxEventWatchesPerSubject || len(held) >= maxEventWatches {
		t.Errorf("one subject has %d of %d watches of events", len(held), maxEventWatches)
	}
	if s, ok := w.take("token/modest", maxWatchesPerSubject, true); !ok {
		t.Error("another subject gets none")
	} else {
		held = append(held, s)
	}
	if s, ok := w.take("token/greedy", maxWatchesPerSubject, false); !ok {
		t.Error("watches of events count as those of resources")
	} else {
		held = append(held, s)
	}
	for _, s := range held {
		w.free(s)
	}
	if text := fmt.Sprint(w.bySubject); w.open != 0 || w.events != 0 || text != "map[]" {
		t.Errorf("%d, %d, %s are left", w.open, w.events, text)
	}
}
