// Package bundle joins a specification that is split over files into one document, because the code generator cannot follow references out of a document.
//
// It knows three kinds of reference to another file and refuses all others: a path item and a parameter, which are put in place of the reference, and an entry of
// a section of components (for example components.schemas.Node), which is put in place too and gives its target a name; every further reference to that target,
// from whichever file, becomes a reference to the named component. It must not know anything about CYPHONIC.
package bundle

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Bundle returns the document root of fsys with all references to other files resolved. The order of the keys is kept.
func Bundle(fsys fs.FS, root string) ([]byte, error) {
	b := bundler{fsys: fsys, files: map[string]*yaml.Node{}, names: map[target]string{}}
	document, err := b.load(root)
	if err != nil {
		return nil, err
	}
	if err := b.nameComponents(root, document); err != nil {
		return nil, err
	}
	if err := b.placePaths(root, document); err != nil {
		return nil, err
	}
	if err := b.placeComponents(document); err != nil {
		return nil, err
	}
	return encode(document)
}

// target is one object of one file.
type target struct{ file, pointer string }

type component struct {
	section, name string
	target        target
}

type bundler struct {
	fsys       fs.FS
	files      map[string]*yaml.Node
	names      map[target]string // reference of the named component
	components []component
}

func (b *bundler) load(file string) (*yaml.Node, error) {
	if node, ok := b.files[file]; ok {
		return node, nil
	}
	content, err := fs.ReadFile(b.fsys, file)
	if err != nil {
		return nil, err
	}
	var document yaml.Node
	if err := yaml.Unmarshal(content, &document); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if len(document.Content) != 1 || document.Content[0].Kind != yaml.MappingNode {
		return nil, fmt.Errorf("%s: not one YAML mapping", file)
	}
	b.files[file] = document.Content[0]
	return document.Content[0], nil
}

// nameComponents takes note of every entry of components that stands in another file.
func (b *bundler) nameComponents(root string, document *yaml.Node) error {
	for _, section := range pairs(child(document, "components")) {
		for _, entry := range pairs(section.value) {
			reference, ok := referenceOf(entry.value)
			if !ok {
				continue
			}
			t, err := resolve(root, reference)
			if err != nil {
				return err
			}
			if other, ok := b.names[t]; ok {
				return fmt.Errorf("%s: %s is already %s", root, reference, other)
			}
			b.names[t] = "#/components/" + section.key + "/" + entry.key
			b.components = append(b.components, component{section.key, entry.key, t})
		}
	}
	return nil
}

func (b *bundler) placePaths(root string, document *yaml.Node) error {
	for _, item := range pairs(child(document, "paths")) {
		reference, ok := referenceOf(item.value)
		if !ok {
			continue
		}
		t, err := resolve(root, reference)
		if err != nil {
			return err
		}
		if err := b.place(item.value, t); err != nil {
			return fmt.Errorf("path %s: %w", item.key, err)
		}
	}
	return nil
}

func (b *bundler) placeComponents(document *yaml.Node) error {
	for _, c := range b.components {
		at := child(child(child(document, "components"), c.section), c.name)
		if err := b.place(at, c.target); err != nil {
			return fmt.Errorf("component %s/%s: %w", c.section, c.name, err)
		}
	}
	return nil
}

// place overwrites the node at with the object t, whose references are rewritten.
func (b *bundler) place(at *yaml.Node, t target) error {
	node, err := b.find(t)
	if err != nil {
		return err
	}
	if err := b.rewrite(node, t.file); err != nil {
		return err
	}
	*at = *node
	return nil
}

func (b *bundler) find(t target) (*yaml.Node, error) {
	node, err := b.load(t.file)
	if err != nil {
		return nil, err
	}
	for _, token := range strings.Split(strings.TrimPrefix(t.pointer, "/"), "/") {
		if node = child(node, token); node == nil {
			return nil, fmt.Errorf("%s has no %s", t.file, t.pointer)
		}
	}
	return node, nil
}

// rewrite makes every reference below node, which stands in file, one to a component. Doing so twice changes nothing.
func (b *bundler) rewrite(node *yaml.Node, file string) error {
	if reference, ok := referenceOf(node); ok {
		if strings.HasPrefix(reference, "#/components/") {
			return nil
		}
		t, err := resolve(file, reference)
		if err != nil {
			return err
		}
		name, ok := b.names[t]
		if !ok {
			return fmt.Errorf("%s:%d: %s is not an entry of components in the root document: add it there", file, node.Line, reference)
		}
		child(node, "$ref").SetString(name)
		return nil
	}
	for _, p := range pairs(node) {
		if p.key == "parameters" && p.value.Kind == yaml.SequenceNode {
			if err := b.placeParameters(p.value, file); err != nil {
				return err
			}
		}
	}
	for _, below := range node.Content {
		if err := b.rewrite(below, file); err != nil {
			return err
		}
	}
	return nil
}

// placeParameters puts parameters in place of references to them: named parameters would become names in the generated code.
func (b *bundler) placeParameters(list *yaml.Node, file string) error {
	for _, parameter := range list.Content {
		reference, ok := referenceOf(parameter)
		if !ok {
			continue
		}
		t, err := resolve(file, reference)
		if err != nil {
			return err
		}
		if err := b.place(parameter, t); err != nil {
			return err
		}
	}
	return nil
}

func resolve(file, reference string) (target, error) {
	name, pointer, ok := strings.Cut(reference, "#")
	if !ok || !strings.HasPrefix(pointer, "/") || strings.Contains(name, ":") {
		return target{}, fmt.Errorf("%s: reference %q is not of the form file.yaml#/Name", file, reference)
	}
	if name == "" {
		return target{file, pointer}, nil
	}
	return target{path.Join(path.Dir(file), name), pointer}, nil
}

type pair struct {
	key   string
	value *yaml.Node
}

func pairs(node *yaml.Node) []pair {
	var all []pair
	if node == nil || node.Kind != yaml.MappingNode {
		return nil
	}
	for kv := range slices.Chunk(node.Content, 2) {
		all = append(all, pair{kv[0].Value, kv[1]})
	}
	return all
}

func child(node *yaml.Node, key string) *yaml.Node {
	for _, p := range pairs(node) {
		if p.key == key {
			return p.value
		}
	}
	return nil
}

func referenceOf(node *yaml.Node) (string, bool) {
	reference := child(node, "$ref")
	if reference == nil || reference.Kind != yaml.ScalarNode {
		return "", false
	}
	return reference.Value, true
}

func encode(document *yaml.Node) ([]byte, error) {
	var out strings.Builder
	out.WriteString("# Code generated by openapi/bundle from openapi.yaml and the files it refers to. DO NOT EDIT.\n")
	encoder := yaml.NewEncoder(&out)
	encoder.SetIndent(2)
	if err := encoder.Encode(document); err != nil {
		return nil, err
	}
	return []byte(out.String()), encoder.Close()
}
