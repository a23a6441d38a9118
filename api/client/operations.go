package client

import (
	"io"
	"net/http"

	"github.com/cyphonic/cyphonic/api"
)

// listParams and matchParams have the fields that the generated parameter types of every kind have; the compiler checks it at the conversions below.
type (
	listParams  api.ListNodesParams
	matchParams api.ApplyNodeParams
)

const contentType = "application/json"

// operations are the generated request builders of one kind.
type operations struct {
	list      func(server string, p *listParams) (*http.Request, error)
	create    func(server, contentType string, body io.Reader) (*http.Request, error)
	get       func(server, name string) (*http.Request, error)
	apply     func(server, name string, p *matchParams, body io.Reader) (*http.Request, error)
	remove    func(server, name string, p *matchParams) (*http.Request, error)
	getStatus func(server, name string) (*http.Request, error)
	putStatus func(server, name string, p *matchParams, body io.Reader) (*http.Request, error)
}

// operationsOf returns the zero value for a kind that the specification does not have.
func operationsOf(kind string) operations {
	switch kind {
	case "Network":
		return networkOperations()
	case "Node":
		return nodeOperations()
	case "Adapter":
		return adapterOperations()
	case "GeneralNode":
		return generalNodeOperations()
	case "AccessPolicy":
		return accessPolicyOperations()
	case "CloudService":
		return cloudServiceOperations()
	case "EnrollmentToken":
		return enrollmentTokenOperations()
	}
	return operations{}
}

func networkOperations() operations {
	return operations{
		list: func(server string, p *listParams) (*http.Request, error) {
			return NewListNetworksRequest(server, (*api.ListNetworksParams)(p))
		},
		create: NewCreateNetworkRequestWithBody,
		get:    NewGetNetworkRequest,
		apply: func(server, name string, p *matchParams, body io.Reader) (*http.Request, error) {
			return NewApplyNetworkRequestWithBody(server, name, (*api.ApplyNetworkParams)(p), contentType, body)
		},
		remove: func(server, name string, p *matchParams) (*http.Request, error) {
			return NewDeleteNetworkRequest(server, name, (*api.DeleteNetworkParams)(p))
		},
		getStatus: NewGetNetworkStatusRequest,
		putStatus: func(server, name string, p *matchParams, body io.Reader) (*http.Request, error) {
			return NewPutNetworkStatusRequestWithBody(server, name, (*api.PutNetworkStatusParams)(p), contentType, body)
		},
	}
}

func nodeOperations() operations {
	return operations{
		list: func(server string, p *listParams) (*http.Request, error) {
			return NewListNodesRequest(server, (*api.ListNodesParams)(p))
		},
		create: NewCreateNodeRequestWithBody,
		get:    NewGetNodeRequest,
		apply: func(server, name string, p *matchParams, body io.Reader) (*http.Request, error) {
			return NewApplyNodeRequestWithBody(server, name, (*api.ApplyNodeParams)(p), contentType, body)
		},
		remove: func(server, name string, p *matchParams) (*http.Request, error) {
			return NewDeleteNodeRequest(server, name, (*api.DeleteNodeParams)(p))
		},
		getStatus: NewGetNodeStatusRequest,
		putStatus: func(server, name string, p *matchParams, body io.Reader) (*http.Request, error) {
			return NewPutNodeStatusRequestWithBody(server, name, (*api.PutNodeStatusParams)(p), contentType, body)
		},
	}
}

func adapterOperations() operations {
	return operations{
		list: func(server string, p *listParams) (*http.Request, error) {
			return NewListAdaptersRequest(server, (*api.ListAdaptersParams)(p))
		},
		create: NewCreateAdapterRequestWithBody,
		get:    NewGetAdapterRequest,
		apply: func(server, name string, p *matchParams, body io.Reader) (*http.Request, error) {
			return NewApplyAdapterRequestWithBody(server, name, (*api.ApplyAdapterParams)(p), contentType, body)
		},
		remove: func(server, name string, p *matchParams) (*http.Request, error) {
			return NewDeleteAdapterRequest(server, name, (*api.DeleteAdapterParams)(p))
		},
		getStatus: NewGetAdapterStatusRequest,
		putStatus: func(server, name string, p *matchParams, body io.Reader) (*http.Request, error) {
			return NewPutAdapterStatusRequestWithBody(server, name, (*api.PutAdapterStatusParams)(p), contentType, body)
		},
	}
}

func generalNodeOperations() operations {
	return operations{
		list: func(server string, p *listParams) (*http.Request, error) {
			return NewListGeneralNodesRequest(server, (*api.ListGeneralNodesParams)(p))
		},
		create: NewCreateGeneralNodeRequestWithBody,
		get:    NewGetGeneralNodeRequest,
		apply: func(server, name string, p *matchParams, body io.Reader) (*http.Request, error) {
			return NewApplyGeneralNodeRequestWithBody(server, name, (*api.ApplyGeneralNodeParams)(p), contentType, body)
		},
		remove: func(server, name string, p *matchParams) (*http.Request, error) {
			return NewDeleteGeneralNodeRequest(server, name, (*api.DeleteGeneralNodeParams)(p))
		},
		getStatus: NewGetGeneralNodeStatusRequest,
		putStatus: func(server, name string, p *matchParams, body io.Reader) (*http.Request, error) {
			return NewPutGeneralNodeStatusRequestWithBody(server, name, (*api.PutGeneralNodeStatusParams)(p), contentType, body)
		},
	}
}

func accessPolicyOperations() operations {
	return operations{
		list: func(server string, p *listParams) (*http.Request, error) {
			return NewListAccessPoliciesRequest(server, (*api.ListAccessPoliciesParams)(p))
		},
		create: NewCreateAccessPolicyRequestWithBody,
		get:    NewGetAccessPolicyRequest,
		apply: func(server, name string, p *matchParams, body io.Reader) (*http.Request, error) {
			return NewApplyAccessPolicyRequestWithBody(server, name, (*api.ApplyAccessPolicyParams)(p), contentType, body)
		},
		remove: func(server, name string, p *matchParams) (*http.Request, error) {
			return NewDeleteAccessPolicyRequest(server, name, (*api.DeleteAccessPolicyParams)(p))
		},
		getStatus: NewGetAccessPolicyStatusRequest,
		putStatus: func(server, name string, p *matchParams, body io.Reader) (*http.Request, error) {
			return NewPutAccessPolicyStatusRequestWithBody(server, name, (*api.PutAccessPolicyStatusParams)(p), contentType, body)
		},
	}
}

func cloudServiceOperations() operations {
	return operations{
		list: func(server string, p *listParams) (*http.Request, error) {
			return NewListCloudServicesRequest(server, (*api.ListCloudServicesParams)(p))
		},
		create: NewCreateCloudServiceRequestWithBody,
		get:    NewGetCloudServiceRequest,
		apply: func(server, name string, p *matchParams, body io.Reader) (*http.Request, error) {
			return NewApplyCloudServiceRequestWithBody(server, name, (*api.ApplyCloudServiceParams)(p), contentType, body)
		},
		remove: func(server, name string, p *matchParams) (*http.Request, error) {
			return NewDeleteCloudServiceRequest(server, name, (*api.DeleteCloudServiceParams)(p))
		},
		getStatus: NewGetCloudServiceStatusRequest,
		putStatus: func(server, name string, p *matchParams, body io.Reader) (*http.Request, error) {
			return NewPutCloudServiceStatusRequestWithBody(server, name, (*api.PutCloudServiceStatusParams)(p), contentType, body)
		},
	}
}

func enrollmentTokenOperations() operations {
	return operations{
		list: func(server string, p *listParams) (*http.Request, error) {
			return NewListEnrollmentTokensRequest(server, (*api.ListEnrollmentTokensParams)(p))
		},
		create: NewCreateEnrollmentTokenRequestWithBody,
		get:    NewGetEnrollmentTokenRequest,
		apply: func(server, name string, p *matchParams, body io.Reader) (*http.Request, error) {
			return NewApplyEnrollmentTokenRequestWithBody(server, name, (*api.ApplyEnrollmentTokenParams)(p), contentType, body)
		},
		remove: func(server, name string, p *matchParams) (*http.Request, error) {
			return NewDeleteEnrollmentTokenRequest(server, name, (*api.DeleteEnrollmentTokenParams)(p))
		},
		getStatus: NewGetEnrollmentTokenStatusRequest,
		putStatus: func(server, name string, p *matchParams, body io.Reader) (*http.Request, error) {
			return NewPutEnrollmentTokenStatusRequestWithBody(server, name, (*api.PutEnrollmentTokenStatusParams)(p), contentType, body)
		},
	}
}
