package netfilter

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/cyphonic/cyphonic/internal/lab"
)

// Addresses of the test's network: a client that is also the router, two hosts on one link with it, and a pod of each
// host behind it.
const (
	vip4, vip6              = "192.0.2.1", "2001:db8::1"
	one4, one6              = "10.9.0.2", "fd09::2"
	two4, two6              = "10.9.0.3", "fd09::3"
	pod4, pod6              = "10.8.0.2", "fd08::2"
	udpPort, tcpPort        = 7442, 7441
	firstBackend     uint16 = 17000
)

// world is the network with what the test has started in it.
type world struct {
	t                     testing.TB
	client, one, two, pod *lab.Host
	echoes                sync.WaitGroup
}

func build(t testing.TB) *world {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("CYPHONIC_UNPRIVILEGED") == "1" {
			t.Skip("needs root (network namespaces); CYPHONIC_UNPRIVILEGED=1 skips it")
		}
		t.Fatal("needs root (network namespaces); set CYPHONIC_UNPRIVILEGED=1 to skip")
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	gateway := lab.DefaultRoutes("10.9.0.1", "fd09::1")
	l, err := lab.New(ctx, lab.Options{NoEvidence: true}, lab.Topology{
		Hosts: []lab.HostSpec{
			{
				Name: "client", Router: true,
				Bridges: []lab.BridgeSpec{{Name: "br0", Addresses: lab.Prefixes("10.9.0.1/24", "fd09::1/64")}},
			},
			{Name: "one", Router: true, Routes: gateway},
			{Name: "two", Router: true, Routes: gateway},
			{Name: "pod", Routes: lab.DefaultRoutes("10.8.0.1", "fd08::1")},
		},
		Links: []lab.LinkSpec{
			{A: lab.End{Host: "client", Interface: "p1", Bridge: "br0"}, B: lab.End{Host: "one", Interface: "eth0", Addresses: lab.Prefixes(one4+"/24", one6+"/64")}},
			{A: lab.End{Host: "client", Interface: "p2", Bridge: "br0"}, B: lab.End{Host: "two", Interface: "eth0", Addresses: lab.Prefixes(two4+"/24", two6+"/64")}},
			{A: lab.End{Host: "one", Interface: "pods", Addresses: lab.Prefixes("10.8.0.1/24", "fd08::1/64")}, B: lab.End{Host: "pod", Interface: "eth0", Addresses: lab.Prefixes(pod4+"/24", pod6+"/64")}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, client: l.Host("client"), one: l.Host("one"), two: l.Host("two"), pod: l.Host("pod")}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Errorf("close the lab: %v", err)
		}
	})
	t.Cleanup(w.echoes.Wait)
	for _, h := range []*lab.Host{w.client, w.one, w.two, w.pod} {
		w.usable(h)
	}
	w.routeTo(one4, one6)
	return w
}

// usable waits until the IPv6 addresses of a host can be used: some time after the link came up.
func (w *world) usable(h *lab.Host) {
	w.t.Helper()
	w.run(h, "sh", "-c", "for i in $(seq 200); do ip -6 address show tentative | grep -q inet6 || exit 0; sleep 0.02; done; exit 1")
}

// routeTo leads the VIPs to a host, as the router's choice.
func (w *world) routeTo(v4, v6 string) {
	w.t.Helper()
	for vip, via := range map[string]string{vip4 + "/32": v4, vip6 + "/128": v6} {
		if err := w.client.ReplaceRoute(lab.Route{To: netip.MustParsePrefix(vip), Via: netip.MustParseAddr(via)}); err != nil {
			w.t.Fatal(err)
		}
	}
}

// run is a command in a host that must succeed.
func (w *world) run(h *lab.Host, args ...string) string {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	out, err := h.Run(ctx, args...)
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

// balancer is one of a host; nothing of it is left running.
type balancer struct {
	*Balancer
	w *world
	h *lab.Host
}

func (w *world) balancer(h *lab.Host) *balancer {
	w.t.Helper()
	b := &balancer{w: w, h: h}
	err := h.Do(func() (err error) {
		b.Balancer, err = New(Options{Registerer: prometheus.NewPedanticRegistry()})
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return b
}

func (b *balancer) apply(state State) {
	b.w.t.Helper()
	if err := b.h.Do(func() error { return b.Apply(context.Background(), state) }); err != nil {
		b.w.t.Fatal(err)
	}
}

// metrics are all values, by name and label values in the order of the labels' names. A registry would gather on other
// threads, which are not in the host.
func (b *balancer) metrics() map[string]float64 {
	b.w.t.Helper()
	values := map[string]float64{}
	collected := make(chan prometheus.Metric, 1000)
	_ = b.h.Do(func() error { collector{b.Balancer}.Collect(collected); return nil })
	close(collected)
	for metric := range collected {
		var m dto.Metric
		if err := metric.Write(&m); err != nil {
			b.w.t.Fatal(err)
		}
		name, _, _ := strings.Cut(strings.TrimPrefix(metric.Desc().String(), `Desc{fqName: "cyphonic_balancer_`), `"`)
		for _, l := range m.GetLabel() {
			name += " " + l.GetValue()
		}
		values[name] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
	}
	return values
}

// metric is one of metrics; it must be there.
func (b *balancer) metric(name string) float64 {
	b.w.t.Helper()
	all := b.metrics()
	value, ok := all[name]
	if !ok {
		b.w.t.Fatalf("no metric %q among %v", name, all)
	}
	return value
}

// place is where a backend lives.
type place struct {
	host   *lab.Host
	v4, v6 string
}

func (w *world) hostOne() place { return place{w.one, one4, one6} }
func (w *world) hostTwo() place { return place{w.two, two4, two6} }
func (w *world) inPod() place   { return place{w.pod, pod4, pod6} }

func (w *world) addresses(at place) []netip.Addr {
	return []netip.Addr{netip.MustParseAddr(at.v4), netip.MustParseAddr(at.v6)}
}

// backend starts a server, over IPv4 and IPv6, that answers each message with its own name, the address that it saw and
// the number of bytes; "segments" is answered by five segments of one super-packet (UDP only).
func (w *world) backend(protocol Protocol, at place, name string, port uint16) Backend {
	w.t.Helper()
	b := Backend{Name: name, Address: w.addresses(at), Port: port}
	for _, address := range b.Address {
		end := netip.AddrPortFrom(address, port).String()
		if protocol == UDP {
			conn, err := at.host.ListenUDP(end)
			if err != nil {
				w.t.Fatal(err)
			}
			w.t.Cleanup(func() { _ = conn.Close() })
			w.echoes.Go(func() { echoUDP(conn, name) })
			continue
		}
		listener, err := at.host.ListenTCP(end)
		if err != nil {
			w.t.Fatal(err)
		}
		w.t.Cleanup(func() { _ = listener.Close() })
		w.echoes.Go(func() { w.echoTCP(listener, name) })
	}
	return b
}

func echoUDP(conn *net.UDPConn, name string) {
	buffer := make([]byte, 65536)
	for {
		n, from, err := conn.ReadFromUDPAddrPort(buffer)
		if err != nil {
			return
		}
		if string(buffer[:n]) == "segments" {
			_ = sendSegments(conn, make([]byte, 2100), 500, from)
			continue
		}
		_, _ = conn.WriteToUDPAddrPort(fmt.Appendf(nil, "%s %s %d %.20s", name, from, n, buffer[:min(n, 20)]), from)
	}
}

func (w *world) echoTCP(listener net.Listener, name string) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		w.t.Cleanup(func() { _ = conn.Close() })
		w.echoes.Go(func() {
			defer conn.Close()
			buffer := make([]byte, 2048)
			for {
				n, err := conn.Read(buffer)
				if err != nil {
					return
				}
				if _, err := fmt.Fprintf(conn, "%s %s %d\n", name, conn.RemoteAddr(), n); err != nil {
					return
				}
			}
		})
	}
}

func (w *world) udpService(backends ...Backend) Service {
	return Service{Name: "nms", Protocol: UDP, VIP: []netip.Addr{netip.MustParseAddr(vip4), netip.MustParseAddr(vip6)}, Port: udpPort, Backends: backends}
}

func (w *world) tcpService(backends ...Backend) Service {
	return Service{Name: "as", Protocol: TCP, VIP: []netip.Addr{netip.MustParseAddr(vip4), netip.MustParseAddr(vip6)}, Port: tcpPort, Backends: backends}
}

// dial opens a socket of the client to a VIP.
func (w *world) dial(network, vip string, port uint16) net.Conn {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	conn, err := w.client.Dial(ctx, network, netip.AddrPortFrom(netip.MustParseAddr(vip), port).String())
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// ask sends a message and gives the words of the answer: the backend, the source that it saw, the bytes that came.
func ask(conn net.Conn, message []byte, wait time.Duration) ([]string, error) {
	if _, err := conn.Write(message); err != nil {
		return nil, err
	}
	_ = conn.SetReadDeadline(time.Now().Add(wait))
	buffer := make([]byte, 2048)
	n, err := conn.Read(buffer)
	return strings.Fields(string(buffer[:n])), err
}

// tracked counts entries of connection tracking in a host.
func (w *world) tracked(h *lab.Host) int {
	w.t.Helper()
	n := 0
	for _, f := range []string{"ipv4", "ipv6"} {
		n += strings.Count(w.run(h, "conntrack", "-L", "-f", f), "\n")
	}
	return n
}
