package identity

import (
	"fmt"
	"io/fs"
	"os"
	"slices"
	"syscall"
)

// process is who opens a file.
type process struct {
	user   uint32
	groups []uint32
}

// CheckPrivate refuses a file that others can read or write. A process that is not root may share the reading with a
// group of its own, if the file is root's or its own: Kubernetes gives the files of a Secret to root and to the fsGroup
// of the pod, with mode 0440, and to nobody else.
func CheckPrivate(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	self := process{user: uint32(os.Geteuid()), groups: []uint32{uint32(os.Getegid())}}
	groups, err := os.Getgroups()
	if err != nil {
		return fmt.Errorf("find the groups of the process: %w", err)
	}
	for _, group := range groups {
		self.groups = append(self.groups, uint32(group))
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !self.mayTrust(info.Mode().Perm(), owner.Uid, owner.Gid) {
		return fmt.Errorf("%s is accessible to others (mode %04o): chmod 600 it", path, info.Mode().Perm())
	}
	return nil
}

// mayTrust says whether nobody that the process need not trust has access to a file.
func (p process) mayTrust(mode fs.FileMode, user, group uint32) bool {
	switch mode & 0o077 {
	case 0:
		return true
	case 0o040:
		return p.user != 0 && (user == 0 || user == p.user) && slices.Contains(p.groups, group)
	}
	return false
}
