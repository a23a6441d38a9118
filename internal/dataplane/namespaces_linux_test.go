package dataplane

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/cyphonic/cyphonic/internal/tun"
	"github.com/cyphonic/cyphonic/internal/udp"
)

// host is a nameless network namespace with a thread of its own. It goes away with the thread.
type host struct {
	ns   netns.NsHandle
	work chan func()
}

func newHost(t testing.TB) *host {
	t.Helper()
	h := &host{work: make(chan func())}
	opened := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		var err error
		h.ns, err = netns.New()
		opened <- err
		for f := range h.work {
			f()
		}
	}()
	if err := <-opened; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { close(h.work); _ = h.ns.Close() })
	return h
}

// do runs f in the namespace.
func (h *host) do(t testing.TB, f func() error) {
	t.Helper()
	result := make(chan error)
	h.work <- func() { result <- f() }
	if err := <-result; err != nil {
		t.Fatal(err)
	}
}

func setUp(name string, addresses ...string) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return err
	}
	for _, a := range addresses {
		addr, err := netlink.ParseAddr(a)
		if err != nil {
			return err
		}
		addr.Flags = unix.IFA_F_NODAD
		if err := netlink.AddrAdd(link, addr); err != nil {
			return err
		}
	}
	return nil
}

// realPair connects two running planes with real virtual interfaces and sockets, in two
// namespaces with a virtual Ethernet cable between them.
func realPair(t testing.TB, backend string, workers int) (a, b *host) {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("CYPHONIC_UNPRIVILEGED") == "1" {
			t.Skip("network namespaces need root")
		}
		t.Fatal("network namespaces need root; run as root, or set CYPHONIC_UNPRIVILEGED=1 to skip")
	}
	a, b = newHost(t), newHost(t)
	a.do(t, func() error {
		err := netlink.LinkAdd(&netlink.Veth{
			LinkAttrs: netlink.LinkAttrs{Name: "wan0"}, PeerName: "wan0", PeerNamespace: netlink.NsFd(b.ns),
		})
		if err != nil {
			return err
		}
		return setUp("wan0", "192.0.2.1/24")
	})
	b.do(t, func() error { return setUp("wan0", "192.0.2.2/24") })
	sessionA, sessionB := sessions(t)
	portA, portB := uint16(1001), uint16(1002)
	for _, side := range []struct {
		host      *host
		local     []string
		port      uint16
		peer      netip.AddrPort
		addresses Addresses
	}{
		{a, []string{"10.50.0.1/24", "fd50::1/64"}, portA, netip.AddrPortFrom(realB.Addr(), portB), Addresses{addressA4, addressA6, addressB4, addressB6}},
		{b, []string{"10.50.0.2/24", "fd50::2/64"}, portB, netip.AddrPortFrom(realA.Addr(), portA), Addresses{addressB4, addressB6, addressA4, addressA6}},
	} {
		s := sessionA
		if side.host == b {
			s = sessionB
		}
		side.host.do(t, func() error {
			device, err := tun.Open(tun.Options{Name: "cyt0", MTU: 1400, Backend: backend})
			if err != nil {
				return err
			}
			conn, err := udp.Listen(udp.Options{Port: side.port})
			if err != nil {
				return err
			}
			plane, err := New(Options{Tun: device, UDP: conn, Workers: workers, Handler: discard{}})
			if err != nil {
				return err
			}
			association := NewAssociation(side.addresses)
			association.SetFilter(allowAll)
			association.SetSession(s)
			association.SetPath(Path{Addr: side.peer})
			if err := plane.AddAssociation(association); err != nil {
				return err
			}
			if err := plane.AddSession(s, association); err != nil {
				return err
			}
			runPlane(t, plane)
			return setUp("cyt0", side.local...)
		})
	}
	return a, b
}

func runPlane(t testing.TB, p *Plane) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

// connect opens a TCP connection from one host to a virtual address of the other.
func connect(t testing.TB, from, to *host, address netip.Addr) (client, server net.Conn) {
	t.Helper()
	var listener net.Listener
	to.do(t, func() (err error) {
		listener, err = net.Listen("tcp", netip.AddrPortFrom(address, 0).String())
		return err
	})
	defer func() { _ = listener.Close() }()
	port := listener.Addr().(*net.TCPAddr).AddrPort().Port()
	accepted := make(chan net.Conn, 1)
	go func() {
		c, _ := listener.Accept()
		accepted <- c
	}()
	from.do(t, func() (err error) {
		for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(20 * time.Millisecond) {
			client, err = (&net.Dialer{Timeout: 5 * time.Second}).Dial("tcp", netip.AddrPortFrom(address, port).String())
			if err == nil || time.Now().After(deadline) {
				return err
			}
		}
	})
	server = <-accepted
	if server == nil {
		t.Fatal("the connection was not accepted")
	}
	t.Cleanup(func() { _, _ = client.Close(), server.Close() })
	return client, server
}

func TestTCPThroughRealInterfacesAndSockets(t *testing.T) {
	for _, backend := range []string{tun.BackendOffload, tun.BackendPortable} {
		t.Run(backend, func(t *testing.T) {
			a, b := realPair(t, backend, 2)
			for _, row := range []struct {
				from, to *host
				address  netip.Addr
			}{{a, b, addressB4}, {b, a, addressA6}} {
				client, server := connect(t, row.from, row.to, row.address)
				data := make([]byte, 10<<20)
				_, _ = rand.NewChaCha8([32]byte{2}).Read(data)
				go func() {
					_, _ = client.Write(data)
					_ = client.(*net.TCPConn).CloseWrite()
				}()
				_ = server.SetReadDeadline(time.Now().Add(30 * time.Second))
				h := sha256.New()
				if _, err := io.Copy(h, server); err != nil {
					t.Fatal(err)
				}
				if [32]byte(h.Sum(nil)) != sha256.Sum256(data) {
					t.Fatalf("the stream to %v was changed on its way", row.address)
				}
			}
		})
	}
}

// BenchmarkTCP measures one TCP stream through real interfaces and sockets, both ends on this
// machine.
func BenchmarkTCP(b *testing.B) {
	for _, backend := range []string{tun.BackendOffload, tun.BackendPortable} {
		for _, workers := range []int{1, 2, 4} {
			b.Run(fmt.Sprintf("%s/%d workers", backend, workers), func(b *testing.B) {
				hostA, hostB := realPair(b, backend, workers)
				client, server := connect(b, hostA, hostB, addressB4)
				go func() { _, _ = io.Copy(io.Discard, server) }()
				chunk := make([]byte, 1<<20)
				for range 100 {
					_, _ = client.Write(chunk)
				}
				b.SetBytes(int64(len(chunk)))
				cpu := cpuSeconds(b)
				for b.Loop() {
					if _, err := client.Write(chunk); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(b.N)*float64(len(chunk))*8/b.Elapsed().Seconds()/1e9, "Gbit/s")
				b.ReportMetric((cpuSeconds(b)-cpu)/float64(b.N)/float64(len(chunk))*1e9, "cpu-s/GB")
			})
		}
	}
}
