package main

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"

	"github.com/cyphonic/cyphonic/adapter"
	"github.com/cyphonic/cyphonic/adapter/lan"
	"github.com/cyphonic/cyphonic/internal/endpoint"
)

func TestTheTableShowsWhatMatters(t *testing.T) {
	s := adapter.Status{
		Name: "gate", Phase: "Up",
		LAN: adapter.LANStatus{
			Interface: "cyphonic-lan", Drops: map[string]uint64{"unlisted_mac": 7, "ipv6": 0},
			Unlisted: []lan.Sighting{{MAC: lan.MAC{2, 0, 0, 0, 0, 9}, Port: "lan3"}},
		},
		GeneralNodes: []adapter.GeneralNodeStatus{
			{Name: "cam1", MAC: lan.MAC{2, 0, 0, 0, 0, 1}, Phase: "Up", Port: "lan1", FQDN: "cam1.lab.example", VirtualIPv4: netip.MustParseAddr("10.77.0.11")},
			{Name: "cam2", Phase: "Failed", Reason: "LoginDenied: no"},
		},
		Status: endpoint.Status{Locals: []endpoint.LocalStatus{{
			FQDN: "cam1.lab.example", Observed: netip.MustParseAddrPort("198.51.100.2:4500"),
			Peers: []endpoint.PeerStatus{{FQDN: "viewer.lab.example", Path: "punched"}},
		}}},
	}
	var b bytes.Buffer
	if err := writeStatus(&b, s); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"unlisted_mac 7", "198.51.100.2:4500", "viewer.lab.example punched", "Failed (LoginDenied)  -", "\ncam2: no\n", "02:00:00:00:00:09  lan3"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is missing in\n%s", want, b.String())
		}
	}
	if strings.Contains(b.String(), "ipv6 0") {
		t.Error("a reason that never counted is shown")
	}
}
