package e2e

import (
	"bytes"
	"context"
	"io"
	"net/netip"
	"testing"
	"time"

	"github.com/cyphonic/cyphonic/internal/lab"
	"github.com/cyphonic/cyphonic/internal/lab/overlay"
)

func TestNoPlaintextOnTheWANNorOnTheRelay(t *testing.T) {
	s, ctx := use(t, time.Minute)
	pattern := []byte("<plaintext that nobody in between may read>")
	outside := []struct{ host, iface string }{
		{overlay.Internet, "nata"},
		{overlay.Internet, "natb"},
		{overlay.Internet, "natc"},
		{overlay.Internet, "natd"},
		{overlay.Cloud, "eth0"},
	}
	var captures []*lab.Capture
	for _, at := range outside {
		capture, err := s.lab.Host(at.host).Capture(ctx, at.iface, lab.CaptureOptions{})
		if err != nil {
			t.Fatal(err)
		}
		captures = append(captures, capture)
	}
	inside, err := s.lab.Host("cam1").Capture(ctx, "eth0", lab.CaptureOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, pair := range [][2]string{{"viewer", "cam1"}, {"gamma", "delta"}} {
		s.echo(t, pair[1], 9004)
		to := netip.AddrPortFrom(s.local(t, ctx, pair[1]).VirtualIPv4, 9004)
		if err := s.sendPattern(ctx, pair[0], "tcp", to, pattern); err != nil {
			t.Fatal(err)
		}
		if err := s.sendPattern(ctx, pair[0], "udp", to, pattern); err != nil {
			t.Fatal(err)
		}
	}
	for i, capture := range captures {
		if err := capture.Stop(); err != nil {
			t.Fatal(err)
		}
		matching, all, err := capture.Contains(pattern)
		if err != nil || matching > 0 || all < 50 {
			t.Errorf("%s on %s: the pattern is in %d of %d frames, want none of at least 50 (error %v)",
				outside[i].iface, outside[i].host, matching, all, err)
		}
		if matching, _, _ := capture.Contains([]byte(fqdn("cam1"))); matching > 0 {
			t.Errorf("%s on %s: a device's name is readable in %d frames", outside[i].iface, outside[i].host, matching)
		}
	}
	if err := inside.Stop(); err != nil {
		t.Fatal(err)
	}
	if matching, all, err := inside.Contains(pattern); err != nil || matching < 50 {
		t.Errorf("for comparison, the camera's own interface: the pattern is in %d of %d frames (error %v)", matching, all, err)
	}
}

// sendPattern sends the pattern many times to an echo and reads some of it back.
func (s *system) sendPattern(ctx context.Context, from, network string, to netip.AddrPort, pattern []byte) error {
	conn, err := s.lab.Host(from).Dial(ctx, network, to.String())
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	block := bytes.Repeat(pattern, 1000/len(pattern))
	for range 200 {
		if _, err := conn.Write(block); err != nil {
			return err
		}
		if network == "tcp" {
			if _, err := io.ReadFull(conn, make([]byte, len(block))); err != nil {
				return err
			}
		}
	}
	if network == "udp" {
		_, err = conn.Read(make([]byte, 2048))
	}
	return err
}
