package faults

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/cyphonic/cyphonic/internal/lab/control"
)

// convergence is how soon after the last fault every watch must show the truth.
const convergence = 5 * time.Second

// fault is something that befalls the control plane and passes.
type fault struct {
	name  string
	begin func(context.Context, *control.Plane) (end func(context.Context) error, err error)
	lasts time.Duration
}

func faults() []fault {
	killManager := func(i int) func(context.Context, *control.Plane) (func(context.Context) error, error) {
		return func(_ context.Context, p *control.Plane) (func(context.Context) error, error) {
			p.Managers[i].Kill()
			return func(ctx context.Context) error {
				if err := p.Managers[i].Start(); err != nil {
					return err
				}
				return p.WaitReady(ctx, i)
			}, nil
		}
	}
	return []fault{
		{"kill -9 of a manager", killManager(0), 500 * time.Millisecond},
		{"kill -9 of the leader of etcd", func(ctx context.Context, p *control.Plane) (func(context.Context) error, error) {
			i := max(p.Leader(ctx), 0)
			p.Members[i].Kill()
			return func(context.Context) error { return p.Members[i].Start() }, nil
		}, 2 * time.Second},
		{"partition of the leader of etcd and of its manager", func(ctx context.Context, p *control.Plane) (func(context.Context) error, error) {
			b, err := p.Isolate(ctx, max(p.Leader(ctx), 0))
			if err != nil {
				return nil, err
			}
			return b.Undo, nil
		}, 4 * time.Second},
		{"pause of a manager", func(_ context.Context, p *control.Plane) (func(context.Context) error, error) {
			return func(context.Context) error { return p.Managers[1].Resume() }, p.Managers[1].Pause()
		}, 3 * time.Second},
		{"pause of the leader of etcd", func(ctx context.Context, p *control.Plane) (func(context.Context) error, error) {
			i := max(p.Leader(ctx), 0)
			return func(context.Context) error { return p.Members[i].Resume() }, p.Members[i].Pause()
		}, 3 * time.Second},
		{"a manager without etcd", func(ctx context.Context, p *control.Plane) (func(context.Context) error, error) {
			b, err := p.CutStore(ctx, 2)
			if err != nil {
				return nil, err
			}
			return b.Undo, nil
		}, 3 * time.Second},
		{"kill -9 of another manager", killManager(2), 200 * time.Millisecond},
	}
}

// follower keeps what one watch shows.
type follower struct {
	session *session

	mu     sync.Mutex
	values map[string]string
}

func (f *follower) run(ctx context.Context) {
	version := ""
	for ctx.Err() == nil {
		if version == "" {
			f.mu.Lock()
			f.values = map[string]string{}
			f.mu.Unlock()
		}
		_ = f.session.follow(ctx, &version, f.report) // ended by a fault: resumed where it was
		time.Sleep(50 * time.Millisecond)
	}
}

func (f *follower) report(name, value string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if value == "" {
		delete(f.values, name)
		return
	}
	f.values[name] = value
}

func (f *follower) shows(want map[string]string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Equal(f.values, want)
}

func TestHistoriesAreLinearizableUnderFaults(t *testing.T) {
	p := start(t)
	sessions := make([]*session, len(p.Managers))
	for i := range sessions {
		sessions[i] = newSession(p, p.ServerURL(i))
		defer sessions[i].close()
	}
	names := []string{"r1", "r2", "r3", "r4", "r5", "r6"}
	h := &history{begin: time.Now()}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var all sync.WaitGroup
	for i := range 8 {
		c := &client{id: i, sessions: sessions, names: names, history: h, random: rand.New(rand.NewPCG(1, uint64(i)))}
		all.Go(func() { c.run(ctx) })
	}
	watchCtx, stopWatching := context.WithCancel(t.Context())
	defer stopWatching()
	var watching sync.WaitGroup
	followers := make([]*follower, len(sessions))
	for i, s := range sessions {
		followers[i] = &follower{session: s}
		watching.Go(func() { followers[i].run(watchCtx) })
	}
	inflict(t, p, faultSeconds(t))
	healed := time.Now()
	time.Sleep(time.Second) // the history ends in peace
	stop()
	all.Wait()
	h.check(t)
	converge(t, sessions, names, followers, healed)
	stopWatching()
	watching.Wait()
}

// inflict lets one fault after the other happen until the time is over; each at least once.
func inflict(t *testing.T, p *control.Plane, duration time.Duration) {
	t.Helper()
	end := time.Now().Add(duration)
	for round := 0; round == 0 || time.Now().Before(end); round++ {
		for _, f := range faults() {
			if round > 0 && time.Now().After(end) {
				return
			}
			t.Logf("%s: %s", time.Now().Format("15:04:05.000"), f.name)
			undo, err := f.begin(t.Context(), p)
			if err != nil {
				t.Fatalf("%s: %v", f.name, err)
			}
			time.Sleep(f.lasts)
			if err := undo(t.Context()); err != nil {
				t.Fatalf("%s: end: %v", f.name, err)
			}
			time.Sleep(time.Second)
		}
	}
}

// converge checks that all managers and all watches show the same.
func converge(t *testing.T, sessions []*session, names []string, followers []*follower, healed time.Time) {
	t.Helper()
	// A last write shows that the watches live, and not that they once had the right state.
	for time.Since(healed) < startWithin {
		if s := sessions[0].do(t.Context(), http.MethodPut, "/api/v1/roles/"+names[0], "", register(names[0], "last")).status; s == http.StatusOK || s == http.StatusCreated {
			break
		}
	}
	wrote := time.Now()
	truth := map[string]string{}
	for _, name := range append([]string{"admin", "editor", "viewer"}, names...) {
		r := sessions[1].do(t.Context(), http.MethodGet, "/api/v1/roles/"+name, "", nil)
		if r.status == http.StatusNotFound {
			continue
		}
		value, _, err := valueOf(r.body)
		if r.status != http.StatusOK || r.stale() || err != nil {
			t.Fatalf("%s: status %d, stale %t, %v", name, r.status, r.stale(), err)
		}
		if value != "" {
			truth[name] = value
		}
	}
	if truth[names[0]] != "last" {
		t.Errorf("the last write is not there: %v", truth)
	}
	for i, f := range followers {
		for !f.shows(truth) {
			if time.Since(wrote) > convergence {
				f.mu.Lock()
				t.Errorf("the watch at manager %d shows %v, the truth is %v", i+1, f.values, truth)
				f.mu.Unlock()
				break
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	t.Logf("all watches show the truth %s after the last write, %s after the last fault", time.Since(wrote).Round(time.Millisecond), time.Since(healed).Round(time.Millisecond))
}

const startWithin = 10 * time.Second

func TestRollingRestartFailsNoRequest(t *testing.T) {
	p := start(t)
	front, err := p.NewFront()
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := front.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	defer serving.Wait()
	defer stop()
	time.Sleep(time.Second) // the front has seen that all are ready
	load := newLoad(p, "https://"+front.Address())
	load.start(ctx, 16)
	for round := range 2 {
		for i, manager := range p.Managers {
			began := time.Now()
			if err := manager.Terminate(ctx); err != nil {
				t.Fatal(err)
			}
			t.Logf("round %d: manager %d ended %s after SIGTERM", round+1, i+1, time.Since(began).Round(time.Millisecond))
			if err := manager.Start(); err != nil {
				t.Fatal(err)
			}
			if err := p.WaitReady(ctx, i); err != nil {
				t.Fatal(err)
			}
			time.Sleep(500 * time.Millisecond)
		}
	}
	load.stop()
	t.Logf("%d requests", load.done.Load())
	if load.done.Load() < 1000 {
		t.Error("too few requests to say anything")
	}
	for _, failure := range load.failures {
		t.Error(failure)
	}
}

// load makes requests as operators do: reads, lists and writes, each once, without repeating any.
type load struct {
	session *session
	done    atomicCount
	end     context.CancelFunc
	all     sync.WaitGroup

	mu       sync.Mutex
	failures []string
}

func newLoad(p *control.Plane, server string) *load { return &load{session: newSession(p, server)} }

func (l *load) start(ctx context.Context, clients int) {
	ctx, l.end = context.WithCancel(ctx)
	for i := range clients {
		l.all.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				name := fmt.Sprintf("load-%d", i)
				l.request(http.MethodPut, "/api/v1/roles/"+name, register(name, fmt.Sprint(n)))
				l.request(http.MethodGet, "/api/v1/roles/"+name, nil)
				l.request(http.MethodGet, "/api/v1/roles?limit=10", nil)
				time.Sleep(5 * time.Millisecond)
			}
		})
	}
}

func (l *load) request(method, path string, body any) {
	r := l.session.do(context.Background(), method, path, "", body)
	l.done.Add(1)
	if r.status == http.StatusOK || r.status == http.StatusCreated {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.failures) < 20 {
		l.failures = append(l.failures, fmt.Sprintf("%s %s: %d %s", method, path, r.status, r.body))
	}
}

func (l *load) stop() {
	l.end()
	l.all.Wait()
	l.session.close()
}
