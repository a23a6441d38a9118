package reconcile

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cyphonic/cyphonic/manager/fence"
	"github.com/cyphonic/cyphonic/manager/store"
	"github.com/cyphonic/cyphonic/manager/store/etcd"
)

func openStore(t *testing.T) store.Store {
	t.Helper()
	e, err := etcd.StartEmbedded(t.Context(), t.TempDir(), quiet())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return fence.New(etcd.NewStore(e.Client()))
}

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// campaign runs an office until stop is called.
func campaign(t *testing.T, s store.Store, holder string, first func(context.Context, store.Leadership) error, works ...Work) (stop func()) {
	t.Helper()
	f, err := New(Options{Store: s, Holder: holder, First: first, Works: works, Log: quiet(), Registerer: prometheus.NewRegistry(), TTL: 2 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				t.Errorf("Run: %v", err)
			}
		})
	}
	t.Cleanup(stop)
	return stop
}

// work tells who does it, and blocks until its context ends.
func work(holder string, doing *atomic.Int32, begun chan<- string) Work {
	return Alone("test", func(ctx context.Context) error {
		if doing.Add(1) > 1 {
			begun <- "two at once"
		}
		defer doing.Add(-1)
		begun <- holder
		<-ctx.Done()
		return nil
	})
}

func receive(t *testing.T, from <-chan string) string {
	t.Helper()
	select {
	case s := <-from:
		return s
	case <-time.After(20 * time.Second):
		t.Fatal("nothing happens")
		return ""
	}
}

func TestOneManagerWorksAndAnotherTakesOver(t *testing.T) {
	s := openStore(t)
	var doing atomic.Int32
	begun := make(chan string, 16)
	stops := map[string]func(){"a": campaign(t, s, "a", nil, work("a", &doing, begun)), "b": campaign(t, s, "b", nil, work("b", &doing, begun))}
	leader := receive(t, begun)
	select {
	case who := <-begun:
		t.Fatalf("%s works too", who)
	case <-time.After(500 * time.Millisecond): // long enough for a second leader to show
	}
	start := time.Now()
	stops[leader]()
	if next := receive(t, begun); next == leader || next == "two at once" {
		t.Fatalf("%s was followed by %s", leader, next)
	}
	if d := time.Since(start); d > 2*time.Second {
		t.Errorf("giving up the office took %s, as long as losing it", d)
	}
	stops["a"]()
	stops["b"]()
}

// losing is a store whose offices can be taken away.
type losing struct {
	store.Store
	lost chan struct{}
}

type lostOffice struct {
	store.Leadership
	lost chan struct{}
}

func (o lostOffice) Lost() <-chan struct{} { return o.lost }

func (l *losing) Lead(ctx context.Context, name, holder string, ttl time.Duration) (store.Leadership, error) {
	o, err := l.Store.Lead(ctx, name, holder, ttl)
	return lostOffice{o, l.lost}, err
}

func TestALostOfficeEndsTheWork(t *testing.T) {
	s := &losing{openStore(t), make(chan struct{})}
	var doing atomic.Int32
	begun := make(chan string, 16)
	ended := make(chan struct{}, 16)
	stop := campaign(t, s, "a", nil, Alone("test", func(ctx context.Context) error {
		err := work("a", &doing, begun).Run(ctx, nil)
		ended <- struct{}{}
		return err
	}))
	receive(t, begun)
	close(s.lost)
	select {
	case <-ended:
	case <-time.After(5 * time.Second):
		t.Fatal("the work goes on without the office")
	}
	stop()
}

func TestNothingBeginsBeforeWhatIsFirst(t *testing.T) {
	s := openStore(t)
	var tried atomic.Int32
	begun := make(chan string, 16)
	var doing atomic.Int32
	campaign(t, s, "a", func(context.Context, store.Leadership) error {
		if len(begun) > 0 {
			t.Error("work has begun before")
		}
		if tried.Add(1) == 1 {
			return errors.New("not yet")
		}
		return nil
	}, work("a", &doing, begun))
	receive(t, begun)
	if tried.Load() != 2 {
		t.Errorf("it was tried %d times", tried.Load())
	}
}

func TestWorkThatFailsIsBegunAgain(t *testing.T) {
	s := openStore(t)
	begun := make(chan string, 16)
	var n atomic.Int32
	campaign(t, s, "a", nil, Alone("failing", func(context.Context) error {
		begun <- "again"
		if n.Add(1) < 2 {
			return errors.New("failed")
		}
		return nil
	}))
	receive(t, begun)
	receive(t, begun)
}
