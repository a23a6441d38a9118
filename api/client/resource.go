package client

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"

	"github.com/cyphonic/cyphonic/api"
)

// WriteOptions are those of Create, Replace, Patch and Apply; the zero value asks for nothing special.
type WriteOptions struct {
	IfMatch      string // resourceVersion that the resource must have, else status 412; "*": it must exist. Not for Create
	DryRun       bool   // do everything but write, and answer as if it had been written
	FieldManager string // who decides about the fields of the body; "": the subject of the request. Apply needs it
	Force        bool   // take over fields that others decide about. Only for Apply
}

// DeleteOptions are those of Delete.
type DeleteOptions struct {
	IfMatch string // as in WriteOptions
	DryRun  bool
	Cascade bool // delete what refers to the resource first
}

// Get reads one resource.
func (c *Client) Get(ctx context.Context, kind api.Kind, name string) (api.Object, error) {
	object, _, err := c.object(ctx, kind, func(of operations, server string) (*http.Request, error) { return of.get(server, name) })
	return object, err
}

// Create makes a resource that does not exist; status 409 if it does. For an EnrollmentToken or APIToken the answer has the secret. The request carries an
// Idempotency-Key of its own, so that it is made at most once however often it has to be sent.
func (c *Client) Create(ctx context.Context, o api.Object, w WriteOptions) (api.Object, error) {
	kind, body, err := encode(o)
	if err != nil {
		return nil, err
	}
	params := createParams{DryRun: dryRun(w.DryRun), FieldManager: w.FieldManager, IdempotencyKey: newKey()}
	object, _, err := c.object(ctx, kind, func(of operations, server string) (*http.Request, error) {
		return of.create(server, &params, bytes.NewReader(body))
	})
	return object, err
}

// Replace creates a resource or makes its specification, labels and annotations those of o, and tells which of the two happened.
func (c *Client) Replace(ctx context.Context, o api.Object, w WriteOptions) (replaced api.Object, created bool, err error) {
	kind, body, err := encode(o)
	if err != nil {
		return nil, false, err
	}
	params := replaceParams{DryRun: dryRun(w.DryRun), FieldManager: w.FieldManager, IfMatch: entityTag(w.IfMatch)}
	object, status, err := c.object(ctx, kind, func(of operations, server string) (*http.Request, error) {
		return of.replace(server, o.Meta().Name, &params, bytes.NewReader(body))
	})
	return object, status == http.StatusCreated, err
}

// Patch merges a JSON object into a resource (RFC 7386): null removes a field.
func (c *Client) Patch(ctx context.Context, kind api.Kind, name string, patch []byte, w WriteOptions) (api.Object, error) {
	object, _, err := c.patch(ctx, kind, name, mergeType, patch, w)
	return object, err
}

// Apply says which fields the field manager decides about: all those that the document has, a JSON object with apiVersion and kind. They become what it says; fields
// that it had before and has no longer are removed. A resource that does not exist is created. A field about which another manager decides otherwise is a conflict
// (see IsFieldConflict) unless w.Force takes it over.
func (c *Client) Apply(ctx context.Context, kind api.Kind, name string, document []byte, w WriteOptions) (applied api.Object, created bool, err error) {
	object, status, err := c.patch(ctx, kind, name, applyType, document, w)
	return object, status == http.StatusCreated, err
}

func (c *Client) patch(ctx context.Context, kind api.Kind, name, contentType string, body []byte, w WriteOptions) (api.Object, int, error) {
	params := patchParams{DryRun: dryRun(w.DryRun), FieldManager: w.FieldManager, Force: w.Force, IfMatch: entityTag(w.IfMatch)}
	return c.object(ctx, kind, func(of operations, server string) (*http.Request, error) {
		return of.patch(server, name, &params, contentType, bytes.NewReader(body))
	})
}

// Delete removes a resource and returns it as it was. One with finalizers stays, with a deletionTimestamp, until they are done.
func (c *Client) Delete(ctx context.Context, kind api.Kind, name string, d DeleteOptions) (api.Object, error) {
	params := deleteParams{DryRun: dryRun(d.DryRun), Cascade: d.Cascade, IfMatch: entityTag(d.IfMatch)}
	object, _, err := c.object(ctx, kind, func(of operations, server string) (*http.Request, error) { return of.remove(server, name, &params) })
	return object, err
}

// GetStatus reads one resource through its status path.
func (c *Client) GetStatus(ctx context.Context, kind api.Kind, name string) (api.Object, error) {
	object, _, err := c.object(ctx, kind, func(of operations, server string) (*http.Request, error) { return of.getStatus(server, name) })
	return object, err
}

// PutStatus writes the status of o; a metadata.resourceVersion makes it conditional.
func (c *Client) PutStatus(ctx context.Context, o api.Object) (api.Object, error) {
	kind, body, err := encode(o)
	if err != nil {
		return nil, err
	}
	object, _, err := c.object(ctx, kind, func(of operations, server string) (*http.Request, error) {
		return of.putStatus(server, o.Meta().Name, &statusParams{}, bytes.NewReader(body))
	})
	return object, err
}

// object does an operation of a kind that answers with the resource.
func (c *Client) object(ctx context.Context, kind api.Kind, build func(of operations, server string) (*http.Request, error)) (api.Object, int, error) {
	of := operationsOf(kind.Name)
	if of.get == nil {
		return nil, 0, fmt.Errorf("there are no operations for the kind %q", kind.Name)
	}
	return c.decoded(ctx, kind, func(server string) (*http.Request, error) { return given(build(of, server)) })
}

func (c *Client) decoded(ctx context.Context, kind api.Kind, build request) (object api.Object, status int, err error) {
	err = c.do(ctx, idempotent, build, func(response *http.Response) error {
		object, status = kind.New(), response.StatusCode
		return decode(response.Body, maxObject, object)
	})
	if err != nil {
		return nil, 0, err
	}
	return object, status, nil
}

// decode reads an answer; fields that this version does not know are passed over.
func decode(body io.Reader, limit int64, into any) error {
	data, err := readBounded(body, limit)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("the answer is not what was asked for: %w", err)
	}
	return nil
}

func encode(o api.Object) (api.Kind, []byte, error) {
	kind, ok := api.KindNamed(o.KindName())
	if !ok {
		return api.Kind{}, nil, fmt.Errorf("unknown kind %q", o.KindName())
	}
	data, err := json.Marshal(o)
	return kind, data, err
}

func dryRun(wanted bool) string {
	if wanted {
		return "All"
	}
	return ""
}

func entityTag(resourceVersion string) string {
	if resourceVersion == "" || resourceVersion == "*" {
		return resourceVersion
	}
	return `"` + resourceVersion + `"`
}

// newKey is an Idempotency-Key.
func newKey() string { return rand.Text() }
