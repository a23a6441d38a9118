package bundle

import (
	"bytes"
	"fmt"
	"strings"
	"text/template"
)

// Kind is what the paths of one kind of resource differ in.
type Kind struct {
	Kind     string // GeneralNode
	Kinds    string // GeneralNodes
	Plural   string // generalnodes: in paths; also the name of the schema's file
	ReadOnly bool   // no operation writes it
	Secret   bool   // the answer to its creation has a secret
}

// File is the file of the schemas, without extension.
func (k Kind) File() string { return k.Plural }

// Article is the indefinite article before the name of the kind.
func (k Kind) Article() string {
	if strings.ContainsAny(k.Kind[:1], "AEIO") {
		return "an"
	}
	return "a"
}

// Expand executes a template with a kind, or with all of them.
func Expand(text string, about any) ([]byte, error) {
	parsed, err := template.New("").Parse(text)
	if err != nil {
		return nil, fmt.Errorf("template: %w", err)
	}
	var out bytes.Buffer
	if err := parsed.Execute(&out, about); err != nil {
		return nil, fmt.Errorf("template: %w", err)
	}
	return out.Bytes(), nil
}
