package rest

import (
	"context"
	"errors"
	"net/http"
	"os"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/manager/backup"
	"github.com/cyphonic/cyphonic/manager/schema"
)

// GetBackup streams everything, encrypted. A failure on the way cuts the
// answer off: what the client has then is no backup, and it is told so.
func (s *Server) GetBackup(ctx context.Context, r GetBackupRequestObject) (GetBackupResponseObject, error) {
	recipients, err := backup.ParseRecipients(r.Params.Recipient)
	if err != nil {
		return nil, refuse(http.StatusBadRequest, typeInvalid, "%s", err)
	}
	return &answer{stream: func(w http.ResponseWriter) error {
		w.Header().Set("Content-Type", "application/octet-stream")
		w.WriteHeader(http.StatusOK)
		report, err := backup.Write(ctx, s.store, w, recipients, s.now())
		if err != nil {
			s.log.Error("backup was cut off", "requestId", requestIDOf(ctx), "err", err)
			panic(http.ErrAbortHandler)
		}
		s.log.Info("backup written", "requestId", requestIDOf(ctx), "keys", report.Keys, "resources", report.Resources, "revision", report.Revision)
		return nil
	}}, nil
}

// VisitGetBackupResponse writes the answer.
func (a *answer) VisitGetBackupResponse(w http.ResponseWriter) error { return a.write(w) }

// CreateRestore fills the store from a decrypted backup.
func (s *Server) CreateRestore(ctx context.Context, r CreateRestoreRequestObject) (CreateRestoreResponseObject, error) {
	if r.Body == nil {
		return nil, refuse(http.StatusUnsupportedMediaType, typeBlank, "the body must be application/octet-stream: a decrypted backup")
	}
	report, err := backup.Restore(ctx, r.Body, backup.Options{
		Options: schema.Options{Store: s.store, Holder: "restore " + requestIDOf(ctx), Rand: s.rand, Now: s.now, Log: s.log},
		Replace: r.Params.Replace,
	})
	var tooLarge *http.MaxBytesError
	switch {
	case errors.Is(err, backup.ErrFormat):
		return nil, refuse(http.StatusBadRequest, typeInvalid, "%s", err)
	case errors.Is(err, backup.ErrNotEmpty), errors.Is(err, backup.ErrBusy), errors.Is(err, schema.ErrNewer):
		return nil, refuse(http.StatusConflict, typeConflict, "%s", err)
	case errors.As(err, &tooLarge), errors.Is(err, os.ErrDeadlineExceeded):
		return nil, unread(err)
	case err != nil:
		return nil, err
	}
	s.log.Warn("backup restored", "requestId", requestIDOf(ctx), "keys", report.Keys, "resources", report.Resources, "revision", report.Revision)
	return answerJSON(api.RestoreReport{Keys: report.Keys, Resources: report.Resources, Skipped: report.Skipped, Revision: report.Revision, Schema: schema.Version})
}

// VisitCreateRestoreResponse writes the answer.
func (a *answer) VisitCreateRestoreResponse(w http.ResponseWriter) error { return a.write(w) }
