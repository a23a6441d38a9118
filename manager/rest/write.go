package rest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/google/uuid"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/manager/store"
)

// errChanged says that something that a write depends on has changed since it
// was planned: plan again.
var errChanged = errors.New("changed in the meantime")

// retry plans a write again while others are faster.
func retry(f func() (*answer, error)) (*answer, error) {
	for range maxRounds {
		a, err := f()
		if !errors.Is(err, errChanged) {
			return a, err
		}
	}
	return nil, refuse(http.StatusConflict, typeConflict, "others keep changing what this request depends on; repeat it")
}

// create answers POST.
func (s *Server) create(ctx context.Context, plural string, body api.Object) (*answer, error) {
	kind := kindOf(plural)
	if err := checkBody(body); err != nil {
		return nil, err
	}
	if body.Meta().ResourceVersion != "" {
		return nil, refuseField(http.StatusBadRequest, typeInvalid, "/metadata/resourceVersion", "a resource that is to be created has no resourceVersion; leave it out, or use PUT")
	}
	return retry(func() (*answer, error) {
		_, err := s.load(ctx, kind, body.Meta().Name)
		if err == nil {
			return nil, refuse(http.StatusConflict, typeExists, "%s %q exists; use PUT (cyphonicctl apply) to change it", kind.Name, body.Meta().Name)
		}
		if !errors.Is(err, store.ErrNotFound) {
			return nil, err
		}
		return s.createOnce(ctx, kind, body)
	})
}

func (s *Server) createOnce(ctx context.Context, kind api.Kind, body api.Object) (*answer, error) {
	o, err := clone(kind, body)
	if err != nil {
		return nil, err
	}
	now := s.now().UTC()
	meta := o.Meta()
	meta.Uid, meta.Generation, meta.ResourceVersion = uuid.NewString(), 1, ""
	meta.CreationTimestamp, meta.UpdateTimestamp = now, now
	o.SetStatus(kind.New())
	revision, secret, err := s.commit(ctx, change{kind: kind, new: o})
	if err != nil {
		return nil, err
	}
	meta.ResourceVersion = formatRevision(revision)
	if err := s.observed(ctx, o); err != nil {
		return nil, err
	}
	if token, ok := o.(*api.EnrollmentToken); ok {
		token.Status.Token = secret
	}
	return answerObject(http.StatusCreated, o)
}

// apply answers PUT: create or update.
func (s *Server) apply(ctx context.Context, plural, name, ifMatch string, body api.Object) (*answer, error) {
	kind := kindOf(plural)
	if err := checkBody(body); err != nil {
		return nil, err
	}
	if body.Meta().Name != name {
		return nil, refuseField(http.StatusBadRequest, typeInvalid, "/metadata/name", "is %q, but the path says %q", body.Meta().Name, name)
	}
	return retry(func() (*answer, error) {
		old, err := s.load(ctx, kind, name)
		if errors.Is(err, store.ErrNotFound) {
			if err := checkAbsent(kind, body, ifMatch); err != nil {
				return nil, err
			}
			return s.createOnce(ctx, kind, body)
		}
		if err != nil {
			return nil, err
		}
		return s.update(ctx, kind, old, body, ifMatch)
	})
}

func (s *Server) update(ctx context.Context, kind api.Kind, old stored, body api.Object, ifMatch string) (*answer, error) {
	if err := checkPreconditions(old, body.Meta(), ifMatch); err != nil {
		return nil, err
	}
	if faults := api.CheckUpdate(old.object, body); len(faults) > 0 {
		return nil, invalid(faults)
	}
	o, err := clone(kind, body)
	if err != nil {
		return nil, err
	}
	sameSpec, sameMeta := sameJSON(old.object.SpecPart(), o.SpecPart()), sameMaps(old.object.Meta(), o.Meta())
	if sameSpec && sameMeta {
		if err := s.observed(ctx, old.object); err != nil {
			return nil, err
		}
		return answerObject(http.StatusOK, old.object)
	}
	labels, annotations := o.Meta().Labels, o.Meta().Annotations
	*o.Meta() = *old.object.Meta()
	meta := o.Meta()
	meta.Labels, meta.Annotations, meta.UpdateTimestamp = labels, annotations, s.now().UTC()
	if !sameSpec {
		meta.Generation++
	}
	o.SetStatus(old.object)
	revision, _, err := s.commit(ctx, change{kind: kind, old: old.object, new: o, revision: old.revision})
	if err != nil {
		return nil, err
	}
	meta.ResourceVersion = formatRevision(revision)
	if err := s.observed(ctx, o); err != nil {
		return nil, err
	}
	return answerObject(http.StatusOK, o)
}

// delete answers DELETE with the resource as it was.
func (s *Server) delete(ctx context.Context, plural, name, ifMatch string) (*answer, error) {
	kind := kindOf(plural)
	return retry(func() (*answer, error) {
		old, err := s.loadOrProblem(ctx, kind, name)
		if err != nil {
			return nil, err
		}
		if err := checkPreconditions(old, &api.ObjectMeta{}, ifMatch); err != nil {
			return nil, err
		}
		if err := s.observed(ctx, old.object); err != nil {
			return nil, err
		}
		if _, _, err := s.commit(ctx, change{kind: kind, old: old.object, revision: old.revision}); err != nil {
			return nil, err
		}
		return answerObject(http.StatusOK, old.object)
	})
}

// putStatus answers PUT …/status. Specification, labels and generation stay.
func (s *Server) putStatus(ctx context.Context, plural, name, ifMatch string, body api.Object, match filter) (*answer, error) {
	kind := kindOf(plural)
	if n := body.Meta().Name; n != "" && n != name {
		return nil, refuseField(http.StatusBadRequest, typeInvalid, "/metadata/name", "is %q, but the path says %q", n, name)
	}
	return retry(func() (*answer, error) {
		old, err := s.loadOrProblem(ctx, kind, name)
		if err != nil {
			return nil, err
		}
		if !match(old.object) {
			return nil, notFound(kind, name)
		}
		if err := checkPreconditions(old, body.Meta(), ifMatch); err != nil {
			return nil, err
		}
		o, err := clone(kind, old.object)
		if err != nil {
			return nil, err
		}
		o.SetStatus(body)
		keepOwnStatus(old.object, o)
		if faults := o.Validate(); len(faults) > 0 {
			return nil, invalid(faults)
		}
		if !sameJSON(old.object.StatusPart(), o.StatusPart()) {
			value, err := encodeEntry(o)
			if err != nil {
				return nil, err
			}
			revision, err := s.store.Update(ctx, keyspace.Resource(plural, name), value, old.revision)
			if errors.Is(err, store.ErrConflict) || errors.Is(err, store.ErrNotFound) {
				return nil, errChanged
			}
			if err != nil {
				return nil, err
			}
			o.Meta().ResourceVersion = formatRevision(revision)
		}
		if err := s.observed(ctx, o); err != nil {
			return nil, err
		}
		return answerObject(http.StatusOK, o)
	})
}

// checkBody defaults and validates a body by itself.
func checkBody(body api.Object) error {
	body.Default()
	return body.Validate().Err()
}

// checkAbsent refuses a conditional request for a resource that does not exist.
func checkAbsent(kind api.Kind, body api.Object, ifMatch string) error {
	name := body.Meta().Name
	switch {
	case ifMatch != "":
		return refuse(http.StatusPreconditionFailed, typeConflict, "If-Match is %s, but there is no %s named %q", ifMatch, kind.Name, name)
	case body.Meta().ResourceVersion != "":
		return refuseField(http.StatusConflict, typeConflict, "/metadata/resourceVersion", "there is no %s named %q any more; leave resourceVersion out to create it", kind.Name, name)
	}
	return nil
}

// checkPreconditions compares what the client believes with what is stored.
func checkPreconditions(old stored, given *api.ObjectMeta, ifMatch string) error {
	current := old.object.Meta()
	if ifMatch != "" && !etagMatches(ifMatch, current.ResourceVersion) {
		return refuse(http.StatusPreconditionFailed, typeConflict, "If-Match is %s, but the resource is at \"%s\"; read it again", ifMatch, current.ResourceVersion)
	}
	if v := given.ResourceVersion; v != "" && v != current.ResourceVersion {
		return refuseField(http.StatusConflict, typeConflict, "/metadata/resourceVersion", "is %q, but the resource is at %q; read it again", v, current.ResourceVersion)
	}
	if u := given.Uid; u != "" && u != current.Uid {
		return refuseField(http.StatusConflict, typeConflict, "/metadata/uid", "is %q, but the resource of this name is %q", u, current.Uid)
	}
	return nil
}

// etagMatches compares as RFC 9110 section 13.1.1 says: a list of strong tags.
func etagMatches(ifMatch, version string) bool {
	for tag := range strings.SplitSeq(ifMatch, ",") {
		if tag = strings.TrimSpace(tag); tag == "*" || tag == `"`+version+`"` {
			return true
		}
	}
	return false
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

func sameJSON(a, b any) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}

func sameMaps(a, b *api.ObjectMeta) bool {
	return sameJSON(api.ObjectMeta{Labels: a.Labels, Annotations: a.Annotations}, api.ObjectMeta{Labels: b.Labels, Annotations: b.Annotations})
}
