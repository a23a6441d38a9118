// Package statusapi is the local window into a running agent: HTTP over a unix socket with GET /status
// (JSON), GET /metrics (Prometheus) and POST /connect, and the client that the command line uses. What a
// status contains is the agent's affair; this package only carries it. It never listens on a network
// address, except for the metrics alone and only where the operator asks for it.
package statusapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

const (
	maxRequestBody = 4096 // bytes; a /connect request is one name
	maxHeader      = 8192 // bytes
	requestTimeout = 15 * time.Second
	socketMode     = 0o660
)

// ErrRunning means that another process answers on the socket.
var ErrRunning = errors.New("statusapi: another instance is running")

// Options configure a Server.
type Options struct {
	Socket        string // path of the unix socket
	MetricsListen string // host:port for GET /metrics over TCP; empty: none
	Gatherer      prometheus.Gatherer
	Status        func() any                                          // marshalled as JSON
	Connect       func(ctx context.Context, name string) (any, error) // nil: POST /connect is answered 404
	Log           *slog.Logger
}

// ConnectRequest is the body of POST /connect.
type ConnectRequest struct {
	Name string `json:"name"` // FQDN or virtual IP
}

// Problem is the body of an error answer (RFC 9457).
type Problem struct {
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail,omitempty"`
}

// Server serves the window of one agent.
type Server struct {
	options Options
	socket  net.Listener
	metrics net.Listener
}

// Listen opens the socket, in place of one that a killed process left behind. ErrRunning means that the
// socket is in use.
func Listen(o Options) (*Server, error) {
	if err := os.MkdirAll(filepath.Dir(o.Socket), 0o755); err != nil {
		return nil, fmt.Errorf("statusapi: %w", err)
	}
	if err := removeStale(o.Socket); err != nil {
		return nil, err
	}
	socket, err := net.Listen("unix", o.Socket)
	if err != nil {
		return nil, fmt.Errorf("statusapi: %w", err)
	}
	if err := os.Chmod(o.Socket, socketMode); err != nil {
		_ = socket.Close()
		return nil, fmt.Errorf("statusapi: %w", err)
	}
	s := &Server{options: o, socket: socket}
	if o.MetricsListen != "" {
		s.metrics, err = net.Listen("tcp", o.MetricsListen)
		if err != nil {
			_ = socket.Close()
			return nil, fmt.Errorf("statusapi: metrics: %w", err)
		}
	}
	return s, nil
}

func removeStale(path string) error {
	conn, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		_ = conn.Close()
		return fmt.Errorf("%w: %s answers; stop it first or choose another statusSocket", ErrRunning, path)
	}
	if errors.Is(err, syscall.ECONNREFUSED) {
		if info, err := os.Lstat(path); err == nil && info.Mode().Type() != fs.ModeSocket {
			return fmt.Errorf("statusapi: %s is no socket; remove it or choose another statusSocket", path)
		}
		if err := os.Remove(path); err != nil {
			return fmt.Errorf("statusapi: remove the stale socket: %w", err)
		}
	}
	return nil
}

// Run serves until ctx ends and removes the socket.
func (s *Server) Run(ctx context.Context) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", s.status)
	mux.HandleFunc("POST /connect", s.connect)
	metrics := promhttp.HandlerFor(s.options.Gatherer, promhttp.HandlerOpts{})
	mux.Handle("GET /metrics", metrics)
	servers := []*http.Server{server(mux)}
	listeners := []net.Listener{s.socket}
	if s.metrics != nil {
		only := http.NewServeMux()
		only.Handle("GET /metrics", metrics)
		servers = append(servers, server(only))
		listeners = append(listeners, s.metrics)
	}
	failed := make(chan error, len(servers))
	for i := range servers {
		go func() { failed <- servers[i].Serve(listeners[i]) }()
	}
	var err error
	running := len(servers)
	select {
	case <-ctx.Done():
	case err = <-failed:
		running--
	}
	for _, h := range servers {
		_ = h.Close()
	}
	for range running {
		<-failed
	}
	if err != nil {
		return fmt.Errorf("statusapi: %w", err)
	}
	return nil
}

func server(handler http.Handler) *http.Server {
	return &http.Server{
		Handler: handler, ReadTimeout: requestTimeout, WriteTimeout: 2 * requestTimeout,
		IdleTimeout: requestTimeout, MaxHeaderBytes: maxHeader,
	}
}

func (s *Server) status(w http.ResponseWriter, _ *http.Request) {
	s.write(w, http.StatusOK, s.options.Status())
}

func (s *Server) connect(w http.ResponseWriter, r *http.Request) {
	if s.options.Connect == nil {
		s.problem(w, http.StatusNotFound, "this agent does not connect on request")
		return
	}
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRequestBody))
	decoder.DisallowUnknownFields()
	var request ConnectRequest
	if err := decoder.Decode(&request); err != nil || request.Name == "" {
		s.problem(w, http.StatusBadRequest, `the body must be {"name": "<FQDN or virtual IP>"}`)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), requestTimeout)
	defer cancel()
	peer, err := s.options.Connect(ctx, request.Name)
	if err != nil {
		s.problem(w, http.StatusBadGateway, err.Error())
		return
	}
	s.write(w, http.StatusOK, peer)
}

func (s *Server) problem(w http.ResponseWriter, status int, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	s.write(w, status, Problem{Title: http.StatusText(status), Status: status, Detail: detail})
}

func (s *Server) write(w http.ResponseWriter, status int, body any) {
	if w.Header().Get("Content-Type") == "" {
		w.Header().Set("Content-Type", "application/json")
	}
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(body); err != nil {
		s.options.Log.Debug("status answer not sent", "error", err)
	}
}
