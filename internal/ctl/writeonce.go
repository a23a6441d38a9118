package ctl

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// writeOnce makes a file of mode 0600 that must not exist. It appears under its name only when all of it has been written; else nothing is left behind.
func writeOnce(file string, write func(io.Writer) error) error {
	switch _, err := os.Lstat(file); {
	case err == nil:
		return &usageError{fmt.Errorf("%s exists and is not overwritten: choose another file", file)}
	case !errors.Is(err, fs.ErrNotExist):
		return &usageError{err}
	}
	temporary, err := os.CreateTemp(filepath.Dir(file), "."+filepath.Base(file)+".part-*") // mode 0600
	if err != nil {
		return &usageError{err}
	}
	err = write(temporary)
	err = errors.Join(err, temporary.Sync(), temporary.Close())
	if err == nil {
		if err = os.Link(temporary.Name(), file); errors.Is(err, fs.ErrExist) { // unlike a renaming, it overwrites nothing
			err = &usageError{fmt.Errorf("%s exists meanwhile and is not overwritten: choose another file", file)}
		}
	}
	return errors.Join(err, os.Remove(temporary.Name()))
}
