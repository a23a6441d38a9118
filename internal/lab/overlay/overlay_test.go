package overlay

import (
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cyphonic/cyphonic/internal/lab"
)

func TestTopologiesAreValidAndCollideWithNoVirtualPrefix(t *testing.T) {
	topology := DemoTopology()
	AddPublicHost(&topology, "alpha", "192.0.2.2/28", "2001:db8:a::2/64")
	AddSite(&topology, "natc", lab.NATSymmetric, "192.0.2.50/28", "192.168.30.0/24", "gamma", "delta")
	if err := topology.Validate(); err != nil {
		t.Fatal(err)
	}
	virtual := lab.Prefixes("100.96.0.0/16", "fc00::/7")
	seen := 0
	for _, link := range topology.Links {
		for _, prefix := range append(link.A.Addresses, link.B.Addresses...) {
			seen++
			for _, v := range virtual {
				if v.Overlaps(prefix) {
					t.Errorf("%s overlaps the virtual prefix %s", prefix, v)
				}
			}
		}
	}
	if seen < 10 {
		t.Errorf("only %d addresses in the topology", seen)
	}
}

func TestASiteRoutesThroughItsTranslator(t *testing.T) {
	topology := InternetTopology()
	AddSite(topology, "nat", lab.NATPortPreserving, "198.51.100.2/25", "192.168.10.0/24", "one", "two")
	want := map[string]string{"one": "192.168.10.2/24", "two": "192.168.10.3/24", "nat": "198.51.100.2/25"}
	for _, link := range topology.Links {
		if address, ok := want[link.B.Host]; ok {
			if link.B.Addresses[0] != netip.MustParsePrefix(address) {
				t.Errorf("%s has %v, want %s", link.B.Host, link.B.Addresses, address)
			}
			delete(want, link.B.Host)
		}
	}
	if len(want) > 0 {
		t.Errorf("no link for %v", want)
	}
}

func TestStatusFindsIdentitiesAndPeers(t *testing.T) {
	var status Status
	text := `{"locals":[{"nodeID":"ab","fqdn":"a.net","virtualIPv4":"100.96.0.2","registered":true,"observed":"198.51.100.2:41000",
		"peers":[{"fqdn":"b.net","path":"punched","address":"198.51.100.130:42000","setupSeconds":0.25}]},{"fqdn":"c.net","peers":[]}]}`
	if err := json.Unmarshal([]byte(text), &status); err != nil {
		t.Fatal(err)
	}
	peer, err := status.Peer("a.net", "b.net")
	if err != nil || peer.Path != "punched" || peer.SetupTime().Milliseconds() != 250 {
		t.Errorf("%+v, %v", peer, err)
	}
	if err := status.registered(1); err != nil {
		t.Error(err)
	}
	if err := status.registered(2); err == nil {
		t.Error("one registered identity counted as two")
	}
	for _, pair := range [][2]string{{"a.net", "c.net"}, {"b.net", "a.net"}, {"c.net", "a.net"}} {
		if _, err := status.Peer(pair[0], pair[1]); err == nil {
			t.Errorf("found a tunnel from %s to %s", pair[0], pair[1])
		}
	}
}

func TestFindProgramsNamesWhatIsMissing(t *testing.T) {
	directory := t.TempDir()
	for _, name := range programNames() {
		_, err := FindPrograms(directory)
		if err == nil || !strings.Contains(err.Error(), "make build") {
			t.Errorf("before %s: %v", name, err)
		}
		if err := os.WriteFile(filepath.Join(directory, name), nil, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := FindPrograms(directory); err != nil {
		t.Error(err)
	}
}
