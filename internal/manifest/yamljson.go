package manifest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/cyphonic/cyphonic/api"
)

// toJSON writes a YAML document as JSON, keys in their order and doubled keys twice, so that the strict JSON decoder can speak about them, and returns the line of
// each value by its JSON pointer. What JSON cannot say is a fault of the field.
func toJSON(document *yaml.Node) ([]byte, map[string]int, error) {
	w := jsonWriter{lines: map[string]int{}}
	err := w.value(document, "", 0)
	return w.out.Bytes(), w.lines, err
}

type jsonWriter struct {
	out   bytes.Buffer
	lines map[string]int
}

func (w *jsonWriter) value(node *yaml.Node, pointer string, depth int) error {
	if depth > maxDepth {
		return fault(pointer, "is nested too deeply")
	}
	if w.out.Len() > maxDocument {
		return fault("", "is longer than %d bytes, aliases counted as often as they are used", maxDocument)
	}
	if _, ok := w.lines[pointer]; !ok && node.Kind != yaml.DocumentNode {
		w.lines[pointer] = node.Line
	}
	switch node.Kind {
	case yaml.DocumentNode:
		return w.value(node.Content[0], pointer, depth+1)
	case yaml.AliasNode:
		return w.value(node.Alias, pointer, depth+1)
	case yaml.MappingNode:
		return w.mapping(node, pointer, depth)
	case yaml.SequenceNode:
		return w.sequence(node, pointer, depth)
	case yaml.ScalarNode:
		return w.scalar(node, pointer)
	}
	return fault(pointer, "is empty")
}

func fault(pointer, format string, args ...any) error {
	return api.FieldErrors{{Pointer: pointer, Detail: fmt.Sprintf(format, args...)}}
}

func (w *jsonWriter) mapping(node *yaml.Node, pointer string, depth int) error {
	w.out.WriteByte('{')
	for i := 0; i+1 < len(node.Content); i += 2 {
		key := node.Content[i]
		below := pointer + "/" + escaped(key.Value)
		if len(below) > maxPointer {
			return fault(pointer, "has a key that is too long")
		}
		w.lines[below] = key.Line
		if key.Kind != yaml.ScalarNode || key.ShortTag() == "!!merge" {
			return fault(below, "is a merge key or another key that is not a plain string: write the fields out")
		}
		if i > 0 {
			w.out.WriteByte(',')
		}
		if err := w.literal(key.Value); err != nil {
			return err
		}
		w.out.WriteByte(':')
		if err := w.value(node.Content[i+1], below, depth+1); err != nil {
			return err
		}
	}
	w.out.WriteByte('}')
	return nil
}

// escaped is a key as part of a JSON pointer, RFC 6901 section 3.
func escaped(key string) string {
	if !strings.ContainsAny(key, "~/") {
		return key
	}
	return strings.NewReplacer("~", "~0", "/", "~1").Replace(key)
}

func (w *jsonWriter) sequence(node *yaml.Node, pointer string, depth int) error {
	w.out.WriteByte('[')
	for i, item := range node.Content {
		if i > 0 {
			w.out.WriteByte(',')
		}
		if err := w.value(item, pointer+"/"+strconv.Itoa(i), depth+1); err != nil {
			return err
		}
	}
	w.out.WriteByte(']')
	return nil
}

// scalar keeps the type that YAML 1.2 gives a plain scalar; a time stays the text it is.
func (w *jsonWriter) scalar(node *yaml.Node, pointer string) error {
	switch node.ShortTag() {
	case "!!null":
		return w.literal(nil)
	case "!!bool":
		var value bool
		if err := node.Decode(&value); err != nil {
			return fault(pointer, "is %q, must be true or false", node.Value)
		}
		return w.literal(value)
	case "!!int":
		var value int64
		if err := node.Decode(&value); err != nil {
			return fault(pointer, "is %s, which is no number that can be used", node.Value)
		}
		return w.literal(value)
	case "!!float":
		var value float64
		if err := node.Decode(&value); err != nil || math.IsInf(value, 0) || math.IsNaN(value) {
			return fault(pointer, "is %s, which is no number that can be used", node.Value)
		}
		return w.literal(value)
	case "!!str", "!!timestamp":
		return w.literal(node.Value)
	}
	return fault(pointer, "has the YAML tag %s, which cannot be used", node.ShortTag())
}

func (w *jsonWriter) literal(value any) error {
	text, err := json.Marshal(value)
	w.out.Write(text)
	return err
}
