// Package cloudconfig is the configuration file of cyphonicd: one struct, read
// strictly, checked before anything starts. It must not start or connect to
// anything.
package cloudconfig

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/cyphonic/cyphonic/internal/identity"
)

// Config is the configuration file of cyphonicd. Paths that are not absolute
// are relative to the file's directory.
type Config struct {
	// DataDirectory holds the embedded etcd. Default: /var/lib/cyphonic.
	DataDirectory string `json:"dataDirectory,omitempty"`
	// Trust is the trust file that devices have too. Needed by the AS, which
	// checks that its issuer is certified by a root of it.
	Trust   string  `json:"trust,omitempty"`
	Etcd    Etcd    `json:"etcd,omitempty"`
	Manager Manager `json:"manager,omitempty"`
	AS      AS      `json:"as,omitempty"`
	NMS     NMS     `json:"nms,omitempty"`
	TRS     TRS     `json:"trs,omitempty"`
	Replica Replica `json:"replica,omitempty"`
	Speaker Speaker `json:"speaker,omitempty"`
	Metrics Metrics `json:"metrics,omitempty"`
	Health  Health  `json:"health,omitempty"`
}

// AS configures the Authentication Service.
type AS struct {
	// Listen is the TCP address. Default: ":7441".
	Listen string `json:"listen,omitempty"`
	// CertificateFile and KeyFile (PEM) are of the TLS server.
	CertificateFile string `json:"certificateFile,omitempty"`
	KeyFile         string `json:"keyFile,omitempty"`
	// IssuerKeyFile and IssuerCertificateFile certify devices.
	IssuerKeyFile         string `json:"issuerKeyFile,omitempty"`
	IssuerCertificateFile string `json:"issuerCertificateFile,omitempty"`
}

// NMS configures the Node Management Service.
type NMS struct {
	// Listen is the UDP address. Default: ":7442".
	Listen string `json:"listen,omitempty"`
	// PeerListen is the TCP address at which other replicas of the NMS reach this one. It is not opened with the
	// embedded etcd, where there are none. Default: ":7444".
	PeerListen string `json:"peerListen,omitempty"`
}

// TRS configures the Tunnel Relay Service.
type TRS struct {
	// Listen is the UDP address. Default: ":7443".
	Listen string `json:"listen,omitempty"`
	// NetworkBytesPerSecond is the quota of one network over all its relayed
	// tunnels, both directions together. Default: 500000000.
	NetworkBytesPerSecond int64 `json:"networkBytesPerSecond,omitempty"`
	// AllowLocalClients lets devices on this very machine use the relay, at
	// loopback or own addresses. Default: false.
	AllowLocalClients bool `json:"allowLocalClients,omitempty"`
	// Advertise is where devices reach this very replica, at most one IPv4 and one IPv6 address, with or without a
	// port. Default: none, which sends devices to the addresses of the CloudService.
	Advertise []string `json:"advertise,omitempty"`
}

// Metrics configures the HTTP listener of metrics, readiness and debugging.
type Metrics struct {
	// Listen is the TCP address; only loopback addresses are accepted, because
	// it has no authentication. Default: "127.0.0.1:7490".
	Listen string `json:"listen,omitempty"`
}

// Default returns the defaults.
func Default() Config {
	return Config{
		DataDirectory: "/var/lib/cyphonic",
		Etcd:          Etcd{QuotaBytes: 8 << 30, Retention: "1h"},
		Manager:       defaultManager(),
		AS:            AS{Listen: ":7441"},
		NMS:           NMS{Listen: ":7442", PeerListen: ":7444"},
		TRS:           TRS{Listen: ":7443"},
		Speaker:       defaultSpeaker(),
		Metrics:       Metrics{Listen: "127.0.0.1:7490"},
	}
}

// Load reads the file at path. An unknown field or one that appears twice is
// an error.
func Load(path string) (Config, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return Config{}, fmt.Errorf("read the configuration: %w: create it with cyphonicctl init or name it with --config", err)
	}
	c, err := Parse(raw)
	if err != nil {
		return Config{}, fmt.Errorf("configuration %s: %w", path, err)
	}
	directory, err := filepath.Abs(filepath.Dir(path))
	if err != nil {
		return Config{}, fmt.Errorf("configuration %s: %w", path, err)
	}
	c.resolve(directory)
	return c, nil
}

// Parse reads the text of a configuration file over the defaults.
func Parse(raw []byte) (Config, error) {
	c := Default()
	if err := yaml.UnmarshalStrict(raw, &c); err != nil {
		return Config{}, fmt.Errorf("%w (see docs/cloud.md for the fields)", err)
	}
	return c, nil
}

// resolve makes paths absolute.
func (c *Config) resolve(directory string) {
	for _, p := range append(append(c.Manager.paths(), c.Speaker.paths()...),
		&c.DataDirectory, &c.Trust, &c.Etcd.CAFile, &c.Etcd.CertificateFile, &c.Etcd.KeyFile, &c.Etcd.PasswordFile,
		&c.Replica.SpeakerSocket, &c.AS.CertificateFile, &c.AS.KeyFile, &c.AS.IssuerKeyFile, &c.AS.IssuerCertificateFile,
	) {
		if *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(directory, *p)
		}
	}
}

// Names of the services, which are also the verbs of cyphonicd.
const (
	ServiceManager = "manager"
	ServiceAS      = "as"
	ServiceNMS     = "nms"
	ServiceTRS     = "trs"
)

// Services lists all services: what the verb all runs.
func Services() []string { return []string{ServiceManager, ServiceAS, ServiceNMS, ServiceTRS} }

// Material is what the files named by a configuration hold.
type Material struct {
	ManagerTLS     tls.Certificate
	AdminTokenHash string
	OIDCRoots      *x509.CertPool // that certify the OpenID provider; nil: those of the system
	ShutdownDelay  time.Duration
	ASTLS          tls.Certificate
	Issuer         *identity.Issuer
	Replica        ReplicaMaterial
	Speaker        SpeakerMaterial
}

// Check validates the configuration for the given services and loads the
// files that they need. The error names every fault, each with its field.
func (c *Config) Check(services []string, now time.Time) (*Material, error) {
	m := new(Material)
	var faults []error
	add := func(field string, err error) {
		if err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", field, err))
		}
	}
	add("metrics.listen", checkLoopback(c.Metrics.Listen))
	if c.Health.Listen != "" {
		add("health.listen", checkListen(c.Health.Listen))
	}
	c.checkReplica(m, add)
	for _, s := range services {
		switch s {
		case ServiceManager:
			c.checkManager(m, now, add)
		case ServiceAS:
			c.checkAS(m, now, add)
		case ServiceNMS:
			add("nms.listen", checkListen(c.NMS.Listen))
			add("nms.peerListen", checkListen(c.NMS.PeerListen))
		case ServiceTRS:
			c.checkTRS(m, add)
		case ServiceSpeaker:
			c.checkSpeaker(m, add)
		default:
			return nil, fmt.Errorf("there is no service %q: use %s", s, strings.Join(append(Services(), ServiceSpeaker), ", "))
		}
	}
	c.checkEtcd(services, add)
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	return m, nil
}

func (c *Config) checkAS(m *Material, now time.Time, add func(string, error)) {
	add("as.listen", checkListen(c.AS.Listen))
	var err error
	m.ASTLS, err = loadTLS(c.AS.CertificateFile, c.AS.KeyFile, now)
	add("as.certificateFile", err)
	if c.AS.IssuerKeyFile == "" || c.AS.IssuerCertificateFile == "" {
		add("as.issuerKeyFile", errors.New("issuerKeyFile and issuerCertificateFile are needed: create them with cyphonicctl init"))
		return
	}
	m.Issuer, err = identity.LoadIssuer(c.AS.IssuerKeyFile, c.AS.IssuerCertificateFile)
	add("as.issuerKeyFile", err)
	if c.Trust == "" {
		add("trust", errors.New("needed by the AS: create it with cyphonicctl init"))
		return
	}
	trust, err := identity.LoadTrust(c.Trust)
	add("trust", err)
	if err != nil || m.Issuer == nil {
		return
	}
	if _, err := identity.NewVerifier(trust, [][]byte{m.Issuer.Certificate().Raw()}, now); err != nil {
		add("as.issuerCertificateFile", fmt.Errorf("no root of the trust file certifies it now: %w", err))
	}
}

func loadTLS(certificateFile, keyFile string, now time.Time) (tls.Certificate, error) {
	if certificateFile == "" || keyFile == "" {
		return tls.Certificate{}, errors.New("certificateFile and keyFile are needed: create them with cyphonicctl init")
	}
	if err := checkMode(keyFile, unreadable); err != nil {
		return tls.Certificate{}, err
	}
	pair, err := tls.LoadX509KeyPair(certificateFile, keyFile)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("%s with %s: %w", certificateFile, keyFile, err)
	}
	leaf, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		return tls.Certificate{}, err
	}
	if now.After(leaf.NotAfter) {
		return tls.Certificate{}, fmt.Errorf("the certificate has ended on %s: make a new one", leaf.NotAfter.UTC().Format(time.RFC3339))
	}
	return pair, nil
}

// loadTokenHash refuses what is not the SHA-256 of a token as cyphonicctl init
// makes them: nothing starts with a blank secret.
func loadTokenHash(path string) (string, error) {
	if path == "" {
		return "", errors.New("needed by the manager: create it with cyphonicctl init")
	}
	if err := checkMode(path, unwritable); err != nil {
		return "", err
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	text := strings.TrimSpace(string(raw))
	if b, err := hex.DecodeString(text); err != nil || len(b) != 32 || strings.ToLower(text) != text {
		return "", fmt.Errorf("%s does not hold 64 lower-case hex digits: create it with cyphonicctl init", path)
	}
	if text == identity.HashOpaqueToken("") || text == strings.Repeat("0", 64) {
		return "", fmt.Errorf("%s is the hash of a blank token: create it with cyphonicctl init", path)
	}
	return text, nil
}

// Permissions that checkMode refuses: of files that only their owner may write, and of those that only he may read, too.
const (
	unwritable fs.FileMode = 0o022
	unreadable fs.FileMode = 0o077
)

// checkMode refuses a file with permissions that only its owner may have. What is secret may also be read by a group of
// the process under the conditions of identity.CheckPrivate.
func checkMode(path string, private fs.FileMode) error {
	if private == unreadable {
		return identity.CheckPrivate(path)
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if info.Mode().Perm()&private != 0 {
		return fmt.Errorf("%s is accessible to others (mode %04o): chmod 600 it", path, info.Mode().Perm())
	}
	return nil
}

func checkListen(address string) error {
	_, err := parseListen(address)
	return err
}

func parseListen(address string) (port uint16, err error) {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return 0, fmt.Errorf("%q is not an address like :7442 or 192.0.2.1:7442", address)
	}
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return 0, fmt.Errorf("%q has no port number", address)
	}
	if host != "" && net.ParseIP(host) == nil {
		return 0, fmt.Errorf("%q: the host must be an IP address or empty", address)
	}
	return uint16(n), nil
}

func checkLoopback(address string) error {
	if err := checkListen(address); err != nil {
		return err
	}
	host, _, _ := net.SplitHostPort(address)
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return fmt.Errorf("%q is not a loopback address: the listener has no authentication", address)
	}
	return nil
}
