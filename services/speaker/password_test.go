package speaker

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestPasswordsComeFromRegularFilesThatAreClosedToOthers(t *testing.T) {
	folder := t.TempDir()
	in := func(name string) string { return filepath.Join(folder, name) }
	if err := syscall.Mkfifo(in("fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(in("folder"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{"device": "/dev/zero", "link": in("good")} {
		if err := os.Symlink(target, in(name)); err != nil {
			t.Fatal(err)
		}
	}
	for _, row := range []struct {
		name, content string
		mode          os.FileMode
		want, fault   string
	}{
		{"good", "secret\n", 0o640, "secret", ""},
		{"link", "", 0, "secret", ""}, // as Kubernetes mounts them
		{"longest", strings.Repeat("a", maxPassword), 0o600, strings.Repeat("a", maxPassword), ""},
		{"too long", strings.Repeat("a", maxPassword+1), 0o600, "", "1 to 80 bytes"},
		{"huge", strings.Repeat("a", 1<<20), 0o600, "", "1 to 80 bytes"},
		{"empty", "\n", 0o600, "", "1 to 80 bytes"},
		{"read by others", "secret", 0o644, "", "0644"},
		{"written by the group", "secret", 0o660, "", "0660"},
		{"fifo", "", 0, "", "regular"},
		{"folder", "", 0, "", "regular"},
		{"device", "", 0, "", "regular"},
		{"../good", "", 0, "", "name of a file"},
		{"none", "", 0, "", "no such file"},
	} {
		if row.content != "" {
			if err := os.WriteFile(in(row.name), []byte(row.content), row.mode); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(in(row.name), row.mode); err != nil {
				t.Fatal(err)
			}
		}
		got, err := readPassword(folder, row.name)
		if string(got) != row.want || (err == nil) != (row.fault == "") || err != nil && !strings.Contains(err.Error(), row.fault) {
			t.Errorf("%s: %q, %v, want %q, %q", row.name, string(got), err, row.want, row.fault)
		}
	}
}
