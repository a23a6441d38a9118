package netconf

import (
	"context"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/cyphonic/cyphonic/internal/netconf/nstest"
)

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

func TestConfigureIsExactAndIdempotent(t *testing.T) {
	if !nstest.Enter(t) {
		return
	}
	nstest.Run(t, "ip", "link", "add", "cyo0", "type", "bridge")
	nstest.Run(t, "ip", "addr", "add", "192.0.2.9/24", "dev", "cyo0")
	want := Interface{
		Name: "cyo0", MTU: 1400,
		Addresses: []netip.Prefix{prefix("10.77.0.5/32"), prefix("fd77::5/128")},
		Routes:    []netip.Prefix{prefix("10.77.0.0/16"), prefix("fd77::/64")},
	}
	for range 2 {
		if err := Configure(want); err != nil {
			t.Fatal(err)
		}
	}
	addresses := nstest.Run(t, "ip", "-o", "addr", "show", "dev", "cyo0")
	for _, s := range []string{"10.77.0.5/32", "fd77::5/128"} {
		if !strings.Contains(addresses, s) {
			t.Errorf("address %s is missing in %q", s, addresses)
		}
	}
	if strings.Contains(addresses, "192.0.2.9") {
		t.Errorf("a stale address stayed: %q", addresses)
	}
	if got := nstest.Run(t, "ip", "route", "show", "10.77.0.0/16"); !strings.Contains(got, "dev cyo0") || !strings.Contains(got, "src 10.77.0.5") {
		t.Errorf("route = %q", got)
	}
	if got := nstest.Run(t, "ip", "-6", "route", "show", "fd77::/64"); !strings.Contains(got, "dev cyo0") {
		t.Errorf("IPv6 route = %q", got)
	}
	if got := nstest.Run(t, "ip", "link", "show", "cyo0"); !strings.Contains(got, "mtu 1400") {
		t.Errorf("link = %q", got)
	}
}

func TestRoutesRulesAndNeighboursComeAndGo(t *testing.T) {
	if !nstest.Enter(t) {
		return
	}
	nstest.Run(t, "ip", "link", "add", "br7", "type", "bridge")
	nstest.Run(t, "ip", "link", "set", "br7", "up")
	route := Route{Interface: "br7", Destination: prefix("10.77.0.9/32"), Table: 7440}
	prohibit := Route{Destination: prefix("0.0.0.0/0"), Table: 7440, Prohibit: true}
	rule := Rule{Interface: "br7", Table: 7440, Priority: 7440}
	neighbour := Neighbour{Interface: "br7", Address: netip.MustParseAddr("10.77.0.9"), MAC: []byte{2, 0, 0, 0, 0, 9}}
	for range 2 {
		for _, err := range []error{SetRoute(route), SetRoute(prohibit), SetRule(rule), SetNeighbour(neighbour)} {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	table := nstest.Run(t, "ip", "route", "show", "table", "7440")
	if !strings.Contains(table, "10.77.0.9 dev br7") || !strings.Contains(table, "prohibit default") {
		t.Errorf("table = %q", table)
	}
	if got := nstest.Run(t, "ip", "rule"); strings.Count(got, "iif br7 lookup 7440") != 1 {
		t.Errorf("rules = %q", got)
	}
	if got := nstest.Run(t, "ip", "neigh", "show", "dev", "br7"); !strings.Contains(got, "02:00:00:00:00:09 PERMANENT") {
		t.Errorf("neighbours = %q", got)
	}
	for range 2 {
		for _, err := range []error{DeleteRoute(route), DeleteRoute(prohibit), DeleteRule(rule), DeleteNeighbour(neighbour)} {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	left := nstest.Run(t, "ip", "rule") + nstest.Run(t, "ip", "neigh")
	if strings.Contains(left, "7440") || strings.Contains(left, "10.77.0.9") {
		t.Errorf("left over: %q", left)
	}
}

func TestSetSysctlNamesTheSettingInItsError(t *testing.T) {
	err := SetSysctl("1", "net", "ipv4", "conf", "nosuch0", "rp_filter")
	if err == nil || !strings.Contains(err.Error(), "net/ipv4/conf/nosuch0/rp_filter") {
		t.Fatalf("error = %v", err)
	}
}

func TestMonitorReportsRealChangesOnly(t *testing.T) {
	if !nstest.Enter(t) {
		return
	}
	defer goleak.VerifyNone(t)
	for _, name := range []string{"wan0", "wan1", "cyo0"} {
		nstest.Run(t, "ip", "link", "add", name, "type", "bridge")
		nstest.Run(t, "ip", "link", "set", name, "up")
	}
	nstest.Run(t, "ip", "addr", "add", "203.0.113.5/24", "dev", "wan0")
	nstest.Run(t, "ip", "addr", "add", "192.168.1.5/24", "dev", "wan1")
	nstest.Run(t, "ip", "route", "add", "default", "via", "192.168.1.1")
	changes := make(chan []netip.Addr, 16)
	m, err := NewMonitor(MonitorOptions{
		ExcludeInterfaces: []string{"cyo0"},
		ExcludePrefixes:   func() []netip.Prefix { return []netip.Prefix{prefix("10.77.0.0/16")} },
		Changed:           func(a []netip.Addr) { changes <- a },
		Log:               slog.New(slog.NewTextHandler(os.Stderr, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := m.Addresses(), []netip.Addr{netip.MustParseAddr("192.168.1.5"), netip.MustParseAddr("203.0.113.5")}; !slices.Equal(got, want) {
		t.Fatalf("first scan = %v, want %v (the default route's interface first)", got, want)
	}
	ctx, cancel := context.WithCancel(context.Background())
	stopped := make(chan error, 1)
	go func() { stopped <- m.Run(ctx) }()
	// Give the subscription a change it must not report, then one that it must.
	nstest.Run(t, "ip", "addr", "add", "10.77.0.5/32", "dev", "wan0")
	nstest.Run(t, "ip", "addr", "add", "198.51.100.1/32", "dev", "cyo0")
	select {
	case a := <-changes:
		t.Fatalf("the overlay's own address was reported: %v", a)
	case <-time.After(3 * settle):
	}
	nstest.Run(t, "ip", "addr", "add", "198.51.100.7/24", "dev", "wan0")
	expect(t, changes, "192.168.1.5", "198.51.100.7", "203.0.113.5")
	nstest.Run(t, "ip", "route", "replace", "default", "via", "203.0.113.1")
	expect(t, changes, "198.51.100.7", "203.0.113.5", "192.168.1.5")
	nstest.Run(t, "ip", "addr", "del", "203.0.113.5/24", "dev", "wan0")
	expect(t, changes, "198.51.100.7", "192.168.1.5")
	cancel()
	if err := <-stopped; err != nil {
		t.Fatal(err)
	}
}

// expect waits for a report that equals want; earlier states of the same burst are allowed to pass.
func expect(t *testing.T, changes <-chan []netip.Addr, want ...string) {
	t.Helper()
	var addresses []netip.Addr
	for _, w := range want {
		addresses = append(addresses, netip.MustParseAddr(w))
	}
	deadline := time.After(5 * time.Second)
	var last []netip.Addr
	for {
		select {
		case last = <-changes:
			if slices.Equal(last, addresses) {
				return
			}
		case <-deadline:
			t.Fatalf("no report of %v within 5 s; last was %v", addresses, last)
		}
	}
}
