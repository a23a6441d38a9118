package repository

import (
	"net/netip"
	"net/url"
	"path"
	"strings"
)

// Source says what to read from where.
type Source struct {
	URL    string // https://…, ssh://…, or http:// on loopback
	Branch string
	Path   string // folder in the repository; "" is its root
	// SecretsDirectory and SecretName are the folder of the credentials; an
	// empty name means none.
	SecretsDirectory, SecretName string
}

// parseURL refuses what could read this machine's files, send credentials in
// clear, or keep them in a resource.
func parseURL(text string) (*url.URL, error) {
	if !strings.Contains(text, "://") {
		return parseShort(text)
	}
	u, err := url.Parse(text)
	if err != nil {
		// The error of url.Parse repeats the text, which may hold a password.
		return nil, faultf(ReasonInvalidURL, "the url cannot be parsed: use https://host/path or ssh://git@host/path")
	}
	switch {
	case u.Host == "" || u.Hostname() == "" || u.Opaque != "":
		return nil, faultf(ReasonInvalidURL, "the url has no host: use https://host/path or ssh://git@host/path")
	case u.RawQuery != "" || u.Fragment != "":
		return nil, faultf(ReasonInvalidURL, "the url must have no query and no fragment")
	case strings.Trim(u.Path, "/") == "":
		return nil, faultf(ReasonInvalidURL, "the url names no repository")
	}
	if _, password := u.User.Password(); password || (u.User != nil && u.Scheme != "ssh") {
		return nil, faultf(ReasonInvalidURL, "the url must not contain credentials: put them into files below the secrets directory and name their folder in secretName")
	}
	switch u.Scheme {
	case "https", "ssh":
		return u, nil
	case "http":
		if loopback(u.Hostname()) {
			return u, nil
		}
		return nil, faultf(ReasonInvalidURL, "http is possible on loopback addresses only: use https")
	}
	return nil, faultf(ReasonInvalidURL, "scheme %q is not possible: use https or ssh", clean(u.Scheme))
}

// parseShort reads the short form user@host:path of ssh, whose path may begin
// in the home folder of the user.
func parseShort(text string) (*url.URL, error) {
	user, rest, ok := strings.Cut(text, "@")
	host, path, found := strings.Cut(rest, ":")
	if !ok || !found || user == "" || host == "" || path == "" || strings.ContainsAny(user+host, "/:@ ") || strings.HasPrefix(path, "-") {
		return nil, faultf(ReasonInvalidURL, "the url has no scheme: use https://host/path or ssh://git@host/path")
	}
	return &url.URL{Scheme: "ssh", User: url.User(user), Host: host, Path: path}, nil
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
}

// folders splits the path of a source.
func (s Source) folders() ([]string, error) {
	p := strings.Trim(s.Path, "/")
	if p == "" || p == "." {
		return nil, nil
	}
	if path.Clean(p) != p || strings.HasPrefix(p, "..") || strings.ContainsRune(p, 0) {
		return nil, faultf(ReasonNotFound, "path %q is not a folder within the repository", clean(s.Path))
	}
	return strings.Split(p, "/"), nil
}
