package replica

import (
	"maps"
	"slices"
)

// interner keeps one copy of texts and sets of labels that many devices have in common. The zero value is ready to use.
type interner struct {
	texts  map[string]string
	labels map[string]map[string]string
	buffer []byte
}

// text returns a copy of t that lives as long as somebody uses it.
func (x *interner) text(t string) string {
	if t == "" {
		return ""
	}
	if known, ok := x.texts[t]; ok {
		return known
	}
	if x.texts == nil || len(x.texts) >= maxInterned {
		x.texts = make(map[string]string)
	}
	x.texts[t] = t
	return t
}

// set returns a map that equals labels and must not be changed.
func (x *interner) set(labels map[string]string) map[string]string {
	if len(labels) == 0 {
		return nil
	}
	x.buffer = x.buffer[:0]
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		x.buffer = appendText(appendText(x.buffer, name), labels[name])
	}
	if known, ok := x.labels[string(x.buffer)]; ok {
		return known
	}
	if x.labels == nil || len(x.labels) >= maxInterned {
		x.labels = make(map[string]map[string]string)
	}
	x.labels[string(x.buffer)] = labels
	return labels
}
