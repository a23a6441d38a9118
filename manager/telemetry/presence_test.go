package telemetry

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cyphonic/cyphonic/manager/store"
)

// memory is as much of a store as the presence of managers needs; keys with a time to live go by themselves.
type memory struct {
	store.Store
	mu   sync.Mutex
	keys map[string][]byte
	ends map[string]time.Time
	down bool
}

func newMemory() *memory { return &memory{keys: map[string][]byte{}, ends: map[string]time.Time{}} }

func (m *memory) Commit(_ context.Context, t store.Transaction) (int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.down {
		return 0, store.ErrUnavailable
	}
	for _, w := range t.Writes {
		if w.Delete {
			delete(m.keys, w.Key)
			continue
		}
		m.keys[w.Key], m.ends[w.Key] = w.Value, time.Now().Add(w.TTL)
	}
	return 1, nil
}

func (m *memory) List(context.Context, string, store.ListOptions) (store.Listing, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.down {
		return store.Listing{}, store.ErrUnavailable
	}
	var l store.Listing
	for key, value := range m.keys {
		if time.Now().Before(m.ends[key]) {
			l.Entries = append(l.Entries, store.Entry{Key: key, Value: value})
		}
	}
	return l, nil
}

func (m *memory) setDown(down bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.down = down
}

func TestManagersKnowOfOneAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		begin := func(n int) (*Presence, context.CancelFunc, chan error) {
			p, err := NewPresence(m, fmt.Sprint("id", n), fmt.Sprintf("m%d:7440", n), slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			if got := p.Addresses(); len(got) != 0 {
				t.Errorf("before it has asked: %v", got)
			}
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- p.Run(ctx) }()
			return p, cancel, done
		}
		want := func(when string, p *Presence, addresses ...string) {
			t.Helper()
			synctest.Wait()
			got := slices.Sorted(slices.Values(p.Addresses()))
			if !slices.Equal(got, addresses) {
				t.Errorf("%s: %v, want %v", when, got, addresses)
			}
		}
		one, stopOne, doneOne := begin(1)
		want("alone", one, "m1:7440")
		two, stopTwo, doneTwo := begin(2)
		time.Sleep(presenceInterval)
		want("a second one has come", one, "m1:7440", "m2:7440")
		m.setDown(true)
		time.Sleep(time.Minute)
		want("the store is away", two, "m1:7440", "m2:7440")
		m.setDown(false)
		time.Sleep(2 * presenceInterval)
		want("the store is back", two, "m1:7440", "m2:7440")
		stopTwo()
		if err := <-doneTwo; err != nil {
			t.Error(err)
		}
		time.Sleep(presenceInterval)
		want("the second one has ended in order", one, "m1:7440")
		three, stopThree, doneThree := begin(3)
		time.Sleep(presenceInterval)
		want("a third one has come", three, "m1:7440", "m3:7440")
		m.setDown(true) // as for one that is killed
		stopThree()
		<-doneThree
		m.setDown(false)
		time.Sleep(presenceLife + presenceInterval)
		want("the third one was killed", one, "m1:7440")
		stopOne()
		<-doneOne
	})
}

func TestAPresenceNeedsAnAddress(t *testing.T) {
	if _, err := NewPresence(newMemory(), "id", "", slog.New(slog.DiscardHandler)); err == nil {
		t.Error("a manager without address is present")
	}
}
