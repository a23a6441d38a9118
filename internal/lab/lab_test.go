package lab

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
)

// requireRoot fails a test that cannot work, and skips it only where the caller says so.
func requireRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("CYPHONIC_UNPRIVILEGED") == "1" {
		t.Skip("needs root (network namespaces); CYPHONIC_UNPRIVILEGED=1 skips it")
	}
	t.Fatal("needs root (network namespaces); set CYPHONIC_UNPRIVILEGED=1 to skip")
}

// twoSites is left ─ napt ─ router ─ napt ─ right, with a public server on the router.
func twoSites(a, b NATBehaviour) Topology {
	return Topology{
		Hosts: []HostSpec{
			{Name: "router", Router: true},
			{
				Name: "naptl", Router: true, Routes: DefaultRoutes("198.51.100.1"),
				NAT: NAT{Behaviour: a, Outside: "wan", Inside: netip.MustParseAddr("192.168.10.2")},
			},
			{
				Name: "naptr", Router: true, Routes: DefaultRoutes("198.51.100.129"),
				NAT: NAT{Behaviour: b, Outside: "wan", Inside: netip.MustParseAddr("192.168.20.2")},
			},
			{Name: "left", Routes: DefaultRoutes("192.168.10.1")},
			{Name: "right", Routes: DefaultRoutes("192.168.20.1"), Nameservers: []netip.Addr{netip.MustParseAddr("203.0.113.53")}},
			{Name: "server", Routes: DefaultRoutes("203.0.113.1", "2001:db8:113::1")},
		},
		Links: []LinkSpec{
			{
				A:   End{Host: "router", Interface: "naptl", Addresses: Prefixes("198.51.100.1/25")},
				B:   End{Host: "naptl", Interface: "wan", Addresses: Prefixes("198.51.100.2/25")},
				WAN: true,
			},
			{
				A:   End{Host: "router", Interface: "naptr", Addresses: Prefixes("198.51.100.129/25")},
				B:   End{Host: "naptr", Interface: "wan", Addresses: Prefixes("198.51.100.130/25")},
				WAN: true,
			},
			{
				A: End{Host: "naptl", Interface: "lan", Addresses: Prefixes("192.168.10.1/24")},
				B: End{Host: "left", Interface: "eth0", Addresses: Prefixes("192.168.10.2/24")},
			},
			{
				A: End{Host: "naptr", Interface: "lan", Addresses: Prefixes("192.168.20.1/24")},
				B: End{Host: "right", Interface: "eth0", Addresses: Prefixes("192.168.20.2/24")},
			},
			{
				A: End{Host: "router", Interface: "server", Addresses: Prefixes("203.0.113.1/24", "2001:db8:113::1/64")},
				B: End{
					Host: "server", Interface: "eth0",
					Addresses: Prefixes("203.0.113.10/24", "203.0.113.11/24", "2001:db8:113::10/64"),
				},
				WAN: true,
			},
		},
	}
}

func newLab(t *testing.T, options Options, topology Topology) *Lab {
	t.Helper()
	requireRoot(t)
	l, err := New(t.Context(), options, topology)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Errorf("close the lab: %v", err)
		}
	})
	return l
}

func listenUDP(t *testing.T, h *Host, address string) *net.UDPConn {
	t.Helper()
	conn, err := h.ListenUDP(address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

const (
	// enough is the wait for a datagram that must come: a busy machine delays it.
	enough = 5 * time.Second
	// little is the wait for a datagram that must not come.
	little = 300 * time.Millisecond
)

// observe sends a datagram and returns the source that the destination saw within the wait; the zero value if none.
func observe(t *testing.T, from, at *net.UDPConn, to string, wait time.Duration) netip.AddrPort {
	t.Helper()
	if _, err := from.WriteToUDPAddrPort([]byte("where am I?"), netip.MustParseAddrPort(to)); err != nil {
		t.Fatal(err)
	}
	_ = at.SetReadDeadline(time.Now().Add(wait))
	_, source, err := at.ReadFromUDPAddrPort(make([]byte, 2048))
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal(err)
	}
	if err != nil && wait == enough {
		t.Fatalf("no datagram to %s within %v", to, wait)
	}
	return source
}

func TestTranslationBehavioursAreWhatTheirNamesSay(t *testing.T) {
	l := newLab(t, Options{NoEvidence: true}, twoSites(NATPortPreserving, NATSymmetric))
	one := listenUDP(t, l.Host("server"), "203.0.113.10:7000")
	two := listenUDP(t, l.Host("server"), "203.0.113.11:7000")
	stranger := listenUDP(t, l.Host("server"), "203.0.113.11:7001")
	left := listenUDP(t, l.Host("left"), "192.168.10.2:5000")
	right := listenUDP(t, l.Host("right"), "192.168.20.2:5000")

	first, second := observe(t, left, one, "203.0.113.10:7000", enough), observe(t, left, two, "203.0.113.11:7000", enough)
	if want := netip.MustParseAddrPort("198.51.100.2:5000"); first != want || second != want {
		t.Errorf("port preserving: the servers saw %v and %v, want %v", first, second, want)
	}
	if source := observe(t, stranger, left, first.String(), little); source.IsValid() {
		t.Errorf("port preserving: a datagram from %v, never sent to, came in", source)
	}
	if source := observe(t, one, left, first.String(), enough); !source.IsValid() {
		t.Error("port preserving: the answer did not come in")
	}
	first, second = observe(t, right, one, "203.0.113.10:7000", enough), observe(t, right, two, "203.0.113.11:7000", enough)
	if !first.IsValid() || !second.IsValid() || first.Port() == second.Port() {
		t.Errorf("symmetric: the servers saw %v and %v, want two ports", first, second)
	}
}

func TestStaticTranslationLetsStrangersIn(t *testing.T) {
	l := newLab(t, Options{NoEvidence: true}, twoSites(NATStatic, NATPortPreserving))
	stranger := listenUDP(t, l.Host("server"), "203.0.113.10:7000")
	left := listenUDP(t, l.Host("left"), "192.168.10.2:5000")
	if source := observe(t, stranger, left, "198.51.100.2:5000", enough); source.String() != "203.0.113.10:7000" {
		t.Errorf("inside saw %v", source)
	}
	if source := observe(t, left, stranger, "203.0.113.10:7000", enough); source.String() != "198.51.100.2:5000" {
		t.Errorf("outside saw %v", source)
	}
}

func TestOnlyPortPreservingSitesCanBePunched(t *testing.T) {
	for _, row := range []struct {
		name    string
		a, b    NATBehaviour
		punched bool
	}{
		{"both port preserving", NATPortPreserving, NATPortPreserving, true},
		{"both symmetric", NATSymmetric, NATSymmetric, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			l := newLab(t, Options{NoEvidence: true}, twoSites(row.a, row.b))
			server := listenUDP(t, l.Host("server"), "203.0.113.10:7000")
			left := listenUDP(t, l.Host("left"), "192.168.10.2:5000")
			right := listenUDP(t, l.Host("right"), "192.168.20.2:5001")
			leftSeen := observe(t, left, server, "203.0.113.10:7000", enough)
			rightSeen := observe(t, right, server, "203.0.113.10:7000", enough)
			early := observe(t, left, right, rightSeen.String(), little)
			if early.IsValid() {
				t.Fatalf("the first datagram came in from %v before the right side had opened its mapping", early)
			}
			wait := little
			if row.punched {
				wait = enough
			}
			toLeft := observe(t, right, left, leftSeen.String(), wait)
			toRight := observe(t, left, right, rightSeen.String(), wait)
			if toLeft.IsValid() != row.punched || toRight.IsValid() != row.punched {
				t.Errorf("left received from %v, right from %v; want punched %v", toLeft, toRight, row.punched)
			}
		})
	}
}

func TestBlockingDropsUntilUndone(t *testing.T) {
	l := newLab(t, Options{NoEvidence: true}, twoSites(NATPortPreserving, NATPortPreserving))
	server := listenUDP(t, l.Host("server"), "203.0.113.10:7000")
	left := listenUDP(t, l.Host("left"), "192.168.10.2:5000")
	blocking, err := l.Host("router").Block(t.Context(), BlockRule{
		Protocol: "udp", From: netip.MustParsePrefix("198.51.100.2/32"), To: netip.MustParsePrefix("203.0.113.10/32"), BothWays: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	if source := observe(t, left, server, "203.0.113.10:7000", little); source.IsValid() {
		t.Errorf("blocked datagram arrived from %v", source)
	}
	if err := exchangeTCP(t.Context(), l.Host("left"), l.Host("server"), "203.0.113.10:7000", []byte("tcp is not blocked")); err != nil {
		t.Error(err)
	}
	for range 2 { // idempotent
		if err := blocking.Undo(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if source := observe(t, left, server, "203.0.113.10:7000", enough); !source.IsValid() {
		t.Error("the datagram did not arrive after Undo")
	}
}

// exchangeTCP sends data from one host to another, which must receive it whole.
func exchangeTCP(ctx context.Context, from, to *Host, address string, data []byte) error {
	listener, err := to.ListenTCP(address)
	if err != nil {
		return err
	}
	defer listener.Close()
	received := make(chan error, 1)
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			received <- err
			return
		}
		defer conn.Close()
		got, err := io.ReadAll(conn)
		if err == nil && !bytes.Equal(got, data) {
			err = errors.New("received other bytes than sent")
		}
		received <- err
	}()
	conn, err := from.Dial(ctx, "tcp", address)
	if err != nil {
		return err
	}
	_, err = conn.Write(data)
	return errors.Join(err, conn.Close(), <-received)
}

func TestCaptureFindsAPatternOnARealWire(t *testing.T) {
	l := newLab(t, Options{RealWire: true}, twoSites(NATPortPreserving, NATPortPreserving))
	pattern := []byte("the-pattern-that-must-be-found!!")
	capture, err := l.Host("router").Capture(t.Context(), "server", CaptureOptions{Filter: "tcp"})
	if err != nil {
		t.Fatal(err)
	}
	data := bytes.Repeat(pattern, 1<<15) // 1 MB
	for _, address := range []string{"203.0.113.10:7000", "[2001:db8:113::10]:7000"} {
		from := l.Host("left")
		if strings.HasPrefix(address, "[") {
			from = l.Host("router")
		}
		if err := exchangeTCP(t.Context(), from, l.Host("server"), address, data); err != nil {
			t.Fatal(err)
		}
	}
	if err := capture.Stop(); err != nil {
		t.Fatal(err)
	}
	matching, all, err := capture.Contains(pattern)
	if err != nil || matching < 1000 {
		t.Errorf("%d of %d frames hold the pattern, want more than 1000 (error %v)", matching, all, err)
	}
	if matching, _, _ := capture.Contains([]byte("never sent")); matching != 0 {
		t.Errorf("%d frames hold a pattern that was never sent", matching)
	}
	largest := 0
	if err := capture.Packets(func(frame []byte) { largest = max(largest, len(frame)) }); err != nil || largest > 1514 {
		t.Errorf("largest frame has %d bytes (error %v), a real wire carries 1514", largest, err)
	}
	directory := filepath.Join(t.TempDir(), "evidence")
	if err := l.KeepEvidence(directory); err != nil {
		t.Fatal(err)
	}
	rings, _ := filepath.Glob(filepath.Join(directory, "captures", "router-tcpdump-*.pcap0"))
	if len(rings) != 3 {
		t.Errorf("evidence has the rings %v, want one per WAN link", rings)
	}
}

func TestACaptureMissesNoPacketBeforeStop(t *testing.T) {
	l := newLab(t, Options{NoEvidence: true}, twoSites(NATPortPreserving, NATPortPreserving))
	server := listenUDP(t, l.Host("server"), "203.0.113.10:7000")
	left := listenUDP(t, l.Host("left"), "192.168.10.2:5000")
	capture, err := l.Host("router").Capture(t.Context(), "naptl", CaptureOptions{Filter: "udp"})
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		observe(t, left, server, "203.0.113.10:7000", enough)
	}
	if err := capture.Stop(); err != nil {
		t.Fatal(err)
	}
	if matching, all, err := capture.Contains([]byte("where am I?")); err != nil || matching != 20 || all != 20 {
		t.Errorf("%d of %d frames match, want 20 of 20 (error %v)", matching, all, err)
	}
}

func TestHostsHaveTheirOwnResolverAndProcesses(t *testing.T) {
	l := newLab(t, Options{NoEvidence: true}, twoSites(NATPortPreserving, NATPortPreserving))
	before, _ := os.ReadFile("/etc/resolv.conf")
	out, err := l.Host("right").Run(t.Context(), "sh", "-c", "cat /etc/resolv.conf; echo nameserver 192.0.2.1 >/etc/resolv.conf")
	if err != nil || out != "nameserver 203.0.113.53\n" {
		t.Errorf("resolv.conf in the host: %q, %v", out, err)
	}
	if after, _ := os.ReadFile("/etc/resolv.conf"); !bytes.Equal(before, after) {
		t.Fatal("a write in the host changed the machine's resolv.conf")
	}
	if changed, _ := os.ReadFile(l.Host("right").ResolverFile()); string(changed) != "nameserver 192.0.2.1\n" {
		t.Errorf("the host's file holds %q after the write", changed)
	}
	_, err = l.Host("left").Run(t.Context(), "sh", "-c", "echo broken >&2; exit 3")
	if err == nil || !strings.Contains(err.Error(), "broken") || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("error of a failing command: %v", err)
	}
	p, err := l.Host("left").Start(Command{Name: "group", Args: []string{"sh", "-c", "echo started; sleep 100 & wait"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.waitLog(t.Context(), "started"); err != nil {
		t.Fatal(err)
	}
	p.Kill()
	if out, err := l.Host("left").Run(t.Context(), "sh", "-c", "ip netns pids "+l.Host("left").Namespace()+" | wc -l"); err != nil ||
		strings.TrimSpace(out) == "0" {
		t.Errorf("counting processes: %q, %v", out, err)
	}
	for deadline := time.Now().Add(5 * time.Second); !errors.Is(syscall.Kill(-p.PID, 0), syscall.ESRCH); {
		if time.Now().After(deadline) {
			t.Fatal("the process group outlived Kill")
		}
		time.Sleep(10 * time.Millisecond) // init still has to reap the orphan
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := l.Host("left").Run(ctx, "sleep", "100"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a command past its deadline: %v", err)
	}
}

func TestAddressesAndRoutesCanChange(t *testing.T) {
	l := newLab(t, Options{NoEvidence: true}, twoSites(NATPortPreserving, NATPortPreserving))
	left, server := l.Host("left"), listenUDP(t, l.Host("server"), "203.0.113.10:7000")
	steps := errors.Join(
		left.AddAddress("eth0", netip.MustParsePrefix("192.168.10.9/24")),
		left.RemoveAddress("eth0", netip.MustParsePrefix("192.168.10.2/24")),
		left.ReplaceRoute(DefaultRoutes("192.168.10.1")[0]),
	)
	if steps != nil {
		t.Fatal(steps)
	}
	conn := listenUDP(t, left, "192.168.10.9:5000")
	if source := observe(t, conn, server, "203.0.113.10:7000", enough); !source.IsValid() {
		t.Error("no traffic from the new address")
	}
	if err := left.SetLink("eth0", false); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.WriteToUDPAddrPort([]byte("x"), netip.MustParseAddrPort("203.0.113.10:7000")); err == nil {
		t.Error("sent through an interface that is down")
	}
	if _, err := left.MAC("nothing"); !errors.As(err, &netlink.LinkNotFoundError{}) {
		t.Errorf("MAC of a missing interface: %v", err)
	}
}

// TestMain plays the owner of a lab when a test starts it that way.
func TestMain(m *testing.M) {
	if name := os.Getenv("LAB_TEST_OWNER"); name != "" {
		l, err := New(context.Background(), Options{Name: name, NoEvidence: true}, twoSites(NATPortPreserving, NATPortPreserving))
		if err == nil {
			_, err = l.Host("left").Start(Command{Args: []string{"sleep", "1000"}})
		}
		if err != nil {
			os.Stdout.WriteString(err.Error() + "\n")
			os.Exit(1)
		}
		os.Stdout.WriteString("ready\n")
		select {}
	}
	os.Exit(m.Run())
}

func TestValidateNamesTheMistake(t *testing.T) {
	valid := func() Topology { return twoSites(NATPortPreserving, NATPortPreserving) }
	for _, row := range []struct {
		name, want string
		damage     func(*Topology)
	}{
		{"no hosts", "0 hosts", func(t *Topology) { t.Hosts = nil }},
		{"host twice", "used twice", func(t *Topology) { t.Hosts = append(t.Hosts, t.Hosts[0]) }},
		{"unknown host", "no such host", func(t *Topology) { t.Links[0].A.Host = "nobody" }},
		{"interface twice", "interface used twice", func(t *Topology) { t.Links[1].A.Interface = "naptl" }},
		{"long interface", "1 to 15", func(t *Topology) { t.Links[0].A.Interface = "sixteen-bytes-xx" }},
		{"unknown bridge", "no bridge", func(t *Topology) { t.Links[0].A.Bridge = "br" }},
		{"bad MAC", "invalid MAC", func(t *Topology) { t.Links[0].A.MAC = "x" }},
		{"no outside", "no interface of it", func(t *Topology) { t.Hosts[1].NAT.Outside = "x" }},
	} {
		t.Run(row.name, func(t *testing.T) {
			topology := valid()
			row.damage(&topology)
			if err := topology.Validate(); err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("got %v, want %q", err, row.want)
			}
		})
	}
	if err := valid().Validate(); err != nil {
		t.Errorf("the undamaged topology: %v", err)
	}
}
