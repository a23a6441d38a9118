package repository

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/cyphonic/cyphonic/manager/gitsync/gittest"
)

// sourceOf reads the server with the right credentials.
func sourceOf(t *testing.T, s *gittest.Server, more map[string]string) Source {
	t.Helper()
	files := map[string]string{fileCA: string(s.CA()), fileHosts: "git.example.org\n127.0.0.1\n"}
	for name, content := range more {
		files[name] = content
	}
	return Source{URL: s.URL(), Branch: gittest.Branch, SecretsDirectory: gittest.Secret(t, "fleet", files), SecretName: "fleet"}
}

func read(t *testing.T, source Source, limits bounds) (*Tree, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	session, err := open(ctx, source, limits)
	if err != nil {
		return nil, err
	}
	defer session.Close()
	return session.Read(ctx, session.Head())
}

func mustRead(t *testing.T, source Source) *Tree {
	t.Helper()
	tree, err := read(t, source, standardBounds())
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

func namesOf(t *testing.T, f *Files) []string {
	t.Helper()
	var names []string
	err := fs.WalkDir(f, ".", func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			names = append(names, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestReadsTheManifestsOfTheHead(t *testing.T) {
	s := gittest.Start(t)
	s.Write("fleet/hall-1/a.yaml", "a")
	s.Write("fleet/b.json", "b")
	s.Write("fleet/.hidden.yaml", "hidden")
	s.Write("fleet/README.md", "text")
	s.Write("fleet/large.yml", "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n")
	s.Write(".github/workflows/ci.yaml", "jobs: {}")
	s.Write("other/c.yaml", "c")
	s.Link("fleet/link.yaml", "/etc/passwd")
	first := s.Commit()
	s.Write("fleet/b.json", strings.Repeat("b", 10_000))
	s.Write("fleet/d.json", strings.Repeat("b", 9_999)+"d") // a delta in the pack
	second := s.Commit()
	source := sourceOf(t, s, nil)
	tree := mustRead(t, source)
	if tree.Commit != second || first == second {
		t.Fatalf("read %s, the head is %s", tree.Commit, second)
	}
	want := []string{"fleet/b.json", "fleet/d.json", "fleet/hall-1/a.yaml", "other/c.yaml"}
	if got := namesOf(t, tree.Files); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if !slices.Equal(tree.Pointers, []string{"fleet/large.yml"}) {
		t.Errorf("pointers of LFS: %v", tree.Pointers)
	}
	if err := fstest.TestFS(tree.Files, want...); err != nil {
		t.Error(err)
	}
	source.Path = "/fleet/hall-1/"
	tree = mustRead(t, source)
	if got := namesOf(t, tree.Files); !slices.Equal(got, []string{"a.yaml"}) {
		t.Errorf("below the path: %v", got)
	}
	if content, err := fs.ReadFile(tree.Files, "a.yaml"); err != nil || string(content) != "a" {
		t.Errorf("%q %v", content, err)
	}
}

func TestAForcePushIsFollowed(t *testing.T) {
	s := gittest.Start(t)
	s.Write("a.yaml", "one")
	s.Commit()
	source := sourceOf(t, s, nil)
	mustRead(t, source)
	s.Write("a.yaml", "two")
	rewritten := s.Rewrite()
	tree := mustRead(t, source)
	content, err := fs.ReadFile(tree.Files, "a.yaml")
	if err != nil || string(content) != "two" || tree.Commit != rewritten {
		t.Errorf("%s: %q %v", tree.Commit, content, err)
	}
}

func TestCredentials(t *testing.T) {
	s := gittest.Start(t)
	s.Write("a.yaml", "a")
	s.Commit()
	s.SetPassword("first-secret")
	source := sourceOf(t, s, map[string]string{filePassword: "first-secret\n"})
	mustRead(t, source)
	s.SetPassword("second-secret")
	_, err := read(t, source, standardBounds())
	if ReasonOf(err) != ReasonCredentials || strings.Contains(err.Error(), "first-secret") {
		t.Fatalf("the rotated password: %v (%s)", err, ReasonOf(err))
	}
	if err := os.WriteFile(filepath.Join(source.SecretsDirectory, "fleet", filePassword), []byte("second-secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	mustRead(t, source)
	if err := os.Chmod(filepath.Join(source.SecretsDirectory, "fleet", filePassword), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := read(t, source, standardBounds()); ReasonOf(err) != ReasonCredentials {
		t.Errorf("a password that everybody can read: %v", err)
	}
	if text := fmt.Sprintf("%v %+v %#v", secret{password: "x-y-z"}, secret{password: "x-y-z"}, secret{password: "x-y-z"}); strings.Contains(text, "x-y-z") {
		t.Errorf("a secret prints itself: %s", text)
	}
}

func TestOtherCertificatesAreNotTrusted(t *testing.T) {
	s := gittest.Start(t)
	s.Write("a.yaml", "a")
	s.Commit()
	source := sourceOf(t, s, nil)
	source.SecretName, source.SecretsDirectory = "", ""
	if _, err := read(t, source, standardBounds()); ReasonOf(err) != ReasonCertificate {
		t.Errorf("%v (%s)", err, ReasonOf(err))
	}
}

func TestSSH(t *testing.T) {
	s := gittest.Start(t)
	s.Write("a.yaml", "a")
	commit := s.Commit()
	h := s.StartSSH()
	cases := []struct {
		name   string
		url    string
		files  map[string]string
		reason string
	}{
		{"good", h.URL(), map[string]string{fileIdentity: h.Identity, fileKnownHosts: h.KnownHosts}, ""},
		{"without known hosts", h.URL(), map[string]string{fileIdentity: h.Identity}, ReasonCredentials},
		{"without identity", h.URL(), map[string]string{fileKnownHosts: h.KnownHosts}, ReasonCredentials},
		{"identity is no key", h.URL(), map[string]string{fileIdentity: "text", fileKnownHosts: h.KnownHosts}, ReasonCredentials},
		{"another key of the server", h.URL(), map[string]string{fileIdentity: h.Identity, fileKnownHosts: h.OtherKnownHosts()}, ReasonHostKey},
		{"another server", h.URL(), map[string]string{fileIdentity: h.Identity, fileKnownHosts: "example.org " + strings.SplitN(h.KnownHosts, " ", 2)[1]}, ReasonHostKey},
		{"a key that is not let in", h.URL(), map[string]string{fileIdentity: h.OtherIdentity(), fileKnownHosts: h.KnownHosts}, ReasonCredentials},
		{"no such repository", strings.Replace(h.URL(), "fleet", "flee", 1), map[string]string{fileIdentity: h.Identity, fileKnownHosts: h.KnownHosts}, ReasonNotFound},
	}
	for _, k := range cases {
		t.Run(k.name, func(t *testing.T) {
			source := Source{URL: k.url, Branch: gittest.Branch, SecretsDirectory: gittest.Secret(t, "fleet", k.files), SecretName: "fleet"}
			tree, err := read(t, source, standardBounds())
			switch {
			case k.reason == "" && err != nil:
				t.Fatal(err)
			case k.reason == "" && (tree.Commit != commit || tree.Files.Len() != 1):
				t.Errorf("read %+v", tree)
			case k.reason != "" && ReasonOf(err) != k.reason:
				t.Errorf("%v (%s), want %s", err, ReasonOf(err), k.reason)
			}
		})
	}
}

func TestRefusedSources(t *testing.T) {
	s := gittest.Start(t)
	s.Write("a.yaml", "a")
	s.Commit()
	good := sourceOf(t, s, nil)
	host := strings.TrimSuffix(strings.TrimPrefix(s.URL(), "https://"), "/"+gittest.Repository)
	cases := []struct {
		name   string
		change func(*Source)
		reason string
	}{
		{"file", func(s *Source) { s.URL = "file:///etc" }, ReasonInvalidURL},
		{"path", func(s *Source) { s.URL = "/etc" }, ReasonInvalidURL},
		{"short form without key", func(s *Source) { s.URL = "git@example.org:fleet.git" }, ReasonCredentials},
		{"short form with a password", func(s *Source) { s.URL = "git:hunter2@example.org:fleet.git" }, ReasonInvalidURL},
		{"http of another host", func(s *Source) { s.URL = "http://192.0.2.1/fleet.git" }, ReasonInvalidURL},
		{"git protocol", func(s *Source) { s.URL = "git://127.0.0.1/fleet.git" }, ReasonInvalidURL},
		{"ext", func(s *Source) { s.URL = "ext::sh -c id" }, ReasonInvalidURL},
		{"password in the url", func(s *Source) { s.URL = "https://git:hunter2@example.org/fleet.git" }, ReasonInvalidURL},
		{"password in a broken url", func(s *Source) { s.URL = "https://git:hunter2@exa mple.org/%zz" }, ReasonInvalidURL},
		{"no repository", func(s *Source) { s.URL = "https://example.org/" }, ReasonInvalidURL},
		{"unknown repository", func(s *Source) { s.URL += "x" }, ReasonNotFound},
		{"unknown branch", func(s *Source) { s.Branch = "other" }, ReasonNotFound},
		{"unknown path", func(s *Source) { s.Path = "none" }, ReasonNotFound},
		{"path outside", func(s *Source) { s.Path = "../../etc" }, ReasonNotFound},
		{"path that is a file", func(s *Source) { s.Path = "a.yaml" }, ReasonNotFound},
		{"secret outside", func(s *Source) { s.SecretName = "../fleet" }, ReasonCredentials},
		{"secret that is the folder itself", func(s *Source) { s.SecretName = "." }, ReasonCredentials},
		{"unknown secret", func(s *Source) { s.SecretName = "none" }, ReasonCredentials},
		{"no secrets directory", func(s *Source) { s.SecretsDirectory = "" }, ReasonCredentials},
		{"nobody listens", func(s *Source) { s.URL = "https://127.0.0.1:1/fleet.git" }, ReasonUnreachable},
		{"plain http to a TLS server", func(s *Source) { s.URL = "http://" + host + "/fleet.git" }, ReasonUnreachable},
	}
	for _, k := range cases {
		t.Run(k.name, func(t *testing.T) {
			source := good
			k.change(&source)
			_, err := read(t, source, standardBounds())
			if err == nil || ReasonOf(err) != k.reason {
				t.Fatalf("%v (%s), want %s", err, ReasonOf(err), k.reason)
			}
			if strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "\n") {
				t.Errorf("the error is %q", err)
			}
		})
	}
	if err := os.Symlink("/etc", filepath.Join(good.SecretsDirectory, "outside")); err != nil {
		t.Fatal(err)
	}
	good.SecretName = "outside"
	if _, err := read(t, good, standardBounds()); ReasonOf(err) != ReasonCredentials {
		t.Errorf("a link out of the secrets directory: %v", err)
	}
	s.SetAway(true)
	good.SecretName = "fleet"
	if _, err := read(t, good, standardBounds()); ReasonOf(err) != ReasonUnreachable {
		t.Errorf("a server that is away: %v (%s)", err, ReasonOf(err))
	}
}
