package reference

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
)

// maxExampleDepth bounds the nesting of an example: schemas may refer to
// themselves.
const maxExampleDepth = 8

// example writes a value of a schema as indented JSON, with the properties in
// the order of the page. With request it has only what a client may write.
func example(ref *openapi3.SchemaRef, request bool) (string, error) {
	var compact, pretty bytes.Buffer
	w := exampleWriter{out: &compact, request: request}
	if err := w.value("", ref, nil); err != nil {
		return "", err
	}
	if err := json.Indent(&pretty, compact.Bytes(), "", "  "); err != nil {
		return "", fmt.Errorf("write an example: %w", err)
	}
	return pretty.String(), nil
}

type exampleWriter struct {
	out     *bytes.Buffer
	request bool
}

// value writes a value of a schema. within are the components that it stands
// in: a component inside itself is left empty.
func (w exampleWriter) value(name string, ref *openapi3.SchemaRef, within []string) error {
	if ref == nil || ref.Value == nil {
		w.out.WriteString("null")
		return nil
	}
	if ref.Ref != "" {
		if slices.Contains(within, ref.Ref) {
			w.out.WriteString("{}")
			return nil
		}
		within = append(slices.Clone(within), ref.Ref)
	}
	s := ref.Value
	switch {
	case s.Example != nil:
		return w.literal(s.Example)
	case s.Default != nil && !s.Type.Is(openapi3.TypeObject):
		return w.literal(s.Default)
	case len(s.Enum) > 0:
		return w.literal(s.Enum[0])
	case len(s.AllOf) == 1:
		return w.value(name, s.AllOf[0], within)
	case len(s.OneOf) > 0:
		return w.value(name, s.OneOf[0], within)
	case s.Type.Is(openapi3.TypeObject):
		return w.object(s, within)
	case s.Type.Is(openapi3.TypeArray):
		w.out.WriteByte('[')
		if len(within) < maxExampleDepth {
			if err := w.value(name, s.Items, within); err != nil {
				return err
			}
		}
		w.out.WriteByte(']')
		return nil
	case s.Type.Is(openapi3.TypeInteger), s.Type.Is(openapi3.TypeNumber):
		if s.Min != nil {
			return w.literal(*s.Min)
		}
		return w.literal(1)
	case s.Type.Is(openapi3.TypeBoolean):
		return w.literal(false)
	}
	return w.literal(sample(name, s))
}

func (w exampleWriter) object(s *openapi3.Schema, within []string) error {
	w.out.WriteByte('{')
	written := 0
	for _, name := range orderedProperties(s) {
		p := s.Properties[name]
		if w.request && p.Value != nil && (p.Value.ReadOnly || (name == "status" && len(within) == 1)) {
			continue
		}
		if written > 0 {
			w.out.WriteByte(',')
		}
		written++
		fmt.Fprintf(w.out, "%q:", name)
		if err := w.value(name, p, within); err != nil {
			return err
		}
	}
	if written == 0 && s.AdditionalProperties.Schema != nil {
		w.out.WriteString(`"key":`)
		if err := w.value("", s.AdditionalProperties.Schema, within); err != nil {
			return err
		}
	}
	w.out.WriteByte('}')
	return nil
}

func (w exampleWriter) literal(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("write an example: %w", err)
	}
	w.out.Write(b)
	return nil
}

// sample is a text for a property whose schema has no example.
func sample(name string, s *openapi3.Schema) string {
	switch s.Format {
	case "date-time":
		return "2026-01-02T15:04:05Z"
	case "uuid":
		return "3f1c6f0e-7d5b-4a5e-9b1a-2f6d3c9e8a11"
	}
	if name == "" {
		return "value"
	}
	return strings.ToLower(name)
}

// command is the request as one types it.
func command(o operation) string {
	var b strings.Builder
	b.WriteString("curl --cacert tls-ca.crt")
	if !o.Public {
		b.WriteString(` -H "Authorization: Bearer $TOKEN"`)
	}
	if o.Method != "GET" {
		b.WriteString(" -X " + o.Method)
	}
	path, query := o.Path, ""
	for _, p := range o.Parameters {
		if p.In != "query" || !p.Required {
			continue
		}
		query += "&" + p.Name + "=" + strings.ToUpper(p.Name)
	}
	if len(o.Bodies) > 0 {
		data := "-d @body.json"
		if o.Bodies[0].Example == "" {
			data = "--data-binary @body"
		}
		fmt.Fprintf(&b, " -H 'Content-Type: %s' %s", o.Bodies[0].MediaType, data)
	}
	path = strings.NewReplacer("{", "", "}", "").Replace(path)
	if query != "" {
		path += "?" + query[1:]
	}
	fmt.Fprintf(&b, " 'https://203.0.113.10:7440%s'", path)
	return b.String()
}
