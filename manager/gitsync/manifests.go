package gitsync

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"path"
	"slices"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/internal/applyset"
	"github.com/cyphonic/cyphonic/internal/manifest"
	"github.com/cyphonic/cyphonic/manager/gitsync/repository"
)

// applySetOf is the apply set of a git source: "git-" and its name, as a label
// value.
func applySetOf(source string) string {
	name := "git-" + source
	if len(name) <= api.MaxLabelValue {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	return name[:api.MaxLabelValue-9] + "-" + hex.EncodeToString(sum[:4])
}

// document is one resource of a commit, ready to be applied.
type document struct {
	kind api.Kind
	name string
	body []byte // what an apply sends, with the label of the apply set
	from manifest.Resource
}

func (d document) key() string { return d.kind.Name + "/" + d.name }

// set is what a commit says. It is not changed after it was made.
type set struct {
	commit    string
	documents []document // in the order in which they are applied
	failures  []api.GitFailure
	files     int
}

// readSet makes the set of a commit. What is wrong with it is in its failures.
func readSet(tree *repository.Tree, source *api.GitSource) *set {
	s := &set{commit: tree.Commit, files: tree.Files.Len()}
	folder := source.Spec.Path
	for _, name := range tree.Pointers {
		s.failures = append(s.failures, api.GitFailure{
			File: path.Join(folder, name), Message: "is kept with Git LFS, which is not supported: commit the file itself",
		})
	}
	if s.files == 0 && len(s.failures) == 0 {
		s.failures = append(s.failures, api.GitFailure{
			File: path.Join(folder, "."), Message: "there are no manifests (.yaml, .yml, .json); a commit without any is not applied, so that a mistake does not delete everything",
		})
		return s
	}
	resources, faults := manifest.ReadFS(tree.Files, ".")
	for _, f := range faults {
		s.failures = append(s.failures, failure(folder, f))
	}
	total := 0
	for _, r := range resources {
		d, fault := newDocument(r, applySetOf(source.Metadata.Name))
		if fault != nil {
			s.failures = append(s.failures, failure(folder, fault))
			continue
		}
		total += len(d.body)
		s.documents = append(s.documents, d)
	}
	if len(s.documents) > maxDocuments || total > maxPlanBytes {
		s.failures = append(s.failures, api.GitFailure{
			File: path.Join(folder, "."), Message: fmt.Sprintf("there are %d resources of %d bytes; a git source has at most %d of %d bytes: make several, each with its path", len(s.documents), total, maxDocuments, maxPlanBytes),
		})
	}
	if len(s.documents) == 0 && len(s.failures) == 0 {
		s.failures = append(s.failures, api.GitFailure{File: path.Join(folder, "."), Message: "the manifests have no resource in them"})
	}
	slices.SortStableFunc(s.documents, func(a, b document) int { return cmp.Compare(a.kind.Rank, b.kind.Rank) })
	return s
}

// newDocument labels a resource and takes out what ties a manifest to one
// moment of the store.
func newDocument(r manifest.Resource, applySet string) (document, *manifest.FileError) {
	kind, ok := api.KindNamed(r.Object.KindName())
	if !ok {
		return document{}, r.Error("/kind", "is unknown")
	}
	if err := applyset.Describable(kind); err != nil {
		return document{}, r.Error("/kind", err.Error())
	}
	if other := r.Object.Meta().Labels[applyset.Label]; other != "" && other != applySet {
		return document{}, r.Error("/metadata/labels/cyphonic~1applyset", fmt.Sprintf("is %q, but what this git source applies belongs to %q: leave the label out", other, applySet))
	}
	fields, err := decodeFields(r.Document)
	if err != nil {
		return document{}, r.Error("", err.Error())
	}
	metadata, ok := fields["metadata"].(map[string]any)
	if !ok {
		return document{}, r.Error("/metadata", "is missing")
	}
	delete(metadata, "resourceVersion")
	delete(metadata, "uid")
	body, err := json.Marshal(fields)
	if err == nil {
		body, err = applyset.WithLabel(body, applySet)
	}
	if err != nil {
		return document{}, r.Error("", err.Error())
	}
	return document{kind: kind, name: r.Object.Meta().Name, body: body, from: r}, nil
}

func decodeFields(text []byte) (map[string]any, error) {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	var fields map[string]any
	if err := decoder.Decode(&fields); err != nil {
		return nil, fmt.Errorf("not a JSON object: %w", err)
	}
	return fields, nil
}

func failure(folder string, f *manifest.FileError) api.GitFailure {
	return api.GitFailure{
		File: path.Join(folder, f.File), Line: f.Line, Resource: f.Resource, Pointer: f.Pointer, Message: clip(f.Detail),
	}
}

// clip bounds a message.
func clip(text string) string {
	if runes := []rune(text); len(runes) > maxMessage {
		return string(runes[:maxMessage]) + "…"
	}
	return text
}
