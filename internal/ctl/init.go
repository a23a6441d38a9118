package ctl

import (
	"crypto/ed25519"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/internal/identity"
)

// Lifetimes of what init signs. An issuer or a TLS certificate that ends is replaced with the offline keys.
const (
	issuerLife    = 2 * 365 * 24 * time.Hour
	authorityLife = 10 * 365 * 24 * time.Hour
	serverLife    = 2 * 365 * 24 * time.Hour
	backdated     = 24 * time.Hour // for devices whose clock is behind
)

type initFlags struct {
	directory     string
	addresses     []string
	etcdMembers   []string
	dataDirectory string
	contextName   string
}

func (c *command) initCommand() *cobra.Command {
	var flags initFlags
	cmd := &cobra.Command{
		Use:   "init --directory D --address IP|NAME",
		Short: "Make the keys and configuration files of a new installation",
		Long: `Make the keys and configuration files of a new installation. Nothing is ever overwritten.

  D/root.key       signs issuers; D/tls-ca.key signs TLS certificates. Both belong offline: move them away from D, no program needs them.
  D/trust.json     what every device needs: the public halves of the two
  D/cloud/         for the host of the cloud: cyphonicd.yaml, issuer.key, issuer.cert, tls.key, tls.crt, admin-token.sha256
  D/config.yaml    for the operator: server, trust and admin token; use it with --config or as ~/.config/cyphonic/config.yaml
  D/etcd/          with --etcd-member, for an etcd cluster of its own: ca.crt, server.crt and server.key for its members, client.crt and client.key for
                   cyphonicd; ca.key, which signs them, belongs offline

Give every address and name under which devices and operators reach the cloud; the first is the one in config.yaml.`,
		Example: "  cyphonicctl init --directory ./site --address 203.0.113.10 --address 2001:db8:113::10\n" +
			"  cyphonicctl init --directory ./site --address cloud.example --etcd-member etcd-1.example --etcd-member etcd-2.example --etcd-member etcd-3.example",
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if flags.directory == "" || len(flags.addresses) == 0 {
				return &usageError{errors.New("--directory and at least one --address are needed")}
			}
			if err := checkAddresses("--address", flags.addresses); err != nil {
				return &usageError{err}
			}
			if err := checkAddresses("--etcd-member", flags.etcdMembers); err != nil {
				return &usageError{err}
			}
			return c.initialize(flags)
		},
	}
	cmd.Flags().StringVar(&flags.directory, "directory", "", "folder to make, or an existing one without these files")
	cmd.Flags().StringSliceVar(&flags.addresses, "address", nil, "IP address or DNS name of the cloud; may be given several times")
	cmd.Flags().StringSliceVar(&flags.etcdMembers, "etcd-member", nil, "IP address or DNS name of a member of an etcd cluster to make certificates for; once for each")
	cmd.Flags().StringVar(&flags.dataDirectory, "data-directory", "/var/lib/cyphonic", "where cyphonicd keeps its data")
	cmd.Flags().StringVar(&flags.contextName, "name", "default", "name of the context in config.yaml")
	return cmd
}

func (c *command) initialize(flags initFlags) error {
	files, err := c.newInstallation(flags)
	if err != nil {
		return err
	}
	if err := writeNew(flags.directory, files); err != nil {
		return err
	}
	for _, file := range files {
		fmt.Fprintf(c.Stdout, "%s\n", file.path(flags.directory))
	}
	offline, start := "root.key and tls-ca.key", "Start"
	if len(flags.etcdMembers) > 0 {
		offline, start = "root.key, tls-ca.key and etcd/ca.key", "Start the members of etcd with the files in etcd/, then"
	}
	fmt.Fprintf(c.Stderr, "Move %s to a safe place offline. %s the cloud with: cyphonicd all --config %s\n",
		offline, start, newFile{name: "cloud/cyphonicd.yaml"}.path(flags.directory))
	return nil
}

// newInstallation makes everything in memory, so that nothing is written if something cannot be made.
func (c *command) newInstallation(flags initFlags) ([]newFile, error) {
	now := c.Now().UTC()
	root, err := identity.NewRootKey(c.Rand)
	if err != nil {
		return nil, err
	}
	issuer, err := identity.NewIssuerKey(c.Rand)
	if err != nil {
		return nil, err
	}
	issuerCertificate := root.IssueIssuer(issuer.Public().(ed25519.PublicKey), now.Add(-backdated), now.Add(issuerLife))
	authority, err := newAuthority(c.Rand, "CYPHONIC TLS authority", now)
	if err != nil {
		return nil, err
	}
	serverKey, serverCertificate, err := authority.issue(c.Rand, "CYPHONIC cloud", []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, flags.addresses, now)
	if err != nil {
		return nil, err
	}
	trust, err := identity.EncodeTrust(identity.Trust{Roots: []ed25519.PublicKey{root.Public()}, TLSCA: authority.certificatePEM})
	if err != nil {
		return nil, err
	}
	token, tokenHash, err := identity.NewOpaqueToken(c.Rand, identity.AdminTokenPrefix)
	if err != nil {
		return nil, err
	}
	config, err := yaml.Marshal(configuration{flags.contextName, []managerContext{{
		Name: flags.contextName, Server: "https://" + net.JoinHostPort(flags.addresses[0], strconv.Itoa(api.ManagerPort)), Trust: "trust.json", Token: token,
	}}})
	if err != nil {
		return nil, err
	}
	cloud, err := cloudConfiguration(flags.dataDirectory, flags.addresses[0], flags.etcdMembers)
	if err != nil {
		return nil, err
	}
	files := []newFile{
		{"root.key", 0o600, root.EncodePEM()},
		{"tls-ca.key", 0o600, authority.keyPEM},
		{"trust.json", 0o644, trust},
		{"cloud/cyphonicd.yaml", 0o644, cloud},
		{"cloud/issuer.key", 0o600, identity.EncodeIssuerKey(issuer)},
		{"cloud/issuer.cert", 0o644, issuerCertificate.EncodePEM()},
		{"cloud/tls.key", 0o600, serverKey},
		{"cloud/tls.crt", 0o644, serverCertificate},
		{"cloud/admin-token.sha256", 0o600, []byte(tokenHash + "\n")},
		{"config.yaml", 0o600, config},
	}
	if len(flags.etcdMembers) == 0 {
		return files, nil
	}
	etcd, err := c.etcdFiles(flags.etcdMembers, now)
	return append(files, etcd...), err
}

// etcdFiles are the certificates of an etcd cluster. Its authority certifies nothing else: who has a client certificate of it may read all keys.
func (c *command) etcdFiles(members []string, now time.Time) ([]newFile, error) {
	authority, err := newAuthority(c.Rand, "CYPHONIC etcd authority", now)
	if err != nil {
		return nil, err
	}
	// A member shows its certificate to other members as a client too.
	both := []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	serverKey, server, err := authority.issue(c.Rand, "etcd", both, append(members, "localhost", "127.0.0.1"), now)
	if err != nil {
		return nil, err
	}
	clientKey, client, err := authority.issue(c.Rand, "cyphonicd", both[1:], nil, now)
	if err != nil {
		return nil, err
	}
	return []newFile{
		{"etcd/ca.key", 0o600, authority.keyPEM},
		{"etcd/ca.crt", 0o644, authority.certificatePEM},
		{"etcd/server.key", 0o600, serverKey},
		{"etcd/server.crt", 0o644, server},
		{"etcd/client.key", 0o600, clientKey},
		{"etcd/client.crt", 0o644, client},
	}, nil
}

// cloudConfiguration is the configuration of cyphonicd with the default ports, on a host with that address. Paths in it are relative to it.
func cloudConfiguration(dataDirectory, address string, etcdMembers []string) ([]byte, error) {
	quoted, err := yaml.Marshal(map[string]string{"dataDirectory": dataDirectory})
	if err != nil {
		return nil, err
	}
	etcd := `etcd: {endpoints: [], caFile: "", certificateFile: "", keyFile: ""} # no endpoints: embedded in cyphonicd`
	if len(etcdMembers) > 0 {
		etcd = "etcd:\n  endpoints:\n"
		for _, member := range etcdMembers {
			etcd += "    - https://" + net.JoinHostPort(member, "2379") + "\n"
		}
		etcd += "  caFile: ../etcd/ca.crt\n  certificateFile: ../etcd/client.crt\n  keyFile: ../etcd/client.key"
	}
	text := string(quoted) + "trust: ../trust.json\n" + etcd + "\n"
	text += fmt.Sprintf(`manager: {listen: ":%d", advertise: %q, certificateFile: tls.crt, keyFile: tls.key, adminTokenHashFile: admin-token.sha256}
as: {listen: ":%d", certificateFile: tls.crt, keyFile: tls.key, issuerKeyFile: issuer.key, issuerCertificateFile: issuer.cert}
nms: {listen: ":%d"}
trs: {listen: ":%d"}
metrics: {listen: "127.0.0.1:7490"}
`, api.ManagerPort, net.JoinHostPort(address, strconv.Itoa(api.ManagerPort)), api.ASPort, api.NMSPort, api.TRSPort)
	return []byte("# Configuration of cyphonicd. Relative paths are relative to this file.\n" + text), nil
}
