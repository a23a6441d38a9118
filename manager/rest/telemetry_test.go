package rest

import (
	"bytes"
	"compress/gzip"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/encoding/protodelim"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/manager/telemetry"
)

// telemetryWorld is a world whose server keeps metrics of adapters.
func telemetryWorld(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	w.factory()
	var err error
	w.server.telemetry, err = telemetry.New(telemetry.Options{
		Incarnation: func(adapter string) (int64, bool) {
			item, ok := w.cache.View(keyspace.Adapters).Get(adapter)
			if !ok {
				return 0, false
			}
			return item.CreateRevision, true
		},
		Replicas: func() []string { return []string{"m1.example.net:7440"} }, Adapters: func() int { return 2 },
		Log: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(), Now: w.clock.now,
	})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func pushBody(t *testing.T, name string, value float64) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := protodelim.MarshalTo(z, &dto.MetricFamily{
		Name: &name, Type: dto.MetricType_COUNTER.Enum(), Metric: []*dto.Metric{{Counter: &dto.Counter{Value: &value}}},
	}); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// push pushes for an adapter; the answer's status and problem are returned.
func (w *world) push(adapter, token string, sequence, base int, body []byte) (int, http.Header, string) {
	w.t.Helper()
	r, err := http.NewRequest(http.MethodPost, w.url+"/api/v1/adapters/"+adapter+"/metrics", bytes.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	r.Header = http.Header{
		"Authorization": {"Bearer " + token}, "Content-Type": {"application/vnd.google.protobuf"}, "Content-Encoding": {"gzip"},
		"Cyphonic-Metrics-Boot": {"boot-one"}, "Cyphonic-Metrics-Sequence": {fmt.Sprint(sequence)}, "Cyphonic-Metrics-Base": {fmt.Sprint(base)},
	}
	a, err := w.send(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer a.Body.Close()
	raw, _ := io.ReadAll(a.Body)
	var p api.Problem
	_ = json.Unmarshal(raw, &p)
	return a.StatusCode, a.Header, p.Type
}

func TestAnAdapterPushesAndPrometheusReads(t *testing.T) {
	w := telemetryWorld(t)
	own := w.tokenOf("a1")
	if code, _, _ := w.push("a1", own, 1, 0, pushBody(t, "cyphonic_one_total", 7)); code != http.StatusNoContent {
		t.Fatalf("the push was answered with %d", code)
	}
	page := w.must(200, "GET", "/api/v1/telemetry/metrics", "")
	if !strings.Contains(page.raw, `cyphonic_one_total{adapter="a1"} 7`+"\n") || !strings.HasPrefix(page.header.Get("Content-Type"), "text/plain; version=0.0.4") {
		t.Errorf("%v %s", page.header, page.raw)
	}
	if again := w.must(200, "GET", "/api/v1/telemetry/metrics?shard=1&shards=2", "").raw + w.must(200, "GET", "/api/v1/telemetry/metrics?shard=0&shards=2", "").raw; strings.Count(again, "cyphonic_one_total{") != 1 {
		t.Errorf("in two shards: %s", again)
	}
	for _, query := range []string{"shard=2&shards=2", "shard=-1", "shards=0&shard=1", "shards=257", "shard=x"} {
		if r := w.do("GET", "/api/v1/telemetry/metrics?"+query, w.admin, ""); r.code != 400 {
			t.Errorf("%s: %d %s", query, r.code, r.raw)
		}
	}
	w.must(200, "DELETE", "/api/v1/adapters/a1", "")
	if err := w.cache.Fresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if page := w.must(200, "GET", "/api/v1/telemetry/metrics", ""); strings.Contains(page.raw, "cyphonic_one_total") {
		t.Errorf("after the deletion: %s", page.raw)
	}
}

func TestPagesAreCompressedForWhoTakesIt(t *testing.T) {
	w := telemetryWorld(t)
	if code, _, _ := w.push("a1", w.tokenOf("a1"), 1, 0, pushBody(t, "cyphonic_one_total", 7)); code != http.StatusNoContent {
		t.Fatal(code)
	}
	for encoding, compressed := range map[string]bool{"gzip": true, "br, gzip;q=0.5": true, "gzip;q=0": false, "identity": false} {
		r, err := http.NewRequest(http.MethodGet, w.url+"/api/v1/telemetry/metrics", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+w.admin)
		r.Header.Set("Accept-Encoding", encoding)
		a, err := w.send(r)
		if err != nil {
			t.Fatal(err)
		}
		var body io.Reader = a.Body
		if got := a.Header.Get("Content-Encoding") == "gzip"; got != compressed {
			t.Errorf("Accept-Encoding %q: compressed %v", encoding, got)
		} else if got {
			if body, err = gzip.NewReader(a.Body); err != nil {
				t.Fatal(err)
			}
		}
		if raw, err := io.ReadAll(body); err != nil || !strings.Contains(string(raw), "cyphonic_one_total{") {
			t.Errorf("Accept-Encoding %q: %v %q", encoding, err, raw)
		}
		_ = a.Body.Close()
	}
}

// noise is one message of so many bytes that do not get smaller by compression.
func noise(t *testing.T, size int) []byte {
	t.Helper()
	message := make([]byte, size)
	if _, err := rand.Read(message); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write(append(binary.AppendUvarint(nil, uint64(size)), message...)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestPushesThatAreRefused(t *testing.T) {
	good := pushBody(t, "cyphonic_one_total", 7)
	for _, row := range []struct {
		name           string
		sequence, base int
		body           []byte
		code           int
		problem        string
	}{
		{"a base that is not here", 9, 8, good, 409, typeMetricsBase},
		{"an older one", 3, 0, good, 409, typeMetricsBase},
		{"a base after itself", 7, 7, good, 400, typeInvalid},
		{"no sequence", 0, 0, good, 400, typeInvalid},
		{"no metrics", 7, 0, []byte("cyphonic_one_total 7\n"), 400, typeInvalid},
		{"too large", 7, 0, noise(t, 900_000), 413, typeBlank},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := telemetryWorld(t)
			token := w.tokenOf("a1")
			if code, _, _ := w.push("a1", token, 5, 0, good); code != http.StatusNoContent {
				t.Fatal(code)
			}
			code, _, problem := w.push("a1", token, row.sequence, row.base, row.body)
			if code != row.code || problem != row.problem {
				t.Errorf("%d %s, want %d %s", code, problem, row.code, row.problem)
			}
		})
	}
}

func TestWhoMayPushAndRead(t *testing.T) {
	w := telemetryWorld(t)
	good := pushBody(t, "cyphonic_one_total", 7)
	if code, _, _ := w.push("a2", w.tokenOf("a1"), 1, 0, good); code != 403 {
		t.Errorf("an adapter pushed for another one: %d", code)
	}
	if code, _, _ := w.push("a1", "wrong", 1, 0, good); code != 401 {
		t.Errorf("anybody pushed: %d", code)
	}
	for _, path := range []string{"/api/v1/telemetry/metrics", "/api/v1/telemetry/targets", "/metrics"} {
		if r := w.do("GET", path, w.tokenOf("a1"), ""); r.code != 403 {
			t.Errorf("an adapter read %s: %d", path, r.code)
		}
		if r := w.do("GET", path, "", ""); r.code != 401 {
			t.Errorf("anybody read %s: %d", path, r.code)
		}
	}
	made := w.must(201, "POST", "/api/v1/apitokens", resource("APIToken", "prometheus", `{"rules":[{"verbs":["get"],"kinds":["Metrics"]}]}`))
	for _, path := range []string{"/api/v1/telemetry/metrics", "/metrics"} {
		if r := w.do("GET", path, made.text("status.token"), ""); r.code != 200 {
			t.Errorf("the token of Prometheus at %s: %d %s", path, r.code, r.raw)
		}
	}
	if r := w.do("GET", "/api/v1/networks", made.text("status.token"), ""); r.code != 403 {
		t.Errorf("the token of Prometheus reads networks: %d", r.code)
	}
}

func TestTooManyPushesAreAskedToWait(t *testing.T) {
	w := telemetryWorld(t)
	token, good := w.tokenOf("a1"), pushBody(t, "cyphonic_one_total", 7)
	for sequence := 1; sequence < 20; sequence++ {
		code, header, _ := w.push("a1", token, sequence, 0, good)
		if code == http.StatusTooManyRequests {
			if header.Get("Retry-After") != "15" {
				t.Errorf("Retry-After: %q", header.Get("Retry-After"))
			}
			return
		}
		if code != http.StatusNoContent {
			t.Fatal(code)
		}
	}
	t.Error("twenty pushes at once were taken")
}

func TestTargetsAreWhatPrometheusWants(t *testing.T) {
	w := telemetryWorld(t)
	r, err := http.NewRequest(http.MethodGet, w.url+"/api/v1/telemetry/targets", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+w.admin)
	a, err := w.send(r)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	var groups []api.TargetGroup
	if err := json.NewDecoder(a.Body).Decode(&groups); err != nil || a.Header.Get("Content-Type") != "application/json" {
		t.Fatalf("%v, %s", err, a.Header.Get("Content-Type"))
	}
	if len(groups) != 2 || groups[1].Targets[0] != "m1.example.net:7440" || groups[1].Labels["__param_shards"] != "1" {
		t.Errorf("%+v", groups)
	}
}

func TestAManagerWithoutTelemetrySaysSo(t *testing.T) {
	w := newWorld(t)
	w.factory()
	start := time.Now()
	if code, header, _ := w.push("a1", w.tokenOf("a1"), 1, 0, nil); code != 503 || header.Get("Retry-After") == "" {
		t.Errorf("%d %v after %v", code, header, time.Since(start))
	}
	if r := w.do("GET", "/api/v1/telemetry/metrics", w.admin, ""); r.code != 503 {
		t.Errorf("%d", r.code)
	}
}
