package reference

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"regexp"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"golang.org/x/net/html"

	"github.com/cyphonic/cyphonic/openapi"
)

func render(t *testing.T) (*openapi3.T, Page) {
	t.Helper()
	spec, err := openapi3.NewLoader().LoadFromData(openapi.Document)
	if err != nil {
		t.Fatal(err)
	}
	page, err := Render(spec, []Problem{{Type: "urn:cyphonic:problem:<test>", Statuses: "409", Meaning: "a & b"}})
	if err != nil {
		t.Fatal(err)
	}
	return spec, page
}

func TestThePageHasEveryOperationSchemaAndParameter(t *testing.T) {
	spec, page := render(t)
	text := string(page.HTML)
	operations := 0
	for path, item := range spec.Paths.Map() {
		for method, o := range item.Operations() {
			operations++
			if !strings.Contains(text, `<article id="`+o.OperationID+`">`) {
				t.Errorf("%s %s (%s) is missing", method, path, o.OperationID)
			}
			for _, p := range o.Parameters {
				if !strings.Contains(text, "<code>"+p.Value.Name+"</code>") {
					t.Errorf("%s %s: parameter %s is missing", method, path, p.Value.Name)
				}
			}
		}
	}
	for name := range spec.Components.Schemas {
		if !strings.Contains(text, `<article id="schema-`+name+`">`) {
			t.Errorf("schema %s is missing", name)
		}
	}
	if operations < 50 || len(spec.Components.Schemas) < 40 {
		t.Errorf("%d operations and %d schemas: the test looks at the wrong document", operations, len(spec.Components.Schemas))
	}
}

// Every link within the page must lead somewhere, every element must be closed
// and every id be there once.
func TestThePageIsWellFormed(t *testing.T) {
	_, page := render(t)
	ids, links := map[string]int{}, map[string]bool{}
	var open []string
	void := map[string]bool{"meta": true, "br": true, "link": true}
	for z := html.NewTokenizer(bytes.NewReader(page.HTML)); ; {
		kind := z.Next()
		if kind == html.ErrorToken {
			if z.Err() != io.EOF {
				t.Fatal(z.Err())
			}
			break
		}
		token := z.Token()
		for _, a := range token.Attr {
			switch {
			case a.Key == "id":
				ids[a.Val]++
			case a.Key == "href" && strings.HasPrefix(a.Val, "#"):
				links[a.Val[1:]] = true
			case a.Key == "href" && !strings.HasPrefix(a.Val, "/"), a.Key == "src", strings.HasPrefix(a.Key, "on"), a.Key == "style":
				t.Errorf("<%s %s=%q> is nothing that the policy of the page permits", token.Data, a.Key, a.Val)
			}
		}
		switch {
		case kind == html.StartTagToken && token.Data == "script":
			t.Error("the page has a script")
		case kind == html.StartTagToken && !void[token.Data]:
			open = append(open, token.Data)
		case kind == html.EndTagToken:
			if len(open) == 0 || open[len(open)-1] != token.Data {
				t.Fatalf("</%s> closes %v", token.Data, open)
			}
			open = open[:len(open)-1]
		}
	}
	for id, n := range ids {
		if n > 1 {
			t.Errorf("the id %s is there %d times", id, n)
		}
	}
	for target := range links {
		if ids[target] == 0 {
			t.Errorf("#%s leads nowhere", target)
		}
	}
	if len(open) > 0 || len(links) < 50 {
		t.Errorf("%v are open, %d links", open, len(links))
	}
}

func TestThePolicyNamesTheStyle(t *testing.T) {
	_, page := render(t)
	style := regexp.MustCompile(`(?s)<style>(.*?)</style>`).FindSubmatch(page.HTML)
	sum := sha256.Sum256(style[1])
	if want := "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"; !strings.Contains(page.Policy, want) {
		t.Errorf("the policy %q does not name %s", page.Policy, want)
	}
	if !strings.Contains(string(style[1]), "prefers-color-scheme: dark") {
		t.Error("the style has no dark colours (or was filtered)")
	}
}

func TestExamplesAreJSONOfTheirSchema(t *testing.T) {
	spec, _ := render(t)
	checked := 0
	for name, ref := range spec.Components.Schemas {
		if len(ref.Value.Properties) == 0 {
			continue
		}
		text, err := example(&openapi3.SchemaRef{Ref: "#/components/schemas/" + name, Value: ref.Value}, false)
		if err != nil {
			t.Fatal(err)
		}
		var v map[string]any
		if err := json.Unmarshal([]byte(text), &v); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for property := range ref.Value.Properties {
			if _, ok := v[property]; !ok {
				t.Errorf("the example of %s has no %s", name, property)
			}
		}
		checked++
	}
	if checked < 20 {
		t.Errorf("only %d examples", checked)
	}
}

func TestTextIsEscaped(t *testing.T) {
	_, page := render(t)
	if !strings.Contains(string(page.HTML), "urn:cyphonic:problem:&lt;test&gt;") || !strings.Contains(string(page.HTML), "a &amp; b") {
		t.Error("text stands in the page as markup")
	}
	if got := prose("<b> `x<y` z"); got != "&lt;b&gt; <code>x&lt;y</code> z" {
		t.Errorf("prose: %s", got)
	}
}

func TestASchemaInsideItself(t *testing.T) {
	loop := &openapi3.Schema{Type: &openapi3.Types{"object"}, Properties: openapi3.Schemas{}}
	loop.Properties["next"] = &openapi3.SchemaRef{Ref: "#/components/schemas/Loop", Value: loop}
	text, err := example(&openapi3.SchemaRef{Ref: "#/components/schemas/Loop", Value: loop}, false)
	if err != nil || strings.Join(strings.Fields(text), "") != `{"next":{}}` {
		t.Errorf("%s, %v", text, err)
	}
}
