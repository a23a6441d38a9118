package rest

import (
	"context"
	"net/http"

	"github.com/cyphonic/cyphonic/internal/keyspace"
)

// readyz answers whether requests can be served: the store answers and the
// key that opens access tokens is there.
func (s *Server) readyz(ctx context.Context) (*answer, error) {
	n, err := s.store.Count(ctx, keyspace.KeyPrefix(keyspace.PurposeAccess))
	if err != nil {
		return nil, err
	}
	if n == 0 {
		return nil, refuse(http.StatusServiceUnavailable, typeUnavailable, "the database has no access key yet; the manager creates it when it can write: try again, and look at its logs if this lasts")
	}
	return answerText(http.StatusOK, "ok\n"), nil
}

// specification answers with the OpenAPI document.
func (s *Server) specification() (*answer, error) {
	return &answer{status: http.StatusOK, contentType: "application/json", body: s.spec}, nil
}
