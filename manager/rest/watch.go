package rest

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/manager/cache"
	"github.com/cyphonic/cyphonic/manager/store"
)

// sight is an event of a watch: what the client gets to see.
type sight struct {
	kind   api.WatchEventType
	object []byte // JSON on one line
}

// feed is where the events of a watch come from. It is used by one goroutine.
type feed interface {
	// next waits for events, or until stop is closed. There may be none: then
	// only the revision has grown.
	next(ctx context.Context, stop <-chan struct{}) (seen []sight, revision int64, err error)
	// reached is a revision up to which next has delivered everything, as high
	// as can be said without waiting.
	reached() int64
	close()
}

// watch answers with a stream of the changes of a kind. Whether the revision can
// be served is found out before the answer begins, so that the client gets a
// status.
func (s *Server) watch(ctx context.Context, q query, version string) (*answer, error) {
	note := func(*answer) {}
	var view cache.View
	var after int64
	var err error
	if version == "" {
		view, note, err = s.current(ctx, q.kind.Plural)
		after = view.Revision()
	} else {
		after, err = s.resumable(ctx, version)
	}
	if err != nil {
		return nil, err
	}
	f, err := s.newCacheFeed(&q, after)
	if err != nil {
		return nil, err
	}
	st := &stream{server: s, query: &q, feed: f, revision: after}
	if version == "" {
		st.initial = f.initial(view)
	}
	a, err := s.answerStream(ctx, st)
	if err != nil {
		f.close()
		return nil, err
	}
	note(a)
	return a, nil
}

// resumable reads a resourceVersion and waits until the cache has reached it:
// another replica may have been faster.
func (s *Server) resumable(ctx context.Context, version string) (int64, error) {
	reached := func() int64 { return s.cache.View("").Revision() } // that of any kind

	revision, err := strconv.ParseInt(version, 10, 64)
	if err != nil || revision <= 0 {
		return 0, refuse(http.StatusBadRequest, typeInvalid, "resourceVersion %q is not one that the manager gave out", version)
	}
	if reached() >= revision {
		return revision, nil
	}
	away, err := s.outage.ask(ctx, s.cache.Fresh)
	switch {
	case err != nil:
		return 0, err
	case away:
		return 0, fmt.Errorf("watch from revision %d: the cache is at %d: %w", revision, reached(), store.ErrUnavailable)
	case reached() < revision: // of another database, or made up
		return 0, fmt.Errorf("watch from revision %d: it does not exist yet: %w", revision, store.ErrCompacted)
	}
	return revision, nil
}

// answerStream takes a slot for a stream, and makes an answer out of it.
func (s *Server) answerStream(ctx context.Context, st *stream) (*answer, error) {
	st.who = principalOf(ctx)
	subject := st.who.String()
	if isHead(ctx) {
		return nil, refuse(http.StatusBadRequest, typeInvalid, "a watch has no head; use GET")
	}
	if s.drain.over() {
		return nil, refuse(http.StatusServiceUnavailable, typeBlank, "this manager is shutting down; watch from another one")
	}
	held, ok := s.watches.take(subject, limitOf(subject, maxWatchesPerAdapter, maxWatchesPerSubject), st.open != nil)
	if !ok {
		return nil, refuse(http.StatusServiceUnavailable, typeBlank, "too many watches are open; close some, or try again later")
	}
	s.metrics.watches.Inc()
	st.checked = s.now()
	return &answer{stream: func(w http.ResponseWriter) error {
		defer s.metrics.watches.Dec()
		defer s.watches.free(held)
		return st.run(ctx, w)
	}}, nil
}

// limitOf chooses a bound: adapters are many, and each needs little.
func limitOf(subject string, adapter, other int) int {
	if strings.HasPrefix(subject, "adapter/") {
		return adapter
	}
	return other
}

// cacheFeed is the changes of resources.
type cacheFeed struct {
	server *Server
	query  *query
	sub    *cache.Subscription
	// Of the list of an adapter: its own changes, and what it says now.
	adapter *cache.Subscription
	drained bool
	known   int64 // everything up to it has been delivered
}

func (s *Server) newCacheFeed(q *query, after int64) (*cacheFeed, error) {
	f := &cacheFeed{server: s, query: q, known: after}
	var err error
	if q.adapter == "" {
		f.sub, err = s.cache.Subscribe(q.kind.Plural, after, q.matches)
		return f, err
	}
	if f.sub, err = s.cache.SubscribeCarriedBy(q.kind.Plural, q.adapter, after, nil); err != nil {
		return nil, err
	}
	if f.adapter, err = s.cache.SubscribeName(keyspace.Adapters, q.adapter, after, nil); err != nil {
		f.sub.Close()
		return nil, err
	}
	f.drained = s.drained(q.adapter)
	return f, nil
}

func (f *cacheFeed) close() {
	f.sub.Close()
	if f.adapter != nil {
		f.adapter.Close()
	}
}

func (f *cacheFeed) reached() int64 {
	if f.adapter == nil {
		return f.sub.Revision()
	}
	return min(f.sub.Revision(), f.adapter.Revision())
}

func (f *cacheFeed) next(ctx context.Context, stop <-chan struct{}) ([]sight, int64, error) {
	var flipped <-chan struct{} // never readable, unless it is the list of an adapter
	if f.adapter != nil {
		flipped = f.adapter.Woken()
	}
	for {
		seen, err := f.poll(ctx)
		if err != nil || len(seen) > 0 {
			return seen, f.reached(), err
		}
		select {
		case <-ctx.Done():
			return nil, 0, ctx.Err()
		case <-stop:
			return nil, f.reached(), nil
		case <-f.sub.Woken():
		case <-flipped:
		}
	}
}

// poll looks for changes of the general nodes of an adapter, then for changes of
// what the adapter shall do with them.
func (f *cacheFeed) poll(ctx context.Context) ([]sight, error) {
	changes, revision, err := f.sub.Poll()
	if err != nil {
		return nil, err
	}
	f.known = revision
	seen, err := f.translate(ctx, changes)
	if err != nil || f.adapter == nil {
		return seen, err
	}
	flips, _, err := f.adapter.Poll()
	if err != nil {
		return nil, err
	}
	for _, c := range flips {
		if c.After == nil || isDrained(c.Before) == isDrained(c.After) {
			continue
		}
		f.drained = isDrained(c.After)
		all, err := f.repeat(ctx)
		if err != nil {
			return nil, err
		}
		seen = append(seen, all...)
	}
	return seen, nil
}

// repeat shows all general nodes of the adapter again. What changed after the
// changes that the client knows is left out: it will come by itself.
func (f *cacheFeed) repeat(ctx context.Context) (seen []sight, err error) {
	f.server.cache.View(f.query.kind.Plural).CarriedBy(f.query.adapter, "", func(item *cache.Item) bool {
		if item.Revision > f.known {
			return true
		}
		var object []byte
		if object, err = f.server.appendItem(ctx, nil, f.query.kind, item, f.drained); err != nil {
			return false
		}
		seen = append(seen, sight{api.WatchEventTypeMODIFIED, object})
		return true
	})
	return seen, err
}

// initial shows what is in a view.
func (f *cacheFeed) initial(view cache.View) func(ctx context.Context, after string) ([]sight, string, error) {
	return func(ctx context.Context, after string) ([]sight, string, error) {
		b := &pageBuilder{server: f.server, query: *f.query, limit: watchChunk}
		b.ascend(view, after)
		seen := make([]sight, 0, len(b.items))
		for _, item := range b.items {
			object, err := f.server.appendItem(ctx, nil, f.query.kind, item, f.drained)
			if err != nil {
				return nil, "", err
			}
			seen = append(seen, sight{api.WatchEventTypeADDED, object})
		}
		if !b.more {
			return seen, "", nil
		}
		return seen, b.last, nil
	}
}

// translate turns changes into what the client sees. A resource that leaves the
// list is deleted as far as the client can see; it is shown as it was, with the
// revision at which it left.
func (f *cacheFeed) translate(ctx context.Context, changes []cache.Change) ([]sight, error) {
	if len(changes) == 0 {
		return nil, nil
	}
	seen := make([]sight, 0, len(changes))
	for _, c := range changes {
		kind, item := api.WatchEventTypeMODIFIED, c.After
		switch {
		case c.Before == nil:
			kind = api.WatchEventTypeADDED
		case c.After == nil:
			kind = api.WatchEventTypeDELETED
			last := *c.Before
			last.Revision = c.Revision
			item = &last
		}
		object, err := f.server.appendItem(ctx, nil, f.query.kind, item, f.drained)
		if err != nil {
			return nil, err
		}
		seen = append(seen, sight{kind, object})
	}
	return seen, nil
}
