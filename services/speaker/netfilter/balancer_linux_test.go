package netfilter

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cyphonic/cyphonic/internal/lab"
)

func TestUDPReachesBackendsUnchangedAndUntracked(t *testing.T) {
	w := build(t)
	b := w.balancer(w.one)
	state := State{Services: []Service{
		w.udpService(w.backend(UDP, w.hostOne(), "host-a", firstBackend), w.backend(UDP, w.hostOne(), "host-b", firstBackend+1), w.backend(UDP, w.inPod(), "pod", udpPort)),
		w.tcpService(w.backend(TCP, w.hostOne(), "host", firstBackend+9)), // switches connection tracking on
	}}
	b.apply(state)
	for _, vip := range []string{vip4, vip6} {
		seen := map[string]int{}
		for i := range 60 {
			conn := w.dial("udp", vip, udpPort).(*net.UDPConn)
			if vip == vip4 && i%3 == 0 {
				if err := withoutChecksum(conn); err != nil {
					t.Fatal(err)
				}
			}
			for _, size := range []int{10, 1200, 4000} { // 4000: in fragments
				words, err := ask(conn, make([]byte, size), 2*time.Second)
				if err != nil {
					t.Fatalf("%s, %d bytes: %v", vip, size, err)
				}
				if words[1] != conn.LocalAddr().String() || words[2] != strconv.Itoa(size) {
					t.Fatalf("%s: the backend saw %v, want the source %s and %d bytes", vip, words, conn.LocalAddr(), size)
				}
				seen[words[0]]++
			}
		}
		if len(seen) != 3 || seen["pod"]%3 != 0 {
			t.Errorf("%s: backends %v, want three of them, and each flow at one", vip, seen)
		}
		for range 20 {
			segmentsBothWays(t, w.dial("udp", vip, udpPort).(*net.UDPConn))
		}
	}
	if n := w.tracked(w.one); n != 0 {
		t.Errorf("%d entries of connection tracking after UDP only:\n%s", n, w.run(w.one, "conntrack", "-L"))
	}
	if sent := b.metric("packets_total pod nms"); sent == 0 {
		t.Error("no packets of the pod were counted")
	}
}

// segmentsBothWays sends and receives super-packets of UDP_SEGMENT.
func segmentsBothWays(t *testing.T, conn *net.UDPConn) {
	t.Helper()
	if err := sendSegments(conn, make([]byte, 1000), 300, netip.AddrPort{}); err != nil {
		t.Fatal(err)
	}
	_ = conn.SetReadDeadline(time.Now().Add(2 * time.Second))
	buffer := make([]byte, 2048)
	for i, want := range []string{"300", "300", "300", "100"} {
		n, err := conn.Read(buffer)
		if err != nil {
			t.Fatalf("answer to segment %d: %v", i, err)
		}
		if words := strings.Fields(string(buffer[:n])); words[2] != want {
			t.Errorf("segment %d came with %s bytes, want %s", i, words[2], want)
		}
	}
	if _, err := conn.Write([]byte("segments")); err != nil {
		t.Fatal(err)
	}
	for i, want := range []int{500, 500, 500, 500, 100} {
		if n, err := conn.Read(buffer); err != nil || n != want {
			t.Fatalf("segment %d of the answer: %d bytes, %v, want %d", i, n, err, want)
		}
	}
}

func TestProgramsOfTheHostReachTheVIPs(t *testing.T) {
	w := build(t)
	b := w.balancer(w.one)
	udp, tcp := w.backend(UDP, w.hostOne(), "host", firstBackend), w.backend(TCP, w.hostOne(), "host", firstBackend)
	both := []Service{
		w.udpService(udp, w.backend(UDP, w.inPod(), "pod", firstBackend)),
		w.tcpService(tcp, w.backend(TCP, w.inPod(), "pod", firstBackend)),
	}
	// The kernel may lose the datagram that finds the pod's hardware address unknown.
	w.run(w.one, "ping", "-n", "-c", "1", pod4)
	w.run(w.one, "ping", "-n", "-c", "1", pod6)
	for _, from := range []place{w.hostOne(), w.inPod()} {
		want := 2
		b.apply(State{Services: both})
		if from.host == w.pod { // a pod cannot be spread to itself: it would see its own address as the source
			want = 1
			b.apply(State{Services: []Service{w.udpService(udp), w.tcpService(tcp)}})
		}
		for network, port := range map[string]uint16{"udp": udpPort, "tcp": tcpPort} {
			for _, vip := range []string{vip4, vip6} {
				seen := map[string]int{}
				for range 12 {
					conn, err := from.host.Dial(t.Context(), network, netip.AddrPortFrom(netip.MustParseAddr(vip), port).String())
					if err != nil {
						t.Fatalf("%s to %s from %s: %v", network, vip, from.host.Name, err)
					}
					words, err := ask(conn, []byte("hello"), time.Second)
					_ = conn.Close()
					if err != nil {
						t.Fatalf("%s to %s from %s: %v (so far %v)", network, vip, from.host.Name, err, seen)
					}
					seen[words[0]]++
				}
				if len(seen) != want {
					t.Errorf("%s to %s from %s: backends %v, want %d", network, vip, from.host.Name, seen, want)
				}
			}
		}
	}
}

// Replicas that all have the port of the service, each at an address of its own, need no change of ports.
func TestBackendsWithThePortOfTheService(t *testing.T) {
	w := build(t)
	b := w.balancer(w.one)
	b.apply(State{Services: []Service{w.udpService(w.backend(UDP, w.hostOne(), "host", udpPort), w.backend(UDP, w.inPod(), "pod", udpPort))}})
	if rules := w.run(w.one, "nft", "list", "ruleset"); strings.Contains(rules, "port set") {
		t.Errorf("ports are changed:\n%s", rules)
	}
	w.run(w.one, "ping", "-n", "-c", "1", pod4) // its hardware address is known then
	w.run(w.one, "ping", "-n", "-c", "1", pod6)
	for _, vip := range []string{vip4, vip6} {
		seen := map[string]bool{}
		for i := range 30 {
			conn := w.dial("udp", vip, udpPort).(*net.UDPConn)
			if vip == vip4 && i%2 == 0 {
				if err := withoutChecksum(conn); err != nil {
					t.Fatal(err)
				}
			}
			words, err := ask(conn, []byte("hello"), 2*time.Second)
			if err != nil {
				t.Fatal(err)
			}
			seen[words[0]] = true
		}
		if len(seen) != 2 {
			t.Errorf("%s: backends %v, want two", vip, seen)
		}
	}
}

// Somebody else removes all rules of the host: they come back with the next Apply, even with that of the same state, and
// flows stay where they were. Recall names the backends of a process before; Clean removes what is left over.
func TestRulesThatWereRemovedComeBack(t *testing.T) {
	w := build(t)
	b := w.balancer(w.one)
	if names, err := b.recallIn(w.one); err != nil || len(names) != 0 {
		t.Errorf("nothing is there yet: %v %v", names, err)
	}
	state := State{Services: []Service{w.udpService(w.backend(UDP, w.hostOne(), "a", firstBackend), w.backend(UDP, w.hostOne(), "b", firstBackend+1))}}
	b.apply(state)
	conns, before := w.flows(60, vip4)
	w.run(w.one, "nft", "flush", "ruleset")
	b.apply(state)
	if after := w.owners(conns); !slices.Equal(before, after) {
		t.Errorf("flows have moved: %v, then %v", before, after)
	}
	w.run(w.one, "nft", "delete", "table", "ip6", "cyphonic")
	state.Services[0].Backends[1].Draining = true
	b.apply(state)
	if words, err := ask(w.dial("udp", vip6, udpPort), []byte("hello"), time.Second); err != nil || words[0] != "a" {
		t.Errorf("%v %v", words, err)
	}
	second := w.balancer(w.one)
	if names, err := second.recallIn(w.one); err != nil || !slices.Equal(names, []string{"a", "b"}) {
		t.Errorf("the process before led to %v, %v", names, err)
	}
	state.Services[0].Backends = state.Services[0].Backends[:1]
	second.apply(state)
	if err := w.one.Do(func() error { return second.Clean(t.Context()) }); err != nil {
		t.Fatal(err)
	}
	if rules := w.run(w.one, "nft", "list", "ruleset"); strings.Contains(rules, "to/nms/b") || !strings.Contains(rules, "to/nms/a") {
		t.Errorf("after the clean-up:\n%s", rules)
	}
}

func (b *balancer) recallIn(h *lab.Host) (names []string, err error) {
	err = h.Do(func() error {
		names, err = b.Recall(b.w.t.Context())
		return err
	})
	return names, err
}

func TestPingsAreAnsweredWhileServedOnly(t *testing.T) {
	w := build(t)
	b := w.balancer(w.one)
	ping := func(vip string) bool {
		_, err := w.client.Run(t.Context(), "ping", "-n", "-c", "1", "-W", "1", vip)
		return err == nil
	}
	backend := w.backend(UDP, w.hostOne(), "host", firstBackend)
	for _, row := range []struct {
		name  string
		state State
		want  bool
	}{
		{"no services", State{}, false},
		{"a service without a backend", State{Services: []Service{w.udpService()}}, false},
		{"a backend", State{Services: []Service{w.udpService(backend)}}, true},
		{"a draining backend", State{Services: []Service{w.udpService(Backend{backend.Name, backend.Address, backend.Port, true})}}, true},
		{"gone again", State{Services: []Service{w.udpService()}}, false},
	} {
		b.apply(row.state)
		for _, vip := range []string{vip4, vip6} {
			if got := ping(vip); got != row.want {
				t.Errorf("%s: %s answers: %v, want %v", row.name, vip, got, row.want)
			}
		}
	}
	b.apply(State{Services: []Service{w.udpService(backend)}})
	second := w.balancer(w.one) // a process that knows nothing of the VIPs removes them, too
	if err := w.one.Do(func() error { return second.Remove(t.Context()) }); err != nil {
		t.Fatal(err)
	}
	if ping(vip4) || ping(vip6) {
		t.Error("a VIP answers after Remove")
	}
	if left := w.run(w.one, "nft", "list", "ruleset") + w.run(w.one, "ip", "address", "show", "dev", "lo"); strings.Contains(left, "cyphonic") || strings.Contains(left, vip4) || strings.Contains(left, vip6) {
		t.Errorf("after Remove there is still\n%s", left)
	}
}

func TestStrangersLeaveNoTrace(t *testing.T) {
	w := build(t)
	b := w.balancer(w.one)
	b.apply(State{Services: []Service{
		w.udpService(), w.tcpService(w.backend(TCP, w.hostOne(), "host", firstBackend)),
	}, Direct: []netip.AddrPort{netip.MustParseAddrPort(one4 + ":7443"), netip.MustParseAddrPort("[" + one6 + "]:7443")}})
	relay, err := w.one.ListenUDP("[::]:7443")
	if err != nil {
		t.Fatal(err)
	}
	defer relay.Close()
	w.echoes.Go(func() { echoUDP(relay, "relay") })
	for _, vip := range []string{vip4, vip6} {
		for _, port := range []uint16{53, udpPort} {
			if _, err := ask(w.dial("udp", vip, port), []byte("x"), 50*time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("%s port %d: %v, want silence", vip, port, err)
			}
		}
	}
	for _, host := range []string{one4, one6} {
		if _, err := ask(w.dial("udp", host, 7443), []byte("x"), time.Second); err != nil {
			t.Errorf("the relay at %s does not answer: %v", host, err)
		}
	}
	if dropped := b.metric("drops_total no_service"); dropped != 2 {
		t.Errorf("%v packets without a service counted, want 2", dropped)
	}
	if dropped := b.metric("drops_total no_backend"); dropped != 2 {
		t.Errorf("%v packets without a backend counted, want 2", dropped)
	}
	if n := w.tracked(w.one); n != 0 {
		t.Errorf("%d tracked connections, want none:\n%s", n, w.run(w.one, "conntrack", "-L"))
	}
}

func TestConnectionsToAVanishedPodAreReset(t *testing.T) {
	w := build(t)
	b := w.balancer(w.one)
	pod, host := w.backend(TCP, w.inPod(), "pod", firstBackend), w.backend(TCP, w.hostOne(), "host", firstBackend)
	for _, vip := range []string{vip4, vip6} {
		b.apply(State{Services: []Service{w.tcpService(pod)}})
		conn := w.dial("tcp", vip, tcpPort)
		if words, err := ask(conn, []byte("hello"), time.Second); err != nil || words[0] != "pod" {
			t.Fatalf("%v %v", words, err)
		}
		if err := w.one.SetLink("pods", false); err != nil {
			t.Fatal(err)
		}
		b.apply(State{Services: []Service{w.tcpService(host)}})
		if _, err := ask(conn, []byte("hello"), 2*time.Second); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%s: %v, want a reset at once", vip, err)
		}
		if words, err := ask(w.dial("tcp", vip, tcpPort), []byte("hello"), time.Second); err != nil || words[0] != "host" {
			t.Errorf("%s: the next connection: %v %v", vip, words, err)
		}
		if err := w.one.SetLink("pods", true); err != nil {
			t.Fatal(err)
		}
		w.run(w.one, "ip", "address", "replace", "fd08::1/64", "dev", "pods", "nodad")
		w.run(w.pod, "ip", "-6", "route", "replace", "default", "via", "fd08::1")
	}
	if n := b.metric("drops_total reset_backend_gone"); n < 2 {
		t.Errorf("%v resets counted, want 2", n)
	}
}
