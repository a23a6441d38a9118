package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"time"
)

// request makes the request for one server; it is called again for each attempt.
type request func(server string) (*http.Request, error)

// repeat says what may be done with a request that got no answer.
type repeat int

const (
	once       repeat = iota // it is not sent again
	idempotent               // it may be sent again: GET, PUT, DELETE, PATCH, and POST with a key
)

// do sends a request until take has read a 2xx answer, or returns a *ProblemError, an *UnreachableError, or what take says. take closes nothing.
func (c *Client) do(ctx context.Context, again repeat, build request, take func(*http.Response) error) error {
	return c.repeat(ctx, again, func(server string) error {
		request, err := build(server)
		if err != nil {
			return err
		}
		response, err := c.send(ctx, request)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		if err := take(response); err != nil {
			return fmt.Errorf("%s %s: %w", request.Method, request.URL.Path, err)
		}
		return nil
	})
}

// open sends a request whose answer is a stream; the caller closes its body.
func (c *Client) open(ctx context.Context, build request) (response *http.Response, err error) {
	err = c.repeat(ctx, idempotent, func(server string) error {
		request, err := build(server)
		if err != nil {
			return err
		}
		response, err = c.send(ctx, request)
		return err
	})
	return response, err
}

// repeat makes attempts until one succeeds or no other makes sense.
func (c *Client) repeat(ctx context.Context, again repeat, attempt func(server string) error) error {
	uncertain := false
	for n := 0; ; n++ {
		at := c.current.Load()
		err := attempt(c.servers[int(at)%len(c.servers)])
		if err == nil {
			return nil
		}
		delay, ok := c.another(at, n, again, err)
		if !ok || ctx.Err() != nil || !sleep(ctx, delay) {
			return settle(err, uncertain)
		}
		uncertain = uncertain || (isUnreachable(err) && !neverSent(err))
	}
}

// send returns the response if its status is 2xx, else a *ProblemError or what kept the request from being answered. It waits for the head of the answer as long as
// withPatience says.
func (c *Client) send(ctx context.Context, request *http.Request) (*http.Response, error) {
	waiting, stop := context.WithCancelCause(ctx)
	patience := time.AfterFunc(patienceOf(ctx), func() { stop(errNoAnswer) })
	defer patience.Stop()
	request = request.WithContext(waiting)
	request.Header.Set("User-Agent", "cyphonic")
	if c.token != nil {
		token, err := c.token(ctx)
		if err != nil {
			stop(nil)
			return nil, fmt.Errorf("no token for the manager: %w", err)
		}
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := c.http.Do(request)
	if err != nil {
		if errors.Is(context.Cause(waiting), errNoAnswer) {
			err = errNoAnswer
		}
		stop(nil)
		return nil, unreachable(err)
	}
	c.warn(response.Header)
	response.Body = &stoppingBody{response.Body, stop}
	if response.StatusCode/100 == 2 {
		return response, nil
	}
	defer response.Body.Close()
	return nil, problemOf(response)
}

var errNoAnswer = errors.New("no answer in time")

// stoppingBody ends the request when it is closed.
type stoppingBody struct {
	io.ReadCloser
	stop context.CancelCauseFunc
}

func (b *stoppingBody) Close() error {
	err := b.ReadCloser.Close()
	b.stop(nil)
	return err
}

type patienceKey struct{}

// withPatience says how long the head of an answer may take.
func withPatience(ctx context.Context, d time.Duration) context.Context {
	return context.WithValue(ctx, patienceKey{}, d)
}

func patienceOf(ctx context.Context) time.Duration {
	if d, ok := ctx.Value(patienceKey{}).(time.Duration); ok {
		return d
	}
	return patience
}

// another tells whether and after how long a request is sent again. It moves all requests on to the next server where this one is not reachable or not able.
func (c *Client) another(at uint32, attempt int, again repeat, err error) (time.Duration, bool) {
	left := attempt < retries+len(c.servers)-1
	switch status := StatusOf(err); {
	case isUnreachable(err):
		c.current.CompareAndSwap(at, at+1)
		left = left && (again == idempotent || neverSent(err)) && (!untrusted(err) || attempt+1 < len(c.servers))
	case status == http.StatusServiceUnavailable, status == http.StatusBadGateway, status == http.StatusGatewayTimeout:
		c.current.CompareAndSwap(at, at+1)
		left = left && again == idempotent
	case status == http.StatusTooManyRequests:
		left = left && again == idempotent
	case status == http.StatusConflict:
		left = left && again == idempotent && RetryAfter(err) > 0 // the same request is still being worked on
	default:
		return 0, false
	}
	wait := RetryAfter(err)
	if attempt+1 < len(c.servers) && StatusOf(err) != http.StatusTooManyRequests && StatusOf(err) != http.StatusConflict {
		return 0, left // another server may do at once
	}
	return max(wait, backoff(attempt-len(c.servers)+1)), left && wait <= maxRetryAfter
}

// backoff is between half of and the whole of firstBackoff doubled n times.
func backoff(n int) time.Duration {
	whole := min(firstBackoff<<min(max(n, 0), 16), maxBackoff)
	return whole/2 + rand.N(whole/2)
}

// sleep returns false if ctx ends meanwhile.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// settle marks a refusal that may come from the request itself having been carried out before.
func settle(err error, uncertain bool) error {
	switch StatusOf(err) {
	case http.StatusNotFound, http.StatusConflict, http.StatusPreconditionFailed:
		if uncertain {
			return &UncertainError{err}
		}
	}
	return err
}

func isUnreachable(err error) bool {
	var unreachable *UnreachableError
	return errors.As(err, &unreachable)
}

// untrusted tells whether the server is not one of this installation, which does not change from one moment to the next.
func untrusted(err error) bool {
	var verification *tls.CertificateVerificationError
	return errors.As(err, &verification)
}

// neverSent tells whether there was not even a connection.
func neverSent(err error) bool {
	var operation *net.OpError
	return errors.As(err, &operation) && operation.Op == "dial"
}

// RetryAfter returns how long a manager asked to wait before the request is sent again; 0 if it did not.
func RetryAfter(err error) time.Duration {
	var problem *ProblemError
	if errors.As(err, &problem) {
		return problem.RetryAfter
	}
	return 0
}

// retryAfter reads the header (RFC 9110, section 10.2.3); only the form in seconds is used by managers.
func retryAfter(header http.Header) time.Duration {
	seconds, err := strconv.Atoi(header.Get("Retry-After"))
	if err != nil || seconds < 0 || seconds > 24*60*60 {
		return 0
	}
	return time.Duration(seconds) * time.Second
}
