package reference

import (
	"cmp"
	"encoding/json"
	"fmt"
	"html/template"
	"maps"
	"slices"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
)

// model is what the template shows.
type model struct {
	Style       template.CSS
	Title       string
	Version     string
	Description template.HTML
	Tags        []tag
	Schemas     []schema
	Problems    []Problem
	Operations  int
}

type tag struct {
	Name, Description string
	Operations        []operation
}

type operation struct {
	ID, Method, Path string
	Summary          string
	Description      template.HTML
	Public           bool // needs no token
	Parameters       []property
	Bodies           []content
	Responses        []response
	Command          string // the request as a curl command
}

type content struct {
	MediaType string
	Type      typeLink
	Example   string
}

type response struct {
	Status      string
	Description template.HTML
	Headers     []property
	Contents    []content
}

type schema struct {
	Name        string
	Description template.HTML
	Type        typeLink
	Limits      string
	Properties  []property
	Example     string
}

type property struct {
	Name        string
	In          string // of a parameter: path, query, header
	Required    bool
	ReadOnly    bool
	Type        typeLink
	Limits      string
	Description template.HTML
}

// typeLink names a type; Target is the schema that it links to, or empty.
type typeLink struct{ Before, Name, After, Target string }

// collector turns a specification into a model.
type collector struct{ spec *openapi3.T }

func (c *collector) model(problems []Problem) (model, error) {
	m := model{Title: c.spec.Info.Title, Version: c.spec.Info.Version, Description: prose(c.spec.Info.Description), Problems: problems}
	byTag := map[string][]operation{}
	for path, item := range c.spec.Paths.Map() {
		for method, op := range item.Operations() {
			out, err := c.operation(method, path, item, op)
			if err != nil {
				return model{}, fmt.Errorf("%s %s: %w", method, path, err)
			}
			name := "other"
			if len(op.Tags) > 0 {
				name = op.Tags[0]
			}
			byTag[name] = append(byTag[name], out)
			m.Operations++
		}
	}
	add := func(name, description string) {
		operations := byTag[name]
		if len(operations) == 0 {
			return
		}
		slices.SortFunc(operations, compareOperations)
		m.Tags = append(m.Tags, tag{Name: name, Description: description, Operations: operations})
		delete(byTag, name)
	}
	for _, t := range c.spec.Tags {
		add(t.Name, t.Description)
	}
	for _, name := range slices.Sorted(maps.Keys(byTag)) {
		add(name, "")
	}
	for _, name := range slices.Sorted(maps.Keys(c.spec.Components.Schemas)) {
		out, err := c.schema(name, c.spec.Components.Schemas[name])
		if err != nil {
			return model{}, fmt.Errorf("schema %s: %w", name, err)
		}
		m.Schemas = append(m.Schemas, out)
	}
	return m, nil
}

// compareOperations orders as one reads: by path, and on a path reading before
// writing.
func compareOperations(a, b operation) int {
	methods := []string{"GET", "POST", "PUT", "PATCH", "DELETE"}
	return cmp.Or(strings.Compare(a.Path, b.Path), cmp.Compare(slices.Index(methods, a.Method), slices.Index(methods, b.Method)))
}

func (c *collector) operation(method, path string, item *openapi3.PathItem, op *openapi3.Operation) (operation, error) {
	out := operation{
		ID: op.OperationID, Method: method, Path: path, Summary: op.Summary, Description: prose(op.Description),
		Public: op.Security != nil && len(*op.Security) == 0,
	}
	for _, ref := range slices.Concat(item.Parameters, op.Parameters) {
		p := ref.Value
		if p == nil {
			return operation{}, fmt.Errorf("parameter %s is not resolved", ref.Ref)
		}
		row := c.property(p.Name, p.Schema, p.Required)
		row.In, row.Description = p.In, prose(p.Description)
		out.Parameters = append(out.Parameters, row)
	}
	if op.RequestBody != nil && op.RequestBody.Value != nil {
		bodies, err := c.contents(op.RequestBody.Value.Content, true)
		if err != nil {
			return operation{}, err
		}
		out.Bodies = bodies
	}
	responses := op.Responses.Map()
	for _, status := range slices.Sorted(maps.Keys(responses)) {
		r := responses[status].Value
		row := response{Status: status}
		if r.Description != nil {
			row.Description = prose(*r.Description)
		}
		for _, name := range slices.Sorted(maps.Keys(r.Headers)) {
			h := r.Headers[name].Value
			header := c.property(name, h.Schema, false)
			header.Description = prose(h.Description)
			row.Headers = append(row.Headers, header)
		}
		contents, err := c.contents(r.Content, false)
		if err != nil {
			return operation{}, err
		}
		row.Contents = contents
		out.Responses = append(out.Responses, row)
	}
	out.Command = command(out)
	return out, nil
}

// contents lists bodies by media type. Requests have an example without what
// only the manager writes.
func (c *collector) contents(all openapi3.Content, request bool) ([]content, error) {
	var out []content
	for _, mediaType := range slices.Sorted(maps.Keys(all)) {
		row := content{MediaType: mediaType, Type: linkOf(all[mediaType].Schema)}
		if request && strings.HasSuffix(mediaType, "json") && all[mediaType].Schema != nil {
			text, err := example(all[mediaType].Schema, true)
			if err != nil {
				return nil, err
			}
			row.Example = text
		}
		out = append(out, row)
	}
	return out, nil
}

func (c *collector) schema(name string, ref *openapi3.SchemaRef) (schema, error) {
	s := ref.Value
	out := schema{Name: name, Description: prose(s.Description), Type: linkOf(&openapi3.SchemaRef{Value: s}), Limits: limitsOf(s)}
	for _, p := range orderedProperties(s) {
		row := c.property(p, s.Properties[p], slices.Contains(s.Required, p))
		out.Properties = append(out.Properties, row)
	}
	if len(s.Properties) > 0 {
		text, err := example(ref, false)
		if err != nil {
			return schema{}, err
		}
		out.Example = text
	}
	return out, nil
}

func (c *collector) property(name string, ref *openapi3.SchemaRef, required bool) property {
	row := property{Name: name, Required: required, Type: linkOf(ref)}
	if ref != nil && ref.Value != nil {
		row.ReadOnly, row.Limits, row.Description = ref.Value.ReadOnly, limitsOf(ref.Value), prose(ref.Value.Description)
	}
	return row
}

// orderedProperties puts the head of a resource first, then what is required,
// then the rest.
func orderedProperties(s *openapi3.Schema) []string {
	head := []string{"apiVersion", "kind", "metadata", "spec", "status"}
	rank := func(name string) int {
		if i := slices.Index(head, name); i >= 0 {
			return i
		}
		if slices.Contains(s.Required, name) {
			return len(head)
		}
		return len(head) + 1
	}
	return slices.SortedFunc(maps.Keys(s.Properties), func(a, b string) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), strings.Compare(a, b))
	})
}

// linkOf names the type of a schema; a component is a link to it.
func linkOf(ref *openapi3.SchemaRef) typeLink {
	if ref == nil || ref.Value == nil {
		return typeLink{Name: "any"}
	}
	if name, ok := strings.CutPrefix(ref.Ref, "#/components/schemas/"); ok {
		return typeLink{Name: name, Target: name}
	}
	s := ref.Value
	switch {
	case s.Type.Is(openapi3.TypeArray):
		link := linkOf(s.Items)
		link.Before = "list of " + link.Before
		return link
	case s.Type.Is(openapi3.TypeObject) && s.AdditionalProperties.Schema != nil:
		link := linkOf(s.AdditionalProperties.Schema)
		link.Before = "map of " + link.Before
		return link
	case s.Format == "binary":
		return typeLink{Name: "bytes"}
	case s.Format != "":
		return typeLink{Name: s.Format}
	case len(s.AllOf) == 1:
		return linkOf(s.AllOf[0])
	case s.Type == nil || len(s.Type.Slice()) == 0:
		return typeLink{Name: "any"}
	}
	return typeLink{Name: strings.Join(s.Type.Slice(), " or ")}
}

// limitsOf writes the values that a schema admits.
func limitsOf(s *openapi3.Schema) string {
	var out []string
	note := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	if len(s.Enum) > 0 {
		values := make([]string, len(s.Enum))
		for i, v := range s.Enum {
			values[i] = fmt.Sprint(v)
		}
		note("one of %s", strings.Join(values, ", "))
	}
	if s.Default != nil {
		value, err := json.Marshal(s.Default)
		if err == nil {
			note("default %s", value)
		}
	}
	between(note, s.Min, s.Max)
	count(note, "characters", s.MinLength, s.MaxLength)
	count(note, "items", s.MinItems, s.MaxItems)
	count(note, "entries", s.MinProps, s.MaxProps)
	if s.Pattern != "" {
		note("matches %s", s.Pattern)
	}
	return strings.Join(out, "; ")
}

func between(note func(string, ...any), low, high *float64) {
	switch {
	case low != nil && high != nil:
		note("%.0f to %.0f", *low, *high)
	case low != nil:
		note("at least %.0f", *low)
	case high != nil:
		note("at most %.0f", *high)
	}
}

func count(note func(string, ...any), what string, low uint64, high *uint64) {
	switch {
	case low > 0 && high != nil:
		note("%d to %d %s", low, *high, what)
	case low > 0:
		note("at least %d %s", low, what)
	case high != nil:
		note("at most %d %s", *high, what)
	}
}

// prose is a description with `code` marked up.
func prose(text string) template.HTML {
	var b strings.Builder
	for i, part := range strings.Split(text, "`") {
		switch {
		case i%2 == 1:
			b.WriteString("<code>" + template.HTMLEscapeString(part) + "</code>")
		default:
			b.WriteString(template.HTMLEscapeString(part))
		}
	}
	return template.HTML(b.String()) //nolint:gosec // every part is escaped above
}
