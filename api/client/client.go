// Package client speaks to the managers: requests made by code generated from openapi/, with the same few methods for every kind, errors as problems
// (RFC 9457), lists in pages and watches as streams of typed events. Managers are equal: where one does not answer the next one is asked, and what may be repeated
// is repeated a few times. It must hold no rule about resources, keep no state besides its connections, and need nothing but the standard library, api and the
// generated code.
package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"sync/atomic"
	"time"
)

// TokenSource returns the bearer token for the next request.
type TokenSource func(context.Context) (string, error)

// Options say which managers to speak to, and as whom.
type Options struct {
	Server      string            // base URL of a manager, https://host:port
	Servers     []string          // base URLs of further managers of the same installation
	CA          []byte            // PEM certificates that a manager's certificate must descend from; no others are trusted
	Token       TokenSource       // nil: none
	Certificate *tls.Certificate  // for managers that know this client by its certificate; nil: none
	Transport   http.RoundTripper // instead of TLS over TCP, for calls inside a process and for tests
	OnWarning   func(Warning)     // called for each warning in an answer, as of stale state; nil: they are passed over
}

// Client is safe for concurrent use.
type Client struct {
	servers   []string
	token     TokenSource
	onWarning func(Warning)
	http      *http.Client

	current atomic.Uint32 // counts on when a server does not answer; its rest by len(servers) is the server that is asked
}

// StaticToken is a token that never changes.
func StaticToken(token string) TokenSource {
	return func(context.Context) (string, error) { return token, nil }
}

// New checks the options; it does not connect.
func New(o Options) (*Client, error) {
	servers, err := serversOf(o)
	if err != nil {
		return nil, err
	}
	transport := o.Transport
	if transport == nil {
		if transport, err = newTransport(o.CA, o.Certificate); err != nil {
			return nil, err
		}
	}
	onWarning := o.OnWarning
	if onWarning == nil {
		onWarning = func(Warning) {}
	}
	return &Client{servers: servers, token: o.Token, onWarning: onWarning, http: &http.Client{Transport: transport, CheckRedirect: refuseRedirect}}, nil
}

// Close closes idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

func serversOf(o Options) ([]string, error) {
	servers := o.Servers
	if o.Server != "" || len(servers) == 0 {
		servers = append([]string{o.Server}, servers...)
	}
	var once []string
	for _, text := range servers {
		if err := checkServer(text, o.Transport != nil); err != nil {
			return nil, err
		}
		if !slices.Contains(once, text) {
			once = append(once, text)
		}
	}
	if len(once) > maxServers {
		return nil, fmt.Errorf("there are %d server URLs, at most %d can be used", len(once), maxServers)
	}
	return once, nil
}

// CheckServer says what is wrong with the base URL of a manager.
func CheckServer(text string) error { return checkServer(text, false) }

func checkServer(text string, plain bool) error {
	server, err := url.Parse(text)
	if err != nil || server.Host == "" || (server.Scheme != "https" && server.Scheme != "http") {
		return fmt.Errorf("server URL %q is not of the form https://host:port", text)
	}
	if server.Scheme == "http" && !plain {
		return fmt.Errorf("server URL %q is not encrypted: the manager speaks https only", text)
	}
	return nil
}

// newTransport trusts the given certificates only and notices within half a minute that the other end of a quiet watch is gone.
func newTransport(ca []byte, certificate *tls.Certificate) (*http.Transport, error) {
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return nil, errors.New("no certificate in the trusted certificates: use the trust.json that `cyphonicctl init` wrote")
	}
	config := &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13}
	if certificate != nil {
		config.Certificates = []tls.Certificate{*certificate}
	}
	return &http.Transport{
		DialContext:         (&net.Dialer{Timeout: dialTimeout, KeepAlive: 15 * time.Second}).DialContext,
		TLSClientConfig:     config,
		ForceAttemptHTTP2:   true,
		HTTP2:               &http.HTTP2Config{SendPingTimeout: 10 * time.Second, PingTimeout: 5 * time.Second},
		TLSHandshakeTimeout: 10 * time.Second,
		IdleConnTimeout:     90 * time.Second,
		MaxIdleConnsPerHost: 4,
	}, nil
}

// refuseRedirect: the token must not follow to another place.
func refuseRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
