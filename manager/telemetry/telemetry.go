// Package telemetry takes the metrics that adapters push, keeps the latest of each in memory and shows them to Prometheus with the label adapter.
//
// Adapters push to whichever manager they reach, so a manager shows only those that push to it, and at any time at most one manager shows an adapter:
// one that is new here is shown only when every other manager must have given it up (staleAfter), at once if there is no other; and a push that builds on
// one which this manager has not seen shows that another has, so that it is not shown here any more. Series can therefore have the same labels whichever
// manager they come from, and a counter never seems to go back because two managers show it in turn.
//
// Nothing is stored: values are cumulative, so that only the latest matters, and an adapter that finds another manager sends everything. Whatever an
// adapter sends is bounded (limits.go), checked and rendered before it is kept; it can neither name another adapter nor break the page.
//
// The package must not know HTTP or etcd, nor decide who may push or read.
package telemetry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Errors of Push. Reason tells which of them it was, for the counter.
var (
	// ErrBase says that the push builds on one that is not here: send everything.
	ErrBase = errors.New("the push builds on one that this manager does not have; send everything, with base 0")
	// ErrOlder says that a later push is here already.
	ErrOlder = errors.New("a later push of this run is here already")
	// ErrMalformed says that the body is not what was asked for.
	ErrMalformed = errors.New("the body is not a gzip'ed sequence of length-delimited io.prometheus.client.MetricFamily messages")
	// ErrTooLarge says that the body is over a bound.
	ErrTooLarge = errors.New("the push is too large")
	// ErrTooOften says that the adapter pushes too often.
	ErrTooOften = errors.New("the adapter pushes too often")
	// ErrFull says that this manager keeps no more.
	ErrFull = errors.New("this manager keeps the metrics of no more adapters")
	// ErrGone says that there is no such adapter.
	ErrGone = errors.New("there is no such adapter")
)

// Options are what Telemetry needs.
type Options struct {
	// Incarnation tells which creation of an adapter there is now (the revision at which it was created); false if there
	// is none. It is asked often and must be quick.
	Incarnation func(adapter string) (int64, bool)
	// Replicas are the addresses (host:port) of all live managers, this one included; none if that is not known yet.
	Replicas func() []string
	// Adapters is how many adapters there are, pushing or not, for the number of shards.
	Adapters   func() int
	Log        *slog.Logger
	Registerer prometheus.Registerer
	Now        func() time.Time // nil: time.Now
	MaxBytes   int64            // 0: defaultMaxBytes
}

// Push is one push without its body.
type Push struct {
	Adapter  string
	Boot     string // the run of the adapter
	Sequence uint64 // grows within a run
	Base     uint64 // the sequence that this one changes; 0: everything
}

// Telemetry keeps what adapters push. It is safe for concurrent use.
type Telemetry struct {
	o        Options
	metrics  *metrics
	decoding chan struct{}

	mu      sync.Mutex
	records map[string]*record
	bytes   int64
	pushing map[string]bool // adapters whose push is being taken; the others are absent
}

// New checks the options.
func New(o Options) (*Telemetry, error) {
	if o.Incarnation == nil || o.Replicas == nil || o.Adapters == nil || o.Log == nil || o.Registerer == nil {
		return nil, errors.New("telemetry: Incarnation, Replicas, Adapters, Log and Registerer are required")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.MaxBytes == 0 {
		o.MaxBytes = defaultMaxBytes
	}
	t := &Telemetry{o: o, decoding: make(chan struct{}, maxDecoding), records: make(map[string]*record), pushing: make(map[string]bool)}
	var err error
	if t.metrics, err = newMetrics(o.Registerer, t); err != nil {
		return nil, fmt.Errorf("telemetry: %w", err)
	}
	return t, nil
}

// Run frees what is stale until ctx ends.
func (t *Telemetry) Run(ctx context.Context) error {
	ticker := time.NewTicker(sweepInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			t.sweep()
		}
	}
}

func (t *Telemetry) sweep() {
	now := t.o.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	for name, r := range t.records {
		if r.stale(now) || !t.current(name, r) {
			t.drop(name, r)
		}
	}
}

// current says whether a record is of the adapter that there is now. It is called under mu.
func (t *Telemetry) current(name string, r *record) bool {
	incarnation, ok := t.o.Incarnation(name)
	return ok && incarnation == r.incarnation
}

func (t *Telemetry) drop(name string, r *record) {
	t.bytes -= r.bytes
	delete(t.records, name)
}

// Push takes one push. Families that are refused are counted and left out; an error refuses the push as a whole.
func (t *Telemetry) Push(ctx context.Context, p Push, body io.Reader) error {
	err := t.push(ctx, p, body)
	t.metrics.pushed(err)
	return err
}

func (t *Telemetry) push(ctx context.Context, p Push, body io.Reader) error {
	incarnation, ok := t.o.Incarnation(p.Adapter)
	if !ok {
		return ErrGone
	}
	if done, err := t.admit(p, incarnation); done || err != nil {
		return err
	}
	if !t.begin(p.Adapter) {
		return ErrTooOften
	}
	defer t.end(p.Adapter)
	// All of it is here before it takes a place that others wait for: a body can come slowly.
	compressed, err := receive(body)
	if err != nil {
		return err
	}
	select {
	case t.decoding <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-t.decoding }()
	pushed, err := t.decode(p.Adapter, bytes.NewReader(compressed))
	if err != nil {
		return err
	}
	return t.take(p, incarnation, pushed)
}

// begin says whether no other push of the adapter is being taken. An adapter waits for the answer to one before it sends the next.
func (t *Telemetry) begin(adapter string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.pushing[adapter] {
		return false
	}
	t.pushing[adapter] = true
	return true
}

func (t *Telemetry) end(adapter string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.pushing, adapter)
}

// admit refuses what needs no look at the body. done says that the push is here already.
func (t *Telemetry) admit(p Push, incarnation int64) (done bool, err error) {
	now := t.o.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.records[p.Adapter]
	if r != nil && (r.stale(now) || r.incarnation != incarnation) {
		t.drop(p.Adapter, r)
		r = nil
	}
	if r == nil {
		switch {
		case p.Base != 0:
			return false, ErrBase
		case len(t.records) >= maxAdapters || t.bytes >= t.o.MaxBytes:
			return false, ErrFull
		}
		return false, nil
	}
	if !r.allowance.take(now) {
		return false, ErrTooOften
	}
	return r.admit(p)
}

// take puts the families of a push into the record of its adapter.
func (t *Telemetry) take(p Push, incarnation int64, pushed []family) error {
	now := t.o.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.records[p.Adapter]
	if r == nil {
		if p.Base != 0 {
			return ErrBase
		}
		r = &record{incarnation: incarnation, allowance: newAllowance(now), shownFrom: now}
		if !t.alone() {
			r.shownFrom = now.Add(staleAfter)
		}
		t.records[p.Adapter] = r
	} else if done, err := r.admit(p); done || err != nil { // another push came in between
		return err
	}
	if r.away { // it comes back from another manager
		r.away, r.shownFrom = false, now.Add(staleAfter)
		if t.alone() {
			r.shownFrom = now
		}
	}
	families := pushed
	if p.Base != 0 {
		families = merge(r.families, pushed)
	}
	families, left := bound(families)
	t.metrics.refused.WithLabelValues(refusedSeries).Add(float64(left))
	size := sizeOf(families)
	if over := t.bytes - r.bytes + size; over > t.o.MaxBytes && size > r.bytes {
		if len(r.families) == 0 {
			t.drop(p.Adapter, r)
		}
		return ErrFull
	}
	t.bytes += size - r.bytes
	r.bytes, r.families = size, families
	r.boot, r.sequence, r.pushed = p.Boot, p.Sequence, now
	return nil
}

// alone says whether no other manager can show an adapter.
func (t *Telemetry) alone() bool { return len(t.o.Replicas()) == 1 }

// shown are the records that may be shown now, of one shard, in the order of their names.
func (t *Telemetry) shown(shard, shards int) []shownRecord {
	now := t.o.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []shownRecord
	for name, r := range t.records {
		if shardOf(name, shards) == shard && r.visible(now) && t.current(name, r) {
			out = append(out, shownRecord{name: name, families: r.families, age: now.Sub(r.pushed)})
		}
	}
	slices.SortFunc(out, func(a, b shownRecord) int { return strings.Compare(a.name, b.name) })
	return out
}

// Names lists the adapters that push to this manager, shown or not.
func (t *Telemetry) Names() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Sorted(maps.Keys(t.records))
}

// usage counts the records and what they hold, for the metrics.
func (t *Telemetry) usage() (shown, held int, series, bytes int64) {
	now := t.o.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, r := range t.records {
		switch {
		case r.visible(now):
			shown++
		case !r.left() && !r.stale(now):
			held++
		}
		for _, f := range r.families {
			series += int64(f.series)
		}
	}
	return shown, held, series, t.bytes
}
