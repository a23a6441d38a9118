package manifest

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// Read reads the documents of files, of the manifests in folders (recursive: and in theirs) and, for "-", of stdin. The resources are defaulted and valid, by
// themselves and together. Otherwise the error has every fault as a *FileError, joined; any other error is about the paths.
func Read(paths []string, recursive bool, stdin io.Reader) ([]Resource, error) {
	r := reader{}
	for _, name := range paths {
		if err := r.path(name, recursive, stdin); err != nil {
			return nil, err
		}
	}
	if len(r.resources) == 0 && len(r.faults) == 0 {
		return nil, &EmptyError{Paths: paths}
	}
	r.faults = append(r.faults, Check(r.resources)...)
	return r.resources, Join(r.bounded())
}

// EmptyError says that there is no resource where some were expected.
type EmptyError struct {
	Paths  []string // that have no resource together
	Folder string   // or the one that has not even a manifest
}

func (e *EmptyError) Error() string {
	if e.Folder != "" {
		return fmt.Sprintf("folder %s has no .yaml, .yml or .json file", e.Folder)
	}
	return "no resources in " + strings.Join(e.Paths, ", ")
}

// ReadFS reads the manifests of all folders of a file system below root, "." for all of it. Symbolic links are not followed. Files and folders whose names begin
// with a dot are passed over. The resources without a fault are returned in any case; what is wrong with the others, and with all of them together, is in the second
// result, which is empty if all is well.
func ReadFS(files fs.FS, root string) ([]Resource, []*FileError) {
	r := reader{}
	root = path.Clean(root)
	if info, err := fs.Stat(files, root); err != nil || !info.IsDir() {
		return nil, []*FileError{{File: root, Detail: "there is no such folder"}}
	}
	if err := r.folder(files, root, "", true); err != nil {
		r.fault(&FileError{File: root, Detail: err.Error()})
	}
	r.faults = append(r.faults, Check(r.resources)...)
	return r.resources, r.bounded()
}

// Join makes one error of the faults, nil of none.
func Join(faults []*FileError) error {
	all := make([]error, len(faults))
	for i, fault := range faults {
		all[i] = fault
	}
	return errors.Join(all...)
}

// reader collects what one reading finds.
type reader struct {
	resources []Resource
	faults    []*FileError
	files     int
	bytes     int64
	full      bool // a bound of the whole reading is reached; the fault says which
}

func (r *reader) fault(f *FileError) { r.faults = append(r.faults, f) }

// bounded leaves out faults beyond the bound and says so.
func (r *reader) bounded() []*FileError {
	if over := len(r.faults) - MaxFaults; over > 0 {
		return append(r.faults[:MaxFaults:MaxFaults], &FileError{File: r.faults[MaxFaults].File, Detail: fmt.Sprintf("%d more faults are left out", over)})
	}
	return r.faults
}

// path reads what one argument names.
func (r *reader) path(name string, recursive bool, stdin io.Reader) error {
	if name == "-" {
		return r.file("-", stdin)
	}
	info, err := os.Stat(name)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		file, err := os.Open(name)
		if err != nil {
			return err
		}
		defer file.Close()
		return r.file(name, file)
	}
	root, err := os.OpenRoot(name) // a symbolic link out of the folder cannot be opened
	if err != nil {
		return err
	}
	defer root.Close()
	before := r.files
	if err := r.folder(root.FS(), ".", name, recursive); err != nil {
		return err
	}
	if r.files == before && len(r.faults) == 0 {
		return &EmptyError{Folder: name}
	}
	return nil
}

// folder reads manifests in lexical order. Their names are shown below shown.
func (r *reader) folder(files fs.FS, root, shown string, recursive bool) error {
	return fs.WalkDir(files, root, func(name string, entry fs.DirEntry, err error) error {
		hidden := name != root && strings.HasPrefix(entry.Name(), ".")
		switch {
		case err != nil:
			return err
		case r.full:
			return fs.SkipAll
		case entry.IsDir() && name != root && (!recursive || hidden):
			return fs.SkipDir
		case entry.IsDir() && strings.Count(name, "/") > maxFolders:
			r.fault(&FileError{File: filepath.Join(shown, name), Detail: fmt.Sprintf("there are more than %d folders below one another", maxFolders)})
			return fs.SkipDir
		case entry.IsDir() || hidden || !slices.Contains([]string{".yaml", ".yml", ".json"}, path.Ext(name)):
			return nil
		}
		return r.entry(files, name, entry, filepath.Join(shown, name), shown != "")
	})
}

// entry reads one file of a folder. Symbolic links are followed only where the file system keeps them inside.
func (r *reader) entry(files fs.FS, name string, entry fs.DirEntry, shown string, followLinks bool) error {
	info, err := fs.Stat(files, name)
	switch {
	case !followLinks && entry.Type()&fs.ModeSymlink != 0:
		err = errors.New("is a symbolic link, which is not followed")
	case err == nil && !info.Mode().IsRegular():
		err = errors.New("is no regular file")
	}
	if err != nil {
		r.fault(&FileError{File: shown, Detail: reasonOf(err)})
		return nil
	}
	file, err := files.Open(name)
	if err != nil {
		r.fault(&FileError{File: shown, Detail: reasonOf(err)})
		return nil
	}
	defer file.Close()
	return r.file(shown, file)
}

// reasonOf leaves out what the fault says already.
func reasonOf(err error) string {
	var path *fs.PathError
	if errors.As(err, &path) {
		err = path.Err
	}
	return err.Error()
}

func (r *reader) file(name string, from io.Reader) error {
	r.files++
	if r.files > MaxFiles {
		return r.stop(name, "there are more than %d files: read fewer at a time", MaxFiles)
	}
	content, err := io.ReadAll(io.LimitReader(from, MaxFile+1))
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	r.bytes += int64(len(content))
	switch {
	case len(content) > MaxFile:
		r.fault(&FileError{File: name, Detail: fmt.Sprintf("is longer than %d bytes", MaxFile)})
		return nil
	case r.bytes > MaxBytes:
		return r.stop(name, "the files have more than %d bytes together: read fewer at a time", MaxBytes)
	}
	resources, faults := parse(name, content)
	r.resources = append(r.resources, resources...)
	r.faults = append(r.faults, faults...)
	if len(r.resources) > MaxResources {
		return r.stop(name, "there are more than %d resources: read fewer at a time", MaxResources)
	}
	return nil
}

// stop reports a bound of the whole reading, once.
func (r *reader) stop(file, format string, args ...any) error {
	if !r.full {
		r.fault(&FileError{File: file, Detail: fmt.Sprintf(format, args...)})
	}
	r.full = true
	return nil
}
