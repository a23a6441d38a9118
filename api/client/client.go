// Package client speaks to the manager: requests made by code generated from openapi/, with the same few methods for every kind, errors as problems
// (RFC 9457) and watches as streams of typed events. It keeps no state besides its connections and retries nothing: callers know what may be repeated.
package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/cyphonic/cyphonic/api"
)

// Options say which manager to speak to, and as whom.
type Options struct {
	Server    string            // base URL, https://host:port
	CA        []byte            // PEM certificates that the manager's certificate must descend from; no others are trusted
	Token     func() string     // bearer token for the next request; nil: none
	Transport http.RoundTripper // instead of TLS over TCP, for tests
}

// Client is safe for concurrent use.
type Client struct {
	server string
	token  func() string
	http   *http.Client
}

// StaticToken is a token that never changes.
func StaticToken(token string) func() string { return func() string { return token } }

// New checks the options; it does not connect.
func New(o Options) (*Client, error) {
	server, err := url.Parse(o.Server)
	if err != nil || server.Host == "" || (server.Scheme != "https" && server.Scheme != "http") {
		return nil, fmt.Errorf("server URL %q is not of the form https://host:port", o.Server)
	}
	if server.Scheme == "http" && o.Transport == nil {
		return nil, fmt.Errorf("server URL %q is not encrypted: the manager speaks https only", o.Server)
	}
	transport := o.Transport
	if transport == nil {
		if transport, err = newTransport(o.CA); err != nil {
			return nil, err
		}
	}
	return &Client{server: o.Server, token: o.Token, http: &http.Client{Transport: transport, CheckRedirect: refuseRedirect}}, nil
}

// Close closes idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// List returns all resources of a kind in the order of their names.
func (c *Client) List(ctx context.Context, kind api.Kind) (api.List, error) {
	request, err := operationsOf(kind.Name).list(c.server, nil)
	return c.list(ctx, kind, request, err)
}

// Get reads one resource.
func (c *Client) Get(ctx context.Context, kind api.Kind, name string) (api.Object, error) {
	request, err := operationsOf(kind.Name).get(c.server, name)
	object, _, err := c.object(ctx, kind, request, err)
	return object, err
}

// Create makes a resource that does not exist; status 409 if it does. For an EnrollmentToken the answer has the secret.
func (c *Client) Create(ctx context.Context, o api.Object) (api.Object, error) {
	kind, body, err := encode(o)
	if err != nil {
		return nil, err
	}
	request, err := operationsOf(kind.Name).create(c.server, contentType, body)
	object, _, err := c.object(ctx, kind, request, err)
	return object, err
}

// Apply creates a resource or makes it what o says, and tells which of the two happened. If ifMatch is not empty the resource must have that resourceVersion,
// else the status is 412.
func (c *Client) Apply(ctx context.Context, o api.Object, ifMatch string) (applied api.Object, created bool, err error) {
	kind, body, err := encode(o)
	if err != nil {
		return nil, false, err
	}
	request, err := operationsOf(kind.Name).apply(c.server, o.Meta().Name, match(ifMatch), body)
	object, status, err := c.object(ctx, kind, request, err)
	return object, status == http.StatusCreated, err
}

// Delete removes a resource and returns it as it was.
func (c *Client) Delete(ctx context.Context, kind api.Kind, name, ifMatch string) (api.Object, error) {
	request, err := operationsOf(kind.Name).remove(c.server, name, match(ifMatch))
	object, _, err := c.object(ctx, kind, request, err)
	return object, err
}

// GetStatus reads one resource through its status path.
func (c *Client) GetStatus(ctx context.Context, kind api.Kind, name string) (api.Object, error) {
	request, err := operationsOf(kind.Name).getStatus(c.server, name)
	object, _, err := c.object(ctx, kind, request, err)
	return object, err
}

// PutStatus writes the status of o; a metadata.resourceVersion makes it conditional.
func (c *Client) PutStatus(ctx context.Context, o api.Object) (api.Object, error) {
	kind, body, err := encode(o)
	if err != nil {
		return nil, err
	}
	request, err := operationsOf(kind.Name).putStatus(c.server, o.Meta().Name, nil, body)
	object, _, err := c.object(ctx, kind, request, err)
	return object, err
}

// ListAdapterGeneralNodes returns the general nodes of an adapter.
func (c *Client) ListAdapterGeneralNodes(ctx context.Context, adapter string) (api.List, error) {
	kind, _ := api.KindNamed("GeneralNode")
	request, err := NewListAdapterGeneralNodesRequest(c.server, adapter, nil)
	return c.list(ctx, kind, request, err)
}

// PutAdapterGeneralNodeStatus reports phase, reason, nodeID and conditions of a general node of the adapter.
func (c *Client) PutAdapterGeneralNodeStatus(ctx context.Context, adapter string, g *api.GeneralNode) (*api.GeneralNode, error) {
	kind, body, err := encode(g)
	if err != nil {
		return nil, err
	}
	request, err := NewPutAdapterGeneralNodeStatusRequestWithBody(c.server, adapter, g.Metadata.Name, contentType, body)
	object, _, err := c.object(ctx, kind, request, err)
	if err != nil {
		return nil, err
	}
	return object.(*api.GeneralNode), nil
}

func (c *Client) list(ctx context.Context, kind api.Kind, request *http.Request, err error) (api.List, error) {
	if err != nil {
		return api.List{}, err
	}
	response, err := c.send(ctx, request)
	if err != nil {
		return api.List{}, err
	}
	defer response.Body.Close()
	data, err := readBounded(response.Body, maxList)
	if err != nil {
		return api.List{}, fmt.Errorf("list %s: %w", kind.Plural, err)
	}
	list, err := kind.DecodeList(data)
	if err != nil {
		return api.List{}, fmt.Errorf("list %s: the answer is not a %sList: %w", kind.Plural, kind.Name, err)
	}
	return list, nil
}

func (c *Client) object(ctx context.Context, kind api.Kind, request *http.Request, err error) (api.Object, int, error) {
	if err != nil {
		return nil, 0, err
	}
	response, err := c.send(ctx, request)
	if err != nil {
		return nil, 0, err
	}
	defer response.Body.Close()
	data, err := readBounded(response.Body, maxObject)
	if err != nil {
		return nil, 0, fmt.Errorf("%s %s: %w", request.Method, request.URL.Path, err)
	}
	object := kind.New()
	if err := json.Unmarshal(data, object); err != nil {
		return nil, 0, fmt.Errorf("%s %s: the answer is not a %s: %w", request.Method, request.URL.Path, kind.Name, err)
	}
	return object, response.StatusCode, nil
}

// send returns the response if its status is 2xx, else a *ProblemError or what kept the request from being answered.
func (c *Client) send(ctx context.Context, request *http.Request) (*http.Response, error) {
	request = request.WithContext(ctx)
	request.Header.Set("User-Agent", "cyphonic")
	if c.token != nil {
		request.Header.Set("Authorization", "Bearer "+c.token())
	}
	response, err := c.http.Do(request)
	if err != nil {
		return nil, unreachable(err)
	}
	if response.StatusCode/100 == 2 {
		return response, nil
	}
	defer response.Body.Close()
	return nil, problemOf(response)
}

func encode(o api.Object) (api.Kind, io.Reader, error) {
	kind, ok := api.KindNamed(o.KindName())
	if !ok {
		return api.Kind{}, nil, fmt.Errorf("unknown kind %q", o.KindName())
	}
	data, err := json.Marshal(o)
	return kind, bytes.NewReader(data), err
}

func match(ifMatch string) *matchParams {
	switch ifMatch {
	case "":
		return nil
	case "*":
		return &matchParams{IfMatch: "*"}
	}
	return &matchParams{IfMatch: `"` + ifMatch + `"`}
}

// newTransport trusts the given certificates only and notices within half a minute that the other end of a quiet watch is gone.
func newTransport(ca []byte) (*http.Transport, error) {
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return nil, errors.New("no certificate in the trusted certificates: use the trust.json that `cyphonicctl init` wrote")
	}
	return &http.Transport{
		DialContext:           (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 15 * time.Second}).DialContext,
		TLSClientConfig:       &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13},
		ForceAttemptHTTP2:     true,
		HTTP2:                 &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 10 * time.Second},
		TLSHandshakeTimeout:   10 * time.Second,
		ResponseHeaderTimeout: 30 * time.Second,
		IdleConnTimeout:       90 * time.Second,
		MaxIdleConnsPerHost:   4,
	}, nil
}

// refuseRedirect: the token must not follow to another place.
func refuseRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
