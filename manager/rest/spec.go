package rest

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/labstack/echo/v4"
	"sigs.k8s.io/yaml"

	"github.com/cyphonic/cyphonic/openapi"
)

// document is the specification: what is served, what the reference
// page shows, and which parameters each operation has.
type document struct {
	json    []byte
	parsed  *openapi3.T
	queries map[string]queryParameters // by method and route as Echo writes it: "GET /api/v1/nodes/:name"
}

// queryParameters are the query parameters of one operation by name.
type queryParameters map[string]queryParameter

type queryParameter struct {
	*openapi3.Schema
	repeated bool // may be given several times; Schema is that of one value
	pattern  *regexp.Regexp
}

// readDocument reads the specification. The copy that the generator puts into
// server.gen.go has other names of operations.
func readDocument() (*document, error) {
	text, err := yaml.YAMLToJSON(openapi.Document)
	if err != nil {
		return nil, fmt.Errorf("read the specification: %w", err)
	}
	parsed, err := openapi3.NewLoader().LoadFromData(text)
	if err != nil {
		return nil, fmt.Errorf("read the specification: %w", err)
	}
	d := &document{json: text, parsed: parsed, queries: map[string]queryParameters{}}
	for path, item := range parsed.Paths.Map() {
		route := routeOf(path)
		for method, operation := range item.Operations() {
			parameters := queryParameters{}
			for _, list := range []openapi3.Parameters{item.Parameters, operation.Parameters} {
				if err := parameters.add(list); err != nil {
					return nil, fmt.Errorf("read the specification of %s %s: %w", method, path, err)
				}
			}
			d.queries[method+" "+route] = parameters
		}
	}
	return d, nil
}

func (q queryParameters) add(list openapi3.Parameters) error {
	for _, ref := range list {
		p := ref.Value
		if p == nil || p.In != openapi3.ParameterInQuery {
			continue
		}
		if p.Schema == nil || p.Schema.Value == nil {
			return fmt.Errorf("parameter %s has no schema", p.Name)
		}
		out := queryParameter{Schema: p.Schema.Value}
		if out.Type.Is(openapi3.TypeArray) && out.Items != nil && out.Items.Value != nil {
			out.Schema, out.repeated = out.Items.Value, true
		}
		if out.Pattern != "" {
			pattern, err := regexp.Compile(out.Pattern)
			if err != nil {
				return fmt.Errorf("parameter %s: %w", p.Name, err)
			}
			out.pattern = pattern
		}
		q[p.Name] = out
	}
	return nil
}

// routeOf writes a path as Echo does: "/nodes/{name}" is "/nodes/:name".
func routeOf(path string) string {
	return strings.NewReplacer("{", ":", "}", "").Replace(path)
}

// knownQuery refuses parameters that the operation does not have, which would
// otherwise be ignored, and values that the specification excludes.
func (d *document) knownQuery(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		parameters, ok := d.queries[c.Request().Method+" "+c.Path()]
		if !ok { // no operation: the router says so
			return next(c)
		}
		if err := parameters.check(c.Request().URL.RawQuery); err != nil {
			return err
		}
		return next(c)
	}
}

func (q queryParameters) check(raw string) error {
	query, err := url.ParseQuery(raw)
	if err != nil {
		return refuse(http.StatusBadRequest, typeInvalid, "the query is malformed: write special characters as %%XX")
	}
	for _, name := range slices.Sorted(maps.Keys(query)) {
		p, ok := q[name]
		if !ok {
			return refuse(http.StatusBadRequest, typeInvalid, "query parameter %q is unknown here; %s", name, q.names())
		}
		values := query[name]
		if len(values) > 1 && !p.repeated {
			return refuse(http.StatusBadRequest, typeInvalid, "query parameter %q is given twice", name)
		}
		if len(values) > maxRepeats {
			return refuse(http.StatusBadRequest, typeInvalid, "query parameter %q is given %d times; at most %d times are possible", name, len(values), maxRepeats)
		}
		for _, v := range values {
			if want := p.fault(v); want != "" {
				return refuse(http.StatusBadRequest, typeInvalid, "query parameter %q must be %s", name, want)
			}
		}
	}
	return nil
}

func (q queryParameters) names() string {
	if len(q) == 0 {
		return "there are none"
	}
	names := make([]string, 0, len(q))
	for name := range q {
		names = append(names, name)
	}
	slices.Sort(names)
	return "there are " + strings.Join(names, ", ")
}

// fault says what a value should have been, or nothing if it is good.
func (p queryParameter) fault(v string) string {
	switch {
	case !utf8.ValidString(v):
		return "UTF-8"
	case p.Type.Is(openapi3.TypeBoolean):
		if v != "true" && v != "false" {
			return "true or false"
		}
	case p.Type.Is(openapi3.TypeInteger):
		return p.integerFault(v)
	case p.Format == "date-time":
		if _, err := time.Parse(time.RFC3339, v); err != nil {
			return "a time as in 2006-01-02T15:04:05Z (RFC 3339)"
		}
	case len(p.Enum) > 0 && !slices.Contains(p.Enum, any(v)):
		return fmt.Sprintf("one of %v", p.Enum)
	case p.MaxLength != nil && uint64(utf8.RuneCountInString(v)) > *p.MaxLength:
		return fmt.Sprintf("at most %d characters long", *p.MaxLength)
	case uint64(utf8.RuneCountInString(v)) < p.MinLength:
		return fmt.Sprintf("at least %d characters long", p.MinLength)
	case p.pattern != nil && !p.pattern.MatchString(v):
		return "of the form " + p.Pattern
	}
	return ""
}

func (p queryParameter) integerFault(v string) string {
	n, err := strconv.ParseInt(v, 10, 64)
	switch {
	case err != nil:
		return "a whole number"
	case p.Min != nil && float64(n) < *p.Min:
		return fmt.Sprintf("at least %.0f", *p.Min)
	case p.Max != nil && float64(n) > *p.Max:
		return fmt.Sprintf("at most %.0f", *p.Max)
	}
	return ""
}
