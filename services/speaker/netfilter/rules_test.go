package netfilter

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func count(owners []string) map[string]int {
	have := map[string]int{}
	for _, owner := range owners {
		have[owner]++
	}
	return have
}

func TestSlotsAreEvenAndMoveOnlyWhenTheyMust(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var owners, before []string
		for range 10 {
			backends := rapid.SliceOfNDistinct(rapid.IntRange(0, 12), 1, 9, rapid.ID[int]).Draw(t, "backends")
			slices.Sort(backends)
			var names []string
			for _, b := range backends {
				names = append(names, fmt.Sprint("r", b))
			}
			before, owners = owners, assign(owners, names)
			have := count(owners)
			moved, must := 0, 0
			for i := range before {
				if before[i] != owners[i] {
					moved++
				}
			}
			for name, n := range count(before) {
				must += max(0, n-have[name]) // what a backend has to give
			}
			if moved != must {
				t.Fatalf("%d slots moved, %d had to: %v → %v", moved, must, count(before), have)
			}
			for _, name := range names {
				if n := have[name]; n < slotCount/len(names) || n > slotCount/len(names)+1 {
					t.Fatalf("%s has %d of %d slots, %d backends", name, n, slotCount, len(names))
				}
			}
		}
	})
	if owners := assign([]string{"a"}, nil); owners != nil {
		t.Errorf("slots without backends: %v", owners)
	}
}

// state is one with every kind of backend.
func someState() State {
	address := netip.MustParseAddr
	return State{
		Services: []Service{
			{Name: "nms", Protocol: UDP, VIP: []netip.Addr{address(vip4), address(vip6)}, Port: udpPort, Backends: []Backend{
				{Name: "a", Address: []netip.Addr{address(one4), address(one6)}, Port: 1}, {Name: "b", Address: []netip.Addr{address(pod4)}, Port: 1},
			}},
			{Name: "as", Protocol: TCP, VIP: []netip.Addr{address(vip4)}, Port: tcpPort, Backends: []Backend{{Name: "a", Address: []netip.Addr{address(one4)}, Port: 1}}},
		},
		Hosts: []netip.Addr{address(two4), address(two6)}, Direct: []netip.AddrPort{netip.MustParseAddrPort("10.9.0.2:7443")},
	}
}

func planOf(s State) plan {
	p := plan{State: s.normal(), seed: 1, slots: map[slotKey]slots{}, local: map[netip.Addr]bool{netip.MustParseAddr(one4): true, netip.MustParseAddr(one6): true}}
	for _, f := range []family{ipv4, ipv6} {
		for _, service := range p.Services {
			p.slots[slotKey{service.Name, f.name}] = slots{}.next(f.takers(service))
		}
	}
	return p
}

func TestEqualStatesChangeNothing(t *testing.T) {
	other := someState()
	slices.Reverse(other.Services)
	slices.Reverse(other.Services[1].Backends)
	slices.Reverse(other.Hosts)
	for _, f := range []family{ipv4, ipv6} {
		installed := planOf(someState()).rules(f).content()
		rules := planOf(other).rules(f)
		if change, clean := rules.change(f, "t", installed), stale("t", installed, rules.content()); change+clean != "" {
			t.Errorf("%s: an equal state changes\n%s%s", f.name, change, clean)
		}
	}
}

func TestNoElementIsReplaced(t *testing.T) {
	before := planOf(someState())
	drained := someState()
	drained.Services[0].Backends[0].Draining = true
	drained.Services[0].Backends = append(drained.Services[0].Backends, Backend{Name: "c", Address: []netip.Addr{netip.MustParseAddr(one4)}, Port: 3})
	after := planOf(drained)
	key := slotKey{"nms", "ip"}
	after.slots[key] = before.slots[key].next(ipv4.takers(drained.Services[0]))
	have, wanted := before.rules(ipv4).content(), after.rules(ipv4)
	change, clean := wanted.change(ipv4, "t", have), stale("ip t", have, wanted.content())
	for _, line := range strings.Split(change, "\n") {
		if strings.HasPrefix(line, "delete") || strings.HasPrefix(line, "flush set") || strings.HasPrefix(line, "flush map") {
			t.Errorf("the first transaction takes something away: %s", line)
		}
	}
	if !strings.Contains(change, "slots/nms/2") || !strings.Contains(clean, "delete set ip t slots/nms/1") {
		t.Errorf("the slots are not in a new map:\n%s\n%s", change, clean)
	}
	all := have.with(wanted.content())
	if left := stale("ip t", all.without(wanted.content()), wanted.content()); left != "" {
		t.Errorf("cleaned up, and still there is\n%s", left)
	}
}

func TestConnectionsAreTrackedFromTheFirstBackendOn(t *testing.T) {
	s := someState()
	for _, row := range []struct {
		backends []Backend
		tracked  bool // before
		want     bool
	}{{nil, false, false}, {s.Services[1].Backends, false, true}, {nil, true, true}} {
		s.Services[1].Backends = row.backends
		p := planOf(s)
		p.tracked = map[string]bool{"ip": row.tracked, "ip6": row.tracked}
		change := p.rules(ipv4).change(ipv4, "t", content{})
		for _, text := range []string{"type nat", "ct state", "ct timeout"} {
			if strings.Contains(change, text) != row.want {
				t.Errorf("%+v: %q there: %v", row, text, !row.want)
			}
		}
		if !row.want && !strings.Contains(change, vip4+" . 6 . 7441 : goto spread/as") {
			t.Errorf("what comes for the service without a backend is not dropped:\n%s", change)
		}
		if change := p.rules(ipv6).change(ipv6, "t", content{}); strings.Contains(change, "ct state") {
			t.Errorf("there is no service for TCP over IPv6:\n%s", change)
		}
	}
}

func TestStatesThatCannotBe(t *testing.T) {
	if err := someState().Validate(); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*State){
		"name":                  func(s *State) { s.Services[0].Name = "a b" },
		"name twice":            func(s *State) { s.Services[0].Name = "as" },
		"protocol":              func(s *State) { s.Services[0].Protocol = "sctp" },
		"port":                  func(s *State) { s.Services[0].Port = 0 },
		"no VIP":                func(s *State) { s.Services[0].VIP = nil },
		"VIP is loopback":       func(s *State) { s.Services[0].VIP[0] = netip.MustParseAddr("127.0.0.1") },
		"VIP twice":             func(s *State) { s.Services[1].Protocol, s.Services[1].Port = UDP, udpPort },
		"two VIPs of UDP":       func(s *State) { s.Services[0].VIP[1] = netip.MustParseAddr("192.0.2.9") },
		"backend is a VIP":      func(s *State) { s.Services[0].Backends[0].Address[0] = netip.MustParseAddr(vip4) },
		"backend twice":         func(s *State) { s.Services[0].Backends[1].Name = "a" },
		"socket twice":          func(s *State) { s.Services[0].Backends[1].Address[0] = netip.MustParseAddr(one4) },
		"backend without port":  func(s *State) { s.Services[0].Backends[0].Port = 0 },
		"backend of nowhere":    func(s *State) { s.Services[0].Backends[0].Address = nil },
		"two IPv4 addresses":    func(s *State) { s.Services[0].Backends[0].Address[1] = netip.MustParseAddr("10.9.0.77") },
		"host is a VIP":         func(s *State) { s.Hosts[0] = netip.MustParseAddr(vip4) },
		"host is no address":    func(s *State) { s.Hosts[0] = netip.Addr{} },
		"direct without port":   func(s *State) { s.Direct[0] = netip.MustParseAddrPort("10.9.0.2:0") },
		"too many hosts":        func(s *State) { s.Hosts = slices.Repeat(s.Hosts, maxHosts) },
		"too many backends":     func(s *State) { s.Services[0].Backends = slices.Repeat(s.Services[0].Backends, maxBackends) },
		"too many services":     func(s *State) { s.Services = slices.Repeat(s.Services, maxServices) },
		"rules in a name":       func(s *State) { s.Services[0].Backends[0].Name = "a; flush ruleset" },
		"line break in a name":  func(s *State) { s.Services[0].Name = "a\nflush ruleset" },
		"too long a name":       func(s *State) { s.Services[0].Name = strings.Repeat("a", 64) },
		"too many direct":       func(s *State) { s.Direct = slices.Repeat(s.Direct, maxDirect+1) },
		"mapped IPv4 in a host": func(s *State) { s.Hosts[0] = netip.MustParseAddr("::ffff:10.0.0.1") },
	} {
		s := someState()
		spoil(&s)
		if s.Validate() == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"nftables":[{"chain":{"name":"spread/a"}},{"rule":{"chain":"spread/a","expr":[{"vmap":{"key":{"jhash":{"mod":840,"seed":7}},"data":"@slots/a/3"}}]}},{"map":{"name":"slots/a/3","elem":[[5,{"goto":{"target":"to/a/r"}}]]}},{"set":{"name":"vips","elem":["192.0.2.1",{"concat":["::1","tcp",4]}]}},{"counter":{"name":"c","packets":3}}]}`))
	f.Fuzz(func(_ *testing.T, data []byte) { _, _ = parse(data) })
}

func TestAForeignTableIsReadAsFarAsItIsOurs(t *testing.T) {
	got, err := parse([]byte(`{"nftables":[{"rule":{"chain":"spread/a","expr":[{"vmap":{"key":{"jhash":{"mod":840,"seed":7}},"data":"@slots/a/3"}}]}},{"map":{"name":"slots/a/3","elem":[[5,{"goto":{"target":"to/a/r"}}]]}},{"set":{"name":"odd","elem":[{"range":[1,2]}]}}]}`))
	if err != nil || got.seed != 7 || got.slots["a"].version != 3 || got.slots["a"].owners[5] != "r" {
		t.Errorf("%+v, %v", got, err)
	}
	if elements, there := got.sets["odd"]; !there || elements != nil {
		t.Errorf("elements that are not understood were read as %v", elements)
	}
}

func TestNftIsTakenFromTheSystemBeforePATH(t *testing.T) {
	system, path := t.TempDir(), t.TempDir()
	t.Setenv("PATH", path)
	if found, err := findProgram(system); err == nil {
		t.Errorf("found %s where there is none", found)
	}
	for _, folder := range []string{path, system} {
		want := filepath.Join(folder, "nft")
		if err := os.WriteFile(want, nil, 0o755); err != nil {
			t.Fatal(err)
		}
		if found, err := findProgram(filepath.Join(system, "none"), system); err != nil || string(found) != want {
			t.Errorf("found %q, %v, want %s", found, err, want)
		}
	}
}
