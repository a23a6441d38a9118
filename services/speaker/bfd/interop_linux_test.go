package bfd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/ipv4"

	"github.com/cyphonic/cyphonic/internal/lab"
)

const (
	own4, own6       = "10.9.0.2", "fd09::2"
	router4, router6 = "10.9.0.1", "fd09::1"
	interval         = 300 * time.Millisecond
	multiplier       = 3
	detection        = multiplier * interval
)

// world is our host and a router on one link.
type world struct {
	t           *testing.T
	own, router *lab.Host
	directory   string
	manager     *Manager
	stop        func() error
}

func build(t *testing.T) *world {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("CYPHONIC_UNPRIVILEGED") == "1" {
			t.Skip("needs root (network namespaces); CYPHONIC_UNPRIVILEGED=1 skips it")
		}
		t.Fatal("needs root (network namespaces); set CYPHONIC_UNPRIVILEGED=1 to skip")
	}
	l, err := lab.New(t.Context(), lab.Options{NoEvidence: true}, lab.Topology{
		Hosts: []lab.HostSpec{{Name: "own"}, {Name: "router", Router: true}},
		Links: []lab.LinkSpec{{
			A: lab.End{Host: "own", Interface: "eth0", Addresses: lab.Prefixes(own4+"/24", own6+"/64")},
			B: lab.End{Host: "router", Interface: "eth0", Addresses: lab.Prefixes(router4+"/24", router6+"/64")},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, own: l.Host("own"), router: l.Host("router"), directory: l.Directory(), manager: New(Options{Log: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))})}
	t.Cleanup(func() {
		if t.Failed() {
			for _, p := range l.Processes() {
				t.Logf("%s: %s", p.Name, p.LogTail(20))
			}
		}
		if err := l.Close(); err != nil {
			t.Errorf("close the lab: %v", err)
		}
	})
	for _, h := range []*lab.Host{w.own, w.router} {
		if _, err := h.Run(t.Context(), "sh", "-c", "for i in $(seq 200); do ip -6 address show tentative | grep -q inet6 || exit 0; sleep 0.02; done; exit 1"); err != nil {
			t.Fatal(err)
		}
	}
	w.start()
	return w
}

// start runs our side.
func (w *world) start() {
	w.t.Helper()
	if err := w.manager.Set([]Peer{
		{Address: netip.MustParseAddr(router4), LocalAddress: netip.MustParseAddr(own4), Interface: "eth0"},
		{Address: netip.MustParseAddr(router6), Interface: "eth0"},
	}); err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.own.Do(func() error { return w.manager.Run(ctx) }) }()
	w.stop = func() error { cancel(); return <-ended }
	w.t.Cleanup(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				w.t.Errorf("Run: %v", err)
			}
		default:
		}
	})
}

// frr starts zebra and bfdd in the router.
func (w *world) frr(extra string) {
	w.t.Helper()
	config := fmt.Sprintf(`hostname router
bfd
 profile p
  receive-interval 300
  transmit-interval 300
  detect-multiplier 3
 %s
 exit
 peer %s local-address %s interface eth0
  profile p
 exit
 peer %s local-address %s interface eth0
  profile p
 exit
exit
`, extra, own4, router4, own6, router6)
	w.write("frr.conf", config)
	w.write("zebra.conf", "hostname router\n")
	if err := errors.Join(os.Chmod(w.directory, 0o777), os.Chmod(w.path("frr.conf"), 0o644)); err != nil { // the daemons run as frr
		w.t.Fatal(err)
	}
	socket := w.path("zserv")
	for _, daemon := range []string{"zebra", "bfdd"} {
		args := []string{
			"/usr/lib/frr/" + daemon, "-u", "frr", "-g", "frr", "-f", w.path("frr.conf"), "-i", w.path(daemon + ".pid"),
			"-z", socket, "--vty_socket", w.directory, "-P", "0", "--log", "stdout",
		}
		if daemon == "bfdd" {
			args = append(args, "--bfdctl", w.path("bfdctl"))
		} else {
			args[6] = w.path("zebra.conf")
		}
		if _, err := w.router.Start(lab.Command{Args: args}); err != nil {
			w.t.Fatal(err)
		}
		if daemon == "zebra" {
			w.until("zebra listens", func() bool { _, err := os.Stat(socket); return err == nil })
		}
	}
}

// vtysh asks bfdd.
func (w *world) vtysh(commands ...string) string {
	w.t.Helper()
	args := []string{"vtysh", "--vty_socket", w.directory, "-d", "bfdd"}
	for _, c := range commands {
		args = append(args, "-c", c)
	}
	out, err := w.router.Run(w.t.Context(), args...)
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

func (w *world) bird() {
	w.t.Helper()
	w.write("bird.conf", fmt.Sprintf(`router id 10.9.0.1;
protocol device {}
protocol bfd {
  interface "eth0" { min rx interval 300 ms; min tx interval 300 ms; idle tx interval 1 s; multiplier 3; };
  neighbor %s dev "eth0" local %s;
  neighbor %s dev "eth0" local %s;
}
`, own4, router4, own6, router6))
	if _, err := w.router.Start(lab.Command{Args: []string{"bird", "-f", "-c", w.path("bird.conf"), "-s", w.path("bird.ctl"), "-P", w.path("bird.pid")}}); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) path(name string) string { return filepath.Join(w.directory, name) }

func (w *world) write(name, text string) {
	w.t.Helper()
	if err := os.WriteFile(w.path(name), []byte(text), 0o644); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) until(what string, done func() bool) {
	w.t.Helper()
	for end := time.Now().Add(20 * time.Second); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			w.t.Fatalf("%s: not within 20 s", what)
		}
	}
}

// next are the next events of both peers, in any order, and when the later one came.
func (w *world) next(up bool) (events []Event, at time.Time) {
	w.t.Helper()
	seen := map[netip.Addr]bool{}
	for len(events) < 2 {
		select {
		case e := <-w.manager.Events():
			if e.Up != up || seen[e.Address] {
				w.t.Fatalf("event %+v, want both peers up: %v", e, up)
			}
			seen[e.Address] = true
			events, at = append(events, e), time.Now()
		case <-time.After(20 * time.Second):
			w.t.Fatalf("events %v within 20 s, want both peers up: %v; states %v", events, up, w.states())
		}
	}
	return events, at
}

func (w *world) states() string {
	four, _ := w.manager.State(netip.MustParseAddr(router4))
	six, _ := w.manager.State(netip.MustParseAddr(router6))
	return four.String() + " " + six.String()
}

// implementations are the neighbours of the tests: how they are started, and how they say what they think.
func implementations() map[string]struct {
	start func(*world)
	up    func(*world) int // sessions that the neighbour has up
} {
	return map[string]struct {
		start func(*world)
		up    func(*world) int
	}{
		"FRR": {func(w *world) { w.frr("") }, func(w *world) int {
			return strings.Count(w.vtysh("show bfd peers json"), `"status":"up"`)
		}},
		"BIRD": {func(w *world) { w.bird() }, func(w *world) int {
			out, err := w.router.Run(w.t.Context(), "birdc", "-s", w.path("bird.ctl"), "show", "bfd", "sessions")
			if err != nil {
				w.t.Fatal(err)
			}
			return strings.Count(out, " Up ")
		}},
	}
}

func TestNeighbours(t *testing.T) {
	for name, neighbour := range implementations() {
		t.Run(name, func(t *testing.T) {
			w := build(t)
			neighbour.start(w)
			w.next(true)
			w.until("the neighbour has both sessions up", func() bool { return neighbour.up(w) == 2 })
			settle := time.NewTimer(2 * time.Second) // Poll Sequences end, the fast intervals are in use
			<-settle.C

			// The link fails: both ends notice within the detection time. The rest of the bound is for a busy machine.
			cut := time.Now()
			if err := w.router.SetLink("eth0", false); err != nil {
				t.Fatal(err)
			}
			events, at := w.next(false)
			t.Logf("%s: link cut detected after %s", name, at.Sub(cut).Round(time.Millisecond))
			if took := at.Sub(cut); took > detection+700*time.Millisecond {
				t.Errorf("detected after %s, want %s", took, detection)
			}
			for _, e := range events {
				if e.Diag != DetectionTimeExpired || e.SwitchedOff {
					t.Errorf("event %+v, want an expired detection time", e)
				}
			}
			w.until("the neighbour has both sessions down", func() bool { return neighbour.up(w) == 0 })
			if err := w.router.SetLink("eth0", true); err != nil {
				t.Fatal(err)
			}
			if err := w.router.AddAddress("eth0", netip.MustParsePrefix(router6+"/64")); err != nil { // went with the link
				t.Fatal(err)
			}
			w.next(true)

			// We end on purpose: the neighbour is told at once.
			w.until("the neighbour has both sessions up again", func() bool { return neighbour.up(w) == 2 })
			if err := w.stop(); err != nil {
				t.Fatal(err)
			}
			ended := time.Now()
			w.until("the neighbour has both sessions down", func() bool { return neighbour.up(w) == 0 })
			if took := time.Since(ended); took > detection {
				t.Errorf("the neighbour noticed the end after %s, want to have been told", took)
			}
			w.start()
			w.next(true)
		})
	}
}

func TestNeighbourThatSwitchesOff(t *testing.T) {
	w := build(t)
	w.frr("")
	w.next(true)
	w.vtysh("configure terminal", "bfd", "profile p", "shutdown")
	events, _ := w.next(false)
	for _, e := range events {
		if !e.SwitchedOff {
			t.Errorf("event %+v: the neighbour has switched BFD off, it is not gone", e)
		}
	}
	w.vtysh("configure terminal", "bfd", "profile p", "no shutdown")
	w.next(true)
}

func TestIntervalsAreChangedWithoutAnInterruption(t *testing.T) {
	w := build(t)
	w.frr("")
	w.next(true)
	peers := []Peer{
		{Address: netip.MustParseAddr(router4), LocalAddress: netip.MustParseAddr(own4), Interface: "eth0", RxInterval: 500 * time.Millisecond, TxInterval: 400 * time.Millisecond, Multiplier: 4},
		{Address: netip.MustParseAddr(router6), Interface: "eth0", RxInterval: 500 * time.Millisecond, TxInterval: 400 * time.Millisecond, Multiplier: 4},
	}
	if err := w.manager.Set(peers); err != nil {
		t.Fatal(err)
	}
	w.until("FRR knows the new intervals", func() bool {
		compact := strings.Join(strings.Fields(w.vtysh("show bfd peers json")), "")
		return strings.Count(compact, `"remote-receive-interval":500`) == 2 && strings.Count(compact, `"remote-transmit-interval":400`) == 2 &&
			strings.Count(compact, `"remote-detect-multiplier":4`) == 2
	})
	quiet := time.NewTimer(2 * time.Second)
	select {
	case e := <-w.manager.Events():
		t.Errorf("event %+v although only intervals changed", e)
	case <-quiet.C:
	}
	// A peer that is taken away is told, and is no session any more.
	if err := w.manager.Set(peers[:1]); err != nil {
		t.Fatal(err)
	}
	w.until("FRR has one session up", func() bool { return strings.Count(w.vtysh("show bfd peers json"), `"status":"up"`) == 1 })
	if _, ok := w.manager.State(netip.MustParseAddr(router6)); ok {
		t.Error("the peer is still there")
	}
}

func TestForgedPacketsChangeNothing(t *testing.T) {
	w := build(t)
	w.frr("")
	w.next(true)
	down := packet{state: AdminDown, diagnostic: AdministrativelyDown, multiplier: 3, mine: 77, minTx: time.Second, minRx: time.Second}
	for _, row := range []struct {
		name   string
		ttl    int
		reason string
		data   []byte
	}{
		{"from another network", 254, "ttl", down.append(nil)},
		{"with a guessed discriminator", 255, "discriminator", packet{state: Down, multiplier: 3, mine: 77, yours: 1, minTx: time.Second, minRx: time.Second}.append(nil)},
		{"garbage", 255, "malformed", []byte("garbage that is longer than a packet of BFD")},
	} {
		conn, err := w.router.ListenUDP(router4 + ":0")
		if err != nil {
			t.Fatal(err)
		}
		if err := ipv4.NewPacketConn(conn).SetTTL(row.ttl); err != nil {
			t.Fatal(err)
		}
		row.data[0] = row.data[0]&0x1f | version<<5
		for range 500 {
			if _, err := conn.WriteTo(row.data, &net.UDPAddr{IP: net.ParseIP(own4), Port: controlPort}); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatal(err)
			}
		}
		_ = conn.Close()
		w.until(row.name+" was counted", func() bool { return w.dropped(row.reason) >= 100 })
	}
	select {
	case e := <-w.manager.Events():
		t.Errorf("event %+v", e)
	case <-time.After(2 * detection):
	}
	if states := w.states(); states != "Up Up" {
		t.Errorf("states %s", states)
	}
}
