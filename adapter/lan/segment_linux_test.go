package lan

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mdlayher/packet"

	"github.com/cyphonic/cyphonic/internal/netconf/nstest"
)

// clientScript configures the interface for both clients, which speak of it with different variables.
const clientScript = `#!/bin/sh
case "${reason:-$1}" in
bound|renew|BOUND|RENEW|REBIND|REBOOT)
	ip addr replace "${ip:-$new_ip_address}/16" dev eth0
	ip link set eth0 mtu "${mtu:-$new_interface_mtu}"
	ip route replace default via "${router:-$new_routers}" dev eth0
	echo "${dns:-$new_domain_name_servers} ${domain:-$new_domain_name}" > "$OUT"
	;;
esac
`

func TestUnchangedDevicesNeedNothingButDHCP(t *testing.T) {
	if !nstest.Enter(t, "gn1", "gn2", "gn3") {
		return
	}
	b := newBench(t)
	dir := t.TempDir()
	script := filepath.Join(dir, "script")
	if err := os.WriteFile(script, []byte(clientScript), 0o755); err != nil {
		t.Fatal(err)
	}
	clients := map[string][]string{
		"gn1": {"udhcpc", "-i", "eth0", "-f", "-q", "-n", "-t", "5", "-T", "1", "-O", "mtu", "-s", script},
		"gn2": {
			"dhclient", "-1", "-v", "-sf", script, "-lf", dir + "/leases", "-pf", dir + "/pid", "-cf", "/dev/null",
			"-e", "OUT=" + dir + "/gn2", "eth0",
		},
	}
	for _, d := range devices[:2] {
		t.Run(clients[d.name][0], func(t *testing.T) {
			cmd := nstest.Command(d.name, clients[d.name]...)
			cmd.Env = append(os.Environ(), "OUT="+dir+"/"+d.name)
			var out strings.Builder
			cmd.Stdout, cmd.Stderr = &out, &out
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			done := make(chan error, 1)
			go func() { done <- cmd.Wait() }()
			select { // the offer must be held while the login is not done
			case err := <-done:
				t.Fatalf("the client ended before the login: %v: %s", err, out.String())
			case <-time.After(500 * time.Millisecond):
			}
			b.admit(t, d)
			select {
			case err := <-done:
				if err != nil {
					t.Fatalf("%v: %s", err, out.String())
				}
			case <-time.After(20 * time.Second):
				t.Fatalf("no lease: %s", out.String())
			}
			b.checkLeased(t, d, filepath.Join(dir, d.name))
		})
	}
	t.Run("renewal and release", func(t *testing.T) {
		nstest.Exec(t, "gn2", "dhclient", "-r", "-v", "-sf", script, "-lf", dir+"/leases", "-pf", dir+"/pid", "-cf", "/dev/null", "eth0")
		deadline := time.Now().Add(5 * time.Second)
		for b.lastEvent(cam2) != EventReleased {
			if time.Now().After(deadline) {
				t.Fatalf("events of cam2 = %v, want a release at the end", b.events[cam2])
			}
			time.Sleep(20 * time.Millisecond)
		}
	})
}

// checkLeased checks what a device can do with nothing but its lease.
func (b *bench) checkLeased(t *testing.T, d device, resolver string) {
	t.Helper()
	if got := b.lastEvent(d.mac); got != EventLeased {
		t.Errorf("event = %v, want leased", got)
	}
	if got := nstest.Exec(t, d.name, "ip", "addr", "show", "eth0"); !strings.Contains(got, d.ip.String()+"/16") || !strings.Contains(got, "mtu 1400") {
		t.Errorf("interface = %s", got)
	}
	if got, err := os.ReadFile(resolver); err != nil || strings.TrimSpace(string(got)) != "10.77.0.1 lab.example" {
		t.Errorf("resolver = %q, %v", got, err)
	}
	nstest.Exec(t, d.name, "ping", "-c", "2", "-i", "0.2", "-W", "2", "10.77.0.1")
	text := "hello from " + d.name
	nstest.Exec(t, d.name, "sh", "-c", fmt.Sprintf("echo '%s' > /dev/udp/10.77.9.9/9 2>/dev/null || bash -c \"echo '%s' > /dev/udp/10.77.9.9/9\"", text, text))
	if from, ok := b.receivedByTun(text, 3*time.Second); !ok || from != d.ip {
		t.Errorf("packet to a peer came from %v, %v; want %v", from, ok, d.ip)
	}
	// The peer's address is answered with the bridge's MAC, at once.
	if got := nstest.Exec(t, d.name, "ip", "neigh", "show", "10.77.9.9"); !strings.Contains(got, b.bridge.String()) {
		t.Errorf("neighbour of a peer = %q, want %s", got, b.bridge)
	}
	// Nobody contests the device's own address, neither a probe (RFC 5227) nor an announcement.
	nstest.Exec(t, d.name, "arping", "-D", "-c", "2", "-w", "2", "-I", "eth0", d.ip.String())
	out, _ := nstest.Command(d.name, "arping", "-U", "-c", "2", "-w", "2", "-I", "eth0", d.ip.String()).CombinedOutput()
	if !strings.Contains(string(out), "Received 0 response") {
		t.Errorf("somebody answered the announcement of %v: %s", d.ip, out)
	}
	// An address outside of the overlay leads nowhere.
	if out, err := nstest.Command(d.name, "ping", "-c", "1", "-W", "1", "192.0.2.1").CombinedOutput(); err == nil {
		t.Errorf("a foreign network was reached: %s", out)
	}
}

// secret is in everything that an attack sends.
const secret = "SECRET-PATTERN"

// attack is a frame of a device and the reason for which it is dropped.
type attack struct {
	from   string
	frame  []byte
	reason string
}

// attacks expect cam1 to be admitted, cam2 to be in the list, cam3 not to be.
func attacks(bridge MAC) map[string]attack {
	gn1, gn2, gn3 := devices[0], devices[1], devices[2]
	peer, gateway, any4 := netip.MustParseAddr("10.77.9.9"), netip.MustParseAddr("10.77.0.1"), netip.IPv4Unspecified()
	everyone := netip.MustParseAddr("255.255.255.255")
	return map[string]attack{
		"a device that is not in the list": {"gn3", ethernet(bridge, cam3, 0x0800, udp4(gn3.ip, peer, 9, 9, secret)), "unlisted_mac"},
		"its DHCP question":                {"gn3", ethernet(broadcast, cam3, 0x0800, udp4(any4, everyone, 68, 67, secret)), "unlisted_mac"},
		"its ARP question":                 {"gn3", ethernet(broadcast, cam3, 0x0806, arp(1, cam3, gn3.ip, MAC{}, gateway)), "unlisted_mac"},
		"another's MAC on another port":    {"gn3", ethernet(bridge, cam1, 0x0800, udp4(gn1.ip, peer, 9, 9, secret)), "wrong_port"},
		"another's MAC asking DHCP":        {"gn3", ethernet(broadcast, cam1, 0x0800, udp4(any4, everyone, 68, 67, secret)), "wrong_port"},
		"listed but not logged in":         {"gn2", ethernet(bridge, cam2, 0x0800, udp4(gn2.ip, peer, 9, 9, secret)), "not_admitted"},
		"another's address":                {"gn1", ethernet(bridge, cam1, 0x0800, udp4(gn2.ip, peer, 9, 9, secret)), "foreign_ip"},
		"the gateway's address":            {"gn1", ethernet(bridge, cam1, 0x0800, udp4(gateway, peer, 9, 9, secret)), "foreign_ip"},
		"an address out of nowhere":        {"gn1", ethernet(bridge, cam1, 0x0800, udp4(netip.MustParseAddr("8.8.8.8"), peer, 9, 9, secret)), "foreign_ip"},
		"ARP reply for the gateway":        {"gn1", ethernet(cam2, cam1, 0x0806, arp(2, cam1, gateway, cam2, gn2.ip)), "arp_spoof"},
		"ARP with another's MAC inside":    {"gn1", ethernet(broadcast, cam1, 0x0806, arp(1, cam2, gn1.ip, MAC{}, gateway)), "arp_spoof"},
		"ARP announcing another's address": {"gn1", ethernet(broadcast, cam1, 0x0806, arp(1, cam1, gn2.ip, MAC{}, gn2.ip)), "arp_spoof"},
		"rogue DHCP server":                {"gn1", ethernet(broadcast, cam1, 0x0800, udp4(gn1.ip, everyone, 67, 68, secret)), "rogue_dhcp"},
		"rogue DHCP server, not listed":    {"gn3", ethernet(cam1, cam3, 0x0800, udp4(gateway, gn1.ip, 67, 68, secret)), "rogue_dhcp"},
		"IPv6 router advertisement":        {"gn1", ethernet(MAC{0x33, 0x33, 0, 0, 0, 1}, cam1, 0x86dd, routerAdvertisement()), "rogue_ra"},
		"other IPv6":                       {"gn1", ethernet(bridge, cam1, 0x86dd, plainIPv6()), "ipv6"},
		"a protocol of its own":            {"gn1", ethernet(broadcast, cam1, 0x88b5, []byte(secret)), "other_protocol"},
		"to a port of the adapter":         {"gn1", ethernet(bridge, cam1, 0x0800, udp4(gn1.ip, gateway, 9, 22, secret)), "adapter_service"},
	}
}

func TestWhatTheGuardDrops(t *testing.T) {
	if !nstest.Enter(t, "gn1", "gn2", "gn3") {
		return
	}
	b := newBench(t)
	gn1, gn2, gn3 := devices[0], devices[1], devices[2]
	b.admit(t, gn1) // cam2 is in the list but not logged in, cam3 is not in the list
	configure(t, gn1)
	wires := map[string]*packet.Conn{"gn1": wireOf(t, gn1), "gn2": wireOf(t, gn2), "gn3": wireOf(t, gn3)}
	bridge, peer := MAC(b.bridge), netip.MustParseAddr("10.77.9.9")
	for name, test := range attacks(bridge) {
		t.Run(name, func(t *testing.T) {
			before := b.count(t, test.reason)
			send(t, wires[test.from], test.frame)
			deadline := time.Now().Add(3 * time.Second)
			for b.count(t, test.reason) == before {
				if time.Now().After(deadline) {
					t.Fatalf("%s did not count", test.reason)
				}
				time.Sleep(10 * time.Millisecond)
			}
		})
	}
	t.Run("nothing of it went anywhere", func(t *testing.T) {
		if from, ok := b.receivedByTun(secret, 300*time.Millisecond); ok {
			t.Errorf("a packet from %v reached the virtual interface", from)
		}
		for name, w := range wires {
			for _, f := range drain(w) {
				source := MAC(f[6:12])
				for _, d := range devices {
					if source == d.mac && d.name != name {
						t.Errorf("%s saw a frame of %s: %x", name, d.name, f)
					}
				}
			}
		}
	})
	t.Run("unlisted devices are shown to the operator", func(t *testing.T) {
		seen, err := b.segment.Unlisted(context.Background())
		if err != nil || !slices.Contains(seen, Sighting{MAC: cam3, Port: "lan3"}) {
			t.Errorf("seen = %v, %v", seen, err)
		}
	})
	t.Run("the honest device goes on", func(t *testing.T) {
		send(t, wires["gn1"], ethernet(bridge, cam1, 0x0800, udp4(gn1.ip, peer, 9, 9, "still here")))
		if from, ok := b.receivedByTun("still here", 3*time.Second); !ok || from != gn1.ip {
			t.Errorf("packet came from %v, %v", from, ok)
		}
		// Its permanent entry was not touched by the ARP tricks.
		if got := nstest.Run(t, "ip", "neigh", "show", "dev", bridgeName); !strings.Contains(got, gn1.ip.String()+" lladdr "+cam1.String()+" PERMANENT") {
			t.Errorf("neighbours = %q", got)
		}
	})
}

func TestDevicesReachEachOtherOnlyThroughTheTunnel(t *testing.T) {
	if !nstest.Enter(t, "gn1", "gn2", "gn3") {
		return
	}
	b := newBench(t)
	for _, d := range devices[:2] {
		b.admit(t, d)
		configure(t, d)
	}
	seen := wireOf(t, devices[1])
	nstest.Exec(t, "gn1", "bash", "-c", "echo neighbour-talk > /dev/udp/10.77.0.12/9")
	if from, ok := b.receivedByTun("neighbour-talk", 3*time.Second); !ok || from != devices[0].ip {
		t.Errorf("packet came from %v, %v; it must go through the tunnel", from, ok)
	}
	for _, f := range drain(seen) {
		if strings.Contains(string(f), "neighbour-talk") || MAC(f[6:12]) == cam1 {
			t.Errorf("cam2 saw a frame of cam1: %x", f)
		}
	}
}

func TestWithdrawalTakesEffectAtOnceAndForOneDeviceOnly(t *testing.T) {
	if !nstest.Enter(t, "gn1", "gn2", "gn3") {
		return
	}
	b := newBench(t)
	for _, d := range devices[:2] {
		b.admit(t, d)
		configure(t, d)
	}
	start := time.Now()
	if err := b.segment.Withdraw(context.Background(), Binding{Port: "lan1", MAC: cam1, IPv4: devices[0].ip}); err != nil {
		t.Fatal(err)
	}
	if err := b.segment.SetListed(context.Background(), []MAC{cam2}); err != nil {
		t.Fatal(err)
	}
	if d := time.Since(start); d > time.Second {
		t.Errorf("took %v", d)
	}
	if out, err := nstest.Command("gn1", "ping", "-c", "1", "-W", "1", "10.77.0.1").CombinedOutput(); err == nil {
		t.Errorf("the withdrawn device still reaches the gateway: %s", out)
	}
	nstest.Exec(t, "gn2", "ping", "-c", "1", "-W", "2", "10.77.0.1")
}

func TestAFlushedGuardFailsClosedAndComesBack(t *testing.T) {
	if !nstest.Enter(t, "gn1", "gn2", "gn3") {
		return
	}
	b := newBench(t)
	b.admit(t, devices[0])
	configure(t, devices[0])
	nstest.Run(t, "nft", "delete", "table", "bridge", table)
	if out, err := nstest.Command("gn1", "ping", "-c", "1", "-W", "1", "10.77.0.1").CombinedOutput(); err == nil {
		t.Errorf("reached the adapter without the bridge guard: %s", out)
	}
	if err := b.segment.guard.Check(context.Background()); err != nil {
		t.Fatal(err)
	}
	nstest.Exec(t, "gn1", "ping", "-c", "1", "-W", "2", "10.77.0.1")
}

func TestTheWorldCannotReachTheLANThroughTheAdapter(t *testing.T) {
	if !nstest.Enter(t, "gn1", "gn2", "gn3") {
		return
	}
	b := newBench(t)
	b.admit(t, devices[0])
	configure(t, devices[0])
	// gn3's cable becomes the uplink: a stranger there routes the virtual prefix to the adapter.
	nstest.Run(t, "ip", "link", "set", "lan3", "nomaster")
	nstest.Run(t, "ip", "addr", "add", "192.0.2.1/24", "dev", "lan3")
	nstest.Run(t, "sysctl", "-qw", "net.ipv4.conf.lan3.forwarding=1")
	nstest.Exec(t, "gn3", "ip", "addr", "add", "192.0.2.2/24", "dev", "eth0")
	nstest.Exec(t, "gn3", "ip", "route", "add", "10.77.0.0/16", "via", "192.0.2.1")
	before := b.count(t, "not_routed")
	for _, target := range []string{"10.77.0.11", "10.77.9.9"} {
		nstest.Exec(t, "gn3", "bash", "-c", "echo stranger > /dev/udp/"+target+"/9")
	}
	deadline := time.Now().Add(3 * time.Second)
	for b.count(t, "not_routed") < before+2 {
		if time.Now().After(deadline) {
			t.Fatalf("not_routed = %d, want %d", b.count(t, "not_routed"), before+2)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func TestPortsThatAreNoBridgeAreExplained(t *testing.T) {
	if !nstest.Enter(t) {
		return
	}
	nstest.Run(t, "ip", "link", "add", "lan1", "type", "veth", "peer", "name", "lan1p")
	nstest.Run(t, "ip", "tuntap", "add", "dev", tunName, "mode", "tun")
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	_, err := Open(context.Background(), Options{Bridge: "lan1", Tun: tunName, Log: log})
	if err == nil || !strings.Contains(err.Error(), "lan.ports to [lan1]") {
		t.Errorf("error = %v", err)
	}
	_, err = Open(context.Background(), Options{Bridge: "cyt-lan", Ports: []string{"nosuch0"}, Tun: tunName, Log: log})
	if err == nil || !strings.Contains(err.Error(), "nosuch0") {
		t.Errorf("error = %v", err)
	}
	if out := nstest.Run(t, "ip", "link"); strings.Contains(out, "cyt-lan") {
		t.Errorf("the bridge stayed after the failure: %s", out)
	}
}

func TestABridgeOfTheOperatorIsLeftClosedAndForwardsNothing(t *testing.T) {
	if !nstest.Enter(t) {
		return
	}
	nstest.Run(t, "ip", "link", "add", "cyt-op", "type", "bridge")
	nstest.Run(t, "ip", "tuntap", "add", "dev", tunName, "mode", "tun")
	nstest.Run(t, "ip", "link", "set", tunName, "up")
	setting := func(key string) string {
		return strings.TrimSpace(nstest.Run(t, "cat", "/proc/sys/net/ipv4/conf/cyt-op/"+key))
	}
	for range 2 { // the second finds what the first has left, as after a crash
		s, err := Open(context.Background(), Options{Bridge: "cyt-op", Tun: tunName, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		if setting("forwarding") != "1" || setting("proxy_arp") != "1" {
			t.Fatal("the bridge does not work")
		}
		if err := s.SetNetwork(context.Background(), exampleLease(t).Network); err != nil {
			t.Fatal(err)
		}
		s.Close(context.Background())
	}
	for _, key := range []string{"forwarding", "proxy_arp"} {
		if got := setting(key); got != "0" {
			t.Errorf("%s stayed %s", key, got)
		}
	}
	left := nstest.Run(t, "ip", "route", "show", "table", "all") + nstest.Run(t, "ip", "rule") + nstest.Run(t, "ip", "addr", "show", "dev", "cyt-op")
	if strings.Contains(left, "7440") || strings.Contains(left, "10.77.") {
		t.Errorf("routes, rules or addresses stayed:\n%s", left)
	}
	if out := nstest.Run(t, "nft", "list", "ruleset"); !strings.Contains(out, "table bridge "+table) {
		t.Errorf("the ports are an open switch:\n%s", out)
	}
}
