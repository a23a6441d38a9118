// Code generated from openapi/ by bundle-openapi. DO NOT EDIT.

package client

import (
	"io"
	"net/http"

	"github.com/cyphonic/cyphonic/api"
)

// Parameters that the operations of all kinds have alike; the compiler checks it at the conversions below.
type (
	listParams    api.ListNodesParams
	createParams  api.CreateNodeParams
	replaceParams api.ReplaceNodeParams
	patchParams   api.PatchNodeParams
	deleteParams  api.DeleteNodeParams
	statusParams  api.PutNodeStatusParams
)

// operations are the generated request builders of one kind. Kinds that are only read have the first two.
type operations struct {
	list      func(server string, p *listParams) (*http.Request, error)
	get       func(server, name string) (*http.Request, error)
	create    func(server string, p *createParams, body io.Reader) (*http.Request, error)
	replace   func(server, name string, p *replaceParams, body io.Reader) (*http.Request, error)
	patch     func(server, name string, p *patchParams, contentType string, body io.Reader) (*http.Request, error)
	remove    func(server, name string, p *deleteParams) (*http.Request, error)
	getStatus func(server, name string) (*http.Request, error)
	putStatus func(server, name string, p *statusParams, body io.Reader) (*http.Request, error)
}

// operationsOf returns the zero value for a kind that the specification does not have.
func operationsOf(kind string) operations {
	switch kind {
	case "Network":
		return operationsOfNetwork()
	case "Node":
		return operationsOfNode()
	case "Adapter":
		return operationsOfAdapter()
	case "GeneralNode":
		return operationsOfGeneralNode()
	case "AccessPolicy":
		return operationsOfAccessPolicy()
	case "CloudService":
		return operationsOfCloudService()
	case "EnrollmentToken":
		return operationsOfEnrollmentToken()
	case "Role":
		return operationsOfRole()
	case "RoleBinding":
		return operationsOfRoleBinding()
	case "APIToken":
		return operationsOfAPIToken()
	case "GitSource":
		return operationsOfGitSource()
	case "BGPPeer":
		return operationsOfBGPPeer()
	case "BGPAdvertisement":
		return operationsOfBGPAdvertisement()
	case "Replica":
		return operationsOfReplica()
	case "Event":
		return operationsOfEvent()
	}
	return operations{}
}

func operationsOfNetwork() operations {
	return operations{
		list: func(server string, p *listParams) (*http.Request, error) {
			return NewListNetworksRequest(server, (*api.ListNetworksParams)(p))
		},
		get: NewGetNetworkRequest,
		create: func(server string, p *createParams, body io.Reader) (*http.Request, error) {
			return NewCreateNetworkRequestWithBody(server, (*api.CreateNetworkParams)(p), contentType, body)
		},
		replace: func(server, name string, p *replaceParams, body io.Reader) (*http.Request, error) {
			return NewReplaceNetworkRequestWithBody(server, name, (*api.ReplaceNetworkParams)(p), contentType, body)
		},
		patch: func(server, name string, p *patchParams, contentType string, body io.Reader) (*http.Request, error) {
			return NewPatchNetworkRequestWithBody(server, name, (*api.PatchNetworkParams)(p), contentType, body)
		},
		remove: func(server, name string, p *deleteParams) (*http.Request, error) {
			return NewDeleteNetworkRequest(server, name, (*api.DeleteNetworkParams)(p))
		},
		getStatus: NewGetNetworkStatusRequest,
		putStatus: func(server, name string, p *statusParams, body io.Reader) (*http.Request, error) {
			return NewPutNetworkStatusRequestWithBody(server, name, (*api.PutNetworkStatusParams)(p), contentType, body)
		},
	}
}

func operationsOfNode() operations {
	return operations{
		list: func(server string, p *listParams) (*http.Request, error) {
			return NewListNodesRequest(server, (*api.ListNodesParams)(p))
		},
		get: NewGetNodeRequest,
		create: func(server string, p *createParams, body io.Reader) (*http.Request, error) {
			return NewCreateNodeRequestWithBody(server, (*api.CreateNodeParams)(p), contentType, body)
		},
		replace: func(server, name string, p *replaceParams, body io.Reader) (*http.Request, error) {
			return NewReplaceNodeRequestWithBody(server, name, (*api.ReplaceNodeParams)(p), contentType, body)
		},
		patch: func(server, name string, p *patchParams, contentType string, body io.Reader) (*http.Request, error) {
			return NewPatchNodeRequestWithBody(server, name, (*api.PatchNodeParams)(p), contentType, body)
		},
		remove: func(server, name string, p *deleteParams) (*http.Request, error) {
			return NewDeleteNodeRequest(server, name, (*api.DeleteNodeParams)(p))
		},
		getStatus: NewGetNodeStatusRequest,
		putStatus: func(server, name string, p *statusParams, body io.Reader) (*http.Request, error) {
			return NewPutNodeStatusRequestWithBody(server, name, (*api.PutNodeStatusParams)(p), contentType, body)
		},
	}
}

func operationsOfAdapter() operations {
	return operations{
		list: func(server string, p *listParams) (*http.Request, error) {
			return NewListAdaptersRequest(server, (*api.ListAdaptersParams)(p))
		},
		get: NewGetAdapterRequest,
		create: func(server string, p *createParams, body io.Reader) (*http.Request, error) {
			return NewCreateAdapterRequestWithBody(server, (*api.CreateAdapterParams)(p), contentType, body)
		},
		replace: func(server, name string, p *replaceParams, body io.Reader) (*http.Request, error) {
			return NewReplaceAdapterRequestWithBody(server, name, (*api.ReplaceAdapterParams)(p), contentType, body)
		},
		patch: func(server, name string, p *patchParams, contentType string, body io.Reader) (*http.Request, error) {
			return NewPatchAdapterRequestWithBody(server, name, (*api.PatchAdapterParams)(p), contentType, body)
		},
		remove: func(server, name string, p *deleteParams) (*http.Request, error) {
			return NewDeleteAdapterRequest(server, name, (*api.DeleteAdapterParams)(p))
		},
		getStatus: NewGetAdapterStatusRequest,
		putStatus: func(server, name string, p *statusParams, body io.Reader) (*http.Request, error) {
			return NewPutAdapterStatusRequestWithBody(server, name, (*api.PutAdapterStatusParams)(p), contentType, body)
		},
	}
}

func operationsOfGeneralNode() operations {
	return operations{
		list: func(server string, p *listParams) (*http.Request, error) {
			return NewListGeneralNodesRequest(server, (*api.ListGeneralNodesParams)(p))
		},
		get: NewGetGeneralNodeRequest,
		create: func(server string, p *createParams, body io.Reader) (*http.Request, error) {
			return NewCreateGeneralNodeRequestWithBody(server, (*api.CreateGeneralNodeParams)(p), contentType, body)
		},
		replace: func(server, name string, p *replaceParams, body io.Reader) (*http.Request, error) {
			return NewReplaceGeneralNodeRequestWithBody(server, name, (*api.ReplaceGeneralNodeParams)(p), contentType, body)
		},
		patch: func(server, name string, p *patchParams, contentType string, body io.Reader) (*http.Request, error) {
			return NewPatchGeneralNodeRequestWithBody(server, name, (*api.PatchGeneralNodeParams)(p), contentType, body)
		},
		remove: func(server, name string, p *deleteParams) (*http.Request, error) {
			return NewDeleteGeneralNodeRequest(server, name, (*api.DeleteGeneralNodeParams)(p))
		},
		getStatus: NewGetGeneralNodeStatusRequest,
		putStatus: func(server, name string, p *statusParams, body io.Reader) (*http.Request, error) {
			return NewPutGeneralNodeStatusRequestWithBody(server, name, (*api.PutGeneralNodeStatusParams)(p), contentType, body)
		},
	}
}

func operationsOfAccessPolicy() operations {
	return operations{
		list: func(server string, p *listParams) (*http.Request, error) {
			return NewListAccessPoliciesRequest(server, (*api.ListAccessPoliciesParams)(p))
		},
		get: NewGetAccessPolicyRequest,
		create: func(server string, p *createParams, body io.Reader) (*http.Request, error) {
			return NewCreateAccessPolicyRequestWithBody(server, (*api.CreateAccessPolicyParams)(p), contentType, body)
		},
		replace: func(server, name string, p *replaceParams, body io.Reader) (*http.Request, error) {
			return NewReplaceAccessPolicyRequestWithBody(server, name, (*api.ReplaceAccessPolicyParams)(p), contentType, body)
		},
		patch: func(server, name string, p *patchParams, contentType string, body io.Reader) (*http.Request, error) {
			return NewPatchAccessPolicyRequestWithBody(server, name, (*api.PatchAccessPolicyParams)(p), contentType, body)
		},
		remove: func(server, name string, p *deleteParams) (*http.Request, error) {
			return NewDeleteAccessPolicyRequest(server, name, (*api.DeleteAccessPolicyParams)(p))
		},
		getStatus: NewGetAccessPolicyStatusRequest,
		putStatus: func(server, name string, p *statusParams, body io.Reader) (*http.Request, error) {
			return NewPutAccessPolicyStatusRequestWithBody(server, name, (*api.PutAccessPolicyStatusParams)(p), contentType, body)
		},
	}
}

func operationsOfCloudService() operations {
	return operations{
		list: func(server string, p *listParams) (*http.Request, error) {
			return NewListCloudServicesRequest(server, (*api.ListCloudServicesParams)(p))
		},
		get: NewGetCloudServiceRequest,
		create: func(server string, p *createParams, body io.Reader) (*http.Request, error) {
			return NewCreateCloudServiceRequestWithBody(server, (*api.CreateCloudServiceParams)(p), contentType, body)
		},
		replace: func(server, name string, p *replaceParams, body io.Reader) (*http.Request, error) {
			return NewReplaceCloudServiceRequestWithBody(server, name, (*api.ReplaceCloudServiceParams)(p), contentType, body)
		},
		patch: func(server, name string, p *patchParams, contentType string, body io.Reader) (*http.Request, error) {
			return NewPatchCloudServiceRequestWithBody(server, name, (*api.PatchCloudServiceParams)(p), contentType, body)
		},
		remove: func(server, name string, p *deleteParams) (*http.Request, error) {
			return NewDeleteCloudServiceRequest(server, name, (*api.DeleteCloudServiceParams)(p))
		},
		getStatus: NewGetCloudServiceStatusRequest,
		putStatus: func(server, name string, p *statusParams, body io.Reader) (*http.Request, error) {
			return NewPutCloudServiceStatusRequestWithBody(server, name, (*api.PutCloudServiceStatusParams)(p), contentType, body)
		},
	}
}

func operationsOfEnrollmentToken() operations {
	return operations{
		list: func(server string, p *listParams) (*http.Request, error) {
			return NewListEnrollmentTokensRequest(server, (*api.ListEnrollmentTokensParams)(p))
		},
		get: NewGetEnrollmentTokenRequest,
		create: func(server string, p *createParams, body io.Reader) (*http.Request, error) {
			return NewCreateEnrollmentTokenRequestWithBody(server, (*api.CreateEnrollmentTokenParams)(p), contentType, body)
		},
		replace: func(server, name string, p *replaceParams, body io.Reader) (*http.Request, error) {
			return NewReplaceEnrollmentTokenRequestWithBody(server, name, (*api.ReplaceEnrollmentTokenParams)(p), contentType, body)
		},
		patch: func(server, name string, p *patchParams, contentType string, body io.Reader) (*http.Request, error) {
			return NewPatchEnrollmentTokenRequestWithBody(server, name, (*api.PatchEnrollmentTokenParams)(p), contentType, body)
		},
		remove: func(server, name string, p *deleteParams) (*http.Request, error) {
			return NewDeleteEnrollmentTokenRequest(server, name, (*api.DeleteEnrollmentTokenParams)(p))
		},
		getStatus: NewGetEnrollmentTokenStatusRequest,
		putStatus: func(server, name string, p *statusParams, body io.Reader) (*http.Request, error) {
			return NewPutEnrollmentTokenStatusRequestWithBody(server, name, (*api.PutEnrollmentTokenStatusParams)(p), contentType, body)
		},
	}
}

func operationsOfRole() operations {
	return operations{
		list: func(server string, p *listParams) (*http.Request, error) {
			return NewListRolesRequest(server, (*api.ListRolesParams)(p))
		},
		get: NewGetRoleRequest,
		create: func(server string, p *createParams, body io.Reader) (*http.Request, error) {
			return NewCreateRoleRequestWithBody(server, (*api.CreateRoleParams)(p), contentType, body)
		},
		replace: func(server, name string, p *replaceParams, body io.Reader) (*http.Request, error) {
			return NewReplaceRoleRequestWithBody(server, name, (*api.ReplaceRoleParams)(p), contentType, body)
		},
		patch: func(server, name string, p *patchParams, contentType string, body io.Reader) (*http.Request, error) {
			return NewPatchRoleRequestWithBody(server, name, (*api.PatchRoleParams)(p), contentType, body)
		},
		remove: func(server, name string, p *deleteParams) (*http.Request, error) {
			return NewDeleteRoleRequest(server, name, (*api.DeleteRoleParams)(p))
		},
		getStatus: NewGetRoleStatusRequest,
		putStatus: func(server, name string, p *statusParams, body io.Reader) (*http.Request, error) {
			return NewPutRoleStatusRequestWithBody(server, name, (*api.PutRoleStatusParams)(p), contentType, body)
		},
	}
}

func operationsOfRoleBinding() operations {
	return operations{
		list: func(server string, p *listParams) (*http.Request, error) {
			return NewListRoleBindingsRequest(server, (*api.ListRoleBindingsParams)(p))
		},
		get: NewGetRoleBindingRequest,
		create: func(server string, p *createParams, body io.Reader) (*http.Request, error) {
			return NewCreateRoleBindingRequestWithBody(server, (*api.CreateRoleBindingParams)(p), contentType, body)
		},
		replace: func(server, name string, p *replaceParams, body io.Reader) (*http.Request, error) {
			return NewReplaceRoleBindingRequestWithBody(server, name, (*api.ReplaceRoleBindingParams)(p), contentType, body)
		},
		patch: func(server, name string, p *patchParams, contentType string, body io.Reader) (*http.Request, error) {
			return NewPatchRoleBindingRequestWithBody(server, name, (*api.PatchRoleBindingParams)(p), contentType, body)
		},
		remove: func(server, name string, p *deleteParams) (*http.Request, error) {
			return NewDeleteRoleBindingRequest(server, name, (*api.DeleteRoleBindingParams)(p))
		},
		getStatus: NewGetRoleBindingStatusRequest,
		putStatus: func(server, name string, p *statusParams, body io.Reader) (*http.Request, error) {
			return NewPutRoleBindingStatusRequestWithBody(server, name, (*api.PutRoleBindingStatusParams)(p), contentType, body)
		},
	}
}

func operationsOfAPIToken() operations {
	return operations{
		list: func(server string, p *listParams) (*http.Request, error) {
			return NewListAPITokensRequest(server, (*api.ListAPITokensParams)(p))
		},
		get: NewGetAPITokenRequest,
		create: func(server string, p *createParams, body io.Reader) (*http.Request, error) {
			return NewCreateAPITokenRequestWithBody(server, (*api.CreateAPITokenParams)(p), contentType, body)
		},
		replace: func(server, name string, p *replaceParams, body io.Reader) (*http.Request, error) {
			return NewReplaceAPITokenRequestWithBody(server, name, (*api.ReplaceAPITokenParams)(p), contentType, body)
		},
		patch: func(server, name string, p *patchParams, contentType string, body io.Reader) (*http.Request, error) {
			return NewPatchAPITokenRequestWithBody(server, name, (*api.PatchAPITokenParams)(p), contentType, body)
		},
		remove: func(server, name string, p *deleteParams) (*http.Request, error) {
			return NewDeleteAPITokenRequest(server, name, (*api.DeleteAPITokenParams)(p))
		},
		getStatus: NewGetAPITokenStatusRequest,
		putStatus: func(server, name string, p *statusParams, body io.Reader) (*http.Request, error) {
			return NewPutAPITokenStatusRequestWithBody(server, name, (*api.PutAPITokenStatusParams)(p), contentType, body)
		},
	}
}

func operationsOfGitSource() operations {
	return operations{
		list: func(server string, p *listParams) (*http.Request, error) {
			return NewListGitSourcesRequest(server, (*api.ListGitSourcesParams)(p))
		},
		get: NewGetGitSourceRequest,
		create: func(server string, p *createParams, body io.Reader) (*http.Request, error) {
			return NewCreateGitSourceRequestWithBody(server, (*api.CreateGitSourceParams)(p), contentType, body)
		},
		replace: func(server, name string, p *replaceParams, body io.Reader) (*http.Request, error) {
			return NewReplaceGitSourceRequestWithBody(server, name, (*api.ReplaceGitSourceParams)(p), contentType, body)
		},
		patch: func(server, name string, p *patchParams, contentType string, body io.Reader) (*http.Request, error) {
			return NewPatchGitSourceRequestWithBody(server, name, (*api.PatchGitSourceParams)(p), contentType, body)
		},
		remove: func(server, name string, p *deleteParams) (*http.Request, error) {
			return NewDeleteGitSourceRequest(server, name, (*api.DeleteGitSourceParams)(p))
		},
		getStatus: NewGetGitSourceStatusRequest,
		putStatus: func(server, name string, p *statusParams, body io.Reader) (*http.Request, error) {
			return NewPutGitSourceStatusRequestWithBody(server, name, (*api.PutGitSourceStatusParams)(p), contentType, body)
		},
	}
}

func operationsOfBGPPeer() operations {
	return operations{
		list: func(server string, p *listParams) (*http.Request, error) {
			return NewListBGPPeersRequest(server, (*api.ListBGPPeersParams)(p))
		},
		get: NewGetBGPPeerRequest,
		create: func(server string, p *createParams, body io.Reader) (*http.Request, error) {
			return NewCreateBGPPeerRequestWithBody(server, (*api.CreateBGPPeerParams)(p), contentType, body)
		},
		replace: func(server, name string, p *replaceParams, body io.Reader) (*http.Request, error) {
			return NewReplaceBGPPeerRequestWithBody(server, name, (*api.ReplaceBGPPeerParams)(p), contentType, body)
		},
		patch: func(server, name string, p *patchParams, contentType string, body io.Reader) (*http.Request, error) {
			return NewPatchBGPPeerRequestWithBody(server, name, (*api.PatchBGPPeerParams)(p), contentType, body)
		},
		remove: func(server, name string, p *deleteParams) (*http.Request, error) {
			return NewDeleteBGPPeerRequest(server, name, (*api.DeleteBGPPeerParams)(p))
		},
		getStatus: NewGetBGPPeerStatusRequest,
		putStatus: func(server, name string, p *statusParams, body io.Reader) (*http.Request, error) {
			return NewPutBGPPeerStatusRequestWithBody(server, name, (*api.PutBGPPeerStatusParams)(p), contentType, body)
		},
	}
}

func operationsOfBGPAdvertisement() operations {
	return operations{
		list: func(server string, p *listParams) (*http.Request, error) {
			return NewListBGPAdvertisementsRequest(server, (*api.ListBGPAdvertisementsParams)(p))
		},
		get: NewGetBGPAdvertisementRequest,
		create: func(server string, p *createParams, body io.Reader) (*http.Request, error) {
			return NewCreateBGPAdvertisementRequestWithBody(server, (*api.CreateBGPAdvertisementParams)(p), contentType, body)
		},
		replace: func(server, name string, p *replaceParams, body io.Reader) (*http.Request, error) {
			return NewReplaceBGPAdvertisementRequestWithBody(server, name, (*api.ReplaceBGPAdvertisementParams)(p), contentType, body)
		},
		patch: func(server, name string, p *patchParams, contentType string, body io.Reader) (*http.Request, error) {
			return NewPatchBGPAdvertisementRequestWithBody(server, name, (*api.PatchBGPAdvertisementParams)(p), contentType, body)
		},
		remove: func(server, name string, p *deleteParams) (*http.Request, error) {
			return NewDeleteBGPAdvertisementRequest(server, name, (*api.DeleteBGPAdvertisementParams)(p))
		},
		getStatus: NewGetBGPAdvertisementStatusRequest,
		putStatus: func(server, name string, p *statusParams, body io.Reader) (*http.Request, error) {
			return NewPutBGPAdvertisementStatusRequestWithBody(server, name, (*api.PutBGPAdvertisementStatusParams)(p), contentType, body)
		},
	}
}

func operationsOfReplica() operations {
	return operations{
		list: func(server string, p *listParams) (*http.Request, error) {
			return NewListReplicasRequest(server, (*api.ListReplicasParams)(p))
		},
		get: NewGetReplicaRequest,
	}
}

func operationsOfEvent() operations {
	return operations{
		list: func(server string, p *listParams) (*http.Request, error) {
			return NewListEventsRequest(server, (*api.ListEventsParams)(p))
		},
		get: NewGetEventRequest,
	}
}
