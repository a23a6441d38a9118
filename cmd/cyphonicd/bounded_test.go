package main

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cyphonic/cyphonic/internal/cloudconfig"
)

// refused tells whether the other side closes a connection without a word.
func refused(t *testing.T, conn net.Conn) bool {
	t.Helper()
	_ = conn.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
	_, err := conn.Read(make([]byte, 1))
	var timeout net.Error
	return err != nil && (!errors.As(err, &timeout) || !timeout.Timeout())
}

// One who opens connections and says nothing must not keep the probes of others out, nor fill the process.
func TestStrangersHaveFewConnections(t *testing.T) {
	raw, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") })
	go func() { ended <- serveHTTP(ctx, newBounded(raw), healthServer(handler)) }()
	dial := func(from string) net.Conn {
		dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
		conn, err := dialer.Dial("tcp", raw.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		return conn
	}
	var silent []net.Conn
	for range maxHealthConnectionsPerAddress {
		silent = append(silent, dial("127.0.0.1"))
	}
	if !refused(t, dial("127.0.0.1")) {
		t.Error("one address has more connections than its bound")
	}
	if refused(t, silent[0]) {
		t.Error("a connection within the bound is closed")
	}
	other := dial("127.0.0.2")
	if refused(t, other) {
		t.Error("another address is kept out")
	}
	_ = silent[0].Close()
	for end := time.Now().Add(5 * time.Second); refused(t, dial("127.0.0.1")); {
		if time.Now().After(end) {
			t.Fatal("a connection that has ended still counts")
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestTheSpeakerAnswersProbesOfOthers(t *testing.T) {
	c := cloudconfig.Default()
	c.Metrics.Listen, c.Health.Listen = "127.0.0.1:0", "127.0.0.1:0"
	listeners, err := openSpeakerListeners(c)
	if err != nil {
		t.Fatal(err)
	}
	defer listeners.close()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- listeners.serve(ctx, prometheus.NewRegistry()) }()
	for path, want := range map[string]int{"/livez": http.StatusOK, "/readyz": http.StatusOK, "/metrics": http.StatusOK, "/debug/pprof/": http.StatusNotFound} {
		response, err := http.Get("http://" + listeners.health.Addr().String() + path)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != want {
			t.Errorf("%s: %s, want %d", path, response.Status, want)
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
