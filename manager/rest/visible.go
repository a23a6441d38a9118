package rest

import (
	"context"
	"encoding/json"
	"sync/atomic"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/manager/access"
	"github.com/cyphonic/cyphonic/manager/cache"
)

// visible decides which resources of a kind a list or a watch shows; nil shows
// all. What it says follows the rights of the subject while a watch lasts: a
// right that is taken away ends at once.
func (s *Server) visible(ctx context.Context, verb access.Verb, kind string) (func(*cache.Item) bool, error) {
	who := principalOf(ctx)
	if who.Everything() {
		return nil, nil
	}
	if err := s.permitKind(ctx, verb, kind); err != nil {
		return nil, err
	}
	sight := s.sight(who, verb, kind)
	if everywhere, _ := s.access.Networks(who, verb, kind); everywhere && verb != access.Watch {
		return nil, nil
	}
	return sight, nil
}

// held is an answer about networks with the version of the rights that it is of.
type held struct {
	version    uint64
	everywhere bool
	in         func(network string) bool
}

// sight is visible for one principal. It asks for the rights anew when they may
// have changed.
func (s *Server) sight(who access.Principal, verb access.Verb, kind string) func(*cache.Item) bool {
	var last atomic.Pointer[held]
	return func(item *cache.Item) bool {
		h := last.Load()
		if version := s.access.Version(); h == nil || h.version != version {
			everywhere, in := s.access.Networks(who, verb, kind)
			h = &held{version: version, everywhere: everywhere, in: in}
			last.Store(h)
		}
		return h.everywhere || h.in(s.networkOf(kind, item))
	}
}

// networkOf is access.NetworkOf for what the cache holds, which is decoded only
// where its fields do not say it.
func (s *Server) networkOf(kind string, item *cache.Item) string {
	switch kind {
	case "Network":
		return item.Name
	case "EnrollmentToken":
		var token api.EnrollmentToken
		if err := json.Unmarshal(item.Value, &token); err != nil {
			return ""
		}
		plural := map[api.SubjectKind]string{"Node": keyspace.Nodes, "Adapter": keyspace.Adapters}[token.Spec.SubjectKind]
		subject, ok := s.cache.View(plural).Get(token.Spec.SubjectName)
		if !ok {
			return ""
		}
		return subject.Network
	}
	return item.Network
}
