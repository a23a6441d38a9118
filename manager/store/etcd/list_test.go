package etcd

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"pgregory.net/rapid"

	"github.com/cyphonic/cyphonic/manager/store"
)

// answer does what etcd does with a range.
func answer(keys []string, from, to string, limit int) *clientv3.GetResponse {
	r := new(clientv3.GetResponse)
	for _, k := range keys {
		if k < from || (to != "\x00" && k >= to) {
			continue
		}
		r.Count++
		if len(r.Kvs) < limit {
			r.Kvs = append(r.Kvs, &mvccpb.KeyValue{Key: []byte(k)})
		}
	}
	r.More = r.Count > int64(len(r.Kvs))
	return r
}

func walked(keys []string, w walk, limit int) (got []string, counted, requests int) {
	for more := true; more; {
		r := answer(keys, w.from, w.to(), limit)
		for _, kv := range r.Kvs {
			got = append(got, string(kv.Key))
		}
		counted += int(r.Count)
		requests++
		more = w.advance(r, limit)
	}
	return got, counted, requests
}

func TestAWalkMissesNothing(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		keys := rapid.SliceOfNDistinct(rapid.StringMatching(`/[pq]/?[ab\x{0}\x{7f}ÿ]{0,5}`), 0, 60, rapid.ID).Draw(rt, "keys")
		if rapid.Bool().Draw(rt, "bytes") {
			keys = append(keys, "/p/\xff", "/p/\xff\xff", "/p/\xff\xff\xffa")
		}
		slices.Sort(keys)
		keys = slices.Compact(keys)
		prefix := rapid.SampledFrom([]string{"/p/", "/p", "/p/a", "/none/", "/p/\xff", "\xff"}).Draw(rt, "prefix")
		after := rapid.OneOf(rapid.SampledFrom(append(keys, "")), rapid.StringMatching(`/[pq]/[ab]{0,4}`)).Draw(rt, "after")
		var want []string
		for _, k := range keys {
			if strings.HasPrefix(k, prefix) && k > after {
				want = append(want, k)
			}
		}
		got, _, requests := walked(keys, newWalk(prefix, after), rapid.IntRange(1, 5).Draw(rt, "limit"))
		if !slices.Equal(got, want) {
			rt.Fatalf("after %q: got %q, want %q", after, got, want)
		}
		if requests > 10*(len(keys)+10) {
			rt.Fatalf("%d requests for %d keys", requests, len(keys))
		}
	})
}

// Reading everything must not cost the square of the number of keys.
func TestAWalkCountsLittle(t *testing.T) {
	const n, limit = 100_000, 500
	for what, format := range map[string]string{
		"numbers": "/p/resources/generalnodes/camera-%07d", "long common end": "/p/%07d.factory.example.org/with/a/long/end",
	} {
		var keys []string
		for i := range n {
			keys = append(keys, fmt.Sprintf(format, i))
		}
		w, total, counted, requests := newWalk("/p/", ""), 0, 0, 0
		for more := true; more; requests++ { // as above, but finding the keys fast
			from, _ := slices.BinarySearch(keys, w.from)
			to, _ := slices.BinarySearch(keys, w.to())
			r := &clientv3.GetResponse{Count: int64(to - from), More: to-from > limit}
			for _, k := range keys[from:min(to, from+limit)] {
				r.Kvs = append(r.Kvs, &mvccpb.KeyValue{Key: []byte(k)})
			}
			total, counted = total+len(r.Kvs), counted+int(r.Count)
			more = w.advance(r, limit)
		}
		t.Logf("%s: %d keys counted and %d requests for %d keys", what, counted, requests, total)
		if total != n || counted > 12*n || requests > 4*n/limit {
			t.Errorf("%s: %d keys counted and %d requests for %d of %d keys", what, counted, requests, total, n)
		}
	}
}

// BenchmarkList reads 200,000 keys, as a whole and page by page.
func BenchmarkList(b *testing.B) {
	e, err := StartEmbedded(context.Background(), b.TempDir(), quiet())
	if err != nil {
		b.Fatal(err)
	}
	defer e.Close()
	s := NewStore(e.Client())
	const n = 200_000
	for i := 0; i < n; i += store.MaxWrites {
		var tx store.Transaction
		for j := i; j < min(n, i+store.MaxWrites); j++ {
			tx.Writes = append(tx.Writes, store.Put(fmt.Sprintf("/p/camera-%07d", j), make([]byte, 600)))
		}
		if _, err := s.Commit(context.Background(), tx); err != nil {
			b.Fatal(err)
		}
	}
	for _, limit := range []int{0, 1000, 10_000} {
		b.Run(fmt.Sprintf("limit=%d", limit), func(b *testing.B) {
			for b.Loop() {
				total := 0
				o := store.ListOptions{Limit: limit}
				for more := true; more; {
					l, err := s.List(context.Background(), "/p/", o)
					if err != nil {
						b.Fatal(err)
					}
					total += len(l.Entries)
					o.After, more = l.Entries[len(l.Entries)-1].Key, l.More
				}
				if total != n {
					b.Fatal(total)
				}
			}
			b.ReportMetric(float64(b.Elapsed())/float64(time.Microsecond)/float64(n)/float64(b.N), "µs/key")
		})
	}
}
