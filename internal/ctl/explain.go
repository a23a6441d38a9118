package ctl

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/openapi"
)

func (c *command) explainCommand() *cobra.Command {
	var recursive bool
	cmd := &cobra.Command{
		Use:   "explain KIND[.FIELD…]",
		Short: "Say what a kind and its fields mean",
		Long: `Say what a kind and its fields mean: types, possible values, defaults and bounds. It is read from the specification in this program and asks no manager.

Lists and maps are passed through: explain accesspolicy.spec.rules.protocol.`,
		Example: `  cyphonicctl explain generalnode
  cyphonicctl explain generalnode.spec.authentication
  cyphonicctl explain accesspolicy.spec --recursive`,
		Args:        cobra.ExactArgs(1),
		Annotations: formats(""),
		ValidArgsFunction: func(_ *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
			return completeFields(args, begun)
		},
		RunE: func(_ *cobra.Command, args []string) error {
			text, err := c.explain(args[0], recursive)
			if err != nil {
				return err
			}
			_, err = fmt.Fprint(c.Stdout, text)
			return err
		},
	}
	cmd.Flags().BoolVar(&recursive, "recursive", false, "show the fields of fields, too, without their descriptions")
	return cmd
}

// schema is what explain needs of an OpenAPI schema.
type schema struct {
	Ref                  string    `yaml:"$ref"`
	Type                 string    `yaml:"type"`
	Format               string    `yaml:"format"`
	Description          string    `yaml:"description"`
	Enum                 []string  `yaml:"enum"`
	Default              yaml.Node `yaml:"default"`
	Pattern              string    `yaml:"pattern"`
	Minimum              *int64    `yaml:"minimum"`
	Maximum              *int64    `yaml:"maximum"`
	MinLength            *int64    `yaml:"minLength"`
	MaxLength            *int64    `yaml:"maxLength"`
	MinItems             *int64    `yaml:"minItems"`
	MaxItems             *int64    `yaml:"maxItems"`
	MaxProperties        *int64    `yaml:"maxProperties"`
	Required             []string  `yaml:"required"`
	Items                *schema   `yaml:"items"`
	AllOf                []schema  `yaml:"allOf"`
	Properties           yaml.Node `yaml:"properties"` // in their order
	AdditionalProperties yaml.Node `yaml:"additionalProperties"`
}

// schemas are those of the specification by name.
type schemas map[string]schema

func readSchemas() (schemas, error) {
	var document struct {
		Components struct {
			Schemas schemas `yaml:"schemas"`
		} `yaml:"components"`
	}
	if err := yaml.Unmarshal(openapi.Document, &document); err != nil {
		return nil, fmt.Errorf("the specification: %w", err)
	}
	return document.Components.Schemas, nil
}

// property is a field of an object.
type property struct {
	name     string
	schema   schema
	required bool
}

// resolve follows references; what stands beside one counts more than what it refers to.
func (s schemas) resolve(one schema) (schema, string) {
	name := ""
	for depth := 0; depth < 8; depth++ {
		reference := one.Ref
		if reference == "" && len(one.AllOf) == 1 {
			reference = one.AllOf[0].Ref
		}
		if reference == "" {
			break
		}
		name = reference[strings.LastIndexByte(reference, '/')+1:]
		description := one.Description
		one = s[name]
		one.Description = first(description, one.Description)
	}
	return one, name
}

// element passes through lists and maps to what is in them.
func (s schemas) element(one schema) schema {
	for {
		one, _ = s.resolve(one)
		switch inner, ok := mapOf(one); {
		case one.Items != nil:
			one = *one.Items
		case ok:
			one = inner
		default:
			return one
		}
	}
}

// mapOf returns what the values of a map are.
func mapOf(one schema) (schema, bool) {
	var inner schema
	if one.AdditionalProperties.Kind != yaml.MappingNode || one.AdditionalProperties.Decode(&inner) != nil {
		return schema{}, false
	}
	return inner, true
}

func (s schemas) properties(one schema) ([]property, error) {
	var all []property
	one = s.element(one)
	for i := 0; i+1 < len(one.Properties.Content); i += 2 {
		p := property{name: one.Properties.Content[i].Value}
		if err := one.Properties.Content[i+1].Decode(&p.schema); err != nil {
			return nil, fmt.Errorf("the specification: %s: %w", p.name, err)
		}
		p.required = slices.Contains(one.Required, p.name)
		all = append(all, p)
	}
	return all, nil
}

// typeText is as in []PolicyRule or map[string]string.
func (s schemas) typeText(one schema) string {
	one, name := s.resolve(one)
	if one.Items != nil {
		return "[]" + s.typeText(*one.Items)
	}
	if inner, ok := mapOf(one); ok {
		return "map[string]" + s.typeText(inner)
	}
	if name != "" && one.Type == "object" {
		return name
	}
	switch {
	case one.Format == "date-time":
		return "time"
	case one.Type == "":
		return "any"
	}
	return one.Type
}

func (c *command) explain(path string, recursive bool) (string, error) {
	all, err := readSchemas()
	if err != nil {
		return "", err
	}
	word, rest, _ := strings.Cut(path, ".")
	kind, err := kindOf(word)
	if err != nil {
		return "", err
	}
	field := property{name: "", schema: schema{Ref: "/" + kind.Name}}
	if rest != "" {
		if field, err = all.find(field, kind.Name, rest); err != nil {
			return "", err
		}
	}
	return c.explanation(all, kind, field, rest, recursive)
}

// find goes down a path of fields.
func (s schemas) find(from property, at, path string) (property, error) {
	for name := range strings.SplitSeq(path, ".") {
		properties, err := s.properties(from.schema)
		if err != nil {
			return property{}, err
		}
		i := slices.IndexFunc(properties, func(p property) bool { return p.name == name })
		if i < 0 {
			return property{}, &usageError{fmt.Errorf("%s has no field %q%s", at, name, offer(properties, name))}
		}
		from = properties[i]
		at += "." + name
	}
	return from, nil
}

// offer names the fields there are.
func offer(properties []property, wrong string) string {
	if len(properties) == 0 {
		return ": it is no object"
	}
	var names []string
	for _, p := range properties {
		if strings.EqualFold(p.name, wrong) {
			return ", write " + p.name
		}
		names = append(names, p.name)
	}
	return ": there are " + strings.Join(names, ", ")
}

func (c *command) explanation(all schemas, kind api.Kind, field property, path string, recursive bool) (string, error) {
	var text strings.Builder
	heading := func(name string) string { return c.paint(c.Stdout, styleHeading, name) }
	fmt.Fprintf(&text, "%s     %s\n%s  %s\n", heading("KIND:"), kind.Name, heading("VERSION:"), api.Version)
	if path != "" {
		fmt.Fprintf(&text, "%s    %s <%s>%s\n", heading("FIELD:"), path, all.typeText(field.schema), requiredText(field))
	}
	own, _ := all.resolve(field.schema)
	fmt.Fprintf(&text, "\n%s\n%s", heading("DESCRIPTION:"), wrapped(first(own.Description, "(none)"), "    "))
	if bounds := all.bounds(field.schema); len(bounds) > 0 {
		fmt.Fprintf(&text, "\n%s\n", heading("VALUES:"))
		for _, bound := range bounds {
			text.WriteString(wrapped(bound, "    "))
		}
	}
	properties, err := all.properties(field.schema)
	if err != nil || len(properties) == 0 {
		return text.String(), err
	}
	fmt.Fprintf(&text, "\n%s\n", heading("FIELDS:"))
	if recursive {
		err := c.tree(&text, all, properties, "  ", nil)
		return text.String(), err
	}
	for i, p := range properties {
		if i > 0 {
			text.WriteByte('\n')
		}
		fmt.Fprintf(&text, "  %s <%s>%s\n", c.paint(c.Stdout, styleSubject, p.name), all.typeText(p.schema), requiredText(p))
		resolved, _ := all.resolve(p.schema)
		if resolved.Description != "" {
			text.WriteString(wrapped(resolved.Description, "    "))
		}
		for _, bound := range all.bounds(p.schema) {
			text.WriteString(wrapped(bound, "    "))
		}
	}
	return text.String(), nil
}

// tree shows names and types only. A schema within itself is shown once.
func (c *command) tree(text *strings.Builder, all schemas, properties []property, indent string, above []string) error {
	for _, p := range properties {
		kind := all.typeText(p.schema)
		fmt.Fprintf(text, "%s%s <%s>%s\n", indent, c.paint(c.Stdout, styleSubject, p.name), kind, requiredText(p))
		below, err := all.properties(p.schema)
		if err != nil {
			return err
		}
		if len(below) == 0 || slices.Contains(above, kind) {
			continue
		}
		if err := c.tree(text, all, below, indent+"  ", append(slices.Clone(above), kind)); err != nil {
			return err
		}
	}
	return nil
}

func requiredText(p property) string {
	if p.required {
		return " -required-"
	}
	return ""
}

func completeFields(args []string, begun string) ([]string, cobra.ShellCompDirective) {
	const directive = cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
	if len(args) > 0 {
		return nil, directive
	}
	at := strings.LastIndexByte(begun, '.')
	if at < 0 {
		var names []string
		for _, kind := range api.Kinds() {
			names = append(names, lower(kind.Name))
		}
		return names, directive
	}
	all, err := readSchemas()
	if err != nil {
		return nil, directive
	}
	word, path, _ := strings.Cut(begun[:at], ".")
	kind, err := kindOf(word)
	if err != nil {
		return nil, directive
	}
	from := property{schema: schema{Ref: "/" + kind.Name}}
	if path != "" {
		if from, err = all.find(from, kind.Name, path); err != nil {
			return nil, directive
		}
	}
	properties, err := all.properties(from.schema)
	if err != nil {
		return nil, directive
	}
	var offered []string
	for _, p := range properties {
		offered = append(offered, begun[:at+1]+p.name)
	}
	return offered, directive
}
