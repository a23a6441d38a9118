package rest

import (
	"context"
	"net/http"

	"github.com/cyphonic/cyphonic/internal/keyspace"
)

var _ StrictServerInterface = (*Server)(nil)

// Network

func (s *Server) ListNetworks(ctx context.Context, r ListNetworksRequestObject) (ListNetworksResponseObject, error) {
	return s.list(ctx, keyspace.Networks, everything, r.Params.Watch, r.Params.ResourceVersion)
}
func (a *answer) VisitListNetworksResponse(w http.ResponseWriter) error { return a.write(w) }

func (s *Server) CreateNetwork(ctx context.Context, r CreateNetworkRequestObject) (CreateNetworkResponseObject, error) {
	return s.create(ctx, keyspace.Networks, r.Body)
}
func (a *answer) VisitCreateNetworkResponse(w http.ResponseWriter) error { return a.write(w) }

func (s *Server) GetNetwork(ctx context.Context, r GetNetworkRequestObject) (GetNetworkResponseObject, error) {
	return s.get(ctx, keyspace.Networks, r.Name)
}
func (a *answer) VisitGetNetworkResponse(w http.ResponseWriter) error { return a.write(w) }

func (s *Server) ApplyNetwork(ctx context.Context, r ApplyNetworkRequestObject) (ApplyNetworkResponseObject, error) {
	return s.apply(ctx, keyspace.Networks, r.Name, r.Params.IfMatch, r.Body)
}
func (a *answer) VisitApplyNetworkResponse(w http.ResponseWriter) error { return a.write(w) }

func (s *Server) DeleteNetwork(ctx context.Context, r DeleteNetworkRequestObject) (DeleteNetworkResponseObject, error) {
	return s.delete(ctx, keyspace.Networks, r.Name, r.Params.IfMatch)
}
func (a *answer) VisitDeleteNetworkResponse(w http.ResponseWriter) error { return a.write(w) }

func (s *Server) GetNetworkStatus(ctx context.Context, r GetNetworkStatusRequestObject) (GetNetworkStatusResponseObject, error) {
	return s.get(ctx, keyspace.Networks, r.Name)
}
func (a *answer) VisitGetNetworkStatusResponse(w http.ResponseWriter) error { return a.write(w) }

func (s *Server) PutNetworkStatus(ctx context.Context, r PutNetworkStatusRequestObject) (PutNetworkStatusResponseObject, error) {
	return s.putStatus(ctx, keyspace.Networks, r.Name, r.Params.IfMatch, r.Body, everything)
}
func (a *answer) VisitPutNetworkStatusResponse(w http.ResponseWriter) error { return a.write(w) }

// Node

func (s *Server) ListNodes(ctx context.Context, r ListNodesRequestObject) (ListNodesResponseObject, error) {
	return s.list(ctx, keyspace.Nodes, everything, r.Params.Watch, r.Params.ResourceVersion)
}
func (a *answer) VisitListNodesResponse(w http.ResponseWriter) error { return a.write(w) }

func (s *Server) CreateNode(ctx context.Context, r CreateNodeRequestObject) (CreateNodeResponseObject, error) {
	return s.create(ctx, keyspace.Nodes, r.Body)
}
func (a *answer) VisitCreateNodeResponse(w http.ResponseWriter) error { return a.write(w) }

func (s *Server) GetNode(ctx context.Context, r GetNodeRequestObject) (GetNodeResponseObject, error) {
	return s.get(ctx, keyspace.Nodes, r.Name)
}
func (a *answer) VisitGetNodeResponse(w http.ResponseWriter) error { return a.write(w) }

func (s *Server) ApplyNode(ctx context.Context, r ApplyNodeRequestObject) (ApplyNodeResponseObject, error) {
	return s.apply(ctx, keyspace.Nodes, r.Name, r.Params.IfMatch, r.Body)
}
func (a *answer) VisitApplyNodeResponse(w http.ResponseWriter) error { return a.write(w) }

func (s *Server) DeleteNode(ctx context.Context, r DeleteNodeRequestObject) (DeleteNodeResponseObject, error) {
	return s.delete(ctx, keyspace.Nodes, r.Name, r.Params.IfMatch)
}
func (a *answer) VisitDeleteNodeResponse(w http.ResponseWriter) error { return a.write(w) }

func (s *Server) GetNodeStatus(ctx context.Context, r GetNodeStatusRequestObject) (GetNodeStatusResponseObject, error) {
	return s.get(ctx, keyspace.Nodes, r.Name)
}
func (a *answer) VisitGetNodeStatusResponse(w http.ResponseWriter) error { return a.write(w) }

func (s *Server) PutNodeStatus(ctx context.Context, r PutNodeStatusRequestObject) (PutNodeStatusResponseObject, error) {
	return s.putStatus(ctx, keyspace.Nodes, r.Name, r.Params.IfMatch, r.Body, everything)
}
func (a *answer) VisitPutNodeStatusResponse(w http.ResponseWriter) error { return a.write(w) }

// Adapter

func (s *Server) ListAdapters(ctx context.Context, r ListAdaptersRequestObject) (ListAdaptersResponseObject, error) {
	return s.list(ctx, keyspace.Adapters, everything, r.Params.Watch, r.Params.ResourceVersion)
}
func (a *answer) VisitListAdaptersResponse(w http.ResponseWriter) error { return a.write(w) }

func (s *Server) CreateAdapter(ctx context.Context, r CreateAdapterRequestObject) (CreateAdapterResponseObject, error) {
	return s.create(ctx, keyspace.Adapters, r.Body)
}
func (a *answer) VisitCreateAdapterResponse(w http.ResponseWriter) error { return a.write(w) }

func (s *Server) GetAdapter(ctx context.Context, r GetAdapterRequestObject) (GetAdapterResponseObject, error) {
	return s.get(ctx, keyspace.Adapters, r.Name)
}
func (a *answer) VisitGetAdapterResponse(w http.ResponseWriter) error { return a.write(w) }

func (s *Server) ApplyAdapter(ctx context.Context, r ApplyAdapterRequestObject) (ApplyAdapterResponseObject, error) {
	return s.apply(ctx, keyspace.Adapters, r.Name, r.Params.IfMatch, r.Body)
}
func (a *answer) VisitApplyAdapterResponse(w http.ResponseWriter) error { return a.write(w) }

func (s *Server) DeleteAdapter(ctx context.Context, r DeleteAdapterRequestObject) (DeleteAdapterResponseObject, error) {
	return s.delete(ctx, keyspace.Adapters, r.Name, r.Params.IfMatch)
}
func (a *answer) VisitDeleteAdapterResponse(w http.ResponseWriter) error { return a.write(w) }

func (s *Server) GetAdapterStatus(ctx context.Context, r GetAdapterStatusRequestObject) (GetAdapterStatusResponseObject, error) {
	return s.get(ctx, keyspace.Adapters, r.Name)
}
func (a *answer) VisitGetAdapterStatusResponse(w http.ResponseWriter) error { return a.write(w) }

func (s *Server) PutAdapterStatus(ctx context.Context, r PutAdapterStatusRequestObject) (PutAdapterStatusResponseObject, error) {
	return s.putStatus(ctx, keyspace.Adapters, r.Name, r.Params.IfMatch, r.Body, everything)
}
func (a *answer) VisitPutAdapterStatusResponse(w http.ResponseWriter) error { return a.write(w) }

// GeneralNode

func (s *Server) ListGeneralNodes(ctx context.Context, r ListGeneralNodesRequestObject) (ListGeneralNodesResponseObject, error) {
	return s.list(ctx, keyspace.GeneralNodes, everything, r.Params.Watch, r.Params.ResourceVersion)
}
func (a *answer) VisitListGeneralNodesResponse(w http.ResponseWriter) error { return a.write(w) }

func (s *Server) CreateGeneralNode(ctx context.Context, r CreateGeneralNodeRequestObject) (CreateGeneralNodeResponseObject, error) {
	return s.create(ctx, keyspace.GeneralNodes, r.Body)
}
func (a *answer) VisitCreateGeneralNodeResponse(w http.ResponseWriter) error { return a.write(w) }

func (s *Server) GetGeneralNode(ctx context.Context, r GetGeneralNodeRequestObject) (GetGeneralNodeResponseObject, error) {
	return s.get(ctx, keyspace.GeneralNodes, r.Name)
}
func (a *answer) VisitGetGeneralNodeResponse(w http.ResponseWriter) error { return a.write(w) }

func (s *Server) ApplyGeneralNode(ctx context.Context, r ApplyGeneralNodeRequestObject) (ApplyGeneralNodeResponseObject, error) {
	return s.apply(ctx, keyspace.GeneralNodes, r.Name, r.Params.IfMatch, r.Body)
}
func (a *answer) VisitApplyGeneralNodeResponse(w http.ResponseWriter) error { return a.write(w) }

func (s *Server) DeleteGeneralNode(ctx context.Context, r DeleteGeneralNodeRequestObject) (DeleteGeneralNodeResponseObject, error) {
	return s.delete(ctx, keyspace.GeneralNodes, r.Name, r.Params.IfMatch)
}
func (a *answer) VisitDeleteGeneralNodeResponse(w http.ResponseWriter) error { return a.write(w) }

func (s *Server) GetGeneralNodeStatus(ctx context.Context, r GetGeneralNodeStatusRequestObject) (GetGeneralNodeStatusResponseObject, error) {
	return s.get(ctx, keyspace.GeneralNodes, r.Name)
}

func (a *answer) VisitGetGeneralNodeStatusResponse(w http.ResponseWriter) error { return a.write(w) }

func (s *Server) PutGeneralNodeStatus(ctx context.Context, r PutGeneralNodeStatusRequestObject) (PutGeneralNodeStatusResponseObject, error) {
	return s.putStatus(ctx, keyspace.GeneralNodes, r.Name, r.Params.IfMatch, r.Body, everything)
}

func (a *answer) VisitPutGeneralNodeStatusResponse(w http.ResponseWriter) error { return a.write(w) }

// AccessPolicy

func (s *Server) ListAccessPolicies(ctx context.Context, r ListAccessPoliciesRequestObject) (ListAccessPoliciesResponseObject, error) {
	return s.list(ctx, keyspace.AccessPolicies, everything, r.Params.Watch, r.Params.ResourceVersion)
}
func (a *answer) VisitListAccessPoliciesResponse(w http.ResponseWriter) error { return a.write(w) }

func (s *Server) CreateAccessPolicy(ctx context.Context, r CreateAccessPolicyRequestObject) (CreateAccessPolicyResponseObject, error) {
	return s.create(ctx, keyspace.AccessPolicies, r.Body)
}
func (a *answer) VisitCreateAccessPolicyResponse(w http.ResponseWriter) error { return a.write(w) }

func (s *Server) GetAccessPolicy(ctx context.Context, r GetAccessPolicyRequestObject) (GetAccessPolicyResponseObject, error) {
	return s.get(ctx, keyspace.AccessPolicies, r.Name)
}
func (a *answer) VisitGetAccessPolicyResponse(w http.ResponseWriter) error { return a.write(w) }

func (s *Server) ApplyAccessPolicy(ctx context.Context, r ApplyAccessPolicyRequestObject) (ApplyAccessPolicyResponseObject, error) {
	return s.apply(ctx, keyspace.AccessPolicies, r.Name, r.Params.IfMatch, r.Body)
}
func (a *answer) VisitApplyAccessPolicyResponse(w http.ResponseWriter) error { return a.write(w) }

func (s *Server) DeleteAccessPolicy(ctx context.Context, r DeleteAccessPolicyRequestObject) (DeleteAccessPolicyResponseObject, error) {
	return s.delete(ctx, keyspace.AccessPolicies, r.Name, r.Params.IfMatch)
}
func (a *answer) VisitDeleteAccessPolicyResponse(w http.ResponseWriter) error { return a.write(w) }

func (s *Server) GetAccessPolicyStatus(ctx context.Context, r GetAccessPolicyStatusRequestObject) (GetAccessPolicyStatusResponseObject, error) {
	return s.get(ctx, keyspace.AccessPolicies, r.Name)
}

func (a *answer) VisitGetAccessPolicyStatusResponse(w http.ResponseWriter) error { return a.write(w) }

func (s *Server) PutAccessPolicyStatus(ctx context.Context, r PutAccessPolicyStatusRequestObject) (PutAccessPolicyStatusResponseObject, error) {
	return s.putStatus(ctx, keyspace.AccessPolicies, r.Name, r.Params.IfMatch, r.Body, everything)
}

func (a *answer) VisitPutAccessPolicyStatusResponse(w http.ResponseWriter) error { return a.write(w) }

// CloudService

func (s *Server) ListCloudServices(ctx context.Context, r ListCloudServicesRequestObject) (ListCloudServicesResponseObject, error) {
	return s.list(ctx, keyspace.CloudServices, everything, r.Params.Watch, r.Params.ResourceVersion)
}
func (a *answer) VisitListCloudServicesResponse(w http.ResponseWriter) error { return a.write(w) }

func (s *Server) CreateCloudService(ctx context.Context, r CreateCloudServiceRequestObject) (CreateCloudServiceResponseObject, error) {
	return s.create(ctx, keyspace.CloudServices, r.Body)
}
func (a *answer) VisitCreateCloudServiceResponse(w http.ResponseWriter) error { return a.write(w) }

func (s *Server) GetCloudService(ctx context.Context, r GetCloudServiceRequestObject) (GetCloudServiceResponseObject, error) {
	return s.get(ctx, keyspace.CloudServices, r.Name)
}
func (a *answer) VisitGetCloudServiceResponse(w http.ResponseWriter) error { return a.write(w) }

func (s *Server) ApplyCloudService(ctx context.Context, r ApplyCloudServiceRequestObject) (ApplyCloudServiceResponseObject, error) {
	return s.apply(ctx, keyspace.CloudServices, r.Name, r.Params.IfMatch, r.Body)
}
func (a *answer) VisitApplyCloudServiceResponse(w http.ResponseWriter) error { return a.write(w) }

func (s *Server) DeleteCloudService(ctx context.Context, r DeleteCloudServiceRequestObject) (DeleteCloudServiceResponseObject, error) {
	return s.delete(ctx, keyspace.CloudServices, r.Name, r.Params.IfMatch)
}
func (a *answer) VisitDeleteCloudServiceResponse(w http.ResponseWriter) error { return a.write(w) }

func (s *Server) GetCloudServiceStatus(ctx context.Context, r GetCloudServiceStatusRequestObject) (GetCloudServiceStatusResponseObject, error) {
	return s.get(ctx, keyspace.CloudServices, r.Name)
}

func (a *answer) VisitGetCloudServiceStatusResponse(w http.ResponseWriter) error { return a.write(w) }

func (s *Server) PutCloudServiceStatus(ctx context.Context, r PutCloudServiceStatusRequestObject) (PutCloudServiceStatusResponseObject, error) {
	return s.putStatus(ctx, keyspace.CloudServices, r.Name, r.Params.IfMatch, r.Body, everything)
}

func (a *answer) VisitPutCloudServiceStatusResponse(w http.ResponseWriter) error { return a.write(w) }

// EnrollmentToken

func (s *Server) ListEnrollmentTokens(ctx context.Context, r ListEnrollmentTokensRequestObject) (ListEnrollmentTokensResponseObject, error) {
	return s.list(ctx, keyspace.EnrollmentTokens, everything, r.Params.Watch, r.Params.ResourceVersion)
}

func (a *answer) VisitListEnrollmentTokensResponse(w http.ResponseWriter) error { return a.write(w) }

func (s *Server) CreateEnrollmentToken(ctx context.Context, r CreateEnrollmentTokenRequestObject) (CreateEnrollmentTokenResponseObject, error) {
	return s.create(ctx, keyspace.EnrollmentTokens, r.Body)
}

func (a *answer) VisitCreateEnrollmentTokenResponse(w http.ResponseWriter) error { return a.write(w) }

func (s *Server) GetEnrollmentToken(ctx context.Context, r GetEnrollmentTokenRequestObject) (GetEnrollmentTokenResponseObject, error) {
	return s.get(ctx, keyspace.EnrollmentTokens, r.Name)
}
func (a *answer) VisitGetEnrollmentTokenResponse(w http.ResponseWriter) error { return a.write(w) }

func (s *Server) ApplyEnrollmentToken(ctx context.Context, r ApplyEnrollmentTokenRequestObject) (ApplyEnrollmentTokenResponseObject, error) {
	return s.apply(ctx, keyspace.EnrollmentTokens, r.Name, r.Params.IfMatch, r.Body)
}

func (a *answer) VisitApplyEnrollmentTokenResponse(w http.ResponseWriter) error { return a.write(w) }

func (s *Server) DeleteEnrollmentToken(ctx context.Context, r DeleteEnrollmentTokenRequestObject) (DeleteEnrollmentTokenResponseObject, error) {
	return s.delete(ctx, keyspace.EnrollmentTokens, r.Name, r.Params.IfMatch)
}

func (a *answer) VisitDeleteEnrollmentTokenResponse(w http.ResponseWriter) error { return a.write(w) }

func (s *Server) GetEnrollmentTokenStatus(ctx context.Context, r GetEnrollmentTokenStatusRequestObject) (GetEnrollmentTokenStatusResponseObject, error) {
	return s.get(ctx, keyspace.EnrollmentTokens, r.Name)
}

func (a *answer) VisitGetEnrollmentTokenStatusResponse(w http.ResponseWriter) error {
	return a.write(w)
}

func (s *Server) PutEnrollmentTokenStatus(ctx context.Context, r PutEnrollmentTokenStatusRequestObject) (PutEnrollmentTokenStatusResponseObject, error) {
	return s.putStatus(ctx, keyspace.EnrollmentTokens, r.Name, r.Params.IfMatch, r.Body, everything)
}

func (a *answer) VisitPutEnrollmentTokenStatusResponse(w http.ResponseWriter) error {
	return a.write(w)
}

// What an adapter does for itself

func (s *Server) ListAdapterGeneralNodes(ctx context.Context, r ListAdapterGeneralNodesRequestObject) (ListAdapterGeneralNodesResponseObject, error) {
	return s.list(ctx, keyspace.GeneralNodes, carriedBy(r.Name), r.Params.Watch, r.Params.ResourceVersion)
}

func (a *answer) VisitListAdapterGeneralNodesResponse(w http.ResponseWriter) error { return a.write(w) }

func (s *Server) PutAdapterGeneralNodeStatus(ctx context.Context, r PutAdapterGeneralNodeStatusRequestObject) (PutAdapterGeneralNodeStatusResponseObject, error) {
	return s.putStatus(ctx, keyspace.GeneralNodes, r.GeneralNode, "", r.Body, carriedBy(r.Name))
}

func (a *answer) VisitPutAdapterGeneralNodeStatusResponse(w http.ResponseWriter) error {
	return a.write(w)
}

// The system

func (s *Server) GetLivez(_ context.Context, _ GetLivezRequestObject) (GetLivezResponseObject, error) {
	return answerText(http.StatusOK, "ok\n"), nil
}
func (a *answer) VisitGetLivezResponse(w http.ResponseWriter) error { return a.write(w) }

func (s *Server) GetReadyz(ctx context.Context, _ GetReadyzRequestObject) (GetReadyzResponseObject, error) {
	return s.readyz(ctx)
}
func (a *answer) VisitGetReadyzResponse(w http.ResponseWriter) error { return a.write(w) }

func (s *Server) GetMetrics(_ context.Context, _ GetMetricsRequestObject) (GetMetricsResponseObject, error) {
	return s.metricsPage()
}
func (a *answer) VisitGetMetricsResponse(w http.ResponseWriter) error { return a.write(w) }

func (s *Server) GetOpenAPI(_ context.Context, _ GetOpenAPIRequestObject) (GetOpenAPIResponseObject, error) {
	return s.specification()
}
func (a *answer) VisitGetOpenAPIResponse(w http.ResponseWriter) error { return a.write(w) }
