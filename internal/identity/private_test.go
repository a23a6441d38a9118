package identity

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestWhoMayReadASecret(t *testing.T) {
	pod := process{user: 65532, groups: []uint32{65532, 2000}}
	for name, row := range map[string]struct {
		process     process
		mode        fs.FileMode
		user, group uint32
		want        bool
	}{
		"own, of nobody else":         {pod, 0o600, 65532, 65532, true},
		"a Secret with fsGroup":       {pod, 0o440, 0, 2000, true},
		"own, with its group":         {pod, 0o640, 65532, 65532, true},
		"group of others":             {pod, 0o440, 0, 100, false},
		"group root":                  {pod, 0o440, 0, 0, false},
		"owned by another user":       {pod, 0o440, 1000, 2000, false},
		"group may write":             {pod, 0o460, 0, 2000, false},
		"group may only write":        {pod, 0o420, 0, 2000, false},
		"group may execute":           {pod, 0o450, 0, 2000, false},
		"everybody reads":             {pod, 0o444, 0, 2000, false},
		"others only":                 {pod, 0o404, 0, 2000, false},
		"root with its own group":     {process{0, []uint32{0}}, 0o440, 0, 0, false},
		"root, of nobody else":        {process{0, []uint32{0}}, 0o400, 0, 0, true},
		"root in a group of a secret": {process{0, []uint32{0, 2000}}, 0o440, 0, 2000, false},
	} {
		if got := row.process.mayTrust(row.mode, row.user, row.group); got != row.want {
			t.Errorf("%s: %v, want %v", name, got, row.want)
		}
	}
}

// The rule must meet the owner that the system says, not only numbers of a test.
func TestCheckPrivateAsksTheSystem(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for mode, want := range map[fs.FileMode]bool{0o600: true, 0o400: true, 0o440: os.Geteuid() != 0, 0o604: false, 0o660: false} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if err := CheckPrivate(path); (err == nil) != want {
			t.Errorf("mode %04o: %v", mode, err)
		}
	}
	if CheckPrivate(path+".missing") == nil {
		t.Error("a file that is not there is private")
	}
}
