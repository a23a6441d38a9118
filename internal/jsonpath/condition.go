package jsonpath

import (
	"encoding/json"
	"reflect"
	"strconv"
	"strings"
)

// condition holds for a value or not.
type condition interface {
	holds(w *walk, current any) bool
}

// filter leads to the elements of an array, or the members of an object, for which a condition holds.
type filter struct{ condition }

func (f filter) apply(w *walk, in []any) (out []any) {
	for _, value := range in {
		for _, below := range children(value) {
			if f.holds(w, below) {
				out = w.emit(out, below)
			}
		}
	}
	return out
}

type (
	anyOf []condition
	allOf []condition
	not   struct{ condition }

	// exists holds if its operand finds something.
	exists struct{ operand }

	// comparison holds if a value of the left compares so with one of the right.
	comparison struct {
		left, right operand
		operator    string
	}

	// operand is a path or a constant.
	operand struct {
		path     *Path
		constant any
	}
)

func (a anyOf) holds(w *walk, current any) bool {
	for _, c := range a {
		if c.holds(w, current) {
			return true
		}
	}
	return false
}

func (a allOf) holds(w *walk, current any) bool {
	for _, c := range a {
		if !c.holds(w, current) {
			return false
		}
	}
	return true
}

func (n not) holds(w *walk, current any) bool    { return !n.condition.holds(w, current) }
func (e exists) holds(w *walk, current any) bool { return len(e.values(w, current)) > 0 }

func (c comparison) holds(w *walk, current any) bool {
	rights := c.right.values(w, current)
	for _, left := range c.left.values(w, current) {
		for _, right := range rights {
			if compare(left, right, c.operator) {
				return true
			}
		}
	}
	return false
}

func (o operand) values(w *walk, current any) []any {
	if o.path == nil {
		return []any{o.constant}
	}
	return o.path.walk(w, current)
}

// compare orders numbers with numbers and strings with strings; anything else is equal or not.
func compare(left, right any, operator string) bool {
	if l, ok := number(left); ok {
		if r, ok := number(right); ok {
			return ordered(l-r, operator)
		}
	}
	if l, ok := left.(string); ok {
		if r, ok := right.(string); ok {
			return ordered(float64(strings.Compare(l, r)), operator)
		}
	}
	switch operator {
	case "==":
		return reflect.DeepEqual(left, right)
	case "!=":
		return !reflect.DeepEqual(left, right)
	}
	return false
}

// ordered says whether a difference is as the operator wants it.
func ordered(difference float64, operator string) bool {
	switch operator {
	case "==":
		return difference == 0
	case "!=":
		return difference != 0
	case "<":
		return difference < 0
	case "<=":
		return difference <= 0
	case ">":
		return difference > 0
	}
	return difference >= 0
}

func number(value any) (float64, bool) {
	switch v := value.(type) {
	case float64:
		return v, true
	case json.Number:
		f, err := v.Float64()
		return f, err == nil
	}
	return 0, false
}

func (p *parser) condition(depth int) (condition, error) {
	var alternatives anyOf
	for {
		var together allOf
		for {
			one, err := p.term(depth)
			if err != nil {
				return nil, err
			}
			together = append(together, one)
			if p.space(); !p.take("&&") {
				break
			}
		}
		alternatives = append(alternatives, together)
		if !p.take("||") {
			return alternatives, nil
		}
	}
}

func (p *parser) term(depth int) (condition, error) {
	if depth > maxNesting {
		return nil, p.errorf("conditions are nested too deeply")
	}
	p.space()
	if p.take("!") {
		one, err := p.term(depth + 1)
		return not{one}, err
	}
	if p.take("(") {
		inner, err := p.condition(depth + 1)
		if err != nil {
			return nil, err
		}
		return inner, p.expect(")")
	}
	left, err := p.operand(depth)
	if err != nil {
		return nil, err
	}
	p.space()
	for _, operator := range []string{"==", "!=", "<=", ">=", "<", ">"} {
		if p.take(operator) {
			p.space()
			right, err := p.operand(depth)
			return comparison{left, right, operator}, err
		}
	}
	if p.peek('=') {
		return nil, p.errorf("write == to compare")
	}
	if left.path == nil {
		return nil, p.errorf("a comparison is missing")
	}
	return exists{left}, nil
}

func (p *parser) operand(depth int) (operand, error) {
	switch {
	case p.peek('"'), p.peek('\''):
		text, err := p.quoted()
		return operand{constant: text}, err
	case p.peek('@'), p.peek('$'), p.peek('.'), p.peek('['):
		path, err := p.path(depth + 1)
		return operand{path: path}, err
	}
	end := p.at
	for end < len(p.text) && !strings.ContainsRune(" \t\n()[]{}=!<>&|,", rune(p.text[end])) {
		end++
	}
	word := p.text[p.at:end]
	var constant any
	switch word {
	case "true", "false":
		constant = word == "true"
	case "null":
	default:
		n, err := strconv.ParseFloat(word, 64)
		if err != nil {
			return operand{}, p.errorf("a path, a number, a text in quotes, true, false or null is missing")
		}
		constant = n
	}
	p.at = end
	return operand{constant: constant}, nil
}
