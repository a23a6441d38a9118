package netfilter

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	net4 "golang.org/x/net/ipv4"
	net6 "golang.org/x/net/ipv6"
)

func one(address string) func(int) netip.Addr {
	return func(int) netip.Addr { return netip.MustParseAddr(address) }
}

func invented(i int) netip.Addr { return netip.AddrFrom4([4]byte{100, 64, byte(i >> 8), byte(i)}) }

// flood forges packets until it is ended.
func (w *world) flood(flags byte, source func(int) netip.Addr) (end func()) {
	target := netip.AddrPortFrom(netip.MustParseAddr(vip4), tcpPort)
	stop := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() {
		for i := 0; ; i += 1000 {
			select {
			case <-stop:
				return
			default:
			}
			if err := w.client.Do(func() error { return forge(target, i, 1000, flags, source) }); err != nil {
				w.t.Error(err)
				return
			}
		}
	})
	return func() { close(stop); running.Wait() }
}

// dialFrom connects from an address of the client, with one SYN or none: the second one would be sent after a second.
func (w *world) dialFrom(address string) error {
	return w.client.Do(func() error {
		dialer := net.Dialer{Timeout: 900 * time.Millisecond, LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
		conn, err := dialer.Dial("tcp", netip.AddrPortFrom(netip.MustParseAddr(vip4), tcpPort).String())
		if err != nil {
			return err
		}
		return conn.Close()
	})
}

func (b *balancer) await(metric string, above float64) {
	b.w.t.Helper()
	for end := time.Now().Add(20 * time.Second); b.metric(metric) <= above; {
		if time.Now().After(end) {
			b.w.t.Fatalf("%s is not above %v: %v", metric, above, b.metrics())
		}
	}
}

func TestAFloodOfOneSourceLeavesOthersTheirConnections(t *testing.T) {
	w := build(t)
	b := w.balancer(w.one)
	b.apply(State{Services: []Service{w.tcpService(w.backend(TCP, w.hostOne(), "a", firstBackend))}})
	end := w.flood(flagSYN, one("203.0.113.9"))
	defer end()
	b.await("drops_total source_limit", 1000)
	for range 20 {
		if err := w.dialFrom("10.9.0.1"); err != nil {
			t.Errorf("another source: %v", err)
		}
	}
	if n := b.metric("drops_total connection_limit"); n != 0 {
		t.Errorf("one source has used up the connections of all: %v dropped", n)
	}
}

func TestAFloodOfInventedSourcesLeavesKnownOnesTheirConnections(t *testing.T) {
	w := build(t)
	var unknown []string
	for i := range 10 {
		unknown = append(unknown, fmt.Sprintf("10.9.0.%d", 70+i))
		w.run(w.client, "ip", "address", "add", unknown[i]+"/24", "dev", "br0")
	}
	b := w.balancer(w.one)
	state := State{Services: []Service{w.tcpService(w.backend(TCP, w.hostOne(), "a", firstBackend))}}
	b.apply(state)
	if err := w.dialFrom("10.9.0.1"); err != nil {
		t.Fatal(err)
	}
	if conn := w.dial("tcp", vip6, tcpPort); conn.Close() != nil {
		t.Error("not closed")
	}
	b = w.balancer(w.one) // the next process forgets nobody
	b.apply(state)
	for set, want := range map[[2]string]string{{"ip", "known"}: "10.9.0.1", {"ip6", "known"}: "fd09::"} {
		if out := w.run(w.one, "nft", "list", "set", set[0], "cyphonic", set[1]); !strings.Contains(out, want) {
			t.Errorf("%s is not known:\n%s", want, out)
		}
	}
	end := w.flood(flagSYN, invented)
	defer end()
	b.await("drops_total connection_limit", 5000)
	for range 20 {
		if err := w.dialFrom("10.9.0.1"); err != nil {
			t.Errorf("a known source: %v", err)
		}
	}
	lost := 0
	for _, address := range unknown { // the first connection makes it known
		if err := w.dialFrom(address); err != nil {
			lost++
		}
	}
	next := w.balancer(w.one) // it starts although the sets are full
	next.apply(state)
	if err := w.one.Do(func() error { return next.Clean(t.Context()) }); err != nil {
		t.Error(err)
	}
	if lost == 0 {
		t.Error("the flood is too small to say anything: even an unknown source connects")
	}
}

func TestRescueIsLimitedForEachSourceAndByTheNumberOfHosts(t *testing.T) {
	w := build(t)
	first, second := netip.MustParseAddr(two4), netip.MustParseAddr("10.9.0.1")
	b := w.balancer(w.one)
	state := State{Services: []Service{w.tcpService(w.backend(TCP, w.hostOne(), "a", firstBackend))}}
	target := netip.AddrPortFrom(netip.MustParseAddr(vip4), tcpPort)
	const packets = 5 * sourceRescuesBurst
	before := 0.0
	for _, hosts := range [][]netip.Addr{{first}, {first, second}} {
		state.Hosts = hosts
		b.apply(state)
		start := time.Now()
		if err := w.client.Do(func() error { return forge(target, 0, packets, flagACK, one("203.0.113.9")) }); err != nil {
			t.Fatal(err)
		}
		share := 1 / float64(len(hosts))
		most := share * (sourceRescuesBurst + sourceRescuesPerSecond*time.Since(start).Seconds())
		sent := b.metric("rescued_total sent") - before
		if sent < share*sourceRescuesBurst || sent > most+1 {
			t.Errorf("%d other hosts: %v packets of one source were shown, want %v to %v", len(hosts), sent, share*sourceRescuesBurst, most)
		}
		before += sent
		if err := w.client.Do(func() error { return forge(target, 0, 100, flagACK, one("203.0.113.10")) }); err != nil {
			t.Fatal(err)
		}
		if sent := b.metric("rescued_total sent") - before; sent != 100 {
			t.Errorf("%d other hosts: %v of 100 packets of another source were shown", len(hosts), sent)
		}
		before += 100
		if err := w.one.Do(func() error { return b.Clean(t.Context()) }); err != nil {
			t.Error(err)
		}
	}
	if sets := w.run(w.one, "nft", "list", "sets"); strings.Count(sets, "rescued_sources/") != 2 {
		t.Errorf("the set with the limits of before is still there:\n%s", sets)
	}
}

func TestBFDFromAfarIsDropped(t *testing.T) {
	w := build(t)
	b := w.balancer(w.one)
	listener, err := w.one.ListenUDP("[::]:3784")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	for _, on := range []bool{true, false} {
		b.apply(State{BFD: on, Services: []Service{w.udpService()}})
		for _, to := range []string{one4, one6} {
			conn, err := w.client.Dial(t.Context(), "udp", netip.AddrPortFrom(netip.MustParseAddr(to), 3784).String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			for _, ttl := range []int{64, 254, 255} {
				set := net4.NewConn(conn).SetTTL
				if to == one6 {
					set = net6.NewConn(conn).SetHopLimit
				}
				if err := set(ttl); err != nil {
					t.Fatal(err)
				}
				if _, err := conn.Write([]byte{byte(ttl)}); err != nil {
					t.Fatal(err)
				}
			}
			var got []byte
			for len(got) == 0 || got[len(got)-1] != 255 {
				_ = listener.SetReadDeadline(time.Now().Add(5 * time.Second))
				packet := make([]byte, 8)
				n, err := listener.Read(packet)
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, packet[:n]...)
			}
			if want := map[bool]int{true: 1, false: 3}[on]; len(got) != want {
				t.Errorf("BFD in use: %v, %s: packets with TTL %v have come", on, to, got)
			}
		}
	}
	if n := b.metric("drops_total bfd_ttl"); n != 4 {
		t.Errorf("%v packets counted, want 4", n)
	}
}
