package probe

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"go.uber.org/goleak"
)

func listen(t *testing.T) net.Listener {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return listener
}

// serve runs a server until the test ends and fails the test if it leaves goroutines or an error behind.
func serve(t *testing.T, run func(context.Context) error) {
	t.Helper()
	ignore := goleak.IgnoreCurrent()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("server: %v", err)
		}
		http.DefaultClient.CloseIdleConnections()
		goleak.VerifyNone(t, ignore)
	})
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	response, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

func TestWebServesPageFileAndSum(t *testing.T) {
	listener := listen(t)
	serve(t, func(ctx context.Context) error { return ServeWeb(ctx, listener, "cam1") })
	base := "http://" + listener.Addr().String()
	if status, body := get(t, base+"/"); status != 200 || !strings.Contains(body, "This is cam1") {
		t.Errorf("page: %d %q", status, body)
	}
	_, body := get(t, base+"/file?bytes=1000003")
	sum, n, _ := Sum(strings.NewReader(body))
	if n != 1000003 || sum != ContentSum(1000003) {
		t.Errorf("file of %d bytes has sum %s, want %s", n, sum, ContentSum(1000003))
	}
	if _, body := get(t, base+"/sum?bytes=1000003"); strings.TrimSpace(body) != sum {
		t.Errorf("/sum says %s, the file has %s", body, sum)
	}
	for _, query := range []string{"", "?bytes=-1", "?bytes=x", "?bytes=99999999999999"} {
		if status, _ := get(t, base+"/file"+query); status != http.StatusBadRequest {
			t.Errorf("/file%s: status %d", query, status)
		}
	}
}

func TestWebEchoesAfterAnUpgrade(t *testing.T) {
	listener := listen(t)
	serve(t, func(ctx context.Context) error { return ServeWeb(ctx, listener, "cam1") })
	conn, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if err := OpenEcho(conn); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	report, err := Stream(ctx, conn, time.Millisecond, func(r StreamReport) {
		if r.Records == 10 {
			cancel()
		}
	})
	if err != nil || report.Records < 10 {
		t.Errorf("%+v, %v", report, err)
	}
	if status, _ := get(t, "http://"+listener.Addr().String()+"/echo"); status != http.StatusUpgradeRequired {
		t.Errorf("without upgrade: status %d", status)
	}
}

func TestStreamCountsRecordsAndNoticesTheEnd(t *testing.T) {
	listener := listen(t)
	serve(t, func(ctx context.Context) error { return ServeEcho(ctx, listener) })
	dial := func() net.Conn {
		conn, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		return conn
	}
	ctx, cancel := context.WithCancel(t.Context())
	report, err := Stream(ctx, dial(), time.Millisecond, func(r StreamReport) {
		if r.Records == 20 {
			cancel()
		}
	})
	if err != nil || report.Records < 20 || report.RTT <= 0 || report.LongestGap <= 0 {
		t.Errorf("stream: %+v, %v", report, err)
	}
	conn := dial()
	report, err = Stream(t.Context(), conn, time.Millisecond, func(r StreamReport) {
		if r.Records == 5 {
			_ = conn.(*net.TCPConn).SetLinger(0)
			conn.Close()
		}
	})
	if err == nil || report.Records < 5 {
		t.Errorf("a connection that ends: %+v, %v", report, err)
	}
}

func TestStreamNoticesAChangedByte(t *testing.T) {
	near, far := net.Pipe()
	go func() {
		record := make([]byte, recordSize)
		for number := 0; ; number++ {
			if _, err := io.ReadFull(far, record); err != nil {
				return
			}
			if number == 3 {
				record[500] ^= 1
			}
			if _, err := far.Write(record); err != nil {
				return
			}
		}
	}()
	defer far.Close()
	report, err := Stream(t.Context(), near, time.Millisecond, nil)
	if report.Records != 3 || err == nil || !strings.Contains(err.Error(), "record 3 came back changed") {
		t.Errorf("%+v, %v", report, err)
	}
}

func TestEchoUDP(t *testing.T) {
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	serve(t, func(ctx context.Context) error { return ServeEchoUDP(ctx, conn) })
	client, err := net.Dial("udp", conn.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	_, _ = client.Write([]byte("ping"))
	buf := make([]byte, 16)
	_ = client.SetReadDeadline(time.Now().Add(2 * time.Second))
	if n, err := client.Read(buf); err != nil || string(buf[:n]) != "ping" {
		t.Errorf("%q, %v", buf[:n], err)
	}
}

func TestDNSAnswersItsNamesOnly(t *testing.T) {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]netip.Addr{"www.example.": netip.MustParseAddr("203.0.113.80")}
	serve(t, func(ctx context.Context) error { return ServeDNS(ctx, conn, names) })
	for _, row := range []struct {
		name  string
		kind  uint16
		rcode int
		count int
	}{
		{"www.example.", dns.TypeA, dns.RcodeSuccess, 1},
		{"www.example.", dns.TypeAAAA, dns.RcodeSuccess, 0},
		{"nobody.example.", dns.TypeA, dns.RcodeNameError, 0},
	} {
		answer, _, err := new(dns.Client).Exchange(new(dns.Msg).SetQuestion(row.name, row.kind), conn.LocalAddr().String())
		if err != nil || answer.Rcode != row.rcode || len(answer.Answer) != row.count {
			t.Errorf("%s %d: %v, %v", row.name, row.kind, answer, err)
		}
	}
}

func TestFramesRoundTrip(t *testing.T) {
	mac := net.HardwareAddr{2, 0, 0, 0, 0, 1}
	frame := UDPFrame(Broadcast(), mac, netip.MustParseAddrPort("192.0.2.1:10"), netip.MustParseAddrPort("192.0.2.2:20"), []byte("payload"))
	if got := UDPPayload(frame); string(got) != "payload" {
		t.Errorf("payload %q", got)
	}
	changed := ReplaceUDPPayload(frame, []byte("pay"))
	if got := UDPPayload(changed); string(got) != "pay" || onesSum(changed[14:34]) != 0xffff {
		t.Errorf("payload %q, header sum %#x", got, onesSum(changed[14:34]))
	}
	for cut := range frame {
		if got := UDPPayload(frame[:cut]); got != nil {
			t.Errorf("a frame cut at %d has the payload %q", cut, got)
		}
	}
	arp := ARPReply(mac, mac, netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2"))
	if len(arp) != 42 || !bytes.Equal(arp[28:32], []byte{192, 0, 2, 1}) || UDPPayload(arp) != nil {
		t.Errorf("ARP reply % x", arp)
	}
	if err := new(Attacker).Send(frame[:13]); err == nil || errors.Is(err, net.ErrClosed) {
		t.Errorf("sending half a header: %v", err)
	}
}
