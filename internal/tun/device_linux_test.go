package tun

import (
	"bytes"
	"crypto/sha256"
	"errors"
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
)

// The addresses of the interface under test and of the host that the test plays behind it.
var (
	local4, remote4 = netip.MustParseAddr("10.77.0.1"), netip.MustParseAddr("10.77.0.2")
	local6, remote6 = netip.MustParseAddr("fd77::1"), netip.MustParseAddr("fd77::2")
)

// forEachBackend runs test in a network namespace of its own, on a device that is up.
func forEachBackend(t *testing.T, mtu int, test func(*testing.T, Device)) {
	if os.Geteuid() != 0 {
		if os.Getenv("CYPHONIC_UNPRIVILEGED") == "1" {
			t.Skip("creating a TUN device needs root")
		}
		t.Fatal("creating a TUN device needs root; run as root, or set CYPHONIC_UNPRIVILEGED=1 to skip")
	}
	for _, backend := range []string{BackendOffload, BackendPortable} {
		t.Run(backend, func(t *testing.T) {
			// The thread is never unlocked: it dies with the test, and the nameless
			// namespace with it.
			runtime.LockOSThread()
			ns, err := netns.New()
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = ns.Close() }()
			d, err := Open(Options{Name: "cyttun0", MTU: mtu, Backend: backend})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = d.Close() })
			bringUp(t, d)
			test(t, d)
		})
	}
}

func bringUp(t *testing.T, d Device) {
	t.Helper()
	link, err := netlink.LinkByName(d.Name())
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		t.Fatal(err)
	}
	for _, a := range []netip.Addr{local4, local6} {
		bits := 24
		if a.Is6() {
			bits = 64
		}
		addr := &netlink.Addr{IPNet: &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(bits, a.BitLen())}, Flags: unix.IFA_F_NODAD}
		if err := netlink.AddrAdd(link, addr); err != nil {
			t.Fatal(err)
		}
	}
	// The kernel makes an IPv6 address usable a moment after it was added.
	for deadline := time.Now().Add(5 * time.Second); !isLocal(local6); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%v is not usable after 5 s", local6)
		}
	}
}

// isLocal says whether the kernel would accept packets to a.
func isLocal(a netip.Addr) bool {
	routes, err := netlink.RouteGet(a.AsSlice())
	return err == nil && len(routes) == 1 && routes[0].Type == unix.RTN_LOCAL
}

// buffers are what a caller of Read brings.
func buffers(d Device, offset int) ([][]byte, []int) {
	bufs := make([][]byte, d.BatchSize())
	for i := range bufs {
		bufs[i] = make([]byte, offset+d.MTU()+100)
	}
	return bufs, make([]int, len(bufs))
}

// reflect sends every packet back with its addresses exchanged until the device is closed:
// a connection from local to remote then ends at local. It reports the largest batch.
func reflect(d Device, largest *int) error {
	const offset = 32
	bufs, sizes := buffers(d, offset)
	out := make([][]byte, 0, len(bufs))
	for {
		n, err := d.Read(bufs, sizes, offset)
		if err != nil {
			return err
		}
		*largest = max(*largest, n)
		out = out[:0]
		for i := range n {
			p := bufs[i][offset : offset+sizes[i]]
			swapAddresses(p)
			out = append(out, bufs[i][:offset+sizes[i]])
		}
		if _, err := d.Write(out, offset); err != nil {
			return err
		}
	}
}

func swapAddresses(p []byte) {
	at, size := 12, 4
	if p[0]>>4 == 6 {
		at, size = 8, 16
	}
	a, b := p[at:at+size], p[at+size:at+2*size]
	for i := range a {
		a[i], b[i] = b[i], a[i]
	}
}

func TestTCPStreamSurvivesCuttingAndJoining(t *testing.T) {
	for _, family := range []struct {
		name          string
		local, remote netip.Addr
	}{{"IPv4", local4, remote4}, {"IPv6", local6, remote6}} {
		t.Run(family.name, func(t *testing.T) {
			forEachBackend(t, 1400, func(t *testing.T, d Device) {
				l, err := net.Listen("tcp", netip.AddrPortFrom(family.local, 0).String())
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = l.Close() }()
				port := l.Addr().(*net.TCPAddr).AddrPort().Port()
				largest, reflected := 0, make(chan error, 1)
				go func() { reflected <- reflect(d, &largest) }()

				data := make([]byte, 20<<20)
				_, _ = rand.NewChaCha8([32]byte{1}).Read(data)
				got := make(chan [32]byte, 1)
				go func() {
					c, err := l.Accept()
					if err != nil {
						return
					}
					h := sha256.New()
					_, _ = io.Copy(h, c)
					got <- [32]byte(h.Sum(nil))
					_ = c.Close()
				}()
				c, err := (&net.Dialer{Timeout: 5 * time.Second}).Dial("tcp", netip.AddrPortFrom(family.remote, port).String())
				if err != nil {
					t.Fatal(err)
				}
				if _, err := c.Write(data); err != nil {
					t.Fatal(err)
				}
				_ = c.Close()
				select {
				case sum := <-got:
					if sum != sha256.Sum256(data) {
						t.Fatal("the stream was changed on its way")
					}
				case <-time.After(30 * time.Second):
					t.Fatal("the stream did not arrive in 30 s")
				}
				_ = d.Close()
				if err := <-reflected; !errors.Is(err, os.ErrClosed) {
					t.Fatalf("after Close: %v, want os.ErrClosed", err)
				}
				if d.BatchSize() > 1 && largest < 8 {
					t.Errorf("no super-packet was seen: the largest batch has %d packets", largest)
				}
			})
		})
	}
}

func TestUDPDatagramsOfAllSizesComeBack(t *testing.T) {
	for _, family := range []struct {
		name          string
		local, remote netip.Addr
		headers       int
	}{{"IPv4", local4, remote4, 28}, {"IPv6", local6, remote6, 48}} {
		t.Run(family.name, func(t *testing.T) {
			forEachBackend(t, 1400, func(t *testing.T, d Device) {
				c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(family.local, 0)))
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = c.Close() }()
				reflected, largest := make(chan error, 1), 0
				go func() { reflected <- reflect(d, &largest) }()
				to := netip.AddrPortFrom(family.remote, c.LocalAddr().(*net.UDPAddr).AddrPort().Port())
				_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
				for _, size := range []int{0, 1, 2, 3, 100, 101, 1400 - family.headers - 1, 1400 - family.headers} {
					data := bytes.Repeat([]byte{byte(size)}, size)
					if _, err := c.WriteToUDPAddrPort(data, to); err != nil {
						t.Fatal(err)
					}
					in := make([]byte, 2000)
					n, from, err := c.ReadFromUDPAddrPort(in)
					if err != nil {
						t.Fatalf("datagram of %d bytes: %v", size, err)
					}
					if from != to || !bytes.Equal(in[:n], data) {
						t.Fatalf("datagram of %d bytes: got %d bytes from %v", size, n, from)
					}
				}
				_ = d.Close()
				<-reflected
			})
		})
	}
}

func TestCloseEndsABlockedReadAndRemovesTheInterface(t *testing.T) {
	forEachBackend(t, 1400, func(t *testing.T, d Device) {
		done := make(chan error, 1)
		go func() {
			bufs, sizes := buffers(d, Headroom)
			for {
				if _, err := d.Read(bufs, sizes, Headroom); err != nil {
					done <- err
					return
				}
			}
		}()
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-done:
			if !errors.Is(err, os.ErrClosed) {
				t.Fatalf("Read = %v, want os.ErrClosed", err)
			}
		case <-time.After(5 * time.Second):
			t.Fatal("Read still blocks after Close")
		}
		if _, err := d.Write([][]byte{make([]byte, Headroom+40)}, Headroom); !errors.Is(err, os.ErrClosed) {
			t.Fatalf("Write after Close = %v, want os.ErrClosed", err)
		}
		if err := d.Close(); err != nil {
			t.Fatalf("second Close: %v", err)
		}
		if _, err := netlink.LinkByName(d.Name()); err == nil {
			t.Fatal("the interface is still there")
		}
	})
}

func TestDeviceReportsNameAndMTU(t *testing.T) {
	forEachBackend(t, 1380, func(t *testing.T, d Device) {
		link, err := netlink.LinkByName("cyttun0")
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(d.Name(), d.MTU(), link.Attrs().MTU); got != "cyttun0 1380 1380" && got != "cyttun01380 1380" {
			t.Fatalf("name, MTU, interface's MTU: %s", got)
		}
		if d.BatchSize() < 1 {
			t.Fatalf("BatchSize = %d", d.BatchSize())
		}
	})
}

func TestRefusedPacketsAreSkipped(t *testing.T) {
	forEachBackend(t, 1400, func(t *testing.T, d Device) {
		link, err := netlink.LinkByName(d.Name())
		if err != nil {
			t.Fatal(err)
		}
		if err := netlink.LinkSetDown(link); err != nil {
			t.Fatal(err)
		}
		packet := append(make([]byte, Headroom), 0x45, 0, 0, 20, 0, 0, 0, 0, 64, 17, 0, 0, 10, 77, 0, 2, 10, 77, 0, 1)
		if n, err := d.Write([][]byte{packet}, Headroom); n != 0 || err != nil {
			t.Fatalf("Write to an interface that is down = %d, %v; want 0 and no error", n, err)
		}
	})
}
