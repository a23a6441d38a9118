package cloudconfig

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Manager configures the REST API.
type Manager struct {
	// Listen is the TCP address. Default: ":7440".
	Listen string `json:"listen,omitempty"`
	// CertificateFile and KeyFile (PEM) are of the TLS server.
	CertificateFile string `json:"certificateFile,omitempty"`
	KeyFile         string `json:"keyFile,omitempty"`
	// AdminTokenHashFile holds the hex SHA-256 of the operator's token.
	AdminTokenHashFile string `json:"adminTokenHashFile,omitempty"`
	// ClientCAFile (PEM) certifies machines that log in with a certificate.
	// Default: none, which turns these logins off.
	ClientCAFile string `json:"clientCAFile,omitempty"`
	// OIDC is where people log in. Default: none.
	OIDC OIDC `json:"oidc,omitempty"`
	// SecretsDirectory has one folder per secret of git sources. Default: none,
	// which leaves git sources without credentials.
	SecretsDirectory string `json:"secretsDirectory,omitempty"`
	// Advertise is host:port at which clients and Prometheus reach this very
	// manager. Default: the address that it listens on, with the name of the
	// host if it listens on all addresses.
	Advertise string `json:"advertise,omitempty"`
	// ShutdownDelay is how long the manager goes on serving after /readyz has
	// begun to fail, so that load balancers send clients elsewhere, as in 5s; at
	// most 5m. Default: 5s with an etcd cluster, where other managers may take
	// over, else 0s.
	ShutdownDelay string `json:"shutdownDelay,omitempty"`
}

// OIDC is an OpenID Connect provider that vouches for people.
type OIDC struct {
	// Issuer is the https URL exactly as the provider writes it in its tokens.
	// Default: none, which turns these logins off.
	Issuer string `json:"issuer,omitempty"`
	// ClientID is the client that tokens must have been issued to.
	ClientID string `json:"clientID,omitempty"`
	// UsernameClaim is the claim that names the user; email must be verified.
	// Default: sub.
	UsernameClaim string `json:"usernameClaim,omitempty"`
	// GroupsClaim is the claim with the groups of the user. Default: groups.
	GroupsClaim string `json:"groupsClaim,omitempty"`
	// UsernamePrefix is put before the names of users. Default: none.
	UsernamePrefix string `json:"usernamePrefix,omitempty"`
	// CAFile (PEM) certifies the provider. Default: the system's authorities.
	CAFile string `json:"caFile,omitempty"`
}

// maxShutdownDelay bounds Manager.ShutdownDelay, defaultShutdownDelay is its
// default where other managers may take over.
const (
	maxShutdownDelay     = 5 * time.Minute
	defaultShutdownDelay = 5 * time.Second
)

// claims and prefix bound what goes into the names of users.
const (
	maxClaim  = 128
	maxPrefix = 64
)

func defaultManager() Manager {
	return Manager{Listen: ":7440", OIDC: OIDC{UsernameClaim: "sub", GroupsClaim: "groups"}}
}

func (m *Manager) paths() []*string {
	return []*string{&m.CertificateFile, &m.KeyFile, &m.AdminTokenHashFile, &m.ClientCAFile, &m.OIDC.CAFile, &m.SecretsDirectory}
}

func (c *Config) checkManager(m *Material, now time.Time, add func(string, error)) {
	add("manager.listen", checkListen(c.Manager.Listen))
	var err error
	m.ManagerTLS, err = loadTLS(c.Manager.CertificateFile, c.Manager.KeyFile, now)
	add("manager.certificateFile", err)
	m.AdminTokenHash, err = loadTokenHash(c.Manager.AdminTokenHashFile)
	add("manager.adminTokenHashFile", err)
	_, err = loadAuthorities(c.Manager.ClientCAFile, now) // the manager reads it when it changes
	add("manager.clientCAFile", err)
	add("manager.secretsDirectory", checkSecretsDirectory(c.Manager.SecretsDirectory))
	add("manager.advertise", checkAdvertise(c.Manager.Advertise))
	m.ShutdownDelay, err = parseDelay(c.Manager.ShutdownDelay)
	if c.Manager.ShutdownDelay == "" && len(c.Etcd.Endpoints) > 0 {
		m.ShutdownDelay = defaultShutdownDelay
	}
	add("manager.shutdownDelay", err)
	c.Manager.OIDC.check(m, now, add)
}

func (o *OIDC) check(m *Material, now time.Time, add func(string, error)) {
	if o.Issuer == "" {
		if o.ClientID != "" || o.CAFile != "" || o.UsernamePrefix != "" {
			add("manager.oidc.issuer", errors.New("is missing: name the OpenID provider, or remove manager.oidc"))
		}
		return
	}
	add("manager.oidc.issuer", checkIssuer(o.Issuer))
	if o.ClientID == "" {
		add("manager.oidc.clientID", errors.New("is missing: register a public client at the provider and write its identifier here"))
	}
	for field, claim := range map[string]string{"usernameClaim": o.UsernameClaim, "groupsClaim": o.GroupsClaim} {
		if len(claim) > maxClaim || (claim == "" && field == "usernameClaim") {
			add("manager.oidc."+field, fmt.Errorf("must have 1 to %d bytes; leave it out for the default", maxClaim))
		}
	}
	if len(o.UsernamePrefix) > maxPrefix || strings.ContainsFunc(o.UsernamePrefix, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		add("manager.oidc.usernamePrefix", fmt.Errorf("must have at most %d characters, without spaces", maxPrefix))
	}
	var err error
	m.OIDCRoots, err = loadAuthorities(o.CAFile, now)
	add("manager.oidc.caFile", err)
}

func checkIssuer(issuer string) error {
	u, err := url.Parse(issuer)
	switch {
	case err != nil || u.Host == "":
		return fmt.Errorf("%q is no URL as in https://login.example.org: copy the member issuer of <issuer>/.well-known/openid-configuration", issuer)
	case u.Scheme != "https":
		return errors.New("must begin with https://: tokens of a provider that anybody on the way could pretend to be prove nothing")
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return errors.New("must have no user, query or fragment: copy the member issuer of <issuer>/.well-known/openid-configuration")
	}
	return nil
}

// loadAuthorities reads certificates of authorities; nil if there is no file.
func loadAuthorities(path string, now time.Time) (*x509.CertPool, error) {
	if path == "" {
		return nil, nil
	}
	if err := checkMode(path, unwritable); err != nil {
		return nil, err
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	found, err := parseAuthorities(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	pool := x509.NewCertPool()
	current := 0
	for _, c := range found {
		pool.AddCert(c)
		if now.Before(c.NotAfter) {
			current++
		}
	}
	if current == 0 {
		return nil, fmt.Errorf("%s: all certificates have ended: make new ones", path)
	}
	return pool, nil
}

func checkSecretsDirectory(path string) error {
	if path == "" {
		return nil
	}
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return fmt.Errorf("%w: create it with mode 0700, or remove the setting", err)
	case !info.IsDir():
		return fmt.Errorf("%s is no directory: name the folder of the secrets", path)
	case info.Mode().Perm()&unwritable != 0:
		return fmt.Errorf("others can write to %s (mode %04o): chmod 700 it; where Kubernetes mounts a Secret, name %s", path, info.Mode().Perm(), filepath.Join(path, "..data"))
	}
	return nil
}

func checkAdvertise(address string) error {
	if address == "" {
		return nil
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil || host == "" {
		return fmt.Errorf("%q is not host:port, as in manager-1.example.org:7440", address)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return fmt.Errorf("%q has no port number", address)
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		return fmt.Errorf("%q is no address that others reach", address)
	}
	return nil
}

func parseDelay(text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 || d > maxShutdownDelay {
		return 0, fmt.Errorf("%q is no duration between 0s and %s, as in 5s", text, maxShutdownDelay)
	}
	return d, nil
}

// parseAuthorities reads the certificates of a PEM file and refuses those that
// cannot certify others.
func parseAuthorities(raw []byte) ([]*x509.Certificate, error) {
	var found []*x509.Certificate
	for block, rest := pem.Decode(raw); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("has a %s: only certificates of authorities belong here", strings.ToLower(block.Type))
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		if !c.IsCA {
			return nil, fmt.Errorf("the certificate of %q is not one of an authority", c.Subject.String())
		}
		found = append(found, c)
	}
	if len(found) == 0 {
		return nil, errors.New("has no certificate (PEM)")
	}
	return found, nil
}
