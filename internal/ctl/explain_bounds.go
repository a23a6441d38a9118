package ctl

import (
	"fmt"
	"strings"
)

const lineWidth = 100

// bounds says which values a field can have, one sentence each.
func (s schemas) bounds(one schema) []string {
	one, _ = s.resolve(one)
	var all []string
	add := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	if len(one.Enum) > 0 {
		add("One of: %s", strings.Join(one.Enum, ", "))
	}
	if value := one.Default.Value; value != "" {
		add("Default: %s", value)
	}
	if text := within(one.Minimum, one.Maximum); text != "" {
		add("Number: %s", text)
	}
	if text := within(one.MinLength, one.MaxLength); text != "" {
		add("Characters: %s", text)
	}
	if one.Pattern != "" {
		add("Pattern: %s", one.Pattern)
	}
	if text := within(one.MinItems, one.MaxItems); text != "" {
		add("Elements: %s", text)
	}
	if one.MaxProperties != nil {
		add("Entries: at most %d", *one.MaxProperties)
	}
	if one.Items != nil {
		for _, bound := range s.bounds(*one.Items) {
			add("Each element: %s%s", strings.ToLower(bound[:1]), bound[1:])
		}
	}
	return all
}

func within(low, high *int64) string {
	switch {
	case low != nil && high != nil:
		return fmt.Sprintf("%d … %d", *low, *high)
	case low != nil:
		return fmt.Sprintf("at least %d", *low)
	case high != nil:
		return fmt.Sprintf("at most %d", *high)
	}
	return ""
}

// wrapped breaks text into indented lines.
func wrapped(text, indent string) string {
	var out, line strings.Builder
	for word := range strings.FieldsSeq(text) {
		if line.Len() > 0 && len(indent)+line.Len()+1+len(word) > lineWidth {
			out.WriteString(indent + line.String() + "\n")
			line.Reset()
		}
		if line.Len() > 0 {
			line.WriteByte(' ')
		}
		line.WriteString(word)
	}
	out.WriteString(indent + line.String() + "\n")
	return out.String()
}
