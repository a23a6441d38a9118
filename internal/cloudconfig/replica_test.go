package cloudconfig

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

func cluster(c *Config) { c.Etcd.Endpoints = []string{"https://etcd.example:2379"} }

func TestCheckOfAReplica(t *testing.T) {
	for name, row := range map[string]struct {
		change func(*Config)
		field  string // at fault; empty: none
		say    string
	}{
		"nothing configured":         {func(*Config) {}, "", ""},
		"everything":                 {func(c *Config) { c.Replica.Name, c.Replica.Host = "nms-1", "host-1.example" }, "", ""},
		"name with a slash":          {func(c *Config) { c.Replica.Name = "nms/1" }, "replica.name", "must have only"},
		"name in capitals":           {func(c *Config) { c.Replica.Name = "NMS" }, "replica.name", "a-z"},
		"name too long":              {func(c *Config) { c.Replica.Name = strings.Repeat("x", 64) }, "replica.name", "1 to 63"},
		"name that ends in a dot":    {func(c *Config) { c.Replica.Name = "nms." }, "replica.name", "end with"},
		"host with a space":          {func(c *Config) { c.Replica.Host = "my host" }, "replica.host", "must have only"},
		"addresses":                  {func(c *Config) { c.Replica.Addresses = []string{"192.0.2.1", "2001:db8::1"} }, "", ""},
		"two of a family":            {func(c *Config) { c.Replica.Addresses = []string{"192.0.2.1", "::ffff:192.0.2.2"} }, "replica.addresses", "second of its family"},
		"all addresses":              {func(c *Config) { c.Replica.Addresses = []string{"::"} }, "replica.addresses", "no address"},
		"address with a zone":        {func(c *Config) { c.Replica.Addresses = []string{"fe80::1%eth0"} }, "replica.addresses", "no address"},
		"address with a port":        {func(c *Config) { c.Replica.Addresses = []string{"192.0.2.1:7442"} }, "replica.addresses", "no IP address"},
		"advertised":                 {func(c *Config) { c.TRS.Advertise = []string{"192.0.2.1", "[2001:db8::1]:443"} }, "", ""},
		"advertised without address": {func(c *Config) { c.TRS.Advertise = []string{":7443"} }, "trs.advertise", "neither"},
		"advertised with port 0":     {func(c *Config) { c.TRS.Advertise = []string{"192.0.2.1:0"} }, "trs.advertise", "no port"},
		"advertised twice":           {func(c *Config) { c.TRS.Advertise = []string{"192.0.2.1", "192.0.2.2"} }, "trs.advertise", "second of its family"},
		"wait without unit":          {func(c *Config) { c.Replica.Drain.Wait = "5" }, "replica.drain.wait", "as in 5s"},
		"wait of an hour":            {func(c *Config) { c.Replica.Drain.Wait = "1h" }, "replica.drain.wait", "5m"},
		"hand-over below zero":       {func(c *Config) { c.Replica.Drain.HandOver = "-1s" }, "replica.drain.handOver", "between"},
		"finish of a day":            {func(c *Config) { c.Replica.Drain.Finish = "24h" }, "replica.drain.finish", "1h"},
		"health for everybody":       {func(c *Config) { c.Health.Listen = ":7491" }, "", ""},
		"health without a port":      {func(c *Config) { c.Health.Listen = "192.0.2.1" }, "health.listen", "is not an address"},
		"links without a port":       {func(c *Config) { c.NMS.PeerListen = "" }, "nms.peerListen", "is not an address"},
	} {
		c := Default()
		cluster(&c)
		row.change(&c)
		_, err := c.Check([]string{ServiceNMS, ServiceTRS}, time.Now())
		switch {
		case row.field == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case row.field != "" && (err == nil || !strings.Contains(err.Error(), row.field+": ") || !strings.Contains(err.Error(), row.say)):
			t.Errorf("%s: got %v, want a fault of %s that says %q", name, err, row.field, row.say)
		}
	}
}

func TestWhatAReplicaIsToldByDefault(t *testing.T) {
	c := Default()
	cluster(&c)
	c.TRS.Advertise = []string{"192.0.2.1", "[2001:db8::1]:443"}
	m, err := c.Check([]string{ServiceTRS}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	r := m.Replica
	if r.Wait != 5*time.Second || r.HandOver != 10*time.Second || r.Finish != 30*time.Second || r.Host == "" || r.Name != "" {
		t.Errorf("with a cluster: %+v", r)
	}
	want := []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:7443"), netip.MustParseAddrPort("[2001:db8::1]:443")}
	if !slices.Equal(r.Advertise, want) {
		t.Errorf("advertised: %v", r.Advertise)
	}
	c.Etcd.Endpoints = nil
	alone := new(Material)
	c.checkReplica(alone, func(field string, err error) {
		if err != nil {
			t.Errorf("%s: %v", field, err)
		}
	})
	if alone.Replica.Wait != 0 || alone.Replica.HandOver != 0 || alone.Replica.Finish != 2*time.Second {
		t.Errorf("alone: %+v", alone.Replica)
	}
}

func TestNamesThatSystemsHave(t *testing.T) {
	for system, want := range map[string]string{"Host-1.Example": "host-1.example", strings.Repeat("a", 62) + "-b": strings.Repeat("a", 62), "x": "x"} {
		if got := hostName(system); got != want || checkName(got) != nil {
			t.Errorf("%q becomes %q, want %q", system, got, want)
		}
	}
}
