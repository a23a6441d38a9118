// Code generated from openapi/ by bundle-openapi. DO NOT EDIT.

package rest

import (
	"context"
	"net/http"
)

// ListNetworks lists or watches.
func (s *Server) ListNetworks(ctx context.Context, r ListNetworksRequestObject) (ListNetworksResponseObject, error) {
	return s.list(ctx, "networks", listParams(r.Params))
}

// VisitListNetworksResponse writes the answer.
func (a *answer) VisitListNetworksResponse(w http.ResponseWriter) error { return a.write(w) }

// GetNetwork reads one resource.
func (s *Server) GetNetwork(ctx context.Context, r GetNetworkRequestObject) (GetNetworkResponseObject, error) {
	return s.get(ctx, "networks", r.Name)
}

// VisitGetNetworkResponse writes the answer.
func (a *answer) VisitGetNetworkResponse(w http.ResponseWriter) error { return a.write(w) }

// CreateNetwork creates a resource.
func (s *Server) CreateNetwork(ctx context.Context, r CreateNetworkRequestObject) (CreateNetworkResponseObject, error) {
	p := r.Params
	return s.create(ctx, "networks", r.Body, writeParams{DryRun: p.DryRun, FieldManager: p.FieldManager, IdempotencyKey: p.IdempotencyKey})
}

// VisitCreateNetworkResponse writes the answer.
func (a *answer) VisitCreateNetworkResponse(w http.ResponseWriter) error { return a.write(w) }

// ReplaceNetwork creates or replaces a resource.
func (s *Server) ReplaceNetwork(ctx context.Context, r ReplaceNetworkRequestObject) (ReplaceNetworkResponseObject, error) {
	p := r.Params
	return s.replace(ctx, "networks", r.Name, r.Body, writeParams{IfMatch: p.IfMatch, DryRun: p.DryRun, FieldManager: p.FieldManager})
}

// VisitReplaceNetworkResponse writes the answer.
func (a *answer) VisitReplaceNetworkResponse(w http.ResponseWriter) error { return a.write(w) }

// PatchNetwork changes a part of a resource.
func (s *Server) PatchNetwork(ctx context.Context, r PatchNetworkRequestObject) (PatchNetworkResponseObject, error) {
	p := r.Params
	body := patchBody{Merge: r.ApplicationMergePatchPlusJSONBody, Apply: r.ApplicationApplyPatchPlusJSONBody}
	return s.patch(ctx, "networks", r.Name, body, writeParams{IfMatch: p.IfMatch, DryRun: p.DryRun, FieldManager: p.FieldManager, Force: p.Force})
}

// VisitPatchNetworkResponse writes the answer.
func (a *answer) VisitPatchNetworkResponse(w http.ResponseWriter) error { return a.write(w) }

// DeleteNetwork deletes a resource.
func (s *Server) DeleteNetwork(ctx context.Context, r DeleteNetworkRequestObject) (DeleteNetworkResponseObject, error) {
	p := r.Params
	return s.delete(ctx, "networks", r.Name, writeParams{IfMatch: p.IfMatch, DryRun: p.DryRun, Cascade: p.Cascade})
}

// VisitDeleteNetworkResponse writes the answer.
func (a *answer) VisitDeleteNetworkResponse(w http.ResponseWriter) error { return a.write(w) }

// GetNetworkStatus reads one resource.
func (s *Server) GetNetworkStatus(ctx context.Context, r GetNetworkStatusRequestObject) (GetNetworkStatusResponseObject, error) {
	return s.get(ctx, "networks", r.Name)
}

// VisitGetNetworkStatusResponse writes the answer.
func (a *answer) VisitGetNetworkStatusResponse(w http.ResponseWriter) error { return a.write(w) }

// PutNetworkStatus writes the status of a resource.
func (s *Server) PutNetworkStatus(ctx context.Context, r PutNetworkStatusRequestObject) (PutNetworkStatusResponseObject, error) {
	p := r.Params
	return s.putStatus(ctx, "networks", r.Name, r.Body, everything, writeParams{IfMatch: p.IfMatch, DryRun: p.DryRun})
}

// VisitPutNetworkStatusResponse writes the answer.
func (a *answer) VisitPutNetworkStatusResponse(w http.ResponseWriter) error { return a.write(w) }

// ListNodes lists or watches.
func (s *Server) ListNodes(ctx context.Context, r ListNodesRequestObject) (ListNodesResponseObject, error) {
	return s.list(ctx, "nodes", listParams(r.Params))
}

// VisitListNodesResponse writes the answer.
func (a *answer) VisitListNodesResponse(w http.ResponseWriter) error { return a.write(w) }

// GetNode reads one resource.
func (s *Server) GetNode(ctx context.Context, r GetNodeRequestObject) (GetNodeResponseObject, error) {
	return s.get(ctx, "nodes", r.Name)
}

// VisitGetNodeResponse writes the answer.
func (a *answer) VisitGetNodeResponse(w http.ResponseWriter) error { return a.write(w) }

// CreateNode creates a resource.
func (s *Server) CreateNode(ctx context.Context, r CreateNodeRequestObject) (CreateNodeResponseObject, error) {
	p := r.Params
	return s.create(ctx, "nodes", r.Body, writeParams{DryRun: p.DryRun, FieldManager: p.FieldManager, IdempotencyKey: p.IdempotencyKey})
}

// VisitCreateNodeResponse writes the answer.
func (a *answer) VisitCreateNodeResponse(w http.ResponseWriter) error { return a.write(w) }

// ReplaceNode creates or replaces a resource.
func (s *Server) ReplaceNode(ctx context.Context, r ReplaceNodeRequestObject) (ReplaceNodeResponseObject, error) {
	p := r.Params
	return s.replace(ctx, "nodes", r.Name, r.Body, writeParams{IfMatch: p.IfMatch, DryRun: p.DryRun, FieldManager: p.FieldManager})
}

// VisitReplaceNodeResponse writes the answer.
func (a *answer) VisitReplaceNodeResponse(w http.ResponseWriter) error { return a.write(w) }

// PatchNode changes a part of a resource.
func (s *Server) PatchNode(ctx context.Context, r PatchNodeRequestObject) (PatchNodeResponseObject, error) {
	p := r.Params
	body := patchBody{Merge: r.ApplicationMergePatchPlusJSONBody, Apply: r.ApplicationApplyPatchPlusJSONBody}
	return s.patch(ctx, "nodes", r.Name, body, writeParams{IfMatch: p.IfMatch, DryRun: p.DryRun, FieldManager: p.FieldManager, Force: p.Force})
}

// VisitPatchNodeResponse writes the answer.
func (a *answer) VisitPatchNodeResponse(w http.ResponseWriter) error { return a.write(w) }

// DeleteNode deletes a resource.
func (s *Server) DeleteNode(ctx context.Context, r DeleteNodeRequestObject) (DeleteNodeResponseObject, error) {
	p := r.Params
	return s.delete(ctx, "nodes", r.Name, writeParams{IfMatch: p.IfMatch, DryRun: p.DryRun, Cascade: p.Cascade})
}

// VisitDeleteNodeResponse writes the answer.
func (a *answer) VisitDeleteNodeResponse(w http.ResponseWriter) error { return a.write(w) }

// GetNodeStatus reads one resource.
func (s *Server) GetNodeStatus(ctx context.Context, r GetNodeStatusRequestObject) (GetNodeStatusResponseObject, error) {
	return s.get(ctx, "nodes", r.Name)
}

// VisitGetNodeStatusResponse writes the answer.
func (a *answer) VisitGetNodeStatusResponse(w http.ResponseWriter) error { return a.write(w) }

// PutNodeStatus writes the status of a resource.
func (s *Server) PutNodeStatus(ctx context.Context, r PutNodeStatusRequestObject) (PutNodeStatusResponseObject, error) {
	p := r.Params
	return s.putStatus(ctx, "nodes", r.Name, r.Body, everything, writeParams{IfMatch: p.IfMatch, DryRun: p.DryRun})
}

// VisitPutNodeStatusResponse writes the answer.
func (a *answer) VisitPutNodeStatusResponse(w http.ResponseWriter) error { return a.write(w) }

// ListAdapters lists or watches.
func (s *Server) ListAdapters(ctx context.Context, r ListAdaptersRequestObject) (ListAdaptersResponseObject, error) {
	return s.list(ctx, "adapters", listParams(r.Params))
}

// VisitListAdaptersResponse writes the answer.
func (a *answer) VisitListAdaptersResponse(w http.ResponseWriter) error { return a.write(w) }

// GetAdapter reads one resource.
func (s *Server) GetAdapter(ctx context.Context, r GetAdapterRequestObject) (GetAdapterResponseObject, error) {
	return s.get(ctx, "adapters", r.Name)
}

// VisitGetAdapterResponse writes the answer.
func (a *answer) VisitGetAdapterResponse(w http.ResponseWriter) error { return a.write(w) }

// CreateAdapter creates a resource.
func (s *Server) CreateAdapter(ctx context.Context, r CreateAdapterRequestObject) (CreateAdapterResponseObject, error) {
	p := r.Params
	return s.create(ctx, "adapters", r.Body, writeParams{DryRun: p.DryRun, FieldManager: p.FieldManager, IdempotencyKey: p.IdempotencyKey})
}

// VisitCreateAdapterResponse writes the answer.
func (a *answer) VisitCreateAdapterResponse(w http.ResponseWriter) error { return a.write(w) }

// ReplaceAdapter creates or replaces a resource.
func (s *Server) ReplaceAdapter(ctx context.Context, r ReplaceAdapterRequestObject) (ReplaceAdapterResponseObject, error) {
	p := r.Params
	return s.replace(ctx, "adapters", r.Name, r.Body, writeParams{IfMatch: p.IfMatch, DryRun: p.DryRun, FieldManager: p.FieldManager})
}

// VisitReplaceAdapterResponse writes the answer.
func (a *answer) VisitReplaceAdapterResponse(w http.ResponseWriter) error { return a.write(w) }

// PatchAdapter changes a part of a resource.
func (s *Server) PatchAdapter(ctx context.Context, r PatchAdapterRequestObject) (PatchAdapterResponseObject, error) {
	p := r.Params
	body := patchBody{Merge: r.ApplicationMergePatchPlusJSONBody, Apply: r.ApplicationApplyPatchPlusJSONBody}
	return s.patch(ctx, "adapters", r.Name, body, writeParams{IfMatch: p.IfMatch, DryRun: p.DryRun, FieldManager: p.FieldManager, Force: p.Force})
}

// VisitPatchAdapterResponse writes the answer.
func (a *answer) VisitPatchAdapterResponse(w http.ResponseWriter) error { return a.write(w) }

// DeleteAdapter deletes a resource.
func (s *Server) DeleteAdapter(ctx context.Context, r DeleteAdapterRequestObject) (DeleteAdapterResponseObject, error) {
	p := r.Params
	return s.delete(ctx, "adapters", r.Name, writeParams{IfMatch: p.IfMatch, DryRun: p.DryRun, Cascade: p.Cascade})
}

// VisitDeleteAdapterResponse writes the answer.
func (a *answer) VisitDeleteAdapterResponse(w http.ResponseWriter) error { return a.write(w) }

// GetAdapterStatus reads one resource.
func (s *Server) GetAdapterStatus(ctx context.Context, r GetAdapterStatusRequestObject) (GetAdapterStatusResponseObject, error) {
	return s.get(ctx, "adapters", r.Name)
}

// VisitGetAdapterStatusResponse writes the answer.
func (a *answer) VisitGetAdapterStatusResponse(w http.ResponseWriter) error { return a.write(w) }

// PutAdapterStatus writes the status of a resource.
func (s *Server) PutAdapterStatus(ctx context.Context, r PutAdapterStatusRequestObject) (PutAdapterStatusResponseObject, error) {
	p := r.Params
	return s.putStatus(ctx, "adapters", r.Name, r.Body, everything, writeParams{IfMatch: p.IfMatch, DryRun: p.DryRun})
}

// VisitPutAdapterStatusResponse writes the answer.
func (a *answer) VisitPutAdapterStatusResponse(w http.ResponseWriter) error { return a.write(w) }

// ListGeneralNodes lists or watches.
func (s *Server) ListGeneralNodes(ctx context.Context, r ListGeneralNodesRequestObject) (ListGeneralNodesResponseObject, error) {
	return s.list(ctx, "generalnodes", listParams(r.Params))
}

// VisitListGeneralNodesResponse writes the answer.
func (a *answer) VisitListGeneralNodesResponse(w http.ResponseWriter) error { return a.write(w) }

// GetGeneralNode reads one resource.
func (s *Server) GetGeneralNode(ctx context.Context, r GetGeneralNodeRequestObject) (GetGeneralNodeResponseObject, error) {
	return s.get(ctx, "generalnodes", r.Name)
}

// VisitGetGeneralNodeResponse writes the answer.
func (a *answer) VisitGetGeneralNodeResponse(w http.ResponseWriter) error { return a.write(w) }

// CreateGeneralNode creates a resource.
func (s *Server) CreateGeneralNode(ctx context.Context, r CreateGeneralNodeRequestObject) (CreateGeneralNodeResponseObject, error) {
	p := r.Params
	return s.create(ctx, "generalnodes", r.Body, writeParams{DryRun: p.DryRun, FieldManager: p.FieldManager, IdempotencyKey: p.IdempotencyKey})
}

// VisitCreateGeneralNodeResponse writes the answer.
func (a *answer) VisitCreateGeneralNodeResponse(w http.ResponseWriter) error { return a.write(w) }

// ReplaceGeneralNode creates or replaces a resource.
func (s *Server) ReplaceGeneralNode(ctx context.Context, r ReplaceGeneralNodeRequestObject) (ReplaceGeneralNodeResponseObject, error) {
	p := r.Params
	return s.replace(ctx, "generalnodes", r.Name, r.Body, writeParams{IfMatch: p.IfMatch, DryRun: p.DryRun, FieldManager: p.FieldManager})
}

// VisitReplaceGeneralNodeResponse writes the answer.
func (a *answer) VisitReplaceGeneralNodeResponse(w http.ResponseWriter) error { return a.write(w) }

// PatchGeneralNode changes a part of a resource.
func (s *Server) PatchGeneralNode(ctx context.Context, r PatchGeneralNodeRequestObject) (PatchGeneralNodeResponseObject, error) {
	p := r.Params
	body := patchBody{Merge: r.ApplicationMergePatchPlusJSONBody, Apply: r.ApplicationApplyPatchPlusJSONBody}
	return s.patch(ctx, "generalnodes", r.Name, body, writeParams{IfMatch: p.IfMatch, DryRun: p.DryRun, FieldManager: p.FieldManager, Force: p.Force})
}

// VisitPatchGeneralNodeResponse writes the answer.
func (a *answer) VisitPatchGeneralNodeResponse(w http.ResponseWriter) error { return a.write(w) }

// DeleteGeneralNode deletes a resource.
func (s *Server) DeleteGeneralNode(ctx context.Context, r DeleteGeneralNodeRequestObject) (DeleteGeneralNodeResponseObject, error) {
	p := r.Params
	return s.delete(ctx, "generalnodes", r.Name, writeParams{IfMatch: p.IfMatch, DryRun: p.DryRun, Cascade: p.Cascade})
}

// VisitDeleteGeneralNodeResponse writes the answer.
func (a *answer) VisitDeleteGeneralNodeResponse(w http.ResponseWriter) error { return a.write(w) }

// GetGeneralNodeStatus reads one resource.
func (s *Server) GetGeneralNodeStatus(ctx context.Context, r GetGeneralNodeStatusRequestObject) (GetGeneralNodeStatusResponseObject, error) {
	return s.get(ctx, "generalnodes", r.Name)
}

// VisitGetGeneralNodeStatusResponse writes the answer.
func (a *answer) VisitGetGeneralNodeStatusResponse(w http.ResponseWriter) error { return a.write(w) }

// PutGeneralNodeStatus writes the status of a resource.
func (s *Server) PutGeneralNodeStatus(ctx context.Context, r PutGeneralNodeStatusRequestObject) (PutGeneralNodeStatusResponseObject, error) {
	p := r.Params
	return s.putStatus(ctx, "generalnodes", r.Name, r.Body, everything, writeParams{IfMatch: p.IfMatch, DryRun: p.DryRun})
}

// VisitPutGeneralNodeStatusResponse writes the answer.
func (a *answer) VisitPutGeneralNodeStatusResponse(w http.ResponseWriter) error { return a.write(w) }

// ListAccessPolicies lists or watches.
func (s *Server) ListAccessPolicies(ctx context.Context, r ListAccessPoliciesRequestObject) (ListAccessPoliciesResponseObject, error) {
	return s.list(ctx, "accesspolicies", listParams(r.Params))
}

// VisitListAccessPoliciesResponse writes the answer.
func (a *answer) VisitListAccessPoliciesResponse(w http.ResponseWriter) error { return a.write(w) }

// GetAccessPolicy reads one resource.
func (s *Server) GetAccessPolicy(ctx context.Context, r GetAccessPolicyRequestObject) (GetAccessPolicyResponseObject, error) {
	return s.get(ctx, "accesspolicies", r.Name)
}

// VisitGetAccessPolicyResponse writes the answer.
func (a *answer) VisitGetAccessPolicyResponse(w http.ResponseWriter) error { return a.write(w) }

// CreateAccessPolicy creates a resource.
func (s *Server) CreateAccessPolicy(ctx context.Context, r CreateAccessPolicyRequestObject) (CreateAccessPolicyResponseObject, error) {
	p := r.Params
	return s.create(ctx, "accesspolicies", r.Body, writeParams{DryRun: p.DryRun, FieldManager: p.FieldManager, IdempotencyKey: p.IdempotencyKey})
}

// VisitCreateAccessPolicyResponse writes the answer.
func (a *answer) VisitCreateAccessPolicyResponse(w http.ResponseWriter) error { return a.write(w) }

// ReplaceAccessPolicy creates or replaces a resource.
func (s *Server) ReplaceAccessPolicy(ctx context.Context, r ReplaceAccessPolicyRequestObject) (ReplaceAccessPolicyResponseObject, error) {
	p := r.Params
	return s.replace(ctx, "accesspolicies", r.Name, r.Body, writeParams{IfMatch: p.IfMatch, DryRun: p.DryRun, FieldManager: p.FieldManager})
}

// VisitReplaceAccessPolicyResponse writes the answer.
func (a *answer) VisitReplaceAccessPolicyResponse(w http.ResponseWriter) error { return a.write(w) }

// PatchAccessPolicy changes a part of a resource.
func (s *Server) PatchAccessPolicy(ctx context.Context, r PatchAccessPolicyRequestObject) (PatchAccessPolicyResponseObject, error) {
	p := r.Params
	body := patchBody{Merge: r.ApplicationMergePatchPlusJSONBody, Apply: r.ApplicationApplyPatchPlusJSONBody}
	return s.patch(ctx, "accesspolicies", r.Name, body, writeParams{IfMatch: p.IfMatch, DryRun: p.DryRun, FieldManager: p.FieldManager, Force: p.Force})
}

// VisitPatchAccessPolicyResponse writes the answer.
func (a *answer) VisitPatchAccessPolicyResponse(w http.ResponseWriter) error { return a.write(w) }

// DeleteAccessPolicy deletes a resource.
func (s *Server) DeleteAccessPolicy(ctx context.Context, r DeleteAccessPolicyRequestObject) (DeleteAccessPolicyResponseObject, error) {
	p := r.Params
	return s.delete(ctx, "accesspolicies", r.Name, writeParams{IfMatch: p.IfMatch, DryRun: p.DryRun, Cascade: p.Cascade})
}

// VisitDeleteAccessPolicyResponse writes the answer.
func (a *answer) VisitDeleteAccessPolicyResponse(w http.ResponseWriter) error { return a.write(w) }

// GetAccessPolicyStatus reads one resource.
func (s *Server) GetAccessPolicyStatus(ctx context.Context, r GetAccessPolicyStatusRequestObject) (GetAccessPolicyStatusResponseObject, error) {
	return s.get(ctx, "accesspolicies", r.Name)
}

// VisitGetAccessPolicyStatusResponse writes the answer.
func (a *answer) VisitGetAccessPolicyStatusResponse(w http.ResponseWriter) error { return a.write(w) }

// PutAccessPolicyStatus writes the status of a resource.
func (s *Server) PutAccessPolicyStatus(ctx context.Context, r PutAccessPolicyStatusRequestObject) (PutAccessPolicyStatusResponseObject, error) {
	p := r.Params
	return s.putStatus(ctx, "accesspolicies", r.Name, r.Body, everything, writeParams{IfMatch: p.IfMatch, DryRun: p.DryRun})
}

// VisitPutAccessPolicyStatusResponse writes the answer.
func (a *answer) VisitPutAccessPolicyStatusResponse(w http.ResponseWriter) error { return a.write(w) }

// ListCloudServices lists or watches.
func (s *Server) ListCloudServices(ctx context.Context, r ListCloudServicesRequestObject) (ListCloudServicesResponseObject, error) {
	return s.list(ctx, "cloudservices", listParams(r.Params))
}

// VisitListCloudServicesResponse writes the answer.
func (a *answer) VisitListCloudServicesResponse(w http.ResponseWriter) error { return a.write(w) }

// GetCloudService reads one resource.
func (s *Server) GetCloudService(ctx context.Context, r GetCloudServiceRequestObject) (GetCloudServiceResponseObject, error) {
	return s.get(ctx, "cloudservices", r.Name)
}

// VisitGetCloudServiceResponse writes the answer.
func (a *answer) VisitGetCloudServiceResponse(w http.ResponseWriter) error { return a.write(w) }

// CreateCloudService creates a resource.
func (s *Server) CreateCloudService(ctx context.Context, r CreateCloudServiceRequestObject) (CreateCloudServiceResponseObject, error) {
	p := r.Params
	return s.create(ctx, "cloudservices", r.Body, writeParams{DryRun: p.DryRun, FieldManager: p.FieldManager, IdempotencyKey: p.IdempotencyKey})
}

// VisitCreateCloudServiceResponse writes the answer.
func (a *answer) VisitCreateCloudServiceResponse(w http.ResponseWriter) error { return a.write(w) }

// ReplaceCloudService creates or replaces a resource.
func (s *Server) ReplaceCloudService(ctx context.Context, r ReplaceCloudServiceRequestObject) (ReplaceCloudServiceResponseObject, error) {
	p := r.Params
	return s.replace(ctx, "cloudservices", r.Name, r.Body, writeParams{IfMatch: p.IfMatch, DryRun: p.DryRun, FieldManager: p.FieldManager})
}

// VisitReplaceCloudServiceResponse writes the answer.
func (a *answer) VisitReplaceCloudServiceResponse(w http.ResponseWriter) error { return a.write(w) }

// PatchCloudService changes a part of a resource.
func (s *Server) PatchCloudService(ctx context.Context, r PatchCloudServiceRequestObject) (PatchCloudServiceResponseObject, error) {
	p := r.Params
	body := patchBody{Merge: r.ApplicationMergePatchPlusJSONBody, Apply: r.ApplicationApplyPatchPlusJSONBody}
	return s.patch(ctx, "cloudservices", r.Name, body, writeParams{IfMatch: p.IfMatch, DryRun: p.DryRun, FieldManager: p.FieldManager, Force: p.Force})
}

// VisitPatchCloudServiceResponse writes the answer.
func (a *answer) VisitPatchCloudServiceResponse(w http.ResponseWriter) error { return a.write(w) }

// DeleteCloudService deletes a resource.
func (s *Server) DeleteCloudService(ctx context.Context, r DeleteCloudServiceRequestObject) (DeleteCloudServiceResponseObject, error) {
	p := r.Params
	return s.delete(ctx, "cloudservices", r.Name, writeParams{IfMatch: p.IfMatch, DryRun: p.DryRun, Cascade: p.Cascade})
}

// VisitDeleteCloudServiceResponse writes the answer.
func (a *answer) VisitDeleteCloudServiceResponse(w http.ResponseWriter) error { return a.write(w) }

// GetCloudServiceStatus reads one resource.
func (s *Server) GetCloudServiceStatus(ctx context.Context, r GetCloudServiceStatusRequestObject) (GetCloudServiceStatusResponseObject, error) {
	return s.get(ctx, "cloudservices", r.Name)
}

// VisitGetCloudServiceStatusResponse writes the answer.
func (a *answer) VisitGetCloudServiceStatusResponse(w http.ResponseWriter) error { return a.write(w) }

// PutCloudServiceStatus writes the status of a resource.
func (s *Server) PutCloudServiceStatus(ctx context.Context, r PutCloudServiceStatusRequestObject) (PutCloudServiceStatusResponseObject, error) {
	p := r.Params
	return s.putStatus(ctx, "cloudservices", r.Name, r.Body, everything, writeParams{IfMatch: p.IfMatch, DryRun: p.DryRun})
}

// VisitPutCloudServiceStatusResponse writes the answer.
func (a *answer) VisitPutCloudServiceStatusResponse(w http.ResponseWriter) error { return a.write(w) }

// ListEnrollmentTokens lists or watches.
func (s *Server) ListEnrollmentTokens(ctx context.Context, r ListEnrollmentTokensRequestObject) (ListEnrollmentTokensResponseObject, error) {
	return s.list(ctx, "enrollmenttokens", listParams(r.Params))
}

// VisitListEnrollmentTokensResponse writes the answer.
func (a *answer) VisitListEnrollmentTokensResponse(w http.ResponseWriter) error { return a.write(w) }

// GetEnrollmentToken reads one resource.
func (s *Server) GetEnrollmentToken(ctx context.Context, r GetEnrollmentTokenRequestObject) (GetEnrollmentTokenResponseObject, error) {
	return s.get(ctx, "enrollmenttokens", r.Name)
}

// VisitGetEnrollmentTokenResponse writes the answer.
func (a *answer) VisitGetEnrollmentTokenResponse(w http.ResponseWriter) error { return a.write(w) }

// CreateEnrollmentToken creates a resource.
func (s *Server) CreateEnrollmentToken(ctx context.Context, r CreateEnrollmentTokenRequestObject) (CreateEnrollmentTokenResponseObject, error) {
	p := r.Params
	return s.create(ctx, "enrollmenttokens", r.Body, writeParams{DryRun: p.DryRun, FieldManager: p.FieldManager, IdempotencyKey: p.IdempotencyKey})
}

// VisitCreateEnrollmentTokenResponse writes the answer.
func (a *answer) VisitCreateEnrollmentTokenResponse(w http.ResponseWriter) error { return a.write(w) }

// ReplaceEnrollmentToken creates or replaces a resource.
func (s *Server) ReplaceEnrollmentToken(ctx context.Context, r ReplaceEnrollmentTokenRequestObject) (ReplaceEnrollmentTokenResponseObject, error) {
	p := r.Params
	return s.replace(ctx, "enrollmenttokens", r.Name, r.Body, writeParams{IfMatch: p.IfMatch, DryRun: p.DryRun, FieldManager: p.FieldManager})
}

// VisitReplaceEnrollmentTokenResponse writes the answer.
func (a *answer) VisitReplaceEnrollmentTokenResponse(w http.ResponseWriter) error { return a.write(w) }

// PatchEnrollmentToken changes a part of a resource.
func (s *Server) PatchEnrollmentToken(ctx context.Context, r PatchEnrollmentTokenRequestObject) (PatchEnrollmentTokenResponseObject, error) {
	p := r.Params
	body := patchBody{Merge: r.ApplicationMergePatchPlusJSONBody, Apply: r.ApplicationApplyPatchPlusJSONBody}
	return s.patch(ctx, "enrollmenttokens", r.Name, body, writeParams{IfMatch: p.IfMatch, DryRun: p.DryRun, FieldManager: p.FieldManager, Force: p.Force})
}

// VisitPatchEnrollmentTokenResponse writes the answer.
func (a *answer) VisitPatchEnrollmentTokenResponse(w http.ResponseWriter) error { return a.write(w) }

// DeleteEnrollmentToken deletes a resource.
func (s *Server) DeleteEnrollmentToken(ctx context.Context, r DeleteEnrollmentTokenRequestObject) (DeleteEnrollmentTokenResponseObject, error) {
	p := r.Params
	return s.delete(ctx, "enrollmenttokens", r.Name, writeParams{IfMatch: p.IfMatch, DryRun: p.DryRun, Cascade: p.Cascade})
}

// VisitDeleteEnrollmentTokenResponse writes the answer.
func (a *answer) VisitDeleteEnrollmentTokenResponse(w http.ResponseWriter) error { return a.write(w) }

// GetEnrollmentTokenStatus reads one resource.
func (s *Server) GetEnrollmentTokenStatus(ctx context.Context, r GetEnrollmentTokenStatusRequestObject) (GetEnrollmentTokenStatusResponseObject, error) {
	return s.get(ctx, "enrollmenttokens", r.Name)
}

// VisitGetEnrollmentTokenStatusResponse writes the answer.
func (a *answer) VisitGetEnrollmentTokenStatusResponse(w http.ResponseWriter) error {
	return a.write(w)
}

// PutEnrollmentTokenStatus writes the status of a resource.
func (s *Server) PutEnrollmentTokenStatus(ctx context.Context, r PutEnrollmentTokenStatusRequestObject) (PutEnrollmentTokenStatusResponseObject, error) {
	p := r.Params
	return s.putStatus(ctx, "enrollmenttokens", r.Name, r.Body, everything, writeParams{IfMatch: p.IfMatch, DryRun: p.DryRun})
}

// VisitPutEnrollmentTokenStatusResponse writes the answer.
func (a *answer) VisitPutEnrollmentTokenStatusResponse(w http.ResponseWriter) error {
	return a.write(w)
}

// ListRoles lists or watches.
func (s *Server) ListRoles(ctx context.Context, r ListRolesRequestObject) (ListRolesResponseObject, error) {
	return s.list(ctx, "roles", listParams(r.Params))
}

// VisitListRolesResponse writes the answer.
func (a *answer) VisitListRolesResponse(w http.ResponseWriter) error { return a.write(w) }

// GetRole reads one resource.
func (s *Server) GetRole(ctx context.Context, r GetRoleRequestObject) (GetRoleResponseObject, error) {
	return s.get(ctx, "roles", r.Name)
}

// VisitGetRoleResponse writes the answer.
func (a *answer) VisitGetRoleResponse(w http.ResponseWriter) error { return a.write(w) }

// CreateRole creates a resource.
func (s *Server) CreateRole(ctx context.Context, r CreateRoleRequestObject) (CreateRoleResponseObject, error) {
	p := r.Params
	return s.create(ctx, "roles", r.Body, writeParams{DryRun: p.DryRun, FieldManager: p.FieldManager, IdempotencyKey: p.IdempotencyKey})
}

// VisitCreateRoleResponse writes the answer.
func (a *answer) VisitCreateRoleResponse(w http.ResponseWriter) error { return a.write(w) }

// ReplaceRole creates or replaces a resource.
func (s *Server) ReplaceRole(ctx context.Context, r ReplaceRoleRequestObject) (ReplaceRoleResponseObject, error) {
	p := r.Params
	return s.replace(ctx, "roles", r.Name, r.Body, writeParams{IfMatch: p.IfMatch, DryRun: p.DryRun, FieldManager: p.FieldManager})
}

// VisitReplaceRoleResponse writes the answer.
func (a *answer) VisitReplaceRoleResponse(w http.ResponseWriter) error { return a.write(w) }

// PatchRole changes a part of a resource.
func (s *Server) PatchRole(ctx context.Context, r PatchRoleRequestObject) (PatchRoleResponseObject, error) {
	p := r.Params
	body := patchBody{Merge: r.ApplicationMergePatchPlusJSONBody, Apply: r.ApplicationApplyPatchPlusJSONBody}
	return s.patch(ctx, "roles", r.Name, body, writeParams{IfMatch: p.IfMatch, DryRun: p.DryRun, FieldManager: p.FieldManager, Force: p.Force})
}

// VisitPatchRoleResponse writes the answer.
func (a *answer) VisitPatchRoleResponse(w http.ResponseWriter) error { return a.write(w) }

// DeleteRole deletes a resource.
func (s *Server) DeleteRole(ctx context.Context, r DeleteRoleRequestObject) (DeleteRoleResponseObject, error) {
	p := r.Params
	return s.delete(ctx, "roles", r.Name, writeParams{IfMatch: p.IfMatch, DryRun: p.DryRun, Cascade: p.Cascade})
}

// VisitDeleteRoleResponse writes the answer.
func (a *answer) VisitDeleteRoleResponse(w http.ResponseWriter) error { return a.write(w) }

// GetRoleStatus reads one resource.
func (s *Server) GetRoleStatus(ctx context.Context, r GetRoleStatusRequestObject) (GetRoleStatusResponseObject, error) {
	return s.get(ctx, "roles", r.Name)
}

// VisitGetRoleStatusResponse writes the answer.
func (a *answer) VisitGetRoleStatusResponse(w http.ResponseWriter) error { return a.write(w) }

// PutRoleStatus writes the status of a resource.
func (s *Server) PutRoleStatus(ctx context.Context, r PutRoleStatusRequestObject) (PutRoleStatusResponseObject, error) {
	p := r.Params
	return s.putStatus(ctx, "roles", r.Name, r.Body, everything, writeParams{IfMatch: p.IfMatch, DryRun: p.DryRun})
}

// VisitPutRoleStatusResponse writes the answer.
func (a *answer) VisitPutRoleStatusResponse(w http.ResponseWriter) error { return a.write(w) }

// ListRoleBindings lists or watches.
func (s *Server) ListRoleBindings(ctx context.Context, r ListRoleBindingsRequestObject) (ListRoleBindingsResponseObject, error) {
	return s.list(ctx, "rolebindings", listParams(r.Params))
}

// VisitListRoleBindingsResponse writes the answer.
func (a *answer) VisitListRoleBindingsResponse(w http.ResponseWriter) error { return a.write(w) }

// GetRoleBinding reads one resource.
func (s *Server) GetRoleBinding(ctx context.Context, r GetRoleBindingRequestObject) (GetRoleBindingResponseObject, error) {
	return s.get(ctx, "rolebindings", r.Name)
}

// VisitGetRoleBindingResponse writes the answer.
func (a *answer) VisitGetRoleBindingResponse(w http.ResponseWriter) error { return a.write(w) }

// CreateRoleBinding creates a resource.
func (s *Server) CreateRoleBinding(ctx context.Context, r CreateRoleBindingRequestObject) (CreateRoleBindingResponseObject, error) {
	p := r.Params
	return s.create(ctx, "rolebindings", r.Body, writeParams{DryRun: p.DryRun, FieldManager: p.FieldManager, IdempotencyKey: p.IdempotencyKey})
}

// VisitCreateRoleBindingResponse writes the answer.
func (a *answer) VisitCreateRoleBindingResponse(w http.ResponseWriter) error { return a.write(w) }

// ReplaceRoleBinding creates or replaces a resource.
func (s *Server) ReplaceRoleBinding(ctx context.Context, r ReplaceRoleBindingRequestObject) (ReplaceRoleBindingResponseObject, error) {
	p := r.Params
	return s.replace(ctx, "rolebindings", r.Name, r.Body, writeParams{IfMatch: p.IfMatch, DryRun: p.DryRun, FieldManager: p.FieldManager})
}

// VisitReplaceRoleBindingResponse writes the answer.
func (a *answer) VisitReplaceRoleBindingResponse(w http.ResponseWriter) error { return a.write(w) }

// PatchRoleBinding changes a part of a resource.
func (s *Server) PatchRoleBinding(ctx context.Context, r PatchRoleBindingRequestObject) (PatchRoleBindingResponseObject, error) {
	p := r.Params
	body := patchBody{Merge: r.ApplicationMergePatchPlusJSONBody, Apply: r.ApplicationApplyPatchPlusJSONBody}
	return s.patch(ctx, "rolebindings", r.Name, body, writeParams{IfMatch: p.IfMatch, DryRun: p.DryRun, FieldManager: p.FieldManager, Force: p.Force})
}

// VisitPatchRoleBindingResponse writes the answer.
func (a *answer) VisitPatchRoleBindingResponse(w http.ResponseWriter) error { return a.write(w) }

// DeleteRoleBinding deletes a resource.
func (s *Server) DeleteRoleBinding(ctx context.Context, r DeleteRoleBindingRequestObject) (DeleteRoleBindingResponseObject, error) {
	p := r.Params
	return s.delete(ctx, "rolebindings", r.Name, writeParams{IfMatch: p.IfMatch, DryRun: p.DryRun, Cascade: p.Cascade})
}

// VisitDeleteRoleBindingResponse writes the answer.
func (a *answer) VisitDeleteRoleBindingResponse(w http.ResponseWriter) error { return a.write(w) }

// GetRoleBindingStatus reads one resource.
func (s *Server) GetRoleBindingStatus(ctx context.Context, r GetRoleBindingStatusRequestObject) (GetRoleBindingStatusResponseObject, error) {
	return s.get(ctx, "rolebindings", r.Name)
}

// VisitGetRoleBindingStatusResponse writes the answer.
func (a *answer) VisitGetRoleBindingStatusResponse(w http.ResponseWriter) error { return a.write(w) }

// PutRoleBindingStatus writes the status of a resource.
func (s *Server) PutRoleBindingStatus(ctx context.Context, r PutRoleBindingStatusRequestObject) (PutRoleBindingStatusResponseObject, error) {
	p := r.Params
	return s.putStatus(ctx, "rolebindings", r.Name, r.Body, everything, writeParams{IfMatch: p.IfMatch, DryRun: p.DryRun})
}

// VisitPutRoleBindingStatusResponse writes the answer.
func (a *answer) VisitPutRoleBindingStatusResponse(w http.ResponseWriter) error { return a.write(w) }

// ListAPITokens lists or watches.
func (s *Server) ListAPITokens(ctx context.Context, r ListAPITokensRequestObject) (ListAPITokensResponseObject, error) {
	return s.list(ctx, "apitokens", listParams(r.Params))
}

// VisitListAPITokensResponse writes the answer.
func (a *answer) VisitListAPITokensResponse(w http.ResponseWriter) error { return a.write(w) }

// GetAPIToken reads one resource.
func (s *Server) GetAPIToken(ctx context.Context, r GetAPITokenRequestObject) (GetAPITokenResponseObject, error) {
	return s.get(ctx, "apitokens", r.Name)
}

// VisitGetAPITokenResponse writes the answer.
func (a *answer) VisitGetAPITokenResponse(w http.ResponseWriter) error { return a.write(w) }

// CreateAPIToken creates a resource.
func (s *Server) CreateAPIToken(ctx context.Context, r CreateAPITokenRequestObject) (CreateAPITokenResponseObject, error) {
	p := r.Params
	return s.create(ctx, "apitokens", r.Body, writeParams{DryRun: p.DryRun, FieldManager: p.FieldManager, IdempotencyKey: p.IdempotencyKey})
}

// VisitCreateAPITokenResponse writes the answer.
func (a *answer) VisitCreateAPITokenResponse(w http.ResponseWriter) error { return a.write(w) }

// ReplaceAPIToken creates or replaces a resource.
func (s *Server) ReplaceAPIToken(ctx context.Context, r ReplaceAPITokenRequestObject) (ReplaceAPITokenResponseObject, error) {
	p := r.Params
	return s.replace(ctx, "apitokens", r.Name, r.Body, writeParams{IfMatch: p.IfMatch, DryRun: p.DryRun, FieldManager: p.FieldManager})
}

// VisitReplaceAPITokenResponse writes the answer.
func (a *answer) VisitReplaceAPITokenResponse(w http.ResponseWriter) error { return a.write(w) }

// PatchAPIToken changes a part of a resource.
func (s *Server) PatchAPIToken(ctx context.Context, r PatchAPITokenRequestObject) (PatchAPITokenResponseObject, error) {
	p := r.Params
	body := patchBody{Merge: r.ApplicationMergePatchPlusJSONBody, Apply: r.ApplicationApplyPatchPlusJSONBody}
	return s.patch(ctx, "apitokens", r.Name, body, writeParams{IfMatch: p.IfMatch, DryRun: p.DryRun, FieldManager: p.FieldManager, Force: p.Force})
}

// VisitPatchAPITokenResponse writes the answer.
func (a *answer) VisitPatchAPITokenResponse(w http.ResponseWriter) error { return a.write(w) }

// DeleteAPIToken deletes a resource.
func (s *Server) DeleteAPIToken(ctx context.Context, r DeleteAPITokenRequestObject) (DeleteAPITokenResponseObject, error) {
	p := r.Params
	return s.delete(ctx, "apitokens", r.Name, writeParams{IfMatch: p.IfMatch, DryRun: p.DryRun, Cascade: p.Cascade})
}

// VisitDeleteAPITokenResponse writes the answer.
func (a *answer) VisitDeleteAPITokenResponse(w http.ResponseWriter) error { return a.write(w) }

// GetAPITokenStatus reads one resource.
func (s *Server) GetAPITokenStatus(ctx context.Context, r GetAPITokenStatusRequestObject) (GetAPITokenStatusResponseObject, error) {
	return s.get(ctx, "apitokens", r.Name)
}

// VisitGetAPITokenStatusResponse writes the answer.
func (a *answer) VisitGetAPITokenStatusResponse(w http.ResponseWriter) error { return a.write(w) }

// PutAPITokenStatus writes the status of a resource.
func (s *Server) PutAPITokenStatus(ctx context.Context, r PutAPITokenStatusRequestObject) (PutAPITokenStatusResponseObject, error) {
	p := r.Params
	return s.putStatus(ctx, "apitokens", r.Name, r.Body, everything, writeParams{IfMatch: p.IfMatch, DryRun: p.DryRun})
}

// VisitPutAPITokenStatusResponse writes the answer.
func (a *answer) VisitPutAPITokenStatusResponse(w http.ResponseWriter) error { return a.write(w) }

// ListGitSources lists or watches.
func (s *Server) ListGitSources(ctx context.Context, r ListGitSourcesRequestObject) (ListGitSourcesResponseObject, error) {
	return s.list(ctx, "gitsources", listParams(r.Params))
}

// VisitListGitSourcesResponse writes the answer.
func (a *answer) VisitListGitSourcesResponse(w http.ResponseWriter) error { return a.write(w) }

// GetGitSource reads one resource.
func (s *Server) GetGitSource(ctx context.Context, r GetGitSourceRequestObject) (GetGitSourceResponseObject, error) {
	return s.get(ctx, "gitsources", r.Name)
}

// VisitGetGitSourceResponse writes the answer.
func (a *answer) VisitGetGitSourceResponse(w http.ResponseWriter) error { return a.write(w) }

// CreateGitSource creates a resource.
func (s *Server) CreateGitSource(ctx context.Context, r CreateGitSourceRequestObject) (CreateGitSourceResponseObject, error) {
	p := r.Params
	return s.create(ctx, "gitsources", r.Body, writeParams{DryRun: p.DryRun, FieldManager: p.FieldManager, IdempotencyKey: p.IdempotencyKey})
}

// VisitCreateGitSourceResponse writes the answer.
func (a *answer) VisitCreateGitSourceResponse(w http.ResponseWriter) error { return a.write(w) }

// ReplaceGitSource creates or replaces a resource.
func (s *Server) ReplaceGitSource(ctx context.Context, r ReplaceGitSourceRequestObject) (ReplaceGitSourceResponseObject, error) {
	p := r.Params
	return s.replace(ctx, "gitsources", r.Name, r.Body, writeParams{IfMatch: p.IfMatch, DryRun: p.DryRun, FieldManager: p.FieldManager})
}

// VisitReplaceGitSourceResponse writes the answer.
func (a *answer) VisitReplaceGitSourceResponse(w http.ResponseWriter) error { return a.write(w) }

// PatchGitSource changes a part of a resource.
func (s *Server) PatchGitSource(ctx context.Context, r PatchGitSourceRequestObject) (PatchGitSourceResponseObject, error) {
	p := r.Params
	body := patchBody{Merge: r.ApplicationMergePatchPlusJSONBody, Apply: r.ApplicationApplyPatchPlusJSONBody}
	return s.patch(ctx, "gitsources", r.Name, body, writeParams{IfMatch: p.IfMatch, DryRun: p.DryRun, FieldManager: p.FieldManager, Force: p.Force})
}

// VisitPatchGitSourceResponse writes the answer.
func (a *answer) VisitPatchGitSourceResponse(w http.ResponseWriter) error { return a.write(w) }

// DeleteGitSource deletes a resource.
func (s *Server) DeleteGitSource(ctx context.Context, r DeleteGitSourceRequestObject) (DeleteGitSourceResponseObject, error) {
	p := r.Params
	return s.delete(ctx, "gitsources", r.Name, writeParams{IfMatch: p.IfMatch, DryRun: p.DryRun, Cascade: p.Cascade})
}

// VisitDeleteGitSourceResponse writes the answer.
func (a *answer) VisitDeleteGitSourceResponse(w http.ResponseWriter) error { return a.write(w) }

// GetGitSourceStatus reads one resource.
func (s *Server) GetGitSourceStatus(ctx context.Context, r GetGitSourceStatusRequestObject) (GetGitSourceStatusResponseObject, error) {
	return s.get(ctx, "gitsources", r.Name)
}

// VisitGetGitSourceStatusResponse writes the answer.
func (a *answer) VisitGetGitSourceStatusResponse(w http.ResponseWriter) error { return a.write(w) }

// PutGitSourceStatus writes the status of a resource.
func (s *Server) PutGitSourceStatus(ctx context.Context, r PutGitSourceStatusRequestObject) (PutGitSourceStatusResponseObject, error) {
	p := r.Params
	return s.putStatus(ctx, "gitsources", r.Name, r.Body, everything, writeParams{IfMatch: p.IfMatch, DryRun: p.DryRun})
}

// VisitPutGitSourceStatusResponse writes the answer.
func (a *answer) VisitPutGitSourceStatusResponse(w http.ResponseWriter) error { return a.write(w) }

// ListBGPPeers lists or watches.
func (s *Server) ListBGPPeers(ctx context.Context, r ListBGPPeersRequestObject) (ListBGPPeersResponseObject, error) {
	return s.list(ctx, "bgppeers", listParams(r.Params))
}

// VisitListBGPPeersResponse writes the answer.
func (a *answer) VisitListBGPPeersResponse(w http.ResponseWriter) error { return a.write(w) }

// GetBGPPeer reads one resource.
func (s *Server) GetBGPPeer(ctx context.Context, r GetBGPPeerRequestObject) (GetBGPPeerResponseObject, error) {
	return s.get(ctx, "bgppeers", r.Name)
}

// VisitGetBGPPeerResponse writes the answer.
func (a *answer) VisitGetBGPPeerResponse(w http.ResponseWriter) error { return a.write(w) }

// CreateBGPPeer creates a resource.
func (s *Server) CreateBGPPeer(ctx context.Context, r CreateBGPPeerRequestObject) (CreateBGPPeerResponseObject, error) {
	p := r.Params
	return s.create(ctx, "bgppeers", r.Body, writeParams{DryRun: p.DryRun, FieldManager: p.FieldManager, IdempotencyKey: p.IdempotencyKey})
}

// VisitCreateBGPPeerResponse writes the answer.
func (a *answer) VisitCreateBGPPeerResponse(w http.ResponseWriter) error { return a.write(w) }

// ReplaceBGPPeer creates or replaces a resource.
func (s *Server) ReplaceBGPPeer(ctx context.Context, r ReplaceBGPPeerRequestObject) (ReplaceBGPPeerResponseObject, error) {
	p := r.Params
	return s.replace(ctx, "bgppeers", r.Name, r.Body, writeParams{IfMatch: p.IfMatch, DryRun: p.DryRun, FieldManager: p.FieldManager})
}

// VisitReplaceBGPPeerResponse writes the answer.
func (a *answer) VisitReplaceBGPPeerResponse(w http.ResponseWriter) error { return a.write(w) }

// PatchBGPPeer changes a part of a resource.
func (s *Server) PatchBGPPeer(ctx context.Context, r PatchBGPPeerRequestObject) (PatchBGPPeerResponseObject, error) {
	p := r.Params
	body := patchBody{Merge: r.ApplicationMergePatchPlusJSONBody, Apply: r.ApplicationApplyPatchPlusJSONBody}
	return s.patch(ctx, "bgppeers", r.Name, body, writeParams{IfMatch: p.IfMatch, DryRun: p.DryRun, FieldManager: p.FieldManager, Force: p.Force})
}

// VisitPatchBGPPeerResponse writes the answer.
func (a *answer) VisitPatchBGPPeerResponse(w http.ResponseWriter) error { return a.write(w) }

// DeleteBGPPeer deletes a resource.
func (s *Server) DeleteBGPPeer(ctx context.Context, r DeleteBGPPeerRequestObject) (DeleteBGPPeerResponseObject, error) {
	p := r.Params
	return s.delete(ctx, "bgppeers", r.Name, writeParams{IfMatch: p.IfMatch, DryRun: p.DryRun, Cascade: p.Cascade})
}

// VisitDeleteBGPPeerResponse writes the answer.
func (a *answer) VisitDeleteBGPPeerResponse(w http.ResponseWriter) error { return a.write(w) }

// GetBGPPeerStatus reads one resource.
func (s *Server) GetBGPPeerStatus(ctx context.Context, r GetBGPPeerStatusRequestObject) (GetBGPPeerStatusResponseObject, error) {
	return s.get(ctx, "bgppeers", r.Name)
}

// VisitGetBGPPeerStatusResponse writes the answer.
func (a *answer) VisitGetBGPPeerStatusResponse(w http.ResponseWriter) error { return a.write(w) }

// PutBGPPeerStatus writes the status of a resource.
func (s *Server) PutBGPPeerStatus(ctx context.Context, r PutBGPPeerStatusRequestObject) (PutBGPPeerStatusResponseObject, error) {
	p := r.Params
	return s.putStatus(ctx, "bgppeers", r.Name, r.Body, everything, writeParams{IfMatch: p.IfMatch, DryRun: p.DryRun})
}

// VisitPutBGPPeerStatusResponse writes the answer.
func (a *answer) VisitPutBGPPeerStatusResponse(w http.ResponseWriter) error { return a.write(w) }

// ListBGPAdvertisements lists or watches.
func (s *Server) ListBGPAdvertisements(ctx context.Context, r ListBGPAdvertisementsRequestObject) (ListBGPAdvertisementsResponseObject, error) {
	return s.list(ctx, "bgpadvertisements", listParams(r.Params))
}

// VisitListBGPAdvertisementsResponse writes the answer.
func (a *answer) VisitListBGPAdvertisementsResponse(w http.ResponseWriter) error { return a.write(w) }

// GetBGPAdvertisement reads one resource.
func (s *Server) GetBGPAdvertisement(ctx context.Context, r GetBGPAdvertisementRequestObject) (GetBGPAdvertisementResponseObject, error) {
	return s.get(ctx, "bgpadvertisements", r.Name)
}

// VisitGetBGPAdvertisementResponse writes the answer.
func (a *answer) VisitGetBGPAdvertisementResponse(w http.ResponseWriter) error { return a.write(w) }

// CreateBGPAdvertisement creates a resource.
func (s *Server) CreateBGPAdvertisement(ctx context.Context, r CreateBGPAdvertisementRequestObject) (CreateBGPAdvertisementResponseObject, error) {
	p := r.Params
	return s.create(ctx, "bgpadvertisements", r.Body, writeParams{DryRun: p.DryRun, FieldManager: p.FieldManager, IdempotencyKey: p.IdempotencyKey})
}

// VisitCreateBGPAdvertisementResponse writes the answer.
func (a *answer) VisitCreateBGPAdvertisementResponse(w http.ResponseWriter) error { return a.write(w) }

// ReplaceBGPAdvertisement creates or replaces a resource.
func (s *Server) ReplaceBGPAdvertisement(ctx context.Context, r ReplaceBGPAdvertisementRequestObject) (ReplaceBGPAdvertisementResponseObject, error) {
	p := r.Params
	return s.replace(ctx, "bgpadvertisements", r.Name, r.Body, writeParams{IfMatch: p.IfMatch, DryRun: p.DryRun, FieldManager: p.FieldManager})
}

// VisitReplaceBGPAdvertisementResponse writes the answer.
func (a *answer) VisitReplaceBGPAdvertisementResponse(w http.ResponseWriter) error { return a.write(w) }

// PatchBGPAdvertisement changes a part of a resource.
func (s *Server) PatchBGPAdvertisement(ctx context.Context, r PatchBGPAdvertisementRequestObject) (PatchBGPAdvertisementResponseObject, error) {
	p := r.Params
	body := patchBody{Merge: r.ApplicationMergePatchPlusJSONBody, Apply: r.ApplicationApplyPatchPlusJSONBody}
	return s.patch(ctx, "bgpadvertisements", r.Name, body, writeParams{IfMatch: p.IfMatch, DryRun: p.DryRun, FieldManager: p.FieldManager, Force: p.Force})
}

// VisitPatchBGPAdvertisementResponse writes the answer.
func (a *answer) VisitPatchBGPAdvertisementResponse(w http.ResponseWriter) error { return a.write(w) }

// DeleteBGPAdvertisement deletes a resource.
func (s *Server) DeleteBGPAdvertisement(ctx context.Context, r DeleteBGPAdvertisementRequestObject) (DeleteBGPAdvertisementResponseObject, error) {
	p := r.Params
	return s.delete(ctx, "bgpadvertisements", r.Name, writeParams{IfMatch: p.IfMatch, DryRun: p.DryRun, Cascade: p.Cascade})
}

// VisitDeleteBGPAdvertisementResponse writes the answer.
func (a *answer) VisitDeleteBGPAdvertisementResponse(w http.ResponseWriter) error { return a.write(w) }

// GetBGPAdvertisementStatus reads one resource.
func (s *Server) GetBGPAdvertisementStatus(ctx context.Context, r GetBGPAdvertisementStatusRequestObject) (GetBGPAdvertisementStatusResponseObject, error) {
	return s.get(ctx, "bgpadvertisements", r.Name)
}

// VisitGetBGPAdvertisementStatusResponse writes the answer.
func (a *answer) VisitGetBGPAdvertisementStatusResponse(w http.ResponseWriter) error {
	return a.write(w)
}

// PutBGPAdvertisementStatus writes the status of a resource.
func (s *Server) PutBGPAdvertisementStatus(ctx context.Context, r PutBGPAdvertisementStatusRequestObject) (PutBGPAdvertisementStatusResponseObject, error) {
	p := r.Params
	return s.putStatus(ctx, "bgpadvertisements", r.Name, r.Body, everything, writeParams{IfMatch: p.IfMatch, DryRun: p.DryRun})
}

// VisitPutBGPAdvertisementStatusResponse writes the answer.
func (a *answer) VisitPutBGPAdvertisementStatusResponse(w http.ResponseWriter) error {
	return a.write(w)
}

// ListReplicas lists or watches.
func (s *Server) ListReplicas(ctx context.Context, r ListReplicasRequestObject) (ListReplicasResponseObject, error) {
	return s.list(ctx, "replicas", listParams(r.Params))
}

// VisitListReplicasResponse writes the answer.
func (a *answer) VisitListReplicasResponse(w http.ResponseWriter) error { return a.write(w) }

// GetReplica reads one resource.
func (s *Server) GetReplica(ctx context.Context, r GetReplicaRequestObject) (GetReplicaResponseObject, error) {
	return s.get(ctx, "replicas", r.Name)
}

// VisitGetReplicaResponse writes the answer.
func (a *answer) VisitGetReplicaResponse(w http.ResponseWriter) error { return a.write(w) }

// ListEvents lists or watches.
func (s *Server) ListEvents(ctx context.Context, r ListEventsRequestObject) (ListEventsResponseObject, error) {
	return s.list(ctx, "events", listParams(r.Params))
}

// VisitListEventsResponse writes the answer.
func (a *answer) VisitListEventsResponse(w http.ResponseWriter) error { return a.write(w) }

// GetEvent reads one resource.
func (s *Server) GetEvent(ctx context.Context, r GetEventRequestObject) (GetEventResponseObject, error) {
	return s.get(ctx, "events", r.Name)
}

// VisitGetEventResponse writes the answer.
func (a *answer) VisitGetEventResponse(w http.ResponseWriter) error { return a.write(w) }
