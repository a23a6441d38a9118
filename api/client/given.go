package client

import "net/http"

// Content types of bodies.
const (
	contentType = "application/json"
	mergeType   = "application/merge-patch+json" // RFC 7386
	applyType   = "application/apply-patch+json"
	bytesType   = "application/octet-stream"
	metricsType = "application/vnd.google.protobuf"
)

// given takes out the parameters that were not given: the generated code writes their zero values.
func given(request *http.Request, err error) (*http.Request, error) {
	if err != nil {
		return nil, err
	}
	query := request.URL.Query()
	for name := range query {
		if query.Get(name) == zeroOf(name) || query.Get(name) == "" {
			query.Del(name)
		}
	}
	request.URL.RawQuery = query.Encode()
	for name := range request.Header {
		if request.Header.Get(name) == "" {
			request.Header.Del(name)
		}
	}
	return request, nil
}

// zeroOf is how the zero value of a parameter is written.
func zeroOf(parameter string) string {
	switch parameter {
	case "limit", "port":
		return "0"
	case "watch", "force", "cascade", "replace":
		return "false"
	case "since", "until":
		return "0001-01-01T00:00:00Z"
	}
	return ""
}
