package rest

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/internal/keyspace"
)

// The operations that are alike for all kinds are in operations.gen.go.
var _ StrictServerInterface = (*Server)(nil)

// listParams are the parameters of a list or a watch; those of all kinds are alike.
type listParams api.ListNodesParams

// writeParams are the parameters of operations that write. Which of them an operation has is in the specification.
type writeParams struct {
	IfMatch, DryRun, FieldManager, IdempotencyKey string
	Force, Cascade                                bool
}

// patchBody is the body of PATCH: one of the two.
type patchBody struct{ Merge, Apply *json.RawMessage }

// ListAdapterGeneralNodes lists or watches what an adapter carries.
func (s *Server) ListAdapterGeneralNodes(ctx context.Context, r ListAdapterGeneralNodesRequestObject) (ListAdapterGeneralNodesResponseObject, error) {
	p := r.Params
	return s.listCarried(ctx, r.Name, listParams{Limit: p.Limit, Continue: p.Continue, Watch: p.Watch, ResourceVersion: p.ResourceVersion})
}

// VisitListAdapterGeneralNodesResponse writes the answer.
func (a *answer) VisitListAdapterGeneralNodesResponse(w http.ResponseWriter) error { return a.write(w) }

// PutAdapterGeneralNodeStatus takes what an adapter reports.
func (s *Server) PutAdapterGeneralNodeStatus(ctx context.Context, r PutAdapterGeneralNodeStatusRequestObject) (PutAdapterGeneralNodeStatusResponseObject, error) {
	return s.putStatus(ctx, keyspace.GeneralNodes, r.GeneralNode, r.Body, carriedBy(r.Name), writeParams{})
}

// VisitPutAdapterGeneralNodeStatusResponse writes the answer.
func (a *answer) VisitPutAdapterGeneralNodeStatusResponse(w http.ResponseWriter) error {
	return a.write(w)
}

// GetLivez says that the process answers.
func (s *Server) GetLivez(_ context.Context, _ GetLivezRequestObject) (GetLivezResponseObject, error) {
	return answerText(http.StatusOK, "ok\n"), nil
}

// VisitGetLivezResponse writes the answer.
func (a *answer) VisitGetLivezResponse(w http.ResponseWriter) error { return a.write(w) }

// GetReadyz says whether requests can be served.
func (s *Server) GetReadyz(ctx context.Context, _ GetReadyzRequestObject) (GetReadyzResponseObject, error) {
	return s.readyz(ctx)
}

// VisitGetReadyzResponse writes the answer.
func (a *answer) VisitGetReadyzResponse(w http.ResponseWriter) error { return a.write(w) }

// GetMetrics shows the metrics of this manager.
func (s *Server) GetMetrics(_ context.Context, _ GetMetricsRequestObject) (GetMetricsResponseObject, error) {
	return s.metricsPage()
}

// VisitGetMetricsResponse writes the answer.
func (a *answer) VisitGetMetricsResponse(w http.ResponseWriter) error { return a.write(w) }

// GetOpenAPI shows the specification.
func (s *Server) GetOpenAPI(ctx context.Context, _ GetOpenAPIRequestObject) (GetOpenAPIResponseObject, error) {
	return s.specification(ctx)
}

// VisitGetOpenAPIResponse writes the answer.
func (a *answer) VisitGetOpenAPIResponse(w http.ResponseWriter) error { return a.write(w) }
