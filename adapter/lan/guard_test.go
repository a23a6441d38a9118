package lan

import (
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files")

var (
	cam1 = MAC{0x02, 0, 0, 0, 0, 0x01}
	cam2 = MAC{0x02, 0, 0, 0, 0, 0x02}
	cam3 = MAC{0x02, 0, 0, 0, 0, 0x03}
)

func exampleState() GuardState {
	return GuardState{
		Bridge: "cyphonic-lan", Tun: "cyphonic0", Gateway: netip.MustParseAddr("10.77.0.1"),
		Ports:  map[string]bool{"lan1": true, "lan2": true, "lan3": true},
		Listed: map[MAC]bool{cam1: true, cam2: true, cam3: true},
		Admitted: map[MAC]Binding{
			cam1: {Port: "lan1", MAC: cam1, IPv4: netip.MustParseAddr("10.77.0.11")},
			cam2: {Port: "lan2", MAC: cam2, IPv4: netip.MustParseAddr("10.77.0.12")},
		},
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s differs (-want +got); -update writes it:\n%s", path, diff)
	}
}

func TestRules(t *testing.T) {
	golden(t, "closed.nft", Rules(GuardState{Bridge: "cyphonic-lan", Tun: "cyphonic0"}))
	golden(t, "admitted.nft", Rules(exampleState()))
}

func TestChangesTouchOnlyWhatDiffers(t *testing.T) {
	tests := map[string]struct {
		change func(*GuardState)
		want   string
	}{
		"nothing": {func(*GuardState) {}, ""},
		"a general node leaves": {
			func(s *GuardState) { delete(s.Admitted, cam2) },
			`delete element bridge cyphonic_adapter admitted { "lan2" . 02:00:00:00:00:02 . 10.77.0.12 }
delete element bridge cyphonic_adapter self { 10.77.0.12 . 10.77.0.12 }
delete element bridge cyphonic_adapter port { "lan2" . 02:00:00:00:00:02 }
delete element bridge cyphonic_adapter bound { 02:00:00:00:00:02 }
delete element inet cyphonic_adapter virtual { 10.77.0.12 }
`,
		},
		"a general node moves to another port": {
			func(s *GuardState) {
				s.Admitted[cam2] = Binding{Port: "lan3", MAC: cam2, IPv4: netip.MustParseAddr("10.77.0.12")}
			},
			`delete element bridge cyphonic_adapter admitted { "lan2" . 02:00:00:00:00:02 . 10.77.0.12 }
add element bridge cyphonic_adapter admitted { "lan3" . 02:00:00:00:00:02 . 10.77.0.12 }
delete element bridge cyphonic_adapter port { "lan2" . 02:00:00:00:00:02 }
add element bridge cyphonic_adapter port { "lan3" . 02:00:00:00:00:02 }
`,
		},
		"a device is taken off the list": {
			func(s *GuardState) { delete(s.Listed, cam3) },
			"delete element bridge cyphonic_adapter listed { 02:00:00:00:00:03 }\n",
		},
		"a port is plugged in": {
			func(s *GuardState) { s.Ports["lan4"] = true },
			"add element bridge cyphonic_adapter ports { \"lan4\" }\n",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			from, to := exampleState(), exampleState()
			test.change(&to)
			if diff := cmp.Diff(test.want, Changes(from, to)); diff != "" {
				t.Errorf("transaction differs (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAnotherGatewayReplacesEverything(t *testing.T) {
	from, to := exampleState(), exampleState()
	to.Gateway = netip.MustParseAddr("10.78.0.1")
	if got := Changes(from, to); got != Rules(to) {
		t.Errorf("got %q", got)
	}
}

func TestParseMAC(t *testing.T) {
	for text, ok := range map[string]bool{
		"02:00:00:00:00:01": true, "02-00-00-00-00-0A": true, "0200.0000.0001": true,
		"": false, "02:00:00:00:00": false, "ff:ff:ff:ff:ff:ff": false, "01:00:5e:00:00:01": false,
		"00:00:00:00:00:00": false, "02:00:00:00:00:01:02:03": false,
	} {
		if _, err := ParseMAC(text); (err == nil) != ok {
			t.Errorf("ParseMAC(%q) = %v", text, err)
		}
	}
}

func TestInterfaceNamesCannotBreakOutOfTheRules(t *testing.T) {
	for _, name := range []string{"", `a" drop`, "a;b", "sixteen-letters-x", "ä"} {
		if CheckInterfaceName(name) == nil {
			t.Errorf("%q was accepted", name)
		}
	}
	if err := CheckInterfaceName("enp3s0.100"); err != nil {
		t.Error(err)
	}
}

func TestNewNetwork(t *testing.T) {
	n, err := NewNetwork(netip.MustParsePrefix("10.77.3.9/16"), "lab.example")
	if err != nil || n.Gateway.String() != "10.77.0.1" || n.Prefix.String() != "10.77.0.0/16" {
		t.Errorf("got %v, %v", n, err)
	}
	for _, p := range []string{"10.77.0.0/31", "fd77::/64"} {
		if _, err := NewNetwork(netip.MustParsePrefix(p), ""); err == nil || !strings.Contains(err.Error(), p) {
			t.Errorf("%s: %v", p, err)
		}
	}
}
