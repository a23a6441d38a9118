package jsonpath

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Template is a text with expressions. It does not change and is safe for concurrent use.
type Template struct{ parts []part }

// part is one of text, a path, or the body of a range over a path.
type part struct {
	text    string
	path    *Path
	body    []part
	ranging bool
}

// Parse reads a template. The error says where and what is wrong.
func Parse(text string) (*Template, error) {
	if len(text) > maxTemplate {
		return nil, fmt.Errorf("the template is longer than %d bytes", maxTemplate)
	}
	p := parser{text: text}
	parts, err := p.parts(0)
	if err != nil {
		return nil, err
	}
	return &Template{parts}, nil
}

// Execute writes the template with the values that it finds in data, which is decoded JSON.
func (t *Template) Execute(w io.Writer, data any) error {
	var out strings.Builder
	if err := execute(&out, t.parts, data, data); err != nil {
		return err
	}
	_, err := io.WriteString(w, out.String())
	return err
}

func execute(out *strings.Builder, parts []part, root, current any) error {
	for _, part := range parts {
		if part.path == nil {
			out.WriteString(part.text)
			continue
		}
		values, err := part.path.find(root, current)
		if err != nil {
			return err
		}
		if !part.ranging {
			text, err := Text(values)
			if err != nil {
				return err
			}
			out.WriteString(text)
			continue
		}
		for _, value := range values {
			if err := execute(out, part.body, root, value); err != nil {
				return err
			}
		}
	}
	return nil
}

// Text writes values one after the other with a space between: strings and numbers as they are, objects and arrays as JSON.
func Text(values []any) (string, error) {
	var out strings.Builder
	for i, value := range values {
		if i > 0 {
			out.WriteByte(' ')
		}
		text, err := valueText(value)
		if err != nil {
			return "", err
		}
		out.WriteString(text)
	}
	return out.String(), nil
}

func valueText(value any) (string, error) {
	switch v := value.(type) {
	case string:
		return v, nil
	case nil:
		return "", nil
	case json.Number:
		return v.String(), nil
	}
	var out strings.Builder
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return "", err
	}
	return strings.TrimSuffix(out.String(), "\n"), nil
}

// parts reads up to the end of the text or of the range that it is in.
func (p *parser) parts(depth int) ([]part, error) {
	if depth > maxNesting {
		return nil, p.errorf("ranges are nested too deeply")
	}
	var parts []part
	for p.at < len(p.text) {
		if p.text[p.at] != '{' {
			end := strings.IndexByte(p.text[p.at:], '{')
			if end < 0 {
				end = len(p.text) - p.at
			}
			parts = append(parts, part{text: p.text[p.at : p.at+end]})
			p.at += end
			continue
		}
		one, ended, err := p.expression(depth)
		if err != nil {
			return nil, err
		}
		if ended {
			return parts, nil
		}
		parts = append(parts, one)
	}
	if depth > 0 {
		return nil, p.errorf("{end} of a {range} is missing")
	}
	return parts, nil
}

// expression reads what stands in braces; ended says that it was {end}.
func (p *parser) expression(depth int) (one part, ended bool, err error) {
	p.at++ // {
	p.space()
	switch {
	case p.word("end"):
		if depth == 0 {
			return part{}, false, p.errorf("{end} without a {range}")
		}
		return part{}, true, p.expect("}")
	case p.word("range"):
		p.space()
		if one.path, err = p.path(0); err != nil {
			return part{}, false, err
		}
		if err = p.expect("}"); err != nil {
			return part{}, false, err
		}
		one.ranging = true
		one.body, err = p.parts(depth + 1)
		return one, false, err
	case p.peek('"'), p.peek('\''):
		if one.text, err = p.quoted(); err != nil {
			return part{}, false, err
		}
		return one, false, p.expect("}")
	}
	if one.path, err = p.path(0); err != nil {
		return part{}, false, err
	}
	return one, false, p.expect("}")
}

// parser goes through a text once.
type parser struct {
	text string
	at   int
}

// errorf says where it is.
func (p *parser) errorf(format string, args ...any) error {
	return fmt.Errorf("%s at %s", fmt.Sprintf(format, args...), p.place())
}

func (p *parser) place() string {
	if p.at >= len(p.text) {
		return fmt.Sprintf("the end of %q", p.text)
	}
	rest := p.text[p.at:]
	if len(rest) > 20 {
		rest = rest[:20] + "…"
	}
	return fmt.Sprintf("character %d, %q", p.at+1, rest)
}

func (p *parser) space() {
	for p.at < len(p.text) && (p.text[p.at] == ' ' || p.text[p.at] == '\t' || p.text[p.at] == '\n') {
		p.at++
	}
}

func (p *parser) peek(c byte) bool { return p.at < len(p.text) && p.text[p.at] == c }

// take reads s if it comes next.
func (p *parser) take(s string) bool {
	if strings.HasPrefix(p.text[p.at:], s) {
		p.at += len(s)
		return true
	}
	return false
}

// word is take for a word that ends there.
func (p *parser) word(s string) bool {
	rest, ok := strings.CutPrefix(p.text[p.at:], s)
	if !ok || (rest != "" && !strings.ContainsRune(" \t\n}.[$@", rune(rest[0]))) {
		return false
	}
	p.at += len(s)
	return true
}

func (p *parser) expect(s string) error {
	p.space()
	if !p.take(s) {
		return p.errorf("%q is missing", s)
	}
	return nil
}

var errUnclosed = errors.New("a quote is not closed")

// quoted reads a string in single or double quotes. \n, \t and \r are what they are elsewhere; \ before anything else is that.
func (p *parser) quoted() (string, error) {
	begin := p.at
	quote := p.text[p.at]
	var out strings.Builder
	for p.at++; p.at < len(p.text); p.at++ {
		switch c := p.text[p.at]; {
		case c == quote:
			p.at++
			return out.String(), nil
		case c == '\\' && p.at+1 < len(p.text):
			p.at++
			if i := strings.IndexByte("ntr", p.text[p.at]); i >= 0 {
				out.WriteByte("\n\t\r"[i])
				continue
			}
			out.WriteByte(p.text[p.at])
		default:
			out.WriteByte(c)
		}
	}
	p.at = begin
	return "", fmt.Errorf("%w: %s", errUnclosed, p.place())
}
