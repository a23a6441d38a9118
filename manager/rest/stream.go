package rest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/manager/access"
	"github.com/cyphonic/cyphonic/manager/store"
)

// stream is one watch. It lives in the goroutine of its request.
type stream struct {
	server   *Server
	query    *query
	who      access.Principal
	open     func(context.Context) (feed, error) // opens the feed where it is not open yet
	feed     feed
	initial  func(ctx context.Context, after string) (chunk []sight, next string, err error) // what is shown first, in chunks; nil: nothing
	revision int64                                                                           // everything up to it has been sent
	checked  time.Time                                                                       // when the right to watch was last checked
	endAt    time.Time                                                                       // when it ends because the server does; zero: it goes on
	unmarked int                                                                             // events since the last BOOKMARK
	w        http.ResponseWriter
	control  *http.ResponseController
}

// Why a stream ends.
var (
	// errClient says that the client is gone, errSlow that it reads too slowly.
	errClient = errors.New("client is gone")
	errSlow   = fmt.Errorf("%w: it does not read", errClient)
	// errShutdown says that the server ends.
	errShutdown = errors.New("the manager is shutting down")
	// errDue says that it is time for a heartbeat.
	errDue = errors.New("heartbeat is due")
)

// run sends events until the client goes away, the server ends, the right to
// watch ends or the changes are lost; in the last two cases the client is told
// with an ERROR event.
func (st *stream) run(ctx context.Context, w http.ResponseWriter) error {
	st.w, st.control = w, http.NewResponseController(w)
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.Header().Set("X-Accel-Buffering", "no")
	w.WriteHeader(http.StatusOK)
	err := st.follow(ctx)
	reason := endReason(ctx, err)
	st.server.metrics.ended.WithLabelValues(reason).Inc()
	if reason == "client" || reason == "slow" || reason == "shutdown" {
		return nil // nobody is there to be told, or all has been said
	}
	p := asProblem(err)
	st.server.log.Info("watch ended", "requestId", requestIDOf(ctx), "kind", st.query.kind.Plural, "subject", st.who.String(), "err", err)
	object, err := encodeLine(p.encode("", requestIDOf(ctx)))
	if err != nil {
		return err
	}
	if err := st.send([]sight{{api.WatchEventTypeERROR, object[:len(object)-1]}}); err != nil && !errors.Is(err, errClient) {
		return err
	}
	return nil
}

func endReason(ctx context.Context, err error) string {
	var p *problem
	switch {
	case errors.Is(err, errShutdown):
		return "shutdown"
	case errors.Is(err, errSlow):
		return "slow"
	case ctx.Err() != nil, errors.Is(err, errClient):
		return "client"
	case errors.Is(err, store.ErrCompacted):
		return "compacted"
	case errors.As(err, &p) && (p.status == http.StatusForbidden || p.status == http.StatusUnauthorized):
		return "forbidden"
	}
	return "failed"
}

func (st *stream) follow(ctx context.Context) error {
	if st.feed == nil {
		f, err := st.open(ctx)
		if err != nil {
			return err
		}
		st.feed = f
	}
	defer st.feed.close()
	if err := st.begin(ctx); err != nil {
		return err
	}
	for {
		seen, revision, err := st.next(ctx)
		switch {
		case errors.Is(err, errDue):
			err = st.heartbeat(ctx)
		case err == nil:
			err = st.forward(seen, revision)
		}
		if err != nil {
			return err
		}
	}
}

// begin sends what there is, or only the header, so that the client knows that
// the watch stands.
func (st *stream) begin(ctx context.Context) error {
	if st.initial == nil {
		return st.send(nil)
	}
	for after := ""; ; {
		seen, next, err := st.initial(ctx, after)
		if err != nil {
			return err
		}
		if len(seen) > 0 {
			if err := st.send(seen); err != nil {
				return err
			}
		}
		if next == "" {
			break
		}
		after = next
	}
	st.initial = nil
	return st.bookmark()
}

// next waits for events until the next heartbeat is due, however many events
// there are, or the server ends. A clock that was set back does not put it off.
func (st *stream) next(ctx context.Context) ([]sight, int64, error) {
	s := st.server
	left := min(st.checked.Add(s.heartbeat).Sub(s.now()), s.heartbeat)
	stop := s.drain.ending
	if s.drain.over() {
		stop = nil
		if st.endAt.IsZero() {
			st.endAt = time.Now().Add(time.Duration(s.drain.fraction() * float64(endSpan(s.watches.count()))))
		}
		if time.Until(st.endAt) <= 0 {
			return nil, 0, st.end()
		}
		left = min(left, time.Until(st.endAt))
	}
	if left <= 0 {
		return nil, 0, errDue
	}
	waitCtx, cancel := context.WithTimeout(ctx, left)
	defer cancel()
	seen, revision, err := st.feed.next(waitCtx, stop)
	if err != nil && ctx.Err() == nil && waitCtx.Err() != nil {
		return nil, st.revision, nil // look again what is due
	}
	return seen, revision, err
}

// end says goodbye: the client goes on from the BOOKMARK elsewhere.
func (st *stream) end() error {
	if err := st.bookmark(); err != nil {
		return err
	}
	return errShutdown
}

// heartbeat checks the right to watch and tells the client where it is.
func (st *stream) heartbeat(ctx context.Context) error {
	if err := st.server.stillMay(ctx, st.who, st.query); err != nil {
		return err
	}
	st.checked = st.server.now()
	return st.bookmark()
}

// bookmark tells the client up to where it knows everything.
func (st *stream) bookmark() error {
	st.revision = max(st.revision, st.feed.reached())
	object := make([]byte, 0, 128)
	object = append(object, `{"apiVersion":"`+api.Version+`","kind":"`+st.query.kind.Name+`","metadata":{"resourceVersion":"`...)
	object = strconv.AppendInt(object, st.revision, 10)
	object = append(object, `"}}`...)
	st.unmarked = 0
	return st.send([]sight{{api.WatchEventTypeBOOKMARK, object}})
}

// forward sends events, and a BOOKMARK after many.
func (st *stream) forward(seen []sight, revision int64) error {
	for len(seen) > 0 {
		n := min(len(seen), watchChunk)
		if err := st.send(seen[:n]); err != nil {
			return err
		}
		seen = seen[n:]
		st.unmarked += n
	}
	st.revision = max(st.revision, revision)
	if st.unmarked >= bookmarkEvery {
		return st.bookmark()
	}
	return nil
}

// send writes events and flushes them within watchWriteTimeout. Nothing limits
// the silence until the next ones: over HTTP/2 a deadline that stays ends the
// stream also while nothing is written.
func (st *stream) send(seen []sight) error {
	size := 0
	for _, e := range seen {
		size += len(e.object) + 64
	}
	lines := make([]byte, 0, size)
	for _, e := range seen {
		lines = appendEvent(lines, e.kind, e.object)
	}
	if err := st.deadline(time.Now().Add(watchWriteTimeout)); err != nil {
		return err
	}
	if _, err := st.w.Write(lines); err != nil {
		return gone(err)
	}
	st.server.metrics.events.Add(float64(len(seen)))
	if err := st.control.Flush(); err != nil {
		return gone(err)
	}
	return st.deadline(time.Time{})
}

// gone says why a client cannot be written to.
func gone(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("%w: %w", errSlow, err)
	}
	return fmt.Errorf("%w: %w", errClient, err)
}

func (st *stream) deadline(end time.Time) error {
	if err := st.control.SetWriteDeadline(end); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return gone(err)
	}
	return nil
}
