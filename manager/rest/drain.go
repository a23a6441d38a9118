package rest

import (
	"context"
	"math"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/labstack/echo/v4"
)

// drain is the orderly end of a server: first it says that it is not ready, then
// it ends the watches one after the other.
type drain struct {
	leaving atomic.Bool   // /readyz fails
	ended   atomic.Uint32 // watches that were told when to end

	once   sync.Once
	ending chan struct{} // closed: watches shall end, and connections shall not be used again
}

func newDrain() *drain { return &drain{ending: make(chan struct{})} }

func (d *drain) end() { d.once.Do(func() { close(d.ending) }) }

func (d *drain) over() bool {
	select {
	case <-d.ending:
		return true
	default:
		return false
	}
}

// fraction spreads the watches evenly over a span, in whatever order they ask:
// multiples of the golden ratio.
func (d *drain) fraction() float64 {
	_, f := math.Modf(float64(d.ended.Add(1)) * math.Phi)
	return f
}

// Drain prepares the end of the server and returns when it may be shut down. At
// once /readyz fails, so that load balancers send new clients elsewhere; for
// delay everything is served as before. Then the watches end, each with a last
// BOOKMARK from which its client goes on elsewhere, and clients are asked to open
// new connections. It returns early when ctx ends. The context of the requests
// must not end before.
func (s *Server) Drain(ctx context.Context, delay time.Duration) {
	s.drain.leaving.Store(true)
	s.log.Info("draining: not ready any more", "delay", delay)
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
	s.drain.end()
	s.log.Info("draining: ending the watches", "open", s.watches.count())
	select {
	case <-ctx.Done():
	case <-s.watches.none():
	}
}

// endSpan is over which time so many watches end.
func endSpan(open int) time.Duration {
	return min(watchEndSpan, time.Duration(open)*time.Second/watchEndRate)
}

// turnAway asks clients to leave connections that are about to be closed, so that
// none of them sends a request at that very moment. Over HTTP/2 the same header
// makes the server say GOAWAY.
func (s *Server) turnAway(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if s.drain.over() {
			c.Response().Header().Set("Connection", "close")
		}
		return next(c)
	}
}

// watchSlots bounds the open watches.
type watchSlots struct {
	mu         sync.Mutex
	open       int            // under mu
	events     int            // under mu: of those of events
	bySubject  map[string]int // under mu; subjects without a watch are absent
	noneWaiter chan struct{}  // under mu: closed when open is 0; nil: nobody waits
}

// slot is the right of one watch to be open.
type slot struct {
	subject string
	events  bool
}

func (w *watchSlots) take(subject string, limit int, events bool) (slot, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if events { // these are few: they are counted by themselves
		subject, limit = subject+" events", min(limit, maxEventWatchesPerSubject)
	}
	if w.open >= maxWatches || w.bySubject[subject] >= limit || (events && w.events >= maxEventWatches) {
		return slot{}, false
	}
	w.open++
	w.bySubject[subject]++
	if events {
		w.events++
	}
	return slot{subject: subject, events: events}, true
}

func (w *watchSlots) free(s slot) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.open--
	if s.events {
		w.events--
	}
	if w.bySubject[s.subject]--; w.bySubject[s.subject] <= 0 {
		delete(w.bySubject, s.subject)
	}
	if w.open == 0 && w.noneWaiter != nil {
		close(w.noneWaiter)
		w.noneWaiter = nil
	}
}

func (w *watchSlots) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.open
}

// none returns a channel that is closed once no watch is open.
func (w *watchSlots) none() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.noneWaiter == nil {
		w.noneWaiter = make(chan struct{})
	}
	out := w.noneWaiter
	if w.open == 0 {
		close(out)
		w.noneWaiter = nil
	}
	return out
}

// subjects bounds the requests in progress of each subject.
type subjects struct {
	mu   sync.Mutex
	busy map[string]int // under mu; subjects without a request are absent
}

func (b *subjects) begin(subject string, limit int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.busy[subject] >= limit {
		return false
	}
	b.busy[subject]++
	return true
}

func (b *subjects) end(subject string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.busy[subject]--; b.busy[subject] <= 0 {
		delete(b.busy, subject)
	}
}

// limitSubject refuses the requests of a subject that has too many in progress.
func (s *Server) limitSubject(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		subject := principalOf(c.Request().Context()).String()
		if isWatch(c) {
			return next(c) // counted by watchSlots
		}
		limit := limitOf(subject, maxRequestsPerAdapter, maxRequestsPerSubject)
		switch bodyLimit(c.Request().Method + " " + c.Path()) { // these are held in memory
		case maxPlanBytes:
			subject, limit = subject+" plans", maxPlans
		case maxRestoreBytes:
			subject, limit = subject+" restorations", 1
		}
		if !s.subjects.begin(subject, limit) {
			return refuse(http.StatusTooManyRequests, typeBlank, "%s has too many requests in progress; wait for the answers, then go on", subject)
		}
		defer s.subjects.end(subject)
		return next(c)
	}
}
