package repository

import (
	"bytes"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"
)

// Files is a file system in memory. It is complete when Read returns it and
// safe for concurrent use.
type Files struct {
	content map[string][]byte
	folders map[string][]fs.DirEntry // sorted by name
}

func newFiles() *Files {
	return &Files{content: map[string][]byte{}, folders: map[string][]fs.DirEntry{".": nil}}
}

// Len is the number of files.
func (f *Files) Len() int { return len(f.content) }

// add puts in a file whose folders may be new.
func (f *Files) add(name string, content []byte) {
	f.content[name] = content
	f.link(name, info{path.Base(name), int64(len(content)), 0o444})
}

func (f *Files) link(name string, i info) {
	folder := path.Dir(name)
	if _, known := f.folders[folder]; !known {
		f.folders[folder] = nil
		f.link(folder, info{path.Base(folder), 0, fs.ModeDir | 0o555})
	}
	at, _ := slices.BinarySearchFunc(f.folders[folder], i.name, func(e fs.DirEntry, name string) int { return strings.Compare(e.Name(), name) })
	f.folders[folder] = slices.Insert(f.folders[folder], at, fs.FileInfoToDirEntry(i))
}

// Open opens a file or folder for reading.
func (f *Files) Open(name string) (fs.File, error) {
	if !fs.ValidPath(name) {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrInvalid}
	}
	if content, ok := f.content[name]; ok {
		return &openFile{bytes.NewReader(content), info{path.Base(name), int64(len(content)), 0o444}}, nil
	}
	if entries, ok := f.folders[name]; ok {
		return &openFolder{entries, info{path.Base(name), 0, fs.ModeDir | 0o555}}, nil
	}
	return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
}

// info describes a file or folder.
type info struct {
	name string
	size int64
	mode fs.FileMode
}

func (i info) Name() string       { return i.name }
func (i info) Size() int64        { return i.size }
func (i info) Mode() fs.FileMode  { return i.mode }
func (i info) ModTime() time.Time { return time.Time{} }
func (i info) IsDir() bool        { return i.mode.IsDir() }
func (i info) Sys() any           { return nil }

type openFile struct {
	*bytes.Reader
	info info
}

func (o *openFile) Stat() (fs.FileInfo, error) { return o.info, nil }
func (o *openFile) Close() error               { return nil }

type openFolder struct {
	left []fs.DirEntry
	info info
}

func (o *openFolder) Stat() (fs.FileInfo, error) { return o.info, nil }
func (o *openFolder) Close() error               { return nil }

func (o *openFolder) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: o.info.name, Err: fs.ErrInvalid}
}

// ReadDir returns the next n entries, or all if n is not positive.
func (o *openFolder) ReadDir(n int) ([]fs.DirEntry, error) {
	if n <= 0 {
		n = len(o.left)
	} else if len(o.left) == 0 {
		return nil, io.EOF
	}
	n = min(n, len(o.left))
	entries := slices.Clone(o.left[:n])
	o.left = o.left[n:]
	return entries, nil
}
