package api

import (
	"net/netip"
	"net/url"
	"path"
	"regexp"
	"strings"
)

// Bounds of a git source.
const (
	MinGitIntervalSeconds     = 10
	MaxGitIntervalSeconds     = 24 * 3600
	DefaultGitIntervalSeconds = 60
	MaxGitDeletions           = 1_000_000
	DefaultGitDeletions       = 10
	DefaultGitBranch          = "main"
	MaxGitFailures            = 50
	maxGitURL                 = 1024
	maxGitBranch              = 255
)

func (*GitSource) KindName() string     { return "GitSource" }
func (g *GitSource) Meta() *ObjectMeta  { return &g.Metadata }
func (g *GitSource) SetType()           { g.ApiVersion, g.Kind = Version, g.KindName() }
func (g *GitSource) SpecPart() any      { return &g.Spec }
func (g *GitSource) StatusPart() any    { return &g.Status }
func (g *GitSource) SetStatus(o Object) { g.Status = o.(*GitSource).Status }

// References returns the role.
func (g *GitSource) References() []Reference {
	return []Reference{{"Role", g.Spec.Role, "/spec/role"}}
}

// Default chooses branch, interval and the guard against deletions.
func (g *GitSource) Default() {
	if g.Spec.Branch == "" {
		g.Spec.Branch = DefaultGitBranch
	}
	if g.Spec.IntervalSeconds == 0 {
		g.Spec.IntervalSeconds = DefaultGitIntervalSeconds
	}
	if g.Spec.MaxDeletions == 0 {
		g.Spec.MaxDeletions = DefaultGitDeletions
	}
}

// Validate checks where the repository is and how it is followed.
func (g *GitSource) Validate() FieldErrors {
	var found faults
	validateEnvelope(g, g.ApiVersion, g.Kind, &found)
	validateGitURL(g.Spec.Url, &found)
	if !validBranch(g.Spec.Branch) {
		found.add("/spec/branch", "is %s, must be the name of a branch", show(g.Spec.Branch))
	}
	if p := g.Spec.Path; p != "" && (path.Clean(p) != p || path.IsAbs(p) || p == ".." || strings.HasPrefix(p, "../") || len(p) > maxGitURL) {
		found.add("/spec/path", "is %s, must be a clean path below the root of the repository, as in clusters/hall-1", show(p))
	}
	if s := g.Spec.IntervalSeconds; s < MinGitIntervalSeconds || s > MaxGitIntervalSeconds {
		found.add("/spec/intervalSeconds", "is %d, must be within %d … %d", s, MinGitIntervalSeconds, MaxGitIntervalSeconds)
	}
	if n := g.Spec.MaxDeletions; n < 1 || n > MaxGitDeletions {
		found.add("/spec/maxDeletions", "is %d, must be within 1 … %d", n, MaxGitDeletions)
	}
	if g.Spec.SecretName != "" {
		requireName(g.Spec.SecretName, "/spec/secretName", &found)
	}
	requireName(g.Spec.Role, "/spec/role", &found)
	validateConditions(g.Status.Conditions, &found)
	return found.list
}

// scpLike is the short form of ssh addresses: user@host:path.
var scpLike = regexp.MustCompile(`^[A-Za-z0-9._-]+@[A-Za-z0-9.-]+:[^:\s]+$`)

func validateGitURL(text string, found *faults) {
	const at = pointer("/spec/url")
	if text == "" || len(text) > maxGitURL {
		found.add(at, "is %d bytes long, must be 1 … %d", len(text), maxGitURL)
		return
	}
	if !strings.Contains(text, "://") && scpLike.MatchString(text) {
		return
	}
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || strings.Trim(u.Path, "/") == "":
		found.add(at, "must be an address as in https://git.example.org/fleet.git, ssh://git@git.example.org/fleet.git or git@git.example.org:fleet.git")
	case u.Scheme == "http" && !isLoopback(u.Hostname()):
		found.add(at, "is not encrypted: use https or ssh")
	case u.Scheme != "https" && u.Scheme != "ssh" && u.Scheme != "http":
		found.add(at, "has the scheme %s, must be https or ssh", show(u.Scheme))
	case u.User != nil && (u.Scheme != "ssh" || hasPassword(u)):
		found.add(at, "has credentials in it: put them into files and name their folder in /spec/secretName")
	case u.RawQuery != "" || u.Fragment != "":
		found.add(at, "has a query or a fragment: leave them out")
	}
}

func hasPassword(u *url.URL) bool {
	_, has := u.User.Password()
	return has
}

func isLoopback(host string) bool {
	address, err := netip.ParseAddr(host)
	return host == "localhost" || (err == nil && address.IsLoopback())
}

// validBranch is what git check-ref-format says, a little stricter.
func validBranch(name string) bool {
	if name == "" || len(name) > maxGitBranch || strings.HasPrefix(name, "-") || strings.HasPrefix(name, "/") || strings.HasSuffix(name, "/") ||
		strings.HasSuffix(name, ".lock") || strings.HasSuffix(name, ".") || strings.Contains(name, "..") || strings.Contains(name, "//") || strings.Contains(name, "@{") || strings.Contains(name, "/.") {
		return false
	}
	return !strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r == 0x7f || strings.ContainsRune(`~^:?*[\`, r) })
}
