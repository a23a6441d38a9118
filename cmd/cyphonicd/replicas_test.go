package main

import (
	"net/netip"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/pflag"

	"github.com/cyphonic/cyphonic/internal/cloudconfig"
	"github.com/cyphonic/cyphonic/internal/keyspace"
)

func TestIdentitiesOfReplicas(t *testing.T) {
	v4, v6 := netip.MustParseAddr("192.0.2.7"), netip.MustParseAddr("2001:db8::7")
	loopback := netip.MustParseAddr("127.0.0.1")
	for name, row := range map[string]struct {
		configured string
		addresses  []netip.Addr
		listen     string
		etcd       []string
		services   []string
		name       string // a pattern
		want       []netip.Addr
	}{
		"on its own":           {"", nil, ":7442", nil, []string{"nms"}, "^nms-[0-9a-f]{16}$", []netip.Addr{loopback}},
		"named":                {"n1", nil, ":7442", nil, []string{"nms"}, "^n1$", []netip.Addr{loopback}},
		"named, one of many":   {"n1", nil, ":7442", nil, []string{"as", "nms"}, "^nms-n1$", []netip.Addr{loopback}},
		"configured addresses": {"", []netip.Addr{v4, v6}, "192.0.2.9:7442", nil, []string{"nms"}, "^nms-", []netip.Addr{v4, v6}},
		"listens on one":       {"", nil, "[2001:db8::7]:7442", []string{"http://127.0.0.1:2379"}, []string{"nms"}, "^nms-", []netip.Addr{v6}},
		"towards etcd":         {"", nil, "0.0.0.0:7442", []string{"http://127.0.0.1:2379"}, []string{"nms"}, "^nms-", []netip.Addr{loopback}},
		"towards the second":   {"", nil, ":7442", []string{"http://[fe80::1]:2379", "https://127.0.0.1"}, []string{"nms"}, "^nms-", []netip.Addr{loopback}},
	} {
		o := cloudOptions{services: row.services, material: &cloudconfig.Material{}}
		o.config.Etcd.Endpoints = row.etcd
		o.material.Replica = cloudconfig.ReplicaMaterial{Name: row.configured, Host: "host-1", Addresses: row.addresses}
		got, err := identify(o, "nms", row.listen)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if !regexp.MustCompile(row.name).MatchString(got.Name) || !slices.Equal(got.Addresses, row.want) || got.Host != "host-1" || got.Version == "" {
			t.Errorf("%s: %+v", name, got)
		}
		if err := got.Check(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTheLoadIsMeasured(t *testing.T) {
	registry := prometheus.NewRegistry()
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	s, err := newSampler(registry, func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	cpu := prometheus.NewCounter(prometheus.CounterOpts{Name: "process_cpu_seconds_total"})
	memory := prometheus.NewGauge(prometheus.GaugeOpts{Name: "process_resident_memory_bytes"})
	logins := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "cyphonic_as_logins_total"}, []string{"outcome"})
	watches := prometheus.NewGauge(prometheus.GaugeOpts{Name: "cyphonic_manager_watches"})
	registry.MustRegister(cpu, memory, logins, watches)
	var told []keyspace.Load
	s.add(cloudconfig.ServiceAS, func() int { return 7 }, func(l keyspace.Load) { told = append(told, l) })
	s.add(cloudconfig.ServiceManager, nil, nil)

	cpu.Add(100)
	memory.Set(1 << 20)
	watches.Set(3)
	logins.WithLabelValues("granted").Add(1000)
	s.sample()
	now = now.Add(5 * time.Second)
	cpu.Add(2.5)
	logins.WithLabelValues("granted").Add(40)
	logins.WithLabelValues("password").Add(10)
	s.sample()
	want := []keyspace.Load{{Memory: 1 << 20, Sessions: 7}, {CPU: 0.5, Memory: 1 << 20, Requests: 10, Sessions: 7}}
	if !slices.Equal(told, want) {
		t.Errorf("got %+v, want %+v", told, want)
	}
	if got := s.load(cloudconfig.ServiceManager); got != (keyspace.Load{CPU: 0.5, Memory: 1 << 20, Sessions: 3}) {
		t.Errorf("manager: %+v", got)
	}
	s.sample() // at the same moment
	if got := s.load(cloudconfig.ServiceAS); got.Requests != 0 || got.CPU != 0 {
		t.Errorf("without time in between: %+v", got)
	}
}

// TestAddressesComeAsAListToo is what Kubernetes puts in for $(POD_IPS).
func TestAddressesComeAsAListToo(t *testing.T) {
	var r replicaFlags
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	r.add(flags)
	if err := flags.Parse([]string{"--address=192.0.2.7,2001:db8::7", "--advertise=192.0.2.1", "--advertise=2001:db8::1"}); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(r.addresses, []string{"192.0.2.7", "2001:db8::7"}) || !slices.Equal(r.advertise, []string{"192.0.2.1", "2001:db8::1"}) {
		t.Errorf("%q, %q", r.addresses, r.advertise)
	}
}
