package repository

import (
	"encoding/base64"
	"errors"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

// Names of the files in the folder of a secret.
const (
	fileUsername   = "username"
	filePassword   = "password" // or a token
	fileIdentity   = "identity" // private key of ssh
	fileKnownHosts = "known_hosts"
	fileCA         = "ca.crt"
	fileHosts      = "hosts" // that the password may be sent to, one on each line
)

// secret is the content of a secret's folder. It must not be logged.
type secret struct {
	username, password   string
	identity, knownHosts []byte
	ca                   []byte
	hosts                []byte
}

// String redacts.
func (secret) String() string { return redacted }

// GoString redacts.
func (secret) GoString() string { return redacted }

// forms are the texts in which a server may repeat the password: as it is, as
// in the header of HTTP Basic (RFC 7617), and as in a URL.
func (s secret) forms() []string {
	if s.password == "" {
		return nil
	}
	basic := orDefault(s.username, "git") + ":" + s.password
	return []string{
		base64.StdEncoding.EncodeToString([]byte(basic)), base64.StdEncoding.EncodeToString([]byte(s.password)),
		s.password, url.QueryEscape(s.password), url.PathEscape(s.password),
	}
}

// readSecret reads the files that are there. Nothing outside the folder is
// read, whatever the name is.
func readSecret(directory, name string) (secret, error) {
	var s secret
	if name == "" {
		return s, nil
	}
	if directory == "" {
		return s, faultf(ReasonCredentials, "secretName is %q but the manager has no secrets directory: set manager.secretsDirectory", name)
	}
	if name != filepath.Base(name) || !filepath.IsLocal(name) || name == "." {
		return s, faultf(ReasonCredentials, "secretName %q is not the name of a folder", clean(name))
	}
	root, err := os.OpenRoot(directory)
	if err != nil {
		return s, faultf(ReasonCredentials, "the secrets directory cannot be read: %w", err)
	}
	defer root.Close()
	folder, err := root.OpenRoot(name)
	if err != nil {
		return s, faultf(ReasonCredentials, "secret %q cannot be read: %w", name, err)
	}
	defer folder.Close()
	for file, to := range map[string]*[]byte{fileIdentity: &s.identity, fileKnownHosts: &s.knownHosts, fileCA: &s.ca, fileHosts: &s.hosts} {
		if *to, err = readSecretFile(folder, file); err != nil {
			return secret{}, faultf(ReasonCredentials, "secret %q: %w", name, err)
		}
	}
	for file, to := range map[string]*string{fileUsername: &s.username, filePassword: &s.password} {
		raw, err := readSecretFile(folder, file)
		if err != nil {
			return secret{}, faultf(ReasonCredentials, "secret %q: %w", name, err)
		}
		*to = strings.TrimRight(string(raw), "\r\n")
	}
	return s, nil
}

// checkHost refuses to send a password to a host that its folder does not name.
// Whoever may write git sources chooses url and secretName; that must not be
// enough to learn a password that somebody else put there.
func (s secret) checkHost(name string, u *url.URL) error {
	if s.username == "" && s.password == "" {
		return nil
	}
	for host := range strings.Lines(string(s.hosts)) {
		if host = strings.TrimSpace(host); host != "" && (strings.EqualFold(host, u.Host) || strings.EqualFold(host, u.Hostname())) {
			return nil
		}
	}
	return faultf(ReasonCredentials, "secret %q is not for %s: its file %s must name the hosts that its password may be sent to, one on each line", name, clean(u.Host), fileHosts)
}

// readSecretFile returns nothing for a file that does not exist.
func readSecretFile(folder *os.Root, name string) ([]byte, error) {
	file, err := folder.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	private := name == filePassword || name == fileIdentity
	switch {
	case !info.Mode().IsRegular():
		return nil, errors.New(name + " is not a file")
	case private && info.Mode().Perm()&0o007 != 0:
		return nil, errors.New(name + " is accessible to everybody: chmod 600 it")
	case info.Size() > maxSecretBytes:
		return nil, errors.New(name + " is too long")
	}
	return io.ReadAll(io.LimitReader(file, maxSecretBytes))
}
