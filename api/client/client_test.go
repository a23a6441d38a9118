package client

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cyphonic/cyphonic/api"
)

// otherAuthority is the certificate of an authority that signed nothing; its key was thrown away.
const otherAuthority = `-----BEGIN CERTIFICATE-----
MIIBjjCCATWgAwIBAgIUU1wM0Xc9jkc4b33x2oPc1XMtbDcwCgYIKoZIzj0EAwIw
HDEaMBgGA1UEAwwRYW5vdGhlciBhdXRob3JpdHkwIBcNMjYxMTIyMTEyOTIyWhgP
MjEyNjEwMjkxMTI5MjJaMBwxGjAYBgNVBAMMEWFub3RoZXIgYXV0aG9yaXR5MFkw
EwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE2yuSUYkRY61b9TSIDfGRr4QLZFEVm7Ao
hjLILiU0xpa37800DcFjNTi8cxKtyvxJKYWrFmF1akFjjq1Ixqkx9KNTMFEwHQYD
VR0OBBYEFFOhfEIHjwcsuw9LS+qoeqv5v6biMB8GA1UdIwQYMBaAFFOhfEIHjwcs
uw9LS+qoeqv5v6biMA8GA1UdEwEB/wQFMAMBAf8wCgYIKoZIzj0EAwIDRwAwRAIg
eJDEUqsv9Pc+vQV2c5mv0rFQNPVubeX4jh62zB6hgJoCIEwDD47SELEr4qS4ddXb
aNHMnFLWx87z2A2PWG9dm+/I
-----END CERTIFICATE-----
`

// serve returns a client of a TLS server that does what handle does.
func serve(t *testing.T, handle http.HandlerFunc) *Client {
	t.Helper()
	server := httptest.NewTLSServer(handle)
	t.Cleanup(server.Close)
	c, err := New(Options{Server: server.URL, CA: certificateOf(server), Token: StaticToken("secret")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func certificateOf(server *httptest.Server) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
}

func node(name, resourceVersion string) *api.Node {
	n := &api.Node{Metadata: api.ObjectMeta{Name: name, ResourceVersion: resourceVersion}, Spec: api.NodeSpec{Network: "n"}}
	n.SetType()
	return n
}

func kindNamed(t *testing.T, name string) api.Kind {
	t.Helper()
	kind, ok := api.KindNamed(name)
	if !ok {
		t.Fatalf("no kind %s", name)
	}
	return kind
}

func TestEveryKindHasItsRequests(t *testing.T) {
	var got []string
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		got = append(got, strings.TrimSpace(fmt.Sprintf("%s %s %s %s", r.Method, r.URL.RequestURI(), r.Header.Get("Content-Type"), r.Header.Get("If-Match"))))
		if r.Header.Get("Authorization") != "Bearer secret" || (r.Method == http.MethodPost) != (len(r.Header.Get("Idempotency-Key")) >= 20) {
			t.Errorf("%s: header %v", r.Method, r.Header)
		}
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"items":[],"metadata":{}}`)
	})
	for _, kind := range api.Kinds() {
		got = nil
		base := "/api/v1/" + kind.Plural
		want := []string{"GET " + base, "GET " + base + "/a", "GET " + base + "?resourceVersion=9&watch=true"}
		if !kind.ReadOnly {
			want = append(
				want,
				"POST "+base+"?dryRun=All&fieldManager=me application/json",
				"PUT "+base+`/a?fieldManager=me application/json "7"`,
				"PATCH "+base+`/a application/merge-patch+json "7"`,
				"PATCH "+base+`/a?fieldManager=me&force=true application/apply-patch+json`,
				"DELETE "+base+"/a?cascade=true  *",
				"GET "+base+"/a/status",
				"PUT "+base+"/a/status application/json",
			)
		}
		callEverything(t, c, kind)
		if difference := cmp.Diff(want, got); difference != "" {
			t.Errorf("%s: %s", kind.Name, difference)
		}
	}
}

func callEverything(t *testing.T, c *Client, kind api.Kind) {
	t.Helper()
	ctx := t.Context()
	_, err1 := c.List(ctx, kind, ListOptions{})
	_, err2 := c.Get(ctx, kind, "a")
	watch, err3 := c.Watch(ctx, kind, WatchOptions{ResourceVersion: "9"})
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Fatalf("%s: %v", kind.Name, err)
	}
	watch.Close()
	if kind.ReadOnly {
		return
	}
	object := kind.New()
	object.Meta().Name = "a"
	_, err1 = c.Create(ctx, object, WriteOptions{DryRun: true, FieldManager: "me"})
	_, _, err2 = c.Replace(ctx, object, WriteOptions{IfMatch: "7", FieldManager: "me"})
	_, err3 = c.Patch(ctx, kind, "a", []byte(`{}`), WriteOptions{IfMatch: "7"})
	_, _, err4 := c.Apply(ctx, kind, "a", []byte(`{}`), WriteOptions{FieldManager: "me", Force: true})
	_, err5 := c.Delete(ctx, kind, "a", DeleteOptions{IfMatch: "*", Cascade: true})
	_, err6 := c.GetStatus(ctx, kind, "a")
	_, err7 := c.PutStatus(ctx, object)
	if err := errors.Join(err1, err2, err3, err4, err5, err6, err7); err != nil {
		t.Fatalf("%s: %v", kind.Name, err)
	}
}

func TestAdapterRequests(t *testing.T) {
	var got []string
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		got = append(got, r.Method+" "+r.URL.RequestURI())
		io.WriteString(w, `{"items":[],"metadata":{"name":"cam1"}}`)
	})
	_, err1 := c.ListAdapterGeneralNodes(t.Context(), "g")
	watch, err2 := c.WatchAdapterGeneralNodes(t.Context(), "g", "5")
	g, err3 := c.PutAdapterGeneralNodeStatus(t.Context(), "g", &api.GeneralNode{Metadata: api.ObjectMeta{Name: "cam1"}})
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Fatal(err)
	}
	watch.Close()
	if g.Metadata.Name != "cam1" {
		t.Errorf("got %+v", g)
	}
	want := []string{
		"GET /api/v1/adapters/g/generalnodes", "GET /api/v1/adapters/g/generalnodes?resourceVersion=5&watch=true",
		"PUT /api/v1/adapters/g/generalnodes/cam1/status",
	}
	if difference := cmp.Diff(want, got); difference != "" {
		t.Error(difference)
	}
}

func TestANameCannotLeaveItsPath(t *testing.T) {
	var path string
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		path = r.URL.EscapedPath()
		io.WriteString(w, `{}`)
	})
	if _, err := c.Get(t.Context(), kindNamed(t, "Node"), "../networks/a?b#c"); err != nil {
		t.Fatal(err)
	}
	if want := "/api/v1/nodes/..%2Fnetworks%2Fa%3Fb%23c"; path != want {
		t.Errorf("got %s, want %s", path, want)
	}
}

func TestReplaceTellsWhetherItCreated(t *testing.T) {
	status := http.StatusCreated
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(status)
		io.Copy(w, r.Body)
	})
	for _, want := range []bool{true, false} {
		got, created, err := c.Replace(t.Context(), node("a", "1"), WriteOptions{})
		if err != nil || created != want {
			t.Errorf("got %t, %v; want %t", created, err, want)
		}
		if difference := cmp.Diff(api.Object(node("a", "1")), got); difference != "" {
			t.Error(difference)
		}
		status = http.StatusOK
	}
}

func TestErrors(t *testing.T) {
	rows := map[string]struct {
		status            int
		contentType, body string
		want              string
	}{
		"a problem with fields": {
			400, "application/problem+json; charset=utf-8",
			`{"type":"about:blank","title":"Bad Request","status":400,"detail":"invalid","errors":[{"pointer":"/spec/mac","detail":"is missing"},{"pointer":"/spec/x","detail":"unknown field"}]}`,
			"invalid: /spec/mac: is missing; /spec/x: unknown field (HTTP 400)",
		},
		"a detail that names the field": {
			400, "application/problem+json",
			`{"title":"Bad Request","status":400,"detail":"invalid: /spec/mac: is missing","errors":[{"pointer":"/spec/mac","detail":"is missing"},{"pointer":"/spec/x","detail":"unknown field"}]}`,
			"invalid: /spec/mac: is missing: /spec/x: unknown field (HTTP 400)",
		},
		"a problem with a title only": {409, "application/problem+json", `{"title":"Conflict","status":409}`, "Conflict (HTTP 409)"},
		"another status in the body":  {404, "application/problem+json", `{"title":"No","status":200}`, "No (HTTP 404)"},
		"something else":              {502, "text/html", `<html>`, "bad gateway: the answer does not come from a manager (HTTP 502)"},
		"a broken problem":            {500, "application/problem+json", `{`, "internal server error: the answer does not come from a manager (HTTP 500)"},
		"too much":                    {500, "application/problem+json", `{"detail":"` + strings.Repeat("x", maxProblem) + `"}`, "internal server error: the answer does not come from a manager (HTTP 500)"},
		"a redirection":               {307, "", "", "temporary redirect: the answer does not come from a manager (HTTP 307)"},
	}
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			c := serve(t, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/elsewhere" {
					t.Error("followed a redirection")
				}
				w.Header().Set("Content-Type", row.contentType)
				w.Header().Set("Location", "/elsewhere")
				w.WriteHeader(row.status)
				io.WriteString(w, row.body)
			})
			_, err := c.Get(t.Context(), kindNamed(t, "Node"), "a")
			if err == nil || err.Error() != row.want || StatusOf(err) != row.status {
				t.Errorf("got %v, status %d; want %s", err, StatusOf(err), row.want)
			}
		})
	}
}

func TestAnswersAreBounded(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, `{"kind":"`)
		filler := strings.Repeat("x", 1<<16)
		for range maxObject>>16 + 1 {
			io.WriteString(w, filler)
		}
		io.WriteString(w, `"}`)
	})
	if _, err := c.Get(t.Context(), kindNamed(t, "Node"), "a"); err == nil || !strings.Contains(err.Error(), "longer than") {
		t.Errorf("got %v", err)
	}
	watch, err := c.Watch(t.Context(), kindNamed(t, "Node"), WatchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Close()
	if _, err := watch.Next(); err == nil {
		t.Error("a line without an end was taken")
	}
}

func TestOnlyTheGivenAuthorityIsTrusted(t *testing.T) {
	asked := false
	server := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked = true }))
	defer server.Close()
	c, err := New(Options{Server: server.URL, CA: []byte(otherAuthority), Token: StaticToken("secret")})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.List(t.Context(), kindNamed(t, "Node"), ListOptions{})
	var unreachable *UnreachableError
	if !errors.As(err, &unreachable) || !strings.Contains(unreachable.Hint, "trust.json") || asked {
		t.Errorf("got %v, asked %t", err, asked)
	}
}

func TestNewRefuses(t *testing.T) {
	for name, options := range map[string]Options{
		"no URL":           {CA: []byte(otherAuthority)},
		"no scheme":        {Server: "203.0.113.10:7440", CA: []byte(otherAuthority)},
		"no encryption":    {Server: "http://203.0.113.10:7440", CA: []byte(otherAuthority)},
		"no authority":     {Server: "https://203.0.113.10:7440"},
		"no PEM authority": {Server: "https://203.0.113.10:7440", CA: []byte("x")},
	} {
		if _, err := New(options); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestUnreachable(t *testing.T) {
	server := httptest.NewTLSServer(nil)
	ca := certificateOf(server)
	server.Close()
	c, err := New(Options{Server: server.URL, CA: ca})
	if err != nil {
		t.Fatal(err)
	}
	var unreachable *UnreachableError
	if _, err := c.List(t.Context(), kindNamed(t, "Node"), ListOptions{}); !errors.As(err, &unreachable) || StatusOf(err) != 0 {
		t.Errorf("got %v", err)
	}
}

func TestWatch(t *testing.T) {
	lines := []api.WatchEvent{
		event(t, api.WatchEventTypeADDED, node("a", "3")),
		event(t, api.WatchEventTypeBOOKMARK, &api.Node{Metadata: api.ObjectMeta{ResourceVersion: "5"}}),
		event(t, api.WatchEventTypeDELETED, node("a", "7")),
	}
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/x-ndjson")
		for _, line := range lines {
			json.NewEncoder(w).Encode(line)
		}
	})
	watch, err := c.Watch(t.Context(), kindNamed(t, "Node"), WatchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Close()
	for _, want := range []Change{
		{api.WatchEventTypeADDED, node("a", "3")},
		{api.WatchEventTypeBOOKMARK, &api.Node{Metadata: api.ObjectMeta{ResourceVersion: "5"}}},
		{api.WatchEventTypeDELETED, node("a", "7")},
	} {
		got, err := watch.Next()
		if err != nil {
			t.Fatal(err)
		}
		if difference := cmp.Diff(want, got); difference != "" {
			t.Error(difference)
		}
	}
	if _, err := watch.Next(); !errors.Is(err, ErrWatchEnded) {
		t.Errorf("got %v at the end", err)
	}
}

func TestWatchEndsWithTheProblemOfAnErrorEvent(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		json.NewEncoder(w).Encode(event(t, api.WatchEventTypeERROR, api.Problem{Status: http.StatusGone, Title: "Gone"}))
	})
	watch, err := c.Watch(t.Context(), kindNamed(t, "Node"), WatchOptions{ResourceVersion: "1"})
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Close()
	if _, err := watch.Next(); !IsGone(err) {
		t.Errorf("got %v", err)
	}
}

func TestWatchEndsWithItsContext(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		json.NewEncoder(w).Encode(event(t, api.WatchEventTypeADDED, node("a", "3")))
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	ctx, cancel := context.WithCancel(t.Context())
	watch, err := c.Watch(ctx, kindNamed(t, "Node"), WatchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := watch.Next(); err != nil { // comes although the answer has no end yet
		t.Fatal(err)
	}
	cancel()
	if _, err := watch.Next(); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if err := watch.Close(); err != nil {
		t.Error(err)
	}
}

func event(t *testing.T, kind api.WatchEventType, object any) api.WatchEvent {
	t.Helper()
	text, err := json.Marshal(object)
	if err != nil {
		t.Error(err)
	}
	return api.WatchEvent{Type: kind, Object: text}
}
