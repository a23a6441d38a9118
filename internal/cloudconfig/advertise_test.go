package cloudconfig

import (
	"testing"
	"time"
)

func TestAdvertise(t *testing.T) {
	for address, ok := range map[string]bool{
		"": true, "manager-1.example.org:7440": true, "192.0.2.1:7440": true, "[2001:db8::1]:7440": true,
		":7440": false, "0.0.0.0:7440": false, "[::]:7440": false, "manager-1": false, "manager-1:0": false, "manager-1:http": false,
	} {
		if err := checkAdvertise(address); (err == nil) != ok {
			t.Errorf("%q: %v", address, err)
		}
	}
}

func TestAManagerThatOthersReplaceTakesItsTime(t *testing.T) {
	for _, k := range []struct {
		name, delay string
		endpoints   []string
		want        time.Duration
	}{
		{"alone", "", nil, 0},
		{"one of several", "", []string{"https://etcd-1:2379"}, defaultShutdownDelay},
		{"as configured", "0s", []string{"https://etcd-1:2379"}, 0},
		{"as configured alone", "2s", nil, 2 * time.Second},
	} {
		c := Default()
		c.Manager.ShutdownDelay, c.Etcd.Endpoints = k.delay, k.endpoints
		m := new(Material)
		c.checkManager(m, time.Now(), func(string, error) {}) // other fields are not configured here
		if m.ShutdownDelay != k.want {
			t.Errorf("%s: %s", k.name, m.ShutdownDelay)
		}
	}
}
