package rest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/manager/store"
)

// watchSlots bounds the open watches.
type watchSlots struct {
	mu         sync.Mutex
	open       int            // under mu
	perAdapter map[string]int // under mu; adapters without a watch are absent
}

func (w *watchSlots) take(who principal) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.open >= maxWatches || (!who.admin && w.perAdapter[who.adapter] >= maxWatchesPerAdapter) {
		return false
	}
	w.open++
	if !who.admin {
		w.perAdapter[who.adapter]++
	}
	return true
}

func (w *watchSlots) free(who principal) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.open--
	if who.admin {
		return
	}
	if w.perAdapter[who.adapter]--; w.perAdapter[who.adapter] <= 0 {
		delete(w.perAdapter, who.adapter)
	}
}

// watch answers with a stream of changes. Whether the revision can be served
// is found out before the answer begins, so that the client gets a status.
func (s *Server) watch(ctx context.Context, kind api.Kind, match filter, version string) (*answer, error) {
	st := &stream{server: s, kind: kind, match: match, who: principalOf(ctx), checked: s.now()}
	if version == "" {
		items, revision, err := s.listObjects(ctx, kind, match)
		if err != nil {
			return nil, err
		}
		st.initial, st.revision, st.fromNow = items, revision, true
	} else {
		revision, err := strconv.ParseInt(version, 10, 64)
		if err != nil || revision <= 0 {
			return nil, refuse(http.StatusBadRequest, typeInvalid, "resourceVersion %q is not one that the manager gave out", version)
		}
		// A list below a prefix that nothing has asks the store about the revision.
		if _, err := s.store.List(ctx, keyspace.Root+"none/", store.ListOptions{Revision: revision}); err != nil {
			return nil, err
		}
		st.revision = revision
	}
	if !s.watches.take(st.who) {
		return nil, refuse(http.StatusServiceUnavailable, typeBlank, "too many watches are open; close some, or try again later")
	}
	return &answer{stream: func(w http.ResponseWriter) error {
		defer s.watches.free(st.who)
		s.metrics.watches.Inc()
		defer s.metrics.watches.Dec()
		return st.run(ctx, w)
	}}, nil
}

// stream is one watch. It lives in the goroutine of its request.
type stream struct {
	server   *Server
	kind     api.Kind
	match    filter
	who      principal
	initial  []api.Object // sent first, if fromNow
	fromNow  bool
	revision int64     // everything up to it has been sent
	checked  time.Time // when the right to watch was last checked
	w        http.ResponseWriter
	control  *http.ResponseController
}

// run sends events until the client goes away, the server stops, the right to
// watch ends or the store cannot go on; in the last two cases the client is
// told with an ERROR event.
func (st *stream) run(ctx context.Context, w http.ResponseWriter) error {
	st.w, st.control = w, http.NewResponseController(w)
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Accel-Buffering", "no")
	w.WriteHeader(http.StatusOK)
	err := st.follow(ctx)
	if ctx.Err() != nil || errors.Is(err, errClient) {
		return nil // nobody is there to be told
	}
	p := asProblem(err)
	st.server.log.Info("watch ended", "requestId", requestIDOf(ctx), "kind", st.kind.Plural, "subject", st.who.String(), "err", err)
	line, err := encodeEvent(api.WatchEventTypeERROR, p.encode("", requestIDOf(ctx)))
	if err != nil {
		return err
	}
	if err := st.send(line); err != nil && !errors.Is(err, errClient) {
		return err
	}
	return nil
}

// errClient says that the client is gone or reads too slowly.
var errClient = errors.New("client is gone")

func (st *stream) follow(ctx context.Context) error {
	watcher, err := st.server.store.Watch(ctx, keyspace.ResourcePrefix(st.kind.Plural), st.revision)
	if err != nil {
		return err
	}
	defer watcher.Close()
	if err := st.sendInitial(); err != nil {
		return err
	}
	for {
		batch, err := st.next(ctx, watcher)
		if errors.Is(err, errDue) {
			if err := st.heartbeat(ctx); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		if err := st.forward(ctx, batch); err != nil {
			return err
		}
	}
}

// errDue says that it is time for a heartbeat.
var errDue = errors.New("heartbeat is due")

// next waits for changes until the next heartbeat is due, however many changes
// there are. A clock that was set back does not put it off.
func (st *stream) next(ctx context.Context, watcher store.Watcher) (store.Batch, error) {
	left := min(st.checked.Add(st.server.heartbeat).Sub(st.server.now()), st.server.heartbeat)
	waitCtx, cancel := context.WithTimeout(ctx, left)
	defer cancel()
	if left <= 0 {
		return store.Batch{}, errDue
	}
	batch, err := watcher.Next(waitCtx)
	if err != nil && ctx.Err() == nil && waitCtx.Err() != nil {
		return store.Batch{}, errDue
	}
	return batch, err
}

func (st *stream) sendInitial() error {
	if !st.fromNow {
		return st.send(nil) // the header, so that the client knows that the watch stands
	}
	var lines [][]byte
	for _, o := range st.initial {
		line, err := encodeEvent(api.WatchEventTypeADDED, o)
		if err != nil {
			return err
		}
		lines = append(lines, line)
	}
	st.initial = nil
	line, err := st.bookmark()
	if err != nil {
		return err
	}
	return st.send(append(lines, line)...)
}

// heartbeat checks the right to watch and tells the client where it is.
func (st *stream) heartbeat(ctx context.Context) error {
	if err := st.server.checkAdapter(ctx, st.who); err != nil {
		return err
	}
	st.checked = st.server.now()
	line, err := st.bookmark()
	if err != nil {
		return err
	}
	return st.send(line)
}

func (st *stream) bookmark() ([]byte, error) {
	o := st.kind.New()
	return encodeEvent(api.WatchEventTypeBOOKMARK, map[string]any{
		"apiVersion": api.Version, "kind": o.KindName(),
		"metadata": map[string]string{"resourceVersion": formatRevision(st.revision)},
	})
}

// forward sends the events of a batch that concern the client.
func (st *stream) forward(ctx context.Context, batch store.Batch) error {
	var lines [][]byte
	for _, e := range batch.Events {
		line, err := st.translate(ctx, e)
		if err != nil {
			return err
		}
		if line != nil {
			lines = append(lines, line)
		}
	}
	st.revision = batch.Revision
	if len(lines) == 0 {
		return nil
	}
	return st.send(lines...)
}

// translate turns a change of a key into an event of this watch, or nothing. A
// resource that leaves the filter is deleted as far as the client can see.
func (st *stream) translate(ctx context.Context, e store.Event) ([]byte, error) {
	var before, after api.Object
	if e.Previous.Key != "" {
		got, err := decodeEntry(st.kind, e.Previous)
		if err != nil {
			return nil, err
		}
		if st.match(got.object) {
			before = got.object
		}
	} else if !e.Created() { // the state before is compacted: nobody knows what the client has
		return nil, store.ErrCompacted
	}
	if e.Type == store.EventPut {
		got, err := decodeEntry(st.kind, e.Entry)
		if err != nil {
			return nil, err
		}
		if st.match(got.object) {
			after = got.object
		}
	}
	kind, shown := api.WatchEventTypeMODIFIED, after
	switch {
	case before == nil && after == nil:
		return nil, nil
	case before == nil:
		kind = api.WatchEventTypeADDED
	case after == nil:
		kind, shown = api.WatchEventTypeDELETED, before
		shown.Meta().ResourceVersion = formatRevision(e.Entry.Revision)
	}
	if err := st.server.observed(ctx, shown); err != nil {
		return nil, err
	}
	return encodeEvent(kind, shown)
}

func encodeEvent(kind api.WatchEventType, object any) ([]byte, error) {
	return encodeLine(struct {
		Type   api.WatchEventType `json:"type"`
		Object any                `json:"object"`
	}{kind, object})
}

// send writes lines and flushes them within watchWriteTimeout. Nothing limits the silence until the next ones: over
// HTTP/2 a deadline that stays ends the stream also while nothing is written.
func (st *stream) send(lines ...[]byte) error {
	if err := st.deadline(time.Now().Add(watchWriteTimeout)); err != nil {
		return err
	}
	for _, line := range lines {
		if len(line) == 0 {
			continue
		}
		if _, err := st.w.Write(line); err != nil {
			return fmt.Errorf("%w: %w", errClient, err)
		}
		st.server.metrics.events.Inc()
	}
	if err := st.control.Flush(); err != nil {
		return fmt.Errorf("%w: %w", errClient, err)
	}
	return st.deadline(time.Time{})
}

func (st *stream) deadline(end time.Time) error {
	if err := st.control.SetWriteDeadline(end); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return fmt.Errorf("set the deadline of a watch: %w", err)
	}
	return nil
}
