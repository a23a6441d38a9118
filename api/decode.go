package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"reflect"
	"slices"
	"strings"
	"time"
)

// MaxDepth is the nesting of arrays and objects that Decode accepts.
const MaxDepth = 32

// Decode reads one JSON document into the struct that into points to. It is strict: a field that the struct does not have (the case of letters counts), a field
// given twice, a value of another type, or anything after the document is a fault; the faults are returned all at once as FieldErrors and into is left alone then.
// Null, and an empty list or map where it is optional, stand for a field that is not given.
func Decode(data []byte, into any) error {
	tree, found, err := parse(data)
	if err != nil {
		return err
	}
	checkType(tree, reflect.TypeOf(into).Elem(), "", &found)
	if err := found.list.Err(); err != nil {
		return err
	}
	if err := json.Unmarshal(data, into); err != nil {
		return FieldErrors{{Detail: err.Error()}}
	}
	dropEmpty(reflect.ValueOf(into))
	return nil
}

// DecodeObject reads one resource, whose type the fields apiVersion and kind name, strictly as Decode does. It neither defaults nor validates.
func DecodeObject(data []byte) (Object, error) {
	if _, _, err := parse(data); err != nil {
		return nil, err
	}
	var header struct {
		ApiVersion any `json:"apiVersion"`
		Kind       any `json:"kind"`
	}
	if err := json.Unmarshal(data, &header); err != nil {
		return nil, FieldErrors{{Detail: "not a JSON object"}}
	}
	var found faults
	if header.ApiVersion != Version {
		found.add("/apiVersion", "is %s, must be %q", show(header.ApiVersion), Version)
	}
	name, _ := header.Kind.(string)
	kind, ok := KindNamed(name)
	if !ok {
		found.add("/kind", "is %s, must be one of %s", show(header.Kind), kindNames())
	}
	if err := found.list.Err(); err != nil {
		return nil, err
	}
	object := kind.New()
	if err := Decode(data, object); err != nil {
		return nil, err
	}
	return object, nil
}

// object is a JSON object with its members in the order of the document.
type object []member

type member struct {
	key   string
	value any // object, []any, string, json.Number, bool or nil
}

// parse reads one JSON document with nothing behind it. Keys given twice are faults that do not keep it from going on.
func parse(data []byte) (any, faults, error) {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	p := parser{decoder: decoder}
	value, err := p.value("", 0)
	if err != nil {
		return nil, faults{}, FieldErrors{{Detail: syntaxDetail(err, decoder.InputOffset())}}
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, faults{}, FieldErrors{{Detail: "there is something after the end of the document"}}
	}
	return value, p.found, nil
}

type parser struct {
	decoder *json.Decoder
	found   faults
}

var errTooDeep = errors.New("nested too deeply")

func (p *parser) value(at pointer, depth int) (any, error) {
	if depth > MaxDepth {
		return nil, errTooDeep
	}
	token, err := p.decoder.Token()
	if err != nil {
		return nil, err
	}
	switch token {
	case json.Delim('{'):
		return p.object(at, depth)
	case json.Delim('['):
		return p.array(at, depth)
	}
	return token, nil
}

func (p *parser) object(at pointer, depth int) (any, error) {
	members := object{}
	seen := map[string]bool{}
	for p.decoder.More() {
		token, err := p.decoder.Token()
		if err != nil {
			return nil, err
		}
		key, ok := token.(string)
		if !ok {
			return nil, errors.New("the key of a member is not a string")
		}
		if seen[key] {
			p.found.add(at.key(key), "is given twice")
		}
		seen[key] = true
		value, err := p.value(at.key(key), depth+1)
		if err != nil {
			return nil, err
		}
		members = append(members, member{key, value})
	}
	_, err := p.decoder.Token()
	return members, err
}

func (p *parser) array(at pointer, depth int) (any, error) {
	items := []any{}
	for p.decoder.More() {
		value, err := p.value(at.index(len(items)), depth+1)
		if err != nil {
			return nil, err
		}
		items = append(items, value)
	}
	_, err := p.decoder.Token()
	return items, err
}

func checkType(value any, t reflect.Type, at pointer, found *faults) {
	if value == nil || t == reflect.TypeFor[json.RawMessage]() {
		return
	}
	if t == reflect.TypeFor[time.Time]() {
		checkTime(value, at, found)
		return
	}
	switch t.Kind() {
	case reflect.Struct:
		checkStruct(value, t, at, found)
	case reflect.Map:
		if members, ok := value.(object); ok {
			for _, m := range members {
				checkType(m.value, t.Elem(), at.key(m.key), found)
			}
			return
		}
		found.add(at, "is %s, must be an object", typeName(value))
	case reflect.Slice:
		if items, ok := value.([]any); ok {
			for i, item := range items {
				checkType(item, t.Elem(), at.index(i), found)
			}
			return
		}
		found.add(at, "is %s, must be an array", typeName(value))
	default:
		checkScalar(value, t, at, found)
	}
}

func checkStruct(value any, t reflect.Type, at pointer, found *faults) {
	members, ok := value.(object)
	if !ok {
		found.add(at, "is %s, must be an object", typeName(value))
		return
	}
	fields := fieldsOf(t)
	for _, m := range members {
		field, ok := fields[m.key]
		if !ok {
			found.add(at.key(m.key), "unknown field%s", suggest(m.key, fields))
			continue
		}
		checkType(m.value, field, at.key(m.key), found)
	}
}

func checkScalar(value any, t reflect.Type, at pointer, found *faults) {
	switch t.Kind() {
	case reflect.String:
		if _, ok := value.(string); !ok {
			found.add(at, "is %s, must be a string (quotes missing?)", typeName(value))
		}
	case reflect.Bool:
		if _, ok := value.(bool); !ok {
			found.add(at, "is %s, must be true or false", typeName(value))
		}
	case reflect.Int, reflect.Int32, reflect.Int64:
		number, ok := value.(json.Number)
		if !ok {
			found.add(at, "is %s, must be a whole number", typeName(value))
			return
		}
		n, err := number.Int64()
		if err != nil || reflect.Zero(t).OverflowInt(n) {
			found.add(at, "is %s, must be a whole number in the range of %s", number, t.Kind())
		}
	}
}

func checkTime(value any, at pointer, found *faults) {
	text, ok := value.(string)
	if _, err := time.Parse(time.RFC3339, text); !ok || err != nil {
		found.add(at, "must be a time as in 2006-01-02T15:04:05Z (RFC 3339)")
	}
}

// fieldsOf returns the types of the fields by their names in JSON.
func fieldsOf(t reflect.Type) map[string]reflect.Type {
	fields := map[string]reflect.Type{}
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		fields[name] = t.Field(i).Type
	}
	return fields
}

// suggest names the fields there are, or the one that differs in the case of letters only.
func suggest(key string, fields map[string]reflect.Type) string {
	var names []string
	for name := range fields {
		if strings.EqualFold(name, key) {
			return ", write " + name
		}
		names = append(names, name)
	}
	slices.Sort(names)
	return "; there are " + strings.Join(names, ", ")
}

func typeName(value any) string {
	switch value.(type) {
	case object:
		return "an object"
	case []any:
		return "an array"
	case string:
		return "a string"
	case json.Number:
		return "a number"
	case bool:
		return "a boolean"
	}
	return "null"
}

func syntaxDetail(err error, offset int64) string {
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &syntax):
		return "not JSON: " + syntax.Error()
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		if offset == 0 {
			return "empty document"
		}
		return "not JSON: it ends too early"
	}
	return err.Error()
}

func kindNames() string {
	var names []string
	for _, kind := range Kinds() {
		names = append(names, kind.Name)
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

func show(value any) string {
	if value == nil {
		return "missing"
	}
	text, err := json.Marshal(value)
	if err != nil {
		return "of another type"
	}
	if len(text) > 64 {
		text = append(text[:64], "…"...)
	}
	return string(text)
}
