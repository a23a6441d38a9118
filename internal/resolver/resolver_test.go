package resolver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"
)

var (
	camera4  = netip.MustParseAddr("10.77.0.11")
	camera6  = netip.MustParseAddr("fd77::11")
	loopback = netip.MustParseAddrPort("127.0.0.1:0")
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// lookups is a Lookup that knows one camera and the ways in which a search fails.
func lookups(_ context.Context, _ netip.Addr, t Target) (Peer, error) {
	switch {
	case t.Name == "cam1.lab.example", t.Address == camera4, t.Address == camera6:
		return Peer{Name: "cam1.lab.example", IPv4: camera4, IPv6: camera6}, nil
	case t.Name == "v4only.lab.example":
		return Peer{Name: t.Name, IPv4: camera4}, nil
	case t.Name == "denied.lab.example":
		return Peer{}, ErrDenied
	case t.Name == "offline.lab.example":
		return Peer{}, fmt.Errorf("asked the NMS: %w", ErrOffline)
	case t.Name == "slow.lab.example":
		return Peer{}, ErrTimeout
	case t.Name == "broken.lab.example":
		return Peer{}, errors.New("no registration")
	}
	return Peer{}, ErrUnknown
}

// start runs a resolver on loopback and returns its address.
func start(t *testing.T, change func(*Options)) (string, *Resolver) {
	t.Helper()
	o := Options{
		Listen: []netip.AddrPort{loopback},
		Zone: Zone{
			Domain: "lab.example", IPv4: netip.MustParsePrefix("10.77.0.0/16"),
			IPv6: netip.MustParsePrefix("fd77::/64"),
		},
		Upstreams:  func() []netip.AddrPort { return nil },
		Lookup:     lookups,
		Registerer: prometheus.NewRegistry(),
		Log:        slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
	change(&o)
	r, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return r.Addresses()[0].String(), r
}

// upstream runs a real DNS server that answers for everything, on UDP and TCP.
func upstream(t *testing.T) netip.AddrPort {
	t.Helper()
	handler := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg)
		m.SetReply(q)
		text := &dns.TXT{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeTXT, Class: dns.ClassINET, Ttl: 60}}
		for range 20 {
			text.Txt = append(text.Txt, "an answer from the real world that is long")
		}
		m.Answer = append(m.Answer, text)
		if w.RemoteAddr().Network() == "udp" {
			m.Truncate(512)
		}
		_ = w.WriteMsg(m)
	})
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", pc.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []*dns.Server{{PacketConn: pc, Handler: handler}, {Listener: l, Handler: handler}} {
		started := make(chan struct{})
		s.NotifyStartedFunc = func() { close(started) }
		go func() { _ = s.ActivateAndServe() }()
		<-started
		t.Cleanup(func() { _ = s.Shutdown() })
	}
	return netip.MustParseAddrPort(pc.LocalAddr().String())
}

func TestOverlayQuestions(t *testing.T) {
	address, _ := start(t, func(*Options) {})
	tests := map[string]struct {
		name   string
		qtype  uint16
		rcode  int
		answer string // RDATA of the only answer, empty for none
		ede    int    // extended error code, -1 for none
	}{
		"A of a peer":                       {"cam1.lab.example.", dns.TypeA, dns.RcodeSuccess, "10.77.0.11", -1},
		"AAAA of a peer":                    {"cam1.lab.example.", dns.TypeAAAA, dns.RcodeSuccess, "fd77::11", -1},
		"case does not matter":              {"CAM1.Lab.Example.", dns.TypeA, dns.RcodeSuccess, "10.77.0.11", -1},
		"AAAA of an IPv4 peer is empty":     {"v4only.lab.example.", dns.TypeAAAA, dns.RcodeSuccess, "", -1},
		"MX of a peer is empty":             {"cam1.lab.example.", dns.TypeMX, dns.RcodeSuccess, "", -1},
		"PTR of an IPv4 address":            {"11.0.77.10.in-addr.arpa.", dns.TypePTR, dns.RcodeSuccess, "cam1.lab.example.", -1},
		"PTR of an IPv6 address":            {mustReverse("fd77::11"), dns.TypePTR, dns.RcodeSuccess, "cam1.lab.example.", -1},
		"PTR of an unknown virtual IP":      {"12.0.77.10.in-addr.arpa.", dns.TypePTR, dns.RcodeNameError, "", -1},
		"unknown name":                      {"nobody.lab.example.", dns.TypeA, dns.RcodeNameError, "", -1},
		"denied by policy":                  {"denied.lab.example.", dns.TypeA, dns.RcodeRefused, "", int(dns.ExtendedErrorCodeProhibited)},
		"peer offline":                      {"offline.lab.example.", dns.TypeA, dns.RcodeServerFailure, "", int(dns.ExtendedErrorCodeNoReachableAuthority)},
		"no answer in time":                 {"slow.lab.example.", dns.TypeA, dns.RcodeServerFailure, "", int(dns.ExtendedErrorCodeNetworkError)},
		"agent's own fault":                 {"broken.lab.example.", dns.TypeA, dns.RcodeServerFailure, "", int(dns.ExtendedErrorCodeOther)},
		"the domain itself has no address":  {"lab.example.", dns.TypeA, dns.RcodeSuccess, "", -1},
		"a world name without any upstream": {"www.example.", dns.TypeA, dns.RcodeServerFailure, "", -1},
		"a name that only ends alike":       {"notlab.example.", dns.TypeA, dns.RcodeServerFailure, "", -1},
	}
	for name, test := range tests {
		for _, network := range []string{"udp", "tcp"} {
			t.Run(name+"/"+network, func(t *testing.T) {
				q := new(dns.Msg).SetQuestion(test.name, test.qtype).SetEdns0(1232, false)
				m, _, err := (&dns.Client{Net: network}).Exchange(q, address)
				if err != nil {
					t.Fatal(err)
				}
				if m.Rcode != test.rcode {
					t.Errorf("response code = %s, want %s", dns.RcodeToString[m.Rcode], dns.RcodeToString[test.rcode])
				}
				if got := rdata(m); got != test.answer {
					t.Errorf("answer = %q, want %q", got, test.answer)
				}
				if got := extendedError(m); got != test.ede {
					t.Errorf("extended error = %d, want %d", got, test.ede)
				}
			})
		}
	}
}

func TestNoExtendedErrorWithoutEDNS(t *testing.T) {
	address, _ := start(t, func(*Options) {})
	m, _, err := new(dns.Client).Exchange(new(dns.Msg).SetQuestion("denied.lab.example.", dns.TypeA), address)
	if err != nil {
		t.Fatal(err)
	}
	if m.Rcode != dns.RcodeRefused || len(m.Extra) != 0 {
		t.Errorf("got %v", m)
	}
}

func TestOtherQuestionsReachTheUpstream(t *testing.T) {
	up := upstream(t)
	silent, err := net.ListenPacket("udp", "127.0.0.1:0") // never answers
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	address, _ := start(t, func(o *Options) {
		o.Upstreams = func() []netip.AddrPort {
			return []netip.AddrPort{netip.MustParseAddrPort(silent.LocalAddr().String()), up}
		}
	})
	q := new(dns.Msg).SetQuestion("www.example.org.", dns.TypeTXT)
	m, _, err := (&dns.Client{Timeout: 5 * time.Second}).Exchange(q, address)
	if err != nil || !m.Truncated {
		t.Fatalf("UDP: %v, truncated %v", err, m != nil && m.Truncated)
	}
	m, _, err = (&dns.Client{Net: "tcp", Timeout: 5 * time.Second}).Exchange(q, address)
	if err != nil || m.Truncated || len(m.Answer) != 1 {
		t.Fatalf("TCP: %v %v", err, m)
	}
}

// TestBytesPassUnchanged sends messages that a DNS library would rewrite or refuse.
func TestBytesPassUnchanged(t *testing.T) {
	plain, _ := new(dns.Msg).SetQuestion("www.example.org.", dns.TypeA).Pack()
	cookie := new(dns.Msg).SetQuestion("WwW.eXample.org.", dns.TypeA).SetEdns0(4096, true)
	cookie.IsEdns0().Option = append(cookie.IsEdns0().Option, &dns.EDNS0_LOCAL{Code: 65001, Data: []byte("x")})
	option, _ := cookie.Pack()
	status := bytes.Clone(plain)
	status[2] |= dns.OpcodeStatus << 3
	tests := map[string][]byte{
		"plain question":             plain,
		"0x20 case and local option": option,
		"other opcode":               status,
		"bytes after the message":    append(bytes.Clone(plain), "trailing"...),
		"two questions":              twoQuestions(plain),
	}
	for name, query := range tests {
		t.Run(name, func(t *testing.T) {
			seen := make(chan []byte, 1)
			up, err := net.ListenPacket("udp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer up.Close()
			var wg sync.WaitGroup
			defer wg.Wait()
			wg.Go(func() {
				buf := make([]byte, 4096)
				n, from, err := up.ReadFrom(buf)
				if err != nil {
					return
				}
				seen <- bytes.Clone(buf[:n])
				buf[2] |= 0x80
				_, _ = up.WriteTo(append(buf[:n:n], "more"...), from)
			})
			address, _ := start(t, func(o *Options) {
				o.Upstreams = func() []netip.AddrPort { return []netip.AddrPort{netip.MustParseAddrPort(up.LocalAddr().String())} }
			})
			conn, err := net.Dial("udp", address)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(3 * time.Second))
			if _, err := conn.Write(query); err != nil {
				t.Fatal(err)
			}
			reply := make([]byte, 4096)
			n, err := conn.Read(reply)
			if err != nil {
				t.Fatal(err)
			}
			if got := <-seen; !bytes.Equal(got[2:], query[2:]) {
				t.Errorf("upstream saw %x, want %x after the ID", got, query)
			}
			want := append(bytes.Clone(query), "more"...)
			want[2] |= 0x80
			if !bytes.Equal(reply[:n], want) {
				t.Errorf("client got %x, want %x", reply[:n], want)
			}
		})
	}
}

func TestForgedUpstreamAnswersAreIgnored(t *testing.T) {
	up, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer up.Close()
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		buf := make([]byte, 4096)
		n, from, err := up.ReadFrom(buf)
		if err != nil {
			return
		}
		good := bytes.Clone(buf[:n])
		good[2] |= 0x80
		wrongID := bytes.Clone(good)
		wrongID[0] ^= 1
		other, _ := new(dns.Msg).SetQuestion("other.example.", dns.TypeA).Pack()
		copy(other, good[:3])
		for _, b := range [][]byte{{1}, wrongID, other, good} {
			_, _ = up.WriteTo(b, from)
		}
	})
	address, _ := start(t, func(o *Options) {
		o.Upstreams = func() []netip.AddrPort { return []netip.AddrPort{netip.MustParseAddrPort(up.LocalAddr().String())} }
	})
	q := new(dns.Msg).SetQuestion("www.example.org.", dns.TypeA)
	m, _, err := new(dns.Client).Exchange(q, address)
	if err != nil || m.Question[0].Name != "www.example.org." {
		t.Fatalf("got %v, %v", m, err)
	}
}

func TestOneSearchServesAllWhoAsk(t *testing.T) {
	var searches atomic.Int32
	release := make(chan struct{})
	address, _ := start(t, func(o *Options) {
		o.Lookup = func(context.Context, netip.Addr, Target) (Peer, error) {
			searches.Add(1)
			<-release
			return Peer{Name: "cam1.lab.example", IPv4: camera4, IPv6: camera6}, nil
		}
	})
	var wg sync.WaitGroup
	for i := range 10 {
		qtype := []uint16{dns.TypeA, dns.TypeAAAA}[i%2]
		wg.Go(func() {
			m, _, err := new(dns.Client).Exchange(new(dns.Msg).SetQuestion("cam1.lab.example.", qtype), address)
			if err != nil || len(m.Answer) != 1 {
				t.Errorf("got %v, %v", m, err)
			}
		})
	}
	time.Sleep(200 * time.Millisecond) // all ten are in work; too short only makes the test weaker
	close(release)
	wg.Wait()
	if n := searches.Load(); n != 1 {
		t.Errorf("%d searches, want 1", n)
	}
}

func TestQuestionsAboveTheBoundAreDroppedAndCounted(t *testing.T) {
	registry := prometheus.NewRegistry()
	release := make(chan struct{})
	address, r := start(t, func(o *Options) {
		o.Registerer = registry
		o.Lookup = func(ctx context.Context, _ netip.Addr, _ Target) (Peer, error) {
			<-release
			return Peer{}, ErrUnknown
		}
	})
	conn, err := net.Dial("udp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	deadline := time.Now().Add(5 * time.Second)
	for i := 0; testutil.ToFloat64(r.metrics.questions.WithLabelValues("any", "busy")) == 0; i++ {
		if time.Now().After(deadline) {
			t.Fatal("nothing was dropped")
		}
		q, _ := new(dns.Msg).SetQuestion(fmt.Sprintf("n%d.lab.example.", i), dns.TypeA).Pack()
		_, _ = conn.Write(q)
	}
	if n := len(r.work.slots); n != maxClientQuestions {
		t.Errorf("%d questions of one client in work, want %d", n, maxClientQuestions)
	}
	close(release)
}

func TestTheAskerSelectsTheIdentity(t *testing.T) {
	address, _ := start(t, func(o *Options) {
		o.Lookup = func(_ context.Context, from netip.Addr, _ Target) (Peer, error) {
			if from != netip.MustParseAddr("127.0.0.9") {
				return Peer{}, ErrDenied
			}
			return Peer{IPv4: camera4}, nil
		}
	})
	for source, want := range map[string]int{"127.0.0.9": dns.RcodeSuccess, "127.0.0.1": dns.RcodeRefused} {
		client := &dns.Client{Dialer: &net.Dialer{LocalAddr: &net.UDPAddr{IP: net.ParseIP(source)}}}
		m, _, err := client.Exchange(new(dns.Msg).SetQuestion("cam1.lab.example.", dns.TypeA), address)
		if err != nil || m.Rcode != want {
			t.Errorf("from %s: %v, %v", source, m, err)
		}
	}
}

func FuzzParseQuestion(f *testing.F) {
	seed, _ := new(dns.Msg).SetQuestion("cam1.lab.example.", dns.TypeA).Pack()
	f.Add(seed)
	f.Add(seed[:headerSize])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		q, ok := parseQuestion(b)
		if !ok && q.plain {
			t.Fatal("a refused question is not plain")
		}
		(Zone{Domain: "lab.example"}).match(q)
		answers(b, seed)
	})
}

func rdata(m *dns.Msg) string {
	if len(m.Answer) == 0 {
		return ""
	}
	switch rr := m.Answer[0].(type) {
	case *dns.A:
		return rr.A.String()
	case *dns.AAAA:
		return rr.AAAA.String()
	case *dns.PTR:
		return rr.Ptr
	}
	return m.Answer[0].String()
}

func extendedError(m *dns.Msg) int {
	if opt := m.IsEdns0(); opt != nil {
		for _, o := range opt.Option {
			if e, ok := o.(*dns.EDNS0_EDE); ok {
				return int(e.InfoCode)
			}
		}
	}
	return -1
}

func mustReverse(address string) string {
	name, err := dns.ReverseAddr(address)
	if err != nil {
		panic(err)
	}
	return name
}

func twoQuestions(plain []byte) []byte {
	b := bytes.Clone(plain)
	b[5] = 2
	return append(b, plain[headerSize:]...)
}
