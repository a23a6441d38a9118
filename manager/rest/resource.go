package rest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/manager/access"
	"github.com/cyphonic/cyphonic/manager/store"
)

// filter selects resources. A resource outside of it is as good as absent.
type filter func(o api.Object) bool

func everything(api.Object) bool { return true }

// carriedBy selects the general nodes of an adapter.
func carriedBy(adapter string) filter {
	return func(o api.Object) bool {
		g, ok := o.(*api.GeneralNode)
		return ok && g.Spec.Adapter == adapter
	}
}

// stored is a resource with the revision that last wrote it.
type stored struct {
	object   api.Object
	revision int64
}

// kindOf returns the kind of a plural, which is a constant of keyspace.
func kindOf(plural string) api.Kind {
	k, ok := api.KindOfPlural(plural)
	if !ok { // a fault of the program: operations.go names a kind that does not exist
		panic("no kind has the plural " + plural)
	}
	return k
}

// decodeEntry reads a resource as the store holds it. A newer manager may have
// written fields that this one does not know.
func decodeEntry(kind api.Kind, e store.Entry) (stored, error) {
	o := kind.New()
	if err := json.Unmarshal(e.Value, o); err != nil {
		return stored{}, fmt.Errorf("decode %s: %w", e.Key, err)
	}
	o.Meta().ResourceVersion = formatRevision(e.Revision)
	return stored{object: o, revision: e.Revision}, nil
}

// encodeEntry is the form in which the store holds a resource: the revision is
// the store's, and the secret of a token is nobody's.
func encodeEntry(o api.Object) ([]byte, error) {
	version := o.Meta().ResourceVersion
	o.Meta().ResourceVersion = ""
	b, err := json.Marshal(o)
	o.Meta().ResourceVersion = version
	if err != nil {
		return nil, fmt.Errorf("encode %s %s: %w", o.KindName(), o.Meta().Name, err)
	}
	return b, nil
}

func formatRevision(revision int64) string { return strconv.FormatInt(revision, 10) }

// load reads one resource; it returns store.ErrNotFound if there is none.
func (s *Server) load(ctx context.Context, kind api.Kind, name string) (stored, error) {
	e, err := s.store.Get(ctx, keyspace.Resource(kind.Plural, name))
	if err != nil {
		return stored{}, err
	}
	return decodeEntry(kind, e)
}

// loadOrProblem is load with a 404 for the client.
func (s *Server) loadOrProblem(ctx context.Context, kind api.Kind, name string) (stored, error) {
	got, err := s.load(ctx, kind, name)
	if errors.Is(err, store.ErrNotFound) {
		return stored{}, notFound(kind, name)
	}
	return got, err
}

func notFound(kind api.Kind, name string) *problem {
	return refuse(http.StatusNotFound, typeBlank, "there is no %s named %q", kind.Name, name)
}

// get answers with one resource, as it is in the store now, or, if the store
// does not answer, as it last was.
func (s *Server) get(ctx context.Context, plural, name string) (*answer, error) {
	kind := kindOf(plural)
	if kind.ReadOnly {
		return s.getStored(ctx, kind, name)
	}
	var got stored
	away, err := s.outage.ask(ctx, func(ctx context.Context) (err error) {
		if got, err = s.load(ctx, kind, name); err == nil && kind.Name == "Network" {
			err = s.cache.Fresh(ctx) // which counts its addresses
		}
		return err
	})
	if away {
		return s.getStale(ctx, kind, name)
	}
	if err != nil {
		return nil, s.hidden(ctx, kind, name, err)
	}
	if err := s.permit(ctx, access.Get, got.object); err != nil {
		return nil, err
	}
	if err := s.observed(ctx, got.object); err != nil {
		return nil, err
	}
	return answerObject(http.StatusOK, got.object)
}

// getStale is get from the cache. Also that something is not there, or may not
// be seen, is said of the past only.
func (s *Server) getStale(ctx context.Context, kind api.Kind, name string) (*answer, error) {
	header, err := s.staleHeader()
	if err != nil {
		return nil, err
	}
	a, err := s.getCached(ctx, kind, name)
	if err != nil {
		var p *problem
		if errors.As(err, &p) {
			p.header = header
		}
		return nil, err
	}
	for field := range header {
		a.note(field, header.Get(field))
	}
	return a, nil
}

func (s *Server) getCached(ctx context.Context, kind api.Kind, name string) (*answer, error) {
	item, ok := s.cache.View(kind.Plural).Get(name)
	if !ok {
		return nil, s.hidden(ctx, kind, name, store.ErrNotFound)
	}
	o, err := s.objectOf(ctx, kind, item)
	if err != nil {
		return nil, err
	}
	if err := s.permit(ctx, access.Get, o); err != nil {
		return nil, err
	}
	return answerObject(http.StatusOK, o)
}

// observed fills in the parts of the status that are not stored, because they
// follow from other keys or from the time.
func (s *Server) observed(_ context.Context, o api.Object) error {
	switch o := o.(type) {
	case *api.Network:
		o.Status.Ipv4Allocated, o.Status.Ipv6Allocated = s.cache.AllocatedAddresses(o.Metadata.Name)
	case *api.EnrollmentToken:
		s.expire(o)
	case *api.APIToken:
		s.expireAPIToken(o)
	}
	return nil
}
