// Package audit keeps the audit log: who did what to what, with the state before and after, append-only and bound together by hashes
// (package internal/auditchain).
//
// log.go says what is recorded and how it gets into the store: with the change itself, in one transaction (Pending), before something
// is read (Write), or as well as it can be (Note, for requests that were refused). chain.go is the work of the leader: it gives every
// record its number and its hash, in the order in which the changes happened, and removes what is too old. query.go reads.
// redact.go leaves secrets out.
//
// The package must not decide who may do or read something, and no secret may get into a record.
package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/cyphonic/cyphonic/internal/auditchain"
	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/manager/store"
)

// Record is one entry. Sequence, hashes and Revision are filled in by the chain, Time by whoever takes the record.
type Record = auditchain.Record

// Options is what a Log needs. Limits may be zero.
type Options struct {
	Store      store.Store
	Log        *slog.Logger
	Registerer prometheus.Registerer
	Now        func() time.Time
	Limits     Limits
}

// Log is the audit log. It is safe for concurrent use.
type Log struct {
	store   store.Store
	log     *slog.Logger
	now     func() time.Time
	limits  Limits
	metrics *metrics
	flood   *flood
	queue   chan Record
	lost    atomic.Int64 // dropped since the last record that says so
}

type metrics struct {
	records *prometheus.CounterVec
	dropped *prometheus.CounterVec
	faults  prometheus.Counter
	pending prometheus.Gauge
}

// New returns a log.
func New(o Options) (*Log, error) {
	if o.Store == nil || o.Log == nil || o.Registerer == nil || o.Now == nil {
		return nil, errors.New("audit: Store, Log, Registerer and Now are required")
	}
	m := &metrics{
		records: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "cyphonic_manager_audit_records_total", Help: "Records that this manager, as leader, added to the chain of the audit log, by outcome.",
		}, []string{"outcome"}),
		dropped: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "cyphonic_manager_audit_drops_total", Help: "Records of refused requests that were dropped: rate (too many of one subject or address), queue (too many at once) or store (the store did not take them).",
		}, []string{"reason"}),
		faults: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "cyphonic_manager_audit_faults_total", Help: "Faults that this manager, as leader, found in the chain of the audit log: somebody has tampered with it.",
		}),
		pending: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "cyphonic_manager_audit_pending_records", Help: "Records that wait for their place in the chain, as the leader last saw.",
		}),
	}
	for _, c := range []prometheus.Collector{m.records, m.dropped, m.faults, m.pending} {
		if err := o.Registerer.Register(c); err != nil {
			return nil, fmt.Errorf("register the metrics of the audit log: %w", err)
		}
	}
	return &Log{
		store: o.Store, log: o.Log, now: o.Now, limits: o.Limits.orDefault(), metrics: m,
		flood: newFlood(), queue: make(chan Record, maxQueue),
	}, nil
}

// Pending returns the write that belongs into the transaction of the change that the record is about: both happen or none.
func (l *Log) Pending(r Record) store.Write {
	r = l.complete(r)
	value, err := json.Marshal(r)
	if err != nil { // before and after are no JSON: a fault of the program, which must not hide that something was done
		l.log.Error("an audit record has no JSON and is written without before and after", "requestId", r.RequestId, "err", err)
		r.Before, r.After, r.Truncated = nil, nil, true
		value, _ = json.Marshal(r)
	}
	return store.Put(keyspace.AuditPending(newID()), value)
}

// newID returns 32 digits that grow with time (RFC 9562, version 7).
func newID() string {
	id, err := uuid.NewV7()
	if err != nil { // the system has no randomness: crypto/rand ends the program before
		id = uuid.New()
	}
	return id.String()
}

// complete fills in the time and cuts what is too long.
func (l *Log) complete(r Record) Record {
	if r.Time.IsZero() {
		r.Time = l.now()
	}
	r.Time = r.Time.UTC().Truncate(time.Microsecond)
	r.Sequence, r.Hash, r.PreviousHash, r.Revision = 0, "", "", 0
	for _, text := range []struct {
		value *string
		limit int
	}{
		{&r.RequestId, 64}, {&r.Subject, 256}, {&r.RemoteAddress, 64}, {&r.Verb, 32}, {&r.Kind, 64}, {&r.Name, 253}, {&r.Network, 63}, {&r.Reason, 1024},
	} {
		*text.value = cut(*text.value, text.limit)
	}
	if len(r.Before)+len(r.After) > maxObjectBytes {
		r.Before, r.After, r.Truncated = nil, nil, true
	}
	return r
}

// cut keeps at most limit characters; the JSON encoder makes valid text of what is not.
func cut(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	runes := 0
	for i := range s {
		if runes == limit {
			return s[:i]
		}
		runes++
	}
	return s
}

// Write records something before it happens, for what must not happen unrecorded and has no transaction of its own.
func (l *Log) Write(ctx context.Context, r Record) error {
	if _, err := l.store.Commit(ctx, store.Transaction{Writes: []store.Write{l.Pending(r)}}); err != nil {
		return fmt.Errorf("write an audit record: %w", err)
	}
	return nil
}

// Note records a request that was refused, or that changed nothing, when there is time. It never blocks; what is too much is counted
// and dropped. from is who is limited: a subject, or an address if there is none.
func (l *Log) Note(from string, r Record) {
	if !l.flood.allow(from, l.now()) {
		l.drop("rate", 1)
		return
	}
	select {
	case l.queue <- l.complete(r):
	default:
		l.drop("queue", 1)
	}
}

func (l *Log) drop(reason string, n int) {
	l.metrics.dropped.WithLabelValues(reason).Add(float64(n))
	l.lost.Add(int64(n))
}

// Run writes the records that were noted until ctx ends, and then those that are left.
func (l *Log) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			end, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastFlush)
			defer cancel()
			for len(l.queue) > 0 && end.Err() == nil {
				l.flush(end, l.batch(<-l.queue))
			}
			return nil
		case first := <-l.queue:
			l.flush(ctx, l.batch(first))
		}
	}
}

// batch takes what else is in the queue, up to what one transaction holds.
func (l *Log) batch(first Record) []Record {
	batch := []Record{first}
	if n := l.lost.Swap(0); n > 0 {
		batch = append(batch, l.complete(Record{
			Subject: "system/audit", Verb: "create", Kind: "Audit", Outcome: auditchain.Failed,
			Reason: fmt.Sprintf("%d records of refused requests were dropped because there were too many", n),
		}))
	}
	for len(batch) < maxBatch {
		select {
		case r := <-l.queue:
			batch = append(batch, r)
		default:
			return batch
		}
	}
	return batch
}

// flush writes a batch, and tries again while the store is away and the queue has room. A batch that is begun is written also if ctx
// ends meanwhile.
func (l *Log) flush(ctx context.Context, batch []Record) {
	var t store.Transaction
	for _, r := range batch {
		t.Writes = append(t.Writes, l.Pending(r))
	}
	for {
		once, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastFlush)
		_, err := l.store.Commit(once, t)
		cancel()
		if err == nil {
			return
		}
		if !errors.Is(err, store.ErrUnavailable) || len(l.queue) > maxQueue/2 || ctx.Err() != nil {
			l.drop("store", len(batch))
			l.log.Warn("audit records of refused requests were dropped", "records", len(batch), "err", err)
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(retryInterval):
		}
	}
}
