package rest

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cyphonic/cyphonic/internal/keyspace"
)

func TestDraining(t *testing.T) {
	w := newWorld(t)
	w.factory()
	leaving, server := w.url, w.server
	w.serve(w.store)
	staying := w.url

	w.url = leaving
	server.heartbeat = time.Hour
	var open []*watching
	for i := range 5 {
		x := w.watch(fmt.Sprintf("/api/v1/adapters/a%d/generalnodes?watch=true", i%2+1), w.tokenOf(fmt.Sprintf("a%d", i%2+1)))
		x.bookmark()
		open = append(open, x)
	}
	w.must(200, "GET", "/readyz", "")
	done := make(chan time.Duration)
	start := time.Now()
	go func() {
		server.Drain(context.Background(), 300*time.Millisecond)
		done <- time.Since(start)
	}()
	for w.do("GET", "/readyz", "", "").code == 200 {
		time.Sleep(time.Millisecond)
	}
	r := w.must(200, "GET", "/api/v1/adapters", "") // still served, on connections that stay
	late := w.put(keyspace.GeneralNodes, "g1", storedGN("g1", "a1", "", "Up"))
	open[0].expect("ADDED g1")
	if time.Since(start) < 250*time.Millisecond && r.header.Get("Connection") == "close" {
		t.Error("clients are turned away before the delay is over")
	}
	if d := <-done; d < 300*time.Millisecond || d > 6*time.Second {
		t.Errorf("draining took %v", d)
	}
	for i, x := range open {
		var last event
		for e := range x.lines {
			last = e
		}
		if got, _ := strconv.ParseInt(last.version(), 10, 64); last.Type != "BOOKMARK" || got < late {
			t.Errorf("watch %d ended with %v at %d", i, last, got)
		}
	}
	if r := w.do("GET", "/api/v1/nodes?watch=true", w.admin, ""); r.code != 503 || r.header.Get("Retry-After") == "" {
		t.Errorf("a new watch: %d %s", r.code, r.raw)
	}
	raw, err := http.Get(leaving + "/livez")
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, raw.Body)
	_ = raw.Body.Close()
	if raw.StatusCode != 200 || !raw.Close {
		t.Errorf("a request to a server that is about to end: %d, close %v", raw.StatusCode, raw.Close)
	}
	w.url = staying
	x := w.watch("/api/v1/adapters/a1/generalnodes?watch=true&resourceVersion="+strconv.FormatInt(late, 10), w.tokenOf("a1"))
	w.put(keyspace.GeneralNodes, "g2", storedGN("g2", "a1", "", "Up"))
	x.expect("ADDED g2")
}

func TestDrainingEndsWithItsContext(t *testing.T) {
	w := newWorld(t)
	w.server.heartbeat = time.Hour
	w.watch("/api/v1/nodes?watch=true", w.admin).bookmark()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	start := time.Now()
	w.server.Drain(ctx, time.Hour)
	if time.Since(start) > time.Second {
		t.Error("it waited")
	}
	if w.do("GET", "/readyz", "", "").code != 503 {
		t.Error("it is ready")
	}
}

// The ends of the watches are spread over the whole span.
func TestEndsAreSpread(t *testing.T) {
	d := newDrain()
	var all []float64
	for range 1000 {
		all = append(all, d.fraction())
	}
	slices.Sort(all)
	for i, f := range all {
		if want := float64(i) / 1000; f < want-0.01 || f > want+0.01 {
			t.Fatalf("the %dth of 1000 ends at %.3f", i, f)
		}
	}
	if endSpan(10_000) != watchEndSpan || endSpan(5) > 10*time.Millisecond {
		t.Errorf("10,000 watches end in %v, 5 in %v", endSpan(10_000), endSpan(5))
	}
}

func TestHead(t *testing.T) {
	w := newWorld(t)
	w.factory()
	want := w.must(200, "GET", "/api/v1/adapters/a1", "")
	r, body := w.head("/api/v1/adapters/a1")
	if r.StatusCode != 200 || body != "" || r.Header.Get("ETag") != want.header.Get("ETag") || r.ContentLength != int64(len(want.raw)) {
		t.Errorf("%d %q %v", r.StatusCode, body, r.Header)
	}
	for path, code := range map[string]int{
		"/livez": 200, "/api/v1/adapters/none": 404, "/api/v1/nodes?watch=true": 400, "/api/v1/nodes?x=y": 400,
	} {
		if got, _ := w.head(path); got.StatusCode != code {
			t.Errorf("HEAD %s: %d, want %d", path, got.StatusCode, code)
		}
	}
}

func (w *world) head(path string) (*http.Response, string) {
	w.t.Helper()
	r, err := http.NewRequest("HEAD", w.url+path, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+w.admin)
	a, err := http.DefaultClient.Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = a.Body.Close() }()
	body, err := io.ReadAll(a.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return a, string(body)
}

func TestTheReferencePage(t *testing.T) {
	w := newWorld(t)
	r := w.do("GET", "/reference", "", "")
	policy := r.header.Get("Content-Security-Policy")
	if r.code != 200 || r.header.Get("Content-Type") != "text/html; charset=utf-8" || !strings.Contains(policy, "default-src 'none'") || strings.Contains(policy, "unsafe") {
		t.Fatalf("%d %v", r.code, r.header)
	}
	for _, text := range []string{"<!DOCTYPE html>", `id="listGeneralNodes"`, `id="schema-GeneralNode"`, typeCompacted} {
		if !strings.Contains(r.raw, text) {
			t.Errorf("%s is missing", text)
		}
	}
	w.fixed("/reference", "text/html; charset=utf-8")
	w.fixed("/openapi.json", "application/json")
	again := w.do("GET", "/reference", "", "", with{"If-None-Match", `"x", ` + r.header.Get("ETag")})
	if again.code != 304 || again.raw != "" || again.header.Get("ETag") != r.header.Get("ETag") {
		t.Errorf("%d, %d bytes", again.code, len(again.raw))
	}
	if other := w.do("GET", "/reference", "", "", with{"If-None-Match", `"other"`}); other.code != 200 {
		t.Errorf("%d", other.code)
	}
}

// fixed asks for an answer as a client that unpacks by itself, and again with
// the tag that it got.
func (w *world) fixed(path, contentType string) {
	w.t.Helper()
	get := func(headers ...with) (*http.Response, []byte) {
		r, err := http.NewRequest("GET", w.url+path, nil)
		if err != nil {
			w.t.Fatal(err)
		}
		for _, h := range headers {
			r.Header.Set(h.name, h.value)
		}
		a, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			w.t.Fatal(err)
		}
		defer func() { _ = a.Body.Close() }()
		body, err := io.ReadAll(a.Body)
		if err != nil {
			w.t.Fatal(err)
		}
		return a, body
	}
	plain, want := get(with{"Accept-Encoding", "gzip;q=0, br"})
	packed, body := get(with{"Accept-Encoding", "br, gzip"})
	if plain.Header.Get("Content-Encoding") != "" || packed.Header.Get("Content-Encoding") != "gzip" || len(body) > len(want)/3 {
		w.t.Errorf("%s: %v, %v, %d of %d bytes", path, plain.Header, packed.Header, len(body), len(want))
	}
	unpacked, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	if got, err := io.ReadAll(unpacked); err != nil || string(got) != string(want) {
		w.t.Errorf("%s: unpacked it is something else: %v", path, err)
	}
	if packed.Header.Get("Content-Type") != contentType || packed.Header.Get("Vary") != "Accept-Encoding" || packed.Header.Get("ETag") == plain.Header.Get("ETag") {
		w.t.Errorf("%s: %v", path, packed.Header)
	}
	same, nothing := get(with{"Accept-Encoding", "gzip"}, with{"If-None-Match", packed.Header.Get("ETag")})
	if same.StatusCode != 304 || len(nothing) > 0 {
		w.t.Errorf("%s again: %d, %d bytes", path, same.StatusCode, len(nothing))
	}
}
