package rest

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/manager/access"
	"github.com/cyphonic/cyphonic/manager/store"
)

// fleet writes general nodes of 100 adapters: every hundredth is a camera.
func (w *world) fleet(n int) {
	w.t.Helper()
	for chunk := range slices.Chunk(slices.Collect(func(yield func(int) bool) {
		for i := range n {
			if !yield(i) {
				return
			}
		}
	}), store.MaxWrites) {
		var tx store.Transaction
		for _, i := range chunk {
			labels := `"kind":"sensor"`
			if i%100 == 0 {
				labels = `"kind":"camera"`
			}
			name := fmt.Sprintf("g%07d", i)
			tx.Writes = append(tx.Writes, store.Put(keyspace.Resource(keyspace.GeneralNodes, name), []byte(storedFull(name, fmt.Sprintf("a%d", i%100), labels))))
		}
		if _, err := w.store.Commit(w.t.Context(), tx); err != nil {
			w.t.Fatal(err)
		}
	}
}

// storedFull is storedGN with everything that a general node in use has: about 1 KiB.
func storedFull(name, adapter, labels string) string {
	return fmt.Sprintf(`{"apiVersion":"cyphonic/v1","kind":"GeneralNode","metadata":{"creationTimestamp":"2026-01-02T15:04:05.123456789Z","generation":3,"labels":{%s},`+
		`"managedFields":[{"fields":["/metadata/labels/kind","/spec/adapter","/spec/addressMode","/spec/authentication/method","/spec/mac","/spec/network"],"manager":"gitsource/fleet","operation":"Apply","time":"2026-01-02T15:04:05.123456789Z"}],`+
		`"name":%q,"uid":"d88fbae4-9c0b-4a57-8c0f-5b1f6c4a3f10","updateTimestamp":"2026-01-02T15:04:05.123456789Z"},`+
		`"spec":{"adapter":%q,"addressMode":"dual","authentication":{"method":"mac"},"mac":"02:00:00:00:00:01","network":"f"},`+
		`"status":{"conditions":[{"type":"Ready","status":"True","reason":"Up","message":"","lastTransitionTime":"2026-01-02T15:04:05Z"}],"fqdn":"%s.f.example.internal",`+
		`"nodeID":"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08","observedGeneration":3,"phase":"Up","virtualIPv4":"10.1.0.2","virtualIPv6":"fd00:1::2"}}`,
		labels, name, adapter, name)
}

// timed does requests one after the other and reports how long they took.
func (w *world) timed(b *testing.B, path string) {
	handler := w.server.Handler()
	var times []time.Duration
	bytes := 0
	for b.Loop() {
		r := httptest.NewRequest("GET", path, nil)
		r.Header.Set("Authorization", "Bearer "+w.admin)
		answer := httptest.NewRecorder()
		start := time.Now()
		handler.ServeHTTP(answer, r)
		times = append(times, time.Since(start))
		if answer.Code != 200 {
			b.Fatalf("%d %s", answer.Code, answer.Body)
		}
		bytes = answer.Body.Len()
	}
	slices.Sort(times)
	b.ReportMetric(float64(times[len(times)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(times[len(times)*99/100].Microseconds())/1000, "p99-ms")
	b.ReportMetric(float64(bytes)/1024, "KiB/page")
}

// BenchmarkListPage reads pages of 100,000 general nodes, with the linearizable
// read of etcd that the first page of every list needs.
func BenchmarkListPage(b *testing.B) {
	w := newWorld(b)
	w.fleet(100_000)
	first := w.must(200, "GET", "/api/v1/generalnodes", "")
	next := "/api/v1/generalnodes?continue=" + first.text("metadata.continue")
	half := page{revision: 0, after: "g0050000", total: unknownTotal}
	half.revision = w.cache.View(keyspace.GeneralNodes).Revision()
	scope := query{kind: kindOf(keyspace.GeneralNodes), text: "\x00"}.scope()
	for _, c := range []struct{ name, path string }{
		{"first", "/api/v1/generalnodes"},
		{"limit=100", "/api/v1/generalnodes?limit=100"},
		{"next", next},
		{"middle", "/api/v1/generalnodes?continue=" + half.token(scope)},
		{"selector=1in100", "/api/v1/generalnodes?labelSelector=kind%3Dcamera"},
		{"selector=none", "/api/v1/generalnodes?labelSelector=kind%3Dnothing"},
		{"field=adapter", "/api/v1/generalnodes?fieldSelector=spec.adapter%3Da7"},
		{"adapter", "/api/v1/adapters/a7/generalnodes"},
	} {
		b.Run(c.name, func(b *testing.B) { w.timed(b, c.path) })
	}
	w.serve(w.store) // a replica that has not answered the first page
	w.put(keyspace.GeneralNodes, "z", storedFull("z", "a1", ""))
	w.must(200, "GET", "/api/v1/generalnodes?limit=1", "")
	b.Run("next at another replica", func(b *testing.B) { w.timed(b, next) })
}

// sink is an answer to a watch that counts lines.
type sink struct {
	header http.Header
	lines  *atomic.Int64
}

func (s sink) Header() http.Header { return s.header }
func (s sink) WriteHeader(int)     {}
func (s sink) Flush()              {}
func (s sink) Write(p []byte) (int, error) {
	s.lines.Add(int64(strings.Count(string(p), "\n")))
	return len(p), nil
}

// BenchmarkWatches holds 10,000 watches of adapters and changes general nodes of
// one of them. What a watch costs is reported apart: goroutines, and bytes of
// heap and stacks, without those of its connection.
func BenchmarkWatches(b *testing.B) {
	w := newWorld(b)
	w.server.heartbeat = heartbeatInterval
	handler := w.server.Handler()
	const watches = 10_000
	var lines atomic.Int64
	adapters := 0
	ctx, cancel := context.WithCancel(context.Background())
	var wait sync.WaitGroup
	for chunk := range slices.Chunk(make([]store.Write, watches), store.MaxWrites) {
		for i := range chunk {
			name := fmt.Sprintf("b%d", adapters)
			chunk[i] = store.Put(keyspace.Resource(keyspace.Adapters, name), []byte(`{"apiVersion":"cyphonic/v1","kind":"Adapter","metadata":{"name":"`+name+`","uid":"u"},"spec":{"network":"f"}}`))
			adapters++
		}
		if _, err := w.store.Commit(b.Context(), store.Transaction{Writes: chunk}); err != nil {
			b.Fatal(err)
		}
	}
	w.must(200, "GET", "/api/v1/adapters?limit=1", "") // the cache has them
	before := memory()
	goroutines := runtime.NumGoroutine()
	for i := range watches {
		name := fmt.Sprintf("b%d", i)
		who := access.Principal{Kind: access.Adapter, Name: name, UID: "u", NotAfter: time.Now().Add(time.Hour)}
		r := httptest.NewRequest("GET", "/api/v1/adapters/"+name+"/generalnodes?watch=true", nil).WithContext(WithPrincipal(ctx, who))
		wait.Go(func() { handler.ServeHTTP(sink{http.Header{}, &lines}, r) })
	}
	for lines.Load() < watches { // the first BOOKMARK of each
		time.Sleep(time.Millisecond)
	}
	held, started := memory()-before, runtime.NumGoroutine()-goroutines
	seen := lines.Load()
	for i := 0; b.Loop(); i++ {
		w.put(keyspace.GeneralNodes, "g", storedFull("g", "b77", fmt.Sprintf(`"i":"%d"`, i)))
		for deadline := time.Now().Add(time.Second); lines.Load() == seen; runtime.Gosched() {
			if time.Now().After(deadline) {
				b.Fatal("the event does not arrive")
			}
		}
		seen = lines.Load()
	}
	b.ReportMetric(float64(held)/watches, "B/watch")
	b.ReportMetric(float64(started)/watches, "goroutines/watch")
	cancel()
	wait.Wait()
}

// memory is what heap and stacks use.
func memory() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}
