package telemetry

import (
	"fmt"
	"hash/fnv"
	"io"
	"maps"
	"slices"
	"strings"
	"unique"
)

// ContentType is that of a page.
const ContentType = "text/plain; version=0.0.4; charset=utf-8"

// ageMetric says how old what a page shows of an adapter is. It is made here, from no registry, so that its series end with those of the adapter.
const (
	ageMetric = "cyphonic_manager_telemetry_push_age_seconds"
	ageHelp   = "Time since the latest push of the adapter."
)

// CheckShard says whether there can be such a shard.
func CheckShard(shard, shards int) error {
	if shards < 1 || shards > maxShards || shard < 0 || shard >= shards {
		return fmt.Errorf("there is no shard %d of %d: shards are 1 to %d, and shard is from 0 to one less than that", shard, shards, maxShards)
	}
	return nil
}

// Write writes the page of one shard: the metrics in the order of their names, the series of each in the order of the adapters.
func (t *Telemetry) Write(w io.Writer, shard, shards int) error {
	if err := CheckShard(shard, shards); err != nil {
		return err
	}
	records := t.shown(shard, shards)
	if err := writeAges(w, records); err != nil {
		return err
	}
	parts := make(map[string][]family)
	for _, r := range records {
		for _, f := range r.families {
			parts[f.name()] = append(parts[f.name()], f)
		}
	}
	var header []byte
	for _, name := range slices.Sorted(maps.Keys(parts)) {
		about := prevailing(parts[name])
		header = appendHeader(header[:0], about)
		if _, err := w.Write(header); err != nil {
			return err
		}
		for _, f := range parts[name] {
			if f.about.Value().kind != about.kind {
				t.metrics.refused.WithLabelValues(refusedConflict).Inc()
				continue
			}
			if _, err := w.Write(f.text); err != nil {
				return err
			}
		}
	}
	return nil
}

// prevailing is the description that most adapters give: a metric has one type on a page, and no single adapter decides which.
func prevailing(families []family) description {
	votes := make(map[unique.Handle[description]]int, 1)
	best := families[0].about
	for _, f := range families {
		votes[f.about]++
		if n := votes[f.about]; n > votes[best] || n == votes[best] && f.about.Value().kind < best.Value().kind {
			best = f.about
		}
	}
	return best.Value()
}

func appendHeader(b []byte, about description) []byte {
	if about.help != "" {
		b = append(append(append(b, "# HELP "...), about.name...), ' ')
		b = append(appendHelp(b, about.help), '\n')
	}
	b = append(b, "# TYPE "...)
	return append(append(append(append(b, about.name...), ' '), about.kind...), '\n')
}

func writeAges(w io.Writer, records []shownRecord) error {
	if len(records) == 0 {
		return nil
	}
	b := appendHeader(nil, description{name: ageMetric, kind: "gauge", help: ageHelp})
	for _, r := range records {
		b = append(appendEscaped(append(append(b, ageMetric...), `{adapter="`...), r.name), `"} `...)
		b = append(appendNumber(b, r.age.Seconds()), '\n')
	}
	_, err := w.Write(b)
	return err
}

// shardOf is the shard of an adapter: the same at every manager.
func shardOf(adapter string, shards int) int {
	if shards <= 1 {
		return 0
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(adapter))
	return int(h.Sum32() % uint32(shards))
}

// shards is how many shards so many adapters are shown in: a power of two, so that it changes seldom.
func shards(adapters int) int {
	n := 1
	for n < maxShards && n*shardAdapters < adapters {
		n *= 2
	}
	return n
}

// Kinds of targets, in the label KindLabel.
const (
	KindLabel   = "__meta_cyphonic_kind"
	KindManager = "manager"
	KindAdapter = "adapters"
)

// Target is a group of targets for the HTTP service discovery of Prometheus.
type Target struct {
	Addresses []string
	Labels    map[string]string
}

// Targets lists what there is to scrape: every live manager for its own metrics, and every shard of every live manager.
func (t *Telemetry) Targets() []Target {
	addresses := slices.Sorted(slices.Values(t.o.Replicas()))
	addresses = slices.DeleteFunc(slices.Compact(addresses), func(a string) bool { return strings.TrimSpace(a) == "" })
	out := []Target{{Addresses: addresses, Labels: map[string]string{KindLabel: KindManager, "__scheme__": "https", "__metrics_path__": "/metrics"}}}
	n := shards(t.o.Adapters())
	for i := range n {
		out = append(out, Target{Addresses: addresses, Labels: map[string]string{
			KindLabel: KindAdapter, "__scheme__": "https", "__metrics_path__": "/api/v1/telemetry/metrics",
			"__param_shard": fmt.Sprint(i), "__param_shards": fmt.Sprint(n), "shard": fmt.Sprintf("%d/%d", i, n),
		}})
	}
	return out
}
