package telemetry

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"testing"

	dto "github.com/prometheus/client_model/go"
)

// registryOf resembles what an adapter with so many general nodes pushes: about 330 series of its own and 8 for each of them.
func registryOf(generalNodes int, value float64) []*dto.MetricFamily {
	var families []*dto.MetricFamily
	for i := range 60 {
		f := counter(fmt.Sprintf("cyphonic_component_what_it_counts_%02d_total", i), value)
		f.Metric = nil
		for j := range 5 + i%2 {
			f.Metric = append(f.Metric, counter("", value+float64(i*j), "direction", "out", "reason", fmt.Sprintf("some_reason_%d", j)).Metric[0])
		}
		families = append(families, f)
	}
	for _, name := range []string{"phase", "rtt_seconds", "tunnels", "relayed_tunnels"} {
		f := counter("cyphonic_adapter_general_node_"+name, value)
		f.Metric = nil
		for i := range generalNodes {
			f.Metric = append(f.Metric, counter("", value/3+float64(i), "general_node", fmt.Sprintf("camera-%04d", i)).Metric[0])
		}
		families = append(families, f)
	}
	for _, name := range []string{"bytes", "packets"} {
		f := counter("cyphonic_adapter_general_node_"+name+"_total", value)
		f.Metric = nil
		for i := range generalNodes {
			for _, direction := range []string{"in", "out"} {
				f.Metric = append(f.Metric, counter("", value*1e6+float64(i), "general_node", fmt.Sprintf("camera-%04d", i), "direction", direction).Metric[0])
			}
		}
		families = append(families, f)
	}
	return families
}

func crowd(b *testing.B, adapters, generalNodes int) *site {
	b.Helper()
	s := newSite(b)
	for i := range adapters {
		name := fmt.Sprintf("adapter-%05d", i)
		s.adapters[name] = 1
		s.full(b, name, registryOf(generalNodes, float64(i))...)
	}
	return s
}

// BenchmarkPageOf1000Adapters writes what Prometheus scrapes from one manager with 1,000 adapters of 50 general nodes.
func BenchmarkPageOf1000Adapters(b *testing.B) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	s := crowd(b, 1000, 50)
	runtime.GC()
	runtime.ReadMemStats(&after)
	_, _, series, stated := s.usage()
	b.ReportAllocs()
	for b.Loop() {
		counting := &counter64{}
		if err := s.Write(counting, 0, 1); err != nil {
			b.Fatal(err)
		}
		b.SetBytes(counting.n)
	}
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/1000, "B/adapter")
	b.ReportMetric(float64(stated)/1000, "stated-B/adapter")
	b.ReportMetric(float64(series)/1000, "series/adapter")
	runtime.KeepAlive(s)
}

type counter64 struct{ n int64 }

func (c *counter64) Write(b []byte) (int, error) {
	c.n += int64(len(b))
	return len(b), nil
}

// BenchmarkPush takes everything that an adapter with 50 general nodes has.
func BenchmarkPush(b *testing.B) {
	s := crowd(b, 1, 50)
	compressed, err := io.ReadAll(body(b, registryOf(50, 7)...))
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(compressed)))
	b.ReportAllocs()
	sequence := uint64(1)
	for b.Loop() {
		sequence++
		s.now = s.now.Add(PushInterval)
		if err := s.Push(context.Background(), Push{"adapter-00000", "boot-one", sequence, 0}, bytes.NewReader(compressed)); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkCompressedShard writes what Prometheus scrapes in one shard of 250 adapters of 50 general nodes, with gzip.
func BenchmarkCompressedShard(b *testing.B) {
	s := crowd(b, shardAdapters, 50)
	var compressed counter64
	for b.Loop() {
		compressed = counter64{}
		z, err := gzip.NewWriterLevel(&compressed, gzip.BestSpeed)
		if err != nil {
			b.Fatal(err)
		}
		if err := errors.Join(s.Write(z, 0, 1), z.Close()); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(compressed.n), "B/page")
}
