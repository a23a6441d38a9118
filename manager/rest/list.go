package rest

import (
	"context"
	"net/http"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/manager/access"
	"github.com/cyphonic/cyphonic/manager/cache"
)

// query is which resources a list or a watch shows.
type query struct {
	kind    api.Kind
	adapter string // if it is not empty: the general nodes of this adapter, as it shall treat them
	labels  api.LabelSelector
	fields  api.FieldSelector
	text    string // of the selectors
	visible func(*cache.Item) bool
	rights  string // what of it may be seen, as when the watch began
	// phase is status.phase where it is worked out on reading; nil: as stored.
	phase func(*cache.Item) string
}

// list answers with the resources of a kind, or with a stream of their changes.
func (s *Server) list(ctx context.Context, plural string, p listParams) (*answer, error) {
	return s.answerQuery(ctx, query{kind: kindOf(plural)}, p)
}

// listCarried answers with the general nodes of an adapter.
func (s *Server) listCarried(ctx context.Context, adapter string, p listParams) (*answer, error) {
	return s.answerQuery(ctx, query{kind: kindOf(keyspace.GeneralNodes), adapter: adapter}, p)
}

func (s *Server) answerQuery(ctx context.Context, q query, p listParams) (*answer, error) {
	if err := q.parse(p); err != nil {
		return nil, err
	}
	q.phase = s.phaseOf(ctx, q.kind)
	if err := s.admit(ctx, &q, p.Watch); err != nil {
		return nil, err
	}
	switch {
	case p.Watch && (p.Continue != "" || p.Limit != 0):
		return nil, refuse(http.StatusBadRequest, typeInvalid, "limit and continue are for lists; a watch goes on from resourceVersion")
	case p.Watch && q.kind.ReadOnly:
		return s.watchStored(ctx, q, p.ResourceVersion)
	case p.Watch:
		return s.watch(ctx, q, p.ResourceVersion)
	case p.ResourceVersion != "":
		return nil, refuse(http.StatusBadRequest, typeInvalid, "resourceVersion is possible with watch=true only; a list is of now, and its next pages of the revision of the first")
	case q.kind.ReadOnly:
		return s.listStored(ctx, q, p)
	default:
		return s.listPage(ctx, q, p)
	}
}

// parse reads the selectors.
func (q *query) parse(p listParams) error {
	labels, faults := api.ParseLabelSelector(p.LabelSelector)
	fields, more := api.ParseFieldSelector(q.kind.Name, p.FieldSelector)
	if faults = append(faults, more...); len(faults) > 0 {
		out := refuse(http.StatusBadRequest, typeInvalid, "the selector is not valid: %s", faults[0].String())
		out.errors = faults[:min(len(faults), maxErrorDetails)]
		return out
	}
	q.labels, q.fields, q.text = labels, fields, p.LabelSelector+"\x00"+p.FieldSelector
	return nil
}

// admit asks what of the kind the subject of the request may see.
func (s *Server) admit(ctx context.Context, q *query, watch bool) error {
	verb := access.List
	if watch {
		verb = access.Watch
	}
	q.rights = s.scopeOf(principalOf(ctx), q)
	if q.adapter != "" {
		q.visible = func(*cache.Item) bool { return true } // the path was authorised
		return nil
	}
	visible, err := s.visible(ctx, verb, q.kind.Name)
	q.visible = visible
	return err
}

// scope names the list that a continue token belongs to.
func (q query) scope() string { return q.kind.Plural + "\x00" + q.adapter + "\x00" + q.text }

// selective says that the list may leave out resources of its kind.
func (q query) selective() bool {
	return q.adapter != "" || len(q.labels) > 0 || len(q.fields) > 0 || q.visible != nil
}

// matches says whether a resource is in the list; nil is in none.
func (q *query) matches(item *cache.Item) bool {
	if item == nil || (q.adapter != "" && item.Adapter != q.adapter) || !q.labels.Matches(item.Labels) {
		return false
	}
	for _, r := range q.fields { // as api.FieldSelector.Matches does, without a closure for each item
		if (q.fieldOf(item, r.Field) == r.Value) == r.Not {
			return false
		}
	}
	return q.visible == nil || q.visible(item)
}

func (q *query) fieldOf(item *cache.Item, name string) string {
	switch name {
	case "metadata.name":
		return item.Name
	case "spec.network":
		return item.Network
	case "spec.adapter":
		return item.Adapter
	case "status.phase":
		if q.phase != nil {
			return q.phase(item)
		}
		return item.Phase
	}
	return ""
}

// demanded is the value that the selector demands of a field; empty: none.
func (q *query) demanded(field string) string {
	for _, r := range q.fields {
		if r.Field == field && !r.Not {
			return r.Value
		}
	}
	return ""
}

// phaseOf works out the phase of a token, which may have expired meanwhile.
func (s *Server) phaseOf(ctx context.Context, kind api.Kind) func(*cache.Item) string {
	if !computed(kind) {
		return nil
	}
	return func(item *cache.Item) string {
		o, err := s.objectOf(ctx, kind, item)
		if err != nil {
			return item.Phase
		}
		return api.FieldOf(o, "status.phase")
	}
}
