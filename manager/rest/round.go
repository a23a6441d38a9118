package rest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/manager/store"
)

// errChanged says that something that a write depends on has changed since it
// was planned, or may have: plan again from what the store says.
var errChanged = errors.New("changed in the meantime")

// round is one attempt of a write. The first looks resources up in the cache,
// which costs nothing: that they are still so is a condition of the
// transaction. What is refused, or left as it is, because of something that
// was in the cache is tried again with what the store says.
type round struct {
	server *Server
	fresh  bool // read from the store only
	cached bool // something was read from the cache
}

// attempts plans a write until nothing that it depends on changes meanwhile.
func (s *Server) attempts(f func(r *round) (*answer, error)) (*answer, error) {
	r := &round{server: s, fresh: !s.cacheReady()}
	for range maxRounds {
		a, err := f(r)
		again := errors.Is(err, errChanged) || (err != nil && r.cached && !errors.Is(err, store.ErrUnavailable))
		if !again {
			return a, err
		}
		r = &round{server: s, fresh: true}
	}
	return nil, refuse(http.StatusConflict, typeConflict, "others keep changing what this request depends on; repeat it")
}

// cacheReady says whether writes may begin with what the cache shows.
func (s *Server) cacheReady() bool {
	if s.rehearsal || s.cache == nil {
		return false
	}
	select {
	case <-s.cache.Ready():
		return true
	default:
		return false
	}
}

// load reads a resource; the error is store.ErrNotFound if there is none.
func (r *round) load(ctx context.Context, kind api.Kind, name string) (stored, error) {
	if r.fresh {
		return r.server.load(ctx, kind, name)
	}
	r.cached = true
	item, ok := r.server.cache.View(kind.Plural).Get(name)
	if !ok {
		return stored{}, store.ErrNotFound
	}
	return decodeEntry(kind, store.Entry{Key: keyspace.Resource(kind.Plural, name), Value: item.Value, Revision: item.Revision})
}

// kindNamed is the kind of an object.
func kindNamed(o api.Object) api.Kind {
	kind, _ := api.KindNamed(o.KindName())
	return kind
}

// clone copies a resource deeply.
func clone(kind api.Kind, o api.Object) (api.Object, error) {
	b, err := json.Marshal(o)
	if err != nil {
		return nil, fmt.Errorf("copy %s: %w", kind.Name, err)
	}
	c := kind.New()
	if err := json.Unmarshal(b, c); err != nil {
		return nil, fmt.Errorf("copy %s: %w", kind.Name, err)
	}
	return c, nil
}

// tree is a resource as decoded JSON.
func tree(o api.Object) (map[string]any, error) {
	b, err := json.Marshal(o)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", o.KindName(), err)
	}
	return parseTree(b)
}

func parseTree(b []byte) (map[string]any, error) {
	var out map[string]any
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	if err := d.Decode(&out); err != nil {
		return nil, fmt.Errorf("decode a resource: %w", err)
	}
	return out, nil
}

func sameJSON(a, b any) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}

// sameWritable compares the metadata that clients decide about.
func sameWritable(a, b *api.ObjectMeta) bool {
	return slices.Equal(a.Finalizers, b.Finalizers) &&
		sameJSON(api.ObjectMeta{Labels: a.Labels, Annotations: a.Annotations}, api.ObjectMeta{Labels: b.Labels, Annotations: b.Annotations})
}
