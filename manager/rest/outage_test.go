package rest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cyphonic/cyphonic/manager/store"
)

// hangs is a read that the store never answers.
func hangs(asked *atomic.Int32) func(context.Context) error {
	return func(ctx context.Context) error {
		asked.Add(1)
		<-ctx.Done()
		return ctx.Err()
	}
}

func TestOnlyOneReaderWaitsForAStoreThatIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &outage{now: time.Now}
		var asked atomic.Int32
		start := time.Now()
		if away, err := o.ask(t.Context(), hangs(&asked)); !away || err != nil {
			t.Fatal(away, err)
		}
		if waited := time.Since(start); waited != readPatience {
			t.Fatalf("the first reader waited %v", waited)
		}
		for range 100 { // the outage is known: nobody waits
			if away, _ := o.ask(t.Context(), hangs(&asked)); !away {
				t.Fatal("the outage is forgotten")
			}
		}
		if time.Since(start) != readPatience || asked.Load() != 1 {
			t.Fatalf("%v passed, the store was asked %d times", time.Since(start), asked.Load())
		}
		time.Sleep(outageMemory)
		var wait sync.WaitGroup
		for range 10 {
			wait.Go(func() {
				if away, _ := o.ask(t.Context(), hangs(&asked)); !away {
					t.Error("the outage is over without a reason")
				}
			})
		}
		wait.Wait()
		if asked.Load() != 2 {
			t.Fatalf("%d readers asked at once", asked.Load()-1)
		}
	})
}

func TestAStoreThatIsBackIsUsedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &outage{now: time.Now}
		gone := func(context.Context) error { return fmt.Errorf("list: %w", store.ErrUnavailable) }
		back := func(context.Context) error { return nil }
		if away, _ := o.ask(t.Context(), gone); !away {
			t.Fatal("not away")
		}
		time.Sleep(outageMemory)
		if away, err := o.ask(t.Context(), back); away || err != nil {
			t.Fatal(away, err)
		}
		for range 3 {
			if away, _ := o.ask(t.Context(), back); away {
				t.Fatal("still away")
			}
		}
	})
}

func TestOtherFailuresAreNoOutage(t *testing.T) {
	o := &outage{now: time.Now}
	for _, want := range []error{store.ErrNotFound, store.ErrCompacted, errors.New("other")} {
		away, err := o.ask(t.Context(), func(context.Context) error { return want })
		if away || !errors.Is(err, want) {
			t.Errorf("%v: %v, %v", want, away, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var asked atomic.Int32
	if away, err := o.ask(ctx, hangs(&asked)); away || !errors.Is(err, context.Canceled) {
		t.Errorf("a client that went away: %v, %v", away, err)
	}
	if away, err := o.ask(t.Context(), func(context.Context) error { return nil }); away || err != nil {
		t.Errorf("afterwards: %v, %v", away, err)
	}
}
