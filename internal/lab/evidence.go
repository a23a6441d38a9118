package lab

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// KeepEvidence copies logs and packet rings to directory, replacing what an earlier failure left there.
func (l *Lab) KeepEvidence(directory string) error {
	if err := os.RemoveAll(directory); err != nil {
		return err
	}
	err := os.MkdirAll(directory, 0o755)
	for _, part := range []string{"logs", "captures"} {
		err = errors.Join(err, os.CopyFS(filepath.Join(directory, part), keptFiles(filepath.Join(l.run.Directory, part))))
	}
	return err
}

// keptFiles hides the captures that hold whole packets: evidence must stay small enough to be read and sent around.
func keptFiles(directory string) fs.FS { return smallFiles{os.DirFS(directory)} }

type smallFiles struct{ fs.FS }

// ReadDir implements fs.ReadDirFS.
func (s smallFiles) ReadDir(name string) ([]fs.DirEntry, error) {
	entries, err := fs.ReadDir(s.FS, name)
	kept := entries[:0]
	for _, entry := range entries {
		info, infoErr := entry.Info()
		if infoErr == nil && (info.IsDir() || info.Size() <= 2*ringFileMegabytes<<20) {
			kept = append(kept, entry)
		}
	}
	return kept, err
}

// DumpGoroutines makes the running Go programs among names print all goroutines into their logs, which ends them
// (SIGQUIT). For the end of a failed suite, before KeepEvidence.
func (l *Lab) DumpGoroutines(names ...string) {
	for _, p := range l.Processes() {
		for _, name := range names {
			if p.Name == name && p.Signal(syscall.SIGQUIT) == nil {
				select {
				case <-p.Done():
				case <-time.After(terminateGrace):
				}
			}
		}
	}
}

// Test is the part of testing.TB that OnFailure needs; programs that use the lab do not link the testing package.
type Test interface {
	Helper()
	Cleanup(func())
	Failed() bool
	Name() string
	Errorf(format string, args ...any)
	Logf(format string, args ...any)
}

// OnFailure keeps evidence in root/<test name> if the test fails.
func (l *Lab) OnFailure(t Test, root string) {
	t.Helper()
	t.Cleanup(func() {
		if !t.Failed() {
			return
		}
		directory := filepath.Join(root, strings.ReplaceAll(t.Name(), "/", "_"))
		if err := l.KeepEvidence(directory); err != nil {
			t.Errorf("keep evidence: %v", err)
			return
		}
		t.Logf("evidence is in %s", directory)
	})
}
