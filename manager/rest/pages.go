package rest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/manager/cache"
	"github.com/cyphonic/cyphonic/manager/store"
)

// listPage answers with a page of a list: the first of now, the others of the
// revision of the first.
func (s *Server) listPage(ctx context.Context, q query, p listParams) (*answer, error) {
	b := &pageBuilder{server: s, query: q, limit: maxPageItems}
	if p.Limit > 0 {
		b.limit = min(p.Limit, maxPageItems)
	}
	if p.Continue == "" {
		return s.firstPage(ctx, b)
	}
	at, err := parsePage(q.scope(), p.Continue)
	if err != nil {
		return nil, err
	}
	if view, ok := s.viewAt(q.kind.Plural, at.revision); ok {
		b.ascend(view, at.after)
		s.metrics.pages.WithLabelValues("cache").Inc()
		return b.answer(ctx, at)
	}
	if err := b.read(ctx, at); err != nil {
		return nil, err
	}
	s.metrics.pages.WithLabelValues("store").Inc()
	return b.answer(ctx, at)
}

func (s *Server) firstPage(ctx context.Context, b *pageBuilder) (*answer, error) {
	view, note, err := s.current(ctx, b.query.kind.Plural)
	if err != nil {
		return nil, err
	}
	at := page{revision: view.Revision(), total: unknownTotal}
	if !b.query.selective() {
		at.total = int64(view.Len())
	}
	if at.revision <= 0 {
		return nil, fmt.Errorf("list %s: the cache has no revision: %w", b.query.kind.Plural, store.ErrUnavailable)
	}
	b.ascend(view, "")
	if b.more {
		s.cache.Pin(view)
	}
	s.metrics.pages.WithLabelValues("cache").Inc()
	a, err := b.answer(ctx, at)
	if err != nil {
		return nil, err
	}
	note(a)
	return a, nil
}

// current returns the resources of a kind as they are now. If the store does not
// answer it is as they last were, and note says so on the answer.
func (s *Server) current(ctx context.Context, plural string) (view cache.View, note func(*answer), err error) {
	away, err := s.outage.ask(ctx, s.cache.Fresh)
	if err != nil {
		return cache.View{}, nil, err
	}
	note = func(*answer) {}
	if away {
		if note, err = s.staleNote(); err != nil {
			return cache.View{}, nil, err
		}
	}
	return s.cache.View(plural), note, nil
}

// staleNote returns what an answer out of the cache has to say while the store
// does not answer. It fails if the cache was never filled.
func (s *Server) staleNote() (func(*answer), error) {
	header, err := s.staleHeader()
	if err != nil {
		return nil, err
	}
	return func(a *answer) {
		for name := range header {
			a.note(name, header.Get(name))
		}
	}, nil
}

func (s *Server) staleHeader() (http.Header, error) {
	select {
	case <-s.cache.Ready():
	default:
		return nil, fmt.Errorf("read from the cache: it was never filled: %w", store.ErrUnavailable)
	}
	s.metrics.stale.Inc()
	since := s.cache.CurrentAt().UTC().Format(time.RFC3339)
	return http.Header{
		"Warning":              {`110 - "the database is not reachable; this is the state of ` + since + `"`},
		"Cyphonic-Stale-Since": {since},
	}, nil
}

// viewAt finds the resources of a kind at a revision in memory. The first page
// may have been answered by another replica.
func (s *Server) viewAt(plural string, revision int64) (cache.View, bool) {
	if view := s.cache.View(plural); view.Revision() == revision {
		return view, true
	}
	if view, ok := s.cache.Pinned(plural, revision); ok {
		return view, true
	}
	view, ok := s.cache.At(plural, revision)
	if ok {
		s.cache.Pin(view)
	}
	return view, ok
}

// pageBuilder collects the resources of a page.
type pageBuilder struct {
	server *Server
	query  query
	limit  int

	items  []*cache.Item
	bytes  int
	looked int
	last   string // the last name that was looked at
	more   bool   // there is something after it
}

// add looks at the next resource unless the page is full.
func (b *pageBuilder) add(item *cache.Item) bool {
	if len(b.items) >= b.limit || b.bytes >= maxPageBytes || b.looked >= maxPageScan {
		b.more = true
		return false
	}
	b.looked++
	b.last = item.Name
	if b.query.matches(item) {
		b.items = append(b.items, item)
		b.bytes += len(item.Value)
	}
	return true
}

// ascend fills the page from the cache. A list of what one adapter carries does
// not look at the others, a list of one name at no other.
func (b *pageBuilder) ascend(view cache.View, after string) {
	adapter := b.query.adapter
	if adapter == "" && b.query.kind.Name == "GeneralNode" {
		adapter = b.query.demanded("spec.adapter")
	}
	name := b.query.demanded("metadata.name")
	switch {
	case name != "":
		if item, ok := view.Get(name); ok && name > after {
			b.add(item)
		}
	case adapter != "":
		view.CarriedBy(adapter, after, b.add)
	default:
		view.Ascend(after, b.add)
	}
}

// read fills the page from the store, at the revision of the page.
func (b *pageBuilder) read(ctx context.Context, at page) error {
	prefix := keyspace.ResourcePrefix(b.query.kind.Plural)
	after := prefix + at.after
	for {
		chunk := min(storeChunk, maxPageRead-b.looked)
		if chunk <= 0 {
			b.more = true
			return nil
		}
		if !b.query.selective() { // everything that is read is shown, and one more says whether there is more
			chunk = min(chunk, b.limit-len(b.items)+1)
		}
		l, err := b.server.store.List(ctx, prefix, store.ListOptions{Revision: at.revision, Limit: chunk, After: after})
		if err != nil {
			return err
		}
		for _, e := range l.Entries {
			item, err := itemOf(e)
			if err != nil {
				return err
			}
			if !b.add(item) {
				return nil
			}
			after = e.Key
		}
		if !l.More || len(l.Entries) == 0 {
			return nil
		}
	}
}

// itemOf reads of a stored resource what lists select by.
func itemOf(e store.Entry) (*cache.Item, error) {
	_, name, ok := keyspace.ParseResource(e.Key)
	var head struct {
		Metadata struct {
			Labels map[string]string `json:"labels"`
		} `json:"metadata"`
		Spec struct {
			Network string `json:"network"`
			Adapter string `json:"adapter"`
		} `json:"spec"`
		Status struct {
			Phase string `json:"phase"`
		} `json:"status"`
	}
	if err := json.Unmarshal(e.Value, &head); err != nil || !ok {
		return nil, fmt.Errorf("decode %s: %w", e.Key, errors.Join(err))
	}
	return &cache.Item{
		Name: name, Value: e.Value, Revision: e.Revision, CreateRevision: e.CreateRevision,
		Labels: head.Metadata.Labels, Network: head.Spec.Network, Adapter: head.Spec.Adapter, Phase: head.Status.Phase,
	}, nil
}

// answer writes the page that begins at a place.
func (b *pageBuilder) answer(ctx context.Context, at page) (*answer, error) {
	var next *page
	if b.more {
		next = &page{revision: at.revision, after: b.last, sent: at.sent + int64(len(b.items)), total: at.total}
	}
	meta, err := json.Marshal(at.meta(b.query.scope(), len(b.items), next))
	if err != nil {
		return nil, fmt.Errorf("encode a list: %w", err)
	}
	drained := b.query.adapter != "" && b.server.drained(b.query.adapter)
	body := make([]byte, 0, b.bytes+len(b.items)*64+len(meta)+256)
	body = append(body, `{"apiVersion":"`+api.Version+`","kind":"`+b.query.kind.Name+`List","metadata":`...)
	body = append(body, meta...)
	body = append(body, `,"items":[`...)
	for i, item := range b.items {
		if i > 0 {
			body = append(body, ',')
		}
		if body, err = b.server.appendItem(ctx, body, b.query.kind, item, drained); err != nil {
			return nil, err
		}
	}
	body = append(body, "]}\n"...)
	b.server.metrics.scanned.Add(float64(b.looked))
	return &answer{status: http.StatusOK, contentType: "application/json", body: body}, nil
}

// drained says whether an adapter shall treat all its general nodes as disabled.
func (s *Server) drained(adapter string) bool {
	item, ok := s.cache.View(keyspace.Adapters).Get(adapter)
	return ok && isDrained(item)
}

func isDrained(item *cache.Item) bool {
	if item == nil || !bytes.Contains(item.Value, []byte(`"drained"`)) { // spares decoding the many that are not
		return false
	}
	var a api.Adapter
	return json.Unmarshal(item.Value, &a) == nil && a.Spec.Drained
}
