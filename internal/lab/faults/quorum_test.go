package faults

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

type atomicCount = atomic.Int64

func TestWithoutQuorumReadsSayThatTheyAreStaleAndWritesAreRefused(t *testing.T) {
	p := start(t)
	s := newSession(p, p.ServerURL(0))
	defer s.close()
	if r := s.do(t.Context(), http.MethodPut, "/api/v1/roles/before", "", register("before", "v")); r.status != http.StatusCreated {
		t.Fatalf("%d %s", r.status, r.body)
	}
	// A list is of now: after it the manager's memory has what was written.
	if r := s.do(t.Context(), http.MethodGet, "/api/v1/roles", "", nil); r.status != http.StatusOK || r.stale() {
		t.Fatalf("%d %v", r.status, r.header)
	}
	p.Members[1].Kill()
	p.Members[2].Kill()
	lost := time.Now()
	read := s.do(t.Context(), http.MethodGet, "/api/v1/roles/before", "", nil)
	if value, _, err := valueOf(read.body); read.status != http.StatusOK || value != "v" || err != nil {
		t.Errorf("read: %d %s", read.status, read.body)
	}
	if !read.stale() || !strings.HasPrefix(read.header.Get("Warning"), "110 ") {
		t.Errorf("the read does not say that it is stale: %v", read.header)
	}
	if since, err := time.Parse(time.RFC3339, read.header.Get("Cyphonic-Stale-Since")); err != nil || time.Since(since) > time.Minute {
		t.Errorf("the read is stale since %q", read.header.Get("Cyphonic-Stale-Since"))
	}
	t.Logf("first read answered %s after the loss", time.Since(lost).Round(time.Millisecond))
	again := time.Now()
	list := s.do(t.Context(), http.MethodGet, "/api/v1/roles", "", nil)
	if list.status != http.StatusOK || !list.stale() || !strings.Contains(string(list.body), `"before"`) {
		t.Errorf("list: %d %v %s", list.status, list.header, list.body)
	}
	if took := time.Since(again); took > 2500*time.Millisecond {
		t.Errorf("the list took %s", took)
	}
	write := s.do(t.Context(), http.MethodPut, "/api/v1/roles/during", "", register("during", "v"))
	if write.status != http.StatusServiceUnavailable || write.header.Get("Retry-After") == "" {
		t.Errorf("write: %d, Retry-After %q: %s", write.status, write.header.Get("Retry-After"), write.body)
	}
	for _, i := range []int{1, 2} {
		if err := p.Members[i].Start(); err != nil {
			t.Fatal(err)
		}
	}
	back := time.Now()
	for {
		r := s.do(t.Context(), http.MethodPut, "/api/v1/roles/after", "", register("after", "v"))
		if r.status == http.StatusCreated || r.status == http.StatusOK {
			break
		}
		if time.Since(back) > 30*time.Second {
			t.Fatalf("no write 30 s after the members are back: %d %s", r.status, r.body)
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Logf("writes again %s after the members are back", time.Since(back).Round(time.Millisecond))
	for time.Since(back) < 30*time.Second {
		if r := s.do(t.Context(), http.MethodGet, "/api/v1/roles/after", "", nil); r.status == http.StatusOK && !r.stale() {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Error("reads are still stale 30 s after the members are back")
}
