package netfilter

import (
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// flows asks from n sockets, in turn from each of the sources, and gives the backend of each.
func (w *world) flows(n int, vip string, sources ...netip.Addr) (conns []net.Conn, backends []string) {
	w.t.Helper()
	for i := range n {
		var source netip.Addr
		if len(sources) > 0 {
			source = sources[i%len(sources)]
		}
		var conn net.Conn
		err := w.client.Do(func() (err error) {
			conn, err = net.DialUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(source, 0)), net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(vip), udpPort)))
			return err
		})
		if err != nil {
			w.t.Fatal(err)
		}
		w.t.Cleanup(func() { _ = conn.Close() })
		conns = append(conns, conn)
	}
	return conns, w.owners(conns)
}

func (w *world) owners(conns []net.Conn) []string {
	w.t.Helper()
	var backends []string
	for _, conn := range conns {
		words, err := ask(conn, []byte("hello"), 2*time.Second)
		if err != nil {
			w.t.Fatal(err)
		}
		if words[1] != conn.LocalAddr().String() {
			w.t.Fatalf("the backend saw %s, the source is %s", words[1], conn.LocalAddr())
		}
		backends = append(backends, words[0])
	}
	return backends
}

// sources gives the client n addresses of a family.
func (w *world) sources(v6 bool, n int) []netip.Addr {
	w.t.Helper()
	var all []netip.Addr
	var batch strings.Builder
	address := netip.MustParseAddr("10.10.0.1")
	if v6 {
		address = netip.MustParseAddr("fd10::1")
	}
	for range n {
		all = append(all, address)
		fmt.Fprintf(&batch, "address add %s/%d dev lo\n", address, address.BitLen())
		address = address.Next()
	}
	if _, err := w.client.RunInput(w.t.Context(), strings.NewReader(batch.String()), "ip", "-batch", "-"); err != nil {
		w.t.Fatal(err)
	}
	w.usable(w.client)
	return all
}

func TestFlowsAreSpreadEvenly(t *testing.T) {
	w := build(t)
	b := w.balancer(w.one)
	var backends []Backend
	for i := range 3 {
		backends = append(backends, w.backend(UDP, w.hostOne(), fmt.Sprintf("r%d", i), firstBackend+uint16(i)))
	}
	b.apply(State{Services: []Service{w.udpService(backends...)}})
	for vip, v6 := range map[string]bool{vip4: false, vip6: true} {
		sources := w.sources(v6, 1000)
		count := map[string]int{}
		for range 6 {
			conns, owners := w.flows(1000, vip, sources...)
			for i, owner := range owners {
				count[owner]++
				_ = conns[i].Close()
			}
		}
		for name, n := range count {
			if n < 1800 || n > 2200 {
				t.Errorf("%s: %s has %d of 6000 flows, want 2000 within 10 %%", vip, name, n)
			}
		}
		t.Logf("%s: 6000 flows of 1000 sources: %v", vip, count)
	}
}

func TestOnlyFlowsOfALeavingBackendMove(t *testing.T) {
	w := build(t)
	b := w.balancer(w.one)
	var backends []Backend
	for i := range 3 {
		backends = append(backends, w.backend(UDP, w.hostOne(), fmt.Sprintf("r%d", i), firstBackend+uint16(i)))
	}
	b.apply(State{Services: []Service{w.udpService(backends...)}})
	conns, before := w.flows(300, vip4)
	backends[1].Draining = true
	b.apply(State{Services: []Service{w.udpService(backends...)}})
	moved := 0
	for i, owner := range w.owners(conns) {
		if owner == "r1" || before[i] != "r1" && owner != before[i] {
			t.Errorf("flow %d went from %s to %s while r1 drains", i, before[i], owner)
		}
		if before[i] == "r1" {
			moved++
		}
	}
	if moved < 50 {
		t.Errorf("only %d of 300 flows were at r1", moved)
	}
	before = w.owners(conns)
	backends[1].Draining = false
	b.apply(State{Services: []Service{w.udpService(backends...)}})
	for i, owner := range w.owners(conns) {
		if owner != "r1" && owner != before[i] {
			t.Errorf("flow %d went from %s to %s when r1 came back", i, before[i], owner)
		}
	}
}

func TestConnectionsStayWithADrainingBackend(t *testing.T) {
	w := build(t)
	b := w.balancer(w.one)
	backends := []Backend{w.backend(TCP, w.hostOne(), "a", firstBackend), w.backend(TCP, w.inPod(), "b", firstBackend)}
	b.apply(State{Services: []Service{w.tcpService(backends...)}})
	conns := map[net.Conn]string{}
	for i := range 40 {
		conn := w.dial("tcp", []string{vip4, vip6}[i%2], tcpPort)
		words, err := ask(conn, []byte("hello"), time.Second)
		if err != nil {
			t.Fatal(err)
		}
		conns[conn] = words[0]
	}
	if names := slices.Compact(slices.Sorted(maps.Values(conns))); len(names) != 2 {
		t.Fatalf("connections at %v, want both", names)
	}
	backends[0].Draining = true
	b.apply(State{Services: []Service{w.tcpService(backends...)}})
	for conn, owner := range conns {
		if words, err := ask(conn, []byte("hello"), time.Second); err != nil || words[0] != owner {
			t.Errorf("a connection of %s: %v %v", owner, words, err)
		}
	}
	for range 20 {
		if words, err := ask(w.dial("tcp", vip4, tcpPort), []byte("hello"), time.Second); err != nil || words[0] != "b" {
			t.Errorf("a new connection: %v %v, want it at b", words, err)
		}
	}
}

// TestNoPacketIsLostByChangesAndRestarts sends without a pause while backends come, drain and go and while new processes
// take over: every datagram is answered once, and as long as nothing but processes changes, by the same backend.
func TestNoPacketIsLostByChangesAndRestarts(t *testing.T) {
	w := build(t)
	b := w.balancer(w.one)
	var backends []Backend
	for i := range 3 {
		backends = append(backends, w.backend(UDP, w.hostOne(), fmt.Sprintf("r%d", i), firstBackend+uint16(i)))
	}
	backends = append(backends, w.backend(UDP, w.inPod(), "pod", firstBackend))
	service := func(take []Backend) State {
		return State{Services: []Service{w.udpService(take...), w.tcpService(w.sleeper())}}
	}
	b.apply(service(backends))
	var moved, asked atomic.Int64
	stop := make(chan struct{})
	var load sync.WaitGroup
	for i := range 16 {
		conn := w.dial("udp", []string{vip4, vip6}[i%2], udpPort)
		load.Go(func() { w.keepAsking(conn, stop, &moved, &asked) })
	}
	for range 30 { // another process takes over, with the backends in another order
		b = w.balancer(w.one)
		slices.Reverse(backends)
		b.apply(service(backends))
	}
	if n := moved.Load(); n != 0 {
		t.Errorf("%d answers came from another backend although only processes changed", n)
	}
	for i := range 30 {
		take := slices.Clone(backends)
		take[i%4].Draining = true
		b.apply(service(take))
		b.apply(service(slices.Delete(take, i%4, i%4+1)))
		if err := w.one.Do(func() error { return b.Clean(t.Context()) }); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	load.Wait()
	if asked.Load() < 5000 || moved.Load() == 0 {
		t.Errorf("%d datagrams sent and %d flows moved: too few to say anything", asked.Load(), moved.Load())
	}
	t.Logf("%d datagrams during 30 restarts and 60 changes, none lost", asked.Load())
}

// sleeper is a TCP backend that nobody needs.
func (w *world) sleeper() Backend {
	return Backend{Name: "s", Address: []netip.Addr{netip.MustParseAddr(one4)}, Port: 1}
}

func (w *world) keepAsking(conn net.Conn, stop <-chan struct{}, moved, asked *atomic.Int64) {
	owner := ""
	for i := 0; ; i++ {
		select {
		case <-stop:
			return
		default:
		}
		words, err := ask(conn, fmt.Appendf(nil, "%d", i), 2*time.Second)
		if err != nil || words[3] != fmt.Sprint(i) {
			w.t.Errorf("datagram %d: %v %v", i, words, err)
			return
		}
		asked.Add(1)
		if owner != "" && owner != words[0] {
			moved.Add(1)
		}
		owner = words[0]
	}
}
