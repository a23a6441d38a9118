package ctl

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// newFile is a file that must not exist yet.
type newFile struct {
	name    string // below the directory, with /
	mode    fs.FileMode
	content []byte
}

func (f newFile) path(directory string) string {
	return filepath.Join(directory, filepath.FromSlash(f.name))
}

// writeNew writes all files or, if one exists or cannot be written, none.
func writeNew(directory string, files []newFile) error {
	existing, err := existingFiles(directory, files)
	if err != nil {
		return err
	}
	if len(existing) > 0 {
		return fmt.Errorf("nothing was written because it would overwrite %s: choose another --directory or move them away", strings.Join(existing, ", "))
	}
	for i, file := range files {
		if err := file.write(directory); err != nil {
			for _, written := range files[:i] {
				err = errors.Join(err, os.Remove(written.path(directory)))
			}
			return err
		}
	}
	return nil
}

func existingFiles(directory string, files []newFile) (existing []string, err error) {
	for _, file := range files {
		switch _, err := os.Lstat(file.path(directory)); {
		case err == nil:
			existing = append(existing, file.path(directory))
		case !errors.Is(err, fs.ErrNotExist):
			return nil, fmt.Errorf("nothing was written: %w: choose another --directory", err)
		}
	}
	return existing, nil
}

func (f newFile) write(directory string) error {
	path := f.path(directory)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	out, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, f.mode)
	if err != nil {
		return err
	}
	_, err = out.Write(f.content)
	if err = errors.Join(err, out.Sync(), out.Close()); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}
