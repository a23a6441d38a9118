package cache

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/manager/store"
)

// fleet is a store that makes general nodes up, as large as real ones, a
// hundred per adapter, in the order of their names.
type fleet struct {
	store.Store
	n int
}

const perAdapter = 100

func (f fleet) entry(i int) store.Entry {
	o := api.GeneralNode{ApiVersion: api.Version, Kind: "GeneralNode"}
	o.Metadata = api.ObjectMeta{
		Name: fmt.Sprintf("camera-%07d", i), Uid: fmt.Sprintf("0f1e2d3c-4b5a-6978-8796-%012x", i), Generation: 1,
		CreationTimestamp: time.Unix(1_700_000_000, 0).UTC(), UpdateTimestamp: time.Unix(1_700_000_000, 0).UTC(),
		Labels: map[string]string{"role": "camera", "site": fmt.Sprint(i / 10_000)},
	}
	o.Spec = api.GeneralNodeSpec{
		Network: "factory", Adapter: fmt.Sprintf("hall-%05d", i/perAdapter), Mac: fmt.Sprintf("02:00:00:%02x:%02x:%02x", i>>16&255, i>>8&255, i&255),
		AddressMode: api.AddressModeDual,
	}
	v4 := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
	o.Status = api.GeneralNodeStatus{
		Fqdn: o.Metadata.Name + ".factory.example", NodeID: strings.Repeat("5a", 16), Phase: "Active",
		VirtualIPv4: v4.String(), VirtualIPv6: "fd00:64::" + strconv.FormatInt(int64(i+2), 16),
	}
	b, err := json.Marshal(o)
	if err != nil {
		panic(err)
	}
	return store.Entry{Key: keyspace.Resource(keyspace.GeneralNodes, o.Metadata.Name), Value: b, CreateRevision: int64(i + 1), Revision: int64(i + 1)}
}

func (f fleet) Revision(context.Context) (int64, error) { return int64(f.n), nil }

func (f fleet) List(_ context.Context, _ string, o store.ListOptions) (store.Listing, error) {
	from := 0
	if o.After != "" {
		n, err := strconv.Atoi(o.After[len(o.After)-7:])
		if err != nil {
			return store.Listing{}, err
		}
		from = n + 1
	}
	l := store.Listing{Revision: int64(f.n)}
	for i := from; i < min(f.n, from+o.Limit); i++ {
		l.Entries = append(l.Entries, f.entry(i))
	}
	l.More = from+o.Limit < f.n
	return l, nil
}

func (f fleet) Watch(context.Context, string, int64) (store.Watcher, error) {
	return nil, store.ErrUnavailable
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func unloaded(tb testing.TB, n int) *Cache {
	tb.Helper()
	c, err := New(Options{Store: fleet{n: n}, Log: quiet(), Registerer: prometheus.NewRegistry()})
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

func loaded(tb testing.TB, n int) *Cache {
	tb.Helper()
	c := unloaded(tb, n)
	if err := c.load(tb.Context()); err != nil {
		tb.Fatal(err)
	}
	return c
}

// maxOverhead bounds what a resource costs in memory besides its value.
const maxOverhead = 260

func TestMemoryPerResourceIsBounded(t *testing.T) {
	n := 200_000
	if testing.Short() || raceEnabled {
		n = 50_000
	}
	c := unloaded(t, n)
	before := heap()
	begin := time.Now()
	if err := c.load(t.Context()); err != nil {
		t.Fatal(err)
	}
	took := time.Since(begin)
	used := heap() - before
	v := c.View(keyspace.GeneralNodes)
	if v.Len() != n {
		t.Fatalf("%d resources", v.Len())
	}
	value := c.tables[keyspace.GeneralNodes].bytes
	perResource, perValue := int64(used)/int64(n), value/int64(n)
	t.Logf("%d resources in %v: %d bytes each, of which %d are name and value", n, took.Round(time.Millisecond), perResource, perValue)
	if perResource-perValue > maxOverhead {
		t.Errorf("a resource costs %d bytes besides its name and value, more than %d", perResource-perValue, maxOverhead)
	}
	begin, seen := time.Now(), 0
	v.CarriedBy("hall-00100", "", func(*Item) bool { seen++; return true })
	if took := time.Since(begin); seen != perAdapter || took > 100*time.Millisecond {
		t.Errorf("the %d resources of an adapter took %v", seen, took)
	}
	runtime.KeepAlive(c)
}

// A change concerns the subscribers of one adapter. That of the other 9,999
// must not cost anything.
func TestAChangeTroublesOnlyWhomItConcerns(t *testing.T) {
	c := loaded(t, 1000)
	var subscriptions []*Subscription
	asked := 0
	for i := range 10_000 {
		s, err := c.SubscribeCarriedBy(keyspace.GeneralNodes, fmt.Sprintf("hall-%05d", i), c.known(), func(*Item) bool { asked++; return true })
		if err != nil {
			t.Fatal(err)
		}
		subscriptions = append(subscriptions, s)
	}
	begin := time.Now()
	const changes = 1000
	for i := range changes {
		c.apply(store.Batch{Revision: c.known() + 1, Events: []store.Event{{Type: store.EventPut, Entry: store.Entry{
			Key: keyspace.Resource(keyspace.GeneralNodes, "x"), Value: generalNode("x", fmt.Sprintf("hall-%05d", i%10), nil),
			CreateRevision: 2000, Revision: c.known() + 1,
		}}}})
	}
	took := time.Since(begin)
	roused := 0
	for _, s := range subscriptions {
		select {
		case <-s.wake:
			roused++
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
			if _, _, err := s.Next(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) { // it came and went
				t.Fatal(err)
			}
			cancel()
		default:
		}
	}
	t.Logf("%d changes for %d subscribers: %v each; %d were roused, asked %d times", changes, len(subscriptions), took/changes, roused, asked)
	if roused != 10 || asked > 40 {
		t.Errorf("%d subscribers were roused and asked %d times", roused, asked)
	}
}

func BenchmarkView(b *testing.B) {
	c := loaded(b, 100_000)
	e := fleet{}.entry(50_000)
	b.Run("unchanged", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			c.View(keyspace.GeneralNodes)
		}
	})
	b.Run("after each change", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			e.Revision = c.known() + 1
			c.apply(store.Batch{Revision: e.Revision, Events: []store.Event{{Type: store.EventPut, Entry: e}}})
			c.View(keyspace.GeneralNodes)
		}
	})
	b.Run("get", func(b *testing.B) {
		v := c.View(keyspace.GeneralNodes)
		b.ReportAllocs()
		for b.Loop() {
			v.Get("camera-0077777")
		}
	})
}
