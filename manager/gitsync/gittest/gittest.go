// Package gittest runs real git servers on loopback for tests: git's own
// http-backend behind TLS, and git-upload-pack behind ssh. It must only be
// imported by tests.
package gittest

import (
	"crypto/subtle"
	"encoding/pem"
	"io"
	"log"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

// Name of the repository and of its branch.
const (
	Repository = "fleet.git"
	Branch     = "main"
)

// Server is a repository behind https.
type Server struct {
	t        testing.TB
	https    *httptest.Server
	folder   string // of the work tree
	projects string // folder of the bare repository
	program  string // git http-backend

	password atomic.Pointer[string] // user "git"; empty: nobody is asked
	away     atomic.Bool
	requests atomic.Int64
}

// Start makes an empty repository and serves it until the test ends.
func Start(t testing.TB) *Server {
	t.Helper()
	s := &Server{t: t, folder: filepath.Join(t.TempDir(), "work"), projects: t.TempDir()}
	s.program = filepath.Join(strings.TrimSpace(run(t, "", "--exec-path")), "git-http-backend")
	if _, err := os.Stat(s.program); err != nil {
		t.Fatalf("%v (apt-get install git)", err)
	}
	run(t, "", "init", "--quiet", "--bare", "--initial-branch="+Branch, filepath.Join(s.projects, Repository))
	run(t, "", "init", "--quiet", "--initial-branch="+Branch, s.folder)
	run(t, s.folder, "remote", "add", "origin", filepath.Join(s.projects, Repository))
	s.SetPassword("")
	s.https = httptest.NewUnstartedServer(http.HandlerFunc(s.serve))
	s.https.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.https.StartTLS()
	t.Cleanup(s.https.Close)
	return s
}

// URL is what a GitSource names.
func (s *Server) URL() string { return s.https.URL + "/" + Repository }

// CA is the certificate to trust, in PEM.
func (s *Server) CA() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.https.Certificate().Raw})
}

// SetPassword demands the user git with this password; "" demands nothing.
func (s *Server) SetPassword(password string) { s.password.Store(&password) }

// SetAway makes the server fail (true) or work again.
func (s *Server) SetAway(away bool) { s.away.Store(away) }

// Requests counts what has been asked.
func (s *Server) Requests() int64 { return s.requests.Load() }

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	s.requests.Add(1)
	if s.away.Load() {
		http.Error(w, "the server is being repaired", http.StatusBadGateway)
		return
	}
	if want := *s.password.Load(); want != "" {
		user, got, _ := r.BasicAuth()
		if user != "git" || subtle.ConstantTimeCompare([]byte(got), []byte(want)) != 1 {
			// A rude server repeats what it was told.
			w.Header().Set("WWW-Authenticate", `Basic realm="git"`)
			http.Error(w, "wrong password: "+got, http.StatusUnauthorized)
			return
		}
	}
	backend := &cgi.Handler{Path: s.program, Root: "/", Dir: s.projects, Env: append(environment(),
		"GIT_PROJECT_ROOT="+s.projects, "GIT_HTTP_EXPORT_ALL=1", "REMOTE_USER=git"), Stderr: io.Discard}
	backend.ServeHTTP(w, r)
}

// Write puts a file into the work tree.
func (s *Server) Write(name, content string) {
	s.t.Helper()
	path := filepath.Join(s.folder, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// Link puts a symbolic link into the work tree.
func (s *Server) Link(name, target string) {
	s.t.Helper()
	if err := os.Symlink(target, filepath.Join(s.folder, name)); err != nil {
		s.t.Fatal(err)
	}
}

// Remove takes a file or folder out of the work tree.
func (s *Server) Remove(name string) {
	s.t.Helper()
	if err := os.RemoveAll(filepath.Join(s.folder, name)); err != nil {
		s.t.Fatal(err)
	}
}

// Commit commits the work tree, pushes it and returns the commit.
func (s *Server) Commit() string {
	s.t.Helper()
	s.Git("add", "--all")
	s.Git("commit", "--quiet", "--allow-empty", "--message", "change")
	return s.push()
}

// Rewrite replaces the last commit by the work tree: a force push.
func (s *Server) Rewrite() string {
	s.t.Helper()
	s.Git("add", "--all")
	s.Git("commit", "--quiet", "--allow-empty", "--amend", "--message", "another history")
	return s.push()
}

// CommitTree makes a commit of a tree object as it is, with what git itself
// would refuse to add, and pushes it.
func (s *Server) CommitTree(tree string) string {
	s.t.Helper()
	commit := strings.TrimSpace(s.Git("commit-tree", "-m", "hostile", tree))
	s.Git("update-ref", "refs/heads/"+Branch, commit)
	return s.push()
}

func (s *Server) push() string {
	s.t.Helper()
	s.Git("push", "--quiet", "--force", "origin", Branch)
	return strings.TrimSpace(s.Git("rev-parse", "HEAD"))
}

// Git runs git in the work tree and returns what it prints.
func (s *Server) Git(args ...string) string {
	s.t.Helper()
	return run(s.t, s.folder, args...)
}

// GitInput runs git with an input.
func (s *Server) GitInput(input string, args ...string) string {
	s.t.Helper()
	return runInput(s.t, s.folder, input, args...)
}

func run(t testing.TB, folder string, args ...string) string {
	t.Helper()
	return runInput(t, folder, "", args...)
}

func runInput(t testing.TB, folder, input string, args ...string) string {
	t.Helper()
	command := exec.Command("git", args...)
	command.Dir, command.Env, command.Stdin = folder, environment(), strings.NewReader(input)
	out, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("git %s: %v: %s (is git installed? apt-get install git)", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// environment keeps the user's own configuration out.
func environment() []string {
	return []string{
		"PATH=" + os.Getenv("PATH"), "HOME=/nonexistent", "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null",
		"GIT_AUTHOR_NAME=author", "GIT_AUTHOR_EMAIL=author@example.org", "GIT_COMMITTER_NAME=author", "GIT_COMMITTER_EMAIL=author@example.org",
	}
}

// Secret writes a folder of credentials and returns the secrets directory.
func Secret(t testing.TB, name string, files map[string]string) (directory string) {
	t.Helper()
	directory = t.TempDir()
	if err := os.Mkdir(filepath.Join(directory, name), 0o700); err != nil {
		t.Fatal(err)
	}
	for file, content := range files {
		if err := os.WriteFile(filepath.Join(directory, name, file), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return directory
}
