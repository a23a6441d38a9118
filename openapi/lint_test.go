package openapi

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
)

// Lint: what a good specification has besides being valid. Each rule names the place at fault.

func TestOperationsAreDescribed(t *testing.T) {
	document := load(t)
	camelCase := regexp.MustCompile(`^[a-z]+([A-Z]+[a-z0-9]+)*([A-Z]+[a-z]*)?$`)
	seen := map[string]string{}
	for path, item := range document.Paths.Map() {
		for method, operation := range item.Operations() {
			at := method + " " + path
			if !camelCase.MatchString(operation.OperationID) {
				t.Errorf("%s: operationId %q is not camelCase", at, operation.OperationID)
			}
			if other, ok := seen[operation.OperationID]; ok {
				t.Errorf("%s: operationId %q is that of %s too", at, operation.OperationID, other)
			}
			seen[operation.OperationID] = at
			if operation.Summary == "" || strings.HasSuffix(operation.Summary, ".") || len(operation.Summary) > 72 {
				t.Errorf("%s: summary %q must be a short line without a full stop", at, operation.Summary)
			}
			if len(operation.Tags) != 1 || document.Tags.Get(operation.Tags[0]) == nil {
				t.Errorf("%s: has the tags %v, must have one that is declared", at, operation.Tags)
			}
			public := operation.Extensions["x-cyphonic-access"] == "public"
			if operation.Responses.Value("default") == nil && !public {
				t.Errorf("%s: does not say how errors look (response default)", at)
			}
			lintParameters(t, at, append(slices.Clone(item.Parameters), operation.Parameters...))
		}
	}
	if len(seen) < 50 {
		t.Errorf("only %d operations found", len(seen))
	}
}

func lintParameters(t *testing.T, at string, parameters openapi3.Parameters) {
	t.Helper()
	for _, reference := range parameters {
		p := reference.Value
		if p.Description == "" {
			t.Errorf("%s: parameter %s has no description", at, p.Name)
		}
		if p.In == openapi3.ParameterInPath && !p.Required {
			t.Errorf("%s: parameter %s of the path is not required", at, p.Name)
		}
		lintBounds(t, at+" parameter "+p.Name, p.Schema.Value)
	}
}

// lintBounds demands that everything a client sends has a bound.
func lintBounds(t *testing.T, at string, schema *openapi3.Schema) {
	t.Helper()
	bounded := schema.MaxLength != nil || len(schema.Enum) > 0 || schema.Pattern != "" || schema.Format != ""
	switch {
	case schema.Type.Is("string") && !bounded:
		t.Errorf("%s: a string without maxLength, pattern, enum or format", at)
	case schema.Type.Is("array") && schema.MaxItems == nil:
		t.Errorf("%s: an array without maxItems", at)
	case schema.Type.Is("integer") && schema.Max == nil && schema.Format == "":
		t.Errorf("%s: an integer without maximum or format", at)
	}
	if schema.Type.Is("array") {
		lintBounds(t, at+"[]", schema.Items.Value)
	}
}

func TestSchemasAreDescribed(t *testing.T) {
	for name, reference := range load(t).Components.Schemas {
		if strings.HasSuffix(name, "List") {
			continue
		}
		for field, property := range reference.Value.Properties {
			envelope := slices.Contains([]string{"apiVersion", "kind", "metadata", "spec", "status", "conditions"}, field)
			if property.Ref == "" && property.Value.Description == "" && !envelope {
				switch name {
				case "TargetGroup": // the shape is that of Prometheus
				default:
					t.Errorf("%s.%s has no description", name, field)
				}
			}
		}
	}
}

// What clients send in a body is bounded field by field, not only as a whole.
func TestSpecificationsOfResourcesAreBounded(t *testing.T) {
	checked := 0
	for name, reference := range load(t).Components.Schemas {
		if !strings.HasSuffix(name, "Spec") {
			continue
		}
		checked++
		for field, property := range reference.Value.Properties {
			if property.Ref == "" {
				lintBounds(t, name+"."+field, property.Value)
			}
		}
	}
	if checked < 10 {
		t.Errorf("only %d specifications found", checked)
	}
}
