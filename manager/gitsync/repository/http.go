package repository

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"net/url"

	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/transport"
	githttp "github.com/go-git/go-git/v5/plumbing/transport/http"
)

// httpConversation is a conversation over http that also closes its
// connections.
type httpConversation struct {
	transport.UploadPackSession
	carrier *http.Transport
}

// Close closes the connections.
func (h *httpConversation) Close() error {
	h.carrier.CloseIdleConnections()
	return nil
}

// newHTTP does not connect yet. If the secret has certificates no others are
// trusted.
func newHTTP(u *url.URL, s secret, b *budget) (conversation, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if len(s.ca) > 0 {
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(s.ca) {
			return nil, faultf(ReasonCredentials, "%s holds no certificate in PEM", fileCA)
		}
	}
	dial := dialServer(u)
	if proxy, err := http.ProxyFromEnvironment(&http.Request{URL: u}); err == nil && proxy != nil {
		dial = dialAny()
	}
	carrier := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           dial,
		TLSClientConfig:       config,
		TLSHandshakeTimeout:   dialTimeout,
		ResponseHeaderTimeout: headerTimeout,
		ForceAttemptHTTP2:     true,
	}
	endpoint, err := transport.NewEndpoint(u.String())
	if err != nil {
		return nil, faultf(ReasonInvalidURL, "the url cannot be used: %s", clean(err.Error()))
	}
	var auth transport.AuthMethod
	if s.password != "" || s.username != "" {
		auth = &githttp.BasicAuth{Username: orDefault(s.username, "git"), Password: s.password}
	}
	client := githttp.NewClientWithOptions(&http.Client{
		Transport: &boundedTransport{carrier, b}, CheckRedirect: sameHost,
	}, &githttp.ClientOptions{RedirectPolicy: githttp.FollowInitialRedirects})
	session, err := client.NewUploadPackSession(endpoint, auth)
	if err != nil {
		return nil, err
	}
	return &httpConversation{session, carrier}, nil
}

// sameHost lets a server rename a repository, not send the manager elsewhere.
func sameHost(r *http.Request, via []*http.Request) error {
	if len(via) >= maxRedirects {
		return faultf(ReasonInvalidURL, "the server redirects more than %d times", maxRedirects)
	}
	if r.URL.Host != via[0].URL.Host || r.URL.Scheme != via[0].URL.Scheme {
		return faultf(ReasonInvalidURL, "the server redirects to another host: use that url")
	}
	return nil
}

// boundedTransport counts what is received and keeps the first error.
type boundedTransport struct {
	carrier *http.Transport
	budget  *budget
}

func (t *boundedTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := t.carrier.RoundTrip(r)
	if err != nil {
		return nil, t.budget.fail(err)
	}
	response.Body = &body{reader{response.Body, t.budget}, response.Body}
	return response, nil
}

type body struct {
	reader
	io.Closer
}

func orDefault(text, other string) string {
	if text == "" {
		return other
	}
	return text
}

// AdvertisedReferencesContext refuses servers that speak only the dumb
// protocol, which would have many files fetched one by one.
func (h *httpConversation) AdvertisedReferencesContext(ctx context.Context) (*packp.AdvRefs, error) {
	offered, err := h.UploadPackSession.AdvertisedReferencesContext(ctx)
	if err == nil && len(offered.Prefix) == 0 {
		return nil, faultf(ReasonUnreachable, "the server does not speak the smart protocol of git")
	}
	return offered, err
}
