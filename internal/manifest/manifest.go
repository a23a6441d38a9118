// Package manifest reads resources from YAML and JSON: single files, folders, standard input and any fs.FS, such as the tree of a git commit. Every resource knows
// where it stands, and every fault names file, line, document and field.
//
// It knows files and documents. It must not speak to a manager, write anything, or hold rules about resources beyond asking package api for them.
package manifest

import (
	"fmt"
	"strings"

	"github.com/cyphonic/cyphonic/api"
)

// Resource is one resource of a manifest.
type Resource struct {
	Object api.Object // defaulted and valid
	// Document is the resource as JSON with the fields that the manifest has and no others, in canonical form, without status and what the manager writes: the body of
	// an apply. A resourceVersion or uid that the manifest has is in it, and makes the apply conditional.
	Document []byte
	Source   Source
}

// Name is the kind in lower case and the name, as in node/viewer.
func (r Resource) Name() string { return NameOf(r.Object) }

// Error makes a FileError of something that is wrong with a field of the resource; the empty pointer is the whole resource.
func (r Resource) Error(pointer, detail string) *FileError {
	return r.Source.fault(r.Name(), pointer, detail)
}

// NameOf is the kind in lower case and the name, as in node/viewer.
func NameOf(o api.Object) string { return strings.ToLower(o.KindName()) + "/" + o.Meta().Name }

// Source says where a resource stands.
type Source struct {
	File     string         // as it was given, or below the root of the file system; - for standard input
	Document int            // counted from 1 in the file
	lines    map[string]int // of each JSON pointer
}

// Line is the line of a field, or of the nearest field around it, counted from 1.
func (s Source) Line(pointer string) int {
	line, ok := s.lines[pointer]
	for !ok && pointer != "" {
		i := strings.LastIndexByte(pointer, '/')
		if i < 0 {
			return s.lines[""]
		}
		pointer = pointer[:i]
		line, ok = s.lines[pointer]
	}
	return line
}

// At is the place of a field for people: file, line and document.
func (s Source) At(pointer string) string {
	return fmt.Sprintf("%s:%d: document %d", s.File, s.Line(pointer), s.Document)
}

func (s Source) fault(resource, pointer, detail string) *FileError {
	return &FileError{File: s.File, Line: s.Line(pointer), Document: s.Document, Resource: resource, Pointer: pointer, Detail: detail}
}

// FileError is one fault of a manifest.
type FileError struct {
	File     string
	Line     int    // 0: not of a certain line
	Document int    // counted from 1 in the file; 0: the whole file
	Resource string // as in node/viewer, where it is known
	Pointer  string // JSON pointer of the field; empty: the whole document
	Detail   string // what is wrong and what would be right
}

// Error is as in cams.yaml:14: document 2, generalnode/cam2: /spec/mac: is missing.
func (e *FileError) Error() string {
	text := e.File
	if e.Line > 0 {
		text += fmt.Sprintf(":%d", e.Line)
	}
	if e.Document > 0 {
		text += fmt.Sprintf(": document %d", e.Document)
		if e.Resource != "" {
			text += ", " + e.Resource
		}
	}
	if e.Pointer != "" {
		text += ": " + e.Pointer
	}
	return text + ": " + e.Detail
}
