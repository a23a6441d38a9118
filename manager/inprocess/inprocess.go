// Package inprocess lets parts of the manager use the REST API as clients do,
// without a connection: the same validation, authorisation and audit, as a
// principal that is part of the manager. It must not decide what that principal
// may do.
package inprocess

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"

	"github.com/cyphonic/cyphonic/api/client"
	"github.com/cyphonic/cyphonic/manager/access"
)

// maxAnswer bounds an answer that is kept in memory.
const maxAnswer = 64 << 20

// API is the REST API of this process.
type API struct {
	Handler http.Handler
	// As gives the context of a request its principal.
	As func(context.Context, access.Principal) context.Context
}

// Client returns a client that is a principal.
func (a API) Client(who access.Principal) *client.Client {
	c, err := client.New(client.Options{Server: "http://manager", Transport: &transport{a.Handler, a.As, who}})
	if err != nil {
		panic(err) // the server is a constant
	}
	return c
}

// transport hands requests to the REST API of this process as one principal.
// There is no connection, so nothing in it can be mistaken for a credential.
type transport struct {
	handler http.Handler
	as      func(context.Context, access.Principal) context.Context
	who     access.Principal
}

// RoundTrip serves the request to its end. The API bounds its time.
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	inner := r.Clone(t.as(r.Context(), t.who))
	inner.RemoteAddr, inner.RequestURI = "127.0.0.1:0", r.URL.RequestURI()
	if inner.Body == nil {
		inner.Body = http.NoBody
	}
	defer inner.Body.Close()
	a := &answer{header: http.Header{}, status: http.StatusOK}
	t.handler.ServeHTTP(a, inner)
	if a.overflow {
		return nil, errors.New("the answer is too long")
	}
	return &http.Response{
		StatusCode: a.status, Status: http.StatusText(a.status), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: a.header, Body: io.NopCloser(&a.body), ContentLength: int64(a.body.Len()), Request: r,
	}, nil
}

// answer is the ResponseWriter of one request. It belongs to its goroutine.
type answer struct {
	header   http.Header
	status   int
	wrote    bool
	overflow bool
	body     bytes.Buffer
}

func (a *answer) Header() http.Header { return a.header }

func (a *answer) WriteHeader(status int) {
	if !a.wrote && status >= http.StatusOK {
		a.status, a.wrote = status, true
	}
}

func (a *answer) Write(p []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	if a.body.Len()+len(p) > maxAnswer {
		a.overflow = true
		return 0, errors.New("the answer is too long")
	}
	return a.body.Write(p)
}
