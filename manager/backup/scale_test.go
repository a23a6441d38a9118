package backup

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/manager/cache"
	"github.com/cyphonic/cyphonic/manager/schema"
	"github.com/cyphonic/cyphonic/manager/store"
	"github.com/cyphonic/cyphonic/manager/store/etcd"
)

// fleet is n general nodes, a hundred per adapter, with all the keys that go
// with each: addresses, names, references.
type fleet int

func (f fleet) name(i int) string { return fmt.Sprintf("camera-%07d", i) }

func (f fleet) owner(i int) []byte {
	return keyspace.Encode(keyspace.Owner{Kind: keyspace.GeneralNodes, Name: f.name(i), UID: f.uid(i)})
}

func (f fleet) uid(i int) string { return fmt.Sprintf("0f1e2d3c-4b5a-6978-8796-%012x", i) }

func (f fleet) mac(i int) string {
	return fmt.Sprintf("02:00:00:%02x:%02x:%02x", i>>16&255, i>>8&255, i&255)
}

func (f fleet) resource(i int) []byte {
	at := time.Unix(1_700_000_000, 0).UTC()
	o := api.GeneralNode{ApiVersion: api.Version, Kind: "GeneralNode"}
	o.Metadata = api.ObjectMeta{
		Name: f.name(i), Uid: f.uid(i), Generation: 1, CreationTimestamp: at, UpdateTimestamp: at,
		Labels: map[string]string{"role": "camera", "site": strconv.Itoa(i / 10_000)},
	}
	o.Spec = api.GeneralNodeSpec{Network: "factory", Adapter: f.adapter(i), Mac: f.mac(i), AddressMode: api.AddressModeDual}
	o.Status = api.GeneralNodeStatus{
		Fqdn: f.name(i) + ".factory.example", NodeID: strings.Repeat("5a", 16), Phase: "Active",
		VirtualIPv4: f.v4(i).String(), VirtualIPv6: f.v6(i).String(),
	}
	b, err := json.Marshal(o)
	if err != nil {
		panic(err)
	}
	return b
}

func (f fleet) adapter(i int) string { return fmt.Sprintf("hall-%05d", i/100) }

// v4 and v6 ascend as text too: 10.1xx.1xx.1xx and fd00:64::1xxx:1xxx.
func (f fleet) v4(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, byte(100 + i/10_000), byte(100 + i/100%100), byte(100 + i%100)})
}

func (f fleet) v6(i int) netip.Addr {
	return netip.MustParseAddr(fmt.Sprintf("fd00:64::%x:%x", 0x1000+i/0x4000, 0x1000+i%0x4000))
}

// records are all keys in order.
func (f fleet) records() iter.Seq2[string, []byte] {
	groups := []struct {
		key   func(i int) string
		value func(i int) []byte
	}{
		{func(i int) string { return keyspace.IPAMAddress("factory", f.v4(i)) }, f.owner},
		{func(i int) string { return keyspace.IPAMAddress("factory", f.v6(i)) }, f.owner},
		{func(i int) string {
			return keyspace.Reference(keyspace.Adapters, f.adapter(i), keyspace.GeneralNodes, f.name(i))
		}, f.owner},
		{func(i int) string {
			return keyspace.Reference(keyspace.Networks, "factory", keyspace.GeneralNodes, f.name(i))
		}, f.owner},
		{func(i int) string { return keyspace.Resource(keyspace.GeneralNodes, f.name(i)) }, f.resource},
		{func(i int) string { return keyspace.UniqueFQDN("factory", f.name(i)+".factory.example") }, f.owner},
		{func(i int) string { return keyspace.UniqueMAC("factory", f.mac(i)) }, f.owner},
	}
	return func(yield func(string, []byte) bool) {
		for _, g := range groups {
			for i := range int(f) {
				if !yield(g.key(i), g.value(i)) {
					return
				}
			}
		}
	}
}

// BenchmarkFleet fills an embedded etcd with a fleet, CYPHONIC_BENCH_DEVICES
// large (20,000 by default), and measures what depends on its size.
func BenchmarkFleet(b *testing.B) {
	n := 20_000
	if text := os.Getenv("CYPHONIC_BENCH_DEVICES"); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		measure(b, n)
	}
}

func measure(b *testing.B, n int) {
	report := func(what string, start time.Time) {
		b.Logf("%-34s %v", what, time.Since(start).Round(time.Millisecond))
	}
	var stream bytes.Buffer
	start := time.Now()
	if err := Encode(&stream, Header{Schema: schema.Version}, fleet(n).records()); err != nil {
		b.Fatal(err)
	}
	report(fmt.Sprintf("making a stream of %d MiB", stream.Len()>>20), start)
	dir := b.TempDir()
	e, err := etcd.StartEmbedded(context.Background(), dir, quiet())
	if err != nil {
		b.Fatal(err)
	}
	defer e.Close()
	s := etcd.NewStore(e.Client())
	start = time.Now()
	r, err := Restore(context.Background(), bytes.NewReader(stream.Bytes()), options(s, false))
	if err != nil {
		b.Fatal(err)
	}
	report(fmt.Sprintf("restoring %d keys", r.Keys), start)
	stream = bytes.Buffer{}
	if info, err := os.Stat(filepath.Join(dir, "etcd", "member", "snap", "db")); err == nil {
		b.Logf("%-34s %d MiB", "database", info.Size()>>20)
	}
	start = time.Now()
	written(b, s, identity(b))
	report("writing an encrypted backup", start)
	c, err := cache.New(cache.Options{Store: s, Log: quiet(), Registerer: prometheus.NewRegistry()})
	if err != nil {
		b.Fatal(err)
	}
	before := heap()
	start = time.Now()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	<-c.Ready()
	if err := c.Fresh(ctx); err != nil {
		b.Log(err)
	}
	report("loading the cache", start)
	b.Logf("%-34s %d bytes", "cache per resource", int(heap()-before)/n)
	follow(b, s, c)
	cancel()
	if err := <-done; err != nil {
		b.Error(err)
	}
}

// follow measures how soon a write is seen by a reader.
func follow(b *testing.B, s store.Store, c *cache.Cache) {
	const rounds = 200
	var sum, worst time.Duration
	for i := range rounds {
		key := keyspace.Resource(keyspace.GeneralNodes, "x")
		if i%2 == 0 {
			key = keyspace.Idempotency("x")
		}
		if _, err := s.Commit(context.Background(), store.Transaction{Writes: []store.Write{store.Put(key, fleet(1).resource(0))}}); err != nil {
			b.Fatal(err)
		}
		start := time.Now()
		if err := c.Fresh(context.Background()); err != nil {
			b.Fatal(err)
		}
		took := time.Since(start)
		sum, worst = sum+took, max(worst, took)
	}
	b.Logf("%-34s mean %v, worst %v", "Fresh after a write", sum/rounds, worst)
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
