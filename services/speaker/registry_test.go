package speaker

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cyphonic/cyphonic/internal/balancer"
	"github.com/cyphonic/cyphonic/internal/keyspace"
)

func newTestRegistry(t *testing.T) (*registry, string) {
	t.Helper()
	m, err := newMetrics(prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	r := newRegistry(slog.New(slog.DiscardHandler), m)
	path := filepath.Join(t.TempDir(), "s")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.run(ctx, listener) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return r, path
}

func good() balancer.Registration {
	return balancer.Registration{
		Version: balancer.Version, Service: "nms", Name: "nms-1", Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.1")}, Port: 7442,
		State: keyspace.ReplicaReady,
	}
}

func say(t *testing.T, path string, lines ...any) (net.Conn, *bufio.Scanner) {
	t.Helper()
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	for _, line := range lines {
		text, isText := line.(string)
		if !isText {
			raw, err := json.Marshal(line)
			if err != nil {
				t.Fatal(err)
			}
			text = string(raw)
		}
		if _, err := io.WriteString(conn, text+"\n"); err != nil && !strings.Contains(err.Error(), "pipe") {
			t.Fatal(err)
		}
	}
	return conn, bufio.NewScanner(conn)
}

// members waits until the registry has so many.
func members(t *testing.T, r *registry, want int) []balancer.Registration {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); ; {
		list := r.list()
		if len(list) == want {
			return list
		}
		if time.Now().After(end) {
			t.Fatalf("registered: %+v, want %d", list, want)
		}
		select {
		case <-r.changed:
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func TestRegistrationsThatAreRefused(t *testing.T) {
	r, path := newTestRegistry(t)
	for name, row := range map[string]struct {
		change func(*balancer.Registration)
		say    string
	}{
		"another version":      {func(g *balancer.Registration) { g.Version = 2 }, "version 2"},
		"unknown service":      {func(g *balancer.Registration) { g.Service = "dns" }, "want one of"},
		"unknown state":        {func(g *balancer.Registration) { g.State = "Happy" }, "is none"},
		"no name":              {func(g *balancer.Registration) { g.Name = "" }, "name"},
		"no address":           {func(g *balancer.Registration) { g.Addresses = nil }, "replica.addresses"},
		"loopback":             {func(g *balancer.Registration) { g.Addresses = []netip.Addr{netip.MustParseAddr("127.0.0.1")} }, "replica.addresses"},
		"no port":              {func(g *balancer.Registration) { g.Port = 0 }, "port"},
		"three addresses":      {func(g *balancer.Registration) { g.Addresses = make([]netip.Addr, 3) }, "at most"},
		"two of one family":    {func(g *balancer.Registration) { g.Addresses = append(g.Addresses, netip.MustParseAddr("192.0.2.2")) }, "one IPv4"},
		"name with line break": {func(g *balancer.Registration) { g.Name = "a\nb" }, "name"},
	} {
		t.Run(name, func(t *testing.T) {
			g := good()
			row.change(&g)
			_, lines := say(t, path, g)
			var a balancer.Answer
			if !lines.Scan() || json.Unmarshal(lines.Bytes(), &a) != nil || !strings.Contains(a.Error, row.say) || a.InService {
				t.Errorf("answer %q %+v", lines.Text(), a)
			}
			if lines.Scan() {
				t.Error("the connection stays open")
			}
		})
	}
	for name, text := range map[string]string{"no JSON": "hello", "endless line": strings.Repeat("x", 2*maxLine)} {
		_, lines := say(t, path, text)
		for lines.Scan() {
		}
		if err := lines.Err(); err != nil && !errors.Is(err, io.EOF) && !strings.Contains(err.Error(), "reset") {
			t.Errorf("%s: %v", name, err)
		}
	}
	members(t, r, 0)
}

func TestAReplicaIsRegisteredForAsLongAsItsConnection(t *testing.T) {
	r, path := newTestRegistry(t)
	first, _ := say(t, path, good())
	members(t, r, 1)
	leaving := good()
	leaving.State = keyspace.ReplicaLeaving
	again, _ := say(t, path, leaving) // the same replica, after it lost its connection
	for members(t, r, 1)[0].State != keyspace.ReplicaLeaving {
		time.Sleep(time.Millisecond)
	}
	if _, err := first.Read(make([]byte, 1)); err == nil {
		t.Error("the older connection stays open")
	}
	members(t, r, 1)
	moved := leaving
	moved.Port++
	raw, _ := json.Marshal(moved)
	if _, err := again.Write(append(raw, '\n')); err != nil {
		t.Fatal(err)
	}
	members(t, r, 0) // only the state may change
}

func TestAnswersAreGivenOnceAndWhenTheyChange(t *testing.T) {
	r, path := newTestRegistry(t)
	_, lines := say(t, path, good())
	list := members(t, r, 1)
	a := balancer.Answer{Version: balancer.Version, State: keyspace.ReplicaReady}
	ok := false
	tell := func() { r.answer(func(balancer.Registration) (balancer.Answer, bool) { return a, ok }, list) }
	tell() // has not taken effect
	ok = true
	tell()
	tell()
	a.InService = true
	tell()
	for _, want := range []bool{false, true} {
		var got balancer.Answer
		if !lines.Scan() || json.Unmarshal(lines.Bytes(), &got) != nil || got.InService != want {
			t.Errorf("answer %q, want in service %v", lines.Text(), want)
		}
	}
}
