package overlay

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Programs is a directory with the built programs.
type Programs struct {
	directory string
}

// programNames are what a directory must hold.
func programNames() []string {
	return []string{"cyphonicd", "cyphonic-node", "cyphonic-adapter", "cyphonicctl", "cyphonic-lab"}
}

// FindPrograms checks that a directory holds all programs.
func FindPrograms(directory string) (Programs, error) {
	directory, err := filepath.Abs(directory)
	if err != nil {
		return Programs{}, err
	}
	for _, name := range programNames() {
		if info, err := os.Stat(filepath.Join(directory, name)); err != nil || info.Mode()&0o111 == 0 {
			return Programs{}, fmt.Errorf("no program %s in %s: run make build", name, directory)
		}
	}
	return Programs{directory: directory}, nil
}

// BuildPrograms builds the programs of the module around the current directory into a directory.
func BuildPrograms(ctx context.Context, directory string, flags ...string) (Programs, error) {
	args := append([]string{"build", "-buildvcs=false", "-o", directory + "/"}, flags...)
	for _, name := range programNames() {
		args = append(args, "github.com/cyphonic/cyphonic/cmd/"+name)
	}
	if out, err := exec.CommandContext(ctx, "go", args...).CombinedOutput(); err != nil {
		return Programs{}, fmt.Errorf("build the programs: %w\n%s", err, strings.TrimSpace(string(out)))
	}
	return FindPrograms(directory)
}

// Path of a program.
func (p Programs) Path(name string) string { return filepath.Join(p.directory, name) }
