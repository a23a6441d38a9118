package client

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cyphonic/cyphonic/api"
)

// transportFunc answers requests without a network, so that time can be virtual.
type transportFunc func(*http.Request) (*http.Response, error)

func (f transportFunc) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func answerWith(status int, body string, header ...string) *http.Response {
	r := &http.Response{StatusCode: status, Header: http.Header{"Content-Type": {"application/problem+json"}}, Body: io.NopCloser(strings.NewReader(body))}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	return r
}

func clientOf(t *testing.T, transport transportFunc, servers ...string) *Client {
	t.Helper()
	if len(servers) == 0 {
		servers = []string{"https://a"}
	}
	c, err := New(Options{Servers: servers, Transport: transport})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func refused() error { return &net.OpError{Op: "dial", Err: errors.New("connection refused")} }
func lost() error    { return &net.OpError{Op: "read", Err: errors.New("connection reset by peer")} }

func TestRequestsAreRepeatedOnlyWhereThatMakesSense(t *testing.T) {
	const good = `{"metadata":{"name":"a"}}`
	unavailable := func() (*http.Response, error) {
		return answerWith(503, `{"status":503,"title":"x"}`, "Retry-After", "1"), nil
	}
	rows := map[string]struct {
		answers  []func() (*http.Response, error) // before the good one
		attempts int
		took     time.Duration // at least
		status   int           // of the error; 0: none
	}{
		"at once":                {nil, 1, 0, 0},
		"refused once":           {[]func() (*http.Response, error){func() (*http.Response, error) { return nil, refused() }}, 2, firstBackoff / 2, 0},
		"lost twice":             {slices.Repeat([]func() (*http.Response, error){func() (*http.Response, error) { return nil, lost() }}, 2), 3, firstBackoff, 0},
		"unavailable":            {slices.Repeat([]func() (*http.Response, error){unavailable}, 2), 3, 2 * time.Second, 0},
		"unavailable for long":   {slices.Repeat([]func() (*http.Response, error){unavailable}, 5), 3, 2 * time.Second, 503},
		"asked to wait for long": {[]func() (*http.Response, error){func() (*http.Response, error) { return answerWith(503, `{}`, "Retry-After", "60"), nil }}, 1, 0, 503},
		"too many requests":      {[]func() (*http.Response, error){func() (*http.Response, error) { return answerWith(429, `{}`, "Retry-After", "3"), nil }}, 2, 3 * time.Second, 0},
		"invalid":                {[]func() (*http.Response, error){func() (*http.Response, error) { return answerWith(400, `{}`), nil }}, 1, 0, 400},
		"conflict":               {[]func() (*http.Response, error){func() (*http.Response, error) { return answerWith(409, `{}`), nil }}, 1, 0, 409},
		"still being worked on":  {[]func() (*http.Response, error){func() (*http.Response, error) { return answerWith(409, `{}`, "Retry-After", "1"), nil }}, 2, time.Second, 0},
	}
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began, attempts := time.Now(), 0
				keys := map[string]bool{}
				c := clientOf(t, func(r *http.Request) (*http.Response, error) {
					keys[r.Header.Get("Idempotency-Key")] = true
					attempts++
					if body, _ := io.ReadAll(r.Body); !strings.Contains(string(body), `"name":"a"`) {
						t.Errorf("attempt %d has the body %q", attempts, body)
					}
					if attempts <= len(row.answers) {
						return row.answers[attempts-1]()
					}
					return answerWith(201, good), nil
				})
				_, err := c.Create(t.Context(), node("a", ""), WriteOptions{})
				if StatusOf(err) != row.status || (err == nil) != (row.status == 0) {
					t.Errorf("got %v, want status %d", err, row.status)
				}
				if attempts != row.attempts || len(keys) != 1 {
					t.Errorf("%d attempts with %d keys, want %d with one", attempts, len(keys), row.attempts)
				}
				if took := time.Since(began); took < row.took || took > row.took+time.Second {
					t.Errorf("took %s, want about %s", took, row.took)
				}
			})
		})
	}
}

func TestWhatMustNotBeRepeatedIsSentOnce(t *testing.T) {
	for name, row := range map[string]struct {
		err      error
		attempts int
	}{"lost": {lost(), 1}, "never sent": {refused(), 3}} {
		synctest.Test(t, func(t *testing.T) {
			attempts := 0
			c := clientOf(t, func(*http.Request) (*http.Response, error) { attempts++; return nil, row.err })
			_, err := c.Restore(t.Context(), strings.NewReader("backup"), false)
			if !isUnreachable(err) || attempts != row.attempts {
				t.Errorf("%s: %d attempts, %v; want %d", name, attempts, err, row.attempts)
			}
		})
	}
}

func TestAnotherServerIsAskedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		var hosts []string
		c := clientOf(t, func(r *http.Request) (*http.Response, error) {
			hosts = append(hosts, r.URL.Host)
			switch r.URL.Host {
			case "a":
				return nil, refused()
			case "b":
				return answerWith(503, `{}`, "Retry-After", "5"), nil
			}
			return answerWith(200, `{}`), nil
		}, "https://a", "https://b", "https://c")
		for range 2 {
			if _, err := c.Get(t.Context(), kindNamed(t, "Node"), "x"); err != nil {
				t.Fatal(err)
			}
		}
		if want := []string{"a", "b", "c", "c"}; !slices.Equal(hosts, want) {
			t.Errorf("asked %v, want %v", hosts, want)
		}
		if took := time.Since(began); took > time.Millisecond {
			t.Errorf("took %s", took)
		}
	})
}

func TestARefusalAfterALostAnswerIsUncertain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		attempts := 0
		c := clientOf(t, func(*http.Request) (*http.Response, error) {
			if attempts++; attempts == 1 {
				return nil, lost()
			}
			return answerWith(404, `{"title":"Not Found"}`), nil
		})
		_, err := c.Delete(t.Context(), kindNamed(t, "Node"), "a", DeleteOptions{})
		var uncertain *UncertainError
		if !errors.As(err, &uncertain) || !IsNotFound(err) {
			t.Errorf("got %v", err)
		}
	})
}

func TestAServerThatSaysNothingIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		c := clientOf(t, func(r *http.Request) (*http.Response, error) {
			if r.URL.Host == "a" {
				<-r.Context().Done()
				return nil, r.Context().Err()
			}
			return answerWith(200, `{}`), nil
		}, "https://a", "https://b")
		if _, err := c.Get(t.Context(), kindNamed(t, "Node"), "x"); err != nil || time.Since(began) != patience {
			t.Errorf("after %s: %v", time.Since(began), err)
		}
	})
}

func TestABrokenAnswerIsAskedForAgain(t *testing.T) {
	var attempts atomic.Int32
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if attempts.Add(1) == 1 {
			w.Header().Set("Content-Length", "1000")
			io.WriteString(w, `{"metadata":`)
			return
		}
		io.WriteString(w, `{"metadata":{"name":"a"}}`)
	})
	o, err := c.Get(t.Context(), kindNamed(t, "Node"), "a")
	if err != nil || o.Meta().Name != "a" || attempts.Load() != 2 {
		t.Errorf("got %v, %v after %d attempts", o, err, attempts.Load())
	}
}

func TestWarnings(t *testing.T) {
	since := "2026-11-22T10:00:00Z"
	rows := map[string]struct {
		header []string
		want   []Warning
	}{
		"none": {nil, nil},
		"stale": {
			[]string{"Warning", `110 - "the database is not reachable; this is the state of ` + since + `"`, "Cyphonic-Stale-Since", since},
			[]Warning{{"110", "the database is not reachable; this is the state of " + since, time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)}},
		},
		"stale without words": {[]string{"Cyphonic-Stale-Since", since}, []Warning{{"110", "this is the state of " + since, time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)}}},
		"quotes and controls": {[]string{"Warning", "299 manager \"a \\\"b\\\" \x1b[31mc\""}, []Warning{{Code: "299", Text: `a "b" [31mc`}}},
		"too many":            {slices.Repeat([]string{"Warning", `299 - "x"`}, 9), slices.Repeat([]Warning{{Code: "299", Text: "x"}}, maxWarnings)},
	}
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			var got []Warning
			c, err := New(Options{Server: "https://a", OnWarning: func(w Warning) { got = append(got, w) }, Transport: transportFunc(func(*http.Request) (*http.Response, error) {
				return answerWith(200, `{}`, row.header...), nil
			})})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := c.Get(t.Context(), kindNamed(t, "Node"), "x"); err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(got, row.want) {
				t.Errorf("got %+v, want %+v", got, row.want)
			}
		})
	}
}

func TestTokensAreAskedForEachRequest(t *testing.T) {
	calls := 0
	source := func(context.Context) (string, error) {
		if calls++; calls > 1 {
			return "", errors.New("the login has ended")
		}
		return "first", nil
	}
	c, err := New(Options{Server: "https://a", Token: source, Transport: transportFunc(func(r *http.Request) (*http.Response, error) {
		if r.Header.Get("Authorization") != "Bearer first" {
			t.Errorf("got %q", r.Header.Get("Authorization"))
		}
		return answerWith(200, `{}`), nil
	})})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Whoami(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Whoami(t.Context()); err == nil || !strings.Contains(err.Error(), "the login has ended") || calls != 2 {
		t.Errorf("got %v after %d calls", err, calls)
	}
}

func TestClientsCanBeShared(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, `{}`) }))
	defer server.Close()
	c, err := New(Options{Servers: []string{"https://127.0.0.1:1", server.URL}, CA: certificateOf(server)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var group sync.WaitGroup
	for range 16 {
		group.Go(func() {
			if _, err := c.Get(context.Background(), api.Kinds()[0], "x"); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
}
