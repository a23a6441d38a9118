package rest

import (
	"context"
	"net/http"

	"github.com/cyphonic/cyphonic/internal/keyspace"
)

// readyz answers whether requests can be served: the store answers, the key that
// opens access tokens is there, the cache is filled, and the server is not about
// to end.
func (s *Server) readyz(ctx context.Context) (*answer, error) {
	if s.drain.leaving.Load() {
		return nil, refuse(http.StatusServiceUnavailable, typeUnavailable, "this manager is shutting down; ask another one")
	}
	n, err := s.store.Count(ctx, keyspace.KeyPrefix(keyspace.PurposeAccess))
	if err != nil {
		return nil, err
	}
	if n == 0 {
		return nil, refuse(http.StatusServiceUnavailable, typeUnavailable, "the database has no access key yet; the manager creates it when it can write: try again, and look at its logs if this lasts")
	}
	select {
	case <-s.cache.Ready():
	default:
		return nil, refuse(http.StatusServiceUnavailable, typeUnavailable, "the cache is being filled from the database; try again, and look at the logs if this lasts")
	}
	return answerText(http.StatusOK, "ok\n"), nil
}

// specification answers with the OpenAPI document.
func (s *Server) specification(ctx context.Context) (*answer, error) {
	text, err := s.description()
	if err != nil {
		return nil, err
	}
	return text.answer(ctx), nil
}
