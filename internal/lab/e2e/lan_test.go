package e2e

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/cyphonic/cyphonic/internal/lab"
	"github.com/cyphonic/cyphonic/internal/lab/probe"
)

// attackerOn opens an interface of a host for crafted frames.
func (s *system) attackerOn(t *testing.T, host, iface string) *probe.Attacker {
	t.Helper()
	var attacker *probe.Attacker
	err := s.lab.Host(host).Do(func() (err error) {
		attacker, err = probe.NewAttacker(iface)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { attacker.Close() })
	return attacker
}

// neighbour keeps a connection of cam2 busy, to show that attacks next door are not noticed.
func (s *system) neighbour(t *testing.T, ctx context.Context, port uint16) *stream {
	t.Helper()
	s.echo(t, "viewer", port)
	return s.openStream(t, ctx, "cam2", netip.AddrPortFrom(s.local(t, ctx, "viewer").VirtualIPv4, port))
}

func TestADeviceThatIsNotInTheListGetsNothing(t *testing.T) {
	s, ctx := use(t, time.Minute)
	calm := s.neighbour(t, ctx, 9010)
	intruder := s.lab.Host("intruder")
	intruding, err := s.StartGeneralNode(intruder)
	if err != nil {
		t.Fatal(err)
	}
	if err := calm.progress(ctx, 600); err != nil { // three seconds of asking for a lease every second or two
		t.Fatal(err)
	}
	if addr, err := intruding.Address(ctx); err == nil {
		t.Errorf("the intruder got the address %v", addr)
	}
	intruding.DHCP.Kill()
	// Now it takes the free address and the gateway that it can guess.
	viewer, cam2 := s.local(t, ctx, "viewer").VirtualIPv4, s.local(t, ctx, "cam2").VirtualIPv4
	if _, err := intruder.Run(ctx, "ip", "addr", "add", "100.96.77.77/16", "dev", "eth0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := intruder.Run(context.Background(), "ip", "addr", "flush", "dev", "eth0"); err != nil {
			t.Error(err)
		}
	})
	for _, target := range []netip.Addr{viewer, cam2} {
		if _, err := intruder.Run(ctx, "ping", "-n", "-c", "3", "-i", "0.2", "-W", "1", target.String()); err == nil {
			t.Errorf("the intruder reached %v", target)
		}
	}
	if err := calm.finish(2 * time.Second); err != nil {
		t.Errorf("the neighbour noticed: %v", err)
	}
}

func TestForeignAddressesOfAGeneralNodeGoNowhere(t *testing.T) {
	s, ctx := use(t, time.Minute)
	calm := s.neighbour(t, ctx, 9011)
	attacker := s.attackerOn(t, "mallory", "eth0")
	viewer := s.local(t, ctx, "viewer").VirtualIPv4
	victim := s.local(t, ctx, "cam1").VirtualIPv4
	inbox, err := s.lab.Host("viewer").ListenUDP(netip.AddrPortFrom(viewer, 9012).String())
	if err != nil {
		t.Fatal(err)
	}
	defer inbox.Close()
	gateway, err := s.lab.Host("adapter").MAC("br-lan")
	if err != nil {
		t.Fatal(err)
	}
	victimMAC := net.HardwareAddr{2, 0, 0, 0, 1, 1}
	s.drained(t, ctx, "cam1", inbox, netip.AddrPortFrom(viewer, 9012)) // the real cam1 gets through
	for _, row := range []struct {
		name   string
		source net.HardwareAddr
		from   netip.Addr
	}{
		{"own MAC, neighbour's address", attacker.MAC(), victim},
		{"neighbour's MAC and address", victimMAC, victim},
		{"own MAC, the viewer's address", attacker.MAC(), netip.MustParseAddr("100.96.200.200")},
		{"unknown MAC, neighbour's address", net.HardwareAddr{2, 0, 0, 0, 9, 9}, victim},
	} {
		t.Run(row.name, func(t *testing.T) {
			before := s.guarded(t, ctx)
			for range 20 {
				frame := probe.UDPFrame(gateway, row.source, netip.AddrPortFrom(row.from, 9012), netip.AddrPortFrom(viewer, 9012), []byte("forged"))
				if err := attacker.Send(frame); err != nil {
					t.Fatal(err)
				}
			}
			buf := make([]byte, 100)
			_ = inbox.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
			if n, source, err := inbox.ReadFromUDPAddrPort(buf); err == nil {
				t.Errorf("the viewer received %q from %v", buf[:n], source)
			}
			if after := s.guarded(t, ctx); after < before+20 {
				t.Errorf("the guard counted %d drops, want 20", after-before)
			}
		})
	}
	s.drained(t, ctx, "cam1", inbox, netip.AddrPortFrom(viewer, 9012)) // and still does
	if err := calm.finish(2 * time.Second); err != nil {
		t.Errorf("the neighbour noticed: %v", err)
	}
}

// guarded sums what the adapter's guard has dropped.
func (s *system) guarded(t *testing.T, ctx context.Context) (sum uint64) {
	t.Helper()
	status, err := s.agents["adapter"].Status(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, value := range status.LAN.Drops {
		sum += value
	}
	return sum
}

// drained sends one datagram from a device and wants exactly that to arrive.
func (s *system) drained(t *testing.T, ctx context.Context, from string, inbox *net.UDPConn, to netip.AddrPort) {
	t.Helper()
	conn, err := s.lab.Host(from).Dial(ctx, "udp", to.String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	buf := make([]byte, 100)
	for range 10 {
		if _, err := conn.Write([]byte("honest")); err != nil {
			t.Fatal(err)
		}
		_ = inbox.SetReadDeadline(time.Now().Add(500 * time.Millisecond))
		if n, source, err := inbox.ReadFromUDPAddrPort(buf); err == nil {
			if string(buf[:n]) != "honest" || source.Addr() != s.local(t, ctx, from).VirtualIPv4 {
				t.Errorf("received %q from %v", buf[:n], source)
			}
			return
		}
	}
	t.Errorf("nothing honest arrived from %s", from)
}

func TestARPSpoofingConvincesNobody(t *testing.T) {
	s, ctx := use(t, time.Minute)
	calm := s.neighbour(t, ctx, 9013)
	attacker := s.attackerOn(t, "mallory", "eth0")
	cam1, cam2 := s.local(t, ctx, "cam1").VirtualIPv4, s.local(t, ctx, "cam2").VirtualIPv4
	gateway, err := s.gateway(ctx, "cam2")
	if err != nil {
		t.Fatal(err)
	}
	spoofing := time.Now()
	for time.Since(spoofing) < 2*time.Second {
		for _, claimed := range []netip.Addr{gateway, cam1, cam2} {
			for _, to := range []net.HardwareAddr{probe.Broadcast(), {2, 0, 0, 0, 1, 2}} {
				if err := attacker.Send(probe.ARPReply(to, attacker.MAC(), claimed, cam2)); err != nil {
					t.Fatal(err)
				}
			}
		}
		time.Sleep(20 * time.Millisecond)
	}
	for _, host := range []string{"cam1", "cam2", "adapter"} {
		out, err := s.lab.Host(host).Run(ctx, "ip", "neigh", "show")
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(out) {
			if strings.Contains(line, attacker.MAC().String()) && !strings.Contains(line, s.local(t, ctx, "mallory").VirtualIPv4.String()+" ") {
				t.Errorf("%s believes: %s", host, line)
			}
		}
	}
	if err := s.ping(ctx, "viewer", cam1.String()); err != nil {
		t.Errorf("after the attack: %v", err)
	}
	if err := calm.finish(2 * time.Second); err != nil {
		t.Errorf("the neighbour noticed: %v", err)
	}
}

// gateway is the default gateway of a device.
func (s *system) gateway(ctx context.Context, device string) (netip.Addr, error) {
	out, err := s.lab.Host(device).Run(ctx, "ip", "-4", "route", "show", "default")
	if err != nil {
		return netip.Addr{}, err
	}
	fields := strings.Fields(out)
	if len(fields) < 3 {
		return netip.Addr{}, net.InvalidAddrError("no default route: " + out)
	}
	return netip.ParseAddr(fields[2])
}

func TestARogueDHCPServerServesNobody(t *testing.T) {
	s, ctx := use(t, time.Minute)
	attacker := s.attackerOn(t, "mallory", "eth0")
	capture, err := s.lab.Host("cam1").Capture(ctx, "eth0", lab.CaptureOptions{Filter: "udp port 68"})
	if err != nil {
		t.Fatal(err)
	}
	attacking, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() {
		_, err := attacker.RogueDHCP(attacking, netip.MustParseAddr("10.66.66.66"), netip.MustParseAddr("10.66.66.1"))
		ended <- err
	}()
	want := s.local(t, ctx, "cam1").VirtualIPv4
	for range 3 { // three fresh starts of the camera
		s.cameras["cam1"].DHCP.Kill()
		if _, err := s.lab.Host("cam1").Run(ctx, "ip", "-4", "addr", "flush", "dev", "eth0"); err != nil {
			t.Fatal(err)
		}
		if s.cameras["cam1"], err = s.StartGeneralNode(s.lab.Host("cam1")); err != nil {
			t.Fatal(err)
		}
		if got, err := s.cameras["cam1"].WaitLease(ctx); err != nil || got != want {
			t.Errorf("lease %v, %v; want %v", got, err, want)
		}
	}
	// And an offer that nobody asked for, straight to the camera.
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	from, to := netip.MustParseAddrPort("10.66.66.1:67"), netip.MustParseAddrPort("255.255.255.255:68")
	for _, destination := range []net.HardwareAddr{probe.Broadcast(), {2, 0, 0, 0, 1, 1}} {
		if err := attacker.Send(probe.UDPFrame(destination, attacker.MAC(), from, to, []byte("rogue offer"))); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.ping(ctx, "viewer", want.String()); err != nil {
		t.Errorf("after the attack: %v", err)
	}
	if err := capture.Stop(); err != nil {
		t.Fatal(err)
	}
	rogue, all, err := capture.Contains(from.Addr().AsSlice())
	if err != nil || rogue > 0 || all == 0 {
		t.Errorf("%d of %d DHCP frames at the camera came from the rogue server (error %v)", rogue, all, err)
	}
}
