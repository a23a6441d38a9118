package e2e

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cyphonic/cyphonic/internal/lab"
	"github.com/cyphonic/cyphonic/internal/lab/overlay"
	"github.com/cyphonic/cyphonic/internal/lab/probe"
)

// First byte of a datagram of a tunnel, and the bit of the second that marks control messages.
const (
	dataType    = 0x04
	controlFlag = 0x01
)

// drops reads an agent's counters of dropped packets, by reason.
func (s *system) drops(t *testing.T, ctx context.Context, agent string) map[string]float64 {
	t.Helper()
	text, err := s.agents[agent].Metrics(ctx)
	if err != nil {
		t.Fatal(err)
	}
	sums := counters(text, "cyphonic_dataplane_drops_total", "reason")
	for reason, value := range counters(text, "cyphonic_endpoint_drops_total", "reason") {
		sums[reason] += value
	}
	return sums
}

// counters sums a metric by one of its labels.
func counters(text, metric, label string) map[string]float64 {
	sums := make(map[string]float64)
	for line := range strings.Lines(text) {
		rest, found := strings.CutPrefix(line, metric+"{")
		labels, value, closed := strings.Cut(rest, "} ")
		if !found || !closed {
			continue
		}
		number, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
		if _, after, ok := strings.Cut(labels, label+`="`); ok && err == nil {
			key, _, _ := strings.Cut(after, `"`)
			sums[key] += number
		}
	}
	return sums
}

// recorded captures datagrams of user data on their way from the internet to the viewer.
func (s *system) recorded(t *testing.T, ctx context.Context, from string, port uint16) (frames [][]byte) {
	t.Helper()
	capture, err := s.lab.Host(overlay.Internet).Capture(ctx, "natb", lab.CaptureOptions{Filter: "udp and dst host 198.51.100.130"})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := s.lab.Host(from).Dial(ctx, "udp", netip.AddrPortFrom(s.local(t, ctx, "viewer").VirtualIPv4, port).String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for range 100 {
		if _, err := conn.Write([]byte("original")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond)
	}
	time.Sleep(200 * time.Millisecond)
	if err := capture.Stop(); err != nil {
		t.Fatal(err)
	}
	err = capture.Packets(func(frame []byte) {
		if payload := probe.UDPPayload(frame); userData(payload) {
			frames = append(frames, bytes.Clone(frame))
		}
	})
	if err != nil || len(frames) < 50 {
		t.Fatalf("only %d datagrams of user data recorded (error %v)", len(frames), err)
	}
	return frames
}

func TestReplayedAndDamagedDatagramsAreDroppedAndCounted(t *testing.T) {
	s, ctx := use(t, time.Minute)
	const port = 9020
	viewer := s.local(t, ctx, "viewer").VirtualIPv4
	inbox, err := s.lab.Host("viewer").ListenUDP(netip.AddrPortFrom(viewer, port).String())
	if err != nil {
		t.Fatal(err)
	}
	defer inbox.Close()
	s.reachable(t, ctx, "desk", "viewer")
	if err := s.awaitPath(ctx, "desk", "viewer", "punched"); err != nil {
		t.Fatal(err)
	}
	frames := s.recorded(t, ctx, "desk", port)
	if n := drain(inbox); n != len(frames) {
		t.Fatalf("%d of %d datagrams arrived at the application before any attack", n, len(frames))
	}
	injector := s.attackerOn(t, overlay.Internet, "natb")
	for _, row := range attacks() {
		t.Run(row.name, func(t *testing.T) {
			before := s.drops(t, ctx, "viewer")
			for _, frame := range frames {
				payload := row.change(bytes.Clone(probe.UDPPayload(frame)))
				if err := injector.Send(probe.ReplaceUDPPayload(frame, payload)); err != nil {
					t.Fatal(err)
				}
			}
			if n := drain(inbox); n > 0 {
				t.Errorf("%d datagrams arrived at the application", n)
			}
			after := s.drops(t, ctx, "viewer")
			counted := 0.0
			for reason, value := range after {
				if slices.Contains(row.reasons, reason) {
					counted += value - before[reason]
				}
			}
			if counted < float64(len(frames)/2) {
				t.Errorf("%v of %d were counted as %v; before %v, after %v", counted, len(frames), row.reasons, before, after)
			}
		})
	}
	if err := s.ping(ctx, "desk", viewer.String()); err != nil {
		t.Errorf("after the attacks: %v", err)
	}
	if err := s.awaitPath(ctx, "viewer", "desk", "punched"); err != nil {
		t.Errorf("after the attacks: %v", err)
	}
}

// TestReorderedDatagramsArriveOnce holds datagrams back on the way and delivers them in the opposite order, twice.
func TestReorderedDatagramsArriveOnce(t *testing.T) {
	s, ctx := use(t, time.Minute)
	const port, count = 9021, 50
	viewer := s.local(t, ctx, "viewer").VirtualIPv4
	inbox, err := s.lab.Host("viewer").ListenUDP(netip.AddrPortFrom(viewer, port).String())
	if err != nil {
		t.Fatal(err)
	}
	defer inbox.Close()
	s.reachable(t, ctx, "desk", "viewer")
	if err := s.awaitPath(ctx, "desk", "viewer", "punched"); err != nil {
		t.Fatal(err)
	}
	capture, err := s.lab.Host(overlay.Internet).Capture(ctx, "nata", lab.CaptureOptions{Filter: "udp and dst host 198.51.100.130"})
	if err != nil {
		t.Fatal(err)
	}
	held := s.block(t, ctx, overlay.BetweenSites())
	conn, err := s.lab.Host("desk").Dial(ctx, "udp", netip.AddrPortFrom(viewer, port).String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for number := range count {
		if _, err := conn.Write([]byte{byte(number)}); err != nil {
			t.Fatal(err)
		}
	}
	if n := drain(inbox); n > 0 {
		t.Fatalf("%d datagrams came through although they are held back", n)
	}
	held()
	if err := capture.Stop(); err != nil {
		t.Fatal(err)
	}
	frames := s.towards(t, capture, "natb")
	if len(frames) != count {
		t.Fatalf("%d datagrams held back, want %d", len(frames), count)
	}
	injector := s.attackerOn(t, overlay.Internet, "natb")
	slices.Reverse(frames)
	for _, want := range []int{count, 0} {
		for _, frame := range frames {
			if err := injector.Send(frame); err != nil {
				t.Fatal(err)
			}
		}
		if n := drain(inbox); n != want {
			t.Errorf("%d datagrams arrived in the opposite order, want %d", n, want)
		}
	}
}

// towards takes the user data out of a capture on the internet router and addresses it to a translator's outside.
func (s *system) towards(t *testing.T, capture *lab.Capture, translator string) (frames [][]byte) {
	t.Helper()
	destination, err := s.lab.Host(translator).MAC("wan")
	if err != nil {
		t.Fatal(err)
	}
	source, err := s.lab.Host(overlay.Internet).MAC(translator)
	if err != nil {
		t.Fatal(err)
	}
	err = capture.Packets(func(frame []byte) {
		if payload := probe.UDPPayload(frame); userData(payload) {
			frames = append(frames, probe.Ethernet(destination, source, 0x0800, probe.ReplaceUDPPayload(frame, payload)[14:]))
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return frames
}

// userData tells whether a UDP payload is a datagram of a tunnel that carries an IP packet.
func userData(payload []byte) bool {
	return len(payload) > 32 && payload[0] == dataType && payload[1]&controlFlag == 0
}

type attack struct {
	name    string
	change  func(payload []byte) []byte
	reasons []string
}

func attacks() []attack {
	flip := func(at int) func([]byte) []byte {
		return func(payload []byte) []byte {
			if at < 0 {
				payload[len(payload)+at] ^= 0x10
			} else {
				payload[at] ^= 0x10
			}
			return payload
		}
	}
	return []attack{
		{"replayed", func(payload []byte) []byte { return payload }, []string{"replay"}},
		{"bit flipped in the ciphertext", flip(20), []string{"authentication"}},
		{"bit flipped in the tag", flip(-1), []string{"authentication"}},
		{"bit flipped in the counter", flip(15), []string{"authentication"}},
		{"bit flipped in the receiver index", flip(6), []string{"unknown_session", "unknown_index"}},
		{"cut in the ciphertext", func(payload []byte) []byte { return payload[:len(payload)-9] }, []string{"authentication"}},
		{"cut in the header", func(payload []byte) []byte { return payload[:12] }, []string{"short", "malformed"}},
		{"unknown version", func(payload []byte) []byte { payload[1] = 0xf0; return payload }, []string{"version", "malformed"}},
	}
}

// drain counts what an application receives until nothing comes for a while.
func drain(inbox interface {
	SetReadDeadline(time.Time) error
	Read([]byte) (int, error)
},
) (n int) {
	buf := make([]byte, 2048)
	for {
		_ = inbox.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
		if _, err := inbox.Read(buf); err != nil {
			return n
		}
		n++
	}
}

// TestTheCloudAnswersStrangersWithNothingLarger sends garbage and recorded signalling to the UDP services.
func TestTheCloudAnswersStrangersWithNothingLarger(t *testing.T) {
	s, ctx := use(t, time.Minute)
	conn, err := s.lab.Host("beta").ListenUDP("192.0.2.18:0")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	before := s.cloudMetrics(t, ctx)
	for _, port := range []uint16{7442, 7443} {
		service := netip.AddrPortFrom(netip.MustParseAddr(overlay.CloudIPv4), port)
		for kind := range 0x40 {
			for _, size := range []int{1, 8, 40, 200, 1232} {
				datagram := bytes.Repeat([]byte{0x5a}, size)
				datagram[0] = byte(kind)
				if size > 1 {
					datagram[1] = 0x10
				}
				if _, err := conn.WriteToUDPAddrPort(datagram, service); err != nil {
					t.Fatal(err)
				}
				_ = conn.SetReadDeadline(time.Now().Add(2 * time.Millisecond))
				buf := make([]byte, 4096)
				if n, source, err := conn.ReadFromUDPAddrPort(buf); err == nil && n > size {
					t.Errorf("%v answered %d bytes of type %#x with %d bytes", source, size, kind, n)
				}
			}
		}
	}
	after := s.cloudMetrics(t, ctx)
	for _, service := range []string{"nms", "trs"} {
		metric := "cyphonic_" + service + "_drops_total"
		grown := 0.0
		for reason, value := range counters(after, metric, "reason") {
			grown += value - counters(before, metric, "reason")[reason]
		}
		if grown < 100 {
			t.Errorf("%s grew by %v, want one per dropped datagram", metric, grown)
		}
	}
	if err := s.agents["beta"].WaitRegistered(ctx); err != nil {
		t.Error(err)
	}
}

func (s *system) cloudMetrics(t *testing.T, ctx context.Context) string {
	t.Helper()
	out, err := s.lab.Host(overlay.Cloud).Run(ctx, "curl", "-sS", "--fail", "--max-time", "5", "http://127.0.0.1:7490/metrics")
	if err != nil {
		t.Fatal(fmt.Errorf("metrics of the cloud: %w", err))
	}
	return out
}
