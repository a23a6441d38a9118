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

// given takes out the parameters that were not given: the generated code writes their zero values, which mean nothing anywhere in the specification.
func given(request *http.Request, err error) (*http.Request, error) {
	if err != nil {
		return nil, err
	}
	query := request.URL.Query()
	for name, values := range query {
		switch values[0] {
		case "", "0", "false", "0001-01-01T00:00:00Z":
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
