package adapter

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func load(t *testing.T, text string) (Config, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "adapter.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return LoadConfig(path)
}

func TestAMinimalConfigurationIsCompleted(t *testing.T) {
	c, err := load(t, "name: gate\nauthenticationService: as.example:7441\nlan: {ports: [eth1]}\n")
	if err != nil {
		t.Fatal(err)
	}
	if c.LAN.Interface != "cyphonic-lan" || c.Tun != "cyphonic0" || c.LeaseTime() != 10*time.Minute || !filepath.IsAbs(c.Trust) {
		t.Errorf("got %+v", c)
	}
}

func TestEveryFaultIsNamed(t *testing.T) {
	const good = "name: gate\nauthenticationService: a:1\n"
	tests := map[string]struct{ text, want string }{
		"unknown field":        {good + "lan: {bridge: br0}\n", "bridge"},
		"no name":              {"authenticationService: a:1\n", "name:"},
		"no service":           {"name: gate\n", "authenticationService:"},
		"port name":            {good + "lan: {ports: [\"a b\"]}\n", "lan.ports[0]:"},
		"bridge as its port":   {good + "lan: {interface: br0, ports: [br0]}\n", "lan.ports[0]:"},
		"bridge name":          {good + "lan: {interface: \"a\\\" drop\"}\n", "lan.interface:"},
		"tun equals bridge":    {good + "tun: cyphonic-lan\n", "tun:"},
		"lease":                {good + "lan: {leaseSeconds: 5}\n", "lan.leaseSeconds:"},
		"MTU":                  {good + "mtu: 100\n", "mtu:"},
		"upstream":             {good + "upstreams: [dns]\n", "upstreams[0]:"},
		"metrics without port": {good + "metricsListen: localhost\n", "metricsListen:"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if _, err := load(t, test.text); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error = %v, want one that names %s", err, test.want)
			}
		})
	}
}
