package ctl

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/cyphonic/cyphonic/api"
)

// Bounds of manifests.
const (
	maxManifestFile      = 16 << 20 // bytes
	maxManifestDocuments = 10000    // in one run
)

// resource is one document of a manifest.
type resource struct {
	object api.Object
	source source
}

// source says where a document stands.
type source struct {
	file     string
	document int            // counted from 1 in the file
	lines    map[string]int // of each JSON pointer
}

// at is the place of a field for people: file, line, document and what the document describes.
func (s source) at(pointer, what string) string {
	line, ok := s.lines[pointer]
	for !ok && pointer != "" {
		pointer = parentPointer(pointer)
		line, ok = s.lines[pointer]
	}
	if what != "" {
		what = ", " + what
	}
	return fmt.Sprintf("%s:%d: document %d%s", s.file, line, s.document, what)
}

// faults makes one error per field out of FieldErrors, anything else into one error.
func (s source) faults(what string, err error) error {
	var fields api.FieldErrors
	if !errors.As(err, &fields) {
		return &invalidError{fmt.Errorf("%s: %w", s.at("", what), err)}
	}
	var all []error
	for _, field := range fields {
		all = append(all, &invalidError{fmt.Errorf("%s: %s", s.at(field.Pointer, what), field)})
	}
	return errors.Join(all...)
}

func (r resource) name() string { return nameOf(r.object) }

// readManifests reads all documents of files, of the manifests in folders and, for "-", of stdin. The resources are defaulted and valid, by themselves and
// together; otherwise every fault found is in the error.
func readManifests(paths []string, recursive bool, stdin io.Reader) ([]resource, error) {
	files, err := manifestFiles(paths, recursive)
	if err != nil {
		return nil, &usageError{err}
	}
	var (
		all    []resource
		faults []error
	)
	for _, file := range files {
		content, err := readManifestFile(file, stdin)
		if err != nil {
			return nil, &usageError{err}
		}
		resources, err := parseManifest(file, content)
		all = append(all, resources...)
		if err != nil {
			faults = append(faults, err)
		}
	}
	if len(all) == 0 && len(faults) == 0 {
		return nil, &usageError{fmt.Errorf("no resources in %s", strings.Join(paths, ", "))}
	}
	if len(all) > maxManifestDocuments {
		return nil, &invalidError{fmt.Errorf("there are %d documents, at most %d are possible in one run", len(all), maxManifestDocuments)}
	}
	faults = append(faults, checkTogether(all)...)
	return all, errors.Join(faults...)
}

// parseManifest reads the documents of one file. The resources without a fault are returned in any case.
func parseManifest(file string, content []byte) ([]resource, error) {
	var (
		resources []resource
		faults    []error
	)
	decoder := yaml.NewDecoder(bytes.NewReader(content))
	for document := 1; ; document++ {
		var node yaml.Node
		err := decoder.Decode(&node)
		if errors.Is(err, io.EOF) {
			return resources, errors.Join(faults...)
		}
		if err != nil {
			fault := &invalidError{fmt.Errorf("%s: document %d: not YAML: %w%s", file, document, err, remedyOf(err))}
			return resources, errors.Join(append(faults, fault)...)
		}
		if emptyDocument(&node) {
			continue
		}
		for _, item := range itemsOf(&node) {
			object, source, err := parseDocument(file, document, item)
			if err != nil {
				faults = append(faults, err)
				continue
			}
			resources = append(resources, resource{object, source})
		}
	}
}

// remedyOf explains the one message of the YAML decoder that does not say what it means.
func remedyOf(err error) string {
	if strings.Contains(err.Error(), "cannot start any token") {
		return " (indent with spaces, not tabs)"
	}
	return ""
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

func parseDocument(file string, document int, node *yaml.Node) (api.Object, source, error) {
	s := source{file: file, document: document}
	text, lines, err := toJSON(node)
	s.lines = lines
	if err != nil {
		return nil, s, s.faults("", err)
	}
	object, err := api.DecodeObject(text)
	if err != nil {
		return nil, s, s.faults("", err)
	}
	object.Default()
	if err := object.Validate().Err(); err != nil {
		return nil, s, s.faults(nameOf(object), err)
	}
	return object, s, nil
}

func manifestFiles(paths []string, recursive bool) ([]string, error) {
	var files []string
	for _, path := range paths {
		if path == "-" {
			files = append(files, path)
			continue
		}
		info, err := os.Stat(path)
		if err != nil {
			return nil, err
		}
		if !info.IsDir() {
			files = append(files, path)
			continue
		}
		found, err := filesOfFolder(path, recursive)
		if err != nil {
			return nil, err
		}
		if len(found) == 0 {
			return nil, fmt.Errorf("folder %s has no .yaml, .yml or .json file", path)
		}
		files = append(files, found...)
	}
	return files, nil
}

// filesOfFolder returns manifests in lexical order.
func filesOfFolder(folder string, recursive bool) ([]string, error) {
	var files []string
	err := filepath.WalkDir(folder, func(path string, entry os.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && path != folder && !recursive:
			return filepath.SkipDir
		case !entry.IsDir() && slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(path)):
			files = append(files, path)
		}
		return nil
	})
	return files, err
}

func readManifestFile(file string, stdin io.Reader) ([]byte, error) {
	reader := stdin
	if file != "-" {
		opened, err := os.Open(file)
		if err != nil {
			return nil, err
		}
		defer opened.Close()
		reader = opened
	}
	content, err := io.ReadAll(io.LimitReader(reader, maxManifestFile+1))
	if err == nil && len(content) > maxManifestFile {
		err = fmt.Errorf("%s is longer than %d bytes", file, maxManifestFile)
	}
	return content, err
}
