package node

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cyphonic/cyphonic/internal/login"
)

func load(t *testing.T, text string) (Config, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "node.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return LoadConfig(path)
}

func TestAMinimalConfigurationIsCompleted(t *testing.T) {
	c, err := load(t, "name: viewer\nauthenticationService: as.example:7441\n")
	if err != nil {
		t.Fatal(err)
	}
	if c.MTU != 1400 || c.Resolver.Listen != defaultResolver || c.Interface != defaultInterface || !filepath.IsAbs(c.Trust) || filepath.Base(c.Trust) != "trust.json" {
		t.Errorf("got %+v", c)
	}
}

func TestEveryFaultIsNamed(t *testing.T) {
	tests := map[string]struct{ text, want string }{
		"unknown field":       {"name: viewer\nauthenticationService: a:1\nnmae: x\n", "nmae"},
		"no name":             {"authenticationService: a:1\n", "name:"},
		"no service":          {"name: viewer\n", "authenticationService:"},
		"service, no port":    {"name: viewer\nauthenticationService: as.example\n", "authenticationService:"},
		"public resolver":     {"name: v\nauthenticationService: a:1\nresolver: {listen: \"192.0.2.1:53\"}\n", "resolver.listen:"},
		"unknown integration": {"name: v\nauthenticationService: a:1\nresolver: {integration: nm}\n", "resolver.integration:"},
		"bad upstream":        {"name: v\nauthenticationService: a:1\nresolver: {upstreams: [dns.example]}\n", "resolver.upstreams[0]:"},
		"small MTU":           {"name: v\nauthenticationService: a:1\nmtu: 576\n", "mtu:"},
		"too many workers":    {"name: v\nauthenticationService: a:1\nworkers: 1000\n", "workers:"},
		"backend":             {"name: v\nauthenticationService: a:1\ntunBackend: tap\n", "tunBackend:"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if _, err := load(t, test.text); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error = %v, want one that names %s", err, test.want)
			}
		})
	}
	_, err := load(t, "mtu: 1\nworkers: -1\n")
	if err == nil || strings.Count(err.Error(), "\n") != 4 {
		t.Errorf("faults are not told all at once: %v", err)
	}
}

func TestDomainsHaveReverseZonesWhereLabelsAllow(t *testing.T) {
	for prefixes, want := range map[[2]string][]string{
		{"10.77.0.0/16", "fd77:1::/64"}: {"lab.example", "77.10.in-addr.arpa", "0.0.0.0.0.0.0.0.1.0.0.0.7.7.d.f.ip6.arpa"},
		{"10.77.0.0/20", "fd77::/62"}:   {"lab.example"},
	} {
		g := &login.Grant{Domain: "lab.example", IPv4Prefix: netip.MustParsePrefix(prefixes[0]), IPv6Prefix: netip.MustParsePrefix(prefixes[1])}
		if got := domains(g); !slices.Equal(got, want) {
			t.Errorf("%v: got %v, want %v", prefixes, got, want)
		}
	}
}

func TestShortNamesGetTheDomain(t *testing.T) {
	for name, want := range map[string]string{"cam1": "cam1.lab.example", "Cam1.Lab.Example.": "cam1.lab.example"} {
		if got := qualified(name, "lab.example"); got != want {
			t.Errorf("%s became %s", name, got)
		}
	}
}
