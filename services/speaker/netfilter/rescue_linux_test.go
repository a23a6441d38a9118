package netfilter

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"
)

// pair are the balancers of two hosts of one service; each knows the other.
func (w *world) pair() (one, two *balancer, states [2]State) {
	w.t.Helper()
	one, two = w.balancer(w.one), w.balancer(w.two)
	states = [2]State{
		{Services: []Service{w.tcpService(w.backend(TCP, w.hostOne(), "a", firstBackend))}, Hosts: []netip.Addr{netip.MustParseAddr(two4), netip.MustParseAddr(two6)}},
		{Services: []Service{w.tcpService(w.backend(TCP, w.hostTwo(), "b", firstBackend))}, Hosts: []netip.Addr{netip.MustParseAddr(one4), netip.MustParseAddr(one6)}},
	}
	one.apply(states[0])
	two.apply(states[1])
	return one, two, states
}

func TestConnectionsSurviveThatTheRoutersChooseAnotherHost(t *testing.T) {
	w := build(t)
	one, two, _ := w.pair()
	var conns []net.Conn
	for i := range 100 {
		conns = append(conns, w.dial("tcp", []string{vip4, vip6}[i%2], tcpPort))
	}
	exchange := func(want string) {
		t.Helper()
		var all sync.WaitGroup
		for _, conn := range conns {
			all.Go(func() {
				for range 10 {
					if words, err := ask(conn, []byte("hello"), 2*time.Second); err != nil || words[0] != want || words[1] != conn.LocalAddr().String() {
						t.Errorf("answer %v, %v, want one of %s that has seen %s", words, err, want, conn.LocalAddr())
						return
					}
				}
			})
		}
		all.Wait()
	}
	exchange("a")
	w.routeTo(two4, two6)
	exchange("a")
	w.routeTo(one4, one6)
	exchange("a")
	w.routeTo(two4, two6)
	// Their ends, FIN and its acknowledgement, reach host one as well.
	for _, conn := range conns {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	}
	conns = []net.Conn{w.dial("tcp", vip4, tcpPort), w.dial("tcp", vip6, tcpPort)}
	exchange("b")
	if sent, received := two.metric("rescued_total sent"), one.metric("rescued_total received"); sent < 1000 || received < 1000 {
		t.Errorf("%v packets shown by host two and %v received by host one, want at least one per message", sent, received)
	}
	for _, b := range []*balancer{one, two} {
		for _, reason := range []string{"unknown_connection", "rescue_limit", "reset_backend_gone", "reset_unknown_connection"} {
			if n := b.metric("drops_total " + reason); n != 0 {
				t.Errorf("%s: %v packets dropped: %s", b.h.Name, n, reason)
			}
		}
	}
}

func TestUnknownConnectionsEndInSilenceAndLeaveNoEntry(t *testing.T) {
	w := build(t)
	one, two, states := w.pair()
	for _, vip := range []string{vip4, vip6} {
		conn := w.dial("tcp", vip, tcpPort)
		if _, err := ask(conn, []byte("hello"), time.Second); err != nil {
			t.Fatal(err)
		}
		w.run(w.one, "conntrack", "-F")
		before := two.metric("drops_total unknown_connection")
		if _, err := ask(conn, []byte("lost"), 300*time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: %v, want silence: another host might know the connection", vip, err)
		}
		if dropped := two.metric("drops_total unknown_connection"); dropped == before {
			t.Errorf("%s: host two has not seen the packet", vip)
		}
		if n := w.tracked(w.one) + w.tracked(w.two); n != 0 {
			t.Errorf("%s: %d connections were picked up in the middle", vip, n)
		}
	}
	// Alone, a host is sure that nobody knows the connection.
	states[0].Hosts = nil
	one.apply(states[0])
	conn := w.dial("tcp", vip4, tcpPort)
	w.run(w.one, "conntrack", "-F")
	if _, err := ask(conn, []byte("lost"), time.Second); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("without other hosts: %v, want a reset", err)
	}
	if n := one.metric("drops_total reset_unknown_connection"); n < 1 {
		t.Errorf("%v resets counted, want at least 1", n)
	}
}

func TestRescueIsLimited(t *testing.T) {
	w := build(t)
	one, two, _ := w.pair()
	const flood = 4 * rescuesBurst
	target := netip.AddrPortFrom(netip.MustParseAddr(vip4), tcpPort)
	sources := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{203, 0, 113, byte(i)}) }
	if err := w.client.Do(func() error { return forge(target, 0, flood, flagACK, sources) }); err != nil {
		t.Fatal(err)
	}
	limited, sent := one.metric("drops_total rescue_limit"), one.metric("rescued_total sent")
	if sent+limited != flood || sent < rescuesBurst || limited == 0 {
		t.Errorf("%v packets shown to others and %v held back of %d, want %d and then %d a second", sent, limited, flood, rescuesBurst, rescuesPerSecond)
	}
	if dropped := two.metric("drops_total unknown_connection"); dropped != sent {
		t.Errorf("host two dropped %v packets, host one sent %v", dropped, sent)
	}
	if again := two.metric("rescued_total sent"); again != 0 {
		t.Errorf("host two showed %v packets again", again)
	}
	if n := w.tracked(w.one) + w.tracked(w.two); n != 0 {
		t.Errorf("%d tracked connections, want none", n)
	}
}
