package events

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/manager/store"
)

// Options is what a Recorder needs; all fields are required.
type Options struct {
	Store      store.Store
	Source     string // who notices: "manager"
	Registerer prometheus.Registerer
	Log        *slog.Logger
	Now        func() time.Time
}

// Recorder writes events. Event never blocks; Run writes. A nil Recorder drops
// everything.
type Recorder struct {
	options Options
	written prometheus.Counter
	dropped *prometheus.CounterVec

	mu      sync.Mutex
	pending map[string]*pending  // under mu; by key
	order   []string             // under mu; keys of pending, oldest first
	objects map[string]allowance // under mu; by kind/name

	known map[string]stored // owned by Run
}

// pending is an event that waits to be written.
type pending struct {
	note
	count       int64
	first, last time.Time
}

// stored is what is known about an event that was written.
type stored struct {
	revision int64 // 0: it is not there
	event    api.Event
}

// allowance is how many different events a resource may have now.
type allowance struct {
	left float64
	at   time.Time
}

// NewRecorder returns a recorder and registers its metrics.
func NewRecorder(o Options) (*Recorder, error) {
	r := &Recorder{
		options: o, pending: map[string]*pending{}, objects: map[string]allowance{}, known: map[string]stored{},
		written: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "cyphonic_manager_events_written_total", Help: "Events written, repetitions included.",
		}),
		dropped: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "cyphonic_manager_events_dropped_total", Help: "Events not written, by reason: full, rate, conflict, unavailable, invalid.",
		}, []string{"reason"}),
	}
	if err := errors.Join(o.Registerer.Register(r.written), o.Registerer.Register(r.dropped)); err != nil {
		return nil, fmt.Errorf("register the metrics of events: %w", err)
	}
	return r, nil
}

// Event notes that something happened to a resource: reason is one CamelCase
// word, message one sentence without secrets. network is that of the resource,
// empty for one that belongs to none. It never blocks.
func (r *Recorder) Event(regarding api.ObjectReference, network string, kind api.EventType, reason, message string) {
	if r == nil {
		return
	}
	if len(message) > maxMessageBytes {
		message = strings.ToValidUTF8(message[:maxMessageBytes], "")
	}
	n := note{regarding: regarding, network: network, kind: kind, reason: reason, message: message}
	key, ok := n.key()
	if !ok || regarding.Name == "" {
		r.dropped.WithLabelValues("invalid").Inc()
		return
	}
	now := r.options.Now().UTC()
	r.mu.Lock()
	defer r.mu.Unlock()
	if p := r.pending[key]; p != nil {
		p.count, p.last = p.count+1, now
		return
	}
	if !r.allow(regarding.Kind+"/"+regarding.Name, now) {
		r.dropped.WithLabelValues("rate").Inc()
		return
	}
	if len(r.pending) >= maxPending {
		r.dropped.WithLabelValues("full").Inc()
		return
	}
	r.pending[key] = &pending{note: n, count: 1, first: now, last: now}
	r.order = append(r.order, key)
}

// allow takes from the allowance of a resource; under mu.
func (r *Recorder) allow(object string, now time.Time) bool {
	a, ok := r.objects[object]
	if !ok {
		r.forgetQuiet(now)
		a = allowance{left: objectBurst, at: now}
	}
	if passed := now.Sub(a.at); passed > 0 {
		a.left, a.at = min(objectBurst, a.left+passed.Seconds()/objectInterval.Seconds()), now
	}
	allowed := a.left >= 1
	if allowed {
		a.left--
	}
	r.objects[object] = a
	return allowed
}

// forgetQuiet makes room for another resource; under mu.
func (r *Recorder) forgetQuiet(now time.Time) {
	if len(r.objects) < maxObjects {
		return
	}
	for object, a := range r.objects {
		if now.Sub(a.at) > objectBurst*objectInterval {
			delete(r.objects, object)
		}
	}
	if len(r.objects) >= maxObjects { // all of them are busy: begin anew
		clear(r.objects)
	}
}

// Run writes events until ctx ends, and then what is left.
func (r *Recorder) Run(ctx context.Context) error {
	ticker := time.NewTicker(flushInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWrite)
			defer cancel()
			r.flush(last)
			return nil
		case <-ticker.C:
			r.flush(ctx)
		}
	}
}

// take removes up to maxPerFlush events from those that wait.
func (r *Recorder) take() []*pending {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := min(len(r.order), maxPerFlush)
	out := make([]*pending, 0, n)
	for _, key := range r.order[:n] {
		out = append(out, r.pending[key])
		delete(r.pending, key)
	}
	r.order = slices.Delete(r.order, 0, n)
	return out
}

// flush writes what waits. What cannot be written because the store does not
// answer is dropped: events are worth less than room for newer ones.
func (r *Recorder) flush(ctx context.Context) {
	for batch := range slices.Chunk(r.take(), batchSize) {
		err := r.write(ctx, batch)
		var failed *store.ConditionError
		if errors.As(err, &failed) {
			r.writeSingly(ctx, batch)
			continue
		}
		if err != nil {
			r.dropped.WithLabelValues("unavailable").Add(float64(len(batch)))
			r.options.Log.Debug("events are not written", "count", len(batch), "err", err)
		}
	}
}

// writeSingly writes events of which at least one is not as was thought.
func (r *Recorder) writeSingly(ctx context.Context, batch []*pending) {
	for _, p := range batch {
		err := r.write(ctx, []*pending{p})
		for range writeRounds {
			if err == nil {
				break
			}
			if err = r.read(ctx, p); err == nil {
				err = r.write(ctx, []*pending{p})
			}
		}
		var failed *store.ConditionError
		switch {
		case errors.As(err, &failed):
			r.dropped.WithLabelValues("conflict").Inc()
		case err != nil:
			r.dropped.WithLabelValues("unavailable").Inc()
		}
	}
}

// read finds out how an event is in the store.
func (r *Recorder) read(ctx context.Context, p *pending) error {
	key, _ := p.key()
	entry, err := r.options.Store.Get(ctx, key)
	if errors.Is(err, store.ErrNotFound) {
		delete(r.known, key)
		return nil
	}
	if err != nil {
		return err
	}
	event, err := Decode(entry)
	if err != nil { // whatever it is, it is overwritten
		event = &api.Event{}
	}
	r.remember(key, stored{revision: entry.Revision, event: *event})
	return nil
}

// write writes events in one transaction on the assumption that nobody else
// did since this recorder last saw them.
func (r *Recorder) write(ctx context.Context, batch []*pending) error {
	var tx store.Transaction
	events := make([]api.Event, len(batch))
	keys := make([]string, len(batch))
	for i, p := range batch {
		key, _ := p.key()
		before := r.known[key]
		events[i], keys[i] = p.after(before, r.options.Source), key
		value, err := json.Marshal(events[i])
		if err != nil {
			return fmt.Errorf("encode an event: %w", err)
		}
		tx.Conditions = append(tx.Conditions, store.AtRevision(key, before.revision))
		tx.Writes = append(tx.Writes, store.PutFor(key, value, TimeToLive))
	}
	revision, err := r.options.Store.Commit(ctx, tx)
	if err != nil {
		return err
	}
	for i, key := range keys {
		r.remember(key, stored{revision: revision, event: events[i]})
	}
	r.written.Add(float64(len(batch)))
	return nil
}

func (r *Recorder) remember(key string, s stored) {
	if len(r.known) >= maxKnown {
		clear(r.known)
	}
	r.known[key] = s
}

// after is the event as it is to be stored.
func (p *pending) after(before stored, source string) api.Event {
	e := api.Event{
		ApiVersion: api.Version, Kind: Kind, Regarding: p.regarding, Network: p.network, Type: p.kind, Reason: p.reason, Message: p.message,
		Count: p.count, FirstTimestamp: p.first, LastTimestamp: p.last, Source: source,
		Metadata: api.ObjectMeta{Name: p.name(), Uid: uuid.NewString(), CreationTimestamp: p.first},
	}
	if before.revision > 0 && before.event.Count > 0 {
		e.Count += before.event.Count
		e.FirstTimestamp, e.Metadata.Uid, e.Metadata.CreationTimestamp = before.event.FirstTimestamp, before.event.Metadata.Uid, before.event.Metadata.CreationTimestamp
	}
	return e
}
