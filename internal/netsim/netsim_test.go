package netsim

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cyphonic/cyphonic/internal/udp"
)

var (
	serverA = netip.MustParseAddr("198.51.100.1")
	serverB = netip.MustParseAddr("198.51.100.2")
	outside = netip.MustParseAddr("203.0.113.1")
	inside  = netip.MustParseAddr("192.168.1.2")
	inside2 = netip.MustParseAddr("192.168.1.3")
)

func open(t *testing.T, h *Host, port uint16) *Conn {
	t.Helper()
	c, err := h.Listen(port)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func send(t *testing.T, c *Conn, to netip.AddrPort, text string) {
	t.Helper()
	if _, err := c.WriteBatch([]udp.Message{{Buf: []byte(text), N: len(text), Addr: to}}); err != nil {
		t.Fatal(err)
	}
}

// receive waits until all datagrams have arrived and takes one.
func receive(c *Conn) (text string, from netip.AddrPort) {
	time.Sleep(time.Second)
	c.mu.Lock()
	n := len(c.queue)
	c.mu.Unlock()
	if n == 0 {
		return "", from
	}
	ms := []udp.Message{{Buf: make([]byte, 2000)}}
	c.ReadBatch(ms)
	return string(ms[0].Buf[:ms[0].N]), ms[0].Addr
}

func at(a netip.Addr, port uint16) netip.AddrPort { return netip.AddrPortFrom(a, port) }

func TestNATBehaviour(t *testing.T) {
	for _, tt := range []struct {
		name                     string
		behaviour                Behaviour
		samePort                 bool // towards two servers
		strangerIn, otherPortsIn bool
	}{
		{"full cone", FullCone, true, true, true},
		{"restricted", Restricted, true, false, true},
		{"port restricted", PortRestricted, true, false, false},
		{"symmetric", Symmetric, false, false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := New(1)
				client := open(t, n.NAT(outside, tt.behaviour).Host(inside), 5000)
				a, a2 := n.Host(serverA), (*Conn)(nil)
				first := open(t, a, 1)
				a2 = open(t, a, 2)
				stranger := open(t, n.Host(serverB), 1)

				send(t, client, at(serverA, 1), "hello")
				text, mapped := receive(first)
				if text != "hello" || mapped.Addr() != outside {
					t.Fatalf("the server got %q from %v", text, mapped)
				}
				send(t, first, mapped, "answer")
				if text, from := receive(client); text != "answer" || from != at(serverA, 1) {
					t.Errorf("the client got %q from %v", text, from)
				}
				send(t, a2, mapped, "other port")
				if text, _ := receive(client); (text != "") != tt.otherPortsIn {
					t.Errorf("from another port of the server: %q", text)
				}
				send(t, stranger, mapped, "stranger")
				if text, _ := receive(client); (text != "") != tt.strangerIn {
					t.Errorf("from a stranger: %q", text)
				}
				send(t, client, at(serverB, 1), "second")
				_, second := receive(stranger)
				if (second == mapped) != tt.samePort {
					t.Errorf("mapped to %v and %v", mapped, second)
				}
			})
		})
	}
}

func TestNATMappingEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New(1)
		nat := n.NAT(outside, Behaviour{Timeout: 30 * time.Second})
		client := open(t, nat.Host(inside), 5000)
		server := open(t, n.Host(serverA), 1)
		send(t, client, at(serverA, 1), "1")
		_, mapped := receive(server)
		time.Sleep(40 * time.Second)
		send(t, server, mapped, "late")
		if text, _ := receive(client); text != "" {
			t.Errorf("an ended mapping lets %q in", text)
		}
		send(t, client, at(serverA, 1), "2")
		_, again := receive(server)
		if again == mapped {
			t.Error("the new mapping has the old port")
		}
		nat.Forget()
		send(t, client, at(serverA, 1), "3")
		if _, third := receive(server); third == again {
			t.Error("the NAT has not forgotten the mapping")
		}
	})
}

func TestLANAndOwnAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New(1)
		nat := n.NAT(outside, FullCone)
		a, b := open(t, nat.Host(inside), 1), open(t, nat.Host(inside2), 1)
		send(t, a, at(inside2, 1), "lan")
		if text, from := receive(b); text != "lan" || from != at(inside, 1) {
			t.Errorf("got %q from %v", text, from)
		}
		send(t, a, at(inside, 1), "self")
		if text, from := receive(a); text != "self" || from != at(inside, 1) {
			t.Errorf("got %q from %v", text, from)
		}
		send(t, a, at(outside, firstNATPort), "hairpin")
		if text, _ := receive(a); text != "" {
			t.Errorf("a NAT without hairpin returned %q", text)
		}
	})
}

func TestCoreBlocksLosesAndLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New(1)
		a, b := open(t, n.Host(serverA), 1), open(t, n.Host(serverB), 1)
		seen := 0
		n.Watch(func(Packet) { seen++ })
		unblock := n.BlockPair(serverA, serverB)
		send(t, a, at(serverB, 1), "blocked")
		if text, _ := receive(b); text != "" {
			t.Errorf("%q passed", text)
		}
		unblock()
		send(t, a, at(serverB, 1), string(make([]byte, DefaultMTU-27)))
		if text, _ := receive(b); text != "" {
			t.Errorf("%d bytes passed", len(text))
		}
		n.SetLoss(1)
		send(t, a, at(serverB, 1), "lost")
		if text, _ := receive(b); text != "" {
			t.Errorf("%q passed", text)
		}
		n.SetLoss(0)
		send(t, a, at(serverB, 1), "passes")
		if text, _ := receive(b); text != "passes" {
			t.Errorf("got %q", text)
		}
		if seen != 4 {
			t.Errorf("%d datagrams watched, want 4", seen)
		}
	})
}

func TestDatagramsKeepTheirOrderAndTakeTheirTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New(1)
		a, b := open(t, n.Host(serverA), 1), open(t, n.Host(serverB), 1)
		n.SetDelay(30 * time.Millisecond)
		start := time.Now()
		for i := range 100 {
			send(t, a, at(serverB, 1), string(rune('0'+i)))
		}
		ms := make([]udp.Message, 1)
		for i := range 100 {
			ms[0].Buf = make([]byte, 10)
			if _, err := b.ReadBatch(ms); err != nil {
				t.Fatal(err)
			}
			if got := string(ms[0].Buf[:ms[0].N]); got != string(rune('0'+i)) {
				t.Fatalf("datagram %d is %q", i, got)
			}
		}
		if took := time.Since(start); took != 30*time.Millisecond {
			t.Errorf("took %v", took)
		}
	})
}

func TestAddressChangeKeepsTheSocket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New(1)
		h := n.Host(serverA)
		a, b := open(t, h, 1), open(t, n.Host(serverB), 1)
		h.SetAddrs(outside)
		send(t, a, at(serverB, 1), "moved")
		if _, from := receive(b); from != at(outside, 1) {
			t.Errorf("from %v", from)
		}
		send(t, b, at(serverA, 1), "old")
		if text, _ := receive(a); text != "" {
			t.Error("the old address still works")
		}
		h.SetDown(true)
		send(t, b, at(outside, 1), "down")
		if text, _ := receive(a); text != "" {
			t.Error("a host that is down receives")
		}
	})
}
