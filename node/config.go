package node

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/cyphonic/cyphonic/node/hostdns"
)

// Config is the configuration of cyphonic-node, read from YAML. Relative paths are relative to the file.
type Config struct {
	// Name of the Node resource. Required.
	Name string `json:"name"`
	// AuthenticationService is host:port of the AS. Required.
	AuthenticationService string `json:"authenticationService"`
	// Trust is the path of trust.json. Default: trust.json beside the file.
	Trust string `json:"trust"`
	// StateDirectory holds the device key, 0700. Default: /var/lib/cyphonic/node.
	StateDirectory string `json:"stateDirectory"`
	// Interface is the name of the virtual interface. Default: cyphonic0 (macOS: utun).
	Interface string `json:"interface"`
	// ListenPort is the UDP port. Default: 0, any free port.
	ListenPort uint16 `json:"listenPort"`
	// Workers per direction of the data plane. Default: 0, one per CPU core up to a bound.
	Workers int `json:"workers"`
	// MTU of the virtual interface in bytes. Default: 1400.
	MTU int `json:"mtu"`
	// TunBackend is auto, offload or portable. Default: auto.
	TunBackend string `json:"tunBackend"`
	// EnrollmentTokenFile and PasswordFile are for the first login; afterwards the device key suffices.
	EnrollmentTokenFile string `json:"enrollmentTokenFile"`
	PasswordFile        string `json:"passwordFile"`
	// Resolver is the DNS side.
	Resolver ResolverConfig `json:"resolver"`
	// StatusSocket is the unix socket of status, metrics and connect. Default: /run/cyphonic/node.sock.
	StatusSocket string `json:"statusSocket"`
	// MetricsListen is host:port for metrics over TCP. Default: none.
	MetricsListen string `json:"metricsListen"`
}

// ResolverConfig is the DNS side of the configuration.
type ResolverConfig struct {
	// Listen is the address of the resolver. Default: 127.74.40.1:53 (macOS: 127.0.0.1:5374).
	Listen string `json:"listen"`
	// Integration is auto, resolved, resolvconf or none. Default: auto.
	Integration string `json:"integration"`
	// ResolvConf is the file that integration resolvconf edits. Default: /etc/resolv.conf.
	ResolvConf string `json:"resolvConf"`
	// Upstreams replace the name servers of the host for names outside of the overlay (address or address:port).
	Upstreams []string `json:"upstreams"`
}

const (
	minMTU = 1280 // IPv6 asks for no less (RFC 8200 section 5)
	maxMTU = 9000
	// maxWorkers is far above any use and keeps a typing mistake from starting a million goroutines.
	maxWorkers = 64
)

var resourceName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// LoadConfig reads, completes and validates a configuration. An error names every wrong field.
func LoadConfig(path string) (Config, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return Config{}, fmt.Errorf("configuration: %w", err)
	}
	var c Config
	if err := yaml.UnmarshalStrict(b, &c); err != nil {
		return Config{}, fmt.Errorf("configuration %s: %w", path, err)
	}
	c.complete(filepath.Dir(path))
	if err := c.validate(); err != nil {
		return Config{}, fmt.Errorf("configuration %s:\n%w", path, err)
	}
	return c, nil
}

// complete sets defaults and makes paths absolute.
func (c *Config) complete(directory string) {
	for _, d := range []struct {
		field *string
		value string
	}{
		{&c.Trust, "trust.json"},
		{&c.StateDirectory, "/var/lib/cyphonic/node"},
		{&c.Interface, defaultInterface},
		{&c.TunBackend, "auto"},
		{&c.Resolver.Listen, defaultResolver},
		{&c.Resolver.Integration, hostdns.ModeAuto},
		{&c.Resolver.ResolvConf, "/etc/resolv.conf"},
		{&c.StatusSocket, defaultSocket},
	} {
		if *d.field == "" {
			*d.field = d.value
		}
	}
	if c.MTU == 0 {
		c.MTU = 1400
	}
	for _, path := range []*string{&c.Trust, &c.StateDirectory, &c.EnrollmentTokenFile, &c.PasswordFile, &c.Resolver.ResolvConf, &c.StatusSocket} {
		if *path != "" && !filepath.IsAbs(*path) {
			*path = filepath.Join(directory, *path)
		}
	}
}

func (c *Config) validate() error {
	var errs []error
	check := func(ok bool, field, format string, arguments ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf("  %s: %s", field, fmt.Sprintf(format, arguments...)))
		}
	}
	check(resourceName.MatchString(c.Name), "name", "%q is no resource name: lower-case letters, digits and dashes, at most 63", c.Name)
	host, port, err := net.SplitHostPort(c.AuthenticationService)
	check(err == nil && host != "" && port != "", "authenticationService", "%q is not host:port (the AS listens on 7441 by default)", c.AuthenticationService)
	check(len(c.Interface) <= 15 && !strings.ContainsAny(c.Interface, "/ "), "interface", "%q is no interface name", c.Interface)
	check(c.Workers >= 0 && c.Workers <= maxWorkers, "workers", "%d is not within 0 and %d", c.Workers, maxWorkers)
	check(c.MTU >= minMTU && c.MTU <= maxMTU, "mtu", "%d is not within %d and %d", c.MTU, minMTU, maxMTU)
	check(slices.Contains([]string{"auto", "offload", "portable"}, c.TunBackend), "tunBackend", "%q is not auto, offload or portable", c.TunBackend)
	listen, err := netip.ParseAddrPort(c.Resolver.Listen)
	check(err == nil && listen.Addr().IsLoopback(), "resolver.listen", "%q is not a loopback address with port", c.Resolver.Listen)
	modes := []string{hostdns.ModeAuto, hostdns.ModeResolved, hostdns.ModeResolvConf, hostdns.ModeNone}
	check(slices.Contains(modes, c.Resolver.Integration), "resolver.integration", "%q is not one of %s", c.Resolver.Integration, strings.Join(modes, ", "))
	for i, u := range c.Resolver.Upstreams {
		_, err := parseUpstream(u)
		check(err == nil, fmt.Sprintf("resolver.upstreams[%d]", i), "%q is neither an address nor address:port", u)
	}
	if c.MetricsListen != "" {
		_, _, err := net.SplitHostPort(c.MetricsListen)
		check(err == nil, "metricsListen", "%q is not host:port", c.MetricsListen)
	}
	return errors.Join(errs...)
}

// parseUpstream reads an address with or without port 53.
func parseUpstream(s string) (netip.AddrPort, error) {
	if a, err := netip.ParseAddr(s); err == nil {
		return netip.AddrPortFrom(a, 53), nil
	}
	return netip.ParseAddrPort(s)
}
