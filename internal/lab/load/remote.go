package load

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// Serve runs a generator as a program of its own, in the network namespace of its devices, and takes orders over a unix
// socket from a Remote elsewhere, until ctx ends.
func Serve(ctx context.Context, socket string, config Config) error {
	g, err := New(config)
	if err != nil {
		return err
	}
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return errors.Join(err, g.Close())
	}
	s := &server{generator: g}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /enrol", order(func(ctx context.Context, _ struct{}) (struct{}, error) { return struct{}{}, g.Enrol(ctx) }))
	mux.HandleFunc("POST /setup", order(func(ctx context.Context, n int) (struct{}, error) { return struct{}{}, g.Setup(ctx, n) }))
	mux.HandleFunc("POST /reopen", order(func(ctx context.Context, n int) (struct{}, error) { return struct{}{}, g.Reopen(ctx, n) }))
	mux.HandleFunc("POST /load", order(s.load))
	mux.HandleFunc("POST /stop", order(func(context.Context, struct{}) (struct{}, error) { return struct{}{}, s.stopLoad() }))
	mux.HandleFunc("POST /burst", order(func(ctx context.Context, b burstOrder) (*BurstReport, error) {
		return g.Burst(ctx, b.Connections, b.Limit)
	}))
	mux.HandleFunc("POST /observations", order(func(context.Context, struct{}) ([]Observation, error) { return g.Observations(), nil }))
	web := &http.Server{Handler: mux, ReadHeaderTimeout: time.Second, BaseContext: func(net.Listener) context.Context { return ctx }}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return g.Run(ctx) })
	group.Go(func() error {
		<-ctx.Done()
		return web.Close()
	})
	group.Go(func() error {
		if err := web.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	return group.Wait()
}

type burstOrder struct {
	Connections int           `json:"connections"`
	Limit       time.Duration `json:"limit"`
}

// server allows one load at a time.
type server struct {
	generator *Generator

	mu   sync.Mutex
	stop context.CancelFunc // of the load that runs
}

func (s *server) load(ctx context.Context, plan Plan) (*Report, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s.mu.Lock()
	if s.stop != nil {
		s.mu.Unlock()
		return nil, errors.New("a load is running")
	}
	s.stop = cancel
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.stop = nil
		s.mu.Unlock()
	}()
	return s.generator.Load(ctx, plan)
}

func (s *server) stopLoad() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stop == nil {
		return errors.New("no load is running")
	}
	s.stop()
	return nil
}

// order serves a request whose body and answer are JSON.
func order[A, B any](f func(context.Context, A) (B, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var in A
		if err := json.NewDecoder(io.LimitReader(r.Body, 1<<20)).Decode(&in); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		out, err := f(r.Context(), in)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(out) // the caller sees a short answer
	}
}

// Remote gives orders to a generator that runs as a program.
type Remote struct {
	client *http.Client
	socket string
}

// NewRemote speaks to the generator at the socket.
func NewRemote(socket string) *Remote {
	return &Remote{socket: socket, client: &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}}}
}

// Listening says whether the generator takes orders yet.
func (r *Remote) Listening() bool {
	_, err := os.Stat(r.socket)
	return err == nil
}

// Enrol is Generator.Enrol.
func (r *Remote) Enrol(ctx context.Context) error { return r.order(ctx, "enrol", struct{}{}, nil) }

// Setup is Generator.Setup.
func (r *Remote) Setup(ctx context.Context, parallel int) error {
	return r.order(ctx, "setup", parallel, nil)
}

// Reopen is Generator.Reopen.
func (r *Remote) Reopen(ctx context.Context, parallel int) error {
	return r.order(ctx, "reopen", parallel, nil)
}

// Load is Generator.Load; it returns when the load has ended, by itself or by Stop.
func (r *Remote) Load(ctx context.Context, plan Plan) (*Report, error) {
	report := new(Report)
	return report, r.order(ctx, "load", plan, report)
}

// Stop ends the load that runs: no more requests are sent.
func (r *Remote) Stop(ctx context.Context) error { return r.order(ctx, "stop", struct{}{}, nil) }

// Burst is Generator.Burst.
func (r *Remote) Burst(ctx context.Context, connections int, limit time.Duration) (*BurstReport, error) {
	report := new(BurstReport)
	return report, r.order(ctx, "burst", burstOrder{connections, limit}, report)
}

// Observations is Generator.Observations.
func (r *Remote) Observations(ctx context.Context) ([]Observation, error) {
	var all []Observation
	err := r.order(ctx, "observations", struct{}{}, &all)
	return all, err
}

func (r *Remote) order(ctx context.Context, name string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://load/"+name, bytes.NewReader(body))
	if err != nil {
		return err
	}
	response, err := r.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(response.Body, 4096))
		return fmt.Errorf("load %s: %s", name, bytes.TrimSpace(text))
	}
	if out == nil {
		return nil
	}
	return json.NewDecoder(response.Body).Decode(out)
}
