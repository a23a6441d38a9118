package repository

import (
	"io"
	"path"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/storage/memory"
)

// Tree is the manifests of one commit: regular files that end with .yaml,
// .yml or .json, below the path of the source. Names that begin with a dot,
// symbolic links and submodules are not in it.
type Tree struct {
	Commit string
	Time   time.Time // of the commit, as its author's machine says
	Files  *Files
	// Pointers are manifests that are kept with Git LFS: only a pointer to
	// them is in the repository.
	Pointers []string
}

// walk reads one tree within the bounds.
type walk struct {
	objects *memory.Storage
	limits  bounds
	tree    *Tree
	visited int
	bytes   int64
}

func readTree(objects *memory.Storage, commit plumbing.Hash, folders []string, limits bounds) (*Tree, error) {
	c, err := object.GetCommit(objects, commit)
	if err != nil {
		return nil, faultf(ReasonHostile, "the server did not send the commit %s", commit)
	}
	w := &walk{objects: objects, limits: limits, tree: &Tree{Commit: commit.String(), Time: c.Author.When, Files: newFiles()}}
	at := c.TreeHash
	for _, folder := range folders {
		if at, err = w.enter(at, folder); err != nil {
			return nil, err
		}
	}
	return w.tree, w.folder(at, ".", 0)
}

// enter finds a folder in a folder.
func (w *walk) enter(at plumbing.Hash, name string) (plumbing.Hash, error) {
	folder, err := object.GetTree(w.objects, at)
	if err != nil {
		return at, malformed(err)
	}
	i := slices.IndexFunc(folder.Entries, func(e object.TreeEntry) bool { return e.Name == name })
	if i < 0 || folder.Entries[i].Mode != filemode.Dir {
		return at, faultf(ReasonNotFound, "the commit has no folder %q", clean(name))
	}
	return folder.Entries[i].Hash, nil
}

func (w *walk) folder(at plumbing.Hash, name string, depth int) error {
	if depth > w.limits.depth {
		return faultf(ReasonTooLarge, "folders are nested more than %d deep", w.limits.depth)
	}
	folder, err := object.GetTree(w.objects, at)
	if err != nil {
		return malformed(err)
	}
	seen := make(map[string]bool, len(folder.Entries))
	for _, entry := range folder.Entries {
		if w.visited++; w.visited > w.limits.visited {
			return faultf(ReasonTooLarge, "the commit names more than %d files and folders", w.limits.visited)
		}
		if !harmless(entry.Name) || seen[entry.Name] {
			return faultf(ReasonHostile, "the commit has a file or folder that must not be named %q", clean(path.Join(name, entry.Name)))
		}
		seen[entry.Name] = true
		full := path.Join(name, entry.Name)
		switch {
		case strings.HasPrefix(entry.Name, "."):
		case entry.Mode == filemode.Dir:
			err = w.folder(entry.Hash, full, depth+1)
		case entry.Mode.IsRegular() || entry.Mode == filemode.Executable:
			err = w.file(entry.Hash, full)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// harmless names stand for a file in this folder on every system.
func harmless(name string) bool {
	return name != "" && name != "." && name != ".." && !strings.EqualFold(name, ".git") && utf8.ValidString(name) &&
		!strings.ContainsAny(name, `/\`) && !strings.ContainsFunc(name, unicode.IsControl)
}

func (w *walk) file(at plumbing.Hash, name string) error {
	if !slices.Contains([]string{".yaml", ".yml", ".json"}, path.Ext(name)) {
		return nil
	}
	blob, err := object.GetBlob(w.objects, at)
	if err != nil {
		return malformed(err)
	}
	if w.bytes += blob.Size; w.bytes > w.limits.fileBytes || len(w.tree.Files.content) >= w.limits.maxFile {
		return faultf(ReasonTooLarge, "there are more than %d manifests, or they are longer than %d MiB together", w.limits.maxFile, w.limits.fileBytes>>20)
	}
	r, err := blob.Reader()
	if err != nil {
		return malformed(err)
	}
	defer r.Close()
	content, err := io.ReadAll(r)
	if err != nil {
		return malformed(err)
	}
	if strings.HasPrefix(string(content[:min(len(content), len(lfsPointerBegins))]), lfsPointerBegins) {
		w.tree.Pointers = append(w.tree.Pointers, name)
		return nil
	}
	w.tree.Files.add(name, content)
	return nil
}

func malformed(err error) error {
	return faultf(ReasonHostile, "the commit is malformed: %s", clean(err.Error()))
}
