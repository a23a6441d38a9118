package replica

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/cyphonic/cyphonic/internal/keyspace"
)

// diary is what happened, in order, with the seconds since the start.
type diary struct {
	mu    sync.Mutex
	start time.Time
	lines []string
}

func (d *diary) write(text string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lines = append(d.lines, time.Since(d.start).Round(100*time.Millisecond).String()+" "+text)
}

// subject is a service whose answers the test chooses.
type subject struct {
	diary
	unready  atomic.Pointer[string]
	residual atomic.Int64
	fails    chan error
	handOver time.Duration
}

func newSubject() *subject {
	s := &subject{fails: make(chan error)}
	s.start = time.Now()
	return s
}

func (s *subject) Run(ctx context.Context) error {
	defer s.write("stopped")
	select {
	case <-ctx.Done():
		return nil
	case err := <-s.fails:
		return err
	}
}

func (s *subject) Ready() error {
	if why := s.unready.Load(); why != nil {
		return errors.New(*why)
	}
	return nil
}

func (s *subject) HandOver(ctx context.Context) error {
	if !sleep(ctx, s.handOver) {
		s.write("not handed over")
		return ctx.Err()
	}
	s.write("handed over")
	return nil
}

func (s *subject) Refuse()       { s.write("refuses") }
func (s *subject) Residual() int { return int(s.residual.Load()) }

// namedBalancer takes a replica in after a time, and writes who hears of which state when.
type namedBalancer struct {
	*subject
	name  string
	joins time.Duration
}

func (b namedBalancer) SetState(state keyspace.ReplicaState) { b.write(b.name + " " + string(state)) }

func (b namedBalancer) Joined(ctx context.Context) error {
	if !sleep(ctx, b.joins) {
		return ctx.Err()
	}
	return nil
}

func (b namedBalancer) Withdrawn(context.Context) error { return nil }

// Others let a replica decide about devices as soon as etcd says that it is Ready; its answers need the speaker's rules by then.
func TestEtcdHearsOfAReadyReplicaWhenItsSpeakerHasItInService(t *testing.T) {
	for name, row := range map[string]struct {
		joins time.Duration
		want  string
	}{
		"the speaker takes it in":   {300 * time.Millisecond, "300ms etcd Ready"},
		"the speaker never answers": {time.Hour, "3s etcd Ready"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSubject()
				l, _ := newLife(t, s, slowBalancer{subject: s}, usual)
				l.Balancers = []Balancer{namedBalancer{s, "etcd", 0}, namedBalancer{s, "speaker", row.joins}}
				ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
				defer cancel()
				if err := l.Run(ctx); err != nil {
					t.Error(err)
				}
				want := []string{"0s etcd Starting", "0s speaker Starting", "0s speaker Ready", row.want}
				if got := s.lines[:len(want)]; !slices.Equal(got, want) {
					t.Errorf("got %q, want %q", got, want)
				}
			})
		})
	}
}

// slowBalancer confirms after a time; it writes the states into the diary.
type slowBalancer struct {
	*subject
	after time.Duration
}

func (b slowBalancer) SetState(state keyspace.ReplicaState) { b.write(string(state)) }

func (b slowBalancer) Joined(context.Context) error { return nil }

func (b slowBalancer) Withdrawn(ctx context.Context) error {
	if !sleep(ctx, b.after) {
		return ctx.Err()
	}
	b.write("withdrawn")
	return nil
}

func newLife(t *testing.T, s *subject, b slowBalancer, drain Drain) (*Lifecycle, *prometheus.Registry) {
	t.Helper()
	registry := prometheus.NewRegistry()
	m, err := NewLifecycleMetrics(registry)
	if err != nil {
		t.Fatal(err)
	}
	return NewLifecycle(LifecycleOptions{
		Name: "nms", Service: s, Balancers: []Balancer{b}, Drain: drain, Metrics: m, Log: slog.New(slog.DiscardHandler), Now: time.Now,
	}), registry
}

var usual = Drain{Wait: 5 * time.Second, HandOver: 10 * time.Second, Finish: 30 * time.Second}

func TestLeaving(t *testing.T) {
	for name, row := range map[string]struct {
		drain                Drain
		handOver, withdrawal time.Duration
		residual             int64
		unready              string
		want                 []string
	}{
		"quick": {usual, time.Second, 200 * time.Millisecond, 0, "", []string{
			"0s Starting", "0s Ready", "1s Leaving", "1.2s withdrawn", "2s handed over", "6s Finishing", "6s refuses", "6s stopped",
		}},
		"without waiting, not even for the balancer": {Drain{HandOver: usual.HandOver, Finish: usual.Finish}, 0, time.Hour, 0, "", []string{
			"0s Starting", "0s Ready", "1s Leaving", "1s handed over", "1s Finishing", "1s refuses", "1s stopped",
		}},
		"alone": {Drain{Finish: 2 * time.Second}, time.Hour, time.Hour, 3, "", []string{
			"0s Starting", "0s Ready", "1s Leaving", "1s Finishing", "1s refuses", "3s stopped",
		}},
		"the hand-over takes longer than the wait": {usual, 7 * time.Second, 0, 0, "", []string{
			"0s Starting", "0s Ready", "1s Leaving", "1s withdrawn", "8s handed over", "8s Finishing", "8s refuses", "8s stopped",
		}},
		"the hand-over and the balancer never end": {usual, time.Hour, time.Hour, 0, "", []string{
			"0s Starting", "0s Ready", "1s Leaving", "11s not handed over", "11s Finishing", "11s refuses", "11s stopped",
		}},
		"sessions that do not end": {usual, 0, 0, 3, "", []string{
			"0s Starting", "0s Ready", "1s Leaving", "1s handed over", "1s withdrawn", "6s Finishing", "6s refuses", "36s stopped",
		}},
		"never ready": {usual, 0, time.Hour, 0, "etcd has not been read", []string{
			"0s Starting", "1s Leaving", "1s handed over", "1s Finishing", "1s refuses", "1s stopped",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSubject()
				s.handOver = row.handOver
				s.residual.Store(row.residual)
				if row.unready != "" {
					s.unready.Store(&row.unready)
				}
				l, _ := newLife(t, s, slowBalancer{s, row.withdrawal}, row.drain)
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				if err := l.Run(ctx); err != nil {
					t.Error(err)
				}
				select {
				case <-l.Drained():
				default:
					t.Error("not drained after Run")
				}
				slices.Sort(s.lines[2 : len(s.lines)-3]) // what happens at once in any order
				want := slices.Clone(row.want)
				slices.Sort(want[2 : len(want)-3])
				if !slices.Equal(s.lines, want) {
					t.Errorf("got\n%s\nwant\n%s", strings.Join(s.lines, "\n"), strings.Join(want, "\n"))
				}
			})
		})
	}
}

func TestSessionsUnderWayAreWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSubject()
		s.residual.Store(2)
		l, registry := newLife(t, s, slowBalancer{subject: s}, usual)
		time.AfterFunc(14*time.Second, func() { s.residual.Store(0) })
		time.AfterFunc(time.Second, l.DrainNow)
		time.AfterFunc(2*time.Second, l.DrainNow) // asking twice changes nothing
		if err := l.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(s.start).Round(100 * time.Millisecond); took != 14*time.Second {
			t.Errorf("ended after %v", took)
		}
		if n, err := testutil.GatherAndCount(registry, "cyphonic_replica_drain_seconds"); err != nil || n != 3 {
			t.Errorf("%d steps measured: %v", n, err)
		}
	})
}

func TestReadinessFollowsTheService(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSubject()
		requested := make(chan struct{})
		l, registry := newLife(t, s, slowBalancer{subject: s}, usual)
		l.Requested = requested
		ended := make(chan error, 1)
		if err := l.Ready(); err == nil {
			t.Error("ready before it runs")
		}
		go func() { ended <- l.Run(t.Context()) }()
		time.Sleep(time.Second)
		if err := l.Ready(); err != nil {
			t.Error(err)
		}
		why := "removed by others"
		s.unready.Store(&why)
		time.Sleep(time.Second)
		if err := l.Ready(); err == nil || !strings.Contains(err.Error(), why) || l.State() != keyspace.ReplicaStarting {
			t.Errorf("%v in state %s", err, l.State())
		}
		s.unready.Store(nil)
		time.Sleep(time.Second)
		if err := l.Ready(); err != nil {
			t.Error(err)
		}
		want := strings.NewReader(`# HELP cyphonic_replica_state 1 for the state in which the replica is.
# TYPE cyphonic_replica_state gauge
cyphonic_replica_state{service="nms",state="Finishing"} 0
cyphonic_replica_state{service="nms",state="Leaving"} 0
cyphonic_replica_state{service="nms",state="Ready"} 1
cyphonic_replica_state{service="nms",state="Starting"} 0
`)
		if err := testutil.GatherAndCompare(registry, want, "cyphonic_replica_state"); err != nil {
			t.Error(err)
		}
		close(requested) // in etcd
		time.Sleep(time.Second)
		if err := l.Ready(); err == nil || !strings.Contains(err.Error(), "draining") {
			t.Errorf("ready while it leaves: %v", err)
		}
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func TestAServiceThatFailsEndsItsLifeAtOnce(t *testing.T) {
	for name, leave := range map[string]bool{"while it serves": false, "while it leaves": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSubject()
				s.residual.Store(1)
				l, _ := newLife(t, s, slowBalancer{subject: s}, usual)
				if leave {
					l.DrainNow()
				}
				ended := make(chan error, 1)
				go func() { ended <- l.Run(t.Context()) }()
				time.Sleep(time.Second)
				broken := errors.New("the socket is gone")
				s.fails <- broken
				if err := <-ended; !errors.Is(err, broken) || !strings.Contains(err.Error(), "nms") {
					t.Errorf("got %v", err)
				}
				if took := time.Since(s.start); took > 1100*time.Millisecond {
					t.Errorf("ended after %v", took)
				}
			})
		})
	}
}
