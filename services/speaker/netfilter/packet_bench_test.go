package netfilter

import (
	"fmt"
	"math"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cyphonic/cyphonic/internal/lab"
)

// exchange is a client and the backend of its flow, for one packet there and one back. Both are used by one thread: over a
// virtual link the kernel takes a packet through the whole receiving host before the system call that sent it ends,
// so the time of the calls is the cost of the packets.
type exchange struct{ client, backend int }

func (e exchange) run(n int, payload []byte) (time.Duration, error) {
	buffer := make([]byte, 2048)
	start := time.Now()
	for range n {
		if err := unix.Sendto(e.client, payload, 0, nil); err != nil {
			return 0, err
		}
		size, from, err := unix.Recvfrom(e.backend, buffer, 0)
		if err != nil {
			return 0, fmt.Errorf("the backend receives: %w", err)
		}
		if err := unix.Sendto(e.backend, buffer[:size], 0, from); err != nil {
			return 0, err
		}
		if _, _, err := unix.Recvfrom(e.client, buffer, 0); err != nil {
			return 0, fmt.Errorf("the client receives: %w", err)
		}
	}
	return time.Since(start) / time.Duration(n), nil
}

// BenchmarkPacket compares what a packet to a replica and its answer cost: at the replica's own address, behind the VIP by
// the rules of this package, behind the VIP by translation with connection tracking, and at one of several sockets with
// SO_REUSEPORT; last, behind the VIP by a host that has no backend for TCP, and by one whose replicas have addresses of their own with
// the port of the service. The kinds take turns and the best of many turns counts, because other programs disturb.
func BenchmarkPacket(b *testing.B) {
	for _, v6 := range []bool{false, true} {
		b.Run(map[bool]string{false: "IPv4", true: "IPv6"}[v6], func(b *testing.B) {
			kinds := exchanges(b, v6)
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			best := slices.Repeat([]float64{math.Inf(1)}, len(kinds))
			payload := make([]byte, 256)
			for b.Loop() {
				for i, kind := range kinds {
					took, err := kind.run(50, payload)
					if err != nil {
						b.Fatalf("kind %d: %v", i, err)
					}
					best[i] = min(best[i], float64(took))
				}
			}
			b.ReportMetric(0, "ns/op")
			for i, name := range []string{"direct", "netfilter", "tracked-dnat", "reuseport", "netfilter-udp-only", "netfilter-own-addresses"} {
				b.ReportMetric(best[i], "ns/exchange-"+name)
			}
		})
	}
}

// exchanges builds a host for each kind, on a link with the client, and a flow to each.
func exchanges(b *testing.B, v6 bool) []exchange {
	b.Helper()
	if os.Geteuid() != 0 {
		b.Fatal("needs root (network namespaces)")
	}
	topology := lab.Topology{Hosts: []lab.HostSpec{{Name: "client"}}}
	own := func(i int) place { return place{v4: fmt.Sprintf("10.9.%d.2", i), v6: fmt.Sprintf("fd09:%d::2", i)} }
	for i := range 6 {
		name := fmt.Sprintf("h%d", i)
		topology.Hosts = append(topology.Hosts, lab.HostSpec{Name: name})
		topology.Links = append(topology.Links, lab.LinkSpec{
			A: lab.End{Host: "client", Interface: name, Addresses: lab.Prefixes(fmt.Sprintf("10.9.%d.1/24", i), fmt.Sprintf("fd09:%d::1/64", i))},
			B: lab.End{Host: name, Interface: "eth0", Addresses: lab.Prefixes(own(i).v4+"/24", own(i).v6+"/64")},
		})
	}
	l, err := lab.New(b.Context(), lab.Options{NoEvidence: true}, topology)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = l.Close() })
	w := &world{t: b, client: l.Host("client")}
	var all []exchange
	for i := range 6 {
		at := own(i)
		at.host = l.Host(fmt.Sprintf("h%d", i))
		w.usable(at.host)
		w.usable(w.client)
		all = append(all, w.exchange(at, i, v6))
	}
	return all
}

func (w *world) exchange(at place, kind int, v6 bool) exchange {
	w.t.Helper()
	f, vip, own := ipv4, netip.MustParseAddr(vip4), netip.MustParseAddr(at.v4)
	if v6 {
		f, vip, own = ipv6, netip.MustParseAddr(vip6), netip.MustParseAddr(at.v6)
	}
	for range kind { // the client has one route to each
		vip = vip.Next()
	}
	const replicas = 3
	var state State
	service := Service{Name: "nms", Protocol: UDP, VIP: []netip.Addr{vip}, Port: udpPort}
	target := netip.AddrPortFrom(own, firstBackend)
	switch kind {
	case 1, 2, 4, 5:
		target = netip.AddrPortFrom(vip, udpPort)
		if err := w.client.ReplaceRoute(lab.Route{To: netip.PrefixFrom(vip, vip.BitLen()), Via: own}); err != nil {
			w.t.Fatal(err)
		}
	}
	var sockets []int
	for i := range replicas {
		backend := Backend{Name: fmt.Sprintf("r%d", i), Address: []netip.Addr{own}, Port: firstBackend + uint16(i)}
		switch kind {
		case 3:
			backend.Port = firstBackend
		case 5:
			backend.Port = udpPort
			for range i {
				backend.Address[0] = backend.Address[0].Next()
				w.run(at.host, "ip", "address", "replace", netip.PrefixFrom(backend.Address[0], own.BitLen()).String(), "dev", "lo")
			}
		}
		sockets = append(sockets, w.socket(at.host, netip.AddrPortFrom(backend.Address[0], backend.Port), netip.AddrPort{}))
		service.Backends = append(service.Backends, backend)
	}
	if kind == 4 {
		w.balancer(at.host).apply(State{Services: []Service{service}})
	}
	if kind == 1 || kind == 5 {
		state.Services = []Service{service, {Name: "as", Protocol: TCP, VIP: []netip.Addr{vip}, Port: tcpPort, Backends: []Backend{{Name: "s", Address: []netip.Addr{own}, Port: 1}}}}
		w.balancer(at.host).apply(state)
	}
	if kind == 2 {
		w.trackedRules(at.host, f, vip, own)
	}
	client := w.socket(w.client, netip.AddrPort{}, target)
	return exchange{client, w.receiver(client, sockets)}
}

// receiver finds the socket that the client's flow reaches.
func (w *world) receiver(client int, sockets []int) int {
	w.t.Helper()
	buffer := make([]byte, 64)
	for range 200 { // the first packet may wait for the neighbour's hardware address
		if err := unix.Sendto(client, []byte("x"), 0, nil); err != nil {
			w.t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond)
		for _, socket := range sockets {
			if _, _, err := unix.Recvfrom(socket, buffer, unix.MSG_DONTWAIT); err != nil {
				continue
			}
			for { // the rest of the attempts
				if _, _, err := unix.Recvfrom(socket, buffer, unix.MSG_DONTWAIT); err != nil {
					return socket
				}
			}
		}
	}
	w.t.Fatal("no socket was reached")
	return 0
}

// trackedRules are the usual way: translation by connection tracking.
func (w *world) trackedRules(h *lab.Host, f family, vip, own netip.Addr) {
	w.t.Helper()
	var choices []string
	for i := range 3 {
		choices = append(choices, fmt.Sprintf("%d : %s . %d", i, own, firstBackend+uint16(i)))
	}
	rules := fmt.Sprintf("table %[1]s usual {\n chain nat { type nat hook prerouting priority -100;\n %[1]s daddr %[2]s udp dport %[3]d dnat to jhash %[1]s saddr . udp sport mod 3 map { %[4]s }\n }\n}\n",
		f.name, vip, udpPort, strings.Join(choices, ", "))
	if _, err := h.RunInput(w.t.(*testing.B).Context(), strings.NewReader(rules), "nft", "-f", "-"); err != nil {
		w.t.Fatal(err)
	}
	w.run(h, "ip", "address", "add", netip.PrefixFrom(vip, vip.BitLen()).String(), "dev", "lo")
}

// socket opens a UDP socket in a host that blocks for a second at most.
func (w *world) socket(h *lab.Host, local, remote netip.AddrPort) int {
	w.t.Helper()
	address := func(a netip.AddrPort) (int, unix.Sockaddr) {
		if a.Addr().Is4() {
			return unix.AF_INET, &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
		}
		return unix.AF_INET6, &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
	}
	fd := -1
	err := h.Do(func() (err error) {
		some := local
		if !some.IsValid() {
			some = remote
		}
		domain, _ := address(some)
		if fd, err = unix.Socket(domain, unix.SOCK_DGRAM, 0); err != nil {
			return err
		}
		if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 1}); err != nil {
			return err
		}
		if local.IsValid() {
			if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err != nil {
				return err
			}
			_, a := address(local)
			return unix.Bind(fd, a)
		}
		_, a := address(remote)
		return unix.Connect(fd, a)
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = unix.Close(fd) })
	return fd
}
