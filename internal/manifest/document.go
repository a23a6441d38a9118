package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/cyphonic/cyphonic/api"
)

// parse reads the documents of one file. The resources without a fault are returned in any case.
func parse(file string, content []byte) (resources []Resource, faults []*FileError) {
	decoder := yaml.NewDecoder(bytes.NewReader(content))
	for document := 1; ; document++ {
		var node yaml.Node
		err := decoder.Decode(&node)
		if errors.Is(err, io.EOF) {
			return resources, faults
		}
		if err != nil {
			return resources, append(faults, syntaxFault(file, document, err))
		}
		if emptyDocument(&node) {
			continue
		}
		for _, item := range itemsOf(&node) {
			if len(resources) > MaxResources || len(faults) > MaxFaults {
				return resources, faults // the reader says so
			}
			resource, found := parseDocument(file, document, item)
			if len(found) > 0 {
				faults = append(faults, found...)
				continue
			}
			resources = append(resources, resource)
		}
	}
}

// syntaxFault has the line that the YAML decoder names and explains its one message that does not say what it means.
func syntaxFault(file string, document int, err error) *FileError {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	line := 0
	if found := regexp.MustCompile(`^line (\d+): `).FindStringSubmatch(text); found != nil {
		line, _ = strconv.Atoi(found[1])
		text = text[len(found[0]):]
	}
	if strings.Contains(text, "cannot start any token") {
		text += " (indent with spaces, not tabs)"
	}
	return &FileError{File: file, Line: line, Document: document, Detail: "not YAML: " + text}
}

// emptyDocument is one of comments only.
func emptyDocument(node *yaml.Node) bool {
	return len(node.Content) == 0 || (len(node.Content) == 1 && node.Content[0].ShortTag() == "!!null")
}

// itemsOf returns the resources of a list, as `get -o yaml` prints one, and of any other document the document.
func itemsOf(document *yaml.Node) []*yaml.Node {
	root := document.Content[0]
	if root.Kind != yaml.MappingNode {
		return []*yaml.Node{root}
	}
	var isList bool
	var items *yaml.Node
	for i := 0; i+1 < len(root.Content); i += 2 {
		switch key, value := root.Content[i].Value, root.Content[i+1]; {
		case key == "kind":
			isList = strings.HasSuffix(value.Value, "List")
		case key == "items" && value.Kind == yaml.SequenceNode:
			items = value
		}
	}
	if isList && items != nil {
		return items.Content
	}
	return []*yaml.Node{root}
}

func parseDocument(file string, document int, node *yaml.Node) (Resource, []*FileError) {
	r := Resource{Source: Source{File: file, Document: document}}
	text, lines, err := toJSON(node)
	r.Source.lines = lines
	if err != nil {
		return r, r.Source.faults("", err)
	}
	if r.Object, err = api.DecodeObject(text); err != nil {
		return r, r.Source.faults("", err)
	}
	r.Object.Default()
	if err := r.Object.Validate().Err(); err != nil {
		return r, r.Source.faults(r.Name(), err)
	}
	if r.Document, err = given(text, r.Object); err != nil {
		return r, r.Source.faults(r.Name(), err)
	}
	return r, nil
}

// faults makes one fault per field out of FieldErrors, anything else into one fault.
func (s Source) faults(resource string, err error) []*FileError {
	var fields api.FieldErrors
	if !errors.As(err, &fields) {
		return []*FileError{s.fault(resource, "", err.Error())}
	}
	all := make([]*FileError, len(fields))
	for i, field := range fields {
		all[i] = s.fault(resource, field.Pointer, field.Detail)
	}
	return all
}

// given reduces a valid document to what an apply sends: its own fields with their canonical values, without what the manager writes.
func given(text []byte, o api.Object) ([]byte, error) {
	document, err := fields(text)
	if err != nil {
		return nil, err
	}
	encoded, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	canonical, err := fields(encoded)
	if err != nil {
		return nil, err
	}
	adopt(document, canonical)
	Strip(document)
	return json.Marshal(document)
}

// Strip removes from a resource, as fields, the status and what only the manager writes. The resourceVersion and the uid stay.
func Strip(document map[string]any) {
	delete(document, "status")
	meta, ok := document["metadata"].(map[string]any)
	if !ok {
		return
	}
	for _, field := range []string{"creationTimestamp", "deletionTimestamp", "updateTimestamp", "generation", "managedFields"} {
		delete(meta, field)
	}
	if finalizers, ok := meta["finalizers"].([]any); ok {
		meta["finalizers"] = slices.DeleteFunc(finalizers, func(f any) bool {
			name, _ := f.(string)
			return strings.HasPrefix(name, systemFinalizers)
		})
		if len(meta["finalizers"].([]any)) == 0 {
			delete(meta, "finalizers")
		}
	}
}

// systemFinalizers begins the names of those that only the manager adds.
const systemFinalizers = "cyphonic/"

func fields(text []byte) (map[string]any, error) {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	var document map[string]any
	if err := decoder.Decode(&document); err != nil {
		return nil, fmt.Errorf("not a JSON object: %w", err)
	}
	return document, nil
}

// adopt replaces the values of a document by canonical ones and drops null, which stands for a field that is not given.
func adopt(document, canonical map[string]any) {
	for key, value := range document {
		known, ok := canonical[key]
		inner, isMap := value.(map[string]any)
		innerKnown, bothMaps := known.(map[string]any)
		switch {
		case value == nil:
			delete(document, key)
		case isMap && bothMaps:
			adopt(inner, innerKnown)
		case ok:
			document[key] = known
		}
	}
}
