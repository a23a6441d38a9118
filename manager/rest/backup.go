package rest

import (
	"context"
	"net/http"
)

// GetBackup is to be written.
func (s *Server) GetBackup(_ context.Context, _ GetBackupRequestObject) (GetBackupResponseObject, error) {
	return nil, refuse(http.StatusNotImplemented, typeBlank, "not built yet")
}

// VisitGetBackupResponse writes the answer.
func (a *answer) VisitGetBackupResponse(w http.ResponseWriter) error { return a.write(w) }

// CreateRestore is to be written.
func (s *Server) CreateRestore(_ context.Context, _ CreateRestoreRequestObject) (CreateRestoreResponseObject, error) {
	return nil, refuse(http.StatusNotImplemented, typeBlank, "not built yet")
}

// VisitCreateRestoreResponse writes the answer.
func (a *answer) VisitCreateRestoreResponse(w http.ResponseWriter) error { return a.write(w) }
