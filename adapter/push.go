package adapter

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/encoding/protodelim"
	"google.golang.org/protobuf/proto"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/api/client"
)

// pusher sends the adapter's metrics to the manager: at first everything, then the families that have changed since what the manager has acknowledged.
// Values are cumulative, so nothing waits while no manager answers: only the latest state is ever sent, and of the acknowledged one only a hash of
// each family is kept. A manager that does not have that state says so (409) and gets everything.
type pusher struct {
	adapter  string
	manager  *atomic.Pointer[client.Client]
	gatherer prometheus.Gatherer
	metrics  *metrics
	log      *slog.Logger
	boot     string
	seed     maphash.Seed

	// Owned by Run.
	sequence     int64
	base         int64 // sequence of the acknowledged state; 0: none
	acknowledged map[string]uint64
}

// Results of pushes; the values of the label "result".
const (
	pushOK          = "ok"
	pushBase        = "base"    // the manager does not have the state that the push changes
	pushRefused     = "refused" // the manager has another reason
	pushUnreachable = "unreachable"
)

func pushResults() []string { return []string{pushOK, pushBase, pushRefused, pushUnreachable} }

func newPusher(adapter string, manager *atomic.Pointer[client.Client], g prometheus.Gatherer, m *metrics, log *slog.Logger) *pusher {
	return &pusher{
		adapter: adapter, manager: manager, gatherer: g, metrics: m, log: log,
		boot: uuid.NewString(), seed: maphash.MakeSeed(),
	}
}

// Run pushes until ctx ends, and then tells the manager that the adapter's metrics are no more.
func (p *pusher) Run(ctx context.Context) error {
	wait := rand.N(pushStart)
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastReport)
			defer cancel()
			p.leave(last)
			return nil
		case <-time.After(wait):
		}
		wait = pushInterval*9/10 + rand.N(pushInterval/5)
		if p.manager.Load() == nil {
			wait = time.Second // the login is under way
			continue
		}
		if err := p.push(ctx); err != nil && ctx.Err() == nil {
			p.log.Debug("metrics not pushed", "error", err)
			wait = max(wait, client.RetryAfter(err))
		}
	}
}

// push sends what has changed, and everything if the manager asks for it.
func (p *pusher) push(ctx context.Context) error {
	families, err := p.gather()
	if err != nil {
		return err
	}
	if p.base != 0 {
		err := p.send(ctx, families, p.base)
		if client.StatusOf(err) != http.StatusConflict {
			return err
		}
		p.base, p.acknowledged = 0, nil
	}
	return p.send(ctx, families, 0)
}

// leave says that there is nothing more to show.
func (p *pusher) leave(ctx context.Context) {
	if p.manager.Load() == nil || p.base == 0 {
		return
	}
	if err := p.send(ctx, nil, 0); err != nil {
		p.log.Debug("the manager shows the last metrics until they are stale", "error", err)
	}
}

// encodedFamily is one family as it is sent.
type encodedFamily struct {
	name string
	hash uint64
	body []byte
}

// gather encodes what there is now, as far as the manager takes it.
func (p *pusher) gather() ([]encodedFamily, error) {
	gathered, err := p.gatherer.Gather()
	if len(gathered) == 0 && err != nil {
		return nil, fmt.Errorf("gather metrics: %w", err)
	}
	leftOut := fit(gathered, maxPushSeries)
	p.metrics.leftOut.Set(float64(leftOut))
	out := make([]encodedFamily, 0, len(gathered))
	options := protodelim.MarshalOptions{MarshalOptions: proto.MarshalOptions{Deterministic: true}}
	for _, f := range gathered {
		if len(f.GetMetric()) == 0 || !strings.HasPrefix(f.GetName(), "cyphonic_") && !strings.HasPrefix(f.GetName(), "go_") && !strings.HasPrefix(f.GetName(), "process_") {
			continue
		}
		strip(f)
		var b bytes.Buffer
		if _, err := options.MarshalTo(&b, f); err != nil {
			return nil, fmt.Errorf("encode %s: %w", f.GetName(), err)
		}
		out = append(out, encodedFamily{name: f.GetName(), hash: maphash.Bytes(p.seed, b.Bytes()), body: b.Bytes()})
	}
	return out, nil
}

// send sends what differs from the base; base 0 sends everything.
func (p *pusher) send(ctx context.Context, families []encodedFamily, base int64) error {
	manager := p.manager.Load()
	if manager == nil {
		return errNoManager
	}
	body, state, err := p.difference(families, base)
	if err != nil {
		return err
	}
	p.sequence++
	ctx, cancel := context.WithTimeout(ctx, pushTimeout)
	defer cancel()
	err = manager.PushAdapterMetrics(ctx, p.adapter, api.PushAdapterMetricsParams{
		CyphonicMetricsBoot: p.boot, CyphonicMetricsSequence: p.sequence, CyphonicMetricsBase: base,
	}, body)
	p.metrics.pushBytes.Add(float64(len(body)))
	p.metrics.pushes.WithLabelValues(resultOf(err)).Inc()
	if err != nil {
		return err
	}
	p.base, p.acknowledged = p.sequence, state
	return nil
}

// difference is the body of a push, and the state that the manager has after it.
func (p *pusher) difference(families []encodedFamily, base int64) ([]byte, map[string]uint64, error) {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	state := make(map[string]uint64, len(families))
	var failed error
	for _, f := range families {
		state[f.name] = f.hash
		if old, known := p.acknowledged[f.name]; base == 0 || !known || old != f.hash {
			_, err := w.Write(f.body)
			failed = errors.Join(failed, err)
		}
	}
	if base != 0 {
		for name := range p.acknowledged { // a family without metrics is one that is gone
			if _, there := state[name]; !there {
				_, err := protodelim.MarshalTo(w, &dto.MetricFamily{Name: &name, Type: dto.MetricType_UNTYPED.Enum()})
				failed = errors.Join(failed, err)
			}
		}
	}
	failed = errors.Join(failed, w.Close())
	return b.Bytes(), state, failed
}

func resultOf(err error) string {
	switch status := client.StatusOf(err); {
	case err == nil:
		return pushOK
	case status == http.StatusConflict:
		return pushBase
	case status != 0:
		return pushRefused
	}
	return pushUnreachable
}

// strip takes away what the manager does not show.
func strip(f *dto.MetricFamily) {
	for _, m := range f.GetMetric() {
		switch {
		case m.Counter != nil:
			m.Counter.CreatedTimestamp, m.Counter.Exemplar = nil, nil
		case m.Histogram != nil:
			m.Histogram.CreatedTimestamp = nil
			for _, b := range m.Histogram.GetBucket() {
				b.Exemplar = nil
			}
		case m.Summary != nil:
			m.Summary.CreatedTimestamp = nil
		}
	}
}

// deviceLabel is the label of series of one general node.
const deviceLabel = "general_node"

// fit takes the series of general nodes away that are over a number of series in all, and tells how many those were. Either all series of a general node
// stay or none.
func fit(families []*dto.MetricFamily, limit int) (leftOut int) {
	total := 0
	perDevice := make(map[string]int)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			n := seriesOf(m)
			total += n
			if device, ok := deviceOf(m); ok {
				perDevice[device] += n
			}
		}
	}
	names := make([]string, 0, len(perDevice))
	for name := range perDevice {
		names = append(names, name)
	}
	slices.Sort(names)
	out := make(map[string]bool)
	for _, name := range slices.Backward(names) {
		if total <= limit {
			break
		}
		total -= perDevice[name]
		leftOut += perDevice[name]
		out[name] = true
	}
	if len(out) == 0 {
		return 0
	}
	for _, f := range families {
		f.Metric = slices.DeleteFunc(f.Metric, func(m *dto.Metric) bool {
			device, ok := deviceOf(m)
			return ok && out[device]
		})
	}
	return leftOut
}

func deviceOf(m *dto.Metric) (string, bool) {
	for _, l := range m.GetLabel() {
		if l.GetName() == deviceLabel {
			return l.GetValue(), true
		}
	}
	return "", false
}

// seriesOf counts the lines that a metric is shown as.
func seriesOf(m *dto.Metric) int {
	switch {
	case m.Histogram != nil:
		return len(m.Histogram.GetBucket()) + 3
	case m.Summary != nil:
		return len(m.Summary.GetQuantile()) + 2
	}
	return 1
}
