package rest

import (
	"context"
	"net/http"

	"github.com/cyphonic/cyphonic/manager/reference"
)

// GetReference shows the specification as a page.
func (s *Server) GetReference(ctx context.Context, _ GetReferenceRequestObject) (GetReferenceResponseObject, error) {
	page, err := s.reference()
	if err != nil {
		return nil, err
	}
	return page.answer(ctx), nil
}

func renderReference(d *document) (*fixed, error) {
	page, err := reference.Render(d.parsed, problemTypes())
	if err != nil {
		return nil, err
	}
	return newFixed("text/html; charset=utf-8", page.HTML, http.Header{
		"Content-Security-Policy": {page.Policy}, "Referrer-Policy": {"no-referrer"},
	})
}

// VisitGetReferenceResponse writes the answer.
func (a *answer) VisitGetReferenceResponse(w http.ResponseWriter) error { return a.write(w) }

// problemTypes are the types of problems for the reference page.
func problemTypes() []reference.Problem {
	return []reference.Problem{
		{Type: typeBlank, Statuses: "any", Meaning: "The status says it all; detail has the rest."},
		{Type: typeInvalid, Statuses: "400", Meaning: "The body or a parameter is not valid; errors names the fields of the body."},
		{Type: typeExists, Statuses: "409", Meaning: "A resource of this name exists."},
		{Type: typeConflict, Statuses: "409, 412", Meaning: "The resource changed since it was read: read it again."},
		{Type: typeFieldConflict, Statuses: "409", Meaning: "Another field manager decides about the fields in errors: leave them out, agree with it, or apply with force=true."},
		{Type: typeDeleting, Statuses: "409", Meaning: "The resource is being deleted: it only waits for its finalizers."},
		{Type: typeIdempotencyMismatch, Statuses: "422", Meaning: "The Idempotency-Key was used with another request: use another key."},
		{Type: typeReferenced, Statuses: "409", Meaning: "Others refer to the resource: change or delete these first, or delete with cascade=true."},
		{Type: typeTaken, Statuses: "409", Meaning: "An address, a name or a MAC address belongs to another device of the network."},
		{Type: typePrefixFull, Statuses: "409", Meaning: "The prefix of the network has no free address."},
		{Type: typeMetricsBase, Statuses: "409", Meaning: "This manager does not have the push that the metrics build on: push everything."},
		{Type: typeCompacted, Statuses: "410", Meaning: "The revision is no longer kept: list again."},
		{Type: typeUnavailable, Statuses: "503", Meaning: "The database does not answer: repeat the request after Retry-After."},
	}
}
