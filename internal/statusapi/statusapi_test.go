package statusapi

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type status struct {
	Name string `json:"name"`
}

func options(t *testing.T) Options {
	registry := prometheus.NewRegistry()
	registry.MustRegister(prometheus.NewCounter(prometheus.CounterOpts{Name: "cyphonic_test_total"}))
	return Options{
		Socket:   filepath.Join(t.TempDir(), "run", "node.sock"),
		Gatherer: registry,
		Status:   func() any { return status{Name: "viewer"} },
		Connect: func(_ context.Context, name string) (any, error) {
			if name != "cam1" {
				return nil, errors.New("no such peer: " + name)
			}
			return status{Name: "cam1.lab.example"}, nil
		},
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
}

func serve(t *testing.T, o Options) *Server {
	t.Helper()
	s, err := Listen(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(o.Socket); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the socket stayed: %v", err)
		}
	})
	return s
}

func TestStatusAndConnect(t *testing.T) {
	o := options(t)
	serve(t, o)
	c := NewClient(o.Socket)
	var got status
	if err := c.Status(context.Background(), &got); err != nil || got.Name != "viewer" {
		t.Errorf("status = %v, %v", got, err)
	}
	if err := c.Connect(context.Background(), "cam1", &got); err != nil || got.Name != "cam1.lab.example" {
		t.Errorf("connect = %v, %v", got, err)
	}
	if err := c.Connect(context.Background(), "nobody", &got); err == nil || err.Error() != "no such peer: nobody" {
		t.Errorf("error = %v", err)
	}
	if err := c.Connect(context.Background(), "", &got); err == nil || !strings.Contains(err.Error(), "body must be") {
		t.Errorf("error = %v", err)
	}
}

func TestOnlyOneInstanceOwnsTheSocket(t *testing.T) {
	o := options(t)
	serve(t, o)
	if _, err := Listen(o); !errors.Is(err, ErrRunning) {
		t.Errorf("second instance: %v", err)
	}
}

func TestAStaleSocketIsReplaced(t *testing.T) {
	o := options(t)
	if err := os.MkdirAll(filepath.Dir(o.Socket), 0o755); err != nil {
		t.Fatal(err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: o.Socket})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	_ = l.Close()
	serve(t, o)
}

func TestAFileInThePlaceOfTheSocketIsKept(t *testing.T) {
	o := options(t)
	o.Socket = filepath.Join(t.TempDir(), "notes.txt")
	if err := os.WriteFile(o.Socket, []byte("notes"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(o); err == nil {
		t.Error("a file was taken for a stale socket")
	}
	if b, err := os.ReadFile(o.Socket); err != nil || string(b) != "notes" {
		t.Errorf("the file is gone: %v", err)
	}
}

func TestAnAgentThatDoesNotRunIsNamed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "node.sock")
	err := NewClient(path).Status(context.Background(), nil)
	if !errors.Is(err, ErrNotRunning) || !strings.Contains(err.Error(), path) {
		t.Errorf("error = %v", err)
	}
}

func TestTheNetworkSeesOnlyMetrics(t *testing.T) {
	o := options(t)
	o.MetricsListen = "127.0.0.1:0"
	s := serve(t, o)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for path, want := range map[string]int{"/metrics": http.StatusOK, "/status": http.StatusNotFound} {
		response, err := client.Get("http://" + s.metrics.Addr().String() + path)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if response.StatusCode != want {
			t.Errorf("%s: %s", path, response.Status)
		}
		if path == "/metrics" && !strings.Contains(string(body), "cyphonic_test_total") {
			t.Errorf("metrics = %s", body)
		}
	}
}
