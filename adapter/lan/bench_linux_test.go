package lan

import (
	"bytes"
	"context"
	"encoding/binary"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mdlayher/packet"

	"github.com/cyphonic/cyphonic/internal/netconf"
	"github.com/cyphonic/cyphonic/internal/netconf/nstest"
	"github.com/cyphonic/cyphonic/internal/tun"
)

const (
	bridgeName = "cyt-lan"
	tunName    = "cyt-tun"
)

// bench is an adapter's LAN with three devices behind three ports, each in a namespace of its own.
type bench struct {
	segment *Segment
	dhcp    *DHCPServer
	outward chan []byte // packets that reached the virtual interface
	bridge  net.HardwareAddr

	mu     sync.Mutex
	leases map[MAC]Lease // who is logged in
	events map[MAC][]Event
}

// device is one of them: namespace gnN with interface eth0, on port lanN.
type device struct {
	name, port string
	mac        MAC
	ip         netip.Addr
}

var devices = []device{
	{"gn1", "lan1", cam1, netip.MustParseAddr("10.77.0.11")},
	{"gn2", "lan2", cam2, netip.MustParseAddr("10.77.0.12")},
	{"gn3", "lan3", cam3, netip.MustParseAddr("10.77.0.13")}, // not in the list
}

// newBench wires everything; the bridge is made by Open.
func newBench(t *testing.T) *bench {
	t.Helper()
	nstest.Run(t, "ip", "link", "set", "lo", "up")
	for _, d := range devices {
		nstest.Run(t, "ip", "link", "add", d.port, "type", "veth", "peer", "name", "eth0", "netns", nstest.Name(d.name))
		nstest.Exec(t, d.name, "ip", "link", "set", "eth0", "address", d.mac.String())
		nstest.Exec(t, d.name, "ip", "link", "set", "lo", "up")
		nstest.Exec(t, d.name, "ip", "link", "set", "eth0", "up")
	}
	virtual, err := tun.Open(tun.Options{Name: tunName, MTU: 1400})
	if err != nil {
		t.Fatal(err)
	}
	if err := netconf.Configure(netconf.Interface{Name: tunName, MTU: 1400}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	b := &bench{outward: make(chan []byte, 4096), leases: make(map[MAC]Lease), events: make(map[MAC][]Event)}
	b.segment, err = Open(ctx, Options{Bridge: bridgeName, Ports: []string{"lan1", "lan2", "lan3"}, Tun: tunName, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	network := exampleLease(t).Network
	if err := b.segment.SetNetwork(ctx, network); err != nil {
		t.Fatal(err)
	}
	if err := b.segment.SetListed(ctx, []MAC{cam1, cam2}); err != nil {
		t.Fatal(err)
	}
	b.dhcp, err = b.segment.ListenDHCP(DHCPOptions{Ask: b.ask, Event: b.event, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() { _ = b.segment.Run(ctx) })
	wg.Go(func() { _ = b.dhcp.Run(ctx) })
	wg.Go(func() { b.readTun(virtual) })
	t.Cleanup(func() {
		cancel()
		_ = virtual.Close()
		wg.Wait()
		b.segment.Close(context.Background())
		if out := nstest.Run(t, "nft", "list", "ruleset"); strings.Contains(out, table) {
			t.Errorf("the guard stayed after its bridge was removed:\n%s", out)
		}
	})
	ifi, err := net.InterfaceByName(bridgeName)
	if err != nil {
		t.Fatal(err)
	}
	b.bridge = ifi.HardwareAddr
	return b
}

func (b *bench) ask(mac MAC) (Lease, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	l, ok := b.leases[mac]
	return l, ok
}

func (b *bench) event(mac MAC, e Event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.events[mac] = append(b.events[mac], e)
}

func (b *bench) lastEvent(mac MAC) Event {
	b.mu.Lock()
	defer b.mu.Unlock()
	if n := len(b.events[mac]); n > 0 {
		return b.events[mac][n-1]
	}
	return EventNone
}

// admit does what the life cycle does after a login.
func (b *bench) admit(t *testing.T, d device) {
	t.Helper()
	if err := b.segment.Admit(context.Background(), Binding{Port: d.port, MAC: d.mac, IPv4: d.ip}); err != nil {
		t.Fatal(err)
	}
	lease := exampleLease(t)
	lease.IPv4 = d.ip
	b.mu.Lock()
	b.leases[d.mac] = lease
	b.mu.Unlock()
	b.dhcp.Ready(d.mac, lease)
}

func (b *bench) count(t *testing.T, reason string) uint64 {
	t.Helper()
	c, err := b.segment.Counters(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return c[reason]
}

// configure gives a device its address without DHCP, as an attacker or a leased device has it.
func configure(t *testing.T, d device) {
	t.Helper()
	nstest.Exec(t, d.name, "ip", "addr", "replace", d.ip.String()+"/16", "dev", "eth0")
}

// receivedByTun waits for a packet with this text and returns its source.
func (b *bench) receivedByTun(text string, wait time.Duration) (netip.Addr, bool) {
	deadline := time.After(wait)
	for {
		select {
		case p := <-b.outward:
			if strings.Contains(string(p), text) {
				return netip.AddrFrom4([4]byte(p[12:16])), true
			}
		case <-deadline:
			return netip.Addr{}, false
		}
	}
}

// readTun hands the IPv4 packets that reach the virtual interface to receivedByTun.
func (b *bench) readTun(device tun.Device) {
	bufs, sizes := make([][]byte, device.BatchSize()), make([]int, device.BatchSize())
	for i := range bufs {
		bufs[i] = make([]byte, 65536)
	}
	for {
		n, err := device.Read(bufs, sizes, 16)
		if err != nil {
			return
		}
		for i := range n {
			if p := bytes.Clone(bufs[i][16 : 16+sizes[i]]); len(p) > 20 && p[0]>>4 == 4 {
				b.outward <- p
			}
		}
	}
}

// frame builders of the attack rows.
var broadcast = MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

func ethernet(to, from MAC, etherType uint16, payload []byte) []byte {
	b := append(append([]byte{}, to[:]...), from[:]...)
	return append(binary.BigEndian.AppendUint16(b, etherType), payload...)
}

func arp(operation uint16, senderMAC MAC, sender netip.Addr, targetMAC MAC, target netip.Addr) []byte {
	b := []byte{0, 1, 8, 0, 6, 4, 0, byte(operation)}
	b = append(append(b, senderMAC[:]...), sender.AsSlice()...)
	return append(append(b, targetMAC[:]...), target.AsSlice()...)
}

func udp4(from, to netip.Addr, sport, dport uint16, payload string) []byte {
	b := make([]byte, 28, 28+len(payload))
	b[0], b[8], b[9] = 0x45, 64, 17
	binary.BigEndian.PutUint16(b[2:], uint16(28+len(payload)))
	copy(b[12:], from.AsSlice())
	copy(b[16:], to.AsSlice())
	sum := uint32(0)
	for i := 0; i < 20; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	binary.BigEndian.PutUint16(b[10:], ^uint16(sum))
	binary.BigEndian.PutUint16(b[20:], sport)
	binary.BigEndian.PutUint16(b[22:], dport)
	binary.BigEndian.PutUint16(b[24:], uint16(8+len(payload)))
	return append(b, payload...)
}

// wire opens a raw socket in a device's namespace.
func wireOf(t *testing.T, d device) *packet.Conn {
	t.Helper()
	var conn *packet.Conn
	var err error
	nstest.Do(t, d.name, func() {
		var ifi *net.Interface
		if ifi, err = net.InterfaceByName("eth0"); err == nil {
			conn, err = packet.Listen(ifi, packet.Raw, 3 /* ETH_P_ALL */, nil)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func send(t *testing.T, c *packet.Conn, frame []byte) {
	t.Helper()
	if _, err := c.WriteTo(frame, &packet.Addr{HardwareAddr: frame[:6]}); err != nil {
		t.Fatal(err)
	}
}

// drain returns the frames that wait on a socket.
func drain(c *packet.Conn) [][]byte {
	var out [][]byte
	_ = c.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
	for {
		b := make([]byte, 4096)
		n, _, err := c.ReadFrom(b)
		if err != nil {
			return out
		}
		if n >= 14 {
			out = append(out, b[:n])
		}
	}
}

func routerAdvertisement() []byte {
	return ipv6(58, append([]byte{134, 0, 0, 0, 64, 0, 7, 8}, make([]byte, 8)...))
}

func plainIPv6() []byte { return ipv6(17, []byte{0, 9, 0, 9, 0, 8, 0, 0}) }

func ipv6(next byte, payload []byte) []byte {
	b := make([]byte, 40, 40+len(payload))
	b[0], b[5], b[6], b[7] = 0x60, byte(len(payload)), next, 255
	source, target := netip.MustParseAddr("fe80::1").As16(), netip.MustParseAddr("ff02::1").As16()
	copy(b[8:], source[:])
	copy(b[24:], target[:])
	return append(b, payload...)
}
