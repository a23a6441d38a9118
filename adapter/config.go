package adapter

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
	"time"

	"sigs.k8s.io/yaml"

	"github.com/cyphonic/cyphonic/adapter/lan"
)

// Config is the configuration of cyphonic-adapter, read from YAML. Relative paths are relative to the file.
type Config struct {
	// Name of the Adapter resource. Required.
	Name string `json:"name"`
	// AuthenticationService is host:port of the AS. Required.
	AuthenticationService string `json:"authenticationService"`
	// Trust is the path of trust.json. Default: trust.json beside the file.
	Trust string `json:"trust"`
	// StateDirectory holds the keys of the adapter and of its general nodes, the list and the leases, 0700.
	// Default: /var/lib/cyphonic/adapter.
	StateDirectory string `json:"stateDirectory"`
	// LAN is the side of the general nodes.
	LAN LANConfig `json:"lan"`
	// Tun is the name of the virtual interface. Default: cyphonic0.
	Tun string `json:"tun"`
	// TunBackend is auto, offload or portable. Default: auto.
	TunBackend string `json:"tunBackend"`
	// MTU of the virtual interface in bytes; DHCP tells it to the devices. Default: 1400.
	MTU int `json:"mtu"`
	// ListenPort is the UDP port. Default: 0, any free port.
	ListenPort uint16 `json:"listenPort"`
	// Workers per direction of the data plane. Default: 0, one per CPU core up to a bound.
	Workers int `json:"workers"`
	// EnrollmentTokenFile and PasswordFile are for the first login; afterwards the device key suffices.
	EnrollmentTokenFile string `json:"enrollmentTokenFile"`
	PasswordFile        string `json:"passwordFile"`
	// Upstreams are the name servers for names outside of the overlay (address or address:port). Default: those of
	// /etc/resolv.conf.
	Upstreams []string `json:"upstreams"`
	// StatusSocket is the unix socket of status and metrics. Default: /run/cyphonic/adapter.sock.
	StatusSocket string `json:"statusSocket"`
	// MetricsListen is host:port for metrics over TCP. Default: none.
	MetricsListen string `json:"metricsListen"`
}

// LANConfig is the side of the general nodes.
type LANConfig struct {
	// Interface is the bridge; it is created if it does not exist. Default: cyphonic-lan.
	Interface string `json:"interface"`
	// Ports are put into the bridge. Ports that are in it already, or come later, are guarded as well.
	Ports []string `json:"ports"`
	// LeaseSeconds is the time of a DHCP lease. Default: 600.
	LeaseSeconds int `json:"leaseSeconds"`
}

const (
	minMTU     = 1280
	maxMTU     = 9000
	maxWorkers = 64
	minLease   = 60
	maxLease   = 86400
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
		{&c.StateDirectory, "/var/lib/cyphonic/adapter"},
		{&c.LAN.Interface, "cyphonic-lan"},
		{&c.Tun, "cyphonic0"},
		{&c.TunBackend, "auto"},
		{&c.StatusSocket, "/run/cyphonic/adapter.sock"},
	} {
		if *d.field == "" {
			*d.field = d.value
		}
	}
	if c.MTU == 0 {
		c.MTU = 1400
	}
	if c.LAN.LeaseSeconds == 0 {
		c.LAN.LeaseSeconds = 600
	}
	for _, path := range []*string{&c.Trust, &c.StateDirectory, &c.EnrollmentTokenFile, &c.PasswordFile, &c.StatusSocket} {
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
	check(lan.CheckInterfaceName(c.LAN.Interface) == nil, "lan.interface", "%q is no interface name", c.LAN.Interface)
	for i, p := range c.LAN.Ports {
		check(lan.CheckInterfaceName(p) == nil && p != c.LAN.Interface, fmt.Sprintf("lan.ports[%d]", i), "%q is no name of a port", p)
	}
	check(c.LAN.LeaseSeconds >= minLease && c.LAN.LeaseSeconds <= maxLease, "lan.leaseSeconds", "%d is not within %d and %d", c.LAN.LeaseSeconds, minLease, maxLease)
	check(lan.CheckInterfaceName(c.Tun) == nil && c.Tun != c.LAN.Interface, "tun", "%q is no interface name of its own", c.Tun)
	check(slices.Contains([]string{"auto", "offload", "portable"}, c.TunBackend), "tunBackend", "%q is not auto, offload or portable", c.TunBackend)
	check(c.MTU >= minMTU && c.MTU <= maxMTU, "mtu", "%d is not within %d and %d", c.MTU, minMTU, maxMTU)
	check(c.Workers >= 0 && c.Workers <= maxWorkers, "workers", "%d is not within 0 and %d", c.Workers, maxWorkers)
	for i, u := range c.Upstreams {
		_, err := parseUpstream(u)
		check(err == nil, fmt.Sprintf("upstreams[%d]", i), "%q is neither an address nor address:port", u)
	}
	if c.MetricsListen != "" {
		_, _, err := net.SplitHostPort(c.MetricsListen)
		check(err == nil, "metricsListen", "%q is not host:port", c.MetricsListen)
	}
	return errors.Join(errs...)
}

// LeaseTime is the time of a DHCP lease.
func (c *Config) LeaseTime() time.Duration { return time.Duration(c.LAN.LeaseSeconds) * time.Second }

// parseUpstream reads an address with or without port 53.
func parseUpstream(s string) (netip.AddrPort, error) {
	if a, err := netip.ParseAddr(s); err == nil {
		return netip.AddrPortFrom(a, 53), nil
	}
	return netip.ParseAddrPort(s)
}

// hostUpstreams reads the name servers of the host.
func hostUpstreams(path string) []netip.AddrPort {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	var out []netip.AddrPort
	for line := range strings.SplitSeq(string(b), "\n") {
		if fields := strings.Fields(line); len(fields) >= 2 && fields[0] == "nameserver" {
			if a, err := parseUpstream(fields[1]); err == nil {
				out = append(out, a)
			}
		}
	}
	return out
}
