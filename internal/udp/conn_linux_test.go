package udp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	loopback4 = netip.MustParseAddr("127.0.0.1")
	loopback6 = netip.MustParseAddr("::1")
)

// kinds are the implementations that the conformance tests run on; each opens two ends and
// says at which addresses the first one reaches the second.
func kinds() map[string]func(*testing.T) (a, b Conn, reach []netip.Addr) {
	open := func(listen func(Options) (Conn, error), o Options, reach ...netip.Addr) func(*testing.T) (Conn, Conn, []netip.Addr) {
		return func(t *testing.T) (Conn, Conn, []netip.Addr) {
			return listenFor(t, listen, o), listenFor(t, listen, o), reach
		}
	}
	return map[string]func(*testing.T) (Conn, Conn, []netip.Addr){
		"both families":   open(Listen, Options{}, loopback4, loopback6),
		"IPv4 only":       open(Listen, Options{IPv4: true}, loopback4),
		"IPv6 only":       open(Listen, Options{IPv6: true}, loopback6),
		"without offload": open(Listen, Options{DisableOffload: true}, loopback4, loopback6),
		"portable":        open(listenPortable, Options{}, loopback4, loopback6),
		"fake": func(t *testing.T) (Conn, Conn, []netip.Addr) {
			a, b := NewFakePair(netip.AddrPortFrom(loopback4, 1), netip.AddrPortFrom(loopback4, 2))
			t.Cleanup(func() { _, _ = a.Close(), b.Close() })
			return a, b, []netip.Addr{loopback4}
		},
	}
}

func listenFor(t testing.TB, listen func(Options) (Conn, error), o Options) Conn {
	t.Helper()
	c, err := listen(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func forEachKind(t *testing.T, test func(*testing.T, Conn, Conn, netip.AddrPort)) {
	for name, open := range kinds() {
		a, b, reach := open(t)
		for _, addr := range reach {
			t.Run(fmt.Sprintf("%s/%s", name, addr), func(t *testing.T) {
				test(t, a, b, netip.AddrPortFrom(addr, b.LocalPort()))
			})
		}
	}
}

// receive reads until it has n datagrams, with receive buffers of the given size.
func receive(t *testing.T, c Conn, n, size int) (datagrams [][]byte, from []netip.AddrPort) {
	t.Helper()
	watchdog := time.AfterFunc(10*time.Second, func() { _ = c.Close() })
	defer watchdog.Stop()
	ms := make([]Message, 16)
	for i := range ms {
		ms[i].Buf = make([]byte, size)
	}
	for len(datagrams) < n {
		k, err := c.ReadBatch(ms)
		if err != nil {
			t.Fatalf("after %d of %d datagrams: %v", len(datagrams), n, err)
		}
		for i := range ms[:k] {
			for rest := ms[i].Buf[:ms[i].N]; len(rest) > 0; {
				var d []byte
				d, rest = ms[i].Next(rest)
				datagrams, from = append(datagrams, bytes.Clone(d)), append(from, ms[i].Addr)
			}
		}
	}
	return datagrams, from
}

func numbered(to netip.AddrPort, sizes ...int) []Message {
	ms := make([]Message, len(sizes))
	for i, size := range sizes {
		ms[i] = Message{Buf: bytes.Repeat([]byte{byte(i)}, size+7), N: size, Addr: to}
		binary.BigEndian.PutUint32(ms[i].Buf, uint32(i))
	}
	return ms
}

func TestEveryDatagramArrivesOnceInOrderAndUnmapped(t *testing.T) {
	sizes := slices.Concat(slices.Repeat([]int{1440}, 70), []int{900, 900, 30, 1440, 4, 4, 4}, slices.Repeat([]int{1200}, 130), []int{8})
	for _, size := range []int{2048, MaxMessage} {
		t.Run(fmt.Sprintf("buffers of %d bytes", size), func(t *testing.T) {
			forEachKind(t, func(t *testing.T, a, b Conn, to netip.AddrPort) {
				out := numbered(to, sizes...)
				if n, err := a.WriteBatch(out); err != nil || n != len(out) {
					t.Fatalf("WriteBatch = %d, %v; want %d", n, err, len(out))
				}
				got, from := receive(t, b, len(out), size)
				for i := range got {
					if !bytes.Equal(got[i], out[i].Buf[:out[i].N]) {
						t.Fatalf("datagram %d: got %d bytes starting %x", i, len(got[i]), got[i][:4])
					}
					if from[i].Addr() != to.Addr() || from[i].Port() != a.LocalPort() {
						t.Fatalf("datagram %d is from %v, want %v port %d", i, from[i], to.Addr(), a.LocalPort())
					}
				}
			})
		})
	}
}

func TestCloseEndsABlockedRead(t *testing.T) {
	for name, open := range kinds() {
		t.Run(name, func(t *testing.T) {
			_, b, _ := open(t)
			done := make(chan error)
			go func() {
				_, err := b.ReadBatch([]Message{{Buf: make([]byte, 2048)}})
				done <- err
			}()
			if err := b.Close(); err != nil {
				t.Fatal(err)
			}
			select {
			case err := <-done:
				if !errors.Is(err, net.ErrClosed) {
					t.Fatalf("ReadBatch = %v, want net.ErrClosed", err)
				}
			case <-time.After(5 * time.Second):
				t.Fatal("ReadBatch still blocks after Close")
			}
			if _, err := b.WriteBatch(numbered(netip.AddrPortFrom(loopback4, 9), 10)); !errors.Is(err, net.ErrClosed) {
				t.Fatalf("WriteBatch after Close = %v, want net.ErrClosed", err)
			}
		})
	}
}

func TestBothFamiliesShareOnePort(t *testing.T) {
	c := listenFor(t, Listen, Options{}).(*conn)
	if c.ipv4 == nil || c.ipv6 == nil {
		t.Fatal("this host lacks an address family; the test needs both")
	}
	if p4, p6 := localPortOf(c.ipv4.udp), localPortOf(c.ipv6.udp); p4 != p6 || p4 != c.LocalPort() || p4 == 0 {
		t.Fatalf("ports %d and %d, LocalPort %d", p4, p6, c.LocalPort())
	}
	if _, err := Listen(Options{Port: c.LocalPort()}); err == nil {
		t.Fatal("a second Listen on the same port succeeded")
	}
}

func TestRefusedDatagramsAreCountedAndTheOthersArrive(t *testing.T) {
	registry := prometheus.NewRegistry()
	a := listenFor(t, Listen, Options{IPv4: true, Registerer: registry}).(*conn)
	b := listenFor(t, Listen, Options{IPv4: true})
	good := netip.AddrPortFrom(loopback4, b.LocalPort())
	out := numbered(good, 100, 100, 100, 100, 100, 100)
	out[1].Addr = netip.MustParseAddrPort("[2001:db8::1]:9") // family not open
	out[3].Addr = netip.AddrPortFrom(loopback4, 0)           // no such port
	out[4].Buf, out[4].N = make([]byte, 65530), 65530        // longer than IPv4 can carry
	n, err := a.WriteBatch(out)
	if err != nil || n != 3 {
		t.Fatalf("WriteBatch = %d, %v; want 3 sent and no error", n, err)
	}
	if got, _ := receive(t, b, 3, 2048); got[2][3] != 5 {
		t.Fatalf("last datagram is %x", got[2][:4])
	}
	for reason, want := range map[string]float64{"no_family": 1, "invalid": 1, "too_big": 1} {
		if got := testutil.ToFloat64(a.metrics.sendErrors.WithLabelValues(reason)); got != want {
			t.Errorf("send errors for %s: %v, want %v", reason, got, want)
		}
	}
}

func TestARunThatTheKernelRefusesIsSentSingly(t *testing.T) {
	a := listenFor(t, Listen, Options{IPv4: true}).(*conn)
	b := listenFor(t, Listen, Options{IPv4: true})
	if !a.ipv4.segment.Load() {
		t.Fatal("this kernel has no UDP_SEGMENT; the test needs it")
	}
	ms := numbered(netip.AddrPortFrom(loopback4, b.LocalPort()), 500, 500, 500)
	sc := newWriteScratch()
	if runs := sc.pack(ms, true); runs != 1 {
		t.Fatalf("%d runs, want 1", runs)
	}
	if n, err := a.writeSingly(a.ipv4, sc, 0, ms, errors.New("device cannot")); n != 3 || err != nil {
		t.Fatalf("writeSingly = %d, %v", n, err)
	}
	if got, _ := receive(t, b, 3, 2048); got[2][3] != 2 {
		t.Fatalf("last datagram is %x", got[2][:4])
	}
}

func TestTooSmallBuffersDropAndCount(t *testing.T) {
	a := listenFor(t, Listen, Options{IPv4: true})
	b := listenFor(t, Listen, Options{IPv4: true}).(*conn)
	out := numbered(netip.AddrPortFrom(loopback4, b.LocalPort()), 900, 100)
	if _, err := a.WriteBatch(out); err != nil {
		t.Fatal(err)
	}
	got, _ := receive(t, b, 1, 500)
	if len(got[0]) != 100 {
		t.Fatalf("got a datagram of %d bytes, want the one of 100", len(got[0]))
	}
	if n := testutil.ToFloat64(b.metrics.truncated); n != 1 {
		t.Fatalf("truncated = %v, want 1", n)
	}
}

func TestConnsOnOneRegistryShareCounters(t *testing.T) {
	registry := prometheus.NewRegistry()
	a := listenFor(t, Listen, Options{Registerer: registry}).(*conn)
	b := listenFor(t, Listen, Options{Registerer: registry}).(*conn)
	a.metrics.sent.Inc()
	if got := testutil.ToFloat64(b.metrics.sent); got != 1 {
		t.Fatalf("second Conn sees %v, want 1", got)
	}
}

func TestRunLength(t *testing.T) {
	to, other := netip.MustParseAddrPort("192.0.2.1:1"), netip.MustParseAddrPort("192.0.2.1:2")
	for _, row := range []struct {
		name  string
		sizes []int
		other int // index sent elsewhere, -1 for none
		want  int
	}{
		{"one datagram", []int{10}, -1, 1},
		{"equal sizes", []int{10, 10, 10}, -1, 3},
		{"a shorter one ends the run", []int{10, 10, 5, 5}, -1, 3},
		{"a longer one starts another", []int{5, 10}, -1, 1},
		{"another destination starts another", []int{10, 10, 10}, 1, 1},
		{"empty datagrams are never joined", []int{0, 0}, -1, 1},
		{"an empty one cannot end a run", []int{5, 0}, -1, 1},
		{"segment bound", slices.Repeat([]int{10}, 100), -1, maxSegments},
		{"byte bound", slices.Repeat([]int{1500}, 60), -1, maxSegmentedBytes / 1500},
	} {
		t.Run(row.name, func(t *testing.T) {
			ms := numbered(to, slices.Repeat([]int{4}, len(row.sizes))...)
			for i := range ms {
				ms[i].Buf, ms[i].N = make([]byte, row.sizes[i]), row.sizes[i]
			}
			if row.other >= 0 {
				ms[row.other].Addr = other
			}
			if got := runLength(ms); got != row.want {
				t.Fatalf("runLength = %d, want %d", got, row.want)
			}
		})
	}
}

func TestWriteBatchDoesNotAllocate(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector makes sync.Pool forget")
	}
	a := listenFor(t, Listen, Options{})
	ms := numbered(netip.AddrPortFrom(loopback6, a.LocalPort()), slices.Repeat([]int{1200}, 100)...)
	if n := testing.AllocsPerRun(50, func() { _, _ = a.WriteBatch(ms) }); n > 0 {
		t.Fatalf("%v allocations per batch", n)
	}
}

func BenchmarkLoopback(b *testing.B) {
	for _, row := range []struct {
		name    string
		options Options
	}{{"offload", Options{IPv4: true}}, {"two sockets", Options{}}, {"plain batches", Options{IPv4: true, DisableOffload: true}}} {
		b.Run(row.name, func(b *testing.B) {
			const size = 1440
			from, to := listenFor(b, Listen, row.options), listenFor(b, Listen, row.options)
			out := numbered(netip.AddrPortFrom(loopback4, to.LocalPort()), slices.Repeat([]int{size}, 44)...)
			in := make([]Message, 16)
			for i := range in {
				in[i].Buf = make([]byte, MaxMessage)
			}
			b.SetBytes(size * int64(len(out)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := from.WriteBatch(out); err != nil {
					b.Fatal(err)
				}
				for got := 0; got < len(out)*size; {
					n, err := to.ReadBatch(in)
					if err != nil {
						b.Fatal(err)
					}
					for i := range in[:n] {
						got += in[i].N
					}
				}
			}
			b.ReportMetric(float64(b.N*len(out))/b.Elapsed().Seconds(), "datagrams/s")
		})
	}
}

// A peer may name the broadcast address of a network of this host as its own.
func TestBroadcastIsForbidden(t *testing.T) {
	c, err := Listen(Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, s := range c.(*conn).sockets {
		raw, err := s.udp.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		value := -1
		if err := raw.Control(func(fd uintptr) { value, err = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_BROADCAST) }); err != nil || value != 0 {
			t.Errorf("SO_BROADCAST is %d, %v", value, err)
		}
	}
}
