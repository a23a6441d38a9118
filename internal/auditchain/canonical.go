package auditchain

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"unicode/utf16"
)

// errDuplicate says that an object has a member twice: two readers could take different ones.
var errDuplicate = errors.New("the JSON has a member twice")

// canonicalise returns the canonical form of a JSON text (RFC 8785): members sorted by UTF-16 code units, no white space, strings and
// numbers in their shortest form. The member without of the outermost object is left out.
func canonicalise(text []byte, without string) ([]byte, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	out, err := appendValue(nil, d, without, 0)
	if err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("there is text behind the JSON")
	}
	return out, nil
}

func appendValue(dst []byte, d *json.Decoder, without string, depth int) ([]byte, error) {
	token, err := d.Token()
	if err != nil {
		return nil, fmt.Errorf("read JSON: %w", err)
	}
	if depth > maxDepth {
		return nil, fmt.Errorf("the JSON is nested more than %d deep", maxDepth)
	}
	switch v := token.(type) {
	case nil:
		return append(dst, "null"...), nil
	case bool:
		return strconv.AppendBool(dst, v), nil
	case string:
		return appendString(dst, v), nil
	case json.Number:
		return appendNumber(dst, v)
	case json.Delim:
		if v == '{' {
			return appendObject(dst, d, without, depth)
		}
		return appendArray(dst, d, depth)
	}
	return nil, fmt.Errorf("unexpected %v in JSON", token)
}

func appendArray(dst []byte, d *json.Decoder, depth int) ([]byte, error) {
	dst = append(dst, '[')
	for i := 0; d.More(); i++ {
		if i > 0 {
			dst = append(dst, ',')
		}
		var err error
		if dst, err = appendValue(dst, d, "", depth+1); err != nil {
			return nil, err
		}
	}
	_, err := d.Token()
	return append(dst, ']'), err
}

type member struct {
	name  string
	units []uint16
	value []byte
}

func appendObject(dst []byte, d *json.Decoder, without string, depth int) ([]byte, error) {
	var members []member
	for d.More() {
		token, err := d.Token()
		if err != nil {
			return nil, fmt.Errorf("read JSON: %w", err)
		}
		name, _ := token.(string) // the decoder accepts nothing else here
		value, err := appendValue(nil, d, "", depth+1)
		if err != nil {
			return nil, err
		}
		if without == "" || name != without {
			members = append(members, member{name, utf16.Encode([]rune(name)), value})
		}
	}
	if _, err := d.Token(); err != nil {
		return nil, fmt.Errorf("read JSON: %w", err)
	}
	slices.SortFunc(members, func(a, b member) int { return slices.Compare(a.units, b.units) })
	dst = append(dst, '{')
	for i, m := range members {
		if i > 0 {
			if m.name == members[i-1].name {
				return nil, fmt.Errorf("%w: %q", errDuplicate, m.name)
			}
			dst = append(dst, ',')
		}
		dst = append(appendString(dst, m.name), ':')
		dst = append(dst, m.value...)
	}
	return append(dst, '}'), nil
}

// appendString escapes what RFC 8785 section 3.2.2.2 wants escaped and nothing else.
func appendString(dst []byte, s string) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	for _, r := range s {
		switch r {
		case '"', '\\':
			dst = append(dst, '\\', byte(r))
		case '\b':
			dst = append(dst, '\\', 'b')
		case '\t':
			dst = append(dst, '\\', 't')
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\f':
			dst = append(dst, '\\', 'f')
		case '\r':
			dst = append(dst, '\\', 'r')
		default:
			if r < 0x20 {
				dst = append(dst, '\\', 'u', '0', '0', hex[r>>4], hex[r&15])
			} else {
				dst = append(dst, string(r)...)
			}
		}
	}
	return append(dst, '"')
}

// appendNumber writes a number as ECMAScript does (RFC 8785 section 3.2.2.3): the shortest text that gives the same double.
func appendNumber(dst []byte, n json.Number) ([]byte, error) {
	f, err := n.Float64()
	if err != nil {
		return nil, fmt.Errorf("the number %s is not a double", n)
	}
	if f == 0 {
		return append(dst, '0'), nil // also -0
	}
	if a := math.Abs(f); a >= 1e-6 && a < 1e21 {
		return strconv.AppendFloat(dst, f, 'f', -1, 64), nil
	}
	text := strconv.AppendFloat(nil, f, 'e', -1, 64)
	if i := len(text) - 2; text[i] == '0' && text[i-2] == 'e' { // e-07 is e-7 in ECMAScript
		text = append(text[:i], text[i+1])
	}
	return append(dst, text...), nil
}
