package overlay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/cyphonic/cyphonic/manager/store"
	"github.com/cyphonic/cyphonic/manager/store/etcd"
	"github.com/cyphonic/cyphonic/manager/store/storetest"
)

func open(t *testing.T) store.Store {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	e, err := etcd.StartEmbedded(ctx, t.TempDir(), slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return etcd.NewStore(e.Client())
}

func TestOverlayConforms(t *testing.T) {
	base := open(t)
	storetest.Run(t, func(t *testing.T) storetest.Harness { return storetest.Harness{Store: New(base)} })
	if n, err := base.Count(context.Background(), "/"); err != nil || n != 0 {
		t.Errorf("the base has %d keys, %v", n, err)
	}
}

func TestOverlayOnOverlayConforms(t *testing.T) {
	base := open(t)
	storetest.Run(t, func(t *testing.T) storetest.Harness { return storetest.Harness{Store: New(New(base))} })
}

func TestWhatNeedsHistoryIsRefused(t *testing.T) {
	o := New(open(t))
	if _, err := o.Watch(t.Context(), "/", 0); !errors.Is(err, ErrNoHistory) {
		t.Error(err)
	}
	if _, err := o.Lead(t.Context(), "x", "y", time.Second); !errors.Is(err, ErrNoHistory) {
		t.Error(err)
	}
}

func keys(rt *rapid.T, s store.Store, o store.ListOptions) (text []string) {
	l, err := s.List(context.Background(), "/k/", o)
	if err != nil {
		rt.Fatal(err)
	}
	for _, e := range l.Entries {
		text = append(text, e.Key+"="+string(e.Value))
	}
	return text
}

// TestAnOverlayDoesWhatTheBaseWouldDo does the same at random to an overlay and
// to a copy of its base; both must end alike, and the base stay as it is.
func TestAnOverlayDoesWhatTheBaseWouldDo(t *testing.T) {
	s := open(t)
	rapid.Check(t, func(rt *rapid.T) {
		base, twin := prefixed{s, "/base" + fmt.Sprint(time.Now().UnixNano())}, prefixed{s, "/twin" + fmt.Sprint(time.Now().UnixNano())}
		key := rapid.StringMatching(`/k/[ab]{1,3}`)
		ctx := context.Background()
		for range rapid.IntRange(0, 8).Draw(rt, "before") {
			k := key.Draw(rt, "key")
			for _, each := range []store.Store{base, twin} {
				if _, err := each.Commit(ctx, store.Transaction{Writes: []store.Write{store.Put(k, []byte("base"))}}); err != nil {
					rt.Fatal(err)
				}
			}
		}
		untouched := keys(rt, base, store.ListOptions{})
		o := New(base)
		for i := range rapid.IntRange(1, 12).Draw(rt, "steps") {
			t := transaction(rt, i, key)
			_, got := o.Commit(ctx, t)
			_, want := twin.Commit(ctx, t)
			if fmt.Sprint(kindOf(got)) != fmt.Sprint(kindOf(want)) {
				rt.Fatalf("%+v: got %v, want %v", t, got, want)
			}
		}
		for _, options := range []store.ListOptions{{}, {Limit: 1}, {Limit: 2, After: "/k/ab"}, {Limit: 3}, {After: "/k/b"}, {Limit: 4, KeysOnly: true}} {
			if got, want := keys(rt, o, options), keys(rt, twin, options); fmt.Sprint(got) != fmt.Sprint(want) {
				rt.Fatalf("%+v: got %v, want %v", options, got, want)
			}
		}
		got, err1 := o.Count(ctx, "/k/a")
		want, err2 := twin.Count(ctx, "/k/a")
		if got != want || err1 != nil || err2 != nil {
			rt.Fatalf("count: got %d %v, want %d %v", got, err1, want, err2)
		}
		if after := keys(rt, base, store.ListOptions{}); fmt.Sprint(after) != fmt.Sprint(untouched) {
			rt.Fatalf("the base became %v", after)
		}
	})
}

func transaction(rt *rapid.T, i int, key *rapid.Generator[string]) (t store.Transaction) {
	switch k := key.Draw(rt, "condition"); rapid.IntRange(0, 3).Draw(rt, "kind") {
	case 0:
		t.Conditions = append(t.Conditions, store.Absent(k))
	case 1:
		t.Conditions = append(t.Conditions, store.Present(k))
	case 2:
		t.Conditions = append(t.Conditions, store.AbsentBelow(k))
	}
	for _, k := range rapid.SliceOfNDistinct(key, 1, 3, rapid.ID).Draw(rt, "keys") {
		if rapid.Bool().Draw(rt, "remove") {
			t.Writes = append(t.Writes, store.Remove(k))
			continue
		}
		t.Writes = append(t.Writes, store.Put(k, fmt.Append(nil, i)))
	}
	return t
}

func kindOf(err error) error {
	for _, kind := range []error{store.ErrExists, store.ErrNotFound, store.ErrConflict} {
		if errors.Is(err, kind) {
			return kind
		}
	}
	return err
}

// prefixed is a part of a store as if it were a whole one.
type prefixed struct {
	store.Store
	prefix string
}

func (p prefixed) strip(e store.Entry) store.Entry {
	e.Key = e.Key[len(p.prefix):]
	return e
}

func (p prefixed) Get(ctx context.Context, key string) (store.Entry, error) {
	e, err := p.Store.Get(ctx, p.prefix+key)
	if err != nil {
		return e, err
	}
	return p.strip(e), nil
}

func (p prefixed) List(ctx context.Context, prefix string, o store.ListOptions) (store.Listing, error) {
	if o.After != "" {
		o.After = p.prefix + o.After
	}
	l, err := p.Store.List(ctx, p.prefix+prefix, o)
	for i := range l.Entries {
		l.Entries[i] = p.strip(l.Entries[i])
	}
	return l, err
}

func (p prefixed) Count(ctx context.Context, prefix string) (int64, error) {
	return p.Store.Count(ctx, p.prefix+prefix)
}

func (p prefixed) Commit(ctx context.Context, t store.Transaction) (int64, error) {
	var own store.Transaction
	for _, c := range t.Conditions {
		c.Key = p.prefix + c.Key
		own.Conditions = append(own.Conditions, c)
	}
	for _, w := range t.Writes {
		w.Key = p.prefix + w.Key
		own.Writes = append(own.Writes, w)
	}
	return p.Store.Commit(ctx, own)
}
