package bundle

import (
	"fmt"
	"strconv"

	"go.yaml.in/yaml/v3"
)

// SchemaBounds are the bounds of the fields of one schema.
type SchemaBounds struct {
	Schema string
	Fields []FieldBounds
}

// FieldBounds are maxLength (of the field, or of the items or values in it), maxItems and maxProperties of a field; 0: none.
type FieldBounds struct {
	Name                   string
	Length, Items, Members int
}

// Bounds reads the bounds out of the schemas of a bundled document.
func Bounds(document []byte) ([]SchemaBounds, error) {
	var root yaml.Node
	if err := yaml.Unmarshal(document, &root); err != nil || len(root.Content) != 1 {
		return nil, fmt.Errorf("read the bounds: not one document (%w)", err)
	}
	var all []SchemaBounds
	for _, schema := range pairs(child(child(root.Content[0], "components"), "schemas")) {
		found := SchemaBounds{Schema: schema.key}
		for _, property := range pairs(child(schema.value, "properties")) {
			field := FieldBounds{Name: property.key, Length: number(property.value, "maxLength"), Items: number(property.value, "maxItems"), Members: number(property.value, "maxProperties")}
			for _, inside := range []string{"items", "additionalProperties"} {
				if n := number(child(property.value, inside), "maxLength"); n > 0 {
					field.Length = n
				}
			}
			if field.Length+field.Items+field.Members > 0 {
				found.Fields = append(found.Fields, field)
			}
		}
		if len(found.Fields) > 0 {
			all = append(all, found)
		}
	}
	return all, nil
}

func number(node *yaml.Node, name string) int {
	if node == nil {
		return 0
	}
	value := child(node, name)
	if value == nil {
		return 0
	}
	n, err := strconv.Atoi(value.Value)
	if err != nil {
		return 0
	}
	return n
}
