package jsonpath

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Path leads to values. It does not change and is safe for concurrent use.
type Path struct {
	fromRoot bool
	steps    []step
}

// step leads from values to others; there may be none.
type step interface {
	apply(w *walk, in []any) []any
}

// walk is the evaluation of one path.
type walk struct {
	root  any
	count int // values gone through
	err   error
}

var errTooMany = errors.New("the path goes through too many values")

// emit adds a value unless there are too many.
func (w *walk) emit(out []any, value any) []any {
	if w.count++; w.count > maxValues {
		w.err = errTooMany
		return out
	}
	return append(out, value)
}

// ParsePath reads one path. As in kubectl the braces, and the dot at the beginning, may be left out: {.status.phase}, .status.phase or status.phase.
func ParsePath(text string) (*Path, error) {
	if len(text) > maxTemplate {
		return nil, fmt.Errorf("the path is longer than %d bytes", maxTemplate)
	}
	bare := strings.TrimSpace(text)
	if inner, ok := strings.CutPrefix(bare, "{"); ok {
		if bare, ok = strings.CutSuffix(inner, "}"); !ok {
			return nil, fmt.Errorf("%q has no } at its end", text)
		}
	}
	if bare != "" && !strings.ContainsRune("$@.[", rune(bare[0])) {
		bare = "." + bare
	}
	p := parser{text: bare}
	path, err := p.path(0)
	if err != nil {
		return nil, err
	}
	p.space()
	if p.at < len(p.text) {
		return nil, p.errorf("the path should end")
	}
	return path, nil
}

// Find returns the values that the path leads to, in their order; members of objects in the order of their names.
func (p *Path) Find(data any) ([]any, error) { return p.find(data, data) }

func (p *Path) find(root, current any) ([]any, error) {
	w := &walk{root: root}
	values := p.walk(w, current)
	return values, w.err
}

func (p *Path) walk(w *walk, current any) []any {
	values := []any{current}
	if p.fromRoot {
		values[0] = w.root
	}
	for _, s := range p.steps {
		if values = s.apply(w, values); len(values) == 0 || w.err != nil {
			return nil
		}
	}
	return values
}

// path reads as far as it is a path.
func (p *parser) path(depth int) (*Path, error) {
	path := &Path{}
	begin := p.at
	if p.take("$") {
		path.fromRoot = true
	} else {
		p.take("@")
	}
	for p.at < len(p.text) {
		var (
			s   step
			err error
		)
		switch {
		case p.take(".."):
			path.steps = append(path.steps, descend{})
			s, err = p.afterDots(depth)
		case p.peek('[') || strings.HasPrefix(p.text[p.at:], ".["):
			p.take(".")
			s, err = p.selection(depth)
		case p.peek('.'):
			p.at++
			if s, err = p.name(); s == nil && err == nil {
				if len(path.steps) > 0 {
					return nil, p.errorf("a name is missing")
				}
				return path, nil // {.}
			}
		default:
			if p.at == begin {
				return nil, p.errorf("a path begins with $, @, . or [")
			}
			return path, nil
		}
		if err != nil {
			return nil, err
		}
		path.steps = append(path.steps, s)
	}
	if p.at == begin {
		return nil, p.errorf("a path is missing")
	}
	return path, nil
}

func (p *parser) afterDots(depth int) (step, error) {
	if p.peek('[') {
		return p.selection(depth)
	}
	s, err := p.name()
	if s == nil && err == nil {
		return nil, p.errorf("a name is missing after ..")
	}
	return s, err
}

// name reads * or a name; nil if there is none.
func (p *parser) name() (step, error) {
	if p.take("*") {
		return wildcard{}, nil
	}
	var name strings.Builder
	for p.at < len(p.text) && !strings.ContainsRune(".[]{}()<>=!&|,?*\"' \t\n", rune(p.text[p.at])) {
		if p.text[p.at] == '\\' {
			if p.at++; p.at == len(p.text) {
				return nil, p.errorf("a backslash stands before nothing")
			}
		}
		name.WriteByte(p.text[p.at])
		p.at++
	}
	if name.Len() == 0 {
		return nil, nil
	}
	return union{member(name.String())}, nil
}

// selection reads what stands in brackets.
func (p *parser) selection(depth int) (step, error) {
	p.at++ // [
	p.space()
	if p.take("*") {
		return wildcard{}, p.expect("]")
	}
	if p.take("?(") {
		condition, err := p.condition(depth + 1)
		if err != nil {
			return nil, err
		}
		if err := p.expect(")"); err != nil {
			return nil, err
		}
		return filter{condition}, p.expect("]")
	}
	var items union
	for {
		item, err := p.item()
		if err != nil {
			return nil, err
		}
		items = append(items, item)
		p.space()
		if !p.take(",") {
			return items, p.expect("]")
		}
		p.space()
	}
}

func (p *parser) item() (step, error) {
	if p.peek('\'') || p.peek('"') {
		name, err := p.quoted()
		return member(name), err
	}
	var bounds [3]*int
	for i := range bounds {
		number, err := p.integer()
		if err != nil {
			return nil, err
		}
		bounds[i] = number
		p.space()
		if i < 2 && p.take(":") {
			p.space()
			continue
		}
		if i == 0 {
			if number == nil {
				return nil, p.errorf("an index, a name in quotes, * or ?(…) is missing")
			}
			return index(*number), nil
		}
		break
	}
	if bounds[2] != nil && *bounds[2] < 1 {
		return nil, p.errorf("the step of a slice must be at least 1")
	}
	return slice(bounds), nil
}

// integer returns nil if there is none.
func (p *parser) integer() (*int, error) {
	end := p.at
	for end < len(p.text) && (p.text[end] >= '0' && p.text[end] <= '9' || end == p.at && p.text[end] == '-') {
		end++
	}
	if end == p.at {
		return nil, nil
	}
	number, err := strconv.Atoi(p.text[p.at:end])
	if err != nil {
		return nil, p.errorf("no number")
	}
	p.at = end
	return &number, nil
}

// wildcard leads to every member or element.
type wildcard struct{}

func (wildcard) apply(w *walk, in []any) (out []any) {
	for _, value := range in {
		for _, below := range children(value) {
			out = w.emit(out, below)
		}
	}
	return out
}

// descend leads to a value and to everything in it.
type descend struct{}

func (d descend) apply(w *walk, in []any) (out []any) {
	for _, value := range in {
		if w.err != nil {
			return nil
		}
		out = w.emit(out, value)
		if below := children(value); len(below) > 0 {
			out = append(out, d.apply(w, below)...)
		}
	}
	return out
}

func children(value any) []any {
	switch v := value.(type) {
	case []any:
		return v
	case map[string]any:
		var out []any
		for _, name := range slices.Sorted(maps.Keys(v)) {
			out = append(out, v[name])
		}
		return out
	}
	return nil
}

// union leads to what each of its steps leads to, value by value.
type union []step

func (u union) apply(w *walk, in []any) (out []any) {
	for i := range in {
		for _, s := range u {
			out = append(out, s.apply(w, in[i:i+1])...)
		}
	}
	return out
}

// member leads to the member of an object.
type member string

func (m member) apply(w *walk, in []any) (out []any) {
	for _, value := range in {
		object, ok := value.(map[string]any)
		if !ok {
			continue
		}
		if found, ok := object[string(m)]; ok {
			out = w.emit(out, found)
		}
	}
	return out
}

// index leads to an element, counted from the end if it is negative.
type index int

func (i index) apply(w *walk, in []any) (out []any) {
	for _, value := range in {
		list, _ := value.([]any)
		at := int(i)
		if at < 0 {
			at += len(list)
		}
		if at >= 0 && at < len(list) {
			out = w.emit(out, list[at])
		}
	}
	return out
}

// slice leads to the elements from the first bound up to but not including the second, every third-th.
type slice [3]*int

func (s slice) apply(w *walk, in []any) (out []any) {
	for _, value := range in {
		list, _ := value.([]any)
		bound := func(at *int, otherwise int) int {
			if at == nil {
				return otherwise
			}
			n := *at
			if n < 0 {
				n += len(list)
			}
			return min(max(n, 0), len(list))
		}
		stride := 1
		if s[2] != nil {
			stride = *s[2]
		}
		for i := bound(s[0], 0); i < bound(s[1], len(list)); i += stride {
			out = w.emit(out, list[i])
			if stride > len(list) {
				break
			}
		}
	}
	return out
}
