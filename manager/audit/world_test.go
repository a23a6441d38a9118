package audit

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cyphonic/cyphonic/internal/auditchain"
	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/manager/store"
	"github.com/cyphonic/cyphonic/manager/store/etcd"
)

// world is a log on an embedded etcd with a leader.
type world struct {
	*Log
	t      *testing.T
	ctx    context.Context
	office store.Leadership
	now    time.Time
}

func newWorld(t *testing.T, limits Limits) *world {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	e, err := etcd.StartEmbedded(ctx, t.TempDir(), slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		e.Close()
	})
	w := &world{t: t, ctx: ctx, now: time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)}
	w.Log = w.another(etcd.NewStore(e.Client()), limits)
	w.office = w.lead("first")
	return w
}

// another is a log of another manager on the same store.
func (w *world) another(s store.Store, limits Limits) *Log {
	w.t.Helper()
	l, err := New(Options{
		Store: s, Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Registerer: prometheus.NewRegistry(), Limits: limits,
		Now: func() time.Time { return w.now },
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return l
}

func (w *world) lead(name string) store.Leadership {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, 10*time.Second)
	defer cancel()
	office, err := w.store.Lead(context.WithoutCancel(ctx), name, "test", 10*time.Second)
	if err != nil {
		w.t.Fatal(err)
	}
	return office
}

// do writes a record as a change does.
func (w *world) do(r Record) {
	w.t.Helper()
	if r.Outcome == "" {
		r.Outcome = auditchain.Allowed
	}
	if err := w.Write(w.ctx, r); err != nil {
		w.t.Fatal(err)
	}
}

// append writes n records of a minute each and moves them into the chain.
func (w *world) append(n int) {
	w.t.Helper()
	for i := range n {
		w.now = w.now.Add(time.Minute)
		w.do(Record{Subject: fmt.Sprintf("user/%d", i%3), Verb: "update", Kind: "Node", Name: fmt.Sprintf("n%d", i), Network: []string{"hall", "yard"}[i%2], RequestId: fmt.Sprint(i)})
	}
	if _, err := w.move(w.ctx, w.office); err != nil {
		w.t.Fatal(err)
	}
}

// all reads the whole chain from the store.
func (w *world) all() []Record {
	w.t.Helper()
	l, err := w.store.List(w.ctx, keyspace.AuditChainPrefix, store.ListOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	var out []Record
	for _, e := range l.Entries {
		var r Record
		if err := json.Unmarshal(e.Value, &r); err != nil {
			w.t.Fatal(err)
		}
		out = append(out, r)
	}
	return out
}

func (w *world) base() auditchain.Point {
	w.t.Helper()
	h, err := w.state(w.ctx)
	if err != nil {
		w.t.Fatal(err)
	}
	return h.Base
}
