package rest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/manager/access"
	"github.com/cyphonic/cyphonic/manager/fields"
	"github.com/cyphonic/cyphonic/manager/store"
)

// patch answers PATCH.
func (s *Server) patch(ctx context.Context, plural, name string, body patchBody, p writeParams) (*answer, error) {
	if p.DryRun != "" {
		return s.trial(ctx, p, func(s *Server, p writeParams) (*answer, error) { return s.patch(ctx, plural, name, body, p) })
	}
	in := s.intentOf(ctx, plural, name, access.Patch, p)
	switch {
	case body.Apply != nil:
		return s.apply(ctx, in, *body.Apply)
	case body.Merge != nil:
		return s.merge(ctx, in, *body.Merge)
	}
	return nil, refuse(http.StatusUnsupportedMediaType, typeBlank, "the body must be application/merge-patch+json or application/apply-patch+json")
}

// merge merges a patch into the resource as clients see it (RFC 7386); then it
// goes the way of PUT.
func (s *Server) merge(ctx context.Context, in intent, patch json.RawMessage) (*answer, error) {
	in.keepSystem = false // the patch was made of all finalizers
	changes, err := patchTree(patch)
	if err != nil {
		return nil, err
	}
	return s.attempts(func(r *round) (*answer, error) {
		old, err := r.load(ctx, in.kind, in.name)
		if err != nil {
			return nil, orNotFound(err, in.kind, in.name)
		}
		if err := s.permit(ctx, access.Patch, old.object); err != nil {
			return nil, err
		}
		target, err := tree(old.object)
		if err != nil {
			return nil, err
		}
		body, err := s.bodyOf(in, mergePatch(target, changes))
		if err != nil {
			return nil, err
		}
		return s.update(ctx, r, in, old, body)
	})
}

// mergePatch is the algorithm of RFC 7386 section 2 for a patch that is an
// object. It changes target.
func mergePatch(target, patch map[string]any) map[string]any {
	if target == nil {
		target = map[string]any{}
	}
	for name, value := range patch {
		switch v := value.(type) {
		case nil:
			delete(target, name)
		case map[string]any:
			inner, _ := target[name].(map[string]any)
			target[name] = mergePatch(inner, v)
		default:
			target[name] = v
		}
	}
	return target
}

// apply makes the fields of config what it says, on behalf of a field manager,
// and creates the resource if there is none.
func (s *Server) apply(ctx context.Context, in intent, config json.RawMessage) (*answer, error) {
	if in.FieldManager == "" {
		return nil, refuse(http.StatusBadRequest, typeInvalid, "query parameter \"fieldManager\" is missing: apply needs the name of who decides about the fields")
	}
	want, given, err := s.opinion(in, config)
	if err != nil {
		return nil, err
	}
	return s.attempts(func(r *round) (*answer, error) {
		old, err := r.load(ctx, in.kind, in.name)
		if errors.Is(err, store.ErrNotFound) {
			return s.applyNew(ctx, r, in, want, given)
		}
		if err != nil {
			return nil, err
		}
		return s.applyTo(ctx, r, in, old, want, given)
	})
}

// opinion is what a field manager wants: the fields that it lists with their
// canonical values, and the resource that it sent.
func (s *Server) opinion(in intent, config json.RawMessage) (want map[string]any, given api.Object, err error) {
	raw, err := patchTree(config)
	if err != nil {
		return nil, nil, err
	}
	given = in.kind.New()
	if err := api.Decode(config, given); err != nil {
		return nil, nil, err
	}
	if raw["apiVersion"] != api.Version || raw["kind"] != in.kind.Name {
		return nil, nil, refuseField(http.StatusBadRequest, typeInvalid, "/kind", "an applied resource says what it is: it must have apiVersion %s and kind %s", api.Version, in.kind.Name)
	}
	if given.Meta().Name != in.name {
		return nil, nil, refuseField(http.StatusBadRequest, typeInvalid, "/metadata/name", "is %q, but the path says %q", given.Meta().Name, in.name)
	}
	given.Default()
	decoded, err := tree(given)
	if err != nil {
		return nil, nil, err
	}
	return fields.Canonical(raw, decoded), given, nil
}

func (s *Server) applyNew(ctx context.Context, r *round, in intent, want map[string]any, given api.Object) (*answer, error) {
	merged, owned, _ := fields.Apply(nil, want, nil, in.manager, in.Force, s.now().UTC())
	body, err := s.bodyOf(in, merged)
	if err != nil {
		return nil, err
	}
	body.Meta().ResourceVersion = given.Meta().ResourceVersion
	in.owned = orEmpty(owned)
	return s.createAbsent(ctx, r, in, body)
}

func (s *Server) applyTo(ctx context.Context, r *round, in intent, old stored, want map[string]any, given api.Object) (*answer, error) {
	if err := s.permit(ctx, access.Patch, old.object); err != nil {
		return nil, err
	}
	live, err := tree(old.object)
	if err != nil {
		return nil, err
	}
	merged, owned, conflicts := fields.Apply(live, want, old.object.Meta().ManagedFields, in.manager, in.Force, s.now().UTC())
	if len(conflicts) > 0 && !in.Force {
		return nil, fieldConflict(in, conflicts)
	}
	body, err := s.bodyOf(in, merged)
	if err != nil {
		return nil, err
	}
	body.Meta().ResourceVersion, body.Meta().Uid = given.Meta().ResourceVersion, given.Meta().Uid
	in.owned = orEmpty(owned)
	return s.update(ctx, r, in, old, body)
}

// orEmpty makes an account that is known to be empty differ from none.
func orEmpty(owned []api.ManagedFields) []api.ManagedFields {
	if owned == nil {
		return []api.ManagedFields{}
	}
	return owned
}

// fieldConflict names the fields that others decide about.
func fieldConflict(in intent, conflicts []fields.Conflict) *problem {
	first := conflicts[0]
	p := refuse(http.StatusConflict, typeFieldConflict, "%s of %s %q is decided by %q", first.Pointer, in.kind.Name, in.name, first.Owner)
	if n := len(conflicts); n > 1 {
		p.detail += fmt.Sprintf(" (and %d more conflicts, see errors)", n-1)
	}
	p.detail += "; leave the field out, agree on its value, or take it over with force=true"
	for _, c := range conflicts[:min(len(conflicts), maxErrorDetails)] {
		p.errors = append(p.errors, api.FieldError{Pointer: c.Pointer, Owner: c.Owner, Detail: fmt.Sprintf("is decided by %q with another value", c.Owner)})
	}
	return p
}

// patchTree decodes a body of PATCH.
func patchTree(body json.RawMessage) (map[string]any, error) {
	var null json.RawMessage
	if err := api.Decode(body, &null); err != nil { // keys given twice, depth
		return nil, err
	}
	out, err := parseTree(body)
	if err != nil || out == nil {
		return nil, refuse(http.StatusBadRequest, typeInvalid, "the body must be a JSON object: a part of a resource")
	}
	return out, nil
}

// bodyOf decodes, defaults and validates a resource that was put together.
func (s *Server) bodyOf(in intent, o map[string]any) (api.Object, error) {
	o["apiVersion"] = valueOr(o["apiVersion"], api.Version)
	o["kind"] = valueOr(o["kind"], in.kind.Name)
	metadata, ok := o["metadata"].(map[string]any)
	if !ok && o["metadata"] == nil {
		metadata = map[string]any{}
		o["metadata"] = metadata
	}
	if metadata != nil {
		metadata["name"] = valueOr(metadata["name"], in.name)
	}
	text, err := json.Marshal(o)
	if err != nil {
		return nil, fmt.Errorf("encode a patched resource: %w", err)
	}
	if len(text) > maxBodyBytes {
		return nil, refuse(http.StatusRequestEntityTooLarge, typeBlank, "the resource would be larger than %d bytes", maxBodyBytes)
	}
	body := in.kind.New()
	if err := api.Decode(text, body); err != nil {
		return nil, err
	}
	if err := checkBody(body); err != nil {
		return nil, err
	}
	if body.Meta().Name != in.name {
		return nil, refuseField(http.StatusBadRequest, typeInvalid, "/metadata/name", "is %q, but the path says %q; a resource cannot be renamed", body.Meta().Name, in.name)
	}
	return body, nil
}

func valueOr(value, otherwise any) any {
	if value == nil {
		return otherwise
	}
	return value
}
