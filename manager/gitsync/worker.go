package gitsync

import (
	"context"
	"log/slog"
	"time"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/api/client"
	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/manager/access"
)

// worker follows one git source. Its fields belong to the goroutine of run,
// save for kick.
type worker struct {
	syncer *Syncer
	name   string
	uid    string
	kick   chan struct{} // the specification has changed

	memory memory
	status *api.GitSourceStatus // as last written; nil: not yet
	state  string               // last reported to the metrics
	log    *slog.Logger
}

// run does rounds until ctx ends.
func (w *worker) run(ctx context.Context) {
	defer w.become("")
	failed := 0
	for ctx.Err() == nil {
		source, ok := w.syncer.source(w.name)
		if !ok || source.Metadata.Uid != w.uid {
			return // deleted; Run ends this worker in a moment
		}
		wait := forever // until the specification changes
		switch {
		case source.Spec.Suspend:
			w.suspended(ctx, source)
		case w.round(ctx, source):
			failed, wait = 0, w.syncer.interval(source)
		default:
			wait = min(w.syncer.interval(source), w.syncer.retry<<min(failed, 16))
			failed++
		}
		if w.pause(ctx, wait) {
			failed = 0
		}
	}
}

const forever = time.Duration(1<<63 - 1)

// pause waits; kicked says that the specification has changed.
func (w *worker) pause(ctx context.Context, d time.Duration) (kicked bool) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-w.kick:
		return true
	case <-timer.C:
	}
	return false
}

// round does one round when it is its turn, and writes the status.
func (w *worker) round(ctx context.Context, source *api.GitSource) (ok bool) {
	select {
	case w.syncer.turns <- struct{}{}:
		defer func() { <-w.syncer.turns }()
	case <-ctx.Done():
		return false
	}
	start := w.syncer.options.Now()
	status := w.begin(source)
	r := &round{
		source: source, secrets: w.syncer.options.SecretsDirectory, memory: &w.memory, status: status, log: w.log,
		api:     w.syncer.options.API.Client(access.ForGitSource(source.Metadata.Name, source.Spec.Role)),
		created: map[string]bool{},
		print: func(s *set) print {
			return printOf(source, s, w.syncer.options.Cache.View, w.syncer.census.of(applySetOf(source.Metadata.Name)))
		},
		notify: func(kind api.EventType, reason, message string) {
			w.syncer.options.Events.Event(api.ObjectReference{Kind: "GitSource", Name: w.name, Uid: w.uid}, "", kind, reason, message)
		},
	}
	ok = r.run(ctx)
	if ctx.Err() != nil {
		return false // another manager goes on
	}
	status.LastSyncTimestamp = w.syncer.options.Now().UTC().Truncate(time.Second)
	status.Drifted = drifted(w.memory.applied, status.taken, w.syncer.options.Cache.View(keyspace.GeneralNodes))
	w.become(stateOf(status))
	w.write(ctx, source, status)
	w.syncer.metrics.round(ok, status.is("InSync", api.ConditionStatusTrue), w.syncer.options.Now().Sub(start))
	return ok
}

// begin is the status that a round changes.
func (w *worker) begin(source *api.GitSource) *statusWriter {
	s := &statusWriter{GitSourceStatus: source.Status, generation: source.Metadata.Generation, now: w.syncer.options.Now}
	if w.status != nil { // the cache may be behind
		s.GitSourceStatus = *w.status
	}
	s.Conditions = append([]api.Condition(nil), s.Conditions...)
	return s
}

func (w *worker) suspended(ctx context.Context, source *api.GitSource) {
	s := w.begin(source)
	s.set("InSync", api.ConditionStatusUnknown, "Suspended", "the source is suspended: nothing is fetched, applied or corrected")
	w.become(stateSuspended)
	w.write(ctx, source, s)
}

// write reports the status. If that fails the next round tries again.
func (w *worker) write(ctx context.Context, source *api.GitSource, s *statusWriter) {
	report := *source
	report.Status = s.GitSourceStatus
	report.Metadata = api.ObjectMeta{Name: w.name, Uid: w.uid}
	written, err := w.syncer.options.API.Client(access.ForSystem("gitsync")).PutStatus(ctx, &report)
	switch {
	case client.IsNotFound(err), ctx.Err() != nil:
	case err != nil:
		w.log.Warn("the status of a git source cannot be written", "source", w.name, "err", err)
	default:
		status := written.(*api.GitSource).Status
		w.status = &status
	}
}

// become reports a state to the metrics; "" is none.
func (w *worker) become(state string) {
	w.syncer.metrics.move(w.state, state)
	w.state = state
}

// States of sources in metrics.
const (
	stateInSync    = "in_sync"
	stateOutOfSync = "out_of_sync"
	stateFailing   = "failing"
	stateSuspended = "suspended"
)

func stateOf(s *statusWriter) string {
	switch {
	case s.is("InSync", api.ConditionStatusTrue):
		return stateInSync
	case s.is("Fetched", api.ConditionStatusFalse), s.is("Valid", api.ConditionStatusFalse), s.is("Applied", api.ConditionStatusFalse):
		return stateFailing
	}
	return stateOutOfSync
}
