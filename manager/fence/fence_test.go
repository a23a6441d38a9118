package fence

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/cyphonic/cyphonic/manager/store"
	"github.com/cyphonic/cyphonic/manager/store/etcd"
	"github.com/cyphonic/cyphonic/manager/store/storetest"
)

func open(t *testing.T) store.Store {
	t.Helper()
	e, err := etcd.StartEmbedded(t.Context(), t.TempDir(), slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return etcd.NewStore(e.Client())
}

func TestOnlyTheLeaderWrites(t *testing.T) {
	s := New(open(t))
	first, err := s.Lead(t.Context(), "test", "one", 2*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	leading := With(t.Context(), first.Condition())
	revision, err := s.Create(leading, "/a", []byte("1"))
	if err != nil {
		t.Fatal(err)
	}
	if revision, err = s.Update(leading, "/a", []byte("2"), revision); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Update(leading, "/a", []byte("3"), revision-1); !errors.Is(err, store.ErrConflict) || errors.Is(err, ErrNotLeading) {
		t.Errorf("a conflict of the leader's own: %v", err)
	}
	if err := first.Resign(t.Context()); err != nil {
		t.Fatal(err)
	}
	second, err := s.Lead(t.Context(), "test", "two", 2*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	for name, write := range map[string]func(context.Context) error{
		"create": func(ctx context.Context) error { _, err := s.Create(ctx, "/b", nil); return err },
		"update": func(ctx context.Context) error { _, err := s.Update(ctx, "/a", []byte("old"), revision); return err },
		"delete": func(ctx context.Context) error { _, err := s.Delete(ctx, "/a", revision); return err },
		"commit": func(ctx context.Context) error {
			_, err := s.Commit(ctx, store.Transaction{Writes: []store.Write{store.Put("/c", nil)}})
			return err
		},
	} {
		if err := write(leading); !errors.Is(err, ErrNotLeading) || !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("%s by the former leader: %v", name, err)
		}
	}
	if _, err := s.Update(t.Context(), "/a", []byte("4"), revision); err != nil {
		t.Errorf("a write without office: %v", err)
	}
	if _, err := s.Create(With(t.Context(), second.Condition()), "/b", nil); err != nil {
		t.Errorf("a write of the new leader: %v", err)
	}
}

func TestIsAStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Harness { return storetest.Harness{Store: New(open(t))} })
}
