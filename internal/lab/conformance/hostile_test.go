package conformance

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/internal/lab/control"
	"github.com/cyphonic/cyphonic/openapi"
)

// requestsPerOperation is how many requests each operation of the specification gets.
const requestsPerOperation = 1000

const (
	workers        = 8
	examples       = 2    // shown of each kind of violation
	maxParameter   = 4000 // a longer header is not even sent
	requestTimeout = 20 * time.Second
	// watchTime is how long a watch is listened to.
	watchTime = 30 * time.Millisecond
)

// operation is one of the specification.
type operation struct {
	method, path string
	item         *openapi3.PathItem
	spec         *openapi3.Operation
}

func operations(t *testing.T) (*openapi3.T, []operation) {
	t.Helper()
	document, err := openapi3.NewLoader().LoadFromData(openapi.Document)
	if err != nil {
		t.Fatal(err)
	}
	var all []operation
	for path, item := range document.Paths.Map() {
		for method, spec := range item.Operations() {
			all = append(all, operation{method, path, item, spec})
		}
	}
	slices.SortFunc(all, func(a, b operation) int { return strings.Compare(a.spec.OperationID, b.spec.OperationID) })
	if len(all) < 100 {
		t.Fatalf("only %d operations in the specification", len(all))
	}
	return document, all
}

// attacker sends generated requests and holds the answers against the specification.
type attacker struct {
	document *openapi3.T
	server   string
	token    string
	http     *http.Client

	mu         sync.Mutex
	violations map[string]int
	examples   []string
	statuses   map[int]int
}

// violate notes what is wrong with an operation, a few examples of each kind.
func (a *attacker) violate(o operation, kind, format string, args ...any) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.violations[o.spec.OperationID+": "+kind]++
	if n := a.violations[o.spec.OperationID+": "+kind]; n <= examples {
		a.examples = append(a.examples, o.spec.OperationID+": "+kind+": "+fmt.Sprintf(format, args...))
	}
}

func TestEveryOperationWithstandsHostileRequests(t *testing.T) {
	p := control.ForTest(t, control.Options{Managers: 1})
	document, all := operations(t)
	a := &attacker{document: document, server: p.ServerURL(0), token: p.Token(), statuses: map[int]int{}, violations: map[string]int{}, http: &http.Client{Transport: p.Transport(), Timeout: requestTimeout}}
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("CYPHONIC_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("CYPHONIC_SEED=%d", seed)
	a.populate(t)
	// The operations are interleaved, so that each meets what the others made.
	began := time.Now()
	var wait sync.WaitGroup
	for w := range workers {
		wait.Go(func() {
			g := &generator{random: rand.New(rand.NewPCG(seed, uint64(w))), names: knownNames()}
			for range (requestsPerOperation + workers - 1) / workers {
				for _, o := range all {
					a.attack(g, o)
				}
			}
		})
	}
	wait.Wait()
	t.Logf("%d operations, %s, statuses %v", len(all), time.Since(began).Round(time.Second), a.statuses)
	for kind, count := range a.violations {
		t.Errorf("%d times %s", count, kind)
	}
	for _, example := range a.examples {
		t.Log(example)
	}
	if a.statuses[200] < 1000 || a.statuses[201] < 100 || a.statuses[400] < 1000 || a.statuses[409] < 10 {
		t.Errorf("the requests are too uniform: %v", a.statuses)
	}
	if tail := p.Managers[0].Log(); strings.Contains(tail, "panic") {
		t.Errorf("the manager panicked:\n%s", p.Managers[0].LogTail(60))
	}
}

func knownNames() []string {
	return []string{"factory", "hall-1", "viewer", "cam1", "cam2", "editor", "viewer-role", "token-1", "source-1", "policy-1", "nms-service", "router-1"}
}

// populate makes resources that references can meet.
func (a *attacker) populate(t *testing.T) {
	t.Helper()
	for _, text := range []string{
		`{"apiVersion":"cyphonic/v1","kind":"Network","metadata":{"name":"factory"},"spec":{"ipv4Prefix":"100.96.0.0/16","ipv6Prefix":"fd96:c1f0::/64","domain":"factory.example.internal"}}`,
		`{"apiVersion":"cyphonic/v1","kind":"Adapter","metadata":{"name":"hall-1"},"spec":{"network":"factory"}}`,
		`{"apiVersion":"cyphonic/v1","kind":"Node","metadata":{"name":"viewer"},"spec":{"network":"factory"}}`,
		`{"apiVersion":"cyphonic/v1","kind":"CloudService","metadata":{"name":"nms-service"},"spec":{"service":"nms","ipv4":"203.0.113.10"}}`,
		`{"apiVersion":"cyphonic/v1","kind":"BGPPeer","metadata":{"name":"router-1"},"spec":{"peerAddress":"192.0.2.1","peerASN":64512,"localASN":64512}}`,
		`{"apiVersion":"cyphonic/v1","kind":"BGPAdvertisement","metadata":{"name":"all"},"spec":{"services":["nms-service"],"peers":["router-1"]}}`,
		`{"apiVersion":"cyphonic/v1","kind":"GeneralNode","metadata":{"name":"cam1"},"spec":{"network":"factory","adapter":"hall-1","mac":"02:00:00:00:00:01"}}`,
	} {
		o, err := api.DecodeObject([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		kind, _ := api.KindNamed(o.KindName())
		request, err := http.NewRequest(http.MethodPost, a.server+"/api/v1/"+kind.Plural, strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Authorization", "Bearer "+a.token)
		request.Header.Set("Content-Type", "application/json")
		response, err := a.http.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		content, _ := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if response.StatusCode != http.StatusCreated {
			t.Fatalf("%s: %s", response.Status, content)
		}
	}
}

// attack sends one request of an operation.
func (a *attacker) attack(g *generator, o operation) {
	request, path := a.request(g, o)
	watch := request.URL.Query().Get("watch") == "true"
	ctx, cancel := context.WithTimeout(context.Background(), requestTimeout)
	defer cancel()
	response, err := a.http.Do(request.WithContext(ctx))
	if err != nil {
		a.violate(o, "no answer", "%s %s: %v", request.Method, request.URL, err)
		return
	}
	defer response.Body.Close()
	if watch && response.StatusCode == http.StatusOK {
		time.AfterFunc(watchTime, cancel)
	}
	content, err := io.ReadAll(io.LimitReader(response.Body, 64<<20))
	if err != nil && !watch {
		a.violate(o, "the answer breaks off", "%s %s: %v", request.Method, request.URL, err)
		return
	}
	a.mu.Lock()
	a.statuses[response.StatusCode]++
	a.mu.Unlock()
	g.learn(response, content)
	if response.StatusCode >= 500 {
		a.violate(o, strconv.Itoa(response.StatusCode), "%s %s: %s", request.Method, request.URL, content)
		return
	}
	if err := a.conforms(o, path, request, response, content); err != nil {
		a.violate(o, "the answer does not conform", "%s %s: %d: %v", request.Method, request.URL, response.StatusCode, err)
	}
}

// learn remembers versions and continue tokens.
func (g *generator) learn(response *http.Response, content []byte) {
	g.remember(&g.versions, strings.Trim(response.Header.Get("ETag"), `"`))
	var answer struct {
		Metadata struct{ Continue, ResourceVersion string }
	}
	if json.Unmarshal(content, &answer) == nil {
		g.remember(&g.versions, answer.Metadata.Continue)
		g.remember(&g.versions, answer.Metadata.ResourceVersion)
	}
}

// conforms validates status, headers, media type and body.
func (a *attacker) conforms(o operation, path map[string]string, request *http.Request, response *http.Response, content []byte) error {
	media := response.Header.Get("Content-Type")
	if response.StatusCode >= 400 {
		var problem api.Problem
		if !strings.HasPrefix(media, "application/problem+json") || json.Unmarshal(content, &problem) != nil {
			return fmt.Errorf("an error is no problem: %s %s", media, content)
		}
		if problem.Status != response.StatusCode || problem.Title == "" || problem.Detail == "" || problem.RequestId == "" {
			return fmt.Errorf("the problem lacks something: %s", content)
		}
	}
	if response.StatusCode == http.StatusTooManyRequests && response.Header.Get("Retry-After") == "" {
		return errors.New("no Retry-After")
	}
	if o.spec.Responses.Status(response.StatusCode) == nil && o.spec.Responses.Default() == nil {
		return errors.New("the specification does not have this status")
	}
	input := &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{
			Request: request, PathParams: path,
			Route:   &routers.Route{Spec: a.document, Path: o.path, PathItem: o.item, Method: o.method, Operation: o.spec},
			Options: &openapi3filter.Options{ExcludeResponseBody: !strings.Contains(media, "json") || strings.Contains(media, "ndjson")},
		},
		Status: response.StatusCode, Header: response.Header,
	}
	input.SetBodyBytes(content)
	return openapi3filter.ValidateResponse(context.Background(), input)
}

// request makes one request of an operation.
func (a *attacker) request(g *generator, o operation) (*http.Request, map[string]string) {
	path, query, header := o.path, url.Values{}, http.Header{}
	values := map[string]string{}
	for _, reference := range append(slices.Clone(o.item.Parameters), o.spec.Parameters...) {
		p := reference.Value
		if !p.Required && !g.chance(25) {
			continue
		}
		value := a.parameter(g, p)
		switch p.In {
		case openapi3.ParameterInPath:
			if value == "" || value == "." || value == ".." {
				value = "x"
			}
			values[p.Name] = value
			path = strings.ReplaceAll(path, "{"+p.Name+"}", url.PathEscape(value))
		case openapi3.ParameterInQuery:
			query.Add(p.Name, value)
		case openapi3.ParameterInHeader:
			header.Set(p.Name, strings.Map(headerRune, value))
		}
	}
	if g.chance(2) {
		query.Add(pick(g, []string{"pretty", "limit", "watch", "Limit"}), pick(g, hostileStrings()))
	}
	body, contentType := a.body(g, o, values)
	request, err := http.NewRequest(o.method, a.server+path, bytes.NewReader(body))
	if err != nil {
		request, _ = http.NewRequest(o.method, a.server+"/api/v1/nodes/x", bytes.NewReader(body))
	}
	request.URL.RawQuery = query.Encode()
	request.Header = header
	if contentType != "" {
		request.Header.Set("Content-Type", contentType)
	}
	switch {
	case g.chance(97):
		request.Header.Set("Authorization", "Bearer "+a.token)
	case g.chance(50):
		request.Header.Set("Authorization", pick(g, []string{"Bearer", "Basic YTpi", "Bearer x", "Bearer cya1.AAAA", "Bearer cyt1.x", "Bearer a.b.c"}))
	}
	return request, values
}

// headerRune keeps what Go lets through into a header.
func headerRune(r rune) rune {
	if r < ' ' || r > '~' {
		return -1
	}
	return r
}

func (a *attacker) parameter(g *generator, p *openapi3.Parameter) string {
	if p.Name == "recipient" && g.chance(30) {
		return "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"
	}
	if p.Name == "If-Match" && len(g.versions) > 0 && g.chance(70) {
		return `"` + pick(g, g.versions) + `"`
	}
	text := fmt.Sprint(g.value(p.Schema.Value, p.Name, 0))
	return text[:min(len(text), maxParameter)]
}

// body makes the body of a request, as JSON most of the time.
func (a *attacker) body(g *generator, o operation, path map[string]string) ([]byte, string) {
	if o.spec.RequestBody == nil {
		if g.chance(3) {
			return []byte(`{"a":1}`), "application/json"
		}
		return nil, ""
	}
	var types []string
	for media := range o.spec.RequestBody.Value.Content {
		types = append(types, media)
	}
	slices.Sort(types)
	media := pick(g, types)
	schema := o.spec.RequestBody.Value.Content[media].Schema.Value
	if schema.Format == "binary" {
		return []byte(pick(g, append(hostileStrings(), "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"))), media
	}
	if strings.Contains(media, "patch") {
		schema = a.resourceSchema(o)
	}
	value := g.value(schema, "", 0)
	if object, ok := value.(map[string]any); ok {
		a.envelope(g, o, object, path)
	}
	content, err := json.Marshal(value)
	if err != nil {
		content = []byte("null")
	}
	switch g.random.IntN(60) {
	case 0:
		content = content[:g.random.IntN(len(content)+1)]
	case 1:
		content = []byte(strings.Repeat("[", 20000))
	case 2:
		content = append(content, content...)
	case 3:
		content = bytes.Repeat([]byte(" "), 2<<20)
	case 4:
		media = pick(g, []string{"text/plain", "application/xml", "application/json; charset=utf-16", ""})
	}
	return content, media
}

// resourceSchema is that of the answer: what a patch is about.
func (a *attacker) resourceSchema(o operation) *openapi3.Schema {
	return o.spec.Responses.Status(http.StatusOK).Value.Content["application/json"].Schema.Value
}

// envelope makes type and name right most of the time.
func (a *attacker) envelope(g *generator, o operation, object map[string]any, path map[string]string) {
	kind, ok := api.KindOfPlural(strings.Split(strings.TrimPrefix(o.path, "/api/v1/"), "/")[0])
	if !ok || g.chance(5) {
		return
	}
	if strings.HasSuffix(o.path, "generalnodes/{generalNode}/status") {
		kind, _ = api.KindNamed("GeneralNode")
	}
	object["apiVersion"], object["kind"] = api.Version, kind.Name
	metadata, _ := object["metadata"].(map[string]any)
	if metadata == nil {
		metadata = map[string]any{}
		object["metadata"] = metadata
	}
	metadata["name"] = pick(g, g.names)
	if name := path["name"]; name != "" && g.chance(95) {
		metadata["name"] = name
	}
	for _, field := range []string{"resourceVersion", "uid", "deletionTimestamp", "creationTimestamp", "updateTimestamp", "managedFields"} {
		if g.chance(80) {
			delete(metadata, field)
		}
	}
}
